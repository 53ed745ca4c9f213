"""Reads an image and options from an HTTP request.

The bytes decide the image format. The Content-Type says only how image and options are wrapped.
"""

import binascii
import io
import json
import re
import secrets
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final

import pybase64
from flask import Request
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import MultiPartParser

from asciist.art.forms import FORMS
from asciist.errors import BadOptionError, BadRequestError, TooManyBytesError, sentences
from asciist.limits import Limits
from asciist.options import OPTIONS, ConversionOptions, with_defaults
from asciist.options.kinds import Integer
from asciist.protocol.artifacts import options_of_variant
from asciist.protocol.ports import Metrics, timed
from asciist.telemetry.metrics import PAYLOAD_DECODE_DURATION
from .uploads import ENVELOPE_BYTES, mark_as_json, sends_json

_DATA_URL: Final = re.compile(rb"data:[^,\\]{0,200};base64,")
_WIDE_ESCAPE: Final = re.compile(r"\\u(?!00)")
"""Escape sequence of a character beyond Latin-1."""
_WHITE_SPACE: Final = b" \t\r\n"

_CUT_OUT: Final = secrets.token_hex(128).encode()
"""Replacement for the long string of a JSON body. Clients cannot guess it, and it is too long to be
the value of an option."""

_MIN_CUT_BYTES: Final = 1024
"""Minimum size of an image that is not parsed with the rest of a small body; its text is longer
than any option."""

_MAX_PARTS: Final = 16
"""Maximum parts of a form: an image and the options, with room to spare."""

_PART_BYTES: Final = 32_768
"""Maximum bytes of the headers of a part, and of a part other than a file. A header of three bytes
takes a hundred in memory."""

_FORM_STEP_BYTES: Final = 16_384
"""Bytes of a form parsed at a time; together with the unparsed rest of the previous step, they
count as headers."""

_IMAGE: Final = "image"
"""Name of the image among the fields of a form and the keys of a JSON object."""

_SUFFIXED: Final = re.compile(r"[0-9]+\.[A-Za-z]")
"""Beginning of a width with an unknown suffix; suffixes of files are handled elsewhere."""

_MAX_NAME_CHARACTERS: Final = 30
"""Maximum characters of an unknown name that an error message repeats, and for which a similar name
is looked up."""

_MIN_SIMILARITY: Final = 0.7
"""Minimum ratio of `difflib` for a suggestion. At its default, 0.6, `cols` would be taken for
`color`."""

_STRIPPED: Final = (b"\0", b"\r", b"\n")
"""Bytes dropped by `curl -d @file`. Every image contains a zero, in a length or a size, usually
among its first bytes."""

_PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
"""First bytes of a PNG, with line breaks that reveal whether they were converted."""

_NUMBERS: Final = frozenset(
    name for name, option in OPTIONS.items() if isinstance(option.kind, Integer)
)


@dataclass(frozen=True, kw_only=True)
class Upload:
    """An image, and the options for its conversion."""

    image: bytes
    options: ConversionOptions


def parse_upload(request: Request, limits: Limits, metrics: Metrics) -> Upload:
    """Return the image and the options in the body. Raises BadRequestError, BadOptionError,
    TooManyBytesError."""
    upload = _parse(request, limits, metrics)
    if len(upload.image) > limits.max_image_bytes:
        raise TooManyBytesError(sentences.too_many_bytes(limits.max_image_bytes))
    return upload


def options_from_text(values: Mapping[str, str], limits: Limits) -> ConversionOptions:
    """Return the options in a query or a form. Raises BadOptionError, also for an unknown name."""
    _check_names(values)
    return _checked(_from_text(values, limits), limits)


def _from_text(values: Mapping[str, str], limits: Limits) -> dict[str, Any]:
    return {
        name: option.kind.from_text(name, values[name], limits)
        for name, option in OPTIONS.items()
        if name in values
    }


def options_from_url(
    variant: str, width: str, limits: Limits, *, query: Iterable[str] = ()
) -> ConversionOptions:
    """Return the options in the URL of stored art. Raises BadOptionError, also for an option in the
    query or an unknown suffix.

    `query` contains the names in the query.
    """
    if any(name in OPTIONS for name in query):
        raise BadOptionError(sentences.OPTIONS_OF_FILE)
    if _SUFFIXED.match(width):
        raise BadOptionError(sentences.unknown_suffix(FORMS))
    options = options_of_variant(variant, OPTIONS["width"].kind.from_text("width", width, limits))
    if options is None:
        raise BadOptionError(sentences.INVALID_OPTIONS_IN_URL)
    options.check(limits)
    return options


def _options_from_json(
    values: Mapping[str, Any], query: Mapping[str, str], limits: Limits
) -> ConversionOptions:
    """Return the options in a JSON object, completed from the query. Null counts as a missing
    option.

    Raises BadRequestError without a required option, and BadOptionError.
    """
    for name, option in OPTIONS.items():
        if option.required_in_json and name not in values:
            raise BadRequestError(sentences.missing(name))
    in_object = {
        name: option.kind.from_json(name, values[name], limits)
        for name, option in OPTIONS.items()
        if name in values and (values[name] is not None or option.required_in_json)
    }
    return _checked(_from_text(query, limits) | in_object, limits)


def _check_names(names: Iterable[str], *more_names: str) -> None:
    """Raise BadOptionError for the first name that is neither an option's nor in `more_names`.

    Only one name is compared with the known ones, and only if it is short, because clients choose
    the number and length of names.
    """
    for name in names:
        if name in OPTIONS or name in more_names:
            continue
        known = [*OPTIONS, *more_names]
        if len(name) > _MAX_NAME_CHARACTERS:
            raise BadOptionError(sentences.unknown_option("", known))
        similar = get_close_matches(name.lower(), known, n=1, cutoff=_MIN_SIMILARITY)
        raise BadOptionError(
            sentences.similar_option(name, similar[0])
            if similar
            else sentences.unknown_option(name, known)
        )


def _checked(values: dict[str, Any], limits: Limits) -> ConversionOptions:
    options = with_defaults(values)
    options.check(limits)
    return options


def _parse(request: Request, limits: Limits, metrics: Metrics) -> Upload:
    if request.mimetype == "multipart/form-data":
        return _parse_form(request, limits)
    body = request.stream.read()
    # no image format begins like this
    if sends_json(request) or body[:64].lstrip().startswith(b"{"):
        mark_as_json(request)
        with timed(metrics, PAYLOAD_DECODE_DURATION):
            return _parse_json(body, request.args, limits)
    _check_complete(body)
    return Upload(image=_present(body), options=options_from_text(request.args, limits))


def _parse_form(request: Request, limits: Limits) -> Upload:
    form, file = _form(request)
    sent = {**request.args.to_dict(), **form}
    # A browser sends an empty string for a number field that was left empty.
    fields = {name: text for name, text in sent.items() if text or name not in _NUMBERS}
    _check_names(fields, _IMAGE)
    image = file or fields.get(_IMAGE, "").encode()
    return Upload(image=_present(image), options=_checked(_from_text(fields, limits), limits))


def _form(request: Request) -> tuple[dict[str, str], bytes]:
    """Return the fields of a form, and its file `image`. They are empty if the form is malformed.

    Raises TooManyBytesError, BadRequestError for a part without a name, or BadOptionError for a
    file with another name.

    `request.form` would accept half a megabyte of headers for each part, and hold them until the
    request is answered.
    """
    parser = MultiPartParser(
        # in memory, because a disk may be full or slow
        stream_factory=lambda *_, **__: io.BytesIO(),
        max_form_memory_size=_PART_BYTES,
        buffer_size=_FORM_STEP_BYTES,
        max_form_parts=_MAX_PARTS,
    )
    try:
        boundary = request.mimetype_params["boundary"].encode("ascii")
        form, files = parser.parse(request.stream, boundary, request.content_length)
    except RequestEntityTooLarge as error:
        raise TooManyBytesError(sentences.FORM_TOO_LARGE) from error
    except (KeyError, ValueError):
        return {}, b""
    # the parser returns the name of a part as None if its headers have none
    if None in form or None in files:
        raise BadRequestError(sentences.NAMELESS_PART)
    _check_names(files, _IMAGE)
    return form.to_dict(), files[_IMAGE].read() if _IMAGE in files else b""


def _parse_json(body: bytes, query: Mapping[str, str], limits: Limits) -> Upload:
    cut = _long_string(body)
    image = _decoded(body, cut) if cut else None
    if len(body) <= 2 * ENVELOPE_BYTES:
        # a short string may be an option, and what is not base64 may lie between two strings
        cut = cut if image and len(image) >= _MIN_CUT_BYTES else None
    elif len(body) - (cut.stop - cut.start if cut else 0) > 2 * ENVELOPE_BYTES:
        raise BadRequestError(sentences.TOO_MUCH_JSON)
    payload = _from_json(body[: cut.start] + _CUT_OUT + body[cut.stop :] if cut else body)
    if not isinstance(payload, dict):
        raise BadRequestError(sentences.NOT_A_JSON_OBJECT)
    _check_names(payload, _IMAGE)
    _check_names(query)
    text = payload.get(_IMAGE)
    if text is None or text == "":
        raise BadRequestError(sentences.NO_IMAGE)
    options = _options_from_json(payload, query, limits)
    if cut is None or text != _CUT_OUT.decode():
        image = _decode_base64(text)
    elif image is None:
        image = _decode_base64(_unescaped(memoryview(body)[cut.start - 1 : cut.stop + 1]))
    return Upload(image=_present(image), options=options)


def _long_string(body: bytes) -> slice | None:
    """Return the position of the string, without its quotes, that makes up most of a JSON body;
    None without one.

    Only the rest is parsed, because that is faster, and values may take forty times the memory of
    their text (of `[],[],[],`, say). If the rest has at most ENVELOPE_BYTES, the string
    begins before the byte at this index, or at the middle of a smaller body, and ends after it.
    Everything before an escaped quote in the string counts as rest.
    """
    within = min(ENVELOPE_BYTES, len(body) // 2)
    start, stop = body.rfind(b'"', 0, within) + 1, body.find(b'"', within)
    return (
        slice(start, stop) if 0 < start < stop and not body.endswith(b"\\", start, stop) else None
    )


def _from_json(document: bytes | str) -> Any:
    try:
        text = document if isinstance(document, str) else document.decode("utf-8-sig")
        return json.loads(text, parse_constant=_reject_constant)
    except (ValueError, RecursionError) as error:
        raise BadRequestError(sentences.NOT_JSON) from error


def _present(image: bytes) -> bytes:
    """Return `image`. Raises BadRequestError if it is empty; this error precedes errors in the
    options."""
    if not image:
        raise BadRequestError(sentences.NO_IMAGE)
    return image


def _check_complete(body: bytes) -> None:
    """Raise BadRequestError for a file that lost bytes on its way: a PNG its line breaks, or a
    binary file also its zeros.

    `curl -d @file` causes the latter.
    """
    if (
        body.startswith(_PNG_SIGNATURE[:4])
        and not body.startswith(_PNG_SIGNATURE)
        and len(body) > len(_PNG_SIGNATURE)
    ):
        raise BadRequestError(sentences.STRIPPED_BODY)
    if any(byte in body for byte in _STRIPPED):
        return
    try:
        body.decode("utf-8")
    except UnicodeDecodeError:
        raise BadRequestError(sentences.STRIPPED_BODY) from None


def _reject_constant(name: str) -> None:
    """Refuse NaN and Infinity, which are not JSON although Python's parser accepts them. Raises
    ValueError."""
    raise ValueError(f"{name} is not JSON")


def _decoded(body: bytes, place: slice) -> bytes | None:
    """Decode a string of a JSON body without copying it; None if it has more than base64."""
    prefix = _DATA_URL.match(body, place.start, place.stop)
    with suppress(binascii.Error):
        return pybase64.b64decode(
            memoryview(body)[prefix.end() if prefix else place.start : place.stop], validate=True
        )
    return None


def _unescaped(string: memoryview) -> Any:
    """Return the value of a JSON string. Raises BadRequestError for characters beyond Latin-1,
    which base64 never contains."""
    try:
        text = str(string, "ascii")
    except UnicodeDecodeError as error:
        raise BadRequestError(sentences.IMAGE_NOT_BASE64) from error
    # a single such character would make the value four times as large
    if _WIDE_ESCAPE.search(text):
        raise BadRequestError(sentences.IMAGE_NOT_BASE64)
    return _from_json(text)


def _without_data_url(encoded: bytes) -> bytes:
    prefix = _DATA_URL.match(encoded)
    return encoded[prefix.end() :] if prefix else encoded


def _decode_base64(text: object) -> bytes:
    if not isinstance(text, str):
        raise BadRequestError(sentences.IMAGE_NOT_A_STRING)
    try:
        encoded = _without_data_url(text.encode("ascii"))
        del text  # which may be large
        with suppress(binascii.Error):
            return pybase64.b64decode(encoded, validate=True)
        # The command `base64` wraps its lines, so white space is allowed; other characters outside
        # base64 are not.
        return pybase64.b64decode(encoded.translate(None, _WHITE_SPACE), validate=True)
    except ValueError as error:  # binascii.Error is one
        raise BadRequestError(sentences.IMAGE_NOT_BASE64) from error
