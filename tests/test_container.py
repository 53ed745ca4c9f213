"""The image of Containerfile. `make try-container` builds and runs it; these tests need no
container engine."""

import re
from fnmatch import fnmatch
from pathlib import Path

import yaml

from asciist.settings import Settings

ROOT = Path(__file__).parent.parent
CONTAINERFILE = (ROOT / "Containerfile").read_text()
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())


def test_every_copied_file_exists_and_is_sent_to_the_engine() -> None:
    sent = [
        line.removeprefix("!")
        for line in (ROOT / ".containerignore").read_text().splitlines()
        if line.startswith("!")
    ]
    copied = [
        name
        for names in re.findall(r"^COPY (?!--)(.+) \S+$", CONTAINERFILE, re.MULTILINE)
        for name in names.split()
    ]

    assert sorted(copied) == sorted(sent)
    assert all((ROOT / name).exists() for name in copied)
    # Docker reads only this name
    assert (ROOT / ".dockerignore").resolve() == ROOT / ".containerignore"
    assert not any(fnmatch(name, ".*") for name in copied)


def test_the_service_is_not_root_and_listens_where_the_image_says() -> None:
    (user,) = re.findall(r"^USER (.+)$", CONTAINERFILE, re.MULTILINE)
    variables = dict(
        re.findall(r"^(?:ENV )? *([A-Z_]+)=(\S+)(?: \\)?$", CONTAINERFILE, re.MULTILINE)
    )
    settings = Settings.from_environment(
        {name: variables[name] for name in ("HOST", "PORT", "ASCIIST_DATA_DIR")}
    )

    assert int(user.split(":")[0]) > 0
    assert re.findall(r"^EXPOSE (\d+)$", CONTAINERFILE, re.MULTILINE) == [str(settings.port)]
    assert re.findall(r"^VOLUME (\S+)$", CONTAINERFILE, re.MULTILINE) == [str(settings.data_dir)]
    # The engine decides which addresses are published.
    assert settings.host == "0.0.0.0"  # noqa: S104


def test_the_base_is_pinned_by_its_digest() -> None:
    assert re.findall(r"^ARG BASE=(\S+)$", CONTAINERFILE, re.MULTILINE)[0].startswith(
        "docker.io/library/debian:13-slim@sha256:"
    )
    assert re.findall(r"^FROM (\S+)", CONTAINERFILE, re.MULTILINE) == ["${BASE}", "${BASE}"]


def test_compose_runs_nothing_but_the_service_read_only_and_for_this_machine() -> None:
    ((name, service),) = COMPOSE["services"].items()

    assert name == "asciist"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["mem_limit"] == service["memswap_limit"] == "4g"
    assert service["pids_limit"] > 0
    assert service["ports"] == ["127.0.0.1:27244:27244"]
    assert service["volumes"] == ["data:/data"]
