"""The HTTP contract as an OpenAPI document, generated from the limits and options that requests are
checked against."""

from typing import Any, Final

from asciist import formats
from asciist.art.forms import FORMS
from asciist.limits import Limits
from asciist.options import OPTIONS, STYLES
from asciist.protocol.artifacts import VARIANT_PATTERN
from asciist.protocol.links import CAPABILITY_PATTERN, CODE_PATTERN, NAME_PATTERN
from .examples import ART_NAME, HEART, SMALL, examples
from .headers import INVERT

_Schema = dict[str, Any]

_CONVERT: Final = "Convert an image"
_STORED: Final = "Stored images and art"
_SERVICE: Final = "The service"

_TAGS: Final = {
    _CONVERT: "Send an image and get its art.",
    _STORED: "Get art by its URL; convert an image again, or delete it.",
    _SERVICE: "The page, health checks and this document.",
}
"""Descriptions of the tags, in their order."""

_CHOSEN_INVERT: Final = (
    "With invert=auto: true if the art has dark characters for a light background, else false."
)

_RAW: Final[_Schema] = {"type": "string", "contentMediaType": "application/octet-stream"}


_PICTURES: Final = tuple({form.media_type: None for form in FORMS.values() if form.is_picture})
"""Media types of pictures of art."""


def document(limits: Limits, origin: str) -> _Schema:
    """Return the OpenAPI 3.1 document of every route in `service.routes`, for a service at the
    address `origin`.

    Parts shared by several operations are in `components`; `dereferenced` inserts them where they
    are used.
    """
    contract: _Schema = {
        "openapi": "3.1.0",
        "info": {
            "title": "asciist",
            "version": "1",
            "summary": "Turns an image into ASCII art.",
            "description": (
                f"Send an image ({formats.LISTED}) of up to {limits.max_image_bytes / 1e6:g} MB and"
                " get its ASCII art. The bytes decide the image format, not the Content-Type. The"
                " Accept header chooses the form of the answer. Without a preference, a JSON"
                " request gets JSON and any other request gets text. Answers are compressed with"
                " zstd or gzip if Accept-Encoding allows it. Paths that accept GET accept HEAD,"
                " and every path accepts OPTIONS."
            ),
        },
        "servers": [{"url": origin}],
        "tags": [{"name": name, "description": description} for name, description in _TAGS.items()],
        "paths": {**_conversion_paths(), **_stored_paths(), **_service_paths()},
        "components": {
            "schemas": {**_option_schemas(limits), **_request_schemas(), **_answer_schemas()},
            "parameters": {**_option_parameters(), **_path_parameters(limits)},
            "headers": _headers(),
            "responses": _responses(),
        },
    }
    samples = examples(origin)
    for operations in contract["paths"].values():
        for operation in operations.values():
            operation["x-codeSamples"] = [
                {
                    "lang": language,
                    "label": example.title,
                    "source": source,
                    "output": example.output,
                }
                for example in samples.get(operation["operationId"], ())
                for language, source in example.sources.items()
            ]
    return contract


def dereferenced(contract: _Schema) -> _Schema:
    """Return `paths` of an OpenAPI document of this module, with each reference replaced by its
    target."""

    def resolve(node: Any) -> Any:
        if isinstance(node, list):
            return [resolve(each) for each in node]
        if not isinstance(node, dict):
            return node
        resolved = {name: resolve(each) for name, each in node.items() if name != "$ref"}
        if "$ref" not in node:
            return resolved
        _, components, kind, name = node["$ref"].split("/")
        return {**resolve(contract[components][kind][name]), **resolved}

    paths: _Schema = resolve(contract["paths"])
    return paths


def _conversion_paths() -> _Schema:
    options = [_ref("parameters", name) for name in OPTIONS]
    return {
        "/": {
            "get": _operation(
                "Get the page (browsers) or the usage text (other clients)",
                "front",
                {
                    "200": _text_or_page(
                        "The page for a browser, recognised by Accept or User-Agent; otherwise the"
                        " usage text."
                    )
                },
                tag=_SERVICE,
            ),
            "post": _operation(
                "Convert an image",
                "convert",
                {**_CONVERSION_ANSWERS, "303": _ref("responses", "SeeArt")},
                parameters=options,
                body={
                    "application/json": {
                        "schema": _ref("schemas", "JsonRequest"),
                        "example": {"width": 8, "image": HEART},
                    },
                    "application/octet-stream": {"schema": _ref("schemas", "Image")},
                    "multipart/form-data": {"schema": _ref("schemas", "FormRequest")},
                },
                tag=_CONVERT,
            ),
            "put": _raw_upload("convertRaw", options),
        },
        "/{name}": {"put": _raw_upload("convertNamed", [_ref("parameters", "FileName"), *options])},
        "/image/{capability}": {
            "post": _operation(
                "Convert an image that was uploaded before",
                "convertStoredImage",
                {
                    "200": _ref("responses", "Art"),
                    "400": _ref("responses", "InvalidOption"),
                    "404": _ref("responses", "ImageNotFound"),
                    "405": _ref("responses", "NoCapability"),
                    "406": _ref("responses", "Undrawable"),
                    "503": _ref("responses", "Unavailable"),
                    "504": _ref("responses", "NotReadyInTime"),
                },
                parameters=[_ref("parameters", "Capability"), *options],
                tag=_STORED,
            ),
            "delete": _operation(
                "Delete an image and all its art",
                "deleteImage",
                {
                    "204": {"description": "Neither is stored any more."},
                    "404": _ref("responses", "ImageNotFound"),
                    "405": _ref("responses", "NoCapability"),
                    "503": _ref("responses", "Unavailable"),
                    "504": _ref("responses", "NotReadyInTime"),
                },
                parameters=[_ref("parameters", "Capability")],
                tag=_STORED,
            ),
        },
    }


def _stored_paths() -> _Schema:
    answers = {
        "200": _ref("responses", "StoredArt"),
        "304": _ref("responses", "NotModified"),
        "400": _ref("responses", "InvalidUrl"),
        "404": _ref("responses", "ArtNotFound"),
        "406": _ref("responses", "Undrawable"),
        "503": _ref("responses", "Unavailable"),
    }
    file_answers = answers | {"200": _ref("responses", "StoredFile")}
    moved = {"301": _ref("responses", "Misspelled")}
    shared_answers, shared_file_answers = answers | moved, file_answers | moved
    sharing_answers = {
        "201": _ref("responses", "ShortLink"),
        "303": _ref("responses", "SeeArt"),
        "405": _ref("responses", "NoName"),
        **{status: answers[status] for status in ("400", "404", "503")},
        "504": _ref("responses", "NotReadyInTime"),
    }
    name, variant, width, suffix, code = (
        _ref("parameters", parameter)
        for parameter in ("ArtName", "Variant", "WidthInPath", "Suffix", "Code")
    )
    return {
        "/{code}": {
            "get": _operation(
                "Get shared art", "sharedArt", shared_answers, parameters=[code], tag=_STORED
            )
        },
        "/{code}.{suffix}": {
            "get": _operation(
                "Get a file of shared art",
                "sharedFile",
                shared_file_answers,
                parameters=[code, suffix],
                tag=_STORED,
            )
        },
        "/{name}/width/{width}": {
            "get": _operation(
                "Get stored art", "storedArt", answers, parameters=[name, width], tag=_STORED
            ),
            "post": _operation(
                "Get a short link to art",
                "shortLink",
                sharing_answers,
                parameters=[name, width],
                tag=_STORED,
            ),
        },
        "/{name}/style/{variant}/width/{width}": {
            "get": _operation(
                "Get stored art with non-default options",
                "storedArtOfVariant",
                answers,
                parameters=[name, variant, width],
                tag=_STORED,
            ),
            "post": _operation(
                "Get a short link to art with non-default options",
                "shortLinkOfVariant",
                sharing_answers,
                parameters=[name, variant, width],
                tag=_STORED,
            ),
        },
        "/{name}/width/{width}.{suffix}": {
            "get": _operation(
                "Get a file of stored art",
                "storedFile",
                file_answers,
                parameters=[name, width, suffix],
                tag=_STORED,
            )
        },
        "/{name}/style/{variant}/width/{width}.{suffix}": {
            "get": _operation(
                "Get a file of stored art with non-default options",
                "storedFileOfVariant",
                file_answers,
                parameters=[name, variant, width, suffix],
                tag=_STORED,
            )
        },
    }


def _service_paths() -> _Schema:
    openapi = {
        "description": "OpenAPI 3.1.",
        "content": {"application/json": {"schema": {"type": "object"}}},
    }
    alive = "Check that the process is alive; its dependencies are not checked"
    ready = "Check that the process can answer requests"
    return {
        "/healthz": {
            "get": _operation(
                alive,
                "health",
                {"200": _text("Alive."), "503": _text("Not healthy.")},
                tag=_SERVICE,
            )
        },
        "/readyz": {
            "get": _operation(
                ready,
                "readiness",
                {"200": _text("Ready."), "503": _text("Not ready.")},
                tag=_SERVICE,
            )
        },
        "/openapi.json": {
            "get": _operation("Get this document", "openapi", {"200": openapi}, tag=_SERVICE)
        },
        "/docs": {
            "get": _operation(
                "Get this document as a page",
                "docs",
                {"200": _of_form("text/html", "The page.")},
                tag=_SERVICE,
            )
        },
    }


def _option_schemas(limits: Limits) -> _Schema:
    """Return the schema of each option. An option required in JSON may have a default elsewhere."""
    return {
        option.name: option.schema(limits, with_default=not option.required_in_json)
        for option in OPTIONS.values()
    }


def _option_parameters() -> _Schema:
    return {
        option.name: {
            "name": option.name,
            "in": "query",
            "schema": (
                _ref("schemas", option.name)
                | ({"default": option.default} if option.required_in_json else {})
            ),
            "description": option.description,
        }
        for option in OPTIONS.values()
    }


def _path_parameters(limits: Limits) -> _Schema:
    variant = {"type": "string", "pattern": f"^{VARIANT_PATTERN}$", "maxLength": 255}
    art_name = {"type": "string", "pattern": f"^{NAME_PATTERN}$"}
    capability = {"type": "string", "pattern": f"^{CAPABILITY_PATTERN}$"}
    any_name = {"type": "string", "minLength": 1}
    width = OPTIONS["width"]
    return {
        "Code": _path(
            "code",
            {"type": "string", "pattern": f"^{CODE_PATTERN}$"},
            "Code of a short link. Capitals, missing hyphens, and the letters O, I and L for digits"
            " lead to the right one.",
        ),
        "ArtName": _path(
            "name", art_name, "Name of this art, as in Content-Location. Nobody can guess it."
        ),
        "Capability": _path(
            "capability",
            capability,
            "Given to whoever uploaded the image, in Link (rel=edit). It expires.",
        ),
        "FileName": _path("name", any_name, "Any name, such as `curl -T` sends. It is ignored."),
        "Variant": _path(
            "variant", variant, "All options except the width, as in Content-Location."
        ),
        "WidthInPath": _path("width", width.schema(limits, with_default=False), width.description),
        "Suffix": _path(
            "suffix",
            {"enum": list(FORMS)},
            " ".join(f"`{form.suffix}`: {form.description}" for form in FORMS.values()),
        ),
    }


def _request_schemas() -> _Schema:
    options = {
        name: _ref("schemas", name) | {"description": option.description}
        for name, option in OPTIONS.items()
    }
    required = [option.name for option in OPTIONS.values() if option.required_in_json]
    base64 = {"type": "string", "contentEncoding": "base64"}
    return {
        "Image": _RAW,
        "JsonRequest": {
            "type": "object",
            "required": ["image", *required],
            "properties": {"image": base64, **options},
            "additionalProperties": False,
        },
        "FormRequest": {
            "type": "object",
            "required": ["image"],
            "properties": {"image": _ref("schemas", "Image"), **options},
            "additionalProperties": False,
        },
    }


def _answer_schemas() -> _Schema:
    required = {
        "url": {"type": "string", "format": "uri", "description": "Permanent URL of the art."},
        "columns": {"type": "integer", "minimum": 1, "description": "Characters in each row."},
        "rows": {"type": "integer", "minimum": 1, "description": "Rows of the art."},
        "style": {"enum": list(STYLES), "description": "Style in which the art is drawn."},
        "stored": {
            "type": "boolean",
            "description": "True if the art was stored already, so that nothing was converted.",
        },
        "art": {
            "type": "string",
            "description": "The art: rows joined by newlines, or an HTML document with color=html.",
        },
    }
    invert = {"type": "boolean", "description": _CHOSEN_INVERT}
    count = {"type": "integer", "minimum": 0}
    of_animation = {
        "plays": (
            count
            | {
                "description": (
                    "Times that the frames of an animation are shown; 0 for endless repetition."
                )
            }
        ),
        "shown_frames": (
            count | {"description": "Frames of the image that the art shows, from the first."}
        ),
        "image_frames": count | {"description": "Frames of the image."},
        "frames": {
            "type": "array",
            "minItems": 1,
            "items": _ref("schemas", "Frame"),
            "description": (
                "The frames of an animation, unless it is an HTML document. `art` is the first one."
            ),
        },
    }
    return {
        "Frame": {
            "type": "object",
            "required": ["milliseconds", "art"],
            "properties": {
                "milliseconds": {
                    "type": "integer",
                    "minimum": 1,
                    "description": "Time for which the frame is shown.",
                },
                "art": {
                    "type": "string",
                    "description": "The frame, like the art of a still image.",
                },
            },
            "additionalProperties": False,
        },
        "Art": {
            "type": "object",
            "required": list(required),
            "properties": required | {"invert": invert} | of_animation,
            "additionalProperties": False,
        },
        "ShortLink": {
            "type": "object",
            "required": ["url"],
            "properties": {"url": {"type": "string", "description": "URL of the short link."}},
        },
        "Error": {
            "type": "object",
            "required": ["error"],
            "properties": {
                "error": {"type": "string", "description": "What is wrong, and what to do."}
            },
            "additionalProperties": False,
        },
    }


def _headers() -> _Schema:
    text = {"schema": {"type": "string"}}
    return {
        "ETag": text | {"description": "Strong validator of the answer."},
        "Cache-Control": text | {"description": "How long, and by whom, the answer may be kept."},
        "Content-Location": text | {"description": "Path of the permanent URL of the art."},
        "Cache-Status": (
            text
            | {
                "description": (
                    "Source of the art (RFC 9211): stored, converted, or shared with another"
                    " request."
                )
            }
        ),
        "Link": (
            text
            | {
                "description": (
                    "With rel=edit: path that converts the image again (POST) and deletes it"
                    " (DELETE)."
                )
            }
        ),
        INVERT: {"schema": {"enum": ["true", "false"]}, "description": _CHOSEN_INVERT},
        "Retry-After": {
            "schema": {"type": "integer"},
            "description": "Seconds after which to retry.",
        },
    }


def _responses() -> _Schema:
    return {
        "Art": _art_answer(
            "The art. Content-Location holds its permanent URL. Link holds, with rel=edit, a URL"
            " that converts the image again (POST) and deletes it (DELETE). It is for whoever"
            " uploaded the image.",
            "Link",
        ),
        "StoredArt": _art_answer("The art."),
        "StoredFile": _art_answer("The art in the form that the suffix names."),
        "ShortLink": {
            "description": "The URL of the short link, which shows the same as the long one.",
            "content": {
                "text/plain": {"schema": {"type": "string"}},
                "application/json": {"schema": _ref("schemas", "ShortLink")},
            },
            "headers": {
                "Location": {
                    "schema": {"type": "string"},
                    "description": "The path of the short link.",
                }
            },
        },
        "SeeArt": _text("Redirect of a browser, after its form, to the art."),
        "Misspelled": _text("Redirect to the right spelling of the code."),
        "NotModified": {
            "description": "Not modified: the client's copy (If-None-Match) is current."
        },
        "InvalidUpload": _error(
            "The request cannot be processed: no image, no width, unsupported format, damaged"
            " image, too many pixels, or an unknown or invalid option.",
            example="no width provided",
        ),
        "InvalidOption": _error(
            "An option is unknown or has an invalid value, or the image is damaged."
        ),
        "InvalidUrl": _error(
            "An option in the URL has an invalid value, or the URL of a file has a query."
        ),
        "ImageNotFound": _error(
            "The image is not stored, or the capability is not valid or has expired. Upload the"
            " image."
        ),
        "ArtNotFound": _error("The art is not stored."),
        "NoName": _error("The path does not contain a name of art."),
        "NoCapability": _error("The path does not contain a capability."),
        "Undrawable": _error(
            "No picture of the art can be drawn: the font lacks one of its characters, or it is too"
            " large for an SVG."
        ),
        "SlowUpload": _error("The request body did not arrive in time."),
        "TooLarge": _error("The image exceeds the byte limit."),
        "Compressed": _error("The request body is compressed."),
        "Unavailable": _error(
            "Overloaded or read-only, or a dependency is unavailable. Retry after Retry-After"
            " seconds.",
            retry=True,
        ),
        "NotReadyInTime": _error("The answer was not ready in time."),
    }


def _raw_upload(operation_id: str, parameters: list[_Schema]) -> _Schema:
    return _operation(
        "Convert an image that is sent as raw bytes",
        operation_id,
        _CONVERSION_ANSWERS,
        parameters=parameters,
        body={"application/octet-stream": {"schema": _ref("schemas", "Image")}},
        tag=_CONVERT,
    )


def _operation(
    summary: str,
    operation_id: str,
    responses: _Schema,
    *,
    parameters: list[_Schema] | None = None,
    body: _Schema | None = None,
    tag: str,
) -> _Schema:
    operation: _Schema = {
        "tags": [tag],
        "summary": summary,
        "operationId": operation_id,
        "responses": responses,
    }
    if parameters:
        operation["parameters"] = parameters
    if body:
        operation["requestBody"] = {"required": True, "content": body}
    return operation


def _path(name: str, schema: _Schema, description: str) -> _Schema:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "schema": schema,
        "description": description,
    }


def _text(description: str) -> _Schema:
    return _of_form("text/plain", description)


def _of_form(form: str, description: str) -> _Schema:
    return {"description": description, "content": {form: {"schema": {"type": "string"}}}}


def _text_or_page(description: str) -> _Schema:
    content = {form: {"schema": {"type": "string"}} for form in ("text/plain", "text/html")}
    return {"description": description, "content": content}


def _art_answer(description: str, *more_headers: str) -> _Schema:
    answer = _text_or_page(description)
    example = {
        "url": f"https://art.example/{ART_NAME}/width/8",
        "columns": 8,
        "rows": 4,
        "style": "structure",
        "stored": False,
        "art": SMALL,
    }
    answer["content"]["application/json"] = {"schema": _ref("schemas", "Art"), "example": example}
    answer["content"] |= {
        form: {"schema": {"type": "string", "contentMediaType": form}} for form in _PICTURES
    }
    names = ("ETag", "Cache-Control", "Content-Location", "Cache-Status", *more_headers, INVERT)
    answer["headers"] = {name: _ref("headers", name) for name in names}
    return answer


def _error(description: str, *, example: str = "", retry: bool = False) -> _Schema:
    answer = _text_or_page(description)
    answer["content"]["application/json"] = {"schema": _ref("schemas", "Error")}
    if example:
        answer["content"]["application/json"]["example"] = {"error": example}
    if retry:
        answer["headers"] = {"Retry-After": _ref("headers", "Retry-After")}
    return answer


def _ref(kind: str, name: str) -> _Schema:
    """Return a reference to a component."""
    return {"$ref": f"#/components/{kind}/{name}"}


_CONVERSION_ANSWERS: Final = {
    "200": _ref("responses", "Art"),
    "400": _ref("responses", "InvalidUpload"),
    "406": _ref("responses", "Undrawable"),
    "408": _ref("responses", "SlowUpload"),
    "413": _ref("responses", "TooLarge"),
    "415": _ref("responses", "Compressed"),
    "503": _ref("responses", "Unavailable"),
    "504": _ref("responses", "NotReadyInTime"),
}
