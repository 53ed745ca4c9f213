"""Cloudflare as the CDN: the weights of the origins of one pool, through Cloudflare's own client.

Weights of origins go in steps of 0.01, weights of pools only in steps of 0.1, so both origins are
in one pool. The API has no conditional writes: the pool is read, changed and written back,
including fields of its origins unknown to this module.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, cast

from cloudflare import Cloudflare, CloudflareError
from cloudflare.types.load_balancers.origin_param import OriginParam

from asciist_migration.shift.ports import MAX_WEIGHT, CdnError, CdnState, Origin

TIMEOUT_SECONDS: Final = 4.0
"""Timeout of one attempt, in seconds. With the client's default of 60 s and two retries, a
roll-back could wait for minutes."""
MAX_RETRIES: Final = 1
"""Maximum retries, which the client makes after errors and timeouts. A write may be repeated:
weights are absolute."""


class CloudflareCdn:
    """A pool with both origins, and the load balancer in front of it."""

    def __init__(
        self,
        *,
        token: str,
        account_id: str,
        zone_id: str,
        load_balancer_id: str,
        pool_id: str,
        base_url: str | None = None,
    ) -> None:
        """`token` may read the load balancer, and read and edit the pool. `base_url` is the URL of
        another API, for tests."""
        self._client = Cloudflare(
            api_token=token, base_url=base_url, timeout=TIMEOUT_SECONDS, max_retries=MAX_RETRIES
        )
        self._account_id = account_id
        self._zone_id = zone_id
        self._load_balancer_id = load_balancer_id
        self._pool_id = pool_id

    def read(self) -> CdnState:
        with _translated():
            balancer = self._client.load_balancers.get(
                self._load_balancer_id, zone_id=self._zone_id
            ).to_dict(mode="json")
        pool_enabled, origins = self._pool()
        return CdnState(
            origins={
                origin["name"]: Origin(
                    weight=round(MAX_WEIGHT * origin.get("weight", 1)),  # the API's default is 1
                    address=(
                        f"{origin.get('address')}:{origin.get('port', 0)}"
                        f" {(origin.get('header') or {}).get('Host', '')}"
                    ),
                    available=pool_enabled and origin.get("enabled", True),
                )
                for origin in origins
            },
            affinity=next((text for text in _affinities(balancer) if text not in ("", "none")), ""),
        )

    def write(self, weights: Mapping[str, int]) -> None:
        _, origins = self._pool()
        if unknown := weights.keys() - {origin["name"] for origin in origins}:
            raise CdnError(f"the pool has no origin {', '.join(sorted(unknown))}")
        if not all(0 <= weight <= MAX_WEIGHT for weight in weights.values()):
            raise CdnError(f"{dict(weights)} are not weights")
        for origin in origins:
            origin.pop("disabled_at", None)  # which the API returns and does not accept
            if origin["name"] in weights:
                origin["weight"] = weights[origin["name"]] / MAX_WEIGHT
        with _translated():
            # More fields than the type has, which the client sends as they are.
            self._client.load_balancers.pools.edit(
                self._pool_id,
                account_id=self._account_id,
                origins=cast("Iterable[OriginParam]", origins),
            )

    def _pool(self) -> tuple[bool, list[dict[str, Any]]]:
        """Return whether the pool is enabled, and its origins with all their fields."""
        with _translated():
            pool = self._client.load_balancers.pools.get(self._pool_id, account_id=self._account_id)
        if not pool.origins:
            raise CdnError("the pool has no origins")
        return pool.enabled is not False, [origin.to_dict(mode="json") for origin in pool.origins]


def _affinities(balancer: Mapping[str, Any]) -> Iterator[str]:
    """Yield the session affinity of a load balancer and of each of its rules, which may override
    it."""
    yield balancer.get("session_affinity") or ""
    for rule in balancer.get("rules") or ():
        yield (rule.get("overrides") or {}).get("session_affinity") or ""


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except CloudflareError as error:
        raise CdnError(f"Cloudflare: {error}") from error
