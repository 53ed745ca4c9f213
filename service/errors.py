"""HTTP statuses of errors: the table, and the handlers that apply it."""

import logging
from typing import Final

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, SecurityError

from asciist.errors import (
    ArtifactNotFoundError,
    AsciistError,
    DeadlineExceededError,
    OverloadedError,
    ReadOnlyError,
    RejectedError,
    SlowUploadError,
    TooManyBytesError,
    UnavailableError,
    UndrawableArtError,
    UnsupportedEncodingError,
    sentences,
)
from asciist.telemetry import logs
from . import headers
from .admission import Admission
from .answers import error_answer

_log = logging.getLogger(__name__)

STATUSES: Final[dict[type[AsciistError], int]] = {
    RejectedError: 400,
    ArtifactNotFoundError: 404,
    UndrawableArtError: 406,
    SlowUploadError: 408,
    TooManyBytesError: 413,
    UnsupportedEncodingError: 415,
    OverloadedError: 503,
    ReadOnlyError: 503,
    UnavailableError: 503,
    DeadlineExceededError: 504,
}
"""Status of each error class (see `status_of`)."""

_HTTP_SENTENCES: Final = {
    400: sentences.MALFORMED_REQUEST,
    404: sentences.NOT_FOUND,
    405: sentences.METHOD_NOT_ALLOWED,
    413: sentences.REQUEST_TOO_LARGE,
}
"""Sentences for errors raised by Flask and werkzeug, by status. Other statuses have their standard
name, in lower case."""


def status_of(error: AsciistError) -> int:
    """Return the HTTP status of an error: the status of its class or of the nearest listed base,
    else 500."""
    return next((STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES), 500)


def _answer_read_only(error: ReadOnlyError) -> Response:
    logs.add(error=error.public_message)
    response = error_answer(STATUSES[ReadOnlyError], error.public_message)
    headers.for_read_only(response)
    return response


def register(app: Flask, admission: Admission) -> None:
    """Make `app` answer every error in the form that the client prefers. Internal details are only
    logged.

    `admission` counts requests refused for lack of capacity. The log does not record these, or
    refusals in read-only mode, as errors.
    """
    app.register_error_handler(ReadOnlyError, _answer_read_only)

    @app.errorhandler(AsciistError)
    def answer_own_error(error: AsciistError) -> Response:
        status = status_of(error)
        if isinstance(error, OverloadedError):
            admission.count_refused()
        elif status >= 500:
            # its traceback would only show where the request waited
            is_late = isinstance(error, DeadlineExceededError)
            _log.error("%s", error, exc_info=None if is_late else error)
        logs.add(error=error.public_message)
        return error_answer(
            status, error.public_message if status != 500 else sentences.INTERNAL_ERROR
        )

    @app.errorhandler(SecurityError)
    def answer_untrusted_host(_error: SecurityError) -> Response:
        request.host = ""  # which the page would contain
        return error_answer(400, sentences.UNTRUSTED_HOST)

    @app.errorhandler(HTTPException)
    def answer_http_error(error: HTTPException) -> Response:
        status = error.code or 500
        if isinstance(error, MethodNotAllowed) and request.method in ("GET", "HEAD"):
            # an unknown path, which the route of PUT matches
            return error_answer(404, sentences.NOT_FOUND)
        response = error_answer(status, _HTTP_SENTENCES.get(status, error.name.lower()))
        for name, value in error.get_headers():
            if name in ("Allow", "Location"):
                response.headers[name] = value
        return response

    @app.errorhandler(Exception)
    def answer_unexpected_error(error: Exception) -> Response:
        _log.error("unexpected error", exc_info=error)
        return error_answer(500, sentences.INTERNAL_ERROR)
