"""Reads of links that are meant to do harm, beside health checks and conversions on the same
server. Memory is that of all processes of the server (proportional set size), above the idle
server."""

import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from bench.goals import HEAD, goal, milliseconds
from tools.testing.images import encoded, small_photograph
from tools.testing.load import (
    ClosedLoop,
    FreshJson,
    OpenLoop,
    Parts,
    ProcessTree,
    Result,
    SlowClients,
    fixed,
    run,
)
from tools.testing.server import temporary_server

_SECONDS: Final = 10.0
_HEALTH_RATE: Final = 10.0
_UNREAD: Final = 1000
_MEGABYTES: Final = 300
_FRAMES: Final = 300


@dataclass(frozen=True)
class _Attack:
    name: str
    rate: float
    """Requests per second on new connections; 0 for clients that send one and do not read."""
    link: str
    """`animation` or `still`."""
    suffix: str = ""
    headers: str = "Host: x\r\n"
    """Lines of the head; `{}` stands for the number of the request."""


_PAGE: Final = "Accept: text/html\r\nHost: x\r\n"
_ATTACKS: Final = (
    _Attack(f"{_UNREAD} streams that nobody reads", 0, "animation"),
    _Attack(f"{_UNREAD} `.json` that nobody reads", 0, "animation", ".json"),
    _Attack("10 `.json?a=N` a second", 10, "animation", ".json"),
    _Attack("10 pages a second, `?a=N`", 10, "still", headers=_PAGE),
    _Attack("40 pages a second, `?a=N`", 40, "still", headers=_PAGE),
    _Attack("200 pages a second, `?a=N`", 200, "still", headers=_PAGE),
    _Attack(
        "40 pages a second, each for another host", 40, "still", headers=_PAGE.replace("x", "x{}")
    ),
)


_CONNECTIONS: Final = 8


def report() -> Iterator[str]:
    """Yield Markdown lines: what each attack leaves to others, and what it costs."""
    yield (__doc__ or "").strip()
    yield ""
    yield "| | memory, MB | /healthz p99, ms | failed | conversions/s, ratio | answers |"
    yield "|---|--:|--:|--:|--:|---|"
    goals = []
    for attack in _ATTACKS:
        megabytes, before, health, during, answers = _measured(attack)
        slowest = health.served.p99 if len(health.served) == health.offered else math.inf
        ratio = during.goodput / before.goodput
        yield (
            f"| {attack.name} | {megabytes:.0f} | {milliseconds(slowest)} |"
            f" {health.offered - len(health.served)} | {ratio:.2f} | {answers} |"
        )
        goals += [
            goal(
                f"memory, MB: {attack.name}",
                f"≤ {_MEGABYTES}",
                f"{megabytes:.0f}",
                met=megabytes <= _MEGABYTES,
            ),
            goal(
                f"/healthz p99, ms: {attack.name}",
                "< 100",
                milliseconds(slowest),
                met=slowest < 0.1,
            ),
            goal(f"conversions: {attack.name}", "≥ 0.9", f"{ratio:.2f}", met=ratio >= 0.9),
        ]
    yield ""
    yield from HEAD
    yield from goals
    yield ""


def _measured(attack: _Attack) -> tuple[float, Result, Result, Result, str]:
    """Return the memory in MB, conversions before an attack, and health checks and conversions
    during it, and the answers to the attack by status."""
    with temporary_server() as server:
        animated, options = attack.link == "animation", "fit=fill&style=blocks&color=ansi"
        size = "width=40&height=20&animate=true" if animated else "width=200&height=200"
        status, body = server.request(
            "PUT", f"/?{size}&{options}", _noise(animated), Accept="application/json"
        )
        assert status == 200, body
        path = re.sub("^http://[^/]*", "", json.loads(body)["url"]) + attack.suffix
        numbers = itertools.count()

        def request() -> Parts:
            number = next(numbers)
            head = attack.headers.replace("{}", str(number))
            return (f"GET {path}?a={number} HTTP/1.1\r\n{head}\r\n".encode(),)

        _, before = run(server.port, *_others())
        tree = ProcessTree(server.process.pid)
        idle = _megabytes(tree)
        with SlowClients(server.port) as clients:
            if not attack.rate:
                clients.open(request()[0], _UNREAD, reading=False)
                health, during = run(server.port, *_others())
                answers = _counted(clients.dropped)
            else:
                loop = OpenLoop(
                    requests=request,
                    rate=attack.rate,
                    seconds=_SECONDS,
                    timeout=_SECONDS,
                    new_connections=True,
                )
                health, during, attacked = run(server.port, *_others(), loop)
                answers = _counted(attacked.statuses)
            return _megabytes(tree) - idle, before, health, during, answers


def _counted(answers: Mapping[Any, int]) -> str:
    return ", ".join(f"{number} {answer}" for answer, number in answers.items())


def _others() -> tuple[OpenLoop, ClosedLoop]:
    """Return the loads of everybody else: health checks and conversions."""
    return (
        OpenLoop(
            requests=fixed("GET", "/healthz"),
            rate=_HEALTH_RATE,
            seconds=_SECONDS,
            timeout=_SECONDS,
            new_connections=True,
        ),
        ClosedLoop(
            requests=FreshJson(small_photograph(), width=80),
            connections=_CONNECTIONS,
            seconds=_SECONDS,
            timeout=_SECONDS,
        ),
    )


def _noise(animated: bool) -> bytes:
    """Return an image of which every cell differs, in every frame of an animation."""
    random = np.random.default_rng(1)
    shape = (80, 100, 3) if animated else (400, 400, 3)
    first, *others = (
        Image.fromarray(random.integers(0, 255, shape, dtype=np.uint8))
        for _ in range(_FRAMES if animated else 1)
    )
    if not animated:
        return encoded(first, "PNG")
    return encoded(first, "WEBP", save_all=True, append_images=others, duration=60, quality=10)


def _megabytes(tree: ProcessTree) -> float:
    """Return the memory of all processes; shared pages count once."""
    kilobytes = 0
    for process in tree.pids():
        with suppress(OSError):
            rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
            kilobytes += sum(map(int, re.findall(r"^Pss: +(\d+)", rollup, re.MULTILINE)))
    return kilobytes / 1000
