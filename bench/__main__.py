"""Run the measurements, print them, and write bench/results.md. Sections that are not run keep their previous results."""

import argparse
import importlib
import importlib.metadata
import importlib.util
import os
import platform
import re
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np

from asciist.cli import SERVER_ENVIRONMENT

ROOT: Final = Path(__file__).parent.parent
Report = Callable[[], Iterable[str]]
"""A measurement: yields Markdown lines as it runs."""

RESULTS: Final = Path(__file__).with_name("results.md")
SECTIONS: Final = ("latency", "coldstart", "page", "metrics", "service", "speed", "fidelity", "sheets", "hostile")
"""Modules of this package that define `report() -> Iterator[str]`, in their order in results.md."""

_HEAD: Final = """\
# Results

Written by `make bench`; [README.md](README.md) describes the method. Each section states its date, revision and machine.
All sections run with the environment variables that `asciist serve` sets for its server: OpenBLAS uses one thread, and the
allocator keeps small blocks.
"""
_MEASURED: Final = (
    "asciist",
    "service",
    "lambda_worker",
    "observability",
    "devtools",
    "bench/*.py",
    "pyproject.toml",
    "requirements",
    "tools/sharp",
)
"""Paths that may affect results: the revision names uncommitted changes to them."""


def machine() -> str:
    """Return one line that names the processor, the system, and the libraries whose versions affect results."""
    return (
        f"{_processor()}, {os.cpu_count()} cores, {platform.machine()}, {platform.system()} {platform.release()}; "
        f"{platform.python_implementation()} {platform.python_version()}, NumPy {np.__version__} ({_blas()}), "
        f"Pillow {importlib.metadata.version('pillow')}"
    )


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        found = re.search(r"^model name\s*: (.+)$", cpuinfo.read_text(), re.MULTILINE)
        if found:
            return found[1].strip()
    return platform.processor() or "unknown processor"


def _blas() -> str:
    """Return the name of the BLAS library and, if threadpoolctl is installed, of the kernels it chose."""
    if importlib.util.find_spec("threadpoolctl"):
        threadpoolctl = importlib.import_module("threadpoolctl")
        np.dot(np.ones(1), np.ones(1))
        for library in threadpoolctl.threadpool_info():
            if library["user_api"] == "blas":
                return f"{library['internal_api']} {library['version']}, {library.get('architecture', '?')} kernels"
    build = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return f"{build['name']} {build['version']}"


def revision() -> str:
    """Return the git revision, and whether the measured files have uncommitted changes."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S607
        return done.stdout.strip() if done.returncode == 0 else ""

    head = git("rev-parse", "--short=12", "HEAD")
    if not head:
        return "no git revision"
    return f"revision {head}" + (" with uncommitted changes" if git("status", "--porcelain", "--", *_MEASURED) else "")


def sections_of(text: str) -> dict[str, str]:
    """Split a results file into sections; map each lower-case name to its text, heading included."""
    found = {}
    for part in re.split(r"^(?=## )", text, flags=re.MULTILINE)[1:]:
        found[part.partition("\n")[0].removeprefix("## ").lower()] = part.rstrip("\n") + "\n"
    return found


def merged(old: str, new: dict[str, str]) -> str:
    """Return the results file `old` with the sections of `new` replaced or added, in the order of SECTIONS."""
    sections = sections_of(old) | new
    return "\n".join([_HEAD, *(sections[name] for name in SECTIONS if name in sections)])


def run(sections: Mapping[str, Report], results: Path) -> list[str]:
    """Run and print each section and write it to `results`, keeping the file's other sections. Return the names that failed."""
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
    """Return a report that imports its module when it runs, so that a failing import fails that section only."""
    return lambda: importlib.import_module(f"bench.{name}").report()


def main() -> int:
    if not SERVER_ENVIRONMENT.items() <= os.environ.items():  # libraries read these variables on import, so restart with them
        arguments = [sys.executable, "-m", "bench", *sys.argv[1:]]
        os.execve(sys.executable, arguments, {**os.environ, **SERVER_ENVIRONMENT})  # noqa: S606 - no shell is needed
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
