"""Renderings of stored art for answers, each made once and kept while there is room.

Small text is written in the web process. Everything else takes milliseconds to seconds and runs in
another process, one rendering at a time. The memory of the results is reserved before they are
received, and released when nobody holds them any more.
"""

import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import Final

from asciist.art.forms import Form
from asciist.art.rendering import Rendering
from asciist.errors import OverloadedError, UnavailableError
from asciist.protocol.capacity import Capacity
from asciist.protocol.ports import Renderer
from asciist.protocol.served import ServedArt
from asciist.protocol.single_flight import SingleFlight
from .admission import ReadPlaces

_MAX_BYTES: Final = 48_000_000
"""Maximum bytes of all renderings in one process, in answers or kept."""

_COMPOSED_BYTES: Final = 32_000_000
"""Maximum bytes of all answers that one process is composing from renderings."""

_COPIES: Final = 2
"""Copies of a rendering in memory while an answer is composed: in the answer, and compressed."""

_KEPT_BYTES: Final = 16_000_000
"""Maximum bytes of the renderings that are kept for other requests."""

_ENTRY_BYTES: Final = 1024
"""Approximate overhead of a rendering, in bytes."""

_SMALL_CHARACTERS: Final = 65_536
"""Maximum characters of encoded art that the web process writes as text itself, in 2 ms: 80x40
cells of two colours have 40,000."""

_WAITING_READS: Final = 8
"""Maximum reads of links that wait for a rendering. Others are refused."""

_WAITING: Final = 24
"""Maximum requests that wait for a rendering, with those for a conversion."""

_WAIT_SECONDS: Final = 20.0
"""Maximum seconds to wait for a rendering."""

_COMPOSE_WAIT_SECONDS: Final = 5.0
"""Maximum seconds to wait for memory to compose an answer."""


@dataclass(frozen=True, eq=False)
class Rendered:
    """The parts of a rendering. Their memory is reserved as long as this object exists."""

    parts: Sequence[bytes]

    @property
    def size(self) -> int:
        """Bytes of all parts."""
        return sum(map(len, self.parts))


class _InProcess:
    """Renderer in the calling thread."""

    def render(
        self, art: str, rendering: Rendering, *, reserve: Callable[[int], None]
    ) -> list[bytes]:
        parts = _parts(art, rendering)
        reserve(sum(map(len, parts)))
        return parts


class Renderings:
    """The renderings of one process."""

    def __init__(self, renderer: Renderer | None = None) -> None:
        """Without a renderer, everything is rendered in the calling thread."""
        self._renderer = renderer or _InProcess()
        self._turn = threading.Lock()
        self._waiting = 0
        self._in_flight: SingleFlight[Rendered] = SingleFlight()
        self._kept: OrderedDict[str, Rendered] = OrderedDict()
        self._kept_bytes = 0
        self._bytes = 0
        self._composed = Capacity(_COMPOSED_BYTES)

    def render(
        self, served: ServedArt, kind: str, form: Form, reads: ReadPlaces | None = None
    ) -> Rendered:
        """Return art in a form; see `Rendering` for the kinds.

        For the read of a link, `reads` are the places of which it holds one; fewer reads than
        uploads may wait. Raises UndrawableArtError, OverloadedError, UnavailableError.
        """
        rendering = Rendering(kind, form.suffix, served.is_light)
        if not form.is_picture and len(served.encoded) <= _SMALL_CHARACTERS:
            return Rendered(_parts(served.encoded, rendering))
        # the digest and the options name the art, except for the polarity that was chosen
        key = f"{served.digest} {served.options.as_drawn()} {rendering}"
        if (kept := self._kept.get(key)) is not None:
            with suppress(KeyError):  # another thread has dropped it
                self._kept.move_to_end(key)
            return kept
        with reads.paused() if reads else nullcontext(), self._in_flight.join(key) as call:
            if not call.is_leader:
                try:
                    return call.wait(_WAIT_SECONDS)
                except TimeoutError as error:
                    raise OverloadedError from error
            with self._turns(_WAITING_READS if reads else _WAITING):
                rendered = self._receive(served.encoded, rendering)
            self._keep(key, rendered)
            call.finish(rendered)
            return rendered

    def composing(self, rendered: Rendered) -> AbstractContextManager[None]:
        """Reserve the memory to compose an answer from a rendering, for the duration of a `with`
        block. Raises OverloadedError."""
        return self._composed.reserve(_COPIES * _size(rendered), wait_seconds=_COMPOSE_WAIT_SECONDS)

    @contextmanager
    def _turns(self, most: int) -> Iterator[None]:
        """Wait for the renderer. Raises OverloadedError."""
        if self._waiting >= most:
            raise OverloadedError
        self._waiting += 1
        try:
            if not self._turn.acquire(timeout=_WAIT_SECONDS):
                raise OverloadedError
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._turn.release()

    def _receive(self, art: str, rendering: Rendering) -> Rendered:
        reserved: list[int] = []

        def reserve(size: int) -> None:
            size += _ENTRY_BYTES
            while self._kept and self._bytes + size > _MAX_BYTES:
                self._drop()
            if self._bytes + size > _MAX_BYTES:
                raise OverloadedError
            self._bytes += size
            reserved.append(size)

        def release() -> None:
            self._bytes -= sum(reserved)

        try:
            rendered = Rendered(self._renderer.render(art, rendering, reserve=reserve))
        except BaseException:
            release()
            raise
        weakref.finalize(rendered, release).atexit = False
        return rendered

    def _keep(self, key: str, rendered: Rendered) -> None:
        self._kept[key] = rendered
        self._kept_bytes += _size(rendered)
        while self._kept_bytes > _KEPT_BYTES:
            self._drop()

    def _drop(self) -> None:
        """Drop the kept rendering that has not been used for longest."""
        self._kept_bytes -= _size(self._kept.popitem(last=False)[1])


def _parts(art: str, rendering: Rendering) -> list[bytes]:
    """Return the parts of a rendering. Raises UndrawableArtError; UnavailableError if the art is
    malformed."""
    try:
        return rendering.of(art)
    except ValueError as error:
        raise UnavailableError(f"stored art is malformed: {error}") from error


def _size(rendered: Rendered) -> int:
    return rendered.size + _ENTRY_BYTES
