"""CloudFormation custom resource that creates, updates and deletes one object in Datadog.

The properties of a resource are the `Kind` of its object and its `Definition`, the JSON body for
Datadog's API. The physical id of the resource is the id that Datadog returns, so CloudFormation
manages state, rollback and deletion. It answers every event, even after an error, because
CloudFormation waits for the answer.

This file is deployed alone and uses only modules of Lambda's runtime.
"""

import json
import os
import re
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any, Protocol

import boto3

_CALL_SECONDS = 30
"""Maximum seconds for a call, from looking up the host to the last byte of its answer."""
# Datadog repeats the definition of an object; the largest, the dashboard, is 50 kB
_MAX_ANSWER_BYTES = 2_000_000
"""Maximum size of an answer."""
_RETRIED_STATUSES = {408, 429, 500, 502, 503, 504}
_MAX_PAUSE_SECONDS = 30
_INTRODUCTION_SECONDS = 15
"""Pause before sending the settings of an unknown metric again."""
_RESERVED_SECONDS = 20
"""Part of the function's time reserved for answering CloudFormation."""
_MAX_REASON_CHARACTERS = 1000  # CloudFormation accepts answers of up to 4096 bytes

_NOT_CREATED = "nothing"
"""Physical id of an object that was never created."""


class DatadogError(Exception):
    """Datadog rejected a call or could not be reached; the message quotes its answer, without
    keys."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Makes a redirect an error: urllib would send the keys to the redirect's target."""

    def redirect_request(self, *arguments: Any) -> None:
        del arguments


def _opener() -> urllib.request.OpenerDirector:
    """Return an opener that verifies certificates, follows no redirect and uses no proxy."""
    tls = urllib.request.HTTPSHandler(context=ssl.create_default_context())
    return urllib.request.build_opener(_NoRedirects, urllib.request.ProxyHandler({}), tls)


@dataclass(frozen=True, kw_only=True)
class Datadog:
    """Datadog's API, with the keys of an account.

    After `give_up`, a time of the monotonic clock, failed calls are not retried.
    """

    address: str
    give_up: float
    api_key: str = field(repr=False)
    app_key: str = field(repr=False)
    opener: urllib.request.OpenerDirector = field(default_factory=_opener)

    def call(self, method: str, path: str, body: str | None = None) -> Any:
        """Call the API, with retries while Datadog is busy or unavailable. Raises DatadogError."""
        pause = 1
        while True:
            try:
                return self._call_once(method, path, body)
            except DatadogError as error:
                if error.status not in _RETRIED_STATUSES or time.monotonic() + pause > self.give_up:
                    raise
                print(f"{error}; retrying in {pause} s")
            time.sleep(pause)
            pause = min(2 * pause, _MAX_PAUSE_SECONDS)

    def _call_once(self, method: str, path: str, body: str | None) -> Any:
        request = urllib.request.Request(  # noqa: S310 - the URL is set by the stack
            f"{self.address}{path}",
            method=method,
            data=body.encode() if body else None,
            headers={
                "Content-Type": "application/json",
                "DD-API-KEY": self.api_key,
                "DD-APPLICATION-KEY": self.app_key,
            },
        )
        try:
            status, answer = _within(
                min(_CALL_SECONDS, max(1, self.give_up - time.monotonic())),
                lambda: self._send(request),
            )
        except (OSError, HTTPException) as error:
            # OSError includes TimeoutError and the errors of TLS
            raise self._error(f"Datadog does not answer {method} {path}: {error}", 503) from None
        if not 200 <= status < 300:
            details = answer.decode(errors="replace").strip()
            raise self._error(f"Datadog answers {status} to {method} {path}: {details}", status)
        if len(answer) > _MAX_ANSWER_BYTES:
            raise self._error(
                f"Datadog answers {method} {path} with more than {_MAX_ANSWER_BYTES} bytes", None
            )
        return json.loads(answer) if answer.strip() else None

    def _send(self, request: urllib.request.Request) -> tuple[int, bytes]:
        """Return the status of the answer, and its body up to the limit plus one byte. Raises
        OSError or HTTPException."""
        try:
            with self.opener.open(request, timeout=_CALL_SECONDS) as answer:
                return answer.status, answer.read(_MAX_ANSWER_BYTES + 1)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read(_MAX_ANSWER_BYTES + 1)

    def _error(self, message: str, status: int | None) -> DatadogError:
        # Redact the keys before truncating the text, which could leave a part of a key.
        text = message.replace(self.app_key, "…").replace(self.api_key, "…")
        return DatadogError(text[:_MAX_REASON_CHARACTERS], status)


def _within(seconds: float, function: Callable[[], tuple[int, bytes]]) -> tuple[int, bytes]:
    """Return the result of `function`, or raise its error. Raises TimeoutError if it takes too
    long.

    A socket's timeout limits each of its calls, and an answer may arrive in any number of pieces.
    """
    outcome: Future[tuple[int, bytes]] = Future()

    def run() -> None:
        try:
            outcome.set_result(function())
        except Exception as error:  # noqa: BLE001 - raised by the caller
            outcome.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        return outcome.result(seconds)
    except TimeoutError as error:
        raise TimeoutError(str(error) or f"no complete answer within {seconds:.0f} s") from None


class Kind(Protocol):
    """Operations on the objects of one kind. All raise DatadogError."""

    def create(self, datadog: Datadog, definition: str) -> str:
        """Create an object; returns its id."""

    def update(self, datadog: Datadog, object_id: str, definition: str) -> str:
        """Update an object; returns its id, or a new id if the object was deleted by hand."""

    def delete(self, datadog: Datadog, object_id: str) -> None:
        """Delete an object, or do nothing if it does not exist."""


@dataclass(frozen=True, kw_only=True)
class _Objects:
    """Objects with an id chosen by Datadog: POST to `path` creates one, addressed by `path`/ID."""

    path: str
    id_of: Callable[[Any], object]
    """Extracts the id from the answer to a creation."""
    delete_query: str = ""

    def create(self, datadog: Datadog, definition: str) -> str:
        return str(self.id_of(datadog.call("POST", self.path, definition)))

    def update(self, datadog: Datadog, object_id: str, definition: str) -> str:
        try:
            datadog.call("PUT", f"{self.path}/{object_id}", definition)
        except DatadogError as error:
            if error.status != 404:
                raise
            return self.create(datadog, definition)
        return object_id

    def delete(self, datadog: Datadog, object_id: str) -> None:
        _delete(datadog, f"{self.path}/{object_id}{self.delete_query}")


class _MetricConfigurations:
    """Settings of a metric; their id is the metric's name. All deployments in an account share
    them."""

    def create(self, datadog: Datadog, definition: str) -> str:
        name: str = json.loads(definition)["data"]["id"]
        introduced = False
        while True:
            try:
                self._configure(datadog, f"/api/v2/metrics/{name}/tags", definition)
            except DatadogError as error:
                # Datadog configures only metrics with a value, and a new deployment has sent none.
                unknown = error.status == 400 and "does not exist" in str(error)
                if not unknown or time.monotonic() + _INTRODUCTION_SECONDS > datadog.give_up:
                    raise
            else:
                return name
            if not introduced:
                self._introduce(datadog, name)
                introduced = True
            time.sleep(_INTRODUCTION_SECONDS)

    def update(self, datadog: Datadog, object_id: str, definition: str) -> str:
        # If the metric is another one, its name is a new id, and CloudFormation deletes the old
        # object.
        del object_id
        return self.create(datadog, definition)

    def delete(self, datadog: Datadog, object_id: str) -> None:
        _delete(datadog, f"/api/v2/metrics/{object_id}/tags")

    def _configure(self, datadog: Datadog, path: str, definition: str) -> None:
        try:
            datadog.call("POST", path, definition)
        except DatadogError as error:
            if error.status != 409:
                raise
            change = json.loads(definition)
            del change["data"]["attributes"]["metric_type"]  # it cannot be changed
            datadog.call("PATCH", path, json.dumps(change))

    def _introduce(self, datadog: Datadog, name: str) -> None:
        """Send one value, with a tag outside all queries of a deployment."""
        series = {
            "metric": name,
            "points": [[int(time.time()), [0]]],
            "type": "distribution",
            "tags": ["env:none"],
        }
        datadog.call("POST", "/api/v1/distribution_points", json.dumps({"series": [series]}))


def _delete(datadog: Datadog, path: str) -> None:
    try:
        datadog.call("DELETE", path)
    except DatadogError as error:
        if error.status != 404:  # it does not exist, which is the goal
            raise


_KINDS: Mapping[str, Kind] = {
    "dashboard": _Objects(path="/api/v1/dashboard", id_of=lambda answer: answer["id"]),
    # With force, because somebody may use the monitor in a composite of their own, or the objective
    # on a dashboard.
    "monitor": _Objects(
        path="/api/v1/monitor", id_of=lambda answer: answer["id"], delete_query="?force=true"
    ),
    "slo": _Objects(
        path="/api/v1/slo", id_of=lambda answer: answer["data"][0]["id"], delete_query="?force=true"
    ),
    "metric": _MetricConfigurations(),
}


def handler(event: Mapping[str, Any], context: Any) -> None:
    """Entry point of the function: apply an event from CloudFormation and send it the outcome."""
    answer = {
        "Status": "SUCCESS",
        "PhysicalResourceId": event.get("PhysicalResourceId", _NOT_CREATED),
    }
    try:
        give_up = (
            time.monotonic() + context.get_remaining_time_in_millis() / 1000 - _RESERVED_SECONDS
        )
        answer["PhysicalResourceId"] = _apply(event, give_up)
    except Exception as error:  # noqa: BLE001 - CloudFormation waits for an answer after any error
        answer |= {"Status": "FAILED", "Reason": _reason(error)}
        print(f"{event['RequestType']} {event['LogicalResourceId']}: {answer['Reason']}")
    _answer(event, answer)


def _apply(event: Mapping[str, Any], give_up: float) -> str:
    """Create, update or delete the object; returns its id."""
    object_id: str = event.get("PhysicalResourceId", _NOT_CREATED)
    kind = _KINDS[event["ResourceProperties"]["Kind"]]
    definition: str = event["ResourceProperties"]["Definition"]
    if event["RequestType"] == "Delete" and object_id == _NOT_CREATED:
        return object_id
    datadog = Datadog(
        address=os.environ["DATADOG_API"],
        api_key=_secret(os.environ["DD_API_KEY_SECRET_ARN"]),
        app_key=_secret(os.environ["DD_APP_KEY_SECRET_ARN"]),
        give_up=give_up,
    )
    match event["RequestType"]:
        case "Create":
            return kind.create(datadog, definition)
        case "Update":
            return kind.update(datadog, object_id, definition)
        case "Delete":
            kind.delete(datadog, object_id)
            return object_id
    raise ValueError(f"unknown request type {event['RequestType']!r}")


def _secret(arn: str) -> str:
    key: str = boto3.client("secretsmanager").get_secret_value(SecretId=arn)["SecretString"].strip()
    if not re.fullmatch(r"[\w-]+", key, re.ASCII):
        raise ValueError(f"secret {arn} must contain only the key, as plain text")
    return key


def _reason(error: Exception) -> str:
    """The error in one line."""
    text = str(error) if isinstance(error, DatadogError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:_MAX_REASON_CHARACTERS]


def _answer(event: Mapping[str, Any], answer: Mapping[str, str]) -> None:
    body = {
        **answer,
        **{name: event[name] for name in ("StackId", "RequestId", "LogicalResourceId")},
    }
    request = urllib.request.Request(  # noqa: S310 - the URL is CloudFormation's
        event["ResponseURL"],
        method="PUT",
        data=json.dumps(body).encode(),
        headers={"Content-Type": ""},  # the URL is signed for requests without a content type
    )
    for last in (False, False, True):
        try:
            _opener().open(request, timeout=_CALL_SECONDS).close()
        except OSError:
            if last:
                raise
            time.sleep(1)
        else:
            return
