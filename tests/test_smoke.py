"""The smoke test passes against a working service, and reports each failure."""

from collections.abc import Iterator

import pytest

from operations import smoke
from operations.smoke import Answer, Smoke
from tools.testing.server import Server, temporary_server

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with temporary_server() as running:
        yield running


def test_a_service_that_works_passes_and_keeps_nothing(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    smoked = Smoke(server.url)
    assert smoke.run(smoked.checks()) == []
    assert smoked.request("GET", smoked._permalink).status == 404
    assert all(line.startswith("ok  ") for line in capsys.readouterr().out.splitlines())


def test_every_check_fails_against_another_server(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other server answers every request in the same wrong way."""
    smoked = Smoke(server.url)
    monkeypatch.setattr(Smoke, "request", lambda *_arguments, **_named: Answer(500, {}, b"broken"))
    assert smoke.run(smoked.checks(), say=lambda _line: None) == [
        what for what, _ in smoked.checks()
    ]


def test_a_server_that_cannot_be_reached_fails_every_check(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert len(smoke.run(Smoke("http://127.0.0.1:9").checks())) == len(
        list(Smoke("http://127.0.0.1:9").checks())
    )
    assert "ConnectionRefusedError" in capsys.readouterr().out


@pytest.mark.parametrize(
    "header", ["etag", "cache-control", "cache-status", "x-content-type-options"]
)
def test_a_missing_header_is_found(
    server: Server, header: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = Smoke.request

    def without(*arguments: object, **named: object) -> Answer:
        answer = request(*arguments, **named)  # type: ignore[arg-type]
        return Answer(
            answer.status,
            {name: text for name, text in answer.headers.items() if name != header},
            answer.body,
        )

    monkeypatch.setattr(Smoke, "request", without)
    assert smoke.run(Smoke(server.url).checks(), say=lambda _line: None) != []
