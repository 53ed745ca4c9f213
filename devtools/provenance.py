"""The machine and the revision on which figures were measured, as reports name them."""

import importlib
import importlib.metadata
import importlib.util
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Final

import numpy as np

ROOT: Final = Path(__file__).parent.parent
_MEASURED: Final = (
    "asciist",
    "service",
    "lambda_worker",
    "observability",
    "devtools",
    "bench/*.py",
    "migration",
    "stacks",
    "tests/emulated",
    "pyproject.toml",
    "requirements",
    "tools/sharp",
)
"""Paths that may affect results: the revision names uncommitted changes to them."""


def machine() -> str:
    """Return one line that names the processor, the system, and the libraries whose versions affect results."""
    return (
        f"{processor()}, {os.cpu_count()} cores, {platform.machine()}, {platform.system()} {platform.release()}; "
        f"{platform.python_implementation()} {platform.python_version()}, NumPy {np.__version__} ({_blas()}), "
        f"Pillow {importlib.metadata.version('pillow')}"
    )


def processor() -> str:
    """Return the name of the processor."""
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
