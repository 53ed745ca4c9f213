"""A trial of a deployment in a real account, from bootstrap to destroy, for whoever has an account first.

    python -m devtools.trial dev

It deploys, runs the smoke test, changes each choice forth and back under a light load, upgrades, rolls back, destroys, and
checks that nothing remains. It writes a report with the duration and the failed requests of each step, and with what was
observed of things that an emulator cannot show. A step with failed requests counts as failed; an error ends the trial, and
leaves the deployment in place. The trial works on a copy of the checkout.
"""

import argparse
import contextlib
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from devtools import smoke
from devtools.capacity import Load as Demand
from devtools.capacity import capacity
from devtools.deployment import ROOT, Deployment, DeploymentError, Load, copy_of_the_project, light_load, templates
from stacks.environment import CHOICES, Environment
from stacks.values import ContextError

_NEEDS_MORE: Final = {
    "function_python": "for emulators only",
    "datadog_site": "needs an account of Datadog",
    "plain_http": "allows a deployment without a domain",
    "pages_nobody": "allows a deployment without an address for alarms",
}
"""Choices that a trial does not change, with the reason."""

_CHANGE: Final = "\n# a new release\n"
_LOAD_PAUSE_SECONDS: Final = 0.5
_BUDGET_SECONDS: Final = 900.0
"""How long an observation may wait for what it observes."""

Say = Callable[[str], object]


class TrialError(Exception):
    """A step has found something wrong."""


@dataclass(frozen=True)
class Switch:
    """A change of one choice."""

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
        """True without an error, and if no request of the load has failed."""
        return not self.error and not (self.load and self.load.failed)


@dataclass
class Report:
    """The outcomes of a trial, and what was observed."""

    deployment: str
    account: str
    region: str
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    outcomes: list[Outcome] = field(default_factory=list)
    observations: list[tuple[str, str]] = field(default_factory=list)
    omitted: Mapping[str, str] = field(default_factory=dict)
    """Reason for each choice that was not changed."""

    @property
    def passed(self) -> bool:
        """True if no step has failed."""
        return all(outcome.passed for outcome in self.outcomes)

    def markdown(self) -> str:
        """Return the report as a document."""
        rows = [
            f"| {outcome.title} | {'passed' if outcome.passed else '**failed**'} | {outcome.seconds:.0f} "
            f"| {len(outcome.load.statuses) if outcome.load else ''} | {outcome.load.failed if outcome.load else ''} |"
            for outcome in self.outcomes
        ]
        errors = [f"\n{outcome.title} failed:\n\n```\n{outcome.error}\n```" for outcome in self.outcomes if outcome.error]
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


def switches_of(environment: str, context: Mapping[str, str]) -> tuple[list[Switch], dict[str, str]]:
    """Return a change of each choice forth and back, and the reason for each choice that needs more than this deployment has.

    A choice is a key of the environment's file with a few values: one of `CHOICES`, or true and false.
    """
    base = Environment.load(environment, context)
    values = {choice.name: ("true", "false") for choice in fields(Environment) if choice.type is bool} | CHOICES
    trip: list[Switch] = []
    omitted = dict(_NEEDS_MORE)
    for choice, possible in values.items():
        if choice in _NEEDS_MORE:
            continue
        now = str(getattr(base, choice))
        now = now.lower() if now in ("True", "False") else now
        for other in possible:
            if other == now:
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
        budget_seconds: float = _BUDGET_SECONDS,
        say: Say = print,
    ) -> None:
        """`switches` has the changes of choices, and `deployment` a copy of the project, which is changed for the upgrade."""
        self.deployment, self._switches = deployment, switches
        self._budget_seconds, self._say = budget_seconds, say
        self._before = deployment.directory / "before"
        self._load: Load | None = None
        caller = deployment.aws("sts").get_caller_identity()
        self.report = Report(
            deployment=deployment.environment,
            account=caller["Account"],
            region=deployment.aws("sts").meta.region_name,
            omitted=omitted,
        )

    def steps(self) -> list[Step]:
        """Return all steps."""
        return [
            Step("bootstrap", self.deployment.bootstrap),
            Step("deploy", self.deployment.deploy),
            Step("smoke test", self._smoke),
            Step("observe a new deployment", self._observe_deployment),
            *(Step(f"switch to {switch}", partial(self._switch, switch)) for switch in self._switches),
            Step("upgrade", self._upgrade),
            Step("smoke test of the upgrade", self._smoke),
            Step("roll back", self._roll_back),
            Step("smoke test after the roll-back", self._smoke),
            Step("observe scaling and repair", self._observe_scaling),
            Step("destroy", self._destroy),
            Step("check that nothing remains", self._check_remains),
        ]

    def run(self, steps: Sequence[Step]) -> bool:
        """Take steps until one raises an error, and return whether all have passed."""
        for number, step in enumerate(steps, 1):
            self._say(f"[{number}/{len(steps)}] {step.title}")
            started, self._load, problem = time.monotonic(), None, ""
            try:
                step.run()
            except (TrialError, DeploymentError, AssertionError, OSError, HTTPException, ClientError, BotoCoreError) as error:
                problem = _shortened(f"{type(error).__name__}: {error}")
            outcome = Outcome(step.title, time.monotonic() - started, self._load, problem)
            self.report.outcomes.append(outcome)
            load = f", {self._load}" if self._load else ""
            self._say(f"      {'passed' if outcome.passed else 'FAILED'}, {outcome.seconds:.0f} s{load}")
            if problem:
                self._say(f"      {problem}")
                break
        return self.report.passed

    def _smoke(self) -> None:
        self._until(self._answers)  # the name of a new load balancer takes a while to be known
        if failed := smoke.run(self.deployment.smoke().checks(), lambda line: self._say(f"      {line}")):
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
            self._observe("the firewall refuses an address that sends too much", self._flood)

    def _upgrade(self) -> None:
        """Deploy a changed release of both tiers, and keep the assembly of the one before."""
        if self.deployment.deployed.exists():
            shutil.copytree(self.deployment.deployed, self._before, dirs_exist_ok=True)
        else:  # deployed by an earlier trial
            self.deployment.synthesize(self._before)
        for file in self._changed_files():
            file.write_text(file.read_text() + _CHANGE)
        after = self.deployment.directory / "after"
        self.deployment.synthesize(after)
        if templates(after) == templates(self._before):
            raise TrialError("the changed release would change nothing")
        self._under_load(lambda: self.deployment.deploy(after))

    def _roll_back(self) -> None:
        """Deploy the assembly of the release before, as `make rollback` does, and check that it is what it was."""
        if not self._before.exists():
            raise TrialError(
                "the assembly of the release before was lost with the earlier trial: go on from the step 'upgrade'"
            )
        self._under_load(lambda: self.deployment.deploy(self._before))
        for file in self._changed_files():
            file.write_text(file.read_text().removesuffix(_CHANGE))
        if changed := self.deployment.diff(self._before):
            raise TrialError(f"the roll-back has not restored the deployment:\n{changed}")

    def _changed_files(self) -> list[Path]:
        """Return a file of each tier, to which the upgrade adds a line."""
        return [self.deployment.project / file for file in ("service/__init__.py", "lambda_worker/handler.py")]

    def _destroy(self) -> None:
        self.deployment.destroy()

    def _check_remains(self) -> None:
        if remains := self.deployment.remains():
            raise TrialError(f"left over: {', '.join(remains)}")

    def _under_load(self, deploy: Callable[[], object]) -> None:
        """Deploy while requests are sent."""
        with light_load(self.deployment.smoke(), pause_seconds=_LOAD_PAUSE_SECONDS) as load:
            self._load = load
            deploy()

    def _observe(self, what: str, look: Callable[[], str]) -> None:
        """Add to the report what `look` returns. What cannot be observed does not fail the trial."""
        try:
            observed = look()
        except (ClientError, BotoCoreError, OSError, HTTPException, DeploymentError, KeyError, IndexError) as error:
            observed = f"not observed: {type(error).__name__}: {error}"
        observed = " ".join(observed.split()).replace("|", "\\|")
        self.report.observations.append((what, observed))
        self._say(f"      {what}: {observed}")

    def _observe_deployment(self) -> None:
        self._observe("from the launch of an instance to its signal that it is ready", self._boot_times)
        self._observe("the first conversion of the function (cold start)", self._cold_starts)
        self._observe("instances that the load balancer considers healthy", lambda: self._healthy() or "none")
        self._observe("the service's own metrics arrive in CloudWatch", self._metrics)
        self._observe("the e-mail address for alarms", self._subscriptions)

    def _observe_scaling(self) -> None:
        self._observe("one instance more, until the load balancer considers it healthy", self._scale_out)
        self._observe("an instance that was stopped is replaced", self._replace)
        self._observe("alarms that fire at the end", self._firing)

    def _group(self) -> dict[str, Any]:
        """Return the web tier's auto-scaling group. Raises IndexError if there is none."""
        names = list(self.deployment.physical_ids("web", "AWS::AutoScaling::AutoScalingGroup"))
        groups = self.deployment.aws("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=names)
        found: dict[str, Any] = groups["AutoScalingGroups"][0]
        return found

    def _boot_times(self) -> str:
        """Compare the start of each launch with the event of the stack that has the signal of its instance."""
        activities = self.deployment.aws("autoscaling").describe_scaling_activities(
            AutoScalingGroupName=self._group()["AutoScalingGroupName"]
        )["Activities"]
        launched = {
            match[1]: activity["StartTime"]
            for activity in activities
            if (match := re.match(r"Launching a new EC2 instance: (i-\w+)", activity["Description"]))
        }
        events = self.deployment.aws("cloudformation").get_paginator("describe_stack_events")
        seconds = [
            (event["Timestamp"] - launched[match[1]]).total_seconds()
            for page in events.paginate(StackName=f"{self.deployment.prefix}-web")
            for event in page["StackEvents"]
            if (match := re.search(r"SUCCESS signal with UniqueId (i-\w+)", event.get("ResourceStatusReason", "")))
            and match[1] in launched
        ]
        return ", ".join(f"{value:.0f} s" for value in seconds) or "not observed: no instance has sent a signal"

    def _cold_starts(self) -> str:
        logs = self.deployment.aws("logs")
        for group in self.deployment.physical_ids("worker", "AWS::Logs::LogGroup"):
            found = logs.filter_log_events(logGroupName=group, filterPattern='"Init Duration"', limit=50)["events"]
            starts = [match[1] for event in found if (match := re.search(r"Init Duration: ([\d.]+) ms", event["message"]))]
            if starts:
                return ", ".join(f"{start} ms" for start in starts)
        return "not observed: no line of the log has an Init Duration"

    def _metrics(self) -> str:
        """List the metrics of the service's namespace, which take some minutes to appear."""
        found = self._until(lambda: self.deployment.aws("cloudwatch").list_metrics(Namespace=self.deployment.prefix)["Metrics"])
        names = sorted({metric["MetricName"] for metric in found or []})
        return ", ".join(names) or "not observed: none has arrived"

    def _subscriptions(self) -> str:
        for topic in self.deployment.physical_ids("observability", "AWS::SNS::Topic"):
            found = self.deployment.aws("sns").list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
            if found:
                waiting = [entry["Endpoint"] for entry in found if not entry["SubscriptionArn"].startswith("arn:")]
                return f"not confirmed yet: {', '.join(waiting)}" if waiting else "confirmed"
        return "not observed: alarm_email is empty"

    def _flood(self) -> str:
        """Send requests from many connections until one gets a 429, which is the firewall's answer."""
        target, started = self.deployment.smoke(), time.monotonic()
        statuses: list[int] = []

        def send() -> None:
            while 429 not in statuses and time.monotonic() < started + self._budget_seconds:
                statuses.append(target.request("GET", "/healthz").status)

        with ThreadPoolExecutor(16) as pool:
            for sent in [pool.submit(send) for _ in range(16)]:
                sent.result()
        seconds = time.monotonic() - started
        if 429 not in statuses:
            return f"not observed: no 429 after {len(statuses)} requests in {seconds:.0f} s"
        blocked = f"429 after {statuses.index(429)} requests in {seconds:.0f} s"
        again = self._until(lambda: target.request("GET", "/healthz").status == 200)
        return (
            f"{blocked}; served again {time.monotonic() - started - seconds:.0f} s later"
            if again
            else f"{blocked}; still refused"
        )

    def _healthy(self) -> str:
        """Return the ids of the targets of the web tier that are healthy."""
        (targets,) = self.deployment.physical_ids("web", "AWS::ElasticLoadBalancingV2::TargetGroup")
        described = self.deployment.aws("elbv2").describe_target_health(TargetGroupArn=targets)["TargetHealthDescriptions"]
        return ", ".join(sorted(item["Target"]["Id"] for item in described if item["TargetHealth"]["State"] == "healthy"))

    def _scale_out(self) -> str:
        group, before = self._group(), self._healthy()
        if not group["Instances"]:
            return "not observed: the group has no instance"
        if group["DesiredCapacity"] >= group["MaxSize"]:
            return "not observed: the group has its maximum size"
        started = time.monotonic()
        self.deployment.aws("autoscaling").set_desired_capacity(
            AutoScalingGroupName=group["AutoScalingGroupName"], DesiredCapacity=group["DesiredCapacity"] + 1
        )
        grown = self._until(lambda: len(self._healthy().split(", ")) > len(before.split(", ")))
        return f"{time.monotonic() - started:.0f} s" if grown else f"not observed within {self._budget_seconds:.0f} s"

    def _replace(self) -> str:
        """Stop an instance, and wait until the group has replaced it."""
        group = self._group()
        if not group["Instances"]:
            return "not observed: the group has no instance"
        stopped = group["Instances"][0]["InstanceId"]
        wanted, started = group["DesiredCapacity"], time.monotonic()
        with light_load(self.deployment.smoke(), pause_seconds=_LOAD_PAUSE_SECONDS) as load:
            self.deployment.aws("ec2").stop_instances(InstanceIds=[stopped])
            self._until(lambda: stopped not in self._healthy())
            replaced = self._until(lambda: len(self._healthy().split(", ")) >= wanted and self._healthy() != "")
        seconds = time.monotonic() - started
        return f"after {seconds:.0f} s; meanwhile {load}" if replaced else f"not within {seconds:.0f} s; meanwhile {load}"

    def _firing(self) -> str:
        described = self.deployment.aws("cloudwatch").describe_alarms(
            AlarmNamePrefix=f"{self.deployment.prefix}: ", AlarmTypes=["MetricAlarm", "CompositeAlarm"], StateValue="ALARM"
        )
        return (
            ", ".join(alarm["AlarmName"] for kind in ("MetricAlarms", "CompositeAlarms") for alarm in described[kind]) or "none"
        )

    def _until(self, look: Callable[[], Any]) -> Any:
        """Return what `look` returns once that is true, or its last value after the budget of an observation."""
        give_up = time.monotonic() + self._budget_seconds
        while not (found := look()) and time.monotonic() < give_up:
            time.sleep(min(5, self._budget_seconds))
        return found


def _shortened(text: str) -> str:
    """Return the first line and the last sixty lines, which have the reason when the CDK command fails."""
    first, *rest = text.splitlines()
    return "\n".join([first, *(["…"] if len(rest) > 60 else []), *rest[-60:]])


def advice(environment: str, step: str) -> str:
    """Return what a person can do after a step has failed."""
    return f"""\
The deployment is as the step {step!r} left it, and costs money. Find the cause in the report and in the events of the stacks.
To go on:     make trial ENVIRONMENT={environment} FROM={step!r}
To clean up:  make trial ENVIRONMENT={environment} FROM=destroy"""


@contextlib.contextmanager
def deployment_of(environment: str) -> Iterator[Deployment]:
    """Yield a deployment with a copy of the project, which is deleted at the end."""
    with tempfile.TemporaryDirectory(prefix="trial-") as scratch:
        yield Deployment(
            project=copy_of_the_project(Path(scratch)), context={"environment": environment}, directory=Path(scratch)
        )


def announce(trial: Trial, environment: Environment, steps: Sequence[Step]) -> str:
    """Return what is about to happen, and what it will cost and take."""
    deployments = sum(step.title.startswith(("deploy", "switch", "upgrade", "roll")) for step in steps)
    report, instances = trial.report, environment.sizes.web_min_instances
    cost = capacity(Demand(requests_per_second=0), environment).usd_a_month
    return f"""\
Account {report.account}, region {report.region}: {len(steps)} steps, {deployments} of them deployments of {report.deployment}.
Time: not measured yet. A new instance has 10 minutes to become ready; each deployment may replace {instances} or more.
Cost: {cost:.0f} USD a month for as long as the deployment exists, and requests (docs/operations.md, "Capacity and cost").
"""


def write(report: Report, *, goes_on: bool) -> None:
    """Write a report to `dist/`, or add it to the one before if the trial went on from there."""
    file = ROOT / "dist" / f"trial-{report.deployment}.md"
    file.parent.mkdir(exist_ok=True)
    with file.open("a" if goes_on else "w") as report_file:
        report_file.write(report.markdown())
    print(f"The report is in {file.relative_to(ROOT)}.")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m devtools.trial", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("environment", help="name of a file of environments/ whose deployment does not exist, such as dev")
    parser.add_argument("--yes", action="store_true", help="do not ask before the first step")
    parser.add_argument("--from", dest="first", default="", metavar="STEP", help="title of the step to begin with")
    arguments = parser.parse_args()
    try:
        environment = Environment.load(arguments.environment)
        boto3.client("sts").get_caller_identity()
    except (ContextError, BotoCoreError, ClientError) as error:
        sys.exit(f"asciist: {error}")
    if environment.sizes.keeps_data:
        sys.exit(f"asciist: {arguments.environment} keeps its data when it is destroyed: try one with keeps_data = false")
    with deployment_of(arguments.environment) as deployment:
        switches, omitted = switches_of(arguments.environment, {})
        trial = Trial(deployment, switches=switches, omitted=omitted)
        steps = trial.steps()
        titles = [step.title for step in steps]
        if arguments.first and arguments.first not in titles:
            parser.error(f"no step {arguments.first!r}; the steps are {', '.join(titles)}")
        if not arguments.first and (living := deployment.stacks()):
            sys.exit(f"asciist: {arguments.environment} is deployed in this account: {', '.join(living)}")
        steps = steps[titles.index(arguments.first) if arguments.first else 0 :]
        print(announce(trial, environment, steps))
        if not arguments.yes and input("Go on? [y/N] ").strip().lower() != "y":
            return 1
        try:
            passed = trial.run(steps)
        finally:
            write(trial.report, goes_on=bool(arguments.first))
    if trial.report.outcomes[-1].error:
        print(advice(arguments.environment, trial.report.outcomes[-1].title))
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
