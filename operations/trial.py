"""A trial of a deployment in a real account, from bootstrap to destroy.

    python -m operations.trial dev

It deploys, runs the smoke test, changes each choice and back under a light load, upgrades, rolls
back, destroys, and checks that nothing remains. It reports the duration and the failed requests of
each step, and observations that an emulator cannot make. A step with failed requests counts as
failed; an error ends the trial, and leaves the deployment in place. The trial works on a copy of
the checkout.
"""

import argparse
import contextlib
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Final

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from operations import smoke
from operations.capacity import Load as Demand
from operations.capacity import capacity
from operations.deployment import (
    ROOT,
    Deployment,
    Load,
    copy_of_the_project,
    light_load,
    templates,
)
from operations.observations import BUDGET_SECONDS, FAILURES, LOAD_PAUSE_SECONDS, Observations
from stacks.environment import CHOICES, Environment
from stacks.values import ContextError

_NEEDS_MORE: Final = {
    "function_python": "for emulators only",
    "datadog_site": "needs an account of Datadog",
    "plain_http": "allows a deployment without a domain",
    "pages_nobody": "allows a deployment without an address for alarms",
}
"""Choices that a trial does not change, with reasons."""

_CHANGE: Final = "\n# a new release\n"
"""The line that the upgrade adds to a file of each tier."""
_CHANGED_FILES: Final = ("service/__init__.py", "lambda_worker/handler.py")

Say = Callable[[str], object]


class TrialError(Exception):
    """A step failed."""


@dataclass(frozen=True)
class Switch:
    """Change of one choice."""

    choice: str
    value: str

    def __str__(self) -> str:
        return f"{self.choice} = {self.value}"


@dataclass(frozen=True)
class Step:
    """One step of a trial."""

    title: str
    run: Callable[[], object]
    """Raises an exception if the step fails."""


@dataclass
class Outcome:
    """The result of a step."""

    title: str
    seconds: float
    load: Load | None = None
    error: str = ""

    @property
    def passed(self) -> bool:
        """True without an error and without failed requests."""
        return not self.error and not (self.load and self.load.failed)


@dataclass
class Report:
    """Outcomes and observations of a trial."""

    deployment: str
    account: str
    region: str
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    outcomes: list[Outcome] = field(default_factory=list)
    observations: list[tuple[str, str]] = field(default_factory=list)
    omitted: Mapping[str, str] = field(default_factory=dict)
    """Reason for each choice left unchanged."""

    @property
    def passed(self) -> bool:
        return all(outcome.passed for outcome in self.outcomes)

    def markdown(self) -> str:
        """Return the report as a document."""
        rows = [
            f"| {outcome.title} | {'passed' if outcome.passed else '**failed**'} |"
            f" {outcome.seconds:.0f} | {len(outcome.load.statuses) if outcome.load else ''} |"
            f" {outcome.load.failed if outcome.load else ''} |"
            for outcome in self.outcomes
        ]
        errors = [
            f"\n{outcome.title} failed:\n\n```\n{outcome.error}\n```"
            for outcome in self.outcomes
            if outcome.error
        ]
        return "\n".join(
            [
                f"# Trial of {self.deployment}, {self.started:%Y-%m-%d %H:%M} UTC",
                "",
                f"Account {self.account}, region {self.region}.",
                "",
                "| step | outcome | seconds | requests | failed |",
                "|---|---|---:|---:|---:|",
                *rows,
                *errors,
                "",
                "## What an emulator cannot show",
                "",
                "| what | observed |",
                "|---|---|",
                *(f"| {what} | {observed} |" for what, observed in self.observations),
                "",
                "## Choices that were not changed",
                "",
                *(f"- `{choice}`: {reason}" for choice, reason in self.omitted.items()),
                "",
            ]
        )


def switches_of(
    environment: str, context: Mapping[str, str]
) -> tuple[list[Switch], dict[str, str]]:
    """Return a change of each choice and back, and the reason for each choice that this deployment
    cannot change.

    A choice is a key of the environment's file with a few values: one of `CHOICES`, or true and
    false.
    """
    base = Environment.load(environment, context)
    values = {
        choice.name: ("true", "false") for choice in fields(Environment) if choice.type is bool
    } | CHOICES
    trip: list[Switch] = []
    omitted = dict(_NEEDS_MORE)
    for choice, possible in values.items():
        now = str(getattr(base, choice))
        now = now.lower() if now in ("True", "False") else now
        for other in possible:
            if choice in _NEEDS_MORE or other == now:
                continue
            try:
                Environment.load(environment, {**context, choice: other})
            except ContextError as error:
                omitted[choice] = str(error)
                continue
            trip += [Switch(choice, other), Switch(choice, now)]
    return trip, omitted


class Trial:
    """The steps of a trial, in order, and the report on them."""

    def __init__(
        self,
        deployment: Deployment,
        *,
        switches: Sequence[Switch],
        omitted: Mapping[str, str],
        budget_seconds: float = BUDGET_SECONDS,
        say: Say = print,
    ) -> None:
        """`switches` are the changes of choices. `deployment` uses a copy of the project, because
        the upgrade changes it."""
        self.deployment, self._switches = deployment, switches
        self._observations = Observations(deployment, budget_seconds=budget_seconds, say=say)
        self._say = say
        self._before = deployment.directory / "before"
        self._load: Load | None = None
        caller = deployment.aws("sts").get_caller_identity()
        self.report = Report(
            deployment=deployment.environment,
            account=caller["Account"],
            region=deployment.aws("sts").meta.region_name,
            omitted=omitted,
            observations=self._observations.found,
        )

    def steps(self) -> list[Step]:
        return [
            Step("bootstrap", self.deployment.bootstrap),
            Step("deploy", self.deployment.deploy),
            Step("smoke test", self._smoke),
            Step("observe a new deployment", self._observations.of_a_new_deployment),
            *(
                Step(f"switch to {switch}", partial(self._switch, switch))
                for switch in self._switches
            ),
            Step("upgrade", self._upgrade),
            Step("smoke test of the upgrade", self._smoke),
            Step("roll back", self._roll_back),
            Step("smoke test after the roll-back", self._smoke),
            Step("observe scaling and repair", self._observations.of_scaling_and_repair),
            Step("destroy", self.deployment.destroy),
            Step("check that nothing remains", self._check_remains),
        ]

    def run(self, steps: Sequence[Step]) -> bool:
        """Run steps until one raises an error, and return whether all passed."""
        for number, step in enumerate(steps, 1):
            self._say(f"[{number}/{len(steps)}] {step.title}")
            started, self._load, problem = time.monotonic(), None, ""
            try:
                step.run()
            except (*FAILURES, AssertionError, TrialError) as error:
                problem = _shortened(f"{type(error).__name__}: {error}")
            outcome = Outcome(step.title, time.monotonic() - started, self._load, problem)
            self.report.outcomes.append(outcome)
            verdict = "passed" if outcome.passed else "FAILED"
            load = f", {self._load}" if self._load else ""
            self._say(f"      {verdict}, {outcome.seconds:.0f} s{load}")
            if problem:
                self._say(f"      {problem}")
                break
        return self.report.passed

    def _smoke(self) -> None:
        # The name of a new load balancer takes a while to be known.
        self._observations.until(self._answers)
        checks = self.deployment.smoke().checks()
        if failed := smoke.run(checks, lambda line: self._say(f"      {line}")):
            raise TrialError(f"checks that failed: {', '.join(failed)}")

    def _answers(self) -> bool:
        with contextlib.suppress(OSError, HTTPException):
            return self.deployment.smoke().request("GET", "/healthz").status == 200
        return False

    def _switch(self, switch: Switch) -> None:
        """Deploy with another value of a choice under load."""
        self.deployment.context[switch.choice] = switch.value
        self._under_load(self.deployment.deploy)
        if switch == Switch("firewall", "true"):
            self._observations.of_the_firewall()

    def _upgrade(self) -> None:
        """Deploy a changed release of both tiers, and keep the assembly of the previous one."""
        if self.deployment.deployed.exists():
            shutil.copytree(self.deployment.deployed, self._before, dirs_exist_ok=True)
        else:  # deployed by an earlier trial
            self.deployment.synthesize(self._before)
        for path in map(self.deployment.project.joinpath, _CHANGED_FILES):
            path.write_text(path.read_text() + _CHANGE)
        after = self.deployment.directory / "after"
        self.deployment.synthesize(after)
        if templates(after) == templates(self._before):
            raise TrialError("the changed release would change nothing")
        self._under_load(lambda: self.deployment.deploy(after))

    def _roll_back(self) -> None:
        """Deploy the assembly of the previous release, like `make rollback`, and check that it is
        unchanged."""
        if not self._before.exists():
            raise TrialError(
                "the assembly of the release before was lost with the earlier trial: go on from the"
                " step 'upgrade'"
            )
        self._under_load(lambda: self.deployment.deploy(self._before))
        for path in map(self.deployment.project.joinpath, _CHANGED_FILES):
            path.write_text(path.read_text().removesuffix(_CHANGE))
        if changed := self.deployment.diff(self._before):
            raise TrialError(f"the roll-back has not restored the deployment:\n{changed}")

    def _check_remains(self) -> None:
        if remains := self.deployment.remains():
            raise TrialError(f"left over: {', '.join(remains)}")

    def _under_load(self, deploy: Callable[[], object]) -> None:
        """Deploy while requests are sent."""
        with light_load(self.deployment.smoke(), pause_seconds=LOAD_PAUSE_SECONDS) as load:
            self._load = load
            deploy()


def _shortened(text: str) -> str:
    """Return the first line and the last sixty, where the CDK command gives its reason."""
    first, *rest = text.splitlines()
    return "\n".join([first, *(["…"] if len(rest) > 60 else []), *rest[-60:]])


def advice(environment: str, step: str) -> str:
    """Return advice for a person after a failed step."""
    return f"""\
The deployment is as the step {step!r} left it, and costs money. Find the cause in the report and
in the events of the stacks.
To go on:     make trial ENVIRONMENT={environment} FROM={step!r}
To clean up:  make trial ENVIRONMENT={environment} FROM=destroy"""


def announce(trial: Trial, environment: Environment, steps: Sequence[Step]) -> str:
    """Return what is about to happen, and what it will cost and take."""
    deploying = ("deploy", "switch", "upgrade", "roll")
    deployments = sum(step.title.startswith(deploying) for step in steps)
    report, instances = trial.report, environment.sizes.web_min_instances
    cost = capacity(Demand(requests_per_second=0), environment).usd_a_month
    return f"""\
Account {report.account}, region {report.region}: {len(steps)} steps, {deployments} of them
deployments of {report.deployment}.
Time: not measured yet. A new instance has 10 minutes to become ready; each deployment may replace
{instances} or more.
Cost: {cost:.0f} USD a month for as long as the deployment exists, and requests (docs/operations.md,
"Capacity and cost").
"""


def write(report: Report, *, goes_on: bool) -> None:
    """Write a report to `dist/`, or append it to the previous one if the trial continued from
    there."""
    file = ROOT / "dist" / f"trial-{report.deployment}.md"
    file.parent.mkdir(exist_ok=True)
    with file.open("a" if goes_on else "w") as report_file:
        report_file.write(report.markdown())
    print(f"The report is in {file.relative_to(ROOT)}.")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m operations.trial", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument(
        "environment",
        help="name of a file of environments/ whose deployment does not exist, such as dev",
    )
    parser.add_argument("--yes", action="store_true", help="do not ask before the first step")
    parser.add_argument(
        "--from", dest="first", default="", metavar="STEP", help="title of the step to begin with"
    )
    arguments = parser.parse_args()
    try:
        environment = Environment.load(arguments.environment)
        boto3.client("sts").get_caller_identity()
    except (ContextError, BotoCoreError, ClientError) as error:
        sys.exit(f"asciist: {error}")
    if environment.sizes.keeps_data:
        sys.exit(
            f"asciist: {arguments.environment} keeps its data when it is destroyed: try one with"
            " keeps_data = false"
        )
    with tempfile.TemporaryDirectory(prefix="trial-") as scratch:
        project = copy_of_the_project(Path(scratch))
        context = {"environment": arguments.environment}
        deployment = Deployment(project=project, context=context, directory=Path(scratch))
        switches, omitted = switches_of(arguments.environment, {})
        trial = Trial(deployment, switches=switches, omitted=omitted)
        steps = trial.steps()
        titles = [step.title for step in steps]
        if arguments.first and arguments.first not in titles:
            parser.error(f"no step {arguments.first!r}; the steps are {', '.join(titles)}")
        # A trial must not destroy a deployment that it has not made.
        if not arguments.first and (living := deployment.stacks()):
            sys.exit(
                f"asciist: {arguments.environment} is deployed in this account: {', '.join(living)}"
            )
        steps = steps[titles.index(arguments.first) if arguments.first else 0 :]
        print(announce(trial, environment, steps))
        if not arguments.yes and input("Go on? [y/N] ").strip().lower() != "y":
            return 1
        try:
            passed = trial.run(steps)
        finally:
            write(trial.report, goes_on=bool(arguments.first))  # also after Ctrl-C
    if trial.report.outcomes[-1].error:
        print(advice(arguments.environment, trial.report.outcomes[-1].title))
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
