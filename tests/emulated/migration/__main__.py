"""Rehearses a migration from AWS to Azure and back on this machine, with faults, and writes a report.

    python -m tests.emulated.migration [FIGURES]

Run by `make rehearse-migration`. The report is bench/migration.md. FIGURES is a file for its plot, which `bench.migration`
draws.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from devtools.provenance import machine, revision
from migration.shift.judge import BASELINE_PERCENTILE
from tests.emulated.emulator import ROOT
from tests.emulated.migration.operator import Pace
from tests.emulated.migration.rehearsal import Rehearsal, Scenario, rehearsal

REPORT: Final = ROOT / "bench/migration.md"
PACE: Final = Pace(
    rate=120,
    interval_seconds=30,
    min_requests=100,
    poll_seconds=0.5,
    late_seconds=2,
    slower=6,  # the emulator of AWS takes three times as long for a conversion as that of Azure
    drain_seconds=None,
    hurries=False,
)
"""At the first step, the newcomer has its hundred requests after 83 seconds, and three intervals are 90."""


def report(scenarios: Sequence[Scenario], took_seconds: float) -> Iterator[str]:
    """Yield the lines of the report, as Markdown."""
    requests = sum(scenario.outcome.requests for scenario in scenarios if scenario.outcome)
    yield "# Rehearsal of the migration"
    yield ""
    yield f"`make rehearse-migration` at {revision()}, on {machine()}; it took {took_seconds / 60:.0f} minutes."
    yield (
        f"{requests:,} requests at {PACE.rate:g} per second, in an open loop. [docs/migration.md](../docs/migration.md) is the "
        "playbook."
    )
    yield ""
    yield "![Requests by origin and failures in each scenario](plots/migration.png)"
    yield ""
    yield "| scenario | requests | failed | may fail | |"
    yield "|---|--:|--:|---|---|"
    for scenario in scenarios:
        outcome = scenario.outcome
        counts = f"{outcome.requests:,} | {outcome.failed}" if outcome else "| "
        rule = scenario.expected if not scenario.allowed else f"{scenario.expected}: {scenario.allowed}"
        yield f"| {scenario.name} | {counts} | {rule} | {'as expected' if scenario.passed else '**not as expected**'} |"
    for scenario in scenarios:
        yield ""
        yield f"## {scenario.name}"
        yield ""
        yield from (f"- {line}" for line in (*scenario.happened, *scenario.problems))
        for origin, sample in sorted(scenario.origins.items()):
            p95 = sorted(sample.times)[len(sample.times) * BASELINE_PERCENTILE // 100]
            yield f"- {origin}: {len(sample.times):,} requests, p95 {p95:.0f} ms"


def figures(scenario: Scenario) -> dict[str, Any]:
    """Return what the plot of a scenario shows, with all times in seconds since its beginning."""
    assert scenario.outcome
    began = scenario.outcome.began
    return {
        "name": scenario.name,
        "seconds": scenario.outcome.ended - began,
        "origins": {name: [at - began for at in sample.began] for name, sample in scenario.origins.items()},
        "failures": [failure.due - began for failure in scenario.outcome.failures],
        "marks": [[mark.at - began, mark.what] for mark in scenario.marks],
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.emulated.migration", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("figures", nargs="?", type=Path, help="file for the figures of the plot")
    arguments = parser.parse_args()
    started = time.monotonic()
    scenarios = []
    for part in (_faults, _moves):  # with clouds of their own: Azurite looks through all of its objects to find one
        with (
            tempfile.TemporaryDirectory(prefix="rehearsal-") as scratch,
            rehearsal(Path(scratch), PACE, stacks=True, say=lambda text: print(text, flush=True)) as rehearsed,
        ):
            part(rehearsed)
        scenarios += rehearsed.scenarios
    REPORT.write_text("\n".join([*report(scenarios, time.monotonic() - started), ""]))
    if arguments.figures:
        arguments.figures.write_text(json.dumps([figures(each) for each in scenarios if each.outcome]))
    passed = all(scenario.passed for scenario in scenarios)
    print(f"{'As expected' if passed else 'NOT as expected'}: {REPORT.relative_to(ROOT)}. All processes have ended.")
    return 0 if passed else 1


def _faults(rehearsed: Rehearsal) -> None:
    rehearsed.lifecycle()
    rehearsed.slow()
    rehearsed.wrong()
    rehearsed.both()


def _moves(rehearsed: Rehearsal) -> None:
    rehearsed.there()
    rehearsed.back()


if __name__ == "__main__":
    sys.exit(main())
