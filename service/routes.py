"""The routes. Each function parses the request, calls the Requester and renders the answer."""

from collections.abc import Callable

from flask import Blueprint, Response, g, jsonify, request
from werkzeug.exceptions import NotFound

from asciist.options import DEFAULT_STYLE
from asciist.protocol.ports import Metrics
from asciist.protocol.requester import Requester
from asciist.settings import Settings
from asciist.telemetry import logs
from service import answers
from service.parsing import body_limit, options_from_text, options_from_url, parse_upload
from service.uploads import Admission, UploadWatch


def blueprint(
    *,
    settings: Settings,
    requester: Requester,
    metrics: Metrics,
    is_ready: Callable[[], bool],
    store_problem: Callable[[], str],
) -> Blueprint:
    """Return all routes of the service."""
    routes = Blueprint("asciist", __name__)
    limits = settings.limits
    admission = Admission(settings, metrics)
    watch = UploadWatch(settings.timeouts)

    @routes.post("/")
    @routes.put("/")
    @routes.put("/<name:name>")
    def convert(name: str = "") -> Response:
        # A chunked body has no Content-Length: reserve the maximum.
        expected_bytes = min(request.content_length or limits.max_image_bytes, body_limit(request, limits))
        with admission.admit(expected_bytes):
            with watch.receiving(request.environ):
                upload = parse_upload(request, limits, metrics)
            logs.add(style=upload.options.style, width=upload.options.width)
            served = requester.convert(upload.image, upload.options, g.trace)
        return answers.art_answer(served)

    @routes.post("/<sha256:digest>/image")
    def convert_stored_image(digest: str) -> Response:
        options = options_from_text(request.args, limits)
        logs.add(style=options.style, width=options.width)
        with admission.admit(0):
            served = requester.convert_stored_image(digest, options, g.trace)
        return answers.art_answer(served)

    @routes.get("/<sha256:digest>/width/<width>")
    @routes.get("/<sha256:digest>/style/<variant>/width/<width>")
    def stored_art(digest: str, width: str, variant: str = DEFAULT_STYLE) -> Response:
        return answers.art_answer(requester.stored_art(digest, options_from_url(variant, width, limits)))

    @routes.get("/")
    def front_page() -> Response:
        return answers.front_page()

    @routes.get("/healthz")
    def liveness() -> Response:
        return answers.health_answer(200, "ok")

    @routes.get("/readyz")
    def readiness() -> Response:
        return answers.readiness_answer(is_ready=is_ready(), store_problem=store_problem())

    @routes.get("/openapi.json")
    def openapi() -> Response:
        return jsonify(answers.contract())

    @routes.get("/docs")
    def docs() -> Response:
        return answers.docs_page()

    @routes.get("/<name:name>")
    def not_found(name: str) -> Response:
        raise NotFound  # without this route the answer would be 405, because PUT takes any name

    return routes
