"""A trial changes every possible option, stops at the first failure, and reports the outcome of
each step."""

import re
from collections.abc import Callable
from pathlib import Path

import boto3
import pytest

from operations import trial
from operations.deployment import Deployment, DeploymentError, Load
from operations.trial import Outcome, Report, Step, Switch, Trial
from stacks.environment import Environment
from tests.emulated.emulator import Emulator


def test_every_choice_is_changed_forth_and_back_or_has_a_reason_not_to_be() -> None:
    switches, omitted = trial.switches_of("dev", {})

    assert {switch.choice for switch in switches} >= {
        "worker",
        "replies",
        "architecture",
        "firewall",
        "access_logs",
    }
    assert {switch.choice for switch in switches}.isdisjoint(omitted)
    state = {}
    for switch in switches:
        Environment.load("dev", state | {switch.choice: switch.value})
        state[switch.choice] = switch.value
    assert Environment.load("dev", state) == Environment.load("dev")
    assert all(omitted.values())


def test_a_choice_that_needs_more_than_the_deployment_has_is_not_changed() -> None:
    switches, omitted = trial.switches_of("prod", {"plain_http": "true", "pages_nobody": "true"})

    assert Switch("worker", "asg") in switches
    assert "pages_nobody" in omitted


def steps(*outcomes: Callable[[], object]) -> list[Step]:
    return [Step(f"step {number}", run) for number, run in enumerate(outcomes, 1)]


def failing() -> None:
    raise DeploymentError("cdk deploy failed:\nno such subnet")


@pytest.fixture
def tried(emulator: Emulator, tmp_path: Path) -> Trial:
    deployment = Deployment(directory=tmp_path, client_arguments=emulator.client_arguments)
    return Trial(
        deployment,
        switches=[],
        omitted={"hosted_zone": "needs a domain"},
        budget_seconds=0.1,
        say=lambda _line: None,
    )


def test_a_person_is_told_what_it_costs_before_it_begins(tried: Trial) -> None:
    told = trial.announce(tried, Environment.load("dev"), steps(failing))
    assert re.search(
        r"^Account \d+, region [\w-]+: 1 steps, .*^Cost: \d\d USD a month",
        told,
        re.MULTILINE | re.DOTALL,
    )


def test_it_stops_at_the_first_error(tried: Trial) -> None:
    assert not tried.run(steps(lambda: None, failing, lambda: None))
    assert [(outcome.title, outcome.passed) for outcome in tried.report.outcomes] == [
        ("step 1", True),
        ("step 2", False),
    ]
    assert not tried.report.passed


def test_it_goes_on_after_failed_requests_and_has_not_passed(tried: Trial) -> None:
    def refused() -> None:
        tried._load = Load([200, 503])

    assert not tried.run(steps(refused, lambda: None))
    assert [outcome.passed for outcome in tried.report.outcomes] == [False, True]


def test_a_mistake_of_the_program_is_not_taken_for_a_failure_of_the_deployment(
    tried: Trial,
) -> None:
    def mistaken() -> None:
        raise TypeError("unsupported operand")

    with pytest.raises(TypeError):
        tried.run(steps(mistaken))


def test_the_report_has_each_step_with_its_time_and_failed_requests_and_each_observation() -> None:
    report = Report(
        deployment="dev",
        account="123456789012",
        region="eu-west-1",
        omitted={"hosted_zone": "needs a domain"},
    )
    report.outcomes += [
        Outcome("deploy", 912.4),
        Outcome("upgrade", 61.0, Load([200, 504, 200, 0])),
        Outcome("roll back", 3.0, Load([200]), "DeploymentError: no such subnet"),
    ]
    report.observations.append(("cold start", "812 ms"))
    text = report.markdown()

    assert "Account 123456789012, region eu-west-1." in text
    assert "| deploy | passed | 912 |  |  |" in text
    assert "| upgrade | **failed** | 61 | 4 | 2 |" in text
    assert "| roll back | **failed** | 3 | 1 | 0 |" in text
    assert "DeploymentError: no such subnet" in text
    assert str(report.outcomes[1].load) == "4 requests, 2 failed (no answer: 1, 504: 1)"
    assert "| cold start | 812 ms |" in text
    assert "- `hosted_zone`: needs a domain" in text


def test_a_failure_comes_with_the_commands_to_go_on_and_to_clean_up() -> None:
    text = trial.advice("dev", "roll back")

    assert "make trial ENVIRONMENT=dev FROM='roll back'" in text
    assert "make trial ENVIRONMENT=dev FROM=destroy" in text


def test_what_cannot_be_observed_is_reported_and_fails_nothing(tried: Trial) -> None:
    """The account contains no deployment."""
    assert tried.run([step for step in tried.steps() if step.title.startswith("observe")])
    assert len(tried.report.observations) > 5
    assert all(observed.startswith("not observed: ") for _, observed in tried.report.observations)


def test_what_remains_is_found(tried: Trial, emulator: Emulator) -> None:
    sqs = boto3.client("sqs", **emulator.client_arguments)
    url = sqs.create_queue(QueueName="asciist-dev-reply-left")["QueueUrl"]
    last = [step for step in tried.steps() if step.title == "check that nothing remains"]
    assert not tried.run(last)
    assert "left over: queue asciist-dev-reply-left" in tried.report.outcomes[-1].error
    sqs.delete_queue(QueueUrl=url)
    tried.run(last)
    assert tried.report.outcomes[-1].passed
