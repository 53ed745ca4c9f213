"""Rehearses a migration from AWS to Azure and back on this machine, with faults, and writes a
report.

    python -m tests.emulated.migration [--part PART] [FIGURES]

Run by `make rehearse-migration`. The report is bench/migration.md; with `--part`, it keeps the
results of the other part. FIGURES is a file with the data of its plots, drawn by `bench.migration`.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from asciist_migration.shift.judge import BASELINE_PERCENTILE
from tests.emulated.emulator import ROOT
from tests.emulated.migration.operator import Pace
from tests.emulated.migration.rehearsal import Rehearsal, Scenario, rehearsal
from tools.testing.provenance import machine, revision

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
"""Pace of a rehearsal. At the first step, the new origin has its hundred requests after 83 seconds,
within three intervals."""

_PART: Final = "\n## "
"""Beginning of the heading of a part."""


def _faults(rehearsed: Rehearsal) -> None:
    rehearsed.lifecycle()
    rehearsed.slow()
    rehearsed.wrong()
    rehearsed.both()


def _moves(rehearsed: Rehearsal) -> None:
    rehearsed.there()
    rehearsed.back()


PARTS: Final = {"Faults": _faults, "Moves": _moves}


def report(parts: Iterable[str]) -> str:
    """Return the report of some parts, as Markdown. Other parts are copied from the previous
    report."""
    written = REPORT.read_text().split(_PART) if REPORT.exists() else []
    texts = {text.partition("\n")[0]: text for text in (*written[1:], *parts)}
    head = (
        f"# Rehearsal of the migration\n\n`make rehearse-migration` sends {PACE.rate:g} requests"
        " per second in an open loop. [docs/migration.md](../docs/migration.md) is the playbook.\n"
    )
    return _PART.join((head, *(texts[name] for name in PARTS if name in texts)))


def report_of_part(part: str, scenarios: Sequence[Scenario]) -> Iterator[str]:
    """Yield the lines of the report of a part."""
    outcomes = [scenario.outcome for scenario in scenarios if scenario.outcome]
    requests = sum(outcome.requests for outcome in outcomes)
    minutes = sum(outcome.ended - outcome.began for outcome in outcomes) / 60
    yield part
    yield ""
    yield f"At {revision()}, on {machine()}: {requests:,} requests in {minutes:.0f} minutes."
    yield ""
    yield f"![Requests by origin and failures in each scenario](plots/migration-{part.lower()}.png)"
    yield ""
    yield "| scenario | requests | failed | may fail | |"
    yield "|---|--:|--:|---|---|"
    for scenario in scenarios:
        outcome = scenario.outcome
        counts = f"{outcome.requests:,} | {outcome.failed}" if outcome else "| "
        rule = (
            scenario.expected
            if not scenario.allowed
            else f"{scenario.expected}: {scenario.allowed}"
        )
        yield (
            f"| {scenario.name} | {counts} | {rule} |"
            f" {'as expected' if scenario.passed else '**not as expected**'} |"
        )
    for scenario in scenarios:
        yield ""
        yield f"### {scenario.name}"
        yield ""
        yield from (f"- {line}" for line in (*scenario.happened, *scenario.problems))
        for origin, sample in sorted(scenario.origins.items()):
            p95 = sorted(sample.times)[len(sample.times) * BASELINE_PERCENTILE // 100]
            yield f"- {origin}: {len(sample.times):,} requests, p95 {p95:.0f} ms"
    yield ""


def figures(scenario: Scenario) -> dict[str, Any]:
    """Return the data of a scenario's plot, with all times in seconds since its beginning."""
    assert scenario.outcome
    began = scenario.outcome.began
    return {
        "name": scenario.name,
        "seconds": scenario.outcome.ended - began,
        "origins": {
            name: [at - began for at in sample.began] for name, sample in scenario.origins.items()
        },
        "failures": [failure.due - began for failure in scenario.outcome.failures],
        "marks": [[mark.at - began, mark.what] for mark in scenario.marks],
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.emulated.migration", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("figures", nargs="?", type=Path, help="file for the figures of the plot")
    parser.add_argument("--part", choices=PARTS, help="the part to rehearse (default: all)")
    arguments = parser.parse_args()
    scenarios: dict[str, list[Scenario]] = {}
    texts = []
    for part in [arguments.part] if arguments.part else PARTS:
        # Each has clouds of its own: Azurite looks through all of its objects to find one.
        with (
            tempfile.TemporaryDirectory(prefix="rehearsal-") as scratch,
            rehearsal(
                Path(scratch), PACE, stacks=True, say=lambda text: print(text, flush=True)
            ) as rehearsed,
        ):
            PARTS[part](rehearsed)
        scenarios[part] = rehearsed.scenarios
        texts.append("\n".join(report_of_part(part, rehearsed.scenarios)))
    REPORT.write_text(report(texts))
    if arguments.figures:
        drawn = {
            part: [figures(each) for each in some if each.outcome]
            for part, some in scenarios.items()
        }
        arguments.figures.write_text(json.dumps(drawn))
    passed = all(scenario.passed for some in scenarios.values() for scenario in some)
    print(
        f"{'As expected' if passed else 'NOT as expected'}: {REPORT.relative_to(ROOT)}. All"
        " processes have ended."
    )
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
