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
    """Where the art of an image is stored. The default style has the short key; it is also the art's permalink."""
    if options.style == DEFAULT_STYLE:
        return f"{digest}/width/{options.width}"
    return f"{digest}/style/{options.style}/width/{options.width}"


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
