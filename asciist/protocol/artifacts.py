"""What is stored, and where: images at `{sha256}/image`, art below the same folder.

A key is never also another key's folder, because a directory store could not hold both.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Final

from asciist.conversion import DEFAULT_STYLE, ENGINE_VERSION, ConversionOptions

_IMAGE_KEY: Final = re.compile(r"([0-9a-f]{64})/image")

VARIANT_PATTERN: Final = r"([a-z]+)(\.invert)?(?:\.(ansi|html))?(?:\.chars-((?:[0-9a-f]{2})+))?"
"""What `variant_of` writes: the style, then in this order what is not the default."""


def digest_of(image: bytes) -> str:
    """The SHA-256 of an image's bytes, as 64 lower-case hexadecimal digits: the name of everything stored about it."""
    return hashlib.sha256(image).hexdigest()


def image_key(digest: str) -> str:
    """Where the image itself is stored."""
    return f"{digest}/image"


def digest_of_image_key(key: str) -> str | None:
    """The digest in an image key; None for any other text."""
    match = _IMAGE_KEY.fullmatch(key)
    return match[1] if match else None


def art_key(digest: str, options: ConversionOptions) -> str:
    """Where the art of an image is stored. The default style on its own has the short key; it is also the art's permalink."""
    variant = variant_of(options)
    if variant == DEFAULT_STYLE:
        return f"{digest}/width/{options.width}"
    return f"{digest}/style/{variant}/width/{options.width}"


def variant_of(options: ConversionOptions) -> str:
    """All options but the width as the name of a folder: `ramp`, `ramp.invert.ansi.chars-2e3a`; no two sets share one."""
    parts = [options.style]
    if options.invert:
        parts.append("invert")
    if options.color != "none":
        parts.append(options.color)
    if options.chars:
        parts.append(f"chars-{options.chars.encode().hex()}")
    return ".".join(parts)


def options_of_variant(variant: str, width: int) -> ConversionOptions | None:
    """The options, not yet checked, that `variant_of` writes so; None for what it writes of none."""
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
    """Art as it is stored: a JSON document that names the engine that drew it."""

    art: str

    def to_json(self) -> bytes:
        return json.dumps({"engine": ENGINE_VERSION, "art": self.art}, separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, document: bytes) -> "StoredArt | None":
        """None for art of another engine version and for a document that is not one of ours: both count as absent."""
        try:
            fields = json.loads(document)
        except ValueError:
            return None
        if not isinstance(fields, dict) or fields.get("engine") != ENGINE_VERSION or not isinstance(fields.get("art"), str):
            return None
        return cls(art=fields["art"])
