"""The unit that reports a poller's health, under a real systemd in its own namespaces."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from stacks.bundles import ROOT
from tests.stacks.test_units import PROBE, findings, group

__all__ = ["group"]

pytestmark = pytest.mark.slow

FILES = ROOT / "stacks/azure/instance"
PYTHON = "/opt/python/bin/python3"

POLLER = f"""
[Unit]
DefaultDependencies=no
StartLimitIntervalSec=900
StartLimitBurst=3
StartLimitAction=poweroff

[Service]
Environment=LD_LIBRARY_PATH=/opt/python/lib
ExecStart={PYTHON} -c "import time; time.sleep(1000)"
Restart=always
RestartSec=100ms
"""
"""A process in place of the poller, with a restart limit low enough to be reached."""

LOOK = """
import json, subprocess, time, urllib.request

def is_healthy():
    try:
        return urllib.request.urlopen("http://127.0.0.1:8081/", timeout=2).status == 200
    except OSError:
        return False

def comes(expected):
    give_up = time.monotonic() + 300
    while is_healthy() is not expected and time.monotonic() < give_up:
        time.sleep(0.05)
    return is_healthy()

def systemctl(*arguments):
    return subprocess.run(["systemctl", *arguments], capture_output=True, text=True).stdout.strip()

found = {"before": is_healthy()}
systemctl("start", "asciist-poller")
found["started"] = comes(True)
first = systemctl("show", "--property=MainPID", "asciist-health")
systemctl("kill", "--signal=KILL", "asciist-poller")
time.sleep(1)
found["restarted"] = comes(True)
found["another"] = systemctl("show", "--property=MainPID", "asciist-health") != first
for _ in range(4):
    systemctl("kill", "--signal=KILL", "asciist-poller")
    time.sleep(0.5)
found["failed"] = (comes(False), systemctl("is-active", "asciist-poller"))
json.dump(found, open("/result/found", "w"))
"""


@pytest.fixture(scope="module")
def found(group: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    directory = tmp_path_factory.mktemp("systemd")
    units = directory / "etc/systemd/system"
    for path in (units / "asciist-poller.service.d", directory / "result"):
        path.mkdir(parents=True)
    health = (FILES / "asciist-health.service").read_text()
    health = health.replace("/usr/bin/python3", PYTHON).replace(
        "/var/lib/asciist-health", "/opt/packages"
    )
    health = health.replace("[Unit]\n", "[Unit]\nDefaultDependencies=no\n")
    health = health.replace(
        "[Service]\n", "[Service]\nEnvironment=LD_LIBRARY_PATH=/opt/python/lib\n"
    )
    (units / "asciist-health.service").write_text(health)
    (units / "asciist-poller.service").write_text(POLLER)
    shutil.copy(FILES / "asciist-poller.conf", units / "asciist-poller.service.d/azure.conf")
    (units / "probe.service").write_text(PROBE)
    (directory / "etc/probe.py").write_text(LOOK)
    packages = tmp_path_factory.mktemp("empty")
    packages.chmod(0o755)
    return findings(directory, group, packages=packages)


def test_the_unit_answers_while_the_poller_runs(found: dict[str, Any]) -> None:
    assert (found["before"], found["started"]) == (False, True)


def test_the_unit_begins_again_with_the_poller(found: dict[str, Any]) -> None:
    assert (found["restarted"], found["another"]) == (True, True)


def test_the_unit_is_silent_when_the_poller_has_failed_and_the_instance_runs_on(
    found: dict[str, Any],
) -> None:
    assert found["failed"] == [False, "failed"]
