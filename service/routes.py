"""The routes. Each function parses the request, calls the Requester and renders the answer."""

from collections.abc import Callable

from flask import Blueprint, Response, jsonify, request

from asciist.options import DEFAULT_STYLE
from asciist.protocol.links import Links
from asciist.protocol.ports import Metrics
from asciist.protocol.requester import Requester
from asciist.settings import Settings
from asciist.telemetry import logs
from . import answers
from .admission import Admission, ReadPlaces
from .hot_answers import SharedCounter
from .parsing import options_from_text, parse_upload
from .request_log import trace_of
from .sharing import SharedLinks
from .uploads import Uploads


def blueprint(
    *,
    settings: Settings,
    requester: Requester,
    metrics: Metrics,
    admission: Admission,
    reads: ReadPlaces,
    uploads: Uploads,
    links: Links,
    deletions: SharedCounter,
    is_healthy: Callable[[], bool],
    is_ready: Callable[[], bool],
    readiness: Callable[[], str],
) -> Blueprint:
    """Return all routes of the service."""
    routes = Blueprint("asciist", __name__)
    limits = settings.limits
    shared = SharedLinks(requester, links, limits)
    _add_routes_of_links(routes, shared, reads)
    _add_documentation(routes, reads)

    @routes.post("/")
    @routes.put("/")
    @routes.put("/<name:name>")
    def convert(name: str = "") -> Response:
        request = answers.current_request()
        with uploads.receive(request), admission.admit():  # a slow client holds no slot
            upload = parse_upload(request, limits, metrics)
            logs.add(style=upload.options.style, width=upload.options.width)
            served = requester.convert(upload.image, upload.options, trace_of(request.environ))
        if answers.is_submitted_form():
            return answers.redirection(shared.shortest_path(served))
        return answers.art_answer(
            served, path=shared.long_path(served), image_path=links.image_path(served.digest)
        )

    @routes.post("/image/<capability:capability>")
    def convert_stored_image(capability: str) -> Response:
        digest = links.digest_of_image(capability)
        options = options_from_text(request.args, limits)
        logs.add(style=options.style, width=options.width)
        with admission.admit():
            served = requester.convert_stored_image(digest, options, trace_of(request.environ))
        return answers.art_answer(served, path=shared.long_path(served), image_path=request.path)

    @routes.delete("/image/<capability:capability>")
    def delete_image(capability: str) -> Response:
        requester.delete(links.digest_of_image(capability))
        deletions.increment()  # every process drops its cached answers
        return answers.deletion_answer()

    @routes.get("/")
    def front_page() -> Response:
        return answers.front_page()

    @routes.get("/healthz")
    def liveness() -> Response:
        return (
            answers.health_answer(200, "ok")
            if is_healthy()
            else answers.health_answer(503, "not healthy")
        )

    @routes.get("/readyz", endpoint="readiness")
    def ready() -> Response:
        return answers.health_answer(*((200, readiness()) if is_ready() else (503, "not ready")))

    return routes


def _add_documentation(routes: Blueprint, reads: ReadPlaces) -> None:
    """Add the routes of the description of this API."""

    @routes.get("/openapi.json")
    def openapi() -> Response:
        with reads.take():
            return jsonify(answers.contract())

    @routes.get("/docs")
    def docs() -> Response:
        with reads.take():
            return answers.docs_page()


def _add_routes_of_links(routes: Blueprint, shared: SharedLinks, reads: ReadPlaces) -> None:
    """Add the routes that show stored art by its links, and that create short links."""

    @routes.get("/<link:name>/width/<width>")
    @routes.get("/<link:name>/width/<columns:width>.<suffix:suffix>")
    @routes.get("/<link:name>/style/<variant>/width/<width>")
    @routes.get("/<link:name>/style/<variant>/width/<columns:width>.<suffix:suffix>")
    def stored_art(
        name: str, width: str, variant: str = DEFAULT_STYLE, suffix: str = ""
    ) -> Response:
        # Sites on which a link is shared add parameters to it. Whoever asks for a file with options
        # expects them to count.
        served = shared.art(name, variant, width, query=request.args if suffix else ())
        return answers.stored_answer(served, path=shared.long_path(served), suffix=suffix)

    @routes.post("/<link:name>/width/<width>")
    @routes.post("/<link:name>/style/<variant>/width/<width>")
    def share(name: str, width: str, variant: str = DEFAULT_STYLE) -> Response:
        with reads.take():
            return answers.short_link(shared.code(shared.art(name, variant, width)))

    @routes.get("/<code:code>")
    @routes.get("/<code:code>.<suffix:suffix>")
    def shared_art(code: str, suffix: str = "") -> Response:
        served = shared.art_of_code(code, query=request.args if suffix else ())
        return answers.stored_answer(served, path=f"/{code}", suffix=suffix)

    # Tried after all other routes, which may have names of this form.
    @routes.get("/<spelling:code>")
    @routes.get("/<spelling:code>.<suffix:suffix>")
    def misspelled_code(code: str, suffix: str = "") -> Response:
        return answers.redirection(f"/{code}.{suffix}" if suffix else f"/{code}", is_permanent=True)
