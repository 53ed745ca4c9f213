"""Configuration: read once from the environment into frozen objects, every mistake reported together.

Each field of `Settings` and of `Limits` is the variable `ASCIIST_<FIELD>`; `HOST` and `PORT` work too.
"""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from asciist.errors import SettingsError
from asciist.limits import Limits

_PREFIX: Final = "ASCIIST_"
_BARE_NAMES: Final = {"ASCIIST_HOST": "HOST", "ASCIIST_PORT": "PORT"}
_CLIENT_NAMES: Final = frozenset({"ASCIIST_URL"})  # read by the `asciist convert` command, not by the service
BACKENDS: Final = ("embedded", "aws")
REPLY_PATHS: Final = ("queue", "callback")
METRICS: Final = ("dogstatsd", "emf", "dogstatsd+emf", "none")
CALLBACK_PORTS: Final = 16
"""Ports for callbacks: more than web processes on the largest machine that is of use."""


@dataclass(frozen=True, kw_only=True)
class Timeouts:
    """Every duration and count that must fit the others, derived from the request timeout; in seconds."""

    request: int = 10
    """From a whole upload to its answer: the deadline that travels with the message."""

    @property
    def worker(self) -> int:
        """The longest that one message may occupy a worker; there is no use in working past the deadline."""
        return min(self.request, 10)

    @property
    def visibility(self) -> int:
        """A message in work stays hidden this long. AWS asks for six times the function's timeout, so that throttled
        invocations do not show it to a second worker."""
        return 6 * self.worker

    @property
    def max_receive_count(self) -> int:
        """Deliveries before a message becomes a dead letter; with the redelivery backoff they fit into the default deadline."""
        return 5

    @property
    def upload(self) -> int:
        """For a body to arrive: by default a minute, which is 10 MB over a 1.4 Mbit/s uplink."""
        return 6 * self.request

    @property
    def upload_idle(self) -> int:
        """Without a byte from the client; then it is gone, or it lied about its Content-Length."""
        return self.request

    @property
    def gunicorn(self) -> int:
        """Silence of a web process after which it is replaced: longer than any request waits."""
        return self.request + 5

    @property
    def load_balancer_idle(self) -> int:
        """Longer than the web process needs to answer or to be replaced, so that the client is told and not cut off."""
        return self.gunicorn + 45

    @property
    def keep_alive(self) -> int:
        """Longer than the load balancer keeps an idle connection, so that it never sends into one that we just closed."""
        return self.load_balancer_idle + 5

    @property
    def graceful_stop(self) -> int:
        """For requests in flight when a process is asked to stop: twice what the longest may wait."""
        return 2 * self.request

    @property
    def deregistration_delay(self) -> int:
        """How long the load balancer lets a leaving target finish: not less than the target itself takes."""
        return self.graceful_stop + 10

    @property
    def reply_retention(self) -> int:
        """How long an unread reply is kept: nobody waits for it after the deadline. SQS takes no less than 60."""
        return max(60, self.request)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cache_directory() -> Path:
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "asciist"
    except RuntimeError:  # no home: a service account
        return Path("/var/cache/asciist")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What one process is told about its surroundings."""

    backend: str = "embedded"
    """Where artifacts, messages and replies live: `embedded` keeps all of them on this machine."""
    bucket: str = ""
    """Artifact bucket, on AWS."""
    request_queue_url: str = ""
    """Request queue, on AWS."""
    reply_path: str = "queue"
    """How replies come back, on AWS: by a `queue` of each web process, or by HTTP `callback` to it."""
    reply_queue_prefix: str = "asciist-reply-"
    """How the names of reply queues begin; what a role may touch is limited to it."""
    callback_first_port: int = 28_000
    """Callbacks: each web process of a machine takes one of `CALLBACK_PORTS` ports from here on."""
    instance: str = field(default_factory=socket.gethostname)
    """This machine, where workers reach it with callbacks; also a part of its reply queues' names."""
    data_dir: Path = field(default_factory=_cache_directory)
    """Directory of the embedded store. Safe to delete at any time: what is missing is converted again."""
    host: str = "127.0.0.1"
    """Address to listen on. This machine only, unless told otherwise."""
    port: int = 27244
    """TCP port to listen on."""
    workers: int = field(default_factory=_cores)
    """Conversions at a time of one process, embedded or polling; web processes on AWS."""
    request_timeout: int = 10
    """Seconds from a whole upload to its answer; the other timeouts follow from it (see `Timeouts`)."""
    max_requests_in_flight: int = 64
    """Conversion requests that one web process holds at a time; more wait a moment and are then turned away."""
    max_upload_bytes_in_flight: int = 100_000_000
    """Bytes of request bodies that one web process holds at a time, likewise."""
    metrics: str = "dogstatsd"
    """Where metrics go: to a Datadog agent (`dogstatsd`), as lines of CloudWatch's embedded metric format (`emf`), or both."""
    metrics_namespace: str = "asciist"
    """CloudWatch namespace of the metrics, with `emf`."""
    limits: Limits = field(default_factory=Limits)

    @property
    def timeouts(self) -> Timeouts:
        return Timeouts(request=self.request_timeout)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Read the variables; raises SettingsError that lists every mistake."""
        mistakes = _unknown_names(environment)
        own, limits = _read(cls, environment, mistakes), _read(Limits, environment, mistakes)
        if own.get("backend") == "aws":
            mistakes += [
                f"{_PREFIX}{key.upper()} is needed on AWS" for key in ("bucket", "request_queue_url") if key not in own
            ]
        if mistakes:
            raise SettingsError("; ".join(mistakes))
        return cls(**own, limits=Limits(**limits))

    def to_environment(self) -> dict[str, str]:
        """The variables that make `from_environment` give these settings back."""
        values = {name: str(getattr(owner, key)) for owner in (self, self.limits) for name, key, _ in _variables(type(owner))}
        return {name: value for name, value in values.items() if value}


def _variables(owner: type) -> list[tuple[str, str, type]]:
    """(variable, field, type) of each field of a settings class that a variable sets."""
    return [
        (f"{_PREFIX}{f.name.upper()}", f.name, f.type)
        for f in fields(owner)
        if isinstance(f.type, type) and f.type in (int, str, Path)
    ]


def _read(owner: type, environment: Mapping[str, str], mistakes: list[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, key, kind in _variables(owner):
        text = environment.get(name) or environment.get(_BARE_NAMES.get(name, name))
        if not text:
            continue
        try:
            values[key] = kind(text)
        except ValueError:
            mistakes.append(f"{name}={text!r} is not a whole number")
            continue
        complaint = _complaint(key, values[key])
        if complaint:
            mistakes.append(f"{name}={text!r} {complaint}")
    return values


def _complaint(key: str, value: object) -> str:
    """What is wrong with a value of the right type; empty when nothing is."""
    choices = {"backend": BACKENDS, "reply_path": REPLY_PATHS, "metrics": METRICS}.get(key)
    if choices is not None:
        return "" if value in choices else f"is not one of: {', '.join(choices)}"
    lowest, highest = _RANGES.get(key, (1, None))
    if isinstance(value, int) and value < lowest:
        return f"is less than {lowest}"
    if isinstance(value, int) and highest is not None and value > highest:
        return f"is more than {highest}"
    return ""


_RANGES: Final = {"port": (1, 65_535), "callback_first_port": (1024, 65_535 - CALLBACK_PORTS), "request_timeout": (1, 50)}


def _unknown_names(environment: Mapping[str, str]) -> list[str]:
    known = {name for owner in (Settings, Limits) for name, _, _ in _variables(owner)} | _CLIENT_NAMES
    unknown = sorted(name for name in environment if name.startswith(_PREFIX) and name not in known)
    return [
        f"{name} is not a setting" + "".join(f" (did you mean {near}?)" for near in get_close_matches(name, known, n=1))
        for name in unknown
    ]
