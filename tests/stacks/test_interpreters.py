"""Bundles are the same bytes whichever Python 3.11+ builds them.

The build runs under every other version on this machine with a venv module. Missing versions are
skipped: no package registry provides interpreters, so a machine with one Python proves nothing
about the others here.
"""

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest
from packaging.markers import default_environment

from stacks.bundles import (
    FUNCTION_PYTHON,
    INSTANCE_PYTHON,
    ROOT,
    Target,
    function_bundle,
    locked_requirements,
    release_bundle,
)
from tests.stacks.test_bundles import fingerprint

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

FUNCTION = Target(architecture="arm64", python=FUNCTION_PYTHON)
INSTANCE = Target(architecture="arm64", python=INSTANCE_PYTHON)
VERSIONS = ("3.11", "3.12", "3.13", "3.14")
BUILD_REQUIREMENTS = ("packaging", "setuptools")
"""Packages imported by a build, besides pip."""

BUILD = """
import sys
from pathlib import Path
from stacks.bundles import Target, function_bundle, release_bundle
cache = Path(sys.argv[1])
print(function_bundle(Target(architecture="arm64", python=sys.argv[2]), cache=cache))
print(release_bundle(Target(architecture="arm64", python=sys.argv[3]), cache=cache))
"""


@cache
def interpreter(version: str) -> str | None:
    """The path of a Python of this minor version that can create environments: in PATH, or one of
    pyenv's."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [
        *sorted(map(str, pyenv.glob(f"{version}.*/bin/python3"))),
        f"python{version}",
        "python3",
        "/usr/bin/python3",
    ]
    check = f"import ensurepip, sys, venv; sys.exit('%d.%d' % sys.version_info[:2] != '{version}')"
    for candidate in candidates:
        path = shutil.which(candidate)
        if (
            path
            and subprocess.run([path, "-c", check], check=False, capture_output=True).returncode
            == 0
        ):
            return path
    return None


def environment(python: str, directory: Path) -> Path:
    """Create an environment of an interpreter with the packages for a build, at the locked
    versions. Returns its Python."""
    subprocess.run([python, "-m", "venv", directory], check=True)
    here = locked_requirements(ROOT / "requirements.txt", Target.here()).splitlines()
    needed = [line for line in here if line.split("==")[0] in BUILD_REQUIREMENTS]
    assert len(needed) == len(BUILD_REQUIREMENTS)
    (directory / "requirements.txt").write_text("\n".join(needed))
    pip = [
        directory / "bin/python",
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--require-hashes",
    ]
    subprocess.run([*pip, "--requirement", directory / "requirements.txt"], check=True)
    return directory / "bin/python"


@pytest.mark.parametrize("version", VERSIONS)
def test_another_interpreter_builds_the_same_bytes(version: str, tmp_path: Path) -> None:
    if version == Target.here().python:
        pytest.skip(f"Python {version} runs the tests")
    if (python := interpreter(version)) is None:
        pytest.skip(f"no Python {version} with its venv module on this machine")
    built = subprocess.run(
        [
            environment(python, tmp_path / "venv"),
            "-c",
            BUILD,
            tmp_path / "bundles",
            FUNCTION_PYTHON,
            INSTANCE_PYTHON,
        ],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    function, release = map(Path, built.stdout.splitlines())

    assert function.name == function_bundle(FUNCTION).name
    assert release.name == release_bundle(INSTANCE).name
    assert fingerprint(function) == fingerprint(function_bundle(FUNCTION))
    assert fingerprint(release) == fingerprint(release_bundle(INSTANCE))


def test_the_running_interpreter_supplies_no_marker_variable() -> None:
    """The packaging library takes missing variables from the running interpreter."""
    assert INSTANCE.markers.keys() == default_environment().keys()
    assert INSTANCE.markers["python_full_version"].startswith(f"{INSTANCE.python}.")
    assert (INSTANCE.machine, INSTANCE.abi) == ("aarch64", "cp311")


def test_markers_of_the_target_choose_the_requirements(tmp_path: Path) -> None:
    lock = tmp_path / "lock.txt"
    digest = f"--hash=sha256:{'0' * 64}"
    conditions = {
        "old": "python_version < '3.12'",
        "new": "python_full_version >= '3.12'",
        "arm": "platform_machine == 'aarch64'",
        "windows": "sys_platform == 'win32' or os_name == 'nt'",
        "pypy": "platform_python_implementation != 'CPython' or implementation_name == 'pypy'",
    }
    lock.write_text(
        "# compiled\n"
        + "".join(f"{n}==1 ; {c} \\\n    {digest}\n    # via x\n" for n, c in conditions.items())
    )

    assert locked_requirements(lock, INSTANCE) == f"old==1 {digest}\narm==1 {digest}\n"
    assert (
        locked_requirements(lock, Target(architecture="x86_64", python="3.13"))
        == f"new==1 {digest}\n"
    )
