"""The HTTP contract as an OpenAPI document, generated from the limits and options that requests are checked against."""

from typing import Any

from asciist import formats
from asciist.limits import Limits
from asciist.options import OPTIONS
from asciist.protocol.artifacts import VARIANT_PATTERN
from asciist.protocol.links import CAPABILITY_PATTERN, NAME_PATTERN
from service.examples import HEART, SMALL, examples
from service.headers import INVERT

_Schema = dict[str, Any]

_NO_CAPABILITY = "The path does not contain a capability."

_CHOSEN_INVERT = "With invert=auto: true if the art has dark characters for a light background, else false."

_RAW: _Schema = {"type": "string", "contentMediaType": "application/octet-stream"}


def document(limits: Limits, origin: str) -> _Schema:
    """Return the OpenAPI 3.1 document of every route in `service.routes`, for a service at the address `origin`."""
    contract: _Schema = {
        "openapi": "3.1.0",
        "info": {
            "title": "asciist",
            "version": "1",
            "summary": "Turns an image into ASCII art.",
            "description": (
                f"Send an image ({formats.LISTED}) of up to {limits.max_image_bytes / 1e6:g} MB and get its ASCII art. "
                "The bytes decide the image format, not the Content-Type. The Accept header chooses the form of the answer. "
                "Without a preference, a JSON request gets JSON and any other request gets text. Answers are compressed with "
                "zstd or gzip if Accept-Encoding allows it. Paths that accept GET accept HEAD, and every path accepts OPTIONS."
            ),
        },
        "servers": [{"url": origin}],
        "paths": {**_conversion_paths(limits), **_stored_art_paths(limits), **_other_paths()},
    }
    samples = examples(origin)
    for operations in contract["paths"].values():
        for operation in operations.values():
            operation["x-codeSamples"] = [
                {"lang": "Shell", "label": example.title, "source": example.command, "output": example.output}
                for example in samples.get(operation["operationId"], ())
            ]
    return contract


def _conversion_paths(limits: Limits) -> _Schema:
    options = _option_parameters(limits)
    name = _path("name", {"type": "string", "minLength": 1}, "Any name, such as `curl -T` sends. It is ignored.")
    return {
        "/": {
            "get": _operation(
                "Get the page (browsers) or the usage text (other clients)",
                "front",
                {"200": _text_or_page("The page for a browser, recognised by Accept or User-Agent; otherwise the usage text.")},
            ),
            "post": _operation(
                "Convert an image",
                "convert",
                _conversion_answers(_UPLOAD_ERRORS),
                parameters=options,
                body=_conversion_bodies(limits),
            ),
            "put": _raw_upload("convertRaw", options),
        },
        "/{name}": {"put": _raw_upload("convertNamed", [name, *options])},
        "/image/{capability}": {
            "post": _operation(
                "Convert an image that was uploaded before",
                "convertStoredImage",
                _conversion_answers(_STORED_IMAGE_ERRORS),
                parameters=[_capability(), *options],
            ),
            "delete": _operation(
                "Delete an image and all its art",
                "deleteImage",
                {
                    "204": {"description": "Neither is stored any more."},
                    "404": _error("The capability is not valid, or has expired."),
                    "405": _error(_NO_CAPABILITY),
                    "503": _error("Read-only, or the store is unavailable. Retry after Retry-After seconds.", retry=True),
                    "504": _error("The store did not answer in time."),
                },
                parameters=[_capability()],
            ),
        },
    }


def _stored_art_paths(limits: Limits) -> _Schema:
    width = _path("width", OPTIONS["width"].schema(limits, with_default=False), OPTIONS["width"].description)
    variant = {"type": "string", "pattern": f"^{VARIANT_PATTERN}$", "maxLength": 255}
    return {
        "/{name}/width/{width}": {
            "get": _operation("Get stored art", "storedArt", _stored_answers(), parameters=[_name_of_art(), width])
        },
        "/{name}/style/{variant}/width/{width}": {
            "get": _operation(
                "Get stored art with non-default options",
                "storedArtOfVariant",
                _stored_answers(),
                parameters=[
                    _name_of_art(),
                    _path("variant", variant, "All options except the width, as in Content-Location."),
                    width,
                ],
            )
        },
    }


def _other_paths() -> _Schema:
    openapi = {"description": "OpenAPI 3.1.", "content": {"application/json": {"schema": {"type": "object"}}}}
    return {
        "/healthz": {
            "get": _operation(
                "Check that the process is alive; its dependencies are not checked", "health", {"200": _text("Alive.")}
            )
        },
        "/readyz": {
            "get": _operation(
                "Check that the process can answer requests", "readiness", {"200": _text("Ready."), "503": _text("Not ready.")}
            )
        },
        "/openapi.json": {"get": _operation("Get this document", "openapi", {"200": openapi})},
        "/docs": {"get": _operation("Get this document as a page", "docs", {"200": _of_form("text/html", "The page.")})},
    }


def _option_parameters(limits: Limits) -> list[_Schema]:
    return [_query(option.name, option.schema(limits), option.description) for option in OPTIONS.values()]


def _conversion_bodies(limits: Limits) -> _Schema:
    options = {
        option.name: option.schema(limits, with_default=not option.required_in_json) | {"description": option.description}
        for option in OPTIONS.values()
    }
    required = [option.name for option in OPTIONS.values() if option.required_in_json]
    base64 = {"type": "string", "contentEncoding": "base64"}
    return {
        "application/json": {
            "schema": {"type": "object", "required": ["image", *required], "properties": {"image": base64, **options}},
            "example": {"width": 8, "image": HEART},
        },
        "application/octet-stream": {"schema": _RAW},
        "multipart/form-data": {
            "schema": {"type": "object", "required": ["image"], "properties": {"image": _RAW, **options}},
        },
    }


def _conversion_answers(errors: _Schema) -> _Schema:
    return {
        "200": _art_answer(
            "The art. Content-Location holds its permanent URL. Link holds, with rel=edit, a URL that converts the image again "
            "(POST) and deletes it (DELETE). It is for whoever uploaded the image.",
            "Link",
        ),
        **errors,
        "503": _error("Overloaded or read-only, or a dependency is unavailable. Retry after Retry-After seconds.", retry=True),
        "504": _error("The art was not ready in time."),
    }


def _stored_answers() -> _Schema:
    return {
        "200": _art_answer("The art."),
        "304": {"description": "Not modified: the client's copy (If-None-Match) is current."},
        "400": _error("An option has an invalid value."),
        "404": _error("The art is not stored."),
        "503": _error("The store is unavailable. Retry after Retry-After seconds.", retry=True),
    }


def _raw_upload(operation_id: str, parameters: list[_Schema]) -> _Schema:
    return _operation(
        "Convert an image that is sent as raw bytes",
        operation_id,
        _conversion_answers(_UPLOAD_ERRORS),
        parameters=parameters,
        body={"application/octet-stream": {"schema": _RAW}},
    )


def _name_of_art() -> _Schema:
    schema = {"type": "string", "pattern": f"^{NAME_PATTERN}$"}
    return _path("name", schema, "Name of this art, as in Content-Location. Nobody can guess it.")


def _capability() -> _Schema:
    schema = {"type": "string", "pattern": f"^{CAPABILITY_PATTERN}$"}
    return _path("capability", schema, "Given to whoever uploaded the image, in Link (rel=edit). It expires.")


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


def _art_answer(description: str, *more_headers: str) -> _Schema:
    answer = _text_or_page(description)
    schema = _object_of_text("art")
    schema["properties"]["invert"] = {"type": "boolean", "description": _CHOSEN_INVERT}
    answer["content"]["application/json"] = {"schema": schema, "example": {"art": SMALL}}
    answer["headers"] = {
        name: {"schema": {"type": "string"}}
        for name in ("ETag", "Cache-Control", "Content-Location", "Cache-Status", *more_headers)
    }
    answer["headers"][INVERT] = {"schema": {"enum": ["true", "false"]}, "description": _CHOSEN_INVERT}
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


_UPLOAD_ERRORS: _Schema = {
    "400": _error(
        "The request cannot be processed: no image, no width, unsupported format, damaged image, too many pixels, or an "
        "unknown or invalid option.",
        example="no width provided",
    ),
    "408": _error("The request body did not arrive in time."),
    "413": _error("The image exceeds the byte limit."),
    "415": _error("The request body is compressed."),
}

_STORED_IMAGE_ERRORS: _Schema = {
    "400": _error("An option is unknown or has an invalid value, or the image is damaged."),
    "404": _error("The image is not stored, or the capability is not valid or has expired. Upload the image."),
    "405": _error(_NO_CAPABILITY),
}
