"""Plots of the section `service` and of the soak. Only this module imports Matplotlib; serving and
testing do not need it."""

import importlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from bench.pressure import Overload
from bench.soak import Soak

FOLDER: Final = Path(__file__).parent / "plots"
_COLORS: Final = {"served": "#1f77b4", "refused": "#d62728", "failed": "#7f7f7f"}


def figure(rows: int, columns: int, size: tuple[float, float]) -> tuple[Any, Any]:
    """Return a Matplotlib figure with a grid of axes, drawn without a display."""
    importlib.import_module("matplotlib").use("Agg")
    pyplot = importlib.import_module("matplotlib.pyplot")
    return pyplot.subplots(rows, columns, figsize=size, constrained_layout=True)


def save(drawn: Any, name: str) -> Path:
    """Write a figure to the folder of plots as PNG."""
    FOLDER.mkdir(exist_ok=True)
    file = FOLDER / f"{name}.png"
    drawn.savefig(file, dpi=100, metadata={"Software": None})
    importlib.import_module("matplotlib.pyplot").close(drawn)
    return file


def load_plot(measured: Sequence[Overload], rates: Mapping[str, float]) -> Iterator[str]:
    """Draw goodput and latency against the offered rate, and the best rates of all servers; yield a
    Markdown image."""
    drawn, (goodput, latency, bars) = figure(1, 3, (15, 4.5))
    offered = [each.rate for each in measured]
    peak = measured[0].peak
    goodput.plot(
        offered,
        [each.result.goodput for each in measured],
        "o-",
        color=_COLORS["served"],
        label="served in time",
    )
    goodput.plot(
        offered,
        [len(each.result.refused) / each.result.seconds for each in measured],
        "s-",
        color=_COLORS["refused"],
        label="refused",
    )
    goodput.plot(
        offered,
        [each.failed / each.result.seconds for each in measured],
        "x-",
        color=_COLORS["failed"],
        label="failed",
    )
    goodput.axhline(peak, color="#cccccc", zorder=0)
    goodput.set(
        xscale="log",
        xlabel="offered, requests/s",
        ylabel="requests/s",
        title="Goodput (grey: peak of a closed loop)",
    )
    goodput.set_yscale("symlog", linthresh=peak)
    goodput.set_ylim(bottom=0)
    goodput.legend()
    for outcome, percents in (("served", (50, 99)), ("refused", (50, 99))):
        for percent, style in zip(percents, ("-", "--"), strict=True):
            points = [1000 * getattr(each.result, outcome).at(percent) for each in measured]
            latency.plot(
                offered, points, f"o{style}", color=_COLORS[outcome], label=f"{outcome}, p{percent}"
            )
    latency.set(
        xscale="log",
        yscale="log",
        xlabel="offered, requests/s",
        ylabel="ms from the time due",
        title="Latency",
    )
    latency.legend()
    for axes in (goodput, latency):
        axes.tick_params(axis="x", which="minor", labelbottom=False)  # the labels would overlap
    names = [*rates][::-1]
    bars.barh(
        names,
        [rates[name] for name in names],
        color=["#1f77b4" if "asciist" in name else "#aaaaaa" for name in names],
    )
    bars.bar_label(bars.containers[0], fmt="%.0f", padding=3)
    bars.set(xlabel="requests/s, best round", title="Closed loop, 32 connections")
    bars.set_xlim(right=1.15 * max(rates.values()))
    file = save(drawn, "service")
    yield (
        "![Goodput and latency of asciist against the offered rate, and best rates of all"
        f" servers](plots/{file.name})"
    )


def soak_plot(done: Soak) -> Iterator[str]:
    """Draw memory, descriptors and latency over the time of a soak test; yield a Markdown image."""
    drawn, (memory, descriptors, latency) = figure(3, 1, (10, 8))
    minutes = [sample.seconds / 60 for sample in done.samples]
    memory.plot(
        minutes, [sample.usage.rss_bytes / 1e6 for sample in done.samples], color=_COLORS["served"]
    )
    memory.set(ylabel="MB", title="Memory of all processes")
    descriptors.plot(
        minutes,
        [sample.usage.descriptors for sample in done.samples],
        color=_COLORS["served"],
        label="descriptors",
    )
    descriptors.plot(
        minutes,
        [sample.connections for sample in done.samples],
        color=_COLORS["failed"],
        label="connections of clients",
    )
    descriptors.plot(
        minutes,
        [sample.usage.threads for sample in done.samples],
        color=_COLORS["refused"],
        label="threads",
    )
    descriptors.set(title="Descriptors and threads of all processes")
    descriptors.legend()
    for percent, color in ((50, _COLORS["served"]), (99, _COLORS["refused"])):
        latency.plot(
            minutes,
            [1000 * sample.fresh.at(percent) for sample in done.samples],
            color=color,
            label=f"p{percent}",
        )
    latency.set(yscale="log", xlabel="minutes", ylabel="ms", title="Latency of fresh images")
    latency.legend()
    for axes in (memory, descriptors):
        axes.set_ylim(bottom=0)
    file = save(drawn, "soak")
    yield f"![Memory, descriptors and latency over the time of the soak test](plots/{file.name})"
