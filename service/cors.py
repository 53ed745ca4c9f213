"""Cross-origin resource sharing: headers that let scripts of other sites use the service.

The service has no credentials, so a script of another site learns only what it could fetch by
itself. No response has `Access-Control-Allow-Credentials`.
"""

from collections.abc import Mapping
from typing import Any, Final

from flask import Request, Response

from asciist.settings import ANY_ORIGIN, NO_ORIGIN, items_of

_NOT_SHARED: Final = frozenset({"static", "asciist.docs", "asciist.liveness", "asciist.readiness"})
"""Endpoints without these headers: scripts of other sites have no use for them."""

_EXPOSED_HEADERS: Final = (
    "Asciist-Invert, Cache-Status, Content-Location, ETag, Link, Retry-After, X-Request-Id"
)
"""Response headers readable by scripts, besides those that browsers always expose, such as
Cache-Control."""

_PREFLIGHT_MAX_AGE: Final = 86_400
"""Seconds for which a browser may cache the answer to a preflight request: Firefox's maximum.
Chromium limits it to 7200."""


class CrossOriginHeaders:
    """Adds the headers to responses. `origins` is the setting `cors_origins`."""

    def __init__(self, origins: str) -> None:
        self._any = origins == ANY_ORIGIN
        self._origins = (
            frozenset() if self._any or origins == NO_ORIGIN else frozenset(items_of(origins))
        )

    def for_every_request(self) -> dict[str, str]:
        """Return the headers that do not depend on the request; empty if only some origins are
        permitted."""
        if not self._any:
            return {}
        return {
            "Access-Control-Allow-Origin": ANY_ORIGIN,
            "Access-Control-Expose-Headers": _EXPOSED_HEADERS,
        }

    def key(self, environ: Mapping[str, Any]) -> str:
        """Return a text that differs for requests that get different headers."""
        origin = environ.get("HTTP_ORIGIN", "")
        return origin if origin in self._origins else ""

    def add(self, response: Response, request: Request) -> None:
        """Let scripts of the permitted origins read a response, including errors. Answer preflight
        requests."""
        if not (self._any or self._origins) or request.endpoint in _NOT_SHARED:
            return
        origin = request.environ.get("HTTP_ORIGIN", "")
        if not self._any:
            response.vary.add("Origin")
            if origin not in self._origins:
                return
        # Not only for requests with an Origin: a browser may later serve its cached copy of the
        # answer to a script.
        response.headers.add("Access-Control-Allow-Origin", ANY_ORIGIN if self._any else origin)
        response.headers.add("Access-Control-Expose-Headers", _EXPOSED_HEADERS)
        if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
            _answer_preflight(response, request)


def _answer_preflight(response: Response, request: Request) -> None:
    response.headers["Access-Control-Allow-Methods"] = response.headers.get("Allow", "")
    # Any header is harmless: the service ignores unknown ones.
    if names := request.headers.get("Access-Control-Request-Headers"):
        response.headers["Access-Control-Allow-Headers"] = names
    response.headers["Access-Control-Max-Age"] = str(_PREFLIGHT_MAX_AGE)
