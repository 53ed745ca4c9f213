"""Links: the URLs of art and images, which cannot be guessed.

A link gives access to one thing and reveals nothing else, not even the image's digest. The name of
art is the image's digest encrypted together with the options of the art; a capability is the digest
encrypted together with its time of expiry. Both use AES-SIV (RFC 5297), which is deterministic:
equal art has equal URLs, and nobody can make or change a link without the key. docs/decisions/0025
compares this with signed URLs.

A short link has a code that stands for the path of the URL of art. The store maps the code to the
path for each short link that a user created (docs/decisions/0045).
"""

import base64
import hashlib
import hmac
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from asciist.errors import ArtifactNotFoundError
from asciist.options import DEFAULT_STYLE, ConversionOptions
from asciist.protocol.artifacts import variant_of

NAME_PATTERN: Final = "[A-Za-z0-9_-]{64}"
"""Regular expression of the name of art: base64url of 48 bytes."""

CAPABILITY_PATTERN: Final = "[A-Za-z0-9_-]{72}"
"""Regular expression of a capability: base64url of 54 bytes."""

CODE_PATTERN: Final = "[0-9a-hjkmnp-tv-z]{4}(?:-[0-9a-hjkmnp-tv-z]{4}){2}"
"""Regular expression of the code of a short link: three groups of four characters of Crockford's
base 32."""

SPELLING_PATTERN: Final = "[0-9A-Za-z]{4}-?[0-9A-Za-z]{4}-?[0-9A-Za-z]{4}"
"""Regular expression of every accepted spelling of a code."""

_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base 32: no i, l, o or u."""

_GROUPS, _GROUP_CHARACTERS = 3, 4

_CODE_BITS: Final = 5 * _GROUPS * _GROUP_CHARACTERS

_AS_READ: Final = str.maketrans("oil", "011", "-")
"""Translation of a typed code: removes hyphens, and replaces letters that look like digits."""

_ART: Final = b"art"
_IMAGE: Final = b"image"
"""Purpose bytes: a name of art is never accepted as a capability, nor the reverse."""

_EXPIRY_BYTES: Final = 6  # with six bytes, base64 needs no padding
"""Bytes of the expiry time in a capability, in seconds since the epoch."""

_ID_DIGITS: Final = 16  # 64 bits, so that two images in a log hardly share a name


class Links:
    """Creates and decrypts the links of one deployment. All its processes have the same keys."""

    def __init__(
        self, keys: Sequence[str], *, valid_seconds: float, clock: Callable[[], float] = time.time
    ) -> None:
        """Use the first of `keys` to create links, and all of them to decrypt links.

        A capability is valid for `valid_seconds`. `clock` returns seconds since the epoch.
        """
        # AES-SIV takes a key of 512 bits: one half authenticates, the other encrypts.
        derived = [hashlib.sha512(key.encode()).digest() for key in keys]
        self._ciphers = [AESSIV(key) for key in derived]
        # A new first key changes the codes of short links and the names of images in logs.
        self._id_key = derived[0]
        self._valid_seconds = valid_seconds
        self._clock = clock

    def art_path(self, digest: str, options: ConversionOptions) -> str:
        """Return the path of the URL of an image's art."""
        variant = variant_of(options)
        # The options are authenticated, not hidden: the name does not fit a URL with other options.
        name = self._encrypted(
            bytes.fromhex(digest), [_ART, variant.encode(), b"%d" % options.width]
        )
        style = "" if variant == DEFAULT_STYLE else f"/style/{variant}"
        return f"/{name}{style}/width/{options.width}"

    def digest_of_art(self, name: str, options: ConversionOptions) -> str:
        """Return the digest of the image from the name of its art. Raises ArtifactNotFoundError."""
        content = self._decrypted(name, [_ART, variant_of(options).encode(), b"%d" % options.width])
        if content is None:
            raise ArtifactNotFoundError("no art has this name and these options")
        return content.hex()

    def codes(self, path: str) -> Iterator[str]:
        """Yield candidate codes for the path of a URL of art, always in the same order. The first
        is usually free."""
        for number in count():
            keyed = hmac.digest(self._id_key, b"code %d %s" % (number, path.encode()), "sha256")
            bits = int.from_bytes(keyed) >> (8 * len(keyed) - _CODE_BITS)
            yield _grouped(
                "".join(_ALPHABET[bits >> shift & 31] for shift in range(_CODE_BITS - 5, -1, -5))
            )

    def image_path(self, digest: str) -> str:
        """Return the path for converting or deleting an image: a capability for its uploader."""
        expires_at = int(self._clock() + self._valid_seconds)
        named = bytes.fromhex(digest) + expires_at.to_bytes(_EXPIRY_BYTES)
        return f"/image/{self._encrypted(named, [_IMAGE])}"

    def digest_of_image(self, capability: str) -> str:
        """Return the digest of an image. Raises ArtifactNotFoundError if the capability is invalid
        or has expired."""
        content = self._decrypted(capability, [_IMAGE])
        if content is None or int.from_bytes(content[-_EXPIRY_BYTES:]) < self._clock():
            raise ArtifactNotFoundError("the capability is invalid or has expired")
        return content[:-_EXPIRY_BYTES].hex()

    def image_id(self, digest: str) -> str:
        """Return the name of an image for logs. It does not reveal whether a given file was
        sent."""
        return hmac.digest(self._id_key, digest.encode(), "sha256").hex()[:_ID_DIGITS]

    def _encrypted(self, content: bytes, context: Iterable[bytes]) -> str:
        return base64.urlsafe_b64encode(self._ciphers[0].encrypt(content, list(context))).decode()

    def _decrypted(self, text: str, context: Iterable[bytes]) -> bytes | None:
        """Return the plain text if one of the keys decrypts it in this context, else None."""
        try:
            ciphertext = base64.urlsafe_b64decode(text)
        except ValueError:
            return None
        for cipher in self._ciphers:
            try:
                return cipher.decrypt(ciphertext, list(context))
            except InvalidTag:
                continue
        return None


def parts_of(path: str) -> tuple[str, str, str]:
    """Return the unchecked name, variant and width from the path of a URL of art."""
    name, *variant, _, width = path.removeprefix("/").split("/")
    return name, variant[-1] if variant else DEFAULT_STYLE, width


def code_as_read(spelling: str) -> str | None:
    """Return the code for a spelling in capitals, without hyphens or with O for 0; None if it is
    not a code."""
    code = _grouped(spelling.lower().translate(_AS_READ))
    return code if re.fullmatch(CODE_PATTERN, code) else None


def _grouped(characters: str) -> str:
    return "-".join(
        characters[start : start + _GROUP_CHARACTERS]
        for start in range(0, len(characters), _GROUP_CHARACTERS)
    )
