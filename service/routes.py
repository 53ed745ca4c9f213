"""The HTTP contract, one function a row: parse, call, render."""

from collections.abc import Callable

from flask import Blueprint, Response, g, jsonify, request
from werkzeug.exceptions import NotFound

from asciist.conversion import DEFAULT_STYLE
from asciist.protocol.ports import Metrics
from asciist.protocol.request_reply import Requester
from asciist.settings import Settings
from asciist.telemetry import logs
from service.answers import Form, art_answer, chosen_form, docs_page, origin, page, usage, wants_page
from service.openapi import document
from service.parsing import address_options, body_limit, parse_upload, text_options
from service.uploads import Admission, UploadWatch


def blueprint(*, settings: Settings, requester: Requester, metrics: Metrics, is_ready: Callable[[], bool]) -> Blueprint:
    """All routes of the service."""
    routes = Blueprint("asciist", __name__)
    admission = Admission(settings, metrics)
    watch = UploadWatch(settings.timeouts)

    @routes.post("/")
    @routes.put("/")
    @routes.put("/<name:name>")
    def convert(name: str = "") -> Response:
        expected_bytes = min(request.content_length or settings.limits.max_image_bytes, body_limit(request, settings.limits))
        with admission.admit(expected_bytes):
            with watch.receiving(request.environ):
                upload = parse_upload(request, settings.limits, metrics)
            logs.add(style=upload.options.style, width=upload.options.width)
            served = requester.art(upload.image, upload.options, g.trace)
        return art_answer(served, chosen_form(request, Form.JSON if upload.is_json else Form.TEXT), settings)

    @routes.post("/<sha256:digest>/image")
    def convert_again(digest: str) -> Response:
        options = text_options(request.args, settings.limits)
        logs.add(style=options.style, width=options.width)
        with admission.admit(0):
            served = requester.art_of_stored_image(digest, options, g.trace)
        return art_answer(served, chosen_form(request, Form.TEXT), settings)

    @routes.get("/<sha256:digest>/width/<width>")
    @routes.get("/<sha256:digest>/style/<variant>/width/<width>")
    def stored_art(digest: str, width: str, variant: str = DEFAULT_STYLE) -> Response:
        options = address_options(variant, width, settings.limits)
        return art_answer(requester.stored_art(digest, options), chosen_form(request, Form.TEXT), settings)

    @routes.get("/")
    def front() -> Response:
        response = page(settings) if wants_page(request) else usage(settings)
        response.vary.update(("Accept", "User-Agent"))
        return response

    @routes.get("/healthz")
    def health() -> Response:
        return _status("ok", 200)

    @routes.get("/readyz")
    def readiness() -> Response:
        return _status("ready", 200) if is_ready() else _status("not ready", 503)

    @routes.get("/openapi.json")
    def openapi() -> Response:
        return jsonify(document(settings.limits, origin()))

    @routes.get("/docs")
    def docs() -> Response:
        return docs_page(settings)

    @routes.get("/<name:name>")
    def nothing(name: str) -> Response:
        raise NotFound  # and not 405, although PUT knows the address

    return routes


def _status(text: str, code: int) -> Response:
    response = Response(text + "\n", status=code, content_type="text/plain; charset=utf-8")
    response.headers["Cache-Control"] = "no-store"
    return response
