"""Draws the plots of a rehearsal of the migration: `python -m bench.migration FIGURES`."""

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any, Final

from bench import plots

_COLORS: Final = {"aws": "#ff9900", "azure": "#0078d4"}
_COLUMNS: Final = 2


def draw(part: str, scenarios: list[dict[str, Any]]) -> Path:
    """Plot each scenario over time: requests per second by origin, failures, and actions."""
    rows = -(-len(scenarios) // _COLUMNS)
    drawn, grid = plots.figure(rows, _COLUMNS, (7.5 * _COLUMNS, 2.6 * rows))
    for axes in grid.flat[len(scenarios) :]:
        axes.set_visible(False)
    for axes, scenario in zip(grid.flat, scenarios, strict=False):
        seconds = range(int(scenario["seconds"]))
        counts = {
            name: Counter(map(int, times)) for name, times in sorted(scenario["origins"].items())
        }
        axes.stackplot(
            seconds,
            [[count[second] for second in seconds] for count in counts.values()],
            labels=list(counts),
            colors=[_COLORS[name] for name in counts],
        )
        failures = Counter(map(int, scenario["failures"]))
        axes.plot(
            list(failures), list(failures.values()), "kx", label=f"failed: {failures.total()}"
        )
        for at, what in scenario["marks"]:
            axes.axvline(at, color="#444444", linewidth=0.8, linestyle=":")
            axes.annotate(
                what,
                (at, 1),
                xycoords=("data", "axes fraction"),
                rotation=90,
                fontsize=7,
                ha="right",
                va="top",
            )
        axes.set_title(scenario["name"], fontsize=9)
        axes.set_ylim(bottom=0)
        axes.legend(loc="lower left", fontsize=7)
    drawn.supxlabel("seconds", fontsize=9)
    drawn.supylabel("requests/s", fontsize=9)
    return plots.save(drawn, f"migration-{part.lower()}")


if __name__ == "__main__":
    for part, scenarios in json.loads(Path(sys.argv[1]).read_text()).items():
        print(draw(part, scenarios))
