"""Azure's `boot`, run with a directory in place of /, stand-ins for system commands, and a server
in place of Azure's."""

import hashlib
import json
import os
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from stacks.bundles import ROOT, Target
from tests.local_http import Handler, served

BOOT = ROOT / "stacks/azure/instance"
CLIENT_ID = "11111111-2222-3333-4444-555555555555"
SECRETS = {
    "/secrets/link-keys": "new,old",
    "/secrets/peer": (
        '{"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "a/b+c", "AWS_REGION": "eu-west-1"}'
    ),
    "/secrets/wrong": '{"AZURE_CLIENT_ID": "top-secret"}',
}
TOKENS = {"https://storage.azure.com/": "storage-token", "https://vault.azure.net": "vault-token"}


@dataclass(kw_only=True)
class Azure:
    """A metadata service, a storage account and a vault, on one port of this machine."""

    release: bytes
    port: int = 0
    refusals: int = 0
    """Number of data requests answered with 403, as while permissions of a new identity
    propagate."""
    paths: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answer(self, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
        split = urlsplit(path)
        query = {name: values[0] for name, values in parse_qs(split.query).items()}
        self.paths.append(split.path)
        if split.path == "/metadata/identity/oauth2/token":
            if headers.get("metadata") != "true" or query["client_id"] != CLIENT_ID:
                return 400, b""
            return 200, json.dumps({"access_token": TOKENS[query["resource"]]}).encode()
        if self.refusals:
            self.refusals -= 1
            return 403, b""
        if split.path.startswith("/releases/"):
            authorized = (
                headers.get("authorization") == "Bearer storage-token" and "x-ms-version" in headers
            )
            return (200, self.release) if authorized else (403, b"")
        if split.path in SECRETS and query.get("api-version"):
            authorized = headers.get("authorization") == "Bearer vault-token"
            return (
                (200, json.dumps({"value": SECRETS[split.path]}).encode())
                if authorized
                else (403, b"")
            )
        return 404, b""


@pytest.fixture
def azure(tmp_path: Path) -> Iterator[Azure]:
    """The servers, with a release that contains the files of `stacks/instance` and installs
    nothing."""
    archive = tmp_path / "release.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        for file in sorted((ROOT / "stacks/instance").iterdir()):
            opened.write(file, file.name)
        opened.writestr("python-version", f"{Target.here().python}\n")
        opened.writestr("requirements.txt", "asciist==0.1.0\n")
    running = Azure(release=_with_install(archive))

    class Service(Handler):
        def answer(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            self.respond(*running.answer(self.path, headers))

    with served(Service) as running.port:
        yield running


def _with_install(archive: Path) -> bytes:
    """Return the archive with an `install` that only creates the directory."""
    copy = archive.with_name("copy.zip")
    with zipfile.ZipFile(archive) as original, zipfile.ZipFile(copy, "w") as opened:
        for name in original.namelist():
            opened.writestr(name, 'mkdir -p "$1"\n' if name == "install" else original.read(name))
    return copy.read_bytes()


class Rehearsal:
    """A new instance."""

    def __init__(self, azure: Azure, directory: Path) -> None:
        self.azure = azure
        self.root, self.commands, self.calls = (
            directory / name for name in ("root", "commands", "calls")
        )
        self.here = directory / "boot"
        shutil.copytree(BOOT, self.here)
        self.environment = directory / "settings"
        self.environment.write_text(
            f"ASCIIST_BACKEND=azure\nASCIIST_PORT=8080\nAZURE_CLIENT_ID={CLIENT_ID}\n"
        )
        self.digest = hashlib.sha256(azure.release).hexdigest()
        self.commands.mkdir()
        for command in ("apt-get", "curl", "id", "useradd", "sleep", "systemctl"):
            self.stand_in(command)

    def stand_in(self, command: str, then: str = "") -> None:
        path = self.commands / command
        path.write_text(f'#!/usr/bin/env bash\necho "${{0##*/}} $*" >>"{self.calls}"\n{then}\n')
        path.chmod(0o755)

    def boot(self, unit: str, *, digest: str = "") -> "subprocess.CompletedProcess[str]":
        url = f"{self.azure.url}/releases/{digest or self.digest}.zip"
        return subprocess.run(
            ["bash", self.here / "boot", unit, self.environment, url],
            capture_output=True,
            text=True,
            check=False,
            env={
                "PATH": f"{self.commands}:{os.environ['PATH']}",
                "DESTDIR": str(self.root),
                "IMDS": self.azure.url,
                "ATTEMPTS": "2",
                "PAUSE": "0",
            },
        )


@pytest.fixture
def rehearsal(azure: Azure, tmp_path: Path) -> Rehearsal:
    return Rehearsal(azure, tmp_path)


def test_boot_installs_the_release_and_starts_the_web_unit(rehearsal: Rehearsal) -> None:
    with rehearsal.environment.open("a") as settings:
        settings.write(f"LINK_KEYS_URL={rehearsal.azure.url}/secrets/link-keys\n")
    done = rehearsal.boot("asciist-web")
    calls = rehearsal.calls.read_text()
    python = f"python{Target.here().python}"

    assert done.returncode == 0, done.stderr
    assert f"install --yes --no-install-recommends {python} {python}-venv curl logrotate\n" in calls
    assert "systemctl enable --now asciist-web\n" in calls
    assert "http://127.0.0.1:8080/readyz\n" in calls
    assert (rehearsal.root / "opt/asciist/requirements.txt").is_file()
    units = rehearsal.root / "etc/systemd/system"
    assert (units / "asciist-web.service").read_text() == (
        ROOT / "stacks/instance/asciist-web.service"
    ).read_text()
    assert not (units / "asciist-health.service").exists()
    installed = rehearsal.root / "etc/asciist/environment"
    assert (
        installed.read_text() == f"{rehearsal.environment.read_text()}ASCIIST_LINK_KEYS=new,old\n"
    )
    assert installed.stat().st_mode & 0o777 == 0o600


def test_boot_shows_the_keys_of_links_and_tokens_to_nobody(rehearsal: Rehearsal) -> None:
    with rehearsal.environment.open("a") as settings:
        settings.write(f"LINK_KEYS_URL={rehearsal.azure.url}/secrets/link-keys\n")
    done = rehearsal.boot("asciist-web")

    for secret in ("new,old", *TOKENS.values()):
        assert secret not in done.stdout + done.stderr + rehearsal.calls.read_text()
    holding = [
        path
        for path in rehearsal.here.parent.rglob("*")
        if path.is_file() and b"new,old" in path.read_bytes()
    ]
    assert holding == [rehearsal.root / "etc/asciist/environment"]


def test_boot_gives_the_credentials_of_the_peer_store_to_the_unit_and_to_nobody_else(
    rehearsal: Rehearsal,
) -> None:
    with rehearsal.environment.open("a") as settings:
        settings.write(f"PEER_SECRET_URL={rehearsal.azure.url}/secrets/peer\n")
    done = rehearsal.boot("asciist-web")
    installed = rehearsal.root / "etc/asciist/environment"

    assert done.returncode == 0, done.stderr
    added = "AWS_ACCESS_KEY_ID=AKIA\nAWS_SECRET_ACCESS_KEY=a/b+c\nAWS_REGION=eu-west-1\n"
    assert installed.read_text() == f"{rehearsal.environment.read_text()}{added}"
    assert "a/b+c" not in done.stdout + done.stderr + rehearsal.calls.read_text()
    holding = [
        path
        for path in rehearsal.here.parent.rglob("*")
        if path.is_file() and b"a/b+c" in path.read_bytes()
    ]
    assert holding == [installed]


@pytest.mark.parametrize("secret", ["missing", "wrong"])
def test_credentials_of_the_peer_store_that_cannot_be_read_fail_the_boot(
    rehearsal: Rehearsal, secret: str
) -> None:
    with rehearsal.environment.open("a") as settings:
        settings.write(f"PEER_SECRET_URL={rehearsal.azure.url}/secrets/{secret}\n")
    done = rehearsal.boot("asciist-web")

    assert (
        done.returncode,
        "boot: the credentials of the peer store cannot be read" in done.stderr,
    ) == (1, True)
    assert "top-secret" not in done.stdout + done.stderr
    assert "enable --now asciist-web" not in rehearsal.calls.read_text()


def test_a_poller_answers_for_its_health_and_does_not_shut_its_instance_down(
    rehearsal: Rehearsal,
) -> None:
    done = rehearsal.boot("asciist-poller")
    units = rehearsal.root / "etc/systemd/system"

    assert done.returncode == 0, done.stderr
    assert "systemctl enable --now asciist-poller\n" in rehearsal.calls.read_text()
    assert "BindsTo=asciist-poller.service\n" in (units / "asciist-health.service").read_text()
    added = (units / "asciist-poller.service.d/azure.conf").read_text()
    assert "Wants=asciist-health.service\n" in added
    assert "StartLimitAction=none\n" in added
    assert "/secrets/link-keys" not in rehearsal.azure.paths


def test_boot_waits_until_the_permissions_of_its_identity_are_known(rehearsal: Rehearsal) -> None:
    rehearsal.azure.refusals = 1
    done = rehearsal.boot("asciist-poller")

    assert done.returncode == 0, done.stderr
    assert rehearsal.azure.paths.count(f"/releases/{rehearsal.digest}.zip") == 2


@pytest.mark.parametrize(
    ("command", "then", "message"),
    [
        ("apt-get", "exit 100", "boot: the packages cannot be installed"),
        ("systemctl", '[[ $* != "enable --now asciist-web" ]]', "boot: asciist-web did not start"),
        ("curl", "exit 22", "boot: asciist-web is not ready"),
    ],
)
def test_a_failed_boot_exits_with_1_and_names_the_failure(
    rehearsal: Rehearsal, command: str, then: str, message: str
) -> None:
    rehearsal.stand_in(command, then)
    done = rehearsal.boot("asciist-web")

    assert done.returncode == 1
    assert message in done.stderr


def test_a_release_that_cannot_be_fetched_or_is_another_one_is_not_installed(
    rehearsal: Rehearsal,
) -> None:
    other = rehearsal.boot("asciist-web", digest=64 * "0")
    assert (other.returncode, "boot: the release is not the deployed one" in other.stderr) == (
        1,
        True,
    )
    rehearsal.azure.refusals = 100
    refused = rehearsal.boot("asciist-web")

    assert (refused.returncode, "boot: the release cannot be fetched" in refused.stderr) == (
        1,
        True,
    )
    assert "HTTP Error 403" in refused.stderr
    assert not (rehearsal.root / "opt/asciist").exists()
    assert not rehearsal.calls.exists()


def test_keys_of_links_that_cannot_be_read_fail_the_boot(rehearsal: Rehearsal) -> None:
    with rehearsal.environment.open("a") as settings:
        settings.write(f"LINK_KEYS_URL={rehearsal.azure.url}/secrets/missing\n")
    done = rehearsal.boot("asciist-web")

    assert (done.returncode, "boot: the keys of links cannot be read" in done.stderr) == (1, True)
    assert "enable --now asciist-web" not in rehearsal.calls.read_text()
