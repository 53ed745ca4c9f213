"""Answers reads of stored art: from memory if another request got the same answer in the last
minute, else by Flask, with bounds on what that costs.

A URL of art is often requested many times in a row. An answer depends on the path and on what the
request headers select, not on their text and not on the query, so that no client can have the same
answer made again and again. Identical requests wait for the first one and share its answer.
"""

import mmap
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote_plus

from werkzeug.http import is_resource_modified, remove_entity_headers

from asciist.art import forms
from asciist.errors import OverloadedError
from asciist.options import OPTIONS, ConversionOptions
from asciist.protocol.links import CODE_PATTERN, NAME_PATTERN
from asciist.protocol.ports import Metrics
from asciist.protocol.served import ArtSource, ServedArt
from asciist.protocol.single_flight import SingleFlight
from asciist.telemetry import logs
from asciist.telemetry.metrics import ART_SERVED
from .admission import ReadPlaces
from .arrivals import has_left
from .negotiation import coding, form_of_read, may_be_compressed
from .renderings import Rendered
from .streams import Streams

SERVED: Final = "asciist.served"
"""Key of the ServedArt of an answer in a WSGI environment."""

STREAMED: Final = "asciist.streamed"
"""Key of what an answer plays while it is sent, in a WSGI environment."""

READS: Final = "asciist.reads"
"""Key of the ReadPlaces of which a read holds one, in a WSGI environment."""

REFUSED: Final = "asciist.refused"
"""Key of True in a WSGI environment for a request that the application must refuse as busy."""

ROUTE: Final = "asciist.route"
"""Key of the route of a read, which Flask may not have seen, in a WSGI environment."""

_MAX_BYTES: Final = 24_000_000
"""Maximum bytes of all cached answers, including overhead; half of it for one answer."""

_ENTRY_BYTES: Final = 4096
"""Approximate maximum bytes of an answer's headers and its overhead in the cache."""

_MAX_SECONDS: Final = 60.0
"""Maximum age of an answer, in seconds. Art deleted from the store by another machine may be served
for this long."""

_WAIT_SECONDS: Final = 30.0
"""Maximum seconds to wait for an identical request."""

_PATH: Final = re.compile(
    rf"/(?:{CODE_PATTERN}|{NAME_PATTERN}/(?:style/[^/]{{1,400}}/)?width/[0-9]{{1,4}})"
    r"(?:\.(?P<suffix>[a-z0-9.]{1,8}))?"
)

_REMOVED: Final = ("HTTP_IF_NONE_MATCH", "HTTP_RANGE")
"""Request headers that the application does not see: the first is compared here, and art has no
ranges."""

_Environ = MutableMapping[str, Any]
_Application = Callable[[Any, Any], Iterable[bytes]]


@dataclass(frozen=True, kw_only=True)
class _Answer:
    headers: list[tuple[str, str]]
    body: bytes
    streamed: Rendered | None
    """Performance to play instead of a body; None for a body."""
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
    """WSGI application that answers the reads of stored art that it can, and passes all other
    requests on."""

    def __init__(
        self,
        application: _Application,
        metrics: Metrics,
        deletions: SharedCounter,
        image_id: Callable[[str], str],
        *,
        streams: Streams,
        places: ReadPlaces,
        origin_key: Callable[[_Environ], str] = lambda _environ: "",
        depends_on_host: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """All answers are dropped when `deletions` changes. `image_id` returns the name of an image
        in logs.

        `origin_key` returns what distinguishes the answers for different values of `Origin`.
        `depends_on_host` is True if some hosts are refused.
        """
        self._application = application
        self._metrics = metrics
        self._deletions = deletions
        self._seen_deletions = deletions.value
        self._image_id = image_id
        self._streams = streams
        self._places = places
        self._origin_key = origin_key
        self._depends_on_host = depends_on_host
        self._clock = clock
        self._answers: OrderedDict[str, _Answer] = OrderedDict()
        self._bytes = 0
        self._in_flight: SingleFlight[_Answer | None] = SingleFlight()

    def __call__(self, environ: _Environ, start_response: Any) -> Iterable[bytes]:
        match = (
            _PATH.fullmatch(environ["PATH_INFO"])
            if environ["REQUEST_METHOD"] in ("GET", "HEAD")
            else None
        )
        suffix = match["suffix"] if match else None
        if match is None or (suffix and (suffix not in forms.FORMS or _has_options(environ))):
            return self._application(environ, start_response)
        key = self._key(environ, suffix)
        try:
            answer = self._kept(key)
            if answer is not None:
                return self._send(answer, environ, start_response)
            with self._in_flight.join(key) as call:
                if call.is_leader:
                    answer, parts = self._pass_on(key, environ, start_response)
                    call.finish(answer)
                    return parts
                with suppress(ConnectionAbortedError):  # the client of the first one has left
                    answer = call.wait(_WAIT_SECONDS)
            if answer is not None:
                return self._send(answer, environ, start_response)
            return self._pass_on(key, environ, start_response)[1]
        except (OverloadedError, TimeoutError):
            return self._application({**environ, REFUSED: True}, start_response)

    def _key(self, environ: _Environ, suffix: str | None) -> str:
        """Return a text that differs for requests whose answers differ."""
        form, varying = (forms.FORMS[suffix], "") if suffix else form_of_read(environ)
        is_page = form is forms.HTML and not suffix
        has_address = form is forms.JSON or is_page or self._depends_on_host
        return "\0".join(
            (
                environ["PATH_INFO"],
                form.suffix,
                varying,
                coding(environ) if may_be_compressed(form.media_type) else "",
                self._origin_key(environ),
                environ.get("HTTP_HOST", "") if has_address else "",
                environ.get("HTTP_X_FORWARDED_PROTO", "") if has_address else "",
            )
        )

    def _kept(self, key: str) -> _Answer | None:
        if self._seen_deletions != self._deletions.value:
            self._seen_deletions = self._deletions.value
            self._answers.clear()
            self._bytes = 0
        answer = self._answers.get(key)
        if answer is None or answer.expires_at < self._clock():
            return None
        self._answers.move_to_end(key)
        return answer

    def _send(self, answer: _Answer, environ: _Environ, start_response: Any) -> Iterable[bytes]:
        """Answer a request with a kept answer. Raises OverloadedError."""
        stream = self._streams.begin(answer.streamed) if answer.streamed else None
        self._metrics.count(ART_SERVED, source=ArtSource.STORE.value)
        logs.add(image=answer.image_id, style=answer.options.style, width=answer.options.width)
        logs.add(source=ArtSource.STORE.value)
        environ[ROUTE] = answer.route
        return _sent("200 OK", answer.headers, stream or [answer.body], environ, start_response)

    def _pass_on(
        self, key: str, environ: _Environ, start_response: Any
    ) -> tuple[_Answer | None, Iterable[bytes]]:
        """Answer a request by the application. Return the answer if others may have it, and the
        parts of the body. Raises OverloadedError."""
        started: list[Any] = []
        deletions = self._deletions.value
        inner = {name: value for name, value in environ.items() if name not in _REMOVED}
        inner |= {"REQUEST_METHOD": "GET", "QUERY_STRING": "", READS: self._places}

        def start(status: str, headers: list[tuple[str, str]], _exc_info: Any = None) -> None:
            started[:] = [status, list(headers)]
            request = inner.get("werkzeug.request")  # as long as Flask handles it
            rule = request.url_rule if request else None
            environ[ROUTE] = rule.rule if rule else ""

        with self._places.take(lambda: has_left(environ.get("gunicorn.socket"))):
            parts = self._application(inner, start)
        status, headers = started
        served: ServedArt | None = inner.get(SERVED)
        answer = None
        if served is not None and status == "200 OK" and deletions == self._deletions.value:
            streamed: Rendered | None = inner.get(STREAMED)
            body = b"" if streamed else b"".join(parts)
            answer = _Answer(
                headers=headers,
                body=body,
                streamed=streamed,
                image_id=self._image_id(served.digest),
                options=served.options,
                route=environ[ROUTE],
                expires_at=self._clock() + _MAX_SECONDS,
                kept_bytes=_ENTRY_BYTES + len(key) + (streamed.size if streamed else len(body)),
            )
            self._keep(key, answer)
            if not streamed:
                _close(parts)
                parts = [body]
        return answer, _sent(status, headers, parts, environ, start_response)

    def _keep(self, key: str, answer: _Answer) -> None:
        self._drop(key)
        if answer.kept_bytes > _MAX_BYTES // 2:
            return
        self._answers[key] = answer
        self._bytes += answer.kept_bytes
        while self._bytes > _MAX_BYTES:
            self._drop(next(iter(self._answers)))

    def _drop(self, key: str) -> None:
        answer = self._answers.pop(key, None)
        if answer is not None:
            self._bytes -= answer.kept_bytes


def _has_options(environ: _Environ) -> bool:
    """Return whether the query has the name of an option, which the application refuses for a
    file."""
    query = environ.get("QUERY_STRING") or ""
    return any(unquote_plus(part.partition("=")[0]) in OPTIONS for part in query.split("&"))


def _sent(
    status: str,
    headers: list[tuple[str, str]],
    parts: Iterable[bytes],
    environ: _Environ,
    start_response: Any,
) -> Iterable[bytes]:
    """Start an answer to GET, or to HEAD or a conditional request, and return the parts of its
    body."""
    headers = list(headers)
    if status == "200 OK" and "HTTP_IF_NONE_MATCH" in environ:
        etag = next((text for name, text in headers if name == "ETag"), None)
        if etag and not is_resource_modified(dict(environ), etag):
            status = "304 NOT MODIFIED"
            remove_entity_headers(headers, allowed=("content-location", "expires"))
    if environ["REQUEST_METHOD"] == "HEAD" or status.startswith("304"):
        _close(parts)
        parts = []
    start_response(status, headers)
    return parts


def _close(parts: Iterable[bytes]) -> None:
    """End an answer whose parts are not sent, as WSGI demands."""
    getattr(parts, "close", lambda: None)()
