"""Checks the responses of an untrusted server: each is the requested art, or an error."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urljoin, urlsplit

from asciist.client.request import is_http_url, quoted, wants_frames
from asciist.client.size import size_of
from asciist.errors import AsciistError, RejectedError, ServiceError
from asciist.limits import Limits

if TYPE_CHECKING:
    from email.message import Message

_JSON: Final = "application/json"

MAX_RESPONSE_BYTES: Final = 5 * Limits().max_art_characters + 100_000
"""Maximum bytes of a response, including its head and the framing of its chunks.

Art has at most 5 bytes for each of the characters counted by `Limits`, reached in rows of one
character of 4 bytes and a newline. The rest is for the head, which `http.client` limits to 100
lines, and for the markup of an HTML document.
"""

MAX_FILE_BYTES: Final = 20_000_000
"""Maximum bytes of a response with a file of art, including its head."""
_MAX_ANIMATION_BYTES: Final = 15_000_000
"""Maximum bytes of a response with an animation: 250,000 cells of at most 54 bytes in JSON,
including 12 for the character."""

_MAX_JSON_BYTES: Final = 100_000
"""Maximum bytes of JSON outside its strings. More would take many times their size in memory."""

_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*"')
"""A string of JSON."""

_MAX_FRAME_MILLISECONDS: Final = 18_000_000
"""Maximum time of a frame: 300 equal frames of a minute each."""

MAX_ERROR_BYTES: Final = 2000
"""Maximum bytes of an error message, several times the length of the service's longest one."""

_MAX_URL_CHARACTERS: Final = 2000
"""Maximum characters of a URL from the service, several times the length of its longest one."""

_MAX_WAIT_SECONDS: Final = 10
"""Maximum seconds that a call waits to retry. A service that asks for more, as in read-only mode,
will not be ready soon."""

_COLOUR_CODE: Final = re.compile(r"\x1b\[[0-9;]{0,60}m")
"""A Select Graphic Rendition sequence (ISO 6429). It changes only the colour and weight of the text
after it."""


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A frame of an animation."""

    text: str
    """Like the text of art, with as many columns and rows in each frame."""
    milliseconds: int
    """Duration, in milliseconds."""


@dataclass(frozen=True, kw_only=True)
class Animation:
    """The frames of an animation."""

    frames: Sequence[Frame]
    """At least one; equal consecutive frames are merged."""
    plays: int
    """Number of repetitions of the frames; 0 for endless repetition."""
    shown_frames: int
    """Number of frames shown, counted from the first."""
    image_frames: int
    """Frames of the image. There are more than `shown_frames` if they exceed a limit, or some
    cannot be decoded."""


@dataclass(frozen=True, kw_only=True)
class Art:
    """Art returned by the service."""

    text: str
    """Rows of at most `width` printable characters, each one column wide, joined by newlines,
    without a final newline.

    With `color="ansi"`, `"ansi256"` or `"ansi16"` there are escape codes for colours between the
    characters. With `color="html"` it is an HTML document, which is to be trusted as much as the
    server is: a hostile one may send scripts.
    """
    url: str
    """URL of the art on the same server, valid while the service stores it."""
    was_stored: bool
    """True if the art was stored already, so that no conversion was needed."""
    is_dark_on_light: bool = False
    """True if the art is for a light background: with `invert=True`, or if the service chose so
    with `invert="auto"`."""
    animation: Animation | None = None
    """With `animate=True`, the frames of an animation; `text` is the first of them. None for a
    still image, and with `color="html"`, where the document moves."""

    @property
    def columns(self) -> int:
        """Characters in each row, without colours."""
        return size_of(self.text)[0]

    @property
    def rows(self) -> int:
        """Rows of the art."""
        return size_of(self.text)[1]


@dataclass(frozen=True, kw_only=True)
class Head:
    """The head of a response, and the request that it answers."""

    url: str
    """Address of the service, as the caller gave it."""
    request_url: str
    """Address of the request."""
    options: Mapping[str, object]
    """The options sent; empty for a file."""
    status: int
    headers: "Message"

    @property
    def has_art(self) -> bool:
        """True if the body is the requested art, unless it is damaged."""
        return (
            self.status == 200
            and self.headers["Content-Location"] is not None
            and self._cache_parameters is not None
            and self.headers.get_content_type() == self._content_type
            and self._is_plain
        )

    @property
    def has_file(self) -> bool:
        """True if the body is the requested file of art, unless it is damaged."""
        location = self.headers["Content-Location"]
        return (
            self.status == 200
            and location is not None
            and self._resolved(location) == self.request_url
            and self._cache_parameters is not None
            and self._is_plain
        )

    @property
    def has_sentence(self) -> bool:
        """True if the body of a response without art may be an error message of the service, and
        not a proxy's page."""
        forms = {"text/plain", _JSON} if wants_frames(self.options) else {"text/plain"}
        return self.headers.get_content_type() in forms and self._is_plain and not self._redirect

    def art_url(self) -> str:
        """Return the absolute URL of the art. Raises ServiceError if it is not on the same
        server."""
        location = self.headers["Content-Location"]
        art_url = self._resolved(location)
        if _origin(art_url) != _origin(self.url):
            raise ServiceError(
                f"{self.url} sent an invalid address of the art",
                detail=quoted(f"Content-Location: {location}"),
            )
        return art_url

    def art(self, body: bytes) -> Art:
        """Return the art in the body of a response that `has_art`. Raises ServiceError,
        UnicodeDecodeError."""
        text = body.decode("utf-8")
        if not text.endswith("\n"):
            raise ServiceError(f"incomplete response from {self.url}")
        animation = None
        if self._content_type == _JSON:
            text, animation = self._frames(body)
        text = text.removesuffix("\n")
        for each in [text] if animation is None else {frame.text for frame in animation.frames}:
            self._check(each)
        chosen = self.headers["Asciist-Invert"]
        return Art(
            text=text,
            url=self.art_url(),
            was_stored="hit" in (self._cache_parameters or ()),
            is_dark_on_light=(
                self.options.get("invert") is True if chosen is None else chosen == "true"
            ),
            animation=animation,
        )

    def _frames(self, body: bytes) -> tuple[str, Animation | None]:
        """Return the art in JSON and, unless the image is still, the frames. Raises
        ServiceError."""
        fields = _json(body)
        match fields:
            case {
                "frames": [*entries],
                "plays": int(plays),
                "shown_frames": int(shown),
                "image_frames": int(total),
            } if entries:
                frames = [frame for frame in map(_frame, entries) if frame is not None]
                rows = {frame.text.count("\n") for frame in frames}
                if len(frames) == len(entries) and len(rows) == 1 and min(plays, shown, total) >= 0:
                    return frames[0].text, Animation(
                        frames=frames, plays=plays, shown_frames=shown, image_frames=total
                    )
            case {"art": str(text), **others} if "frames" not in others:
                return text, None
        raise ServiceError(f"invalid art from {self.url}: it is not the JSON of an animation")

    def _check(self, text: str) -> None:
        """Raise ServiceError if art is not safe to print, or wider than requested."""
        width = self.options.get("width")
        flaw = _flaw(
            text, max_columns=width if isinstance(width, int) and not self._is_document else None
        )
        if flaw:
            raise ServiceError(f"invalid art from {self.url}: {flaw}")

    def error(self, body: bytes) -> AsciistError:
        """Return the error of a response without art. `body` contains its first bytes, more than
        MAX_ERROR_BYTES if available.

        It may be empty unless the response `has_sentence`.
        """
        if self._redirect:
            there = quoted(urlsplit(self._redirect)._replace(query="", fragment="").geturl())
            return ServiceError(
                f"{self.url} redirects to {there}: use that address if it is the service"
            )
        text = self._sentence(body) if self.has_sentence else ""
        sentence = text if len(body) <= MAX_ERROR_BYTES and text.isprintable() else ""
        may_retry = self.status in (429, 503)
        if 400 <= self.status < 500 and sentence and not may_retry:
            return RejectedError(sentence)
        unexpected = (
            f"unexpected response from {self.url} with status {self.status}: is it an asciist"
            " service?"
        )
        message = sentence if self.status >= 400 and sentence else unexpected
        return ServiceError(
            message, retry_after_seconds=self._retry_after_seconds() if may_retry else None
        )

    def _sentence(self, body: bytes) -> str:
        if self.headers.get_content_type() == "text/plain":
            return body.decode("utf-8", "replace").removesuffix("\n")
        sentence = (_json(body) or {}).get("error")
        return sentence if isinstance(sentence, str) else ""

    @property
    def _is_document(self) -> bool:
        return self.options.get("color") == "html"

    @property
    def _content_type(self) -> str:
        if wants_frames(self.options):
            return _JSON
        return "text/html" if self._is_document else "text/plain"

    @property
    def _is_plain(self) -> bool:
        """True if the response is uncompressed, as requested, and has no misleading length."""
        lengths = self.headers.get_all("Content-Length", [])
        is_length_valid = len(lengths) <= 1 and all(
            re.fullmatch("[0-9]{1,15}", length.strip(" ")) for length in lengths
        )
        return is_length_valid and self.headers.get("Content-Encoding", "identity") == "identity"

    @property
    def _redirect(self) -> str:
        """The absolute URL of a redirect; empty for any other response."""
        location = self.headers["Location"]
        return self._resolved(location) if 300 <= self.status < 400 and location else ""

    @property
    def _cache_parameters(self) -> list[str] | None:
        """Parameters of the service's entry in Cache-Status (RFC 9211), to which intermediate
        caches may add theirs."""
        members = [
            member
            for line in self.headers.get_all("Cache-Status", [])
            for member in line.split(",")
        ]
        caches = [[part.strip() for part in member.split(";")] for member in members]
        return next((parameters for name, *parameters in caches if name == "asciist"), None)

    def _retry_after_seconds(self) -> float | None:
        """The seconds in Retry-After (RFC 9110), or until the date in it; None without the
        header."""
        value = (self.headers["Retry-After"] or "").strip()
        if re.fullmatch("[0-9]{1,9}", value):
            return float(value)
        from datetime import UTC, datetime
        from email.utils import parsedate_to_datetime

        try:
            date = parsedate_to_datetime(value)
        except ValueError:
            return None
        seconds = (date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
        return max(0.0, seconds)

    def _resolved(self, location: str) -> str:
        """Return the absolute URL of a Location or Content-Location header; empty if it is
        invalid."""
        try:
            resolved = urljoin(self.request_url, location)
        except ValueError:
            return ""
        # `urljoin` removes some control characters.
        is_valid = (
            len(location) <= _MAX_URL_CHARACTERS
            and location.isprintable()
            and is_http_url(resolved)
        )
        return resolved if is_valid else ""


def seconds_to_retry(
    error: ServiceError, *, attempts_left: int, seconds_left: float
) -> float | None:
    """Return the seconds to wait before the next request of a call; None for no further request.

    A call retries if the service names a time that is soon enough. A random addition of up to a
    quarter spreads the refused clients.
    """
    import random

    if (
        attempts_left <= 0
        or error.retry_after_seconds is None
        or error.retry_after_seconds > _MAX_WAIT_SECONDS
    ):
        return None
    seconds = error.retry_after_seconds * (1 + random.random() / 4)  # noqa: S311 - no secret
    return seconds if seconds < seconds_left else None


def max_response_bytes(options: Mapping[str, object]) -> int:
    """Return the maximum bytes of a response, including its head and the framing of its chunks."""
    return _MAX_ANIMATION_BYTES if options.get("animate") is True else MAX_RESPONSE_BYTES


def _json(body: bytes) -> dict[str, Any] | None:
    """Return a JSON object; None for any other text, or for too much text outside its strings."""
    import json

    if len(_STRING.sub(b"", body)) > _MAX_JSON_BYTES:
        return None
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return fields if isinstance(fields, dict) else None


def _frame(entry: object) -> Frame | None:
    """Return a frame in JSON; None if it is malformed."""
    match entry:
        case {"art": str(text), "milliseconds": int(milliseconds)} if (
            0 < milliseconds <= _MAX_FRAME_MILLISECONDS
        ):
            return Frame(text=text, milliseconds=milliseconds)
    return None


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.lower()


def _flaw(text: str, max_columns: int | None) -> str:
    """Describe why art is not safe to print on a terminal with `max_columns` columns; empty if it
    is safe."""
    from asciist.options.kinds import fills_one_column

    plain = _COLOUR_CODE.sub("", text)
    character = next((each for each in set(plain) - {"\n"} if not fills_one_column(each)), None)
    if character:
        return f"it contains the character U+{ord(character):04X}"
    columns = max(map(len, plain.split("\n")))
    if max_columns is not None and columns > max_columns:
        return f"it has {columns} columns instead of {max_columns}"
    return ""
