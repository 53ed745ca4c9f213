"""Every error message that the service sends to a client, except for those of one image format
(`asciist.formats`).

A message says what is wrong and, where it helps, what to do. It starts in lower case and has no
full stop, because clients print it after a prefix of their own.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from asciist import formats


def printable(text: str) -> str:
    """Return untrusted text for a message: on one line, with unprintable characters escaped."""
    return "".join(
        character if character.isprintable() else ascii(character)[1:-1] for character in text
    )


# The request.
MALFORMED_REQUEST: Final = "malformed request"
MALFORMED_REQUEST_LINE: Final = "the request line is malformed"
UNSUPPORTED_VERSION: Final = "the HTTP version is not supported: use HTTP/1.1"
MALFORMED_HEADER: Final = "a header of the request is malformed, or contradicts another"
INVALID_HOST: Final = "the Host header is missing or malformed"
UNSUPPORTED_CODING: Final = (
    "the transfer coding is not supported: use chunked, or send a Content-Length"
)
UNSUPPORTED_EXPECTATION: Final = "the expectation is not supported: Expect may only be 100-continue"
LONG_URL: Final = "the URL is too long"
LARGE_HEAD: Final = "the headers of the request are too large"
UNTRUSTED_HOST: Final = "the service has no such host name: check the URL"
NOT_FOUND: Final = "not found: POST an image to /"
METHOD_NOT_ALLOWED: Final = "method not allowed"
REQUEST_TOO_LARGE: Final = "the request is too large"
NO_IMAGE: Final = "no image provided"
STRIPPED_BODY: Final = (
    "the file lost some of its bytes, such as line breaks, on the way: with curl, use --data-binary"
    " or -T instead of -d"
)
NOT_JSON: Final = "the body is not valid JSON"
TOO_MUCH_JSON: Final = "the body is not valid JSON, or has more than 64 kB besides the image"
FORM_TOO_LARGE: Final = (
    "the form has too many parts, or a part with more than 16 kB of text or headers"
)
NAMELESS_PART: Final = (
    "a part of the form has no name: Content-Disposition must name the image or an option"
)
NOT_A_JSON_OBJECT: Final = 'the JSON body must be an object: {"width": 80, "image": "<base64>"}'
IMAGE_NOT_A_STRING: Final = "image must be a base64 string"
IMAGE_NOT_BASE64: Final = "image is not valid base64"
COMPRESSED_BODY: Final = (
    "compressed request bodies (Content-Encoding) are not supported: send the image uncompressed"
)
SLOW_UPLOAD: Final = "the request body did not arrive in time: check its Content-Length"
SLOW_HEAD: Final = "the request did not arrive in time"
SHORT_BODY: Final = "the request body is shorter than its Content-Length"
SHORT_CHUNKS: Final = "the request body ended before its last chunk"
MALFORMED_CHUNKS: Final = "the chunks of the request body are malformed"
INVALID_OPTIONS_IN_URL: Final = "invalid options in the URL: use the URL from Content-Location"
OPTIONS_OF_FILE: Final = (
    "a file of art has no options: remove the query (?), or convert the image again with other"
    " options"
)

# The service.
IMAGE_NOT_FOUND: Final = "image not found or expired: upload it again"
BUSY: Final = "the service is busy: try again in a moment"
READ_ONLY: Final = (
    "the service is read-only for a few minutes: stored art is served, new art is not made; try"
    " again later"
)
UNAVAILABLE: Final = "the service is temporarily unavailable"
DEADLINE_EXCEEDED: Final = "the art was not ready in time: try again"
INTERNAL_ERROR: Final = "internal error"

# The embedded store, in the answer to a readiness check.
STORE_FULL: Final = "the disk is full"
STORE_UNWRITABLE: Final = "the data directory is not writable"
STORE_LOCKED: Final = "the data directory is locked by another process"
STORE_DAMAGED: Final = "the stored data is damaged"
STORE_NOT_PRIVATE: Final = "the data directory is not private to the service's account"
STORE_UNUSABLE: Final = "the data directory cannot be used"


def ready(store_problem: str = "", unsupported: Sequence[str] = ()) -> str:
    """For a service that answers requests, and perhaps cannot store art, with one of the reasons
    above, or converts images without parts of the sandbox."""
    problems = [f"art is not being stored: {store_problem}"] if store_problem else []
    if unsupported:
        problems.append(f"images are converted without {' and '.join(unsupported)}")
    return f"ready, but {'; '.join(problems)}" if problems else "ready"


# The image.
UNKNOWN_FORMAT: Final = f"unknown image format: send {formats.LISTED}"
DAMAGED_IMAGE: Final = "the image is damaged and cannot be decoded"
DECODER_CRASHED: Final = "the image cannot be decoded: it makes the decoder crash"
TOO_MUCH_MEMORY: Final = "the image needs too much memory to decode"
TOO_SLOW: Final = "the image takes too long to decode"
HEIC: Final = (
    "HEIC images are not supported: export the photograph as JPEG; "
    "to make an iPhone take JPEGs, choose Settings > Camera > Formats > Most Compatible"
)
CAMERA_RAW: Final = "the raw data of a camera is not supported: export the photograph as JPEG"
SVG: Final = "an SVG is a drawing without pixels: export it as PNG"
PDF: Final = "a PDF is a document, not an image: export the page as PNG"
HTML: Final = "this is a web page, not an image: send the image file itself"
VIDEO: Final = "videos are not supported: send one picture of it as JPEG or PNG"
PHOTOSHOP: Final = "Photoshop documents are not supported: export the image as PNG"


def too_many_bytes(max_bytes: int) -> str:
    """For an image over the byte limit."""
    return f"the image is too large: the limit is {max_bytes / 1e6:g} MB"


def too_many_pixels(width: int, height: int, max_pixels: int, *, kind: str = "") -> str:
    """For an image over the pixel limit of all images or of its kind."""
    return (
        f"too many pixels: {width}x{height} is {width * height / 1e6:.1f} megapixels; the"
        f" limit{f' for a {kind}' if kind else ''} is {max_pixels / 1e6:g}"
    )


def too_long_side(width: int, height: int, max_side: int) -> str:
    """For an image that is too wide or too tall."""
    return (
        f"too many pixels in one direction: {width}x{height}; the limit is {max_side} in width and"
        " in height"
    )


def too_much_memory(
    width: int,
    height: int,
    *,
    kind: str,
    columns: int,
    needed: int,
    limit: int,
    large_tile: tuple[int, int] | None,
) -> str:
    """For an image of a kind, such as `PNG`, whose conversion would need too much memory.

    `large_tile` is the size of its tiles, if they are larger than the image."""
    tiles = f" in tiles of {large_tile[0]}x{large_tile[1]}" if large_tile else ""
    advice = "save it without tiles" if large_tile else "send a smaller image"
    return (
        f"converting this kind of {kind}, of {width}x{height} pixels{tiles}, at width {columns}"
        f" would take {needed / 1e6:.0f} MB of memory; the limit is {limit / 1e6:g}: {advice}"
    )


def too_large_animation(width: int, height: int, *, columns: int, needed: int, limit: int) -> str:
    """For an animation whose conversion would need too much memory."""
    return (
        f"drawing the frames of this animation, of {width}x{height} pixels each, at width"
        f" {columns} would take {needed / 1e6:.0f} MB of memory; the limit is {limit / 1e6:g}:"
        " choose a smaller width, or send a smaller animation"
    )


def too_large_rle(max_bytes: int) -> str:
    """For a run-length encoded BMP over its byte limit."""
    return (
        f"the image is too large: the limit for a run-length encoded BMP is {max_bytes / 1e6:g} MB"
    )


# The options.
def unknown_option(name: str, known: Iterable[str]) -> str:
    """For an unknown option name; `name` is empty if it must not be shown."""
    shown = f' "{printable(name)}"' if name else ""
    return f"unknown option{shown}: use {', '.join(known)}"


def similar_option(name: str, similar: str) -> str:
    """For an unknown name of an option that is similar to a known one."""
    return f'unknown option "{printable(name)}": did you mean {similar}?'


def unknown_suffix(suffixes: Iterable[str]) -> str:
    """For an unknown suffix in the URL of art."""
    return (
        "art has no file with this suffix: use one of"
        f" {', '.join(f'.{suffix}' for suffix in suffixes)}"
    )


def missing(name: str) -> str:
    """For a missing option that JSON requires."""
    return f"no {name} provided"


def not_a_whole_number(name: str, minimum: int, maximum: int) -> str:
    """For a number of the wrong form or out of range."""
    return f"{name} must be a whole number from {minimum} to {maximum}"


def not_one_of(name: str, choices: Iterable[str]) -> str:
    """For a value that is not among the choices."""
    return f"{name} must be one of: {', '.join(choices)}"


def not_a_truth_value(name: str, *, or_auto: bool = False) -> str:
    """For a value that is neither true nor false, nor `auto` where that is a value."""
    return f"{name} must be true, false or auto" if or_auto else f"{name} must be true or false"


def not_a_colour(name: str) -> str:
    """For a value that is not a colour."""
    return f"{name} must be auto, a colour such as #ff8800, or a colour's name in CSS"


def not_text(name: str) -> str:
    """For a JSON value that is not a string."""
    return f"{name} must be text"


def chars_not_supported(style: str) -> str:
    """For `chars` with a style that draws fixed patterns."""
    return f"chars cannot be used with the style {style}, which draws fixed patterns"


def too_many_characters(name: str, max_bytes: int) -> str:
    """For characters over their byte limit."""
    return f"{name} must be at most {max_bytes} bytes in UTF-8"


def not_one_column_wide(name: str) -> str:
    """For characters that a terminal does not display in one column each."""
    return (
        f"{name} must be printable characters, each one column wide: no wide, combining, invisible"
        " or right-to-left characters"
    )


def chars_not_ascii(style: str) -> str:
    """For characters that a style of ASCII characters cannot draw."""
    return f"chars must be printable ASCII for the style {style}"


CHARS_EXCLUDES_ALL: Final = "chars excludes every character of the style"


def art_too_large(columns: int, rows: int, max_characters: int) -> str:
    """For art over the limit on characters."""
    return (
        f"the art would be {rows} rows of {columns} characters; the limit for this style and color"
        f" is {max_characters} characters: choose a smaller width"
    )


def image_too_small(columns: int, rows: int, max_cells: int) -> str:
    """For art with too many characters for each pixel of a small image."""
    return (
        f"the art would be {rows} rows of {columns} characters, too many for so few pixels; the"
        f" limit for this image is {max_cells} characters: choose a smaller width, or send a larger"
        " image"
    )


def no_outline(character: str) -> str:
    """For a rendered image of art with a character that its font lacks."""
    return (
        "no picture of this art: the font lacks the character"
        f" {character} (U+{ord(character):04X}); ask for text or HTML"
    )


def too_large_for_svg(max_cells: int) -> str:
    """For an SVG of more characters than programs display in reasonable time."""
    return f"no SVG of this art: it has more than {max_cells} characters; ask for PNG, text or HTML"
