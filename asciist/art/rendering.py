"""Renderings of art for answers: files, the elements of a page, members of JSON, and streams.

A rendering is a function of encoded art, so that it can run in another process
(`asciist.adapters.renderer`). Its result is a list of parts, as bytes.

Pure, like the art. Writers are imported when they are called, because most need numpy.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from asciist.art import Art, forms
from asciist.art.codec import decode
from asciist.art.forms import Form

STREAM_SECONDS: Final = 20
"""Maximum duration of a streamed animation, in seconds: a stopping process waits this long for its
answers."""

_STREAM_BYTES: Final = 20_000_000
"""Maximum bytes of a repeated animation: 20 seconds of moving cells of 80x30 in 24-bit colour."""

_MAX_MOVING_BYTES: Final = 100_000_000
"""Maximum bytes of an animated PNG before compression, as counted by `asciist.art`: 65,000 cells in
colour, in about 2 s of CPU time and less than 20 MB."""


def _file(art: Art, form: Form) -> list[bytes]:
    """Return the file of art in a form. Raises UndrawableArtError."""
    return [b"".join(form.written(art, _MAX_MOVING_BYTES))]


def _page(art: Art, _form: Form) -> list[bytes]:
    """Return the HTML elements of art on a page, and the style sheet that plays them; empty for
    still art."""
    from asciist.art import html  # noqa: PLC0415 - imported on first use

    return [part.encode() for part in html.elements(art)]


def _members(art: Art, form: Form) -> list[bytes]:
    """Return the members of a JSON object with art as text; of an animation, also its frames."""
    members: dict[str, Any] = dict(vars(art.movement)) if art.movement else {}
    if art.movement is None or form is forms.HTML:
        members["art"] = forms.text(art, form)
    else:
        texts = list(forms.texts(art, form))
        members["art"] = texts[0][0]
        members["frames"] = [{"milliseconds": ms, "art": text} for text, ms in texts]
    return [json.dumps(members, ensure_ascii=False, separators=(",", ":")).encode()[1:-1]]


def _stream(art: Art, form: Form) -> list[bytes]:
    """Return the parts of a performance of an animation."""
    from asciist.art.playing import perform  # noqa: PLC0415 - imports numpy

    return perform(
        art, forms.palette_of(form), max_seconds=STREAM_SECONDS, max_bytes=_STREAM_BYTES
    ).parts()


_KINDS: Final[dict[str, Callable[[Art, Form], list[bytes]]]] = {
    "file": _file,
    "page": _page,
    "members": _members,
    "stream": _stream,
}


@dataclass(frozen=True)
class Rendering:
    """Kind of a result, and the form of art in it."""

    kind: str
    """`file`, `page`, `members` (of a JSON object) or `stream`."""
    suffix: str
    """Suffix of the form in which to write the art; a page has only one."""
    is_light: bool
    """As in `Art`."""

    def of(self, text: str) -> list[bytes]:
        """Return the parts of encoded art. Raises UndrawableArtError, and ValueError if the art is
        malformed."""
        art = decode(text, is_light=self.is_light)
        return _KINDS[self.kind](art, forms.FORMS[self.suffix])
