"""The machine and the revision of a measurement, for reports."""

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

ROOT: Final = Path(__file__).parents[2]
_MEASURED: Final = (
    "asciist",
    "service",
    "lambda_worker",
    "operations",
    "tools/testing",
    "bench/*.py",
    "packages",
    "stacks",
    "tests/emulated",
    "pyproject.toml",
    "requirements.txt",
    "tools/locks",
    "tools/sharp",
)
"""Paths that may affect results; the revision mentions uncommitted changes to them."""


def machine() -> str:
    """Return one line with the processor, the system, and the libraries whose versions affect
    results."""
    return (
        f"{processor()}, {os.cpu_count()} cores, {platform.machine()},"
        f" {platform.system()} {platform.release()};"
        f" {platform.python_implementation()} {platform.python_version()}, NumPy"
        f" {np.__version__} ({_blas()}), Pillow {importlib.metadata.version('pillow')}"
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
    """Return the name of the BLAS library and, if threadpoolctl is installed, of its selected
    kernels."""
    if importlib.util.find_spec("threadpoolctl"):
        threadpoolctl = importlib.import_module("threadpoolctl")
        np.dot(np.ones(1), np.ones(1))
        for library in threadpoolctl.threadpool_info():
            if library["user_api"] == "blas":
                return (
                    f"{library['internal_api']} {library['version']},"
                    f" {library.get('architecture', '?')} kernels"
                )
    build = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return f"{build['name']} {build['version']}"


def revision() -> str:
    """Return the git revision, and whether the measured files have uncommitted changes."""

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments],  # noqa: S607
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout.strip() if done.returncode == 0 else ""

    head = git("rev-parse", "--short=12", "HEAD")
    if not head:
        return "no git revision"
    return f"revision {head}" + (
        " with uncommitted changes" if git("status", "--porcelain", "--", *_MEASURED) else ""
    )
