"""Artifact keys and the format of stored art. Images are stored at `{sha256}/image`, art below the same folder.

No key is also the folder of another key, because a directory store could not hold both.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Final

from asciist.conversion import DEFAULT_STYLE, ENGINE_VERSION, ConversionOptions

_IMAGE_KEY: Final = re.compile(r"([0-9a-f]{64})/image")

VARIANT_PATTERN: Final = r"([a-z]+)(\.invert)?(?:\.(ansi|html))?(?:\.chars-((?:[0-9a-f]{2})+))?"
"""Regular expression for variants: the style, then each option that differs from its default, in this order."""


def digest_of(image: bytes) -> str:
    """Return the SHA-256 digest of an image's bytes, as 64 lower-case hexadecimal digits. The image's keys begin with it."""
    return hashlib.sha256(image).hexdigest()


def image_key(digest: str) -> str:
    """Return the key of an image."""
    return f"{digest}/image"


def digest_of_image_key(key: str) -> str | None:
    """Return the digest in an image key, or None if the text is not an image key."""
    match = _IMAGE_KEY.fullmatch(key)
    return match[1] if match else None


def art_key(digest: str, options: ConversionOptions) -> str:
    """Return the key of an image's art, which is also the path of its permalink.

    The default style, with no other option set, has a shorter key without a variant.
    """
    variant = variant_of(options)
    if variant == DEFAULT_STYLE:
        return f"{digest}/width/{options.width}"
    return f"{digest}/style/{variant}/width/{options.width}"


def variant_of(options: ConversionOptions) -> str:
    """Return a unique folder name for all options but the width, such as `ramp` or `ramp.invert.ansi.chars-2e3a`."""
    parts = [options.style]
    if options.invert:
        parts.append("invert")
    if options.color != "none":
        parts.append(options.color)
    if options.chars:
        parts.append(f"chars-{options.chars.encode().hex()}")
    return ".".join(parts)


def options_of_variant(variant: str, width: int) -> ConversionOptions | None:
    """Parse a name written by `variant_of` into options, without checking them. Return None for any other name."""
    match = re.fullmatch(VARIANT_PATTERN, variant)
    if match is None:
        return None
    style, invert, color, chars = match.groups()
    try:
        characters = bytes.fromhex(chars or "").decode()
    except UnicodeDecodeError:
        return None
    return ConversionOptions(width=width, style=style, invert=bool(invert), chars=characters, color=color or "none")


@dataclass(frozen=True)
class StoredArt:
    """Art as stored: a JSON document with the art and the version of the engine that drew it."""

    art: str

    def to_json(self) -> bytes:
        return json.dumps({"engine": ENGINE_VERSION, "art": self.art}, separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, document: bytes) -> "StoredArt | None":
        """Parse a stored document. Return None if its engine version differs or it is malformed: both count as absent."""
        try:
            fields = json.loads(document)
        except ValueError:
            return None
        if not isinstance(fields, dict) or fields.get("engine") != ENGINE_VERSION or not isinstance(fields.get("art"), str):
            return None
        return cls(art=fields["art"])
