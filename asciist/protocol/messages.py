"""Messages between the tiers: conversion requests and replies, as versioned JSON.

Reading an unknown version raises MalformedMessageError. During an upgrade, the queue redelivers
such a request until a worker of the new release receives it, or until it becomes a dead letter,
which fires an alarm.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Final

from asciist.art import forms
from asciist.art.codec import decode
from asciist.errors import MalformedMessageError
from asciist.options import OPTIONS, ConversionOptions
from asciist.protocol.artifacts import digest_of_image_key, image_key

REQUEST_VERSION: Final = 2
"""Version of requests written by this release, unless an option in use needs a newer one
(`Option.version_of`).

Workers also accept version 1: during an upgrade the web tier may still run an older release.
"""
_CODED_ART_VERSION: Final = 5
"""First version of requests that are answered with coloured and animated art as
`asciist.art.codec` encodes it.

Older releases write older versions. They expect coloured art as text in the form that they
requested, and get the first frame of an animation.
"""
_REQUEST_VERSIONS_READ: Final = tuple(
    range(1, max(_CODED_ART_VERSION, *(option.newest_version for option in OPTIONS.values())) + 1)
)

REPLY_VERSION: Final = 1
"""Version of replies that this release writes and reads."""


@dataclass(frozen=True, kw_only=True)
class Trace:
    """Identifiers of a client's request for logs and tracing. They do not affect processing."""

    request_id: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Tracing headers as received from the client or from a proxy in front of the service."""


NO_TRACE: Final = Trace()


@dataclass(frozen=True, kw_only=True)
class ConversionRequest:
    """Request from the web tier to a worker: convert a stored image and send a reply to the reply
    address."""

    correlation_id: str
    """Identifies the waiting request; copied into the reply. The messages of one request share
    it."""
    digest: str
    """SHA-256 digest of the image. In JSON it is replaced by the image's artifact key."""
    options: ConversionOptions
    deadline: float
    """Time at which the web tier gives up, in seconds since the epoch. After it, workers drop the
    message."""
    reply_to: str
    """Reply address, opaque to everything but the adapters of one reply path."""
    published_at: float | None = None
    """Time at which the message was sent, in seconds since the epoch; None from a release that did
    not record it."""
    attempt: int = 1
    """1 for the first message of a request; higher if the request was published again. Copied into
    the reply. In JSON it is absent from a first message. Older releases ignore it, so adding it did
    not change the version."""
    trace: Trace = field(default_factory=Trace)
    """Optional in JSON: older releases neither write nor read it, so adding it did not change the
    version."""
    reads_coded_art: bool = True
    """False for a request whose version is older than the encoding of coloured art."""

    def reply(
        self, *, art: str | None = None, invert: bool | None = None, rejection: str | None = None
    ) -> "ConversionReply":
        """Return a reply to this message. `art` is encoded as `asciist.art.codec` does."""
        if art is not None and not self.reads_coded_art:
            is_light = self.options.invert is True if invert is None else invert
            art = forms.text(decode(art, is_light=is_light), forms.of_colour(self.options.color))
        return ConversionReply(
            correlation_id=self.correlation_id,
            attempt=self.attempt,
            art=art,
            invert=invert,
            rejection=rejection,
        )

    def to_json(self) -> str:
        version = _request_version(self.options)
        return _dump(
            version=version,
            correlation_id=self.correlation_id,
            key=image_key(self.digest),
            **{
                option.name: getattr(self.options, option.name)
                for option in _OPTIONS_OF_VERSIONS[version]
            },
            deadline=self.deadline,
            reply_to=self.reply_to,
            published_at=self.published_at,
            request_id=self.trace.request_id,
            trace=dict(self.trace.headers),
            **_attempt_fields(self.attempt),
        )

    @classmethod
    def from_json(cls, body: str) -> "ConversionRequest":
        """Parse a message. Raises MalformedMessageError.

        The options are not checked here: a worker rejects invalid options in its reply, like an
        invalid image.
        """
        fields = _load(body, _REQUEST_VERSIONS_READ)
        digest = digest_of_image_key(_field(fields, "key", str))
        if digest is None:
            raise MalformedMessageError("key is not an image key")
        published_at = None if fields.get("published_at") is None else _time(fields, "published_at")
        options = _options(fields)
        return cls(
            correlation_id=_field(fields, "correlation_id", str),
            digest=digest,
            options=options,
            deadline=_time(fields, "deadline"),
            reply_to=_field(fields, "reply_to", str),
            published_at=published_at,
            attempt=_attempt(fields),
            trace=_trace(fields),
            reads_coded_art=(
                fields["version"] >= _CODED_ART_VERSION or not _has_coded_art(options)
            ),
        )


Message = str | ConversionRequest
"""A request as JSON, or as it is within one process."""


def json_of(message: Message) -> str:
    """Return a message as JSON."""
    return message if isinstance(message, str) else message.to_json()


@lru_cache(maxsize=256)  # most requests use one of a few combinations of options
def _request_version(options: ConversionOptions) -> int:
    """Return REQUEST_VERSION, or the first newer version that supports all options in use and
    encoded art, if they need one."""
    values = ((option, getattr(options, option.name)) for option in OPTIONS.values())
    return max(
        [
            REQUEST_VERSION,
            *([_CODED_ART_VERSION] if _has_coded_art(options) else []),
            *(option.version_of(value) for option, value in values if value != option.default),
        ]
    )


def _has_coded_art(options: ConversionOptions) -> bool:
    """Return whether the art may be more than its characters."""
    return options.color != "none" or options.animate


_OPTIONS_OF_VERSIONS: Final = {
    version: tuple(option for option in OPTIONS.values() if option.message_version <= version)
    for version in _REQUEST_VERSIONS_READ
}
"""Names of the options in each version of the message."""


def _options(fields: dict[str, Any]) -> ConversionOptions:
    options = _OPTIONS_OF_VERSIONS[fields["version"]]
    for option in options:
        value = fields.get(option.name)
        if not option.kind.holds(value) or option.version_of(value) > fields["version"]:
            raise MalformedMessageError(f"invalid {option.name}: {value!r}")
    return ConversionOptions(**{option.name: fields[option.name] for option in options})


def _trace(fields: dict[str, Any]) -> Trace:
    headers = _field(fields, "trace", dict) if "trace" in fields else {}
    if not all(isinstance(text, str) for text in headers.values()):
        raise MalformedMessageError("trace has a value that is not a string")
    return Trace(
        request_id=_field(fields, "request_id", str) if "request_id" in fields else "",
        headers=headers,
    )


@dataclass(frozen=True, kw_only=True)
class ConversionReply:
    """Reply from a worker to the web tier: the art, or a rejection."""

    correlation_id: str
    art: str | None = None
    """The art, encoded. None if it does not fit into the message; the web tier then reads it from
    the store."""
    invert: bool | None = None
    """The choice for `invert=auto`; None, and absent from JSON, if the options left nothing to
    choose."""
    rejection: str | None = None
    """Reason for the rejection, as an error message for the client; None if there is art."""
    attempt: int = 1
    """Attempt number of the message that this reply answers; see `ConversionRequest.attempt`."""

    def without_art(self) -> "ConversionReply":
        """Return the same reply without its art, for a channel that limits the size of a
        message."""
        return replace(self, art=None, invert=None)  # the stored art contains both

    def to_json(self) -> str:
        outcome = (
            {"outcome": "done", "art": self.art}
            if self.rejection is None
            else {"outcome": "failed", "message": self.rejection}
        )
        chosen = {} if self.invert is None else {"invert": self.invert}
        return _dump(
            version=REPLY_VERSION,
            correlation_id=self.correlation_id,
            **outcome,
            **chosen,
            **_attempt_fields(self.attempt),
        )

    @classmethod
    def from_json(cls, body: str) -> "ConversionReply":
        """Parse a message. Raises MalformedMessageError."""
        fields = _load(body, (REPLY_VERSION,))
        correlation_id, attempt = _field(fields, "correlation_id", str), _attempt(fields)
        match _field(fields, "outcome", str):
            case "done":
                art = _field(fields, "art", (str, type(None)))
                invert = None if fields.get("invert") is None else _field(fields, "invert", bool)
                return cls(correlation_id=correlation_id, attempt=attempt, art=art, invert=invert)
            case "failed":
                return cls(
                    correlation_id=correlation_id,
                    attempt=attempt,
                    rejection=_field(fields, "message", str),
                )
            case outcome:
                raise MalformedMessageError(f"unknown outcome {outcome!r}")


_ENCODER: Final = json.JSONEncoder(separators=(",", ":"))


def _dump(**fields: str | float | dict[str, str] | None) -> str:
    return _ENCODER.encode(fields)


def _load(body: str, versions: tuple[int, ...]) -> dict[str, Any]:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError) as error:  # RecursionError: deeply nested JSON
        raise MalformedMessageError(f"not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise MalformedMessageError("not a JSON object")
    if fields.get("version") not in versions:
        raise MalformedMessageError(
            f"unsupported version {fields.get('version')!r}: this release reads"
            f" {', '.join(map(str, versions))}"
        )
    return fields


def _attempt_fields(attempt: int) -> dict[str, int]:
    return {"attempt": attempt} if attempt > 1 else {}


def _attempt(fields: dict[str, Any]) -> int:
    return int(_field(fields, "attempt", int)) if "attempt" in fields else 1


def _time(fields: dict[str, Any], name: str) -> float:
    value = float(_field(fields, name, (int, float)))
    # Python's parser accepts NaN, with which every comparison is false.
    if not math.isfinite(value):
        raise MalformedMessageError(f"{name} is not a finite number")
    return value


def _field(fields: dict[str, Any], name: str, kind: type | tuple[type, ...]) -> Any:
    value = fields.get(name)
    # In Python, a bool is an int, so `true` would pass as 1.
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise MalformedMessageError(f"invalid {name}: {value!r}")
    return value
