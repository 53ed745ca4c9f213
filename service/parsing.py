"""From an HTTP request to an image and options. The bytes decide what an image is; the Content-Type only says how the
options and the image are wrapped."""

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from flask import Request, g
from werkzeug.exceptions import RequestEntityTooLarge

from asciist.conversion import DEFAULT_STYLE, DEFAULT_WIDTH, ConversionOptions
from asciist.conversion.options import width_message
from asciist.errors import BadOptionError, BadRequestError, TooManyBytesError, UnsupportedEncodingError
from asciist.limits import Limits

_ENVELOPE_BYTES: Final = 65_536
"""Room in a JSON or multipart body for everything but the image."""

_DATA_URL: Final = re.compile(r"data:[^,]{0,200};base64,")
_WHITE_SPACE: Final = str.maketrans("", "", " \t\r\n")
_WHOLE_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,9}")


@dataclass(frozen=True, kw_only=True)
class Upload:
    """What a client sent to be converted."""

    image: bytes
    options: ConversionOptions
    is_json: bool
    """Whether the request was JSON; its answer then is too, unless the client asks for another form."""


def body_limit(request: Request, limits: Limits) -> int:
    """The largest body, in bytes, that a request of this kind can need."""
    if request.is_json:
        return limits.max_image_bytes * 4 // 3 + _ENVELOPE_BYTES  # base64 writes three bytes as four
    if request.mimetype == "multipart/form-data":
        return limits.max_image_bytes + _ENVELOPE_BYTES
    return limits.max_image_bytes


def parse_upload(request: Request, limits: Limits) -> Upload:
    """Read the body. Raises BadRequestError, BadOptionError, TooManyBytesError, UnsupportedEncodingError."""
    if request.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
        raise UnsupportedEncodingError("a compressed body (Content-Encoding) is not supported: send the image as it is")
    # One more than the limit: werkzeug takes a body that reaches its maximum for one that goes past it.
    request.max_content_length = body_limit(request, limits) + 1
    try:
        upload = _parse(request, limits)
    except RequestEntityTooLarge as error:
        raise _too_many_bytes(limits) from error
    if not upload.image:
        raise BadRequestError("no image provided")
    if len(upload.image) > limits.max_image_bytes:
        raise _too_many_bytes(limits)
    return upload


def text_options(values: Mapping[str, str], limits: Limits) -> ConversionOptions:
    """The options in a URL or form. Raises BadOptionError."""
    width: object = values.get("width", DEFAULT_WIDTH)
    if isinstance(width, str):
        width = int(width) if _WHOLE_NUMBER.fullmatch(width) else None
    return _options(width, values.get("style"), limits)


def _json_options(values: Mapping[str, Any], limits: Limits) -> ConversionOptions:
    if "width" not in values:
        raise BadRequestError("no width provided")
    width = values["width"]
    if isinstance(width, float) and width.is_integer():
        width = int(width)  # JSON has one kind of number: 80.0 is 80
    return _options(width, values.get("style"), limits)


def _options(width: object, style: object, limits: Limits) -> ConversionOptions:
    if not isinstance(width, int) or isinstance(width, bool):
        raise BadOptionError(width_message(limits))
    if not isinstance(style, str | None):
        raise BadOptionError("style must be text")
    options = ConversionOptions(width=width, style=DEFAULT_STYLE if style is None else style)
    options.check(limits)
    return options


def _parse(request: Request, limits: Limits) -> Upload:
    if request.mimetype == "multipart/form-data":
        return _from_form(request, limits)
    body = request.stream.read()
    if request.is_json or body[:64].lstrip().startswith(b"{"):  # no image format begins like this
        g.is_json = True  # errors from here on are JSON too
        return _from_json(body, limits)
    return Upload(image=body, options=text_options(request.args, limits), is_json=False)


def _from_form(request: Request, limits: Limits) -> Upload:
    fields = {**request.args.to_dict(), **request.form.to_dict()}
    if fields.get("width") == "":
        del fields["width"]  # left empty in a browser
    file = request.files.get("image")
    image = file.read() if file else fields.get("image", "").encode()
    return Upload(image=image, options=text_options(fields, limits), is_json=False)


def _from_json(body: bytes, limits: Limits) -> Upload:
    try:
        payload = json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BadRequestError("the body is not valid JSON") from error
    if not isinstance(payload, dict):
        raise BadRequestError('the JSON body must be an object: {"width": 80, "image": "<base64>"}')
    options = _json_options(payload, limits)
    return Upload(image=_from_base64(payload.get("image")), options=options, is_json=True)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _from_base64(text: object) -> bytes:
    if text is None:
        raise BadRequestError("no image provided")
    if not isinstance(text, str):
        raise BadRequestError("image must be a string of base64")
    prefix = _DATA_URL.match(text)
    try:
        # `base64 FILE` wraps its lines, so white space is fine; anything else that is no base64 is not.
        return base64.b64decode(text[prefix.end() if prefix else 0 :].translate(_WHITE_SPACE), validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadRequestError("image is not valid base64") from error


def _too_many_bytes(limits: Limits) -> TooManyBytesError:
    return TooManyBytesError(f"the image is too large: the limit is {limits.max_image_bytes / 1e6:g} MB")
