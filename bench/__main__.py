"""Run the measurements, print them, and write bench/results.md. Sections that are not run keep
their previous results."""

import argparse
import importlib
import importlib.metadata
import importlib.util
import os
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from asciist.cli import SERVER_ENVIRONMENT
from tools.testing.provenance import machine, revision

ROOT: Final = Path(__file__).parent.parent
Report = Callable[[], Iterable[str]]
"""A measurement: yields Markdown lines as it runs."""

RESULTS: Final = Path(__file__).with_name("results.md")
SECTIONS: Final = (
    "coldstart",
    "page",
    "metrics",
    "service",
    "reads",
    "speed",
    "fidelity",
    "fonts",
    "recognition",
    "sheets",
    "hostile",
)
"""Modules of this package that define `report() -> Iterator[str]`, in their order in results.md."""

_HEAD: Final = """\
# Results

Written by `make bench`; [README.md](README.md) describes the method. Each section states its date, revision and machine.
All sections run with the environment variables that `asciist serve` sets for its server: OpenBLAS uses one thread, and the
allocator keeps small blocks.
"""


def sections_of(text: str) -> dict[str, str]:
    """Split a results file into sections; map each lower-case name to its text, heading
    included."""
    found = {}
    for part in re.split(r"^(?=## )", text, flags=re.MULTILINE)[1:]:
        found[part.partition("\n")[0].removeprefix("## ").lower()] = part.rstrip("\n") + "\n"
    return found


def merged(old: str, new: dict[str, str]) -> str:
    """Return the results file `old` with the sections of `new` replaced or added, in the order of
    SECTIONS."""
    sections = sections_of(old) | new
    return "\n".join([_HEAD, *(sections[name] for name in SECTIONS if name in sections)])


def run(sections: Mapping[str, Report], results: Path) -> list[str]:
    """Run and print each section and write it to `results`, keeping the file's other sections.
    Return the names that failed."""
    failed = []
    for name, report in sections.items():
        start = time.monotonic()
        print(f"{name}: measuring", file=sys.stderr)
        lines = []
        try:
            for line in _measured(name, report):
                print(line, flush=True)
                lines.append(line)
        except (Exception, SystemExit):  # noqa: BLE001 - the other sections still run
            traceback.print_exc()
            print(f"{name}: FAILED; {results.name} keeps the previous results", file=sys.stderr)
            failed.append(name)
            continue
        print(f"{name}: measured in {time.monotonic() - start:.0f} s", file=sys.stderr)
        old = results.read_text() if results.exists() else ""
        results.write_text(merged(old, {name: "\n".join(lines).rstrip("\n") + "\n"}))
    return failed


def _measured(name: str, report: Report) -> Iterator[str]:
    yield f"## {name.capitalize()}"
    yield ""
    yield f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {revision()}. {machine()}."
    yield ""
    yield from report()


def _load(name: str) -> Report:
    """Return a report that imports its module when it runs, so that a failing import fails that
    section only."""
    return lambda: importlib.import_module(f"bench.{name}").report()


def main() -> int:
    # libraries read these variables on import, so restart with them
    if not SERVER_ENVIRONMENT.items() <= os.environ.items():
        arguments = [sys.executable, "-m", "bench", *sys.argv[1:]]
        # No shell is needed.
        os.execve(sys.executable, arguments, {**os.environ, **SERVER_ENVIRONMENT})  # noqa: S606
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("section", nargs="*", help=f"one of {', '.join(SECTIONS)}; default: all")
    names = parser.parse_args().section or SECTIONS
    if unknown := [name for name in names if name not in SECTIONS]:
        parser.error(f"unknown section: {', '.join(unknown)}; choose from {', '.join(SECTIONS)}")
    failed = run({name: _load(name) for name in names}, RESULTS)
    if failed:
        print(f"FAILED: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
