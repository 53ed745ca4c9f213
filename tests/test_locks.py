"""pyproject.toml, the complete lock and the locks of its subsets agree with each other."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from stacks.bundles import Target, locked_requirements

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = (
    "requirements.txt",
    "lambda_worker/requirements.txt",
    "service/requirements.txt",
    "service/requirements-aws.txt",
    "service/requirements-azure.txt",
    *(f"tools/locks/{path.name}" for path in sorted((ROOT / "tools/locks").iterdir())),
)
SUBSETS = LOCKS[1:5]
TARGETS = [
    Target(architecture=architecture, python=python)
    for architecture in ("arm64", "x86_64")
    for python in ("3.11", "3.12", "3.13", "3.14")
]


def pins(file: str) -> set[tuple[str, str]]:
    """The (name, version) pairs of a lock. A package may have a version for each range of Python
    versions."""
    return set(re.findall(r"^([a-z0-9._-]+)==([^\s;\\]+)", (ROOT / file).read_text(), re.MULTILINE))


def names(file: str) -> set[str]:
    return {name for name, _version in pins(file)}


def installed(lock: str, target: Target) -> dict[str, str]:
    """The version of each package that a target installs from a lock."""
    lines = locked_requirements(ROOT / lock, target).splitlines()
    return dict(line.split(" ")[0].split("==") for line in lines)


def declared(requirements: list[str]) -> set[str]:
    return {Requirement(text).name.lower() for text in requirements}


def group(name: str) -> list[str]:
    """The requirements of a dependency group, including nested groups."""
    requirements = []
    for entry in PROJECT["dependency-groups"][name]:
        requirements += [entry] if isinstance(entry, str) else group(entry["include-group"])
    return requirements


def served() -> list[str]:
    """The requirements of the service on one machine."""
    return [*PROJECT["project"]["dependencies"], *extra("server")]


def extra(name: str) -> list[str]:
    """The requirements added by an extra: the server, or a cloud to the server."""
    requirements: list[str] = PROJECT["project"]["optional-dependencies"][name]
    return [requirement for requirement in requirements if requirement != "asciist[server]"]


def test_every_folder_of_the_command_and_the_service_is_a_package_of_the_wheel() -> None:
    packages: list[str] = PROJECT["tool"]["setuptools"]["packages"]
    modules = (path.relative_to(ROOT) for path in (ROOT / "asciist").rglob("*.py"))
    folders = {".".join(module.parent.parts) for module in modules}

    assert packages == sorted({*folders, "asciist_service"})
    assert PROJECT["tool"]["setuptools"]["package-dir"] == {"asciist_service": "service"}
    # A package of the wheel has another name than in a checkout, so its modules import each other
    # by relative names.
    for module in (ROOT / "service").rglob("*.py"):
        assert not re.search(r"^\s*(from|import) service\b", module.read_text(), re.MULTILINE)


def test_every_lock_is_compiled_from_something() -> None:
    compiled = re.findall(r"^compile (\S+)", (ROOT / "tools/lock").read_text(), re.MULTILINE)

    assert sorted(LOCKS) == sorted(compiled)
    assert all((ROOT / lock).is_file() for lock in LOCKS)


@pytest.mark.parametrize("lock", SUBSETS)
def test_a_subset_has_the_versions_of_the_lock_of_everything(lock: str) -> None:
    assert pins(lock) <= pins("requirements.txt")


def test_each_lock_pins_every_declared_dependency() -> None:
    assert declared([*served(), *extra("aws"), *extra("azure"), *group("dev")]) <= names(
        "requirements.txt"
    )
    assert declared([*served(), *group("build")]) <= names("service/requirements.txt")
    assert declared([*served(), *extra("aws")]) <= names("service/requirements-aws.txt")
    assert declared([*served(), *extra("azure")]) <= names("service/requirements-azure.txt")
    assert declared(group("worker")) <= names("lambda_worker/requirements.txt")
    for name in ("audit", "azure", "bench", "emulator", "thumbor"):
        assert declared(group(name)) <= names(f"tools/locks/{name}.txt")


def test_bounds_are_declared_once() -> None:
    assert declared(group("worker")) < declared(served())
    assert not any(Requirement(text).specifier for text in group("worker"))
    everything = [
        *served(),
        *extra("aws"),
        *extra("azure"),
        *(text for name in ("dev", "bench") for text in group(name)),
    ]
    bounds: dict[str, set[str]] = {}
    for requirement in map(Requirement, everything):
        bounds.setdefault(requirement.name.lower(), set()).add(str(requirement.specifier))
    assert {name: specifiers for name, specifiers in bounds.items() if len(specifiers) > 1} == {}
    assert group("build") == PROJECT["build-system"]["requires"]


def test_packages_whose_internals_are_used_have_an_upper_bound() -> None:
    bounded = {
        "click",
        "datadog",
        "gevent",
        "gunicorn",
        "obstore",
        "pillow",
        "python-json-logger",
        "werkzeug",
    }

    for requirement in map(Requirement, served()):
        operators = {specifier.operator for specifier in requirement.specifier}
        assert ("<" in operators) == (requirement.name in bounded), requirement


def test_the_command_needs_no_package_of_the_service() -> None:
    assert declared(PROJECT["project"]["dependencies"]) == {"click", "numpy", "pillow"}
    assert declared(group("build")) == declared(
        tomllib.loads((ROOT / "packages/asciist-migration/pyproject.toml").read_text())[
            "build-system"
        ]["requires"]
    )


def test_the_worker_installs_no_package_of_the_web_tier() -> None:
    assert not {"flask", "gunicorn", "click", "werkzeug"} & names("lambda_worker/requirements.txt")


def test_the_libraries_of_one_cloud_are_not_installed_for_the_other() -> None:
    for lock in (
        "lambda_worker/requirements.txt",
        "service/requirements.txt",
        "service/requirements-aws.txt",
    ):
        assert not any(name.startswith(("azure", "msal")) for name in names(lock))
    assert not any(name.startswith("boto") for name in names("service/requirements-azure.txt"))


@pytest.mark.parametrize(
    "target", TARGETS, ids=lambda target: f"{target.architecture}-{target.python}"
)
def test_a_lock_resolves_for_each_target_to_one_version_of_each_package(target: Target) -> None:
    for lock in (
        "service/requirements-aws.txt",
        "service/requirements-azure.txt",
        "lambda_worker/requirements.txt",
    ):
        lines = locked_requirements(ROOT / lock, target).splitlines()
        versions = installed(lock, target)

        assert len(versions) == len(lines)
        assert versions.items() <= pins(lock)
        assert versions["numpy"] == ("2.4.6" if target.python == "3.11" else "2.5.5")
        needs_extensions = (
            target.python in ("3.11", "3.12") or lock == "service/requirements-azure.txt"
        )
        assert ("typing-extensions" in versions) == needs_extensions
        assert all(
            re.fullmatch(r"[a-z0-9._-]+==\S+( --hash=sha256:[0-9a-f]{64})+", line) for line in lines
        )


def test_no_lock_names_a_machine_or_a_host() -> None:
    for file in LOCKS:
        assert not re.search(
            r"https?://|--index-url|--find-links|file:|/home/|/root/", (ROOT / file).read_text()
        )
