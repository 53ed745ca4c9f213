"""Switches the options of a running deployment back and forth while it serves requests. No request
may fail.

After each switch, each tier has exactly the permissions it should have.

    python -m tests.emulated.matrix          # each choice, in both directions
    python -m tests.emulated.matrix all      # each choice from each deployment, in both directions

Run by `make deploy-local MATRIX=all` and, without `all`, by `test_rehearsal.py`. The templates of
all options are compared in pairs (tests/stacks/test_changes.py). Two options are not switched here:
this machine has one architecture, and a new domain sends clients to another address.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from operations.deployment import light_load
from tests.emulated.datadog_account import copy_for_datadog, with_datadog
from tests.emulated.deployment import ManagedDeployment
from tests.emulated.emulator import ROOT, Emulator
from tests.emulated.rehearsal import Say, convert_images, timed, try_what_is_not_permitted
from tests.stacks.datadog_server import DatadogServer

_IMAGE: Final = {"image": "ami-0123456789abcdef0"}
CHOICES: Final[Mapping[str, tuple[Mapping[str, str], Mapping[str, str]]]] = {
    "worker": ({"worker": "lambda"}, {"worker": "asg"}),
    "replies": ({"replies": "queue"}, {"replies": "callback"}),
    "surroundings": (
        {"firewall": "false", "access_logs": "false", "cdn": "false", "datadog": "false"},
        {"firewall": "true", "access_logs": "true", "cdn": "true", "datadog": "true"},
    ),
    "machines": (
        {"canary": "false", "baked": "false", "sizes": "dev"},
        {"canary": "true", "baked": "true", "sizes": "prod"},
    ),
}
"""Values of each option: keys of the environment, `datadog` for its two keys, and `sizes` of an
environment."""

EACH_CHOICE: Final = ("worker", "replies", "worker", "replies")
"""Switches that change how requests are converted, in both directions, from two deployments
each."""


def every_switch(choices: Sequence[str]) -> list[str]:
    """Return a round trip that makes every switch of one option from every deployment exactly once.

    The deployments are the corners of a cube, and a switch is a directed edge. At each corner, as
    many edges end as begin, so such a trip exists (Hierholzer's algorithm).
    """
    left: dict[tuple[bool, ...], list[int]] = {}
    trip: list[int] = []
    stack: list[tuple[tuple[bool, ...], int]] = [((False,) * len(choices), -1)]
    while stack:
        corner, taken = stack[-1]
        edges = left.setdefault(corner, list(range(len(choices))))
        if edges:
            axis = edges.pop()
            stack.append(
                (tuple(value is not (place == axis) for place, value in enumerate(corner)), axis)
            )
        else:
            trip.append(taken)
            stack.pop()
    return [choices[axis] for axis in reversed(trip[:-1])]


def switch_under_load(switches: Iterable[str], say: Say = print) -> None:
    """Deploy, and make the switches one after another while requests for new art are sent. No
    request may fail."""
    with (
        TemporaryDirectory(prefix="matrix-") as scratch,
        DatadogServer() as datadog,
        Emulator(enforce_iam=True) as emulator,
        ManagedDeployment(
            emulator, project=copy_for_datadog(Path(scratch), datadog), context=_IMAGE
        ) as deployment,
    ):
        deployment.bootstrap()
        secrets = with_datadog(emulator, datadog)
        with timed("cdk deploy --all", say):
            deployment.deploy()
        chosen = dict.fromkeys(CHOICES, 0)
        for number, choice in enumerate(switches):
            chosen[choice] = 1 - chosen[choice]
            now = {
                key: value
                for other, at in chosen.items()
                for key, value in CHOICES[other][at].items()
            }
            description = f"{choice} switched: " + ", ".join(
                f"{key}={value}" for key, value in now.items()
            )
            _write_sizes(deployment.project, now.pop("sizes"))
            now |= secrets if now.pop("datadog") == "true" else dict.fromkeys(secrets, "")
            with light_load(deployment.smoke()) as load, timed(description, say):
                deployment.context |= now
                deployment.deploy()
            say(f"  {load}")
            assert set(load.statuses) == {200}, load
            convert_images(deployment, _say_nothing, width=60 + 2 * number)
            try_what_is_not_permitted(deployment, say)


def _write_sizes(project: Path, environment: str) -> None:
    """Give the `dev` environment of a copy of the project the sizes of another environment."""
    sizes = (ROOT / f"environments/{environment}.toml").read_text().partition("[sizes]")[2]
    dev = project / "environments/dev.toml"
    dev.write_text(f"{dev.read_text().partition('[sizes]')[0]}[sizes]{sizes}")


def _say_nothing(_line: str) -> None: ...


def main() -> None:
    switch_under_load(every_switch(list(CHOICES)) if sys.argv[1:] == ["all"] else EACH_CHOICE)
    print("All processes have ended.")


if __name__ == "__main__":
    main()
