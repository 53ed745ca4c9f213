"""Contract of Cdn, run against every adapter. A new adapter is one more parameter."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from asciist_migration.shift.haproxy import HaproxyCdn
from asciist_migration.shift.ports import Cdn, CdnError
from asciist_migration_testing.cloudflare_server import (
    CloudflareServer,
    cdn_of,
)
from asciist_migration_testing.haproxy_server import BACKEND, HaproxyServer


@dataclass
class CdnUnderTest:
    """A Cdn with an origin `aws` of weight 100, an origin `azure` of weight 0, and an operator's
    actions on it."""

    port: Cdn
    take_out: Callable[[str], object]
    move: Callable[[str], object]
    """Change an origin's address."""
    stop: Callable[[], object]


@contextmanager
def cloudflare(*, affinity: bool = False) -> Iterator[CdnUnderTest]:
    server = CloudflareServer()
    running = [server]

    def stop() -> None:
        while running:
            running.pop().stop()

    if affinity:
        server.balancer["session_affinity"] = "cookie"
    port = cdn_of(server)
    yield CdnUnderTest(
        port=port,
        take_out=lambda name: server.origin(name).update(
            enabled=False, disabled_at="2026-01-01T00:00:00Z"
        ),
        move=lambda name: server.origin(name).update(address="192.0.2.77"),
        stop=stop,
    )
    stop()


@contextmanager
def haproxy(*, affinity: bool = False) -> Iterator[CdnUnderTest]:
    backend = "balance roundrobin\n  cookie SERVER insert" if affinity else "balance roundrobin"
    with TemporaryDirectory() as directory:
        server = HaproxyServer(Path(directory), (1, 2), backend=backend)
        try:
            yield CdnUnderTest(
                port=HaproxyCdn(server.socket, backend=BACKEND),
                take_out=lambda name: server.call(f"set server {BACKEND}/{name} state maint"),
                move=lambda name: server.call(f"set server {BACKEND}/{name} addr 127.0.0.77"),
                stop=server.stop,
            )
        finally:
            server.stop()


CDNS: dict[str, Callable[..., AbstractContextManager[CdnUnderTest]]] = {
    "cloudflare": cloudflare,
    "haproxy": haproxy,
}


@pytest.fixture(params=CDNS)
def cdn(request: pytest.FixtureRequest) -> Iterator[CdnUnderTest]:
    with CDNS[request.param]() as made:
        yield made


def test_weights_are_read_by_name(cdn: CdnUnderTest) -> None:
    assert cdn.port.read().weights == {"aws": 100, "azure": 0}


def test_what_is_written_is_in_force(cdn: CdnUnderTest) -> None:
    for aws, azure in ((99, 1), (90, 10), (50, 50), (1, 100), (0, 100), (100, 0), (71, 29)):
        cdn.port.write({"aws": aws, "azure": azure})
        assert cdn.port.read().weights == {"aws": aws, "azure": azure}


def test_an_origin_that_is_not_named_keeps_its_weight(cdn: CdnUnderTest) -> None:
    cdn.port.write({"azure": 30})
    cdn.port.write({"aws": 5})

    assert cdn.port.read().weights == {"aws": 5, "azure": 30}


def test_a_write_can_be_repeated(cdn: CdnUnderTest) -> None:
    for _ in range(3):
        cdn.port.write({"aws": 90, "azure": 10})

    assert cdn.port.read().weights == {"aws": 90, "azure": 10}


def test_what_cannot_be_written_is_refused_and_changes_nothing(cdn: CdnUnderTest) -> None:
    for weights in ({"gcp": 10}, {"azure": 101}, {"azure": -1}):
        with pytest.raises(CdnError):
            cdn.port.write(weights)
        assert cdn.port.read().weights == {"aws": 100, "azure": 0}


def test_an_origin_without_weight_is_available(cdn: CdnUnderTest) -> None:
    assert all(origin.available for origin in cdn.port.read().origins.values())


def test_an_origin_that_is_taken_out_is_not_available(cdn: CdnUnderTest) -> None:
    cdn.take_out("azure")

    origins = cdn.port.read().origins
    assert (origins["aws"].available, origins["azure"].available) == (True, False)


def test_a_weight_can_be_written_while_an_origin_is_out(cdn: CdnUnderTest) -> None:
    cdn.take_out("azure")
    cdn.port.write({"aws": 50, "azure": 0})

    state = cdn.port.read()
    assert (state.weights, state.origins["azure"].available) == ({"aws": 50, "azure": 0}, False)


def test_another_address_is_seen(cdn: CdnUnderTest) -> None:
    before = {name: origin.address for name, origin in cdn.port.read().origins.items()}
    cdn.move("azure")
    after = {name: origin.address for name, origin in cdn.port.read().origins.items()}

    assert before["aws"] == after["aws"]
    assert before["azure"] != after["azure"]


def test_no_affinity_is_reported_without_one(cdn: CdnUnderTest) -> None:
    assert cdn.port.read().affinity == ""


@pytest.mark.parametrize("name", CDNS)
def test_session_affinity_is_reported(name: str) -> None:
    with CDNS[name](affinity=True) as made:
        assert "cookie" in made.port.read().affinity


def test_a_cdn_that_cannot_be_reached_is_an_error(cdn: CdnUnderTest) -> None:
    cdn.stop()

    with pytest.raises(CdnError):
        cdn.port.read()
    with pytest.raises(CdnError):
        cdn.port.write({"azure": 1})
