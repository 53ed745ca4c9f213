"""Each test file is in one part of the tests, and continuous integration runs every part."""

import re
import shlex
import shutil
import subprocess
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
PARTS = (
    "test",
    "test-faults",
    "test-page",
    "test-migration",
    "test-azure",
    "test-bench",
    "test-aws",
)
TESTPATHS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"][
    "testpaths"
]
FILES = {
    str(file.relative_to(ROOT)) for path in TESTPATHS for file in (ROOT / path).rglob("test_*.py")
}


def workflow(name: str) -> dict[Any, Any]:
    content: dict[Any, Any] = yaml.safe_load((ROOT / f".github/workflows/{name}.yml").read_text())
    return content


@cache
def arguments(target: str) -> list[str]:
    """Return the arguments of pytest of a target of the Makefile."""
    printed = subprocess.run(
        ["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    (line,) = (line for line in printed.splitlines() if " -m pytest " in line)
    words = shlex.split(line)
    return words[words.index("pytest") + 1 :]


def marker(words: list[str]) -> str:
    """Return the expression of `-m`, or nothing."""
    return words[words.index("-m") + 1] if "-m" in words else ""


def below(paths: list[str]) -> set[str]:
    """Return the test files that are, or are in, one of `paths`, each of which has some."""
    found = {path: {file for file in FILES if f"{file}/".startswith(f"{path}/")} for path in paths}
    assert all(found.values()), f"no tests: {[path for path, files in found.items() if not files]}"
    return set().union(*found.values())


def selected(target: str) -> set[str]:
    """Return the test files that a target of the Makefile runs."""
    words = arguments(target)
    ignored = [word.removeprefix("--ignore=") for word in words if word.startswith("--ignore=")]
    paths = [word for word in words if f"{word}/".startswith(tuple(f"{at}/" for at in TESTPATHS))]
    return (below(paths) if paths else FILES) - below(ignored)


def test_each_test_file_is_in_exactly_one_part() -> None:
    parts = {part: selected(part) for part in PARTS}
    places = {file: [part for part in PARTS if file in parts[part]] for file in FILES}

    assert len(FILES) > 100
    assert all(parts.values())
    assert {file: found for file, found in places.items() if len(found) != 1} == {}


def test_only_tests_marked_nightly_are_in_no_part() -> None:
    assert {marker(arguments(part)) for part in PARTS} == {"not nightly"}
    assert marker(arguments("test-nightly")) == "nightly"
    assert selected("test-nightly") == FILES


def test_test_all_runs_everything() -> None:
    assert selected("test-all") == FILES
    assert marker(arguments("test-all")) == ""


def test_the_quick_tests_are_a_part_of_make_test() -> None:
    assert selected("test-fast") < selected("test")
    assert marker(arguments("test-fast")) == "not slow"


def test_the_types_of_every_package_are_checked() -> None:
    configured = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]["files"]
    printed = subprocess.run(
        ["make", "--dry-run", "check"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    (loop,) = re.findall(r"for packages in (.*); do .*/mypy \$packages", printed)

    assert sorted(" ".join(shlex.split(loop)).split()) == sorted(configured)


def test_the_types_of_each_module_of_the_cdk_that_the_stacks_import_are_checked() -> None:
    overrides = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]["overrides"]
    (followed,) = (each["module"] for each in overrides if each.get("follow_imports") == "normal")
    sources = "".join(path.read_text() for path in (ROOT / "stacks").rglob("*.py"))
    imported = re.findall(r"^from aws_cdk import (aws_\w+)", sources, re.MULTILINE)

    assert set(followed) == {
        "aws_cdk",
        "aws_cdk._jsii.*",
        *(f"aws_cdk.{name}" for name in imported),
    }
    assert not re.search(r"^(from aws_cdk\.|import aws_cdk)", sources, re.MULTILINE)


@pytest.mark.parametrize("failing", ["", "test-azure"])
def test_ci_runs_each_part_and_the_other_pythons_until_one_fails_and_may_install_packages(
    tmp_path: Path, failing: str
) -> None:
    commands, calls, script = tmp_path / "bin", tmp_path / "calls", tmp_path / "checkout/.ci/run"
    commands.mkdir()
    script.parent.mkdir(parents=True)
    shutil.copy(ROOT / ".ci/run", script)
    for command in ("bash", "dirname"):
        (commands / command).symlink_to(str(shutil.which(command)))
    make = commands / "make"
    make.write_text(
        "#!/usr/bin/env bash\n"
        f'echo "$PWD make $* APT_INSTALL=$APT_INSTALL" >>"{calls}"\n[[ $1 != "{failing}" ]]\n'
    )
    make.chmod(0o755)
    done = subprocess.run([script], env={"PATH": str(commands)}, check=False)
    run = PARTS[: PARTS.index(failing) + 1] if failing else [*PARTS, "gate OTHERS=1"]

    assert calls.read_text().splitlines() == [
        f"{tmp_path}/checkout make {part} APT_INSTALL=1" for part in run
    ]
    assert (done.returncode == 0) is (not failing)


def test_the_gate_runs_each_part() -> None:
    steps = workflow("ci")["jobs"]["test"]["steps"]

    assert [step["run"] for step in steps if "run" in step] == [f"make {part}" for part in PARTS]


def test_every_test_runs_under_the_oldest_python_as_root_and_as_an_ordinary_user() -> None:
    job = workflow("ci")["jobs"]["oldest"]

    assert job["container"] == "debian:bookworm"
    assert job["strategy"]["matrix"] == {"user": ["root", "nobody"]}
    assert job["env"] == {"TESTER": "${{ matrix.user }}", "TARGETS": "test-all"}
    assert job["steps"][-1] == {"run": "make gate"}


def test_every_test_runs_each_night() -> None:
    nightly = workflow("nightly")
    (job,) = nightly["jobs"].values()

    assert [step["run"] for step in job["steps"] if "run" in step] == [
        "make test-all SEARCH=random"
    ]
    # YAML reads the key `on` as a boolean.
    assert re.fullmatch(r"\d+ \d+ \* \* \*", nightly[True]["schedule"][0]["cron"])


def test_a_change_of_the_conversion_or_of_a_lock_runs_the_nightly_tests() -> None:
    changed = workflow("conversion")
    (job,) = changed["jobs"].values()
    paths = changed[True]["pull_request"]["paths"]

    assert [step["run"] for step in job["steps"] if "run" in step] == ["make test-nightly"]
    assert {
        "asciist/conversion/**",
        "requirements.txt",
        "lambda_worker/requirements.txt",
        "service/requirements*.txt",
    } <= set(paths)
    assert [path for path in paths if not list(ROOT.glob(path.removesuffix("/**")))] == []
