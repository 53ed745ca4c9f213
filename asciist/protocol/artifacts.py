"""Artifact keys and the format of stored art. An image is stored at `{sha256}/image`, and its art
in the same folder. The target of a short link is stored at `{sha256 of its code}/link`.

No key is also the folder of another key: a file system could not store both.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from asciist.art import codec
from asciist.conversion import ENGINE_VERSION
from asciist.options import DEFAULT_STYLE, OPTIONS, ConversionOptions

_ENCODER: Final = json.JSONEncoder(separators=(",", ":"))

_VERSION: Final = f"{ENGINE_VERSION}.{codec.VERSION}"
"""Version of the engine that drew art, and of the text that encodes it."""

_IMAGE_KEY: Final = re.compile(r"([0-9a-f]{64})/image")

_LINK: Final = "link"

_VARIANT_OPTIONS: Final = [option for option in OPTIONS.values() if option.name != "width"]


def _variant_pattern() -> str:
    style, *others = [
        option.kind.key_pattern(option.name, option.default) for option in _VARIANT_OPTIONS
    ]
    return style + "".join(rf"(?:\.{pattern})?" for pattern in others)


VARIANT_PATTERN: Final = _variant_pattern()
"""Regular expression of the variants that `variant_of` returns, with a group for the value of each
option."""


def digest_of(image: bytes) -> str:
    """Return the SHA-256 digest of an image's bytes, as 64 lower-case hexadecimal digits: the
    folder of its keys."""
    return hashlib.sha256(image).hexdigest()


def image_key(digest: str) -> str:
    """Return the key of an image. The digest alone is the folder of the image and of all its
    art."""
    return f"{digest}/image"


def digest_of_image_key(key: str) -> str | None:
    """Return the digest in an image key, or None if the text is not an image key."""
    match = _IMAGE_KEY.fullmatch(key)
    return match[1] if match else None


def link_key(code: str) -> str:
    """Return the key of a short link. The code cannot be derived from it, so listing the store
    reveals no code."""
    return f"{digest_of(code.encode())}/{_LINK}"


def is_link_key(key: str) -> bool:
    """Return whether a key of the store belongs to a short link."""
    return key.endswith(f"/{_LINK}")


def art_key(digest: str, options: ConversionOptions) -> str:
    """Return the storage key of an image's art. All forms of coloured art share one key.

    The key has no variant if every option but the width has its default.
    """
    variant = variant_of(options.as_drawn())
    if variant == DEFAULT_STYLE:
        return f"{digest}/width/{options.width}"
    return f"{digest}/style/{variant}/width/{options.width}"


@lru_cache(maxsize=256)  # most requests use one of a few combinations of options
def variant_of(options: ConversionOptions) -> str:
    """Return the options other than the width as one path segment, such as `ramp` or
    `ramp.invert.ansi.chars-2e3a`.

    The style comes first, then each option whose value is not the default. Different options have
    different variants.
    """
    parts = [options.style]
    for option in _VARIANT_OPTIONS:
        value = getattr(options, option.name)
        if option.name != "style" and value != option.default:
            parts.append(option.kind.to_key(option.name, value))
    return ".".join(parts)


def options_of_variant(variant: str, width: int) -> ConversionOptions | None:
    """Return the options of a variant, not yet checked; None if `variant_of` never returns this
    variant."""
    match = re.fullmatch(VARIANT_PATTERN, variant)
    if match is None:
        return None
    try:
        values = {
            option.name: option.kind.from_key(text)
            for option, text in zip(_VARIANT_OPTIONS, match.groups(), strict=True)
            if text is not None
        }
    except ValueError:
        return None
    options = ConversionOptions(width=width, **values)
    # such as a number with leading zeros
    return options if variant_of(options) == variant else None


@dataclass(frozen=True)
class StoredArt:
    """Stored art: a JSON document with the art and the versions of the engine that drew it and of
    its encoding."""

    art: str
    """As `asciist.art.codec` encodes it."""
    invert: bool | None = None
    """The choice for `invert=auto`; None, and absent from the document, if the options left nothing
    to choose."""

    def to_json(self) -> bytes:
        chosen = {} if self.invert is None else {"invert": self.invert}
        return _ENCODER.encode({"engine": _VERSION, "art": self.art, **chosen}).encode()

    @classmethod
    def from_json(cls, document: bytes) -> "StoredArt | None":
        """Parse a stored document. Return None if one of its versions differs or it is malformed:
        both count as absent."""
        try:
            fields = json.loads(document)
        except ValueError:
            return None
        if (
            not isinstance(fields, dict)
            or fields.get("engine") != _VERSION
            or not isinstance(fields.get("art"), str)
        ):
            return None
        invert = fields.get("invert")
        return (
            cls(art=fields["art"], invert=invert)
            if invert is None or isinstance(invert, bool)
            else None
        )
