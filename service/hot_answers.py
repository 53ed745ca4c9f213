"""Caches the latest answers with stored art in memory, because a URL of art is often requested many
times in a row.

Such an answer depends only on the URL and a few request headers. Serving it from here skips Flask
and the store.
"""

import mmap
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any, Final

from asciist.options import ConversionOptions
from asciist.protocol.links import CODE_PATTERN, NAME_PATTERN
from asciist.protocol.ports import Metrics
from asciist.protocol.requester import ArtSource, ServedArt
from asciist.telemetry import logs
from asciist.telemetry.metrics import ART_SERVED
from .crawlers import fetches_previews

SERVED: Final = "asciist.served"
"""Key of the ServedArt of an answer in a WSGI environment."""

ROUTE: Final = "asciist.route"
"""Key of the route of a request that did not reach Flask, in a WSGI environment."""

_MAX_BYTES: Final = 16_000_000
"""Maximum bytes of all cached answers, including overhead."""

_ENTRY_BYTES: Final = 4096
"""Approximate maximum bytes of an answer's headers and its overhead in the cache."""

_MAX_SECONDS: Final = 60.0
"""Maximum age of an answer, in seconds. Art deleted from the store by another machine may be served
for this long."""

_PATH: Final = re.compile(
    rf"/(?:{CODE_PATTERN}|{NAME_PATTERN}/(?:style/[^/]{{1,400}}/)?width/[0-9]{{1,4}})(?:\.[a-z0-9.]{{1,8}})?"
)

_VARYING: Final = (
    "HTTP_ACCEPT",
    "HTTP_ACCEPT_ENCODING",
    "HTTP_ORIGIN",
    "HTTP_HOST",
    "HTTP_X_FORWARDED_PROTO",
)
"""Request headers on which an answer may depend."""

_EXCLUDING: Final = ("HTTP_IF_NONE_MATCH", "HTTP_RANGE", "QUERY_STRING")
"""Request headers and variables that exclude a request from the cache."""

_Environ = MutableMapping[str, Any]
_Application = Callable[[Any, Any], Iterable[bytes]]


@dataclass(frozen=True, kw_only=True)
class _Answer:
    headers: list[tuple[str, str]]
    body: bytes
    image_id: str
    """Name of the image in logs."""
    options: ConversionOptions
    route: str
    expires_at: float
    kept_bytes: int
    """Approximate bytes of memory for the answer and its key."""


class SharedCounter:
    """A counter shared with all processes that this process forks later."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 8)

    def increment(self) -> None:
        """Increment the counter. Of two simultaneous increments, one may be lost."""
        self._memory[:] = ((self.value + 1) % 2**64).to_bytes(8)

    @property
    def value(self) -> int:
        return int.from_bytes(self._memory[:])


class HotAnswers:
    """WSGI application that answers repeated requests for stored art itself, and passes all others
    on."""

    def __init__(
        self,
        application: _Application,
        metrics: Metrics,
        deletions: SharedCounter,
        image_id: Callable[[str], str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """All answers are dropped when `deletions` changes. `image_id` returns the name of an image
        in logs."""
        self._application = application
        self._metrics = metrics
        self._deletions = deletions
        self._seen_deletions = deletions.value
        self._image_id = image_id
        self._clock = clock
        self._answers: OrderedDict[tuple[str, ...], _Answer] = OrderedDict()
        self._bytes = 0

    def __call__(self, environ: _Environ, start_response: Any) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if (
            environ["REQUEST_METHOD"] != "GET"
            or not _PATH.fullmatch(path)
            or any(environ.get(name) for name in _EXCLUDING)
        ):
            return self._application(environ, start_response)
        if self._seen_deletions != self._deletions.value:
            self._seen_deletions = self._deletions.value
            self._answers.clear()
            self._bytes = 0
        key = (path, str(fetches_previews(environ)), *[environ.get(name, "") for name in _VARYING])
        answer = self._answers.get(key)
        if answer is None or answer.expires_at < self._clock():
            return self._pass_on(key, environ, start_response)
        self._answers.move_to_end(key)
        self._metrics.count(ART_SERVED, source=ArtSource.STORE.value)
        logs.add(image=answer.image_id, style=answer.options.style, width=answer.options.width)
        logs.add(source=ArtSource.STORE.value)
        environ[ROUTE] = answer.route
        start_response("200 OK", list(answer.headers))
        return [answer.body]

    def _pass_on(
        self, key: tuple[str, ...], environ: _Environ, start_response: Any
    ) -> Iterable[bytes]:
        started: list[Any] = []
        deletions = self._deletions.value

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            request = environ.get("werkzeug.request")
            rule = request.url_rule if request else None
            started[:] = [status, list(headers), rule.rule if rule else ""]
            return start_response(status, headers, exc_info)

        parts = self._application(environ, start)
        served: ServedArt | None = environ.get(SERVED)
        if served is None or started[0] != "200 OK" or deletions != self._deletions.value:
            return parts
        body = b"".join(parts)
        getattr(parts, "close", lambda: None)()
        _, headers, route = started
        # Clients choose the key: without its length, empty art in many variants would take any
        # amount of memory.
        kept_bytes = len(body) + sum(map(len, key)) + _ENTRY_BYTES
        expires_at = self._clock() + _MAX_SECONDS
        answer = _Answer(
            headers=headers,
            body=body,
            image_id=self._image_id(served.digest),
            options=served.options,
            route=route,
            expires_at=expires_at,
            kept_bytes=kept_bytes,
        )
        self._keep(key, answer)
        return [body]

    def _keep(self, key: tuple[str, ...], answer: _Answer) -> None:
        self._drop(key)
        if answer.kept_bytes > _MAX_BYTES // 4:
            return
        self._answers[key] = answer
        self._bytes += answer.kept_bytes
        while self._bytes > _MAX_BYTES:
            self._drop(next(iter(self._answers)))

    def _drop(self, key: tuple[str, ...]) -> None:
        answer = self._answers.pop(key, None)
        if answer is not None:
            self._bytes -= answer.kept_bytes
