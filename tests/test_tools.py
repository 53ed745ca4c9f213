"""The project's tools install nothing unasked, run no scripts of packages, and report their
findings."""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_locks import ROOT, pins

SBOM_TOOL = ROOT / ".venv-audit/bin/cyclonedx-py"


class Checkout:
    """A copy of one tool in its own directory, run with stand-ins for commands, which record their
    calls."""

    def __init__(self, directory: Path, tool: str) -> None:
        self.root = directory / "checkout"
        self.commands = directory / "commands"
        self.calls = directory / "calls"
        self.tool = self.root / "tools" / tool
        self.tool.parent.mkdir(parents=True)
        self.commands.mkdir()
        shutil.copy(ROOT / "tools" / tool, self.tool)
        for command in ("bash", "dirname", "uname", "awk", "cat", "comm", "sed", "sort", "chmod"):
            (self.commands / command).symlink_to(str(shutil.which(command)))

    def stand_in(self, path: Path, then: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'#!/usr/bin/env bash\necho "${{0##*/}} $*" >>"{self.calls}"\n{then}\n')
        path.chmod(0o755)

    def run(self, **variables: str) -> "subprocess.CompletedProcess[str]":
        environment = {"PATH": str(self.commands), **variables}
        return subprocess.run(
            [self.tool], capture_output=True, text=True, check=False, env=environment
        )

    def recorded(self) -> list[str]:
        return self.calls.read_text().splitlines() if self.calls.exists() else []


class TestBrowser:
    @pytest.fixture
    def checkout(self, tmp_path: Path) -> Checkout:
        """A machine without Chromium on which apt-get can install it."""
        checkout = Checkout(tmp_path, "browser")
        chromium = checkout.commands / "chromium"
        install = (
            f"[[ $* != *install* ]] || {{ echo '#!/usr/bin/env bash' >{chromium}; chmod +x"
            f" {chromium}; }}"
        )
        checkout.stand_in(checkout.commands / "apt-get", install)
        return checkout

    def test_no_package_is_installed_without_permission(self, checkout: Checkout) -> None:
        done = checkout.run()

        assert done.returncode == 1
        assert "apt-get install --no-install-recommends chromium fonts-dejavu-core\n" in done.stderr
        assert "APT_INSTALL=1" in done.stderr
        assert checkout.recorded() == []

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can install packages")
    def test_a_package_is_installed_with_permission(self, checkout: Checkout) -> None:
        done = checkout.run(APT_INSTALL="1")

        assert (done.returncode, done.stdout) == (0, f"{checkout.commands / 'chromium'}\n")
        assert (
            "apt-get --quiet --yes install --no-install-recommends chromium fonts-dejavu-core"
            in checkout.recorded()
        )


class TestHaproxy:
    @pytest.fixture
    def checkout(self, tmp_path: Path) -> Checkout:
        """A machine on which apt-get can install HAProxy."""
        checkout = Checkout(tmp_path, "haproxy")
        # where Debian has it
        checkout.tool.write_text(
            checkout.tool.read_text().replace("/usr/sbin", str(tmp_path / "empty"))
        )
        haproxy = checkout.commands / "haproxy"
        checkout.stand_in(
            checkout.commands / "apt-get",
            f"[[ $* != *install* ]] || {{ echo >{haproxy}; chmod +x {haproxy}; }}",
        )
        return checkout

    def test_no_package_is_installed_without_permission(self, checkout: Checkout) -> None:
        done = checkout.run()

        assert (done.returncode, done.stdout) == (0, "")
        assert "its tests are skipped" in done.stderr
        assert checkout.recorded() == []

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can install packages")
    def test_a_package_is_installed_with_permission(self, checkout: Checkout) -> None:
        done = checkout.run(APT_INSTALL="1")

        assert (done.returncode, done.stdout) == (0, f"{checkout.commands / 'haproxy'}\n")
        assert (
            "apt-get --quiet --yes install --no-install-recommends haproxy" in checkout.recorded()
        )

    def test_an_installed_one_is_found(self, checkout: Checkout) -> None:
        checkout.stand_in(checkout.commands / "haproxy", "")
        done = checkout.run(APT_INSTALL="1")

        assert (done.returncode, done.stdout) == (0, f"{checkout.commands / 'haproxy'}\n")
        assert checkout.recorded() == []


class TestAudit:
    FOUND = (
        '{"dependencies": [{"name": "jinja2", "vulns": [{"id": "PYSEC-1", "fix_versions": []}]}]}'
    )
    KNOWN = f"[[ $* != *json* ]] || {{ echo '{FOUND}'; exit 1; }}\n"
    RECORD = 'cat "${@: -1}" >>"${0%/*}/asked"; echo >>"${0%/*}/asked"\n'

    @pytest.fixture
    def checkout(self, tmp_path: Path) -> Checkout:
        checkout = Checkout(tmp_path, "audit")
        (checkout.root / "tools/locks").mkdir()
        for lock in ("requirements.txt", "tools/locks/audit.txt"):
            shutil.copy(ROOT / lock, checkout.root / lock)
        return checkout

    def audit(
        self, checkout: Checkout, then: str, **variables: str
    ) -> "subprocess.CompletedProcess[str]":
        checkout.stand_in(checkout.root / ".venv-audit/bin/pip-audit", then)
        return checkout.run(**variables)

    def test_each_version_of_each_locked_package_is_looked_up(self, checkout: Checkout) -> None:
        done = self.audit(checkout, self.KNOWN + self.RECORD)
        rounds = [
            text.split()
            for text in (checkout.root / ".venv-audit/bin/asked").read_text().split("\n\n")
        ]
        asked = [line for lines in rounds for line in lines]

        assert done.returncode == 0, done.stderr
        locked = pins("requirements.txt") | pins("tools/locks/audit.txt")
        assert sorted(asked) == sorted(f"{name}=={version}" for name, version in locked)
        assert {"numpy==2.4.6", "numpy==2.5.5"} <= set(asked)
        for lines in rounds:  # pip-audit refuses two versions of a package
            assert len({line.partition("==")[0] for line in lines}) == len(lines)

    def test_a_vulnerability_is_a_failure(self, checkout: Checkout) -> None:
        done = self.audit(checkout, self.KNOWN + "echo 'pillow 1.0 PYSEC-2'; exit 1")

        assert done.returncode == 1
        assert "PYSEC-2" in done.stdout

    @pytest.mark.parametrize(
        "then",
        [
            "echo 'cannot connect' >&2; exit 1",
            # of a mirror
            """echo '{"dependencies": [{"name": "jinja2", "skip_reason": "not found"}], "fixes": []}'""",
        ],
    )
    @pytest.mark.parametrize(("variables", "status"), [({}, 0), ({"GITHUB_ACTIONS": "true"}, 1)])
    def test_without_the_database_it_says_that_nothing_was_checked_and_fails_in_a_workflow(
        self, checkout: Checkout, then: str, variables: dict[str, str], status: int
    ) -> None:
        done = self.audit(checkout, then, **variables)

        assert done.returncode == status
        assert "NOT CHECKED" in done.stderr
        assert len(checkout.recorded()) == 1


class TestGate:
    @pytest.fixture
    def checkout(self, tmp_path: Path) -> Path:
        """A committed Makefile, one target of which prints its environment, and another of which
        fails."""
        checkout = tmp_path / "checkout"
        (checkout / "tools").mkdir(parents=True)
        shutil.copy(ROOT / "tools/gate", checkout / "tools")
        (checkout / "Makefile").write_text(
            "show:\n\t@env; ls -A $(HOME); $(PYTHON) -V\nbroken:\n\t@false\n"
        )
        git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.com"]
        for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "x"]):
            subprocess.run([*git, *command], cwd=checkout, check=True)
        return checkout

    def gate(self, checkout: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [checkout / "tools/gate", "--python", sys.executable, *arguments],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "LANG": "C.UTF-8", "ASCIIST_WIDTH": "9"},
        )

    def test_targets_run_as_often_as_asked_in_an_almost_empty_environment(
        self, checkout: Path
    ) -> None:
        done = self.gate(checkout, "--repeat", "2", "--load", "show")

        version = platform.python_version()
        assert done.returncode == 0, done.stderr
        assert done.stdout.count(f"Python {version}\n") == 2
        assert done.stdout.endswith(f"Python {version} ({sys.executable}): 2 of 2 passed\n")
        assert "\nPATH=/usr/bin:/bin\n" in done.stdout
        assert not re.search(r"^(LANG|ASCIIST_\w+)=", done.stdout, re.MULTILINE)

    def test_a_run_that_fails_fails_the_gate(self, checkout: Path) -> None:
        done = self.gate(checkout, "show", "broken")

        assert done.returncode == 1
        assert done.stdout.endswith(": 0 of 1 passed\n")

    def test_it_finds_the_pythons_of_the_machine(self) -> None:
        done = subprocess.run(
            [ROOT / "tools/gate", "--list"], capture_output=True, text=True, check=True
        )

        found = [line.split(" ") for line in done.stdout.splitlines()]
        assert len({version for version, _path in found}) == len(found)
        assert all(Path(path).is_file() for _version, path in found)


@pytest.mark.skipif(not SBOM_TOOL.exists(), reason="make sbom has not been run")
def test_the_bill_of_materials_lists_what_the_service_runs_with() -> None:
    subprocess.run(["make", "--silent", "sbom"], cwd=ROOT, check=True, capture_output=True)
    bill = json.loads((ROOT / "dist/asciist.cdx.json").read_text())

    assert bill["bomFormat"] == "CycloneDX"
    assert bill["metadata"]["component"]["name"] == "asciist"
    assert {(component["name"], component["version"]) for component in bill["components"]} == pins(
        "service/requirements-aws.txt"
    )


def test_no_package_of_npm_may_run_a_script() -> None:
    files = [
        ROOT / "Makefile",
        ROOT / ".ci/run",
        *(path for path in (ROOT / "tools").iterdir() if path.is_file()),
    ]
    calls = [
        call
        for path in files
        for call in re.findall(
            r"^[^#\n]*(?<![.\w])npm [^\n]*", path.read_text().replace("\\\n", ""), re.MULTILINE
        )
    ]

    assert len(calls) == 1
    assert "--ignore-scripts ci " in calls[0]


@pytest.mark.parametrize(
    "lock", sorted((ROOT / "tools").glob("*/package-lock.json")), ids=lambda lock: lock.parent.name
)
def test_packages_of_npm_are_pinned_by_hash_and_need_no_script(lock: Path) -> None:
    packages = json.loads(lock.read_text())["packages"]
    installed = [package for name, package in packages.items() if name]

    assert installed
    assert all(package["integrity"].startswith("sha512-") for package in installed)
    assert not any(package.get("hasInstallScript") for package in installed)
