"""Which HTTP status belongs to which error: the one table, and the handlers that apply it."""

import logging
from typing import Final

from flask import Flask, Response
from werkzeug.exceptions import HTTPException

from asciist.errors import (
    ArtifactNotFoundError,
    AsciistError,
    DeadlineExceededError,
    OverloadedError,
    RejectedError,
    SlowUploadError,
    TooManyBytesError,
    UnavailableError,
    UnsupportedEncodingError,
)
from asciist.settings import Settings
from asciist.telemetry import logs
from service.answers import error_answer

_log = logging.getLogger(__name__)

STATUSES: Final[dict[type[AsciistError], int]] = {
    RejectedError: 400,
    ArtifactNotFoundError: 404,
    SlowUploadError: 408,
    TooManyBytesError: 413,
    UnsupportedEncodingError: 415,
    OverloadedError: 503,
    UnavailableError: 503,
    DeadlineExceededError: 504,
}
"""The status of each error; a class that is not here has that of its nearest base, and 500 without one."""

_HTTP_SENTENCES: Final = {
    400: "the request is not well formed",
    404: "there is nothing here: POST an image to /",
    405: "this address does not take that method",
    413: "the request is too large",
}

_RETRY_AFTER_SECONDS: Final = 2


def status_of(error: AsciistError) -> int:
    """The HTTP status for an error."""
    return next((STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES), 500)


def register(app: Flask, settings: Settings) -> None:
    """Make `app` answer every error in the form that the client reads, without a word about what is behind it."""

    @app.errorhandler(AsciistError)
    def ours(error: AsciistError) -> Response:
        status = status_of(error)
        if status >= 500:
            _log.error("%s", error, exc_info=error)
        logs.add(error=error.public_message)
        response = error_answer(status, error.public_message if status != 500 else _INTERNAL, settings)
        if status == 503:
            response.headers["Retry-After"] = str(_RETRY_AFTER_SECONDS)
        return response

    @app.errorhandler(HTTPException)
    def http(error: HTTPException) -> Response:
        status = error.code or 500
        response = error_answer(status, _HTTP_SENTENCES.get(status, error.name.lower()), settings)
        for name, value in error.get_headers():
            if name in ("Allow", "Location"):
                response.headers[name] = value
        return response

    @app.errorhandler(Exception)
    def unexpected(error: Exception) -> Response:
        _log.error("unexpected error", exc_info=error)
        return error_answer(500, _INTERNAL, settings)


_INTERNAL: Final = "something went wrong on our side"
