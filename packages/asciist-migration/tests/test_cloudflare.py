"""The adapter of Cloudflare against a stand-in with the faults that Cloudflare could have."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from asciist_migration.shift import cloudflare
from asciist_migration.shift.cloudflare import CloudflareCdn
from asciist_migration.shift.controller import Controller
from asciist_migration.shift.journal import Journal, read
from asciist_migration.shift.ports import CdnError
from asciist_migration.shift.state import Phase, replay
from asciist_migration_testing.cloudflare_server import (
    ACCOUNT,
    POOL,
    TOKEN,
    UNKNOWN_FIELD,
    CloudflareServer,
    cdn_of,
)
from asciist_migration_testing.fakes import PLAN, Clock, FakeArt, FakeCdn, FakeMetrics
from operations.observability.objective import OBJECTIVE

WEIGHTS = {"aws": 90, "azure": 10}


@pytest.fixture
def server() -> Iterator[CloudflareServer]:
    server = CloudflareServer()
    yield server
    server.stop()


@pytest.fixture
def cdn(server: CloudflareServer) -> CloudflareCdn:
    return cdn_of(server)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({"orgins": []}, "extra_forbidden"),
        ({"origins": [{"nme": "aws"}]}, "extra_forbidden"),
        ({"origins": [{"name": "aws", "weight": "heavy"}]}, "float_parsing"),
        ({"origin_steering": {"policy": "nope"}}, "literal_error"),
        ({"origins": [{"name": "aws", "disabled_at": "2026-01-01T00:00:00Z"}]}, "extra_forbidden"),
        ({"origins": [{"name": "aws", "weight": 7}]}, "steps of 0.01"),
        ({"origins": [{"name": "aws", "weight": 0.005}]}, "steps of 0.01"),
    ],
)
def test_the_stand_in_is_strict(
    server: CloudflareServer, body: dict[str, Any], problem: str
) -> None:
    url = f"{server.url}/accounts/{ACCOUNT}/load_balancers/pools/{POOL}"
    answer = httpx.patch(
        url, json=body, headers={"Authorization": f"Bearer {TOKEN}"}, trust_env=False
    )

    assert answer.status_code == 400
    assert problem in answer.text


def test_fields_that_the_client_does_not_know_survive(
    server: CloudflareServer, cdn: CloudflareCdn
) -> None:
    cdn.write(WEIGHTS)

    for name in WEIGHTS:
        origin = server.origin(name)
        assert origin[UNKNOWN_FIELD] == {"of": name}
        assert origin["header"] == {"Host": ["art.example.org"]}
    assert server.pool["name"] == "art"
    # the other fields of the pool are not written at all
    assert set(server.patches[0]) == {"origins"}


def test_a_date_that_the_api_does_not_accept_is_not_sent_back(
    server: CloudflareServer, cdn: CloudflareCdn
) -> None:
    server.origin("azure").update(enabled=False, disabled_at="2026-01-01T00:00:00Z")
    cdn.write(WEIGHTS)

    assert all("disabled_at" not in origin for origin in server.patches[0]["origins"])
    assert server.origin("azure")["enabled"] is False


def test_origins_are_found_by_name_in_any_order(
    server: CloudflareServer, cdn: CloudflareCdn
) -> None:
    server.pool["origins"].reverse()
    cdn.write(WEIGHTS)

    assert cdn.read().weights == WEIGHTS


@pytest.mark.parametrize("place", ["balancer", "rule"])
def test_affinity_is_found_in_the_load_balancer_and_in_its_rules(
    server: CloudflareServer, cdn: CloudflareCdn, place: str
) -> None:
    if place == "rule":
        server.balancer["rules"] = [{"name": "all", "overrides": {"session_affinity": "ip_cookie"}}]
    else:
        server.balancer["session_affinity"] = "ip_cookie"

    assert cdn.read().affinity == "ip_cookie"


def test_an_origin_without_a_weight_has_the_greatest(
    server: CloudflareServer, cdn: CloudflareCdn
) -> None:
    del server.origin("aws")["weight"]
    assert cdn.read().weights["aws"] == 100


def test_nothing_is_available_in_a_pool_that_is_disabled(
    server: CloudflareServer, cdn: CloudflareCdn
) -> None:
    server.pool["enabled"] = False
    assert not any(origin.available for origin in cdn.read().origins.values())


def test_one_server_error_is_retried_and_more_are_an_error(
    server: CloudflareServer, cdn: CloudflareCdn
) -> None:
    cdn.read()
    server.fail = 1
    cdn.write(WEIGHTS)
    assert cdn.read().weights == WEIGHTS

    server.fail = 1 + cloudflare.MAX_RETRIES
    with pytest.raises(CdnError, match="500"):
        cdn.read()


def test_a_slow_api_is_an_error_in_time(
    server: CloudflareServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cloudflare, "TIMEOUT_SECONDS", 0.2)
    impatient = cdn_of(server)
    server.delay_seconds = 0.5
    started = time.monotonic()
    with pytest.raises(CdnError, match="timed out"):
        impatient.read()

    assert time.monotonic() - started < 60  # the client's own timeout


def test_a_wrong_token_is_an_error(server: CloudflareServer) -> None:
    wrong = cdn_of(server, token="x" * 40)
    with pytest.raises(CdnError, match="401"):
        wrong.read()


@pytest.mark.parametrize("misbehaviour", ["ignores the weight", "drops a field", "drops an origin"])
def test_a_write_that_is_applied_otherwise_than_acknowledged_pauses_the_shift(
    server: CloudflareServer, cdn: CloudflareCdn, tmp_path: Path, misbehaviour: str
) -> None:
    def alter(origins: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if misbehaviour == "drops an origin":
            return [origin for origin in origins if origin["name"] == "aws"]
        lost = (
            {"weight": 0.0} if misbehaviour == "ignores the weight" else {"address": "192.0.2.200"}
        )
        return [origin | lost if origin["name"] == "azure" else origin for origin in origins]

    clock = Clock()
    with Journal(tmp_path / "journal") as journal:
        controller = Controller(
            journal=journal,
            cdn=cdn,
            metrics=FakeMetrics(FakeCdn(), clock),
            art=FakeArt(),
            objective=OBJECTIVE,
            say=print,
            clock=clock,
            sleep=lambda seconds: clock.sleep(30 * seconds),
        )
        addresses = {name: origin.address for name, origin in cdn.read().origins.items()}
        controller.plan(PLAN.__class__(**{**vars(PLAN), "addresses": addresses}))
        server.alter = alter
        controller.run()

    assert replay(read(tmp_path / "journal")).phase is Phase.PAUSED
    assert server.origin("aws")["weight"] >= 0.99
