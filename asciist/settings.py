"""Configuration, read once from environment variables into frozen dataclasses.

The variable `ASCIIST_<FIELD>` sets a field of `Settings` or `Limits`; `HOST` and `PORT` are
accepted too. One SettingsError reports all invalid variables.
"""

import ipaddress
import os
import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, Literal

from asciist.errors import SettingsError
from asciist.limits import Limits
from asciist.timeouts import Timeouts

_PREFIX: Final = "ASCIIST_"
_UNPREFIXED_ALIASES: Final = {"ASCIIST_HOST": "HOST", "ASCIIST_PORT": "PORT"}
# read by `asciist convert`, not by the service
_CLIENT_VARIABLES: Final = frozenset({"ASCIIST_URL"})
CLOUDS: Final = ("aws", "azure")
BACKENDS: Final = ("embedded", *CLOUDS)
REPLY_PATHS: Final = ("queue", "callback")
ANY_ORIGIN: Final = "*"
NO_ORIGIN: Final = "none"
_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]*://[^\s/?#@,]+")
_PRIVATE_NETWORKS: Final = "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,fc00::/7"
"""Private networks of RFC 1918, and the unique local addresses of IPv6."""
_LOOPBACK: Final = "127.0.0.0/8"
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
ANY_HOST: Final = "*"
_HOST: Final = re.compile(r"\.?[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
METRICS_SINKS: Final = ("dogstatsd", "emf", "dogstatsd+emf", "none")
SECRETS: Final = frozenset({"ASCIIST_LINK_KEYS"})
"""Variables whose values are never shown."""
READ_ONLY_MARKER: Final = "migration/read-only"
"""Key of the marker of the read-only mode, in the store of its deployment."""
MIN_KEY_CHARACTERS: Final = 32
"""Minimum length of a secret in `Settings.link_keys`."""
Tier = Literal["web", "worker"]
_READ_BY: Final = "tiers that read the setting in a deployment; by default both"
_WEB: Final[Mapping[str, tuple[Tier, ...]]] = {_READ_BY: ("web",)}
_WORKER: Final[Mapping[str, tuple[Tier, ...]]] = {_READ_BY: ("worker",)}
_MACHINE: Final[Mapping[str, tuple[Tier, ...]]] = {_READ_BY: ()}
"""Metadata of a setting that no tier of a deployment receives: each machine determines its value,
or only the embedded backend uses it."""
CALLBACK_PORTS: Final = 16
"""Number of ports for callbacks: more than the web processes of the largest useful machine."""


def _available_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _default_data_dir() -> Path:
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "asciist"
    except RuntimeError:  # no home directory, as for a service account
        return Path("/var/cache/asciist")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of one process, in either tier."""

    backend: str = "embedded"
    """Backend for artifacts, messages and replies: `embedded` keeps all of them on this machine,
    `aws` uses S3 and SQS, `azure` Blob Storage and Storage Queue.

    Credentials come from the usual variables of each cloud. For `azure`:
    `AZURE_STORAGE_ACCOUNT_NAME`, and `AZURE_STORAGE_ACCOUNT_KEY` or the machine's managed identity;
    `AZURE_CLIENT_ID` selects one of several identities.
    """
    bucket: str = ""
    """Name of the S3 bucket or of the Blob Storage container for artifacts. Required when the
    backend is `aws` or `azure`."""
    request_queue_url: str = ""
    """URL of the request queue, in SQS or Storage Queue. Required when the backend is `aws` or
    `azure`.

    On Azure, dead letters go to the queue with the same URL and `-dead-letters` after it.
    """
    reply_path: str = field(default="queue", metadata=_WEB)
    """Reply path: `queue` (an SQS queue per web process) or `callback` (HTTP from the worker to the
    web process).

    Web processes use this setting; a worker replies to the address in the request. The backend
    `azure` supports `callback` only.
    """
    reply_queue_prefix: str = field(default="asciist-reply-", metadata=_WEB)
    """Prefix of the names of reply queues. IAM roles grant access only to queues with this
    prefix."""
    callback_first_port: int = 28_000
    """First of 16 consecutive TCP ports for callbacks. Each web process on a machine listens on one
    of them."""
    callback_networks: str = field(default=_PRIVATE_NETWORKS, metadata=_WORKER)
    """Networks to which workers send callbacks, separated by commas. A reply to any other address
    is not sent.

    They must be private, or `127.0.0.0/8` if both tiers are on one machine. The stacks set the
    network of the deployment.
    """
    instance: str = field(default_factory=socket.gethostname, metadata=_MACHINE)
    """Name or address of this machine, by default its host name.

    Workers send callbacks to this address, and the names of reply queues contain it.
    """
    data_dir: Path = field(default_factory=_default_data_dir, metadata=_MACHINE)
    """Directory of the embedded store. Safe to delete at any time: missing art is converted again.

    The default is `asciist` in the user's cache directory, or `/var/cache/asciist` for an account
    without a home directory.
    """
    store_max_bytes: int = field(default=1_000_000_000, metadata=_MACHINE)
    """Maximum bytes of the embedded store on disk, at least 16,000,000. The oldest images and art
    are deleted to stay within it.

    The store also leaves 256 MB of the disk free, or a quarter of a disk of less than 1 GB.
    """
    store_max_days: int = field(default=30, metadata=_WEB)
    """Maximum age of images and art in the embedded store, in days. Older ones are deleted."""
    host: str = field(default="127.0.0.1", metadata=_WEB)
    """IP address to listen on. The default accepts connections from this machine only."""
    port: int = field(default=27244, metadata=_WEB)
    """TCP port to listen on."""
    workers: int = field(default_factory=_available_cores, metadata=_MACHINE)
    """Number of web processes on this machine; each has a converter process if the backend is
    embedded. In a poller, number of concurrent conversions.

    The default is the number of CPU cores available to the process.
    """
    request_timeout: int = 10
    """Maximum seconds from a complete upload to its answer, from 1 to 50. It determines the other
    timeouts (see `Timeouts`)."""
    max_requests_in_flight: int = field(default=64, metadata=_WEB)
    """Maximum conversion requests in progress in one web process. Further requests are refused at
    once with 503."""
    max_upload_bytes_in_flight: int = field(default=100_000_000, metadata=_WEB)
    """Maximum bytes of request bodies held in one web process.

    Above it, the upload idle for longest is ended; if none is idle, the new upload is refused with
    503.
    """
    metrics: str = "dogstatsd"
    """Destination of metrics: `dogstatsd`, `emf`, `dogstatsd+emf` or `none`.

    `dogstatsd` sends them to a Datadog agent; `emf` logs them in CloudWatch's embedded metric
    format.
    """
    metrics_namespace: str = "asciist"
    """CloudWatch namespace of the metrics. Used with `emf` only."""
    link_keys: str = field(default="", repr=False, metadata=_WEB)
    """Secrets for links, separated by commas, of at least 32 characters each; the same in every web
    process.

    The first one creates links and all are accepted, so that links survive a change of the first.
    By default, the embedded backend creates a key and stores it in the data directory; the backends
    `aws` and `azure` require one in the web tier.
    """
    cors_origins: str = field(default=ANY_ORIGIN, metadata=_WEB)
    """Web sites whose scripts may use the service: `*` for all, `none`, or origins separated by
    commas.

    An origin is `https://art.example.org`, without a path. The service's own page always works.
    """
    trusted_hosts: str = field(default=ANY_HOST, metadata=_WEB)
    """Host names in the URLs of the service: `*` for any, or names in lower case, without ports,
    separated by commas.

    `.example.org` is `example.org` and all names below it. A request for another host gets a 400,
    unless it is a health check.
    """
    peer_store: str = field(default="", metadata=_WEB)
    """Store of another deployment during a migration of artifacts, such as `s3://bucket` or
    `azure://container`; empty for none.

    Images and art requested by a link but missing here are copied from it. A deletion deletes in
    both stores. Needed by web processes only (see the [migration of the
    data](migration.md#the-data)).
    """
    read_only: str = field(default="", metadata=_WEB)
    """Marker of the read-only mode, an object such as `s3://bucket/migration/read-only` or a file
    such as `file:///run/asciist/read-only`; empty if there is no such mode.

    While it exists, the service serves stored art and refuses conversions and deletions with 503.
    It notices a change within five seconds. Needed by web processes only.
    """
    limits: Limits = field(default_factory=Limits)
    """Upper bounds on each request."""

    @property
    def timeouts(self) -> Timeouts:
        return Timeouts(request=self.request_timeout)

    @property
    def callback_ports(self) -> range:
        """Ports for callbacks."""
        return range(self.callback_first_port, self.callback_first_port + CALLBACK_PORTS)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Read settings from environment variables. Raises SettingsError, which lists every invalid
        or unknown variable."""
        problems = _unknown_variables(environment)
        own, limits = _read(cls, environment, problems), _read(Limits, environment, problems)
        backend = own.get("backend")
        if backend in CLOUDS:
            problems += [
                f"{_PREFIX}{key.upper()} is required when {_PREFIX}BACKEND={backend}"
                for key in ("bucket", "request_queue_url")
                if key not in own
            ]
        if problems:
            raise SettingsError("; ".join(problems))
        return cls(**own, limits=Limits(**limits))

    @classmethod
    def from_values(cls, values: Mapping[str, int | str]) -> "Settings":
        """Return settings with these values, by field of `Settings` or `Limits`, of the right
        types. Raises SettingsError, which lists every invalid value."""
        problems = [
            f"{key} = {value!r} {problem}"
            for key, value in values.items()
            if (problem := _validation_error(key, value))
        ]
        if problems:
            raise SettingsError("; ".join(problems))
        own: dict[str, Any] = dict(values)
        limits = {f.name: own.pop(f.name) for f in fields(Limits) if f.name in own}
        return cls(**own, limits=Limits(**limits))

    def to_environment(self) -> dict[str, str]:
        """Return the variables from which `from_environment` recreates these settings."""
        values = {
            name: str(getattr(owner, key))
            for owner in (self, self.limits)
            for name, key, _ in _variables(type(owner))
        }
        return {name: value for name, value in values.items() if value}

    def to_tier_environment(self, tier: Tier) -> dict[str, str]:
        """Return the variables of the settings that a tier of a deployment reads and that differ
        from the defaults."""
        defaults = Settings()
        return {
            f"{_PREFIX}{f.name.upper()}": str(getattr(owner, f.name))
            for owner, default in ((self, defaults), (self.limits, defaults.limits))
            for f in fields(owner)
            if f.name != "limits"
            and tier in f.metadata.get(_READ_BY, (tier,))
            and getattr(owner, f.name) != getattr(default, f.name)
        }


def setting_types() -> dict[str, type]:
    """Return the type of each field of `Settings` and `Limits` that can be set, by its name."""
    return {key: kind for owner in (Settings, Limits) for _, key, kind in _variables(owner)}


def items_of(text: str) -> list[str]:
    """Return the items of a setting that is a list with commas, without the spaces around them."""
    return [item.strip() for item in text.split(",")]


def parse_networks(text: str) -> list[Network]:
    """Return the networks of a list such as "10.0.0.0/16,fd00::/8". Raises ValueError."""
    return [ipaddress.ip_network(item) for item in items_of(text)]


def _variables(owner: type) -> list[tuple[str, str, type]]:
    """Yield (variable, field name, type) for each field of a settings class that a variable can
    set."""
    return [
        (f"{_PREFIX}{f.name.upper()}", f.name, f.type)
        for f in fields(owner)
        if isinstance(f.type, type) and f.type in (int, str, Path)
    ]


def _read(owner: type, environment: Mapping[str, str], problems: list[str]) -> dict[str, Any]:
    """Read the fields of a settings class from the environment; append a description of each error
    to `problems`."""
    values: dict[str, Any] = {}
    for name, key, kind in _variables(owner):
        text = environment.get(name) or environment.get(_UNPREFIXED_ALIASES.get(name, name))
        if not text:
            continue
        try:
            values[key] = kind(text)
        except ValueError:
            problems.append(f"{name}={text!r} is not a whole number")
            continue
        problem = _validation_error(key, values[key])
        if problem:
            shown = "" if name in SECRETS else f"={text!r}"
            problems.append(f"{name}{shown} {problem}")
    return values


def _validation_error(key: str, value: object) -> str:
    """Describe why a value of the right type is invalid; empty if it is valid."""
    choices = {"backend": BACKENDS, "reply_path": REPLY_PATHS, "metrics": METRICS_SINKS}.get(key)
    if choices is not None:
        return "" if value in choices else f"is not one of: {', '.join(choices)}"
    if key in _URLS:
        return "" if _URLS[key].fullmatch(str(value)) else "is not a URL such as " + _EXAMPLES[key]
    if key in _LISTS:
        return _LISTS[key].problem(str(value))
    lowest, highest = _RANGES.get(key, (1, None))
    if isinstance(value, int) and value < lowest:
        return f"is less than the minimum, {lowest}"
    if isinstance(value, int) and highest is not None and value > highest:
        return f"is greater than the maximum, {highest}"
    return ""


@dataclass(frozen=True)
class _List:
    """Setting with a comma-separated list."""

    is_valid: Callable[[str], object]
    """Checks an item."""
    expected: str
    """Problem reported for a list with an invalid item."""
    others: tuple[str, ...] = ()
    """Texts accepted in place of a list."""

    def problem(self, text: str) -> str:
        """Describe why a list is invalid; empty if it is valid."""
        return (
            "" if text in self.others or all(map(self.is_valid, items_of(text))) else self.expected
        )


def _is_private_network(text: str) -> bool:
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        return False
    allowed = parse_networks(f"{_PRIVATE_NETWORKS},{_LOOPBACK}")
    return any(
        network.network_address in outer and network.prefixlen >= outer.prefixlen
        for outer in allowed
    )


_LISTS: Final = {
    "callback_networks": _List(
        _is_private_network, "is not a list of private networks such as 10.0.0.0/16,fd00::/8"
    ),
    "cors_origins": _List(
        _ORIGIN.fullmatch,
        "is not *, none or a list of origins such as https://art.example.org,http://localhost:3000",
        (ANY_ORIGIN, NO_ORIGIN),
    ),
    "link_keys": _List(
        lambda item: len(item) >= MIN_KEY_CHARACTERS,
        f"has a key of less than {MIN_KEY_CHARACTERS} characters (make one with: openssl rand"
        " -hex 32)",
    ),
    "trusted_hosts": _List(
        _HOST.fullmatch,
        "is not * or a list of host names such as art.example.org,.example.com",
        (ANY_HOST,),
    ),
}
_URLS: Final = {
    "peer_store": re.compile(r"[a-z][a-z0-9+.-]*://\S+"),
    "read_only": re.compile(r"[a-z][a-z0-9+.-]*://\S*/[^\s/]+"),
}
"""Settings that are URLs."""
_EXAMPLES: Final = {
    "peer_store": "s3://bucket or azure://container",
    "read_only": "s3://bucket/migration/read-only",
}
_RANGES: Final = {
    "port": (1, 65_535),
    "callback_first_port": (1024, 65_535 - CALLBACK_PORTS),
    "request_timeout": (1, 50),
    # room for the largest image, and for the log of the database
    "store_max_bytes": (16_000_000, None),
}
"""(minimum, maximum) of numeric settings. All others must be at least 1."""


def _unknown_variables(environment: Mapping[str, str]) -> list[str]:
    known = {
        name for owner in (Settings, Limits) for name, _, _ in _variables(owner)
    } | _CLIENT_VARIABLES
    unknown = sorted(name for name in environment if name.startswith(_PREFIX) and name not in known)
    return [
        f"{name} is not a known setting"
        + "".join(f" (did you mean {near}?)" for near in get_close_matches(name, known, n=1))
        for name in unknown
    ]
