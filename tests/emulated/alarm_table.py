"""The table of faults and their alarms in the runbook, verified by the tests of faults."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_RUNBOOK: Final = Path(__file__).parents[2] / "docs/runbook.md"


@dataclass(frozen=True, kw_only=True)
class Row:
    """A fault, as the runbook describes it."""

    statuses: frozenset[int]
    """Statuses returned to clients."""
    fires: frozenset[str]
    """Titles of the alarms that must fire."""
    may_fire: frozenset[str]
    """Titles of the alarms that may fire, if the fault lasts or coincides with load."""

    def check(self, *, statuses: Collection[int], alarms: Collection[str]) -> None:
        """Fail unless exactly these statuses were returned and these alarms fired."""
        assert set(statuses) == self.statuses
        assert self.fires <= set(alarms) <= self.fires | self.may_fire


def _rows() -> dict[str, Row]:
    section = (
        _RUNBOOK.read_text().partition("\n# Faults and their alarms\n")[2].partition("\n# ")[0]
    )
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in section.splitlines()
        if line.startswith("|")
    ]
    return {
        fault: Row(
            statuses=frozenset(int(status) for status in re.findall(r"\b[2-5]\d\d\b", statuses)),
            fires=frozenset(re.findall(r"\[([^\]]+)\]", fires)),
            may_fire=frozenset(re.findall(r"\[([^\]]+)\]", may_fire)),
        )
        for fault, statuses, fires, may_fire in cells[2:]
    }


ROWS: Final = _rows()
"""The rows of the table by its first column."""
