"""A custom resource of CloudFormation for each object in Datadog: what happens to the resource, happens to the object.

The properties of a resource are the `Kind` of its object and the `Definition`, the JSON text that Datadog's API takes. The id
that Datadog gives is the physical id of the resource, so that state, roll-back and deletion are CloudFormation's. Whatever
happens, CloudFormation gets an answer: it waits for one.

It runs alone, on what Lambda's own runtime has.
"""

import json
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any, Protocol

import boto3

_CALL_SECONDS = 30
_RETRIED = {408, 429, 500, 502, 503, 504}
_LONGEST_PAUSE_SECONDS = 30
_INTRODUCTION_SECONDS = 15
"""Between two looks whether Datadog knows a metric now."""
_SPARE_SECONDS = 20
"""Kept of the function's own time for the answer to CloudFormation."""
_REASON_CHARACTERS = 1000  # CloudFormation's answers end at 4096 bytes

_NOTHING = "nothing"
"""The id of what was never created."""


class DatadogError(Exception):
    """Datadog refused a call, or did not answer in time; the message says what it said, and no key."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, kw_only=True)
class Datadog:
    """The API, with the keys of an account and the time (of the monotonic clock) at which to give up."""

    address: str
    give_up: float
    api_key: str = field(repr=False)
    app_key: str = field(repr=False)

    def call(self, method: str, path: str, body: str | None = None) -> Any:
        """The answer to a call, tried again while Datadog is busy or ails. Raises DatadogError."""
        pause = 1
        while True:
            try:
                return self._call_once(method, path, body)
            except DatadogError as error:
                if error.status not in _RETRIED or time.monotonic() + pause > self.give_up:
                    raise
                print(f"{error}; again in {pause} s")
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    def _call_once(self, method: str, path: str, body: str | None) -> Any:
        request = urllib.request.Request(  # noqa: S310 - the address is the stack's
            f"{self.address}{path}",
            method=method,
            data=body.encode() if body else None,
            headers={"Content-Type": "application/json", "DD-API-KEY": self.api_key, "DD-APPLICATION-KEY": self.app_key},
        )
        try:
            with urllib.request.urlopen(request, timeout=_CALL_SECONDS) as answer:  # noqa: S310
                text = answer.read()
        except urllib.error.HTTPError as error:
            said = error.read(_REASON_CHARACTERS).decode(errors="replace").strip()
            said = said.replace(self.app_key, "…").replace(self.api_key, "…")
            raise DatadogError(f"Datadog answers {error.code} to {method} {path}: {said}", error.code) from None
        except (OSError, HTTPException) as error:
            raise DatadogError(f"Datadog does not answer {method} {path}: {error}", 503) from None
        return json.loads(text) if text.strip() else None


class Kind(Protocol):
    """What can be done with the objects of a kind."""

    def create(self, datadog: Datadog, definition: str) -> str:
        """Returns the id of the new object."""

    def update(self, datadog: Datadog, object_id: str, definition: str) -> str:
        """Returns the id of the object, which is another one when someone had deleted it by hand."""

    def delete(self, datadog: Datadog, object_id: str) -> None:
        """One that is gone already is fine."""


@dataclass(frozen=True, kw_only=True)
class _Objects:
    """Objects that Datadog names: one address to create them at, and one for each."""

    path: str
    id_of: Callable[[Any], object]
    """The id in the answer to a creation."""
    how_to_delete: str = ""

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
        _delete(datadog, f"{self.path}/{object_id}{self.how_to_delete}")


class _MetricConfigurations:
    """What Datadog does with the values of a metric, under the metric's name. All deployments in an account share it."""

    def create(self, datadog: Datadog, definition: str) -> str:
        name: str = json.loads(definition)["data"]["id"]
        introduced = False
        while True:
            try:
                self._configure(datadog, f"/api/v2/metrics/{name}/tags", definition)
            except DatadogError as error:
                # Datadog configures metrics that it has seen, and a new deployment has sent nothing yet.
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
        del object_id  # the definition has it; of another metric it is another object, and CloudFormation deletes this one
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
            del change["data"]["attributes"]["metric_type"]  # it never changes
            datadog.call("PATCH", path, json.dumps(change))

    def _introduce(self, datadog: Datadog, name: str) -> None:
        """Send one value, of no deployment, so that no query of one counts it."""
        series = {"metric": name, "points": [[int(time.time()), [0]]], "type": "distribution", "tags": ["env:none"]}
        datadog.call("POST", "/api/v1/distribution_points", json.dumps({"series": [series]}))


def _delete(datadog: Datadog, path: str) -> None:
    try:
        datadog.call("DELETE", path)
    except DatadogError as error:
        if error.status != 404:  # gone already, which is all that was wanted
            raise


_KINDS: Mapping[str, Kind] = {
    "dashboard": _Objects(path="/api/v1/dashboard", id_of=lambda answer: answer["id"]),
    "monitor": _Objects(path="/api/v1/monitor", id_of=lambda answer: answer["id"]),
    # By force: someone may have put it on a dashboard of their own.
    "slo": _Objects(path="/api/v1/slo", id_of=lambda answer: answer["data"][0]["id"], how_to_delete="?force=true"),
    "metric": _MetricConfigurations(),
}


def handler(event: Mapping[str, Any], context: Any) -> None:
    """What Lambda calls: do what happened to the resource, and tell CloudFormation how it went."""
    answer = {"Status": "SUCCESS", "PhysicalResourceId": event.get("PhysicalResourceId", _NOTHING)}
    try:
        give_up = time.monotonic() + context.get_remaining_time_in_millis() / 1000 - _SPARE_SECONDS
        answer["PhysicalResourceId"] = _carry_out(event, give_up)
    except Exception as error:  # noqa: BLE001 - CloudFormation waits for an answer, whatever happened
        answer |= {"Status": "FAILED", "Reason": _reason(error)}
        print(f"{event['RequestType']} {event['LogicalResourceId']}: {answer['Reason']}")
    _answer(event, answer)


def _carry_out(event: Mapping[str, Any], give_up: float) -> str:
    """Returns the id of the object."""
    object_id: str = event.get("PhysicalResourceId", _NOTHING)
    kind = _KINDS[event["ResourceProperties"]["Kind"]]
    definition: str = event["ResourceProperties"]["Definition"]
    if event["RequestType"] == "Delete" and object_id == _NOTHING:
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
    raise ValueError(f"there is no request {event['RequestType']!r}")


def _secret(arn: str) -> str:
    key: str = boto3.client("secretsmanager").get_secret_value(SecretId=arn)["SecretString"].strip()
    if not re.fullmatch(r"[\w-]+", key):
        raise ValueError(f"the secret {arn} must hold the key alone, as plain text")
    return key


def _reason(error: Exception) -> str:
    """One line that can be shown to anyone."""
    said = str(error) if isinstance(error, DatadogError) else f"{type(error).__name__}: {error}"
    return " ".join(said.split())[:_REASON_CHARACTERS]


def _answer(event: Mapping[str, Any], answer: Mapping[str, str]) -> None:
    body = {**answer, **{name: event[name] for name in ("StackId", "RequestId", "LogicalResourceId")}}
    request = urllib.request.Request(  # noqa: S310 - the address is CloudFormation's
        event["ResponseURL"],
        method="PUT",
        data=json.dumps(body).encode(),
        headers={"Content-Type": ""},  # the address is signed without one
    )
    for last in (False, False, True):
        try:
            urllib.request.urlopen(request, timeout=_CALL_SECONDS).close()  # noqa: S310
        except OSError:
            if last:
                raise
            time.sleep(1)
        else:
            return
