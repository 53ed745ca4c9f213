"""Requests of all kinds to both deployments through HAProxy, at a constant rate, with their
expected answers."""

import http.client
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Self

from asciist.conversion import ConversionOptions
from asciist.limits import Limits
from operations.smoke import Smoke, SmokeError, fresh
from tools.testing.drawing import convert
from tools.testing.images import encoded, gradient
from tools.testing.load import FreshUpload, OpenLoop, RequestSource, Result, fixed, run
from tools.testing.load.requests import Parts

_WIDTH: Final = 60
_TIMEOUT_SECONDS: Final = 35.0
"""Client timeout, in seconds; longer than HAProxy waits for an origin."""
_CHECK_SECONDS: Final = 0.5
"""Seconds between two requests whose art is compared."""
_LONGEST_SECONDS: Final = 7200.0


@dataclass(frozen=True)
class Kind:
    """Requests with the same expected outcome."""

    share: float
    """Share of the rate."""
    status: int
    """Status of each answer."""


_SHARE_OF_NEW: Final = 0.1
"""Share of new images. It is above 5%, so that p95 is the time of a conversion. At exactly 5%, p95
would vary between that and the time of a stored answer, which is a twentieth of it."""
KINDS: Final[Mapping[str, Kind]] = {
    "new image": Kind(_SHARE_OF_NEW, 200),
    "stored art": Kind(0.3, 200),
    "permanent URL": Kind(0.4, 200),
    "no image": Kind(0.1, 400),
    "unknown URL": Kind(0.1, 404),
}


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A request with an unexpected answer."""

    due: float
    """Time at which it was due, in seconds since the epoch."""
    seconds: float
    """Duration until the answer, in seconds."""
    kind: str
    found: str
    """Status, or a description of the error."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Outcomes of the requests in a period."""

    requests: int
    failures: tuple[Failure, ...]
    began: float
    """Start of the period, in seconds since the epoch."""
    ended: float

    @property
    def failed(self) -> int:
        return len(self.failures)


class Traffic:
    """Sends requests in the course of a `with` block. Afterwards, `outcome` contains the
    results."""

    def __init__(self, port: int, rate: float) -> None:
        """`rate` is in requests per second."""
        self.outcome: Outcome | None = None
        self.rate = rate
        self._smoke = Smoke(f"http://127.0.0.1:{port}")
        self._port = port
        self._photograph = encoded(gradient(160, 120), "JPEG")
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._checked: list[tuple[str, bytes]] = []
        """Permanent URLs of art, with the art."""
        self._checks = 0
        self._failed_checks: list[Failure] = []
        self._results: dict[str, Result] = {}
        self._began = 0.0
        self._threads = [threading.Thread(target=self._send), threading.Thread(target=self._check)]
        self._random = random.Random(1)

    def __enter__(self) -> Self:
        self._convert()  # so that there is a permanent URL
        assert not self._failed_checks, self._failed_checks
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        failures = list(self._failed_checks)
        requests = self._checks
        for name, result in self._results.items():
            requests += result.offered
            failures += _failures(name, result, self._began)
        failures.sort(key=lambda failure: failure.due)
        self.outcome = Outcome(
            requests=requests, failures=tuple(failures), began=self._began, ended=time.time()
        )

    def wait(self, seconds: float) -> None:
        """Let traffic run for some seconds."""
        self._stopping.wait(seconds)

    def _send(self) -> None:
        sources: dict[str, RequestSource] = {
            "new image": FreshUpload(self._photograph, path=f"/?width={_WIDTH}"),
            "stored art": fixed("PUT", f"/?width={_WIDTH}", self._photograph),
            "permanent URL": self._permanent_url,
            "no image": fixed("PUT", f"/?width={_WIDTH}", b"no image"),
            "unknown URL": self._unknown_url,
        }
        loads = [
            OpenLoop(
                requests=sources[name],
                rate=self.rate * kind.share,
                seconds=_LONGEST_SECONDS,
                # or else those of all kinds would be due at the same moments
                start=number / self.rate,
                timeout=_TIMEOUT_SECONDS,
            )
            for number, (name, kind) in enumerate(KINDS.items())
        ]
        self._began = time.time()
        self._results = dict(
            zip(sources, run(self._port, *loads, stopped=self._stopping.is_set), strict=True)
        )

    def _permanent_url(self) -> Parts:
        with self._lock:
            url, _ = self._random.choice(self._checked)
        return fixed("GET", url)()

    def _unknown_url(self) -> Parts:
        return fixed("GET", f"/{self._random.randbytes(32).hex()}/width/{_WIDTH}")()

    def _check(self) -> None:
        """Compare the art of new images, and of permanent URLs, with the expected art."""
        while not self._stopping.wait(_CHECK_SECONDS):
            self._convert()
            with self._lock:
                url, art = self._random.choice(self._checked)
            self._judged(
                "permanent URL",
                lambda url=url, art=art: _same(
                    self._smoke.request("GET", url).expect(200).body, art
                ),
            )

    def _convert(self) -> None:
        image = fresh(self._photograph)
        width = self._random.randrange(20, 100)
        expected = f"{convert(image, ConversionOptions(width=width), Limits())}\n".encode()

        def upload() -> None:
            answer = self._smoke.request("PUT", f"/?width={width}", image).expect(200)
            _same(answer.body, expected)
            with self._lock:
                self._checked.append((answer.headers["content-location"], expected))

        self._judged("new image", upload)

    def _judged(self, kind: str, request: Callable[[], None]) -> None:
        due = time.time()
        self._checks += 1
        try:
            request()
        except (SmokeError, OSError, http.client.HTTPException) as error:
            seconds = time.time() - due
            self._failed_checks.append(
                Failure(
                    due=due, seconds=seconds, kind=kind, found=f"{type(error).__name__}: {error}"
                )
            )


def _same(found: bytes, expected: bytes) -> None:
    if found != expected:
        raise SmokeError(f"other art: {found[:30]!r}…")


def _failures(name: str, result: Result, began: float) -> list[Failure]:
    return [
        Failure(
            due=began + due,
            seconds=latency,
            kind=name,
            found=str(status) if status else "no answer",
        )
        for due, latency, status in zip(result.due, result.latency, result.status, strict=True)
        if status != KINDS[name].status
    ]
