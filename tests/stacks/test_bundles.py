"""The function bundle and the instances' release, built and then run without the packages of the
test environment."""

import contextlib
import hashlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from threading import Barrier

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from asciist import cli, poller
from asciist.conversion import ConversionOptions
from asciist.limits import Limits
from asciist.timeouts import Timeouts
from stacks import bundles
from stacks.bundles import (
    FUNCTION_PYTHON,
    INSTANCE_PYTHON,
    MAX_FUNCTION_BYTES,
    MAX_FUNCTION_ZIP_BYTES,
    ROOT,
    Architecture,
    BundleError,
    Target,
    function_bundle,
    release_bundle,
)
from tests.test_locks import installed
from tools.testing import hostile
from tools.testing.drawing import convert
from tools.testing.images import FORMATS
from tools.testing.server import temporary_server

pytestmark = pytest.mark.slow

ELF_MACHINES: dict[Architecture, int] = {"x86_64": 62, "arm64": 183}  # EM_X86_64, EM_AARCH64
LOCAL = Target.here()
INSTANCE = ROOT / "stacks/instance"
UNITS = ("asciist-web", "asciist-poller")

architectures = pytest.mark.parametrize("architecture", ELF_MACHINES)


def function_target(architecture: Architecture) -> Target:
    return Target(architecture=architecture, python=FUNCTION_PYTHON)


def fingerprint(directory: Path) -> str:
    """A digest of all names, contents, modes and times below a directory."""
    digest = hashlib.sha256()
    for path in sorted(directory.rglob("*")):
        status = path.stat()
        digest.update(
            f"{path.relative_to(directory)} {status.st_mode:o} {status.st_mtime_ns}\n".encode()
        )
        digest.update(path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()


def names(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*")}


@architectures
def test_every_extension_is_for_the_processor_and_the_interpreter_of_the_function(
    architecture: Architecture,
) -> None:
    binaries = list(function_bundle(function_target(architecture)).rglob("*.so*"))

    assert {"_avif", "_imaging", "_webp", "_obstore"} <= {
        path.name.partition(".")[0] for path in binaries
    }
    for path in binaries:
        magic, machine = struct.unpack_from("<4s14xH", path.read_bytes())
        assert (magic, machine) == (b"\x7fELF", ELF_MACHINES[architecture]), path
        assert (
            ".cpython-" not in path.name
            or f".cpython-{FUNCTION_PYTHON.replace('.', '')}-" in path.name
        )


@architectures
def test_every_extension_loads_with_the_glibc_of_amazon_linux_2023(
    architecture: Architecture,
) -> None:
    bodies = [
        path.read_bytes() for path in function_bundle(function_target(architecture)).rglob("*.so*")
    ]
    minors = {int(minor) for body in bodies for minor in re.findall(rb"GLIBC_2\.(\d+)", body)}

    assert max(minors) <= 34
    # older runtimes of Lambda are not Amazon Linux 2023
    assert tuple(map(int, FUNCTION_PYTHON.split("."))) >= (3, 12)


@architectures
def test_the_function_contains_the_worker_and_its_locked_packages(
    architecture: Architecture,
) -> None:
    target = function_target(architecture)
    bundle = function_bundle(target)
    packages = {
        path.name.partition("-")[0].replace("_", "-") for path in bundle.glob("*.dist-info")
    }

    assert packages == installed("lambda_worker/requirements.txt", target).keys()
    assert {"asciist/wiring.py", "lambda_worker/handler.py"} <= names(bundle)
    assert not {
        "service",
        "flask",
        "gunicorn",
        "boto3",
        "botocore",
        "click",
        "tests",
        "bin",
    } & names(bundle)
    assert not [
        name
        for name in names(bundle)
        if re.search(r"__pycache__|RECORD|direct_url|_imagingft|freetype|harfbuzz", name)
    ]


@architectures
def test_the_function_contains_every_dependency_of_its_packages(architecture: Architecture) -> None:
    """The build does not resolve dependencies, so the lock must list all packages selected by the
    target's markers."""
    target = function_target(architecture)
    distributions = list(metadata.distributions(path=[str(function_bundle(target))]))
    dependencies = [
        Requirement(text) for distribution in distributions for text in distribution.requires or ()
    ]
    environment = {**target.markers, "extra": ""}
    needed = {
        canonicalize_name(entry.name)
        for entry in dependencies
        if entry.marker is None or entry.marker.evaluate(environment)
    }

    assert {"certifi", "requests"} <= needed
    assert needed <= {canonicalize_name(distribution.name) for distribution in distributions}


@architectures
def test_the_function_fits_into_lambda(architecture: Architecture, tmp_path: Path) -> None:
    bundle = function_bundle(function_target(architecture))
    archive = Path(shutil.make_archive(str(tmp_path / "function"), "zip", bundle))

    assert (
        sum(path.stat().st_size for path in bundle.rglob("*") if path.is_file())
        <= MAX_FUNCTION_BYTES
    )
    assert archive.stat().st_size <= MAX_FUNCTION_ZIP_BYTES


@pytest.mark.parametrize(
    ("build", "target"),
    [
        (function_bundle, function_target("x86_64")),
        (release_bundle, Target(architecture="arm64", python=INSTANCE_PYTHON)),
    ],
)
def test_two_builds_are_byte_identical(
    build: Callable[..., Path], target: Target, tmp_path: Path
) -> None:
    first = build(target)
    umask = os.umask(0o077)
    try:
        second = build(target, cache=tmp_path)
    finally:
        os.umask(umask)

    assert first.name == second.name
    assert fingerprint(first) == fingerprint(second)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the function's sources, and a pip that installs nothing."""
    for package in ("asciist", "lambda_worker", "stacks"):
        shutil.copytree(
            ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    monkeypatch.setattr(bundles, "ROOT", tmp_path)
    monkeypatch.setattr(bundles, "_pip", lambda *_: None)
    return tmp_path


def test_a_file_that_is_not_deployed_does_not_change_the_bundle(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = function_bundle(LOCAL, cache=project / "cache")
    (project / "README.md").write_text("new")
    (project / "asciist/__pycache__").mkdir()
    (project / "asciist/__pycache__/limits.pyc").write_bytes(b"new")
    (project / "asciist/.limits.py.swp").write_bytes(b"new")
    monkeypatch.setattr(bundles, "_build_function", None)  # a cached bundle is not built again

    assert function_bundle(LOCAL, cache=project / "cache") == before


@pytest.mark.parametrize("file", ["asciist/limits.py", "lambda_worker/requirements.txt"])
def test_a_changed_source_gives_another_bundle(project: Path, file: str) -> None:
    before = function_bundle(LOCAL, cache=project / "cache")
    with (project / file).open("a") as source:
        source.write("\n")

    assert function_bundle(LOCAL, cache=project / "cache") != before


def test_concurrent_synths_share_one_bundle(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both_build = Barrier(2)
    monkeypatch.setattr(bundles, "_pip", lambda *_: both_build.wait(120))
    with ThreadPoolExecutor(2) as synths:
        first, second = synths.map(
            lambda _: function_bundle(LOCAL, cache=project / "cache"), range(2)
        )

    assert first == second
    assert {path for path in (project / "cache").iterdir() if path.is_dir()} == {first}


def test_a_bundle_is_deleted_a_week_after_its_last_use(project: Path) -> None:
    cache = project / "cache"
    used_target, unused_target, new_target = (
        Target(architecture="arm64", python=f"3.{minor}") for minor in (11, 12, 13)
    )
    used, unused = (
        function_bundle(used_target, cache=cache),
        function_bundle(unused_target, cache=cache),
    )
    eight_days_ago = time.time() - 8 * 24 * 3600
    for bundle in (used, unused):
        os.utime(bundle, (eight_days_ago, eight_days_ago))
    function_bundle(used_target, cache=cache)
    new = function_bundle(new_target, cache=cache)

    assert {path for path in cache.iterdir() if path.is_dir()} == {used, new}


def test_a_failed_build_reports_the_output_of_pip_and_leaves_no_files(tmp_path: Path) -> None:
    for build in (function_bundle, release_bundle):
        with pytest.raises(
            BundleError,
            match=r"(?s)pip (install|download) failed: .*No matching distribution found",
        ):
            build(Target(architecture="x86_64", python="3.2"), cache=tmp_path)

    assert names(tmp_path) == {".gitignore"}


def test_a_function_that_exceeds_the_quota_is_an_error(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundles, "MAX_FUNCTION_BYTES", 10_000)

    with pytest.raises(
        BundleError,
        match=r"The function exceeds Lambda's quota: \d+ bytes unpacked, and the limit is 10000\.",
    ):
        function_bundle(LOCAL, cache=project / "cache")
    assert names(project / "cache") == {".gitignore"}


def test_the_function_converts_every_format_with_its_own_packages_only(cat: bytes) -> None:
    """The process sees neither the libraries removed from the bundle nor this environment."""
    gradient = hostile.gradient()
    images = [
        cat,
        *(hostile.encoded(gradient, name) for name in FORMATS),
    ]
    options, limits = ConversionOptions(width=20), Limits()
    program = """
import json, sys
sys.path.insert(0, sys.argv[1])
import lambda_worker.handler
from asciist.conversion import ConversionOptions, convert
from asciist.limits import Limits
images = map(bytes.fromhex, json.load(sys.stdin))
print(json.dumps([convert(image, ConversionOptions(width=20), Limits()).text for image in images]))
print(json.dumps([module.__file__ for name, module in sys.modules.items() if name in ("PIL", "obstore", "asciist")]))
"""
    bundle = function_bundle(LOCAL)
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-W", "error", "-c", program, bundle],
        input=json.dumps([image.hex() for image in images]),
        capture_output=True,
        text=True,
        check=True,
    )
    arts, files = map(json.loads, done.stdout.splitlines())

    assert arts == [convert(image, options, limits) for image in images]
    assert len(files) == 3
    assert all(Path(file).is_relative_to(bundle) for file in files)


def offline(command: list[str], **options: str) -> subprocess.CompletedProcess[str]:
    """Run without a network: in an empty network namespace if permitted, and with a proxy that does
    not exist."""
    unshare = ["unshare", "--net"]
    permitted = (
        shutil.which(unshare[0]) and subprocess.run([*unshare, "true"], check=False).returncode == 0
    )
    return subprocess.run(
        [*(unshare if permitted else []), *command],
        capture_output=True,
        text=True,
        check=False,
        env={
            "PATH": os.environ["PATH"],
            "https_proxy": "http://127.0.0.1:9",
            "PIP_INDEX_URL": "http://127.0.0.1:9",
            **options,
        },
    )


@pytest.fixture(scope="module")
def release() -> Path:
    return release_bundle(LOCAL)


@pytest.fixture(scope="module")
def prefix(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of an installed release."""
    directory = tmp_path_factory.mktemp("instance") / "opt/asciist"
    done = offline(["bash", str(release / "install"), str(directory), sys.executable])
    assert done.returncode == 0, done.stderr
    return directory


@architectures
def test_the_release_has_every_wheel_for_the_instance(architecture: Architecture) -> None:
    target = Target(architecture=architecture, python=INSTANCE_PYTHON)
    directory = release_bundle(target)
    locked = installed("service/requirements-aws.txt", target)
    wheels = list((directory / "wheels").iterdir())
    machine = {"arm64": "aarch64", "x86_64": "x86_64"}[architecture]

    assert {wheel.name.split("-")[0].replace("_", "-") for wheel in wheels} == {"asciist", *locked}
    assert all(wheel.name.endswith(("-any.whl", f"_{machine}.whl")) for wheel in wheels)
    with zipfile.ZipFile(
        next(wheel for wheel in wheels if wheel.name.startswith("asciist-"))
    ) as own:
        assert {
            *("asciist/poller.py", "asciist/py.typed", "asciist_service/templates/editor.html")
        } <= set(own.namelist())
        assert {name.split("/")[0] for name in own.namelist()} == {
            "asciist",
            "asciist_service",
            "asciist-0.1.0.dist-info",
        }


def test_the_wheel_of_a_checkout_is_ready_for_an_index(tmp_path: Path) -> None:
    ignored = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "cdk.out")
    checkout = shutil.copytree(ROOT, tmp_path / "checkout", ignore=ignored)
    pip = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--no-build-isolation",
    ]
    subprocess.run([*pip, "--wheel-dir", tmp_path, checkout], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = archive.read("asciist-0.1.0.dist-info/METADATA").decode()
        commands = archive.read("asciist-0.1.0.dist-info/entry_points.txt").decode()

    assert {name.split("/")[0] for name in names} == {
        *("asciist", "asciist_service"),
        *("asciist-0.1.0.data", "asciist-0.1.0.dist-info"),
    }
    assert "asciist-0.1.0.data/data/share/man/man1/asciist.1" in names
    assert commands.split() == ["[console_scripts]", "asciist", "=", "asciist.cli:main"]
    assert (ROOT / "docs/package.md").read_text() in metadata
    assert "License-Expression: MIT\n" in metadata
    assert "asciist-0.1.0.dist-info/licenses/LICENSE" in names
    assert "asciist-0.1.0.dist-info/licenses/service/static/mono.LICENSE.txt" in names
    assert not re.search(r"\]\((?!https://)", metadata)  # an index does not resolve relative links


def test_a_release_is_not_installed_into_a_directory_with_files(
    release: Path, tmp_path: Path
) -> None:
    (tmp_path / "something").touch()
    done = offline(["bash", str(release / "install"), str(tmp_path), sys.executable])

    assert (done.returncode, done.stderr) == (1, f"install: {tmp_path} is not empty\n")
    assert names(tmp_path) == {"something"}


def unit(name: str) -> dict[str, list[str]]:
    """The settings of a systemd unit: each name with its values, in order."""
    settings: dict[str, list[str]] = {}
    for line in (INSTANCE / f"{name}.service").read_text().splitlines():
        if line and line[0] not in "#[":
            key, _, value = line.partition("=")
            settings.setdefault(key, []).append(value)
    return settings


def variables(name: str) -> dict[str, str]:
    return dict(assignment.split("=", 1) for assignment in unit(name)["Environment"])


class Instance:
    """The web unit's process in an installed release, started like systemd would."""

    def __init__(self, prefix: Path, directory: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifications:
            notifications.bind(str(directory / "notify"))
            notifications.settimeout(30)
            self.process = subprocess.Popen(
                unit("asciist-web")["ExecStart"][0].replace("/opt/asciist", str(prefix)).split(),
                cwd=prefix,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={
                    **variables("asciist-web"),
                    "ASCIIST_BACKEND": "embedded",
                    "ASCIIST_HOST": "127.0.0.1",
                    "ASCIIST_PORT": str(self.port),
                    "ASCIIST_DATA_DIR": str(directory / "data"),
                    "NOTIFY_SOCKET": str(directory / "notify"),
                },
            )
            self.notification = notifications.recv(1000)
        give_up = time.monotonic() + 300
        while self.request("GET", "/readyz") != (200, "ready\n"):
            assert time.monotonic() < give_up
            time.sleep(0.05)

    def request(self, method: str, path: str, body: bytes | None = None) -> tuple[int, str]:
        with contextlib.closing(
            http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        ) as connection:
            connection.request(method, path, body)
            response = connection.getresponse()
            return response.status, response.read().decode()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(120)


@pytest.fixture(scope="module")
def instance(prefix: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    instance = Instance(prefix, tmp_path_factory.mktemp("instance"))
    yield instance
    assert instance.stop() == 0


def test_an_installed_release_serves_art(instance: Instance, cat: bytes) -> None:
    expected = convert(cat, ConversionOptions(width=40), Limits())

    assert instance.request("PUT", "/?width=40", cat) == (200, expected + "\n")


def test_gunicorn_notifies_systemd_when_it_is_ready(instance: Instance) -> None:
    assert unit("asciist-web")["Type"] == ["notify"]
    assert b"READY=1" in instance.notification


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_runs_a_program_of_the_release(name: str, prefix: Path) -> None:
    program, *arguments = unit(name)["ExecStart"][0].split()

    assert os.access(program.replace("/opt/asciist", str(prefix)), os.X_OK)
    module = arguments[1].removeprefix("python:")
    find = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is None)"
    assert (
        subprocess.run([prefix / "bin/python", "-c", find], check=False, cwd=prefix).returncode == 0
    )


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_restarts_and_stops_gracefully(name: str) -> None:
    settings = unit(name)
    longest = Timeouts(request=50)  # the maximum of the setting

    assert settings["Restart"] == ["always"]
    assert settings["KillMode"] == ["mixed"]
    assert int(settings["TimeoutStopSec"][0]) > longest.graceful_stop + longest.worker


def test_the_web_unit_restarts_without_limit_because_the_load_balancer_checks_it() -> None:
    assert unit("asciist-web")["StartLimitIntervalSec"] == ["0"]


def test_an_instance_whose_pollers_keep_ending_shuts_down_but_not_because_the_queue_is_silent() -> (
    None
):
    settings = unit("asciist-poller")

    assert settings["StartLimitAction"] == ["poweroff"]
    # One that is denied the queue ends after a minute: ten of them within the interval.
    assert int(settings["StartLimitBurst"][0]) * 65 < int(settings["StartLimitIntervalSec"][0])
    assert (settings["Type"], settings["TimeoutStartSec"]) == (["notify"], ["infinity"])
    assert int(settings["WatchdogSec"][0]) > 10 * poller._CHECK_SECONDS


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_runs_without_privileges_and_sees_only_itself(name: str) -> None:
    settings = unit(name)

    assert settings["User"] == ["asciist"]
    assert settings["UMask"] == ["0077"]
    assert settings["CapabilityBoundingSet"] == [""]
    assert settings["ProtectSystem"] == ["strict"]
    assert (settings["ProtectProc"], settings["ProcSubset"]) == (["invisible"], ["pid"])
    for switch in (
        "NoNewPrivileges",
        "ProtectHome",
        "PrivateTmp",
        "PrivateDevices",
        "PrivateUsers",
        "MemoryDenyWriteExecute",
    ):
        assert settings[switch] == ["yes"], switch
    assert settings["RestrictAddressFamilies"] == ["AF_INET AF_INET6 AF_UNIX"]
    allowed, denied, *others = settings["SystemCallFilter"]
    assert allowed == "@system-service"
    assert "landlock_create_ruleset landlock_restrict_self" in others
    assert {*others} <= {"setpriority", "landlock_create_ruleset landlock_restrict_self"}
    assert {"~@aio", "@privileged", "@resources", "@setuid"} <= set(denied.split())


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_leaves_memory_to_the_system_and_outlives_a_process_that_is_killed_for_its_memory(
    name: str,
) -> None:
    settings = unit(name)

    assert settings["MemoryMax"] == ["80%"]
    assert settings["OOMPolicy"] == ["continue"]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
@pytest.mark.parametrize("name", UNITS)
def test_the_exposure_of_a_unit_is_at_most_2(name: str) -> None:
    # in tenths
    analyse = ["systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=20"]
    report = subprocess.run(
        [*analyse, INSTANCE / f"{name}.service"], capture_output=True, text=True, check=False
    )

    assert report.returncode == 0, report.stdout + report.stderr
    assert f"Overall exposure level for {name}.service:" in report.stdout


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_has_the_allocator_settings_of_the_serve_command(name: str) -> None:
    known = {
        name: text for name, text in cli.SERVER_ENVIRONMENT.items() if name != "GLIBC_TUNABLES"
    }
    assert known.items() <= variables(name).items()
    # glibc 2.34 of Amazon Linux 2023 has no tunable for huge pages
    assert "GLIBC_TUNABLES" not in variables(name)


def test_log_files_are_shipped_and_rotated() -> None:
    config = json.loads((INSTANCE / "cloudwatch-agent.json").read_text())
    shipped = {
        entry["file_path"] for entry in config["logs"]["logs_collected"]["files"]["collect_list"]
    }

    assert {unit(name)["StandardOutput"][0].removeprefix("append:") for name in UNITS} <= shipped
    assert "/var/log/asciist/*.log" in (INSTANCE / "logrotate.conf").read_text()


def test_memory_is_reported_for_each_group() -> None:
    """CloudWatch cannot measure it without the agent."""
    metrics = json.loads((INSTANCE / "cloudwatch-agent.json").read_text())["metrics"]

    assert metrics["aggregation_dimensions"] == [["Group"]]
    for collected in metrics["metrics_collected"].values():
        assert collected["append_dimensions"].keys() == {"Group"}
    assert "mem_used_percent" in metrics["metrics_collected"]["mem"]["measurement"]
    # At this level, the agent would need permission to list the tags of the whole account.
    assert "append_dimensions" not in metrics


class Rehearsal:
    """`boot`, run with a directory in place of /, and with stand-ins for system commands that
    record their calls."""

    def __init__(self, release: Path, prefix: Path, directory: Path) -> None:
        self.root = directory / "root"
        self.commands = directory / "commands"
        self.calls = directory / "calls"
        self.release = directory / "release"
        shutil.copytree(release, self.release, ignore=shutil.ignore_patterns("wheels"))
        (self.release / "install").write_text(
            f'mkdir -p "$(dirname "$1")" && ln -s {prefix} "$1"\n'
        )
        (directory / "environment").write_text("ASCIIST_REQUEST_TIMEOUT=10\n")
        self.environment = directory / "environment"
        for command in ("dnf", "id", "useradd", "sleep"):
            self.stand_in(command)
        self.stand_in("systemctl")
        self.stand_in(self.root / "opt/aws/amazon-cloudwatch-agent/bin/amazon-cloudwatch-agent-ctl")

    def stand_in(self, command: str | Path, then: str = "") -> None:
        path = self.commands / command
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'#!/usr/bin/env bash\necho "${{0##*/}} $*" >>"{self.calls}"\n{then}\n')
        path.chmod(0o755)

    def boot(self, unit: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", self.release / "boot", unit, self.environment, "asciist/log", "prod-web"],
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": f"{self.commands}:{os.environ['PATH']}", "DESTDIR": str(self.root)},
        )


@pytest.fixture
def rehearsal(release: Path, prefix: Path, tmp_path: Path) -> Rehearsal:
    return Rehearsal(release, prefix, tmp_path)


def test_boot_ends_when_the_web_server_is_ready(rehearsal: Rehearsal, instance: Instance) -> None:
    rehearsal.environment.write_text(f"ASCIIST_PORT={instance.port}\nASCIIST_BACKEND=embedded\n")
    if not shutil.which("curl"):
        rehearsal.stand_in(
            "curl",
            f'exec {sys.executable} -c "import urllib.request as u; u.urlopen(\\"${{@: -1}}\\")"',
        )
    done = rehearsal.boot("asciist-web")
    calls = rehearsal.calls.read_text()

    assert done.returncode == 0, done.stderr
    assert (
        f"dnf install --assumeyes --quiet python{LOCAL.python} amazon-cloudwatch-agent logrotate\n"
        in calls
    )
    assert "systemctl daemon-reload\n" in calls
    assert "systemctl enable --now asciist-web\n" in calls
    agent_config = rehearsal.root / "opt/aws/amazon-cloudwatch-agent/etc/asciist.json"
    assert f"-c file:{agent_config}\n" in calls
    assert '"log_group_name": "asciist/log"' in agent_config.read_text()
    assert '"Group": "prod-web"' in agent_config.read_text()
    assert "_GROUP" not in agent_config.read_text()
    installed = rehearsal.root / "etc/asciist/environment"
    assert installed.read_text() == rehearsal.environment.read_text()
    assert installed.stat().st_mode & 0o777 == 0o600
    assert (rehearsal.root / "etc/systemd/system/asciist-web.service").is_file()
    assert (rehearsal.root / "opt/asciist/bin/gunicorn").exists()


LINK_KEYS = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:LinkKeys-AbCdEf"


def test_boot_from_a_baked_image_installs_nothing(rehearsal: Rehearsal) -> None:
    prepared = rehearsal.boot("--prepare")
    assert prepared.returncode == 0, prepared.stderr
    assert "dnf install" in rehearsal.calls.read_text()
    assert "systemctl" not in rehearsal.calls.read_text()
    rehearsal.calls.write_text("")
    done = rehearsal.boot("asciist-poller")

    assert done.returncode == 0, done.stderr
    assert "dnf" not in rehearsal.calls.read_text()
    assert "systemctl enable --now asciist-poller\n" in rehearsal.calls.read_text()


def test_boot_from_an_image_of_another_release_installs_its_own(rehearsal: Rehearsal) -> None:
    assert rehearsal.boot("--prepare").returncode == 0
    rehearsal.calls.write_text("")
    with (rehearsal.release / "requirements.txt").open("a") as requirements:
        requirements.write("another==1.0\n")
    assert rehearsal.boot("asciist-poller").returncode == 0
    assert "dnf install" in rehearsal.calls.read_text()


def test_the_probe_has_all_that_it_needs(tmp_path: Path) -> None:
    """It runs with plain Python, converts and deletes an image, and fails if the service does."""
    code = "from operations.probe import handler; handler({}, None)"

    def probe(url: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                sys.executable,
                "-I",
                "-c",
                f"import sys; sys.path.insert(0, {str(bundles.probe_bundle())!r}); {code}",
            ],
            cwd=tmp_path,
            env={"ASCIIST_URL": url},
            capture_output=True,
            text=True,
            check=False,
        )

    with temporary_server() as server:
        done = probe(server.url)
        assert (done.returncode, done.stderr) == (0, "")
        assert [line[:2] for line in done.stdout.splitlines()] == ["ok", "ok", "ok"]
    failed = probe("http://127.0.0.1:9")
    assert failed.returncode == 1
    assert "SmokeError: failed: a new image is converted, " in failed.stderr


def test_boot_gives_the_keys_of_links_to_the_unit_and_to_nobody_else(rehearsal: Rehearsal) -> None:
    rehearsal.environment.write_text(
        f"ASCIIST_BACKEND=aws\nLINK_KEYS_SECRET_ARN={LINK_KEYS}\nASCIIST_PORT=8080\n"
    )
    rehearsal.stand_in("aws", "echo new,old")
    rehearsal.stand_in("curl")
    done = rehearsal.boot("asciist-web")
    installed = rehearsal.root / "etc/asciist/environment"

    assert done.returncode == 0, done.stderr
    assert (
        f"aws secretsmanager get-secret-value --region eu-west-1 --secret-id {LINK_KEYS} "
        in rehearsal.calls.read_text()
    )
    assert (
        installed.read_text() == f"{rehearsal.environment.read_text()}ASCIIST_LINK_KEYS=new,old\n"
    )
    assert installed.stat().st_mode & 0o777 == 0o600
    assert "new,old" not in done.stdout + done.stderr + rehearsal.calls.read_text()


def test_boot_fails_if_the_keys_of_links_cannot_be_read(rehearsal: Rehearsal) -> None:
    rehearsal.environment.write_text(f"LINK_KEYS_SECRET_ARN={LINK_KEYS}\n")
    rehearsal.stand_in("aws", "exit 254")
    done = rehearsal.boot("asciist-web")

    assert done.returncode == 1
    assert "boot: the keys of links cannot be read\n" in done.stderr
    assert "enable --now asciist-web" not in rehearsal.calls.read_text()


PEER = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:peer-AbCdEf"


def test_boot_gives_the_credentials_of_the_peer_store_to_the_unit_and_to_nobody_else(
    rehearsal: Rehearsal,
) -> None:
    rehearsal.environment.write_text(
        f"ASCIIST_BACKEND=aws\nPEER_SECRET_ARN={PEER}\nASCIIST_PORT=8080\n"
    )
    rehearsal.stand_in(
        "aws",
        """echo '{"AZURE_STORAGE_ACCOUNT_NAME": "art", "AZURE_CLIENT_SECRET": "a~b/c+d%=="}'""",
    )
    rehearsal.stand_in("curl")
    done = rehearsal.boot("asciist-web")
    installed = (rehearsal.root / "etc/asciist/environment").read_text()

    assert done.returncode == 0, done.stderr
    assert (
        f"aws secretsmanager get-secret-value --region eu-west-1 --secret-id {PEER} "
        in rehearsal.calls.read_text()
    )
    added = "AZURE_STORAGE_ACCOUNT_NAME=art\nAZURE_CLIENT_SECRET=a~b/c+d%==\n"
    assert installed == f"{rehearsal.environment.read_text()}{added}"
    assert "a~b" not in done.stdout + done.stderr + rehearsal.calls.read_text()


@pytest.mark.parametrize(
    ("secret", "problem"),
    [
        ("top-secret", "the secret is not JSON"),
        ('["top-secret"]', "the secret is not an object of variables"),
        (
            '{"AZURE_CLIENT_ID": "a", "AWS_ACCESS_KEY_ID": "top-secret"}',
            "AWS_ACCESS_KEY_ID is not the name of a variable AZURE_…",
        ),
        (
            '{"AZURE_CLIENT_SECRET": "top-secret\\nASCIIST_HOST=::"}',
            "the value of AZURE_CLIENT_SECRET is not a text of",
        ),
        ('{"AZURE_CLIENT_SECRET": 7}', "the value of AZURE_CLIENT_SECRET is not a text of"),
    ],
)
def test_boot_fails_if_the_secret_of_the_peer_store_is_none_and_does_not_show_it(
    rehearsal: Rehearsal, secret: str, problem: str
) -> None:
    rehearsal.environment.write_text(f"PEER_SECRET_ARN={PEER}\n")
    rehearsal.stand_in("aws", f"echo '{secret}'")
    done = rehearsal.boot("asciist-web")

    assert done.returncode == 1
    assert f"peer-variables: {problem}" in done.stderr
    assert "boot: the credentials of the peer store cannot be read\n" in done.stderr
    assert "top-secret" not in done.stdout + done.stderr
    assert "enable --now asciist-web" not in rehearsal.calls.read_text()


def test_boot_waits_for_the_lock_of_the_packages(rehearsal: Rehearsal) -> None:
    """Another program, such as the update of the Systems Manager agent, holds the lock for some
    seconds."""
    failed = (
        "can't create transaction lock on /var/lib/rpm/.rpm.lock (Resource temporarily unavailable)"
    )
    rehearsal.stand_in(
        "dnf",
        f'(( $(grep -c "^dnf " "{rehearsal.calls}") > 3 )) || {{ echo "{failed}" >&2; exit 1; }}',
    )
    done = rehearsal.boot("asciist-poller")
    calls = rehearsal.calls.read_text().splitlines()

    assert done.returncode == 0, done.stderr
    assert sum(call.startswith("dnf install") for call in calls) == 4
    assert [call for call in calls if call.startswith("sleep")] == ["sleep 1", "sleep 2", "sleep 3"]


def test_boot_starts_the_poller(rehearsal: Rehearsal) -> None:
    done = rehearsal.boot("asciist-poller")

    assert done.returncode == 0, done.stderr
    assert "systemctl enable --now asciist-poller\n" in rehearsal.calls.read_text()


@pytest.mark.parametrize(
    ("unit", "command", "then", "message"),
    [
        ("asciist-web", "dnf", "echo 'dnf: no such package' >&2; exit 1", "dnf: no such package"),
        ("asciist-web", "dnf", "exit 1", "boot: the packages cannot be installed"),
        (
            "asciist-web",
            "systemctl",
            '[[ $* != "enable --now asciist-web" ]]',
            "boot: asciist-web did not start",
        ),
        ("asciist-web", "curl", "exit 22", "boot: asciist-web is not ready"),
        (
            "asciist-poller",
            "systemctl",
            '[[ $* != "enable --now asciist-poller" ]]',
            "boot: asciist-poller did not start",
        ),
    ],
)
def test_a_failed_boot_exits_with_1_and_names_the_failure(
    rehearsal: Rehearsal, unit: str, command: str, then: str, message: str
) -> None:
    rehearsal.stand_in(command, then)
    done = rehearsal.boot(unit)

    assert done.returncode == 1
    assert message in done.stderr


def test_every_shell_script_passes_shellcheck() -> None:
    files = [
        path
        for folder in ("stacks/instance", "stacks/azure/instance", "tests/stacks", "tools", ".ci")
        for path in (ROOT / folder).iterdir()
        if path.is_file()
    ]
    scripts = [path for path in files if re.match(rb"#!.*\b(ba)?sh\n", path.read_bytes())]

    assert {"boot", "install", "setup", "lock", "run", "systemd.sh"} <= {
        path.name for path in scripts
    }
    checked = subprocess.run(
        [Path(sys.executable).parent / "shellcheck", *scripts],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout
