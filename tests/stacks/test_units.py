"""The units of the instances work while systemd confines them: a real systemd, in its own
namespaces."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asciist.conversion import ConversionOptions
from asciist.limits import Limits
from stacks.bundles import ROOT
from tests.processes import landlock_is_supported
from tests.stacks.test_bundles import INSTANCE, UNITS
from tools.testing.drawing import convert

pytestmark = pytest.mark.slow

ENVIRONMENTS = {
    # The unit's own.
    "asciist-web": {"ASCIIST_BACKEND": "embedded", "ASCIIST_DATA_DIR": "/tmp/data"},  # noqa: S108
    "asciist-poller": {
        "ASCIIST_BACKEND": "aws",
        "ASCIIST_BUCKET": "bucket",
        "ASCIIST_REQUEST_QUEUE_URL": "http://127.0.0.1:9/0/requests",  # nothing listens there
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "key",
        "AWS_REGION": "eu-west-1",
        "AWS_DEFAULT_REGION": "eu-west-1",
    },
}
"""Settings of each unit. Together they use every backend, and so every package of the release."""

PYTHON = f"/opt/python/bin/python3.{sys.version_info.minor}"
"""The interpreter of this environment; a machine may have others beside it."""

PROBE = f"""
[Unit]
DefaultDependencies=no
SuccessAction=exit-force
FailureAction=exit-force

[Service]
Type=oneshot
Environment=LD_LIBRARY_PATH=/opt/python/lib
ExecStart={PYTHON} /etc/probe.py
TimeoutStartSec=700
StandardOutput=file:/result/output
StandardError=inherit
"""


def as_tested(name: str) -> str:
    """The text of a unit, with this environment in place of the release, and without the network's
    units."""
    variables = "LD_LIBRARY_PATH=/opt/python/lib PYTHONPATH=/opt/asciist:/opt/packages"
    text = re.sub(
        r"^(Wants|After)=.*\n", "", (INSTANCE / f"{name}.service").read_text(), flags=re.MULTILINE
    )
    for old, new in (
        ("[Unit]\n", "[Unit]\nDefaultDependencies=no\n"),
        ("[Service]\n", f"[Service]\nEnvironment={variables}\n"),
        ("=/opt/asciist/bin/gunicorn ", f"={PYTHON} -m gunicorn "),
        ("=/opt/asciist/bin/python ", f"={PYTHON} "),
        ("python:asciist_service.", "python:service."),  # its name in a checkout
        ("=/etc/asciist/environment\n", f"=/etc/asciist/{name}\n"),
    ):
        text = text.replace(old, new)
    return text


@pytest.fixture(scope="module")
def group() -> Iterator[Path]:
    """A control group for systemd. Skips the tests if this machine cannot run it."""
    mounted = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    roots = [Path(fields[1]) for fields in mounted if fields[2] == "cgroup2"]
    if (
        os.geteuid() != 0
        or not shutil.which("unshare")
        or not Path("/lib/systemd/systemd").exists()
        or not roots
    ):
        pytest.skip("only root can run systemd in namespaces, if it is installed")
    group = roots[0] / f"asciist-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made: {error}")
    yield group
    for path in [*sorted(group.rglob("*/"), reverse=True), group]:
        path.rmdir()


def findings(directory: Path, group: Path, *, packages: Path) -> dict[str, Any]:
    """Run systemd with the units in a directory, and return the findings of its probe. Skips the
    tests if it cannot run.

    The units see this environment's Python at /opt/python, the checkout at /opt/asciist, and
    `packages` at /opt/packages.
    """
    namespaces = [
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "--ipc",
        "--uts",
        "--net",
        "--cgroup",
    ]
    script = Path(__file__).with_name("systemd.sh")
    command = ["unshare", *namespaces, "bash", script, directory, sys.base_prefix, packages, ROOT]
    done = subprocess.run(
        ["bash", "-c", f'echo $$ >{group}/cgroup.procs && exec "$@"', "bash", *command],
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    output = directory / "result/output"
    if not output.exists():
        pytest.skip(f"systemd cannot be run here: {done.stderr}")
    assert (directory / "result/found").exists(), output.read_text()
    found: dict[str, Any] = json.loads((directory / "result/found").read_text())
    return found


@pytest.fixture(scope="module")
def found(group: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The findings of the probe."""
    directory = tmp_path_factory.mktemp("systemd")
    units = directory / "etc/systemd/system"
    for path in (units, directory / "etc/asciist", directory / "result"):
        path.mkdir(parents=True)
    for name in UNITS:
        (units / f"{name}.service").write_text(as_tested(name))
        variables = "".join(f"{key}={value}\n" for key, value in ENVIRONMENTS[name].items())
        (directory / "etc/asciist" / name).write_text(variables)
        (directory / "etc/asciist" / name).chmod(0o600)
    (units / "probe.service").write_text(PROBE)
    shutil.copy(Path(__file__).with_name("systemd_probe.py"), directory / "etc/probe.py")
    shutil.copy(ROOT / "docs/examples/cat.jpg", directory / "etc/image")
    return findings(directory, group, packages=Path(pytest.__file__).parent.parent)


def test_the_web_unit_converts_and_stores_while_it_is_confined(found: dict[str, Any]) -> None:
    image = (ROOT / "docs/examples/cat.jpg").read_bytes()

    assert found["asciist-web"]["works"], found["asciist-web"]
    assert (
        found["asciist-web"]["art"] == convert(image, ConversionOptions(width=40), Limits()) + "\n"
    )


def test_converters_enter_their_sandbox_inside_that_of_the_unit(found: dict[str, Any]) -> None:
    lacks = "" if landlock_is_supported() else ", but images are converted without landlock"

    assert found["asciist-web"]["readiness"] == f"ready{lacks}\n"


def test_the_poller_unit_tries_to_reach_its_queue_while_it_is_confined(
    found: dict[str, Any],
) -> None:
    assert found["asciist-poller"]["works"], found["asciist-poller"]


@pytest.mark.parametrize("name", UNITS)
def test_no_process_of_a_unit_has_a_privilege(found: dict[str, Any], name: str) -> None:
    processes = found[name]["processes"]

    assert processes
    for process in processes:
        assert process["Uid"].split() == ["990"] * 4
        assert int(process["CapEff"], 16) == int(process["CapBnd"], 16) == 0
        assert (process["NoNewPrivs"], process["Seccomp"]) == ("1", "2")  # 2: a filter


def test_a_confined_converter_is_the_first_to_be_killed_for_memory(found: dict[str, Any]) -> None:
    assert {process["oom_score_adj"] for process in found["asciist-web"]["processes"]} == {
        "0",
        "500",
    }


@pytest.mark.parametrize("name", UNITS)
def test_a_confined_unit_stops_gracefully(found: dict[str, Any], name: str) -> None:
    assert (found[name]["stopped"], found[name]["result"], found[name]["restarts"]) == (
        0,
        "success",
        "0",
    )
