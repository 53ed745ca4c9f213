"""The HTTP contract as an OpenAPI document, made from the same limits and styles that the code checks."""

from typing import Any

from asciist.conversion import DEFAULT_STYLE, DEFAULT_WIDTH, STYLES
from asciist.limits import Limits
from asciist.options import COLORS, MAX_CHARS_BYTES
from asciist.protocol.artifacts import VARIANT_PATTERN
from service.examples import HEART, HEART_SHA256, SMALL, examples

_Schema = dict[str, Any]


def document(limits: Limits, origin: str) -> _Schema:
    """OpenAPI 3.1 of everything that `routes` serves, at the address `origin`."""
    width = {"type": "integer", "minimum": 1, "maximum": limits.max_width}
    beyond_width = _options_beyond_width()
    options = [
        _query("width", {**width, "default": DEFAULT_WIDTH}, "Columns of the art."),
        *(_query(name, schema, schema["description"]) for name, schema in beyond_width.items()),
    ]
    sha256 = _path("sha256", {"type": "string", "pattern": "^[0-9a-f]{64}$"}, "SHA-256 of the image, in hexadecimal.")
    sha256["example"] = HEART_SHA256
    variant = {"type": "string", "pattern": f"^{VARIANT_PATTERN}$", "maxLength": 255}
    stored_width = _path("width", width, "Columns of the art.")
    raw = {"type": "string", "contentMediaType": "application/octet-stream"}
    contract: _Schema = {
        "openapi": "3.1.0",
        "info": {
            "title": "asciist",
            "version": "1",
            "summary": "Turns an image into ASCII art.",
            "description": (
                f"Send an image (JPEG, PNG, GIF, WebP or BMP, up to {limits.max_image_bytes / 1e6:g} MB), get its ASCII art. "
                "The bytes decide what an image is, not the Content-Type. The Accept header chooses the form of the answer; "
                "without a choice a JSON request gets JSON and any other gets text."
            ),
        },
        "servers": [{"url": origin}],
        "paths": {
            "/": {
                "get": _operation(
                    "A page for browsers, usage for everything else",
                    "front",
                    {"200": _text_or_page("A page where Accept or User-Agent are a browser's, else the usage.")},
                ),
                "post": _operation(
                    "Convert an image",
                    "convert",
                    _conversion_answers(_refusals_of_uploads()),
                    parameters=options,
                    body={
                        "application/json": {
                            "schema": {
                                "type": "object",
                                "required": ["image", "width"],
                                "properties": {
                                    "image": {"type": "string", "contentEncoding": "base64"},
                                    "width": width,
                                    **beyond_width,
                                },
                            },
                            "example": {"width": 8, "image": HEART},
                        },
                        "application/octet-stream": {"schema": raw},
                        "multipart/form-data": {
                            "schema": {
                                "type": "object",
                                "required": ["image"],
                                "properties": {"image": raw, "width": width, **beyond_width},
                            }
                        },
                    },
                ),
                "put": _raw_upload("convertRaw", options, raw),
            },
            "/{name}": {
                "put": _raw_upload(
                    "convertNamed",
                    [_path("name", {"type": "string", "minLength": 1}, "Any name, as `curl -T` sends; ignored."), *options],
                    raw,
                )
            },
            "/{sha256}/image": {
                "post": _operation(
                    "Convert an image that was sent before",
                    "convertStoredImage",
                    _conversion_answers(_refusals_of_stored_images()),
                    parameters=[sha256, *options],
                )
            },
            "/{sha256}/width/{width}": {
                "get": _operation("Stored art", "storedArt", _stored_answers(), parameters=[sha256, stored_width])
            },
            "/{sha256}/style/{variant}/width/{width}": {
                "get": _operation(
                    "Stored art of other options than the default",
                    "storedArtOfVariant",
                    _stored_answers(),
                    parameters=[sha256, _path("variant", variant, "The options beyond the width."), stored_width],
                )
            },
            "/healthz": {
                "get": _operation("Whether the process lives; touches nothing behind it", "health", {"200": _text("It does.")})
            },
            "/readyz": {
                "get": _operation(
                    "Whether a request sent now would be answered",
                    "readiness",
                    {"200": _text("It would."), "503": _text("It would not.")},
                )
            },
            "/openapi.json": {
                "get": _operation(
                    "This document",
                    "openapi",
                    {"200": {"description": "OpenAPI 3.1.", "content": {"application/json": {"schema": {"type": "object"}}}}},
                )
            },
            "/docs": {
                "get": _operation("This document, as a page", "docs", {"200": _of_form("text/html", "A page.")}),
            },
        },
    }
    shown = examples(origin)
    for operations in contract["paths"].values():
        for operation in operations.values():
            operation["x-codeSamples"] = [
                {"lang": "Shell", "label": example.title, "source": example.command, "output": example.output}
                for example in shown.get(operation["operationId"], ())
            ]
    return contract


def _options_beyond_width() -> _Schema:
    return {
        "style": {"type": "string", "enum": list(STYLES), "default": DEFAULT_STYLE, "description": "How the art is drawn."},
        "invert": {"type": "boolean", "default": False, "description": "For dark characters on a light background."},
        "chars": {
            "type": "string",
            "maxLength": MAX_CHARS_BYTES,
            "pattern": r"^[^\u0000-\u001f\u007f-\u009f]*$",
            "description": (
                "The characters to draw with, dark to light; or, after ^, those not to draw with. Each one column wide, "
                f"at most {MAX_CHARS_BYTES} bytes in UTF-8 together; styles of dots have none to choose. Empty: the style's."
            ),
        },
        "color": {
            "type": "string",
            "enum": list(COLORS),
            "default": "none",
            "description": (
                "The image's colours as escape codes for a terminal (ansi), or with the art in a document of its own (html), "
                "which is then the answer in every form but JSON, as text/html."
            ),
        },
    }


def _conversion_answers(refusals: _Schema) -> _Schema:
    return {
        "200": _art_answer("The art. Content-Location names its permanent address."),
        **refusals,
        "503": _error("Too busy, or a neighbour is down: try again after Retry-After seconds.", retry=True),
        "504": _error("The art was not ready in time."),
    }


def _refusals_of_uploads() -> _Schema:
    return {
        "400": _error(
            "What cannot be processed: no image, no width, an unknown format, damage, too many pixels, a bad option.",
            example="no width provided",
        ),
        "408": _error("The body did not arrive in time."),
        "413": _error("The image is over the byte limit."),
        "415": _error("The body is compressed."),
    }


def _refusals_of_stored_images() -> _Schema:
    return {
        "400": _error("A bad option, or an image that proves damaged."),
        "404": _error("The image is not stored, or no longer: send it."),
        "405": _error("What stands for the SHA-256 is none."),
    }


def _stored_answers() -> _Schema:
    return {
        "200": _art_answer("The art."),
        "304": {"description": "The client's copy (If-None-Match) is current."},
        "400": _error("A bad option."),
        "404": _error("Not stored."),
        "503": _error("The store is down: try again after Retry-After seconds.", retry=True),
    }


def _raw_upload(operation_id: str, parameters: list[_Schema], raw: _Schema) -> _Schema:
    return _operation(
        "Convert an image that is sent as it is",
        operation_id,
        _conversion_answers(_refusals_of_uploads()),
        parameters=parameters,
        body={"application/octet-stream": {"schema": raw}},
    )


def _operation(
    summary: str,
    operation_id: str,
    responses: _Schema,
    *,
    parameters: list[_Schema] | None = None,
    body: _Schema | None = None,
) -> _Schema:
    operation: _Schema = {"summary": summary, "operationId": operation_id, "responses": responses}
    if parameters:
        operation["parameters"] = parameters
    if body:
        operation["requestBody"] = {"required": True, "content": body}
    return operation


def _query(name: str, schema: _Schema, description: str) -> _Schema:
    return {"name": name, "in": "query", "schema": schema, "description": description}


def _path(name: str, schema: _Schema, description: str) -> _Schema:
    return {"name": name, "in": "path", "required": True, "schema": schema, "description": description}


def _text(description: str) -> _Schema:
    return _of_form("text/plain", description)


def _of_form(form: str, description: str) -> _Schema:
    return {"description": description, "content": {form: {"schema": {"type": "string"}}}}


def _text_or_page(description: str) -> _Schema:
    content = {form: {"schema": {"type": "string"}} for form in ("text/plain", "text/html")}
    return {"description": description, "content": content}


def _art_answer(description: str) -> _Schema:
    answer = _text_or_page(description)
    answer["content"]["application/json"] = {"schema": _object_of_text("art"), "example": {"art": SMALL}}
    answer["headers"] = {
        name: {"schema": {"type": "string"}} for name in ("ETag", "Cache-Control", "Content-Location", "Cache-Status")
    }
    return answer


def _error(description: str, *, example: str = "", retry: bool = False) -> _Schema:
    answer = _text_or_page(description)
    answer["content"]["application/json"] = {"schema": _object_of_text("error")}
    if example:
        answer["content"]["application/json"]["example"] = {"error": example}
    if retry:
        answer["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}}
    return answer


def _object_of_text(name: str) -> _Schema:
    return {
        "type": "object",
        "required": [name],
        "properties": {name: {"type": "string"}},
        "additionalProperties": False,
    }
