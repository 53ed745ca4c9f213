"""Images from URLs. Only the command fetches them: a service that fetched would lend its network to
every client."""

import re
import time
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

from asciist.errors import AsciistError, RejectedError, ServiceError, TooManyBytesError, sentences
from asciist.limits import Limits

if TYPE_CHECKING:
    from http.client import HTTPResponse

TIMEOUT_SECONDS: Final = 60
"""Maximum seconds for an image, with all redirects: as long as the service allows for an upload."""

MAX_REDIRECTS: Final = 5
"""Maximum redirects. Web sites use one or two: to https, and to the server with the files."""

_MAX_HEAD_BYTES: Final = 100_000
"""Maximum bytes of an answer besides the image: its headers, and the framing of its chunks."""

_MAX_QUOTED_CHARACTERS: Final = 200
"""Maximum characters of a server's text in an error message."""

_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_REDIRECTS: Final = (301, 302, 303, 307, 308)
_TEMPORARY: Final = (408, 425, 429)
"""Statuses below 500 that mean the request may succeed later."""

_SAFE_IN_PATH: Final = "/%:@!$&'()*+,;=~"
_SAFE_IN_QUERY: Final = f"{_SAFE_IN_PATH}?"
"""Characters left unescaped: those that RFC 3986 allows, and % because the URL may be escaped
already."""


def is_url(name: str) -> bool:
    """Return whether an argument is a URL rather than the name of a file."""
    return _URL.match(name) is not None


def fetch(url: str) -> bytes:
    """Return the bytes at an http or https URL, within the size limit of uploads and within 60 s.

    Certificates are verified. At most 5 redirects are followed, and none from https to http. The
    declared type is ignored, because the bytes determine the format.

    Raises RejectedError if a retry cannot help, and ServiceError if it may. Messages are one line
    of printable text.
    """
    deadline = time.monotonic() + TIMEOUT_SECONDS
    address = _checked(url)
    for _ in range(MAX_REDIRECTS + 1):
        answer = _ask(address, deadline)
        if isinstance(answer, bytes):
            return answer
        if address.startswith("https:") and answer.startswith("http:"):
            raise RejectedError(
                "cannot fetch the image: the server redirects from https to http, which is not safe"
            )
        address = answer
    raise RejectedError(f"cannot fetch the image: more than {MAX_REDIRECTS} redirects")


def _checked(url: str) -> str:
    """Return the URL in ASCII and without a fragment. Raises RejectedError."""
    if not url.lower().startswith(("http://", "https://")):
        raise RejectedError("only http and https URLs can be fetched")
    try:
        parts = urlsplit(url)
        host = parts.netloc.encode("idna").decode()
        is_valid = bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_valid = False
    if not is_valid:
        raise RejectedError(
            "the URL is malformed: expected, for example, https://example.org/photo.jpg"
        )
    if "@" in parts.netloc:
        raise RejectedError(
            "URLs with a user name or a password are not supported: download the image first"
        )
    return urlunsplit(
        (
            parts.scheme,
            host,
            quote(parts.path, _SAFE_IN_PATH),
            quote(parts.query, _SAFE_IN_QUERY),
            "",
        )
    )


def _ask(address: str, deadline: float) -> bytes | str:
    """Return the image at an address, or the target of a redirect."""
    from http.client import HTTPException
    from urllib.error import URLError
    from urllib.request import Request

    from asciist.client.connection import ResponseTooLargeError, opener

    # `_checked` checks the scheme.
    request = Request(address, headers={"User-Agent": "asciist", "Accept": "image/*"})  # noqa: S310
    try:
        opening = opener(Limits().max_image_bytes + _MAX_HEAD_BYTES).open(
            request, timeout=max(0.001, deadline - time.monotonic())
        )
        with opening as response:
            return _redirect(address, response) or _image(response)
    # The errors have no cause (`from None`), because a traceback would print what the server sent,
    # with control characters.
    except URLError as error:
        raise _failure(error.reason) from None
    except (OSError, HTTPException) as error:
        raise _failure(error) from None
    except ResponseTooLargeError:
        raise _too_large() from None


def _redirect(address: str, response: "HTTPResponse") -> str:
    """Return the target of a redirect; empty for any other answer."""
    location = response.headers["Location"]
    if response.status not in _REDIRECTS or location is None:
        return ""
    try:
        # The module http.client decodes headers as Latin-1, and servers send UTF-8.
        return _checked(urljoin(address, location.encode("latin-1").decode("utf-8", "replace")))
    except (ValueError, RejectedError):
        raise RejectedError(
            "cannot fetch the image: the server redirects to an address that cannot be fetched"
        ) from None


def _image(response: "HTTPResponse") -> bytes:
    from http.client import IncompleteRead

    if response.status != 200:
        raise _refusal(response)
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise RejectedError(
            "cannot fetch the image: the server sends it compressed, though not asked to"
        )
    limit = Limits().max_image_bytes
    if (response.length or 0) > limit:
        raise _too_large()
    body = bytearray()
    while part := response.read1(65_536):
        body += part
        if len(body) > limit:
            raise _too_large()
    if response.length:  # bytes that the Content-Length announces and that did not arrive
        raise IncompleteRead(bytes(body), response.length)
    return bytes(body)


def _too_large() -> AsciistError:
    return TooManyBytesError(sentences.too_many_bytes(Limits().max_image_bytes))


def _refusal(response: "HTTPResponse") -> AsciistError:
    """Return the error for a status other than 200."""
    status = response.status
    may_succeed_later = status >= 500 or status in _TEMPORARY
    kind = ServiceError if may_succeed_later else RejectedError
    return kind(
        f"cannot fetch the image: the server answers {status} {_quoted(response.reason)}".rstrip()
    )


def _failure(reason: BaseException | str) -> AsciistError:
    """Return the error for an exchange that failed or ended early."""
    from http.client import HTTPException, IncompleteRead
    from ssl import SSLCertVerificationError

    match reason:
        case SSLCertVerificationError():
            text = f"the server's certificate is not valid ({_quoted(reason.verify_message)})"
        case TimeoutError():
            text = "timed out"
        case IncompleteRead():
            text = "the connection ended early"
        case HTTPException():
            text = "the server did not send a valid HTTP response"
        case OSError(strerror=str(message)):
            text = _quoted(message)
        case _:
            text = _quoted(str(reason))
    return ServiceError(f"cannot fetch the image: {text}")


def _quoted(text: str) -> str:
    return sentences.printable(text[:_MAX_QUOTED_CHARACTERS])
