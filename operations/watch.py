"""Watches the CloudWatch alarms of a deployment after a release.

    python -m operations.watch prod --minutes 15 --since-file dist/deploying-prod

As soon as an alarm starts firing after the release, it prints the alarm's title, its reason and the
link to the runbook, and exits with 1. If none fires within the given minutes, it exits with 0. It
ignores alarms that fired before the release.
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import boto3
from botocore.config import Config

_POLL_SECONDS: Final = 15.0
# A call that fails for a minute or two must not look like an alarm.
_RETRIES: Final = Config(retries={"mode": "standard", "total_max_attempts": 10})
_PART: Final = " (part: "
"""Marker in the names of the silent parts of a composite alarm (stacks/observability.py)."""


class NoAlarmsError(Exception):
    """The deployment has no alarms to watch."""


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """An alarm of a deployment, as reported by CloudWatch."""

    name: str
    description: str
    """Its meaning, and the link to the runbook."""
    firing: bool
    since: datetime
    """Time of its last change of state."""
    reason: str

    def __str__(self) -> str:
        return f"{self.name}\n  {self.reason}\n  {self.description}"


def alarms(cloudwatch: Any, environment: str) -> list[Alarm]:
    """Return the alarms of a deployment. Raises NoAlarmsError if there are none."""
    pages = cloudwatch.get_paginator("describe_alarms").paginate(
        AlarmNamePrefix=f"asciist-{environment}: ", AlarmTypes=["MetricAlarm", "CompositeAlarm"]
    )
    found = [
        Alarm(
            name=alarm["AlarmName"],
            description=alarm.get("AlarmDescription", ""),
            firing=alarm["StateValue"] == "ALARM",
            # The second also moves when only the reason changes, but every alarm has it.
            since=alarm.get("StateTransitionedTimestamp") or alarm["StateUpdatedTimestamp"],
            reason=alarm.get("StateReason", ""),
        )
        for page in pages
        for kind in ("MetricAlarms", "CompositeAlarms")
        for alarm in page.get(kind, [])
        if _PART not in alarm["AlarmName"]  # the composite alarm stands for its parts
    ]
    if not found:
        raise NoAlarmsError(f"{environment} has no alarms in this account and region")
    return found


def watch(
    cloudwatch: Any,
    environment: str,
    *,
    since: datetime,
    seconds: float,
    poll_seconds: float = _POLL_SECONDS,
    say: Callable[[str], object] = print,
) -> list[Alarm]:
    """Return the alarms that started firing after `since`, as soon as there are any; an empty list
    after `seconds`.

    Raises NoAlarmsError.
    """
    give_up = time.monotonic() + seconds
    watched = alarms(cloudwatch, environment)
    before = [alarm for alarm in watched if alarm.firing and alarm.since < since]
    say(f"watching {len(watched)} alarms of {environment} for {seconds / 60:g} minutes")
    for alarm in before:
        say(
            f"fires since {alarm.since:%Y-%m-%d %H:%M}, before the release, and is ignored:"
            f" {alarm.name}"
        )
    while True:
        fired = [alarm for alarm in watched if alarm.firing and alarm.since >= since]
        if fired or (left := give_up - time.monotonic()) <= 0:
            return fired
        time.sleep(min(poll_seconds, left))
        watched = alarms(cloudwatch, environment)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m operations.watch", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("environment", help="name of a file of environments/, such as prod")
    parser.add_argument("--minutes", type=float, default=15, help="how long to watch; default 15")
    parser.add_argument(
        "--since-file",
        type=Path,
        help="file with the time of the release, in seconds since 1970; default: now",
    )
    arguments = parser.parse_args()
    since = float(arguments.since_file.read_text()) if arguments.since_file else int(time.time())
    try:
        fired = watch(
            boto3.client("cloudwatch", config=_RETRIES),
            arguments.environment,
            since=datetime.fromtimestamp(since, UTC),
            seconds=60 * arguments.minutes,
        )
    except NoAlarmsError as error:
        sys.exit(f"asciist: {error}")
    for alarm in fired:
        print(f"ALARM {alarm}")
    if not fired:
        print("no alarm has fired")
    return 1 if fired else 0


if __name__ == "__main__":
    sys.exit(main())
