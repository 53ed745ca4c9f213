"""Reads an image and options from an HTTP request.

The bytes decide the image format. The Content-Type says only how image and options are wrapped.
"""

import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import pybase64
from flask import Request
from werkzeug.exceptions import RequestEntityTooLarge

from asciist.errors import BadOptionError, BadRequestError, TooManyBytesError, sentences
from asciist.limits import Limits
from asciist.options import DEFAULT_WIDTH, OPTIONS, ConversionOptions
from asciist.protocol.artifacts import options_of_variant
from asciist.protocol.ports import Metrics, timed
from asciist.telemetry.metrics import PAYLOAD_DECODE_DURATION
from service.uploads import mark_as_json, sends_json

_DATA_URL: Final = re.compile(r"data:[^,]{0,200};base64,")
_WHITE_SPACE: Final = str.maketrans("", "", " \t\r\n")
_NUMBERS: Final = frozenset(name for name, option in OPTIONS.items() if option.kind.python_type is int)


@dataclass(frozen=True, kw_only=True)
class Upload:
    """An image to convert, and the options to convert it with."""

    image: bytes
    options: ConversionOptions


def parse_upload(request: Request, limits: Limits, metrics: Metrics) -> Upload:
    """Return the image and the options in the body. Raises BadRequestError, BadOptionError, TooManyBytesError."""
    try:
        upload = _parse(request, limits, metrics)
    except RequestEntityTooLarge as error:
        raise TooManyBytesError(sentences.too_many_bytes(limits.max_image_bytes)) from error
    if len(upload.image) > limits.max_image_bytes:
        raise TooManyBytesError(sentences.too_many_bytes(limits.max_image_bytes))
    return upload


def options_from_text(values: Mapping[str, str], limits: Limits) -> ConversionOptions:
    """Return the options in a query or a form; other names are ignored. Raises BadOptionError."""
    return _checked(
        {"width": DEFAULT_WIDTH}
        | {name: option.kind.from_text(name, values[name], limits) for name, option in OPTIONS.items() if name in values},
        limits,
    )


def options_from_url(variant: str, width: str, limits: Limits) -> ConversionOptions:
    """Return the options in the URL of stored art. Raises BadOptionError."""
    options = options_of_variant(variant, OPTIONS["width"].kind.from_text("width", width, limits))
    if options is None:
        raise BadOptionError(sentences.INVALID_OPTIONS_IN_URL)
    options.check(limits)
    return options


def _options_from_json(values: Mapping[str, Any], limits: Limits) -> ConversionOptions:
    """Return the options in a JSON object. For an option that is not required, null means the default.

    Raises BadRequestError, BadOptionError.
    """
    for name, option in OPTIONS.items():
        if option.required_in_json and name not in values:
            raise BadRequestError(sentences.missing(name))
    return _checked(
        {
            name: option.kind.from_json(name, values[name], limits)
            for name, option in OPTIONS.items()
            if name in values and (values[name] is not None or option.required_in_json)
        },
        limits,
    )


def _checked(values: dict[str, Any], limits: Limits) -> ConversionOptions:
    options = ConversionOptions(**values)
    options.check(limits)
    return options


def _parse(request: Request, limits: Limits, metrics: Metrics) -> Upload:
    if request.mimetype == "multipart/form-data":
        return _parse_form(request, limits)
    body = request.stream.read()
    if sends_json(request) or body[:64].lstrip().startswith(b"{"):  # no image format begins like this
        mark_as_json(request)
        with timed(metrics, PAYLOAD_DECODE_DURATION):
            return _parse_json(body, limits)
    return Upload(image=_present(body), options=options_from_text(request.args, limits))


def _parse_form(request: Request, limits: Limits) -> Upload:
    sent = {**request.args.to_dict(), **request.form.to_dict()}
    # A browser sends an empty string for a number field that was left empty.
    fields = {name: text for name, text in sent.items() if text or name not in _NUMBERS}
    file = request.files.get("image")
    image = file.read() if file else fields.get("image", "").encode()
    return Upload(image=_present(image), options=options_from_text(fields, limits))


def _parse_json(body: bytes, limits: Limits) -> Upload:
    try:
        payload = json.loads(body, parse_constant=_reject_constant)
    except (ValueError, RecursionError) as error:
        raise BadRequestError(sentences.NOT_JSON) from error
    if not isinstance(payload, dict):
        raise BadRequestError(sentences.NOT_A_JSON_OBJECT)
    text = payload.get("image")
    if text is None or text == "":
        raise BadRequestError(sentences.NO_IMAGE)
    options = _options_from_json(payload, limits)
    return Upload(image=_present(_decode_base64(text)), options=options)


def _present(image: bytes) -> bytes:
    """Return `image`. Raises BadRequestError if it is empty, which a client is told before any error in its options."""
    if not image:
        raise BadRequestError(sentences.NO_IMAGE)
    return image


def _reject_constant(name: str) -> None:
    """Refuse NaN and Infinity, which are not JSON although Python's parser accepts them. Raises ValueError."""
    raise ValueError(f"{name} is not JSON")


def _decode_base64(text: object) -> bytes:
    if not isinstance(text, str):
        raise BadRequestError(sentences.IMAGE_NOT_A_STRING)
    prefix = _DATA_URL.match(text)
    encoded = text[prefix.end() :] if prefix else text
    try:
        return pybase64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        pass
    try:
        # The command `base64` wraps its lines, so white space is allowed; other characters outside base64 are not.
        return pybase64.b64decode(encoded.translate(_WHITE_SPACE), validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadRequestError(sentences.IMAGE_NOT_BASE64) from error
