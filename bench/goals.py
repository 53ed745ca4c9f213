"""Cells and rows of the tables that compare figures with their goals."""

import math

HEAD = ("| | goal | measured | |", "|---|--:|--:|---|")


def goal(measure: str, limit: str, figure: str, *, met: bool | None) -> str:
    """Return a table row; `met` is None if the figure could not be measured."""
    if met is None:
        return f"| {measure} | {limit} | | not measured |"
    return f"| {measure} | {limit} | {figure} | {'met' if met else '**not met**'} |"


def milliseconds(seconds: float) -> str:
    """Return a time in milliseconds, or an empty cell for NaN."""
    return "" if math.isnan(seconds) else f"{1000 * seconds:.1f}"
