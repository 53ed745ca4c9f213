"""Art for a client, with its source."""

from dataclasses import dataclass
from enum import Enum

from asciist.art import Art
from asciist.art.codec import decode
from asciist.errors import UnavailableError
from asciist.options import ConversionOptions
from asciist.protocol.artifacts import StoredArt


class ArtSource(Enum):
    """Source of the art in an answer."""

    STORE = "store"
    CONVERSION = "conversion"
    SHARED = "shared"
    """Shared with an identical request that was in flight."""


@dataclass(frozen=True, kw_only=True)
class ServedArt:
    """Art for a client, with its source."""

    encoded: str
    """The art, as `asciist.art.codec` encodes it. Of an animation it may have megabytes, and is
    decoded where it is rendered."""
    first: Art
    """The art with its first frame only."""
    invert: bool | None = None
    """The choice for `invert=auto`; None if the options left nothing to choose."""
    digest: str
    """SHA-256 of the image."""
    options: ConversionOptions
    """Options of the request; `color` is a form of the art."""
    source: ArtSource

    @property
    def was_stored(self) -> bool:
        """True if the art was stored already, so no conversion was needed."""
        return self.source is ArtSource.STORE

    @property
    def is_light(self) -> bool:
        """True if the art is drawn for a light background."""
        return self.first.is_light


def served_art(
    stored: StoredArt, digest: str, options: ConversionOptions, source: ArtSource
) -> ServedArt:
    """Return stored art for a client. Raises UnavailableError if it is malformed."""
    is_light = options.invert is True if stored.invert is None else stored.invert
    try:
        first = decode(stored.art, is_light=is_light, max_frames=1)
    except ValueError as error:
        raise UnavailableError(f"stored art of {digest} is malformed: {error}") from error
    return ServedArt(
        encoded=stored.art,
        first=first,
        invert=stored.invert,
        digest=digest,
        options=options,
        source=source,
    )
