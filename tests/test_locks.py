"""The lock and the tiers' subsets of it belong together and to pyproject.toml."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OWN_ENVIRONMENT = {"emulator", "bench", "fuzz"}
GROUPS = tomllib.loads((ROOT / "pyproject.toml").read_text())


def pins(file: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9._-]+)==([^\s;\\]+)", (ROOT / file).read_text(), re.MULTILINE))


def names(requirements: list[str]) -> set[str]:
    return {match[0] for text in requirements if (match := re.match(r"[A-Za-z0-9._-]+", text))}


@pytest.mark.parametrize("tier", ["web", "worker"])
def test_a_tier_installs_a_subset_of_the_one_lock(tier: str) -> None:
    assert pins(f"requirements/{tier}.txt").items() <= pins("requirements.txt").items()
    assert names(GROUPS["dependency-groups"][tier]) <= pins(f"requirements/{tier}.txt").keys()


def test_the_lock_pins_all_that_is_asked_for() -> None:
    asked = names(GROUPS["project"]["dependencies"]).union(
        *(names(group) for key, group in GROUPS["dependency-groups"].items() if key not in OWN_ENVIRONMENT)
    )

    assert asked <= pins("requirements.txt").keys()


def test_one_machine_has_what_each_tier_has() -> None:
    groups = GROUPS["dependency-groups"]

    project = GROUPS["project"]
    assert {*project["dependencies"], *project["optional-dependencies"]["aws"]} == {
        *groups["web"],
        *groups["worker"],
        "click>=8.2",
    }


def test_the_worker_ships_nothing_of_the_web() -> None:
    assert not {"flask", "gunicorn", "click", "werkzeug"} & pins("requirements/worker.txt").keys()


def test_no_lock_names_a_machine_or_a_host() -> None:
    for file in ("requirements.txt", "requirements/web.txt", "requirements/worker.txt"):
        assert not re.search(r"https?://|--index-url|--find-links|file:|/home/|/root/", (ROOT / file).read_text())
