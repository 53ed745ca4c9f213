"""The configuration of a shift: a TOML file, read once, with all its mistakes reported together."""

import math
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from asciist_migration.shift.haproxy import HaproxyCdn
from asciist_migration.shift.judge import SLOWER
from asciist_migration.shift.ports import Cdn, PlanError

TOKEN: Final = "CLOUDFLARE_API_TOKEN"  # noqa: S105 - the name of an environment variable
_DEFAULTS: Final = {
    "interval_seconds": 600,
    "min_requests": 500,
    "poll_seconds": 15,
    "late_seconds": 15,
    "slower": SLOWER,
}
"""Default values. `late_seconds` is longer than the service's request timeout."""
_MINIMA: Final = {
    "interval_seconds": 1,
    "min_requests": 100,
    "poll_seconds": 0.1,
    "late_seconds": 0,
    "slower": 1,
}
"""Minimum values. Fewer than 100 requests can only show that something is wholly broken."""
_TEXTS: Final = ("from", "to", "journal")
_CDNS: Final = {
    "haproxy": ("socket", "backend", "log"),
    "cloudflare": ("account_id", "zone_id", "load_balancer_id", "pool_id", "log"),
}
"""Keys of each kind of CDN."""


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """A shift as described in its file."""

    old: str
    new: str
    journal: Path
    urls: Mapping[str, str]
    """Address of each origin, bypassing the CDN."""
    images: tuple[Path, ...]
    """Images for comparing art."""
    kind: str
    """The kind of CDN, a key of `_CDNS`."""
    cdn: Mapping[str, str]
    """Values of the keys of that kind."""
    log: Path
    """The log of requests."""
    interval_seconds: float
    min_requests: int
    poll_seconds: float
    late_seconds: float
    slower: float


def load(path: Path) -> Configuration:
    """Read a configuration. Paths in it are relative to its directory. Raises PlanError with all
    mistakes."""
    try:
        content = tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PlanError(f"{path}: {error}") from error
    if mistakes := list(_mistakes(content)):
        raise PlanError(f"{path}: {'; '.join(mistakes)}")
    here = path.parent
    numbers = {name: content.get(name, default) for name, default in _DEFAULTS.items()}
    (kind,) = _CDNS.keys() & content.keys()
    return Configuration(
        old=content["from"],
        new=content["to"],
        journal=here / content["journal"],
        urls=content["urls"],
        images=tuple(here / image for image in content["images"]),
        kind=kind,
        cdn=content[kind],
        log=here / content[kind]["log"],
        **numbers,
    )


def cdn(configuration: Configuration) -> Cdn:
    """Return the adapter of the CDN. Raises PlanError if its credentials are missing."""
    keys = {name: value for name, value in configuration.cdn.items() if name != "log"}
    if configuration.kind == "haproxy":
        return HaproxyCdn(Path(keys["socket"]), backend=keys["backend"])
    # A package that HAProxy does not need, and slow to import.
    from asciist_migration.shift.cloudflare import CloudflareCdn  # noqa: PLC0415

    if not os.environ.get(TOKEN):
        raise PlanError(f"{TOKEN} is not set")
    return CloudflareCdn(token=os.environ[TOKEN], **keys)


def _mistakes(content: Mapping[str, Any]) -> Iterator[str]:
    known = {*_TEXTS, *_DEFAULTS, *_CDNS, "urls", "images"}
    yield from (f"unknown key {name}" for name in content.keys() - known)
    yield from (
        f"{name} is missing, or no text" for name in _TEXTS if not _is_text(content.get(name))
    )
    for name, default in _DEFAULTS.items():
        value = content.get(name, default)
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not _MINIMA[name] <= value < math.inf
        ):
            yield f"{name} is not a number of at least {_MINIMA[name]}"
    old, new, urls = content.get("from"), content.get("to"), content.get("urls")
    if old == new:
        yield "from and to are the same"
    if (
        not isinstance(urls, dict)
        or urls.keys() != {old, new}
        or not all(map(_is_text, urls.values()))
    ):
        yield "[urls] has not one address for each of from and to"
    images = content.get("images")
    if not isinstance(images, list) or not images or not all(map(_is_text, images)):
        yield "images is not a list of files"
    kinds = [kind for kind in _CDNS if kind in content]
    if len(kinds) != 1:
        yield "there is not one of [haproxy] and [cloudflare]"
    for kind in kinds:
        table = content[kind]
        if (
            not isinstance(table, dict)
            or table.keys() != set(_CDNS[kind])
            or not all(map(_is_text, table.values()))
        ):
            yield f"[{kind}] does not have the keys {', '.join(_CDNS[kind])}"


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""
