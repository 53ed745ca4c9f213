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

from asciist.conversion import DEFAULT_WIDTH, ConversionOptions
from asciist.errors import BadOptionError, BadRequestError, TooManyBytesError, UnsupportedEncodingError
from asciist.limits import Limits
from asciist.options import width_message
from asciist.protocol.artifacts import options_of_variant
from asciist.protocol.ports import Metrics, timed
from asciist.telemetry.metrics import PAYLOAD_DECODE_DURATION

_ENVELOPE_BYTES: Final = 65_536
"""Room in a JSON or multipart body for everything but the image."""

_DATA_URL: Final = re.compile(r"data:[^,]{0,200};base64,")
_WHITE_SPACE: Final = str.maketrans("", "", " \t\r\n")
_WHOLE_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,9}")
_TRUTHS: Final = {
    **dict.fromkeys(("", "true", "1", "yes", "on"), True),  # `?invert` has no value, a ticked box in a form "on"
    **dict.fromkeys(("false", "0", "no", "off"), False),
}


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


def parse_upload(request: Request, limits: Limits, metrics: Metrics) -> Upload:
    """Read the body. Raises BadRequestError, BadOptionError, TooManyBytesError, UnsupportedEncodingError."""
    if request.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
        raise UnsupportedEncodingError("a compressed body (Content-Encoding) is not supported: send the image as it is")
    # One more than the limit: werkzeug takes a body that reaches its maximum for one that goes past it.
    request.max_content_length = body_limit(request, limits) + 1
    try:
        upload = _parse(request, limits, metrics)
    except RequestEntityTooLarge as error:
        raise _too_many_bytes(limits) from error
    if not upload.image:
        raise BadRequestError("no image provided")
    if len(upload.image) > limits.max_image_bytes:
        raise _too_many_bytes(limits)
    return upload


def text_options(values: Mapping[str, str], limits: Limits) -> ConversionOptions:
    """The options in a query or form. Raises BadOptionError."""
    options: dict[str, object] = {"width": DEFAULT_WIDTH, **values}
    if "width" in values:
        options["width"] = _whole_number(values["width"])
    if "invert" in values:
        options["invert"] = _TRUTHS.get(values["invert"].lower())
    return _options(options, limits)


def address_options(variant: str, width: str, limits: Limits) -> ConversionOptions:
    """The options in the address of stored art. Raises BadOptionError."""
    columns = _whole_number(width)
    if columns is None:
        raise BadOptionError(width_message(limits))
    options = options_of_variant(variant, columns)
    if options is None:
        raise BadOptionError("the address names no options: Content-Location is how an answer says where its art is")
    options.check(limits)
    return options


def _json_options(values: Mapping[str, Any], limits: Limits) -> ConversionOptions:
    if "width" not in values:
        raise BadRequestError("no width provided")
    options = {name: value for name, value in values.items() if value is not None or name == "width"}
    if isinstance(options["width"], float) and options["width"].is_integer():
        options["width"] = int(options["width"])  # JSON has one kind of number: 80.0 is 80
    return _options(options, limits)


def _options(values: Mapping[str, object], limits: Limits) -> ConversionOptions:
    """Checked for type and range; names that are no option's are ignored."""
    width = values["width"]
    if not isinstance(width, int) or isinstance(width, bool):
        raise BadOptionError(width_message(limits))
    chosen: dict[str, Any] = {"width": width}
    if "invert" in values:
        if not isinstance(values["invert"], bool):
            raise BadOptionError("invert must be true or false")
        chosen["invert"] = values["invert"]
    for name in ("style", "chars", "color"):
        if name in values:
            if not isinstance(values[name], str):
                raise BadOptionError(f"{name} must be text")
            chosen[name] = values[name]
    options = ConversionOptions(**chosen)
    options.check(limits)
    return options


def _whole_number(text: str) -> int | None:
    return int(text) if _WHOLE_NUMBER.fullmatch(text) else None


def _parse(request: Request, limits: Limits, metrics: Metrics) -> Upload:
    if request.mimetype == "multipart/form-data":
        return _from_form(request, limits)
    body = request.stream.read()
    if request.is_json or body[:64].lstrip().startswith(b"{"):  # no image format begins like this
        g.is_json = True  # errors from here on are JSON too
        with timed(metrics, PAYLOAD_DECODE_DURATION):
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
