"""Draws a day of the auto-scaling groups, simulated with the policies of their templates.

    make synth ENVIRONMENT=prod CONTEXT='-c worker=asg' && python -m bench.scaling

The templates are those in cdk.out.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from bench.plots import figure, save
from devtools.scaling import PEAK_SHARE, Minute, day_with_bursts, groups_of, simulate

TEMPLATES: Final = Path(__file__).parents[1] / "cdk.out"


def draw(days: Mapping[str, Sequence[Minute]]) -> Path:
    """Draw the load and the instances of each group, and return the file."""
    drawn, rows = figure(len(days), 1, (10, 4 * len(days)))
    for (name, day), axes in zip(days.items(), rows, strict=True):
        hours = [minute / 60 for minute in range(len(day))]
        axes.plot(hours, [minute.rate for minute in day], color="#aaaaaa")
        axes.set(title=name, xlabel="hour", ylabel="requests/s (grey)")
        instances = axes.twinx()
        instances.step(hours, [minute.running for minute in day], color="#1f77b4", label="instances in service")
        with_booting = [minute.running + minute.booting for minute in day]
        instances.step(hours, with_booting, color="#ff7f0e", lw=0.8, label="with those that boot")
        instances.set(ylabel="instances")
        instances.set_ylim(bottom=0)
        instances.legend(loc="upper right")
    return Path(save(drawn, "scaling"))


def main() -> None:
    groups = groups_of(json.loads(file.read_text()) for file in sorted(TEMPLATES.glob("*.template.json")))
    days = {
        name: simulate(
            group, day_with_bursts(PEAK_SHARE * group.max_instances * group.capacity), waits=name.endswith("-poller")
        )
        for name, group in groups.items()
    }
    print(draw(days))


if __name__ == "__main__":
    main()
