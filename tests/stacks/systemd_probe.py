"""Starts and stops the units inside the systemd of test_units.py, and writes its findings to
/result/found."""

import contextlib
import http.client
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

STATUS = ("Uid", "CapEff", "CapBnd", "NoNewPrivs", "Seccomp")
"""Lines of /proc/*/status."""


def show(unit: str, name: str) -> str:
    """Return a property of a unit."""
    command = ["systemctl", "show", f"--property={name}", "--value", unit]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def processes(unit: str) -> Iterator[dict[str, str]]:
    """Return the kernel's status of each process of a unit."""
    group = Path("/sys/fs/cgroup" + show(unit, "ControlGroup"))
    for process in (group / "cgroup.procs").read_text().split():
        directory = Path("/proc", process)
        lines = (line.partition(":\t") for line in (directory / "status").read_text().splitlines())
        status = {name: value for name, _, value in lines if name in STATUS}
        yield {**status, "oom_score_adj": (directory / "oom_score_adj").read_text().strip()}


def is_at_work(unit: str) -> bool:
    """Return True once the web unit is ready, or the poller has tried to reach its queue."""
    if unit == "asciist-poller":
        return "Could not connect to the endpoint URL" in log(unit)
    try:
        return answer("GET", "/readyz").startswith("ready")
    except OSError:
        return False


def answer(method: str, path: str, body: bytes | None = None) -> str:
    """Return the body of an answer of the web unit. Raises OSError."""
    with contextlib.closing(
        http.client.HTTPConnection("127.0.0.1", 8080, timeout=10)
    ) as connection:
        connection.request(method, path, body)
        return connection.getresponse().read().decode()


def log(unit: str) -> str:
    """Return the log of a unit; empty before it has started."""
    file = Path("/var/log/asciist", unit.removeprefix("asciist-") + ".log")
    return file.read_text() if file.exists() else ""


def probe(unit: str) -> dict[str, Any]:
    """Start and stop a unit, and return the observations."""
    # the poller waits for its queue
    subprocess.run(["systemctl", "start", "--no-block", unit], check=False)
    give_up = time.monotonic() + 300
    while not (works := is_at_work(unit)) and time.monotonic() < give_up:
        time.sleep(0.1)
    art = readiness = ""
    if works and unit == "asciist-web":
        readiness = answer("GET", "/readyz")
        art = answer("PUT", "/?width=40", Path("/etc/image").read_bytes())
    return {
        "works": works,
        "art": art,
        "readiness": readiness,
        "processes": [*processes(unit)] if works else [],
        "restarts": show(unit, "NRestarts"),
        "stopped": subprocess.run(["systemctl", "stop", unit], check=False).returncode,
        "result": show(unit, "Result"),
        "status": show(unit, "ExecMainStatus"),  # systemd.exec(5) explains those above 200
        "log": log(unit),
    }


if __name__ == "__main__":
    found = {unit: probe(unit) for unit in ("asciist-web", "asciist-poller")}
    Path("/result/found").write_text(json.dumps(found))
