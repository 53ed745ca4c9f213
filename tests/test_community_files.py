"""The files for contributors name existing parts of the repository, and the licence covers every
package."""

import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.test_locks import LOCKS

ROOT = Path(__file__).parent.parent
FORMS = sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"))


def test_the_project_is_licensed_under_mit_and_the_licences_of_its_fonts_are_included() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert project["license"] == "MIT"
    assert project["license-files"] == ["LICENSE", "service/static/mono.LICENSE.txt"]
    assert (ROOT / "LICENSE").read_text().startswith("MIT License\n\nCopyright (c) 2026 ")
    assert all((ROOT / name).is_file() for name in project["license-files"])


def test_dependabot_updates_every_lock_of_npm_and_of_python() -> None:
    updates = yaml.safe_load((ROOT / ".github/dependabot.yml").read_text())["updates"]
    directories = {
        update["package-ecosystem"]: update.get("directories", [update.get("directory")])
        for update in updates
    }

    assert directories["npm"] == [
        f"/{path.parent.relative_to(ROOT)}"
        for path in sorted((ROOT / "tools").glob("*/package-lock.json"))
    ]
    assert directories["pip"] == sorted({f"/{lock.rpartition('/')[0]}" for lock in LOCKS})
    assert directories["github-actions"] == ["/"]


def test_hooks_run_the_linter_of_the_environment_without_the_network() -> None:
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]

    assert repository["repo"] == "local"
    assert {hook["language"] for hook in repository["hooks"]} == {"system"}
    for hook in repository["hooks"]:
        program, command, *_ = hook["entry"].split()
        assert program == ".venv/bin/ruff"
        done = subprocess.run(
            [ROOT / program, command, "--force-exclude", __file__],
            cwd=ROOT,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout


def test_the_development_container_installs_what_the_tests_use() -> None:
    container = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text())
    installed = set(re.findall(r"[\w-]+", container["onCreateCommand"]))

    for tool in ("browser", "haproxy"):
        (packages,) = re.findall(
            r"apt-get --quiet --yes install --no-install-recommends (.+)$",
            (ROOT / "tools" / tool).read_text(),
            re.MULTILINE,
        )
        assert set(packages.split()) <= installed
    assert {"make", "python3-venv"} <= installed
    assert container["updateContentCommand"] == "make setup"


@pytest.mark.parametrize("form", FORMS, ids=lambda path: path.stem)
def test_each_issue_form_has_what_github_requires(form: Path) -> None:
    content = yaml.safe_load(form.read_text())
    fields = [field for field in content["body"] if field["type"] != "markdown"]
    names = [field["id"] for field in fields]

    assert content["name"]
    assert content["description"]
    assert len(set(names)) == len(names)
    assert all(field["attributes"]["label"] for field in fields)
    assert any(field["validations"]["required"] for field in fields if "validations" in field)


def test_a_bug_report_sends_vulnerabilities_elsewhere() -> None:
    assert [form.stem for form in FORMS] == ["bug", "feature"]
    assert "SECURITY.md" in FORMS[0].read_text()
