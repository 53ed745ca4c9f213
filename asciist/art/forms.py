"""The table of the forms of art.

A form is a suffix of a URL and of a file that the command writes, a media type, and a function that
writes art. Answers, downloads, `--output`, the OpenAPI document and the reference follow from the
rows. To add a form, add a row and its writer here, and its suffix to `asciist.client.Suffix`.

Pure, like the art. Writers are imported when they are called, because most need numpy.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from math import inf
from typing import TYPE_CHECKING, Final

from asciist.art import Art, merged
from asciist.art.pictures import CARD_SIZE

if TYPE_CHECKING:
    from asciist.art.writing import Palette


class Policy(Enum):
    """Permissions of a form in a browser."""

    DEFAULT = "default"
    """None: it is no document."""
    DOCUMENT = "document"
    """Show its inline colours and its own font, in a sandbox."""


@dataclass(frozen=True, kw_only=True)
class Form:
    """One row of the table."""

    suffix: str
    """Suffix of a URL or a file name, after a dot."""
    media_type: str
    description: str
    """A sentence for the reference and the OpenAPI document."""
    write: Callable[[Art, float], Iterator[bytes]] | None
    """Yields the bytes of art. If the frames of an animation would exceed
    the second argument, in bytes before compression, it writes only the first frame. Raises
    UndrawableArtError. None for JSON, which also describes how art was served."""
    color: str = ""
    """Value of the option `color` that selects this form; empty for a form of any art."""
    palette: str = ""
    """Name of a terminal's palette in `asciist.art.writing`; empty for none."""
    policy: Policy = Policy.DEFAULT
    is_picture: bool = False
    moves: bool = False
    """True if it shows all frames of an animation."""

    def written(self, art: Art, max_bytes: float = inf) -> Iterator[bytes]:
        """Yield the pieces of `write`."""
        assert self.write is not None, "JSON is written by whoever serves art"  # noqa: S101
        return self.write(art, max_bytes)

    @property
    def content_type(self) -> str:
        is_text = self.media_type.startswith("text/")
        return f"{self.media_type}; charset=utf-8" if is_text else self.media_type


def text(art: Art, form: Form) -> str:
    """Return art in a textual form, without the final newline."""
    return b"".join(form.written(art)).decode().removesuffix("\n")


def texts(art: Art, form: Form) -> Iterator[tuple[str, int]]:
    """Yield each frame in a textual form, and its milliseconds."""
    return merged((text(still, form), still.frames[0].milliseconds) for still in art.stills())


def of_colour(color: str) -> Form:
    """Return the textual form selected by a value of the option `color`."""
    return _BY_COLOUR[color]


def palette_of(form: Form) -> "Palette | None":
    """Return the terminal palette of a form; None for any other form."""
    if not form.palette:
        return None
    from asciist.art import writing  # noqa: PLC0415 - imported on first use

    palette: Palette = getattr(writing, form.palette)
    return palette


def is_drawable(art: Art) -> bool:
    """Return True if the font of pictures contains all characters of the first frame."""
    from asciist.art.pictures import outlines  # noqa: PLC0415 - imported on first use

    return all(map(outlines.is_drawable, set(art.text) - {"\n"}))


def _txt(art: Art, _max_bytes: float) -> Iterator[bytes]:
    yield f"{art.text}\n".encode()


def _escaped(palette: str) -> Callable[[Art, float], Iterator[bytes]]:
    def write(art: Art, max_bytes: float) -> Iterator[bytes]:
        if not art.is_coloured:
            yield from _txt(art, max_bytes)
            return
        from asciist.art import writing  # noqa: PLC0415 - imported on first use

        for rows in writing.escaped(art, getattr(writing, palette)):
            yield rows.encode()

    return write


def _html(art: Art, _max_bytes: float) -> Iterator[bytes]:
    from asciist.art import html  # noqa: PLC0415 - imported on first use

    for piece in html.document(art):
        yield piece.encode()
    yield b"\n"


def _png(art: Art, max_bytes: float) -> Iterator[bytes]:
    from asciist.art.pictures.cells import Cells  # noqa: PLC0415 - imported on first use
    from asciist.art.pictures.moving import moving_png  # noqa: PLC0415 - imported on first use
    from asciist.art.pictures.raster import png  # noqa: PLC0415 - imported on first use

    if art.movement is None:
        yield from png(Cells.of(art))
    else:
        yield from moving_png(art, max_bytes=max_bytes)


def _card(art: Art, _max_bytes: float) -> Iterator[bytes]:
    from asciist.art.pictures.cells import Cells  # noqa: PLC0415 - imported on first use
    from asciist.art.pictures.raster import card  # noqa: PLC0415 - imported on first use

    yield from card(Cells.of(art))


def _svg(art: Art, _max_bytes: float) -> Iterator[bytes]:
    from asciist.art.pictures.cells import Cells  # noqa: PLC0415 - imported on first use
    from asciist.art.pictures.vector import svg  # noqa: PLC0415 - imported on first use

    for piece in svg(Cells.of(art)):
        yield piece.encode()


PNG: Final = Form(
    suffix="png",
    media_type="image/png",
    description=(
        "Picture, which moves if the art does. A character has 16 x 32 pixels, or fewer in art so"
        " large that the picture would have more than 8 megapixels."
    ),
    write=_png,
    is_picture=True,
    moves=True,
)
SVG: Final = Form(
    suffix="svg",
    media_type="image/svg+xml",
    description="Picture that is sharp at any size, of at most 250,000 characters.",
    write=_svg,
    policy=Policy.DOCUMENT,
    is_picture=True,
)
HTML: Final = Form(
    suffix="html",
    media_type="text/html",
    description="HTML document with the art alone, which moves if the art does.",
    write=_html,
    color="html",
    policy=Policy.DOCUMENT,
    moves=True,
)
TXT: Final = Form(
    suffix="txt",
    media_type="text/plain",
    description="The characters alone.",
    write=_txt,
    color="none",
)
JSON: Final = Form(
    suffix="json",
    media_type="application/json",
    description="JSON, as with `Accept`. `url` in it has no suffix.",
    write=None,
    moves=True,
)


def _terminal(color: str, colours: str, palette: str) -> Form:
    return Form(
        suffix=color,
        media_type="text/plain",
        description=(f"Text with escape codes for {colours}. Art without colour has none."),
        write=_escaped(palette),
        color=color,
        palette=palette,
    )


FORMS: Final = {
    form.suffix: form
    for form in (
        PNG,
        SVG,
        Form(
            suffix="card.png",
            media_type="image/png",
            description=(
                f"Picture of {CARD_SIZE[0]} x {CARD_SIZE[1]} pixels with the art in its middle, for"
                " previews of links. Of art taller than 3:4 it has the middle."
            ),
            write=_card,
            is_picture=True,
        ),
        HTML,
        _terminal("ansi", "24-bit colours", "TRUE_COLOUR"),
        _terminal("ansi256", "xterm's 256 colours", "OF_256"),
        _terminal("ansi16", "16 colours", "OF_16"),
        TXT,
        JSON,
    )
}
"""Every form by suffix."""

_BY_COLOUR: Final = {form.color: form for form in FORMS.values() if form.color}
