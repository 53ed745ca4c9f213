"""Repeated requests for stored art are answered from memory, with the application's answer."""

import json
import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import Client, TestResponse

from asciist.adapters.embedded import EmbeddedMetrics
from asciist.art import still
from asciist.options import ConversionOptions
from asciist.protocol.artifacts import digest_of
from asciist.protocol.served import ArtSource, ServedArt
from asciist.settings import Settings
from asciist.telemetry import logs, metrics
from asciist.wiring import WebProcess, build_web_process
from service import admission, create_app
from service.admission import Admission, ReadPlaces
from service.hot_answers import REFUSED, SERVED, HotAnswers, SharedCounter
from service.streams import Streams
from tests.clock import Clock

DIGEST = "0" * 64
PATH = f"/{DIGEST}/width/80"


class Application:
    """A WSGI application with art at every path that counts its requests."""

    def __init__(self) -> None:
        self.requests = 0
        self.status = "200 OK"
        self.art = "art"
        self.on_request: Callable[[], None] = lambda: None

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        self.requests += 1
        self.on_request()
        environ["werkzeug.request"] = None  # that of the test client, where Flask would put its own
        digest = environ["PATH_INFO"][1:65]
        options = ConversionOptions(width=80)
        environ[SERVED] = ServedArt(
            encoded=self.art,
            first=still(self.art, is_light=False),
            digest=digest,
            options=options,
            source=ArtSource.STORE,
        )
        start_response(
            self.status,
            [
                ("Content-Type", "text/plain"),
                ("Content-Length", str(len(self.art))),
                ("ETag", '"1"'),
                ("X-Number", str(self.requests)),
                ("X-Refused", str(REFUSED in environ)),
            ],
        )
        return [self.art.encode()]


@pytest.fixture
def application() -> Application:
    return Application()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def recorded() -> EmbeddedMetrics:
    return EmbeddedMetrics()


@pytest.fixture
def deletions() -> SharedCounter:
    return SharedCounter()


def image_id(digest: str) -> str:
    return f"id of {digest}"


@pytest.fixture
def hot(
    application: Application, recorded: EmbeddedMetrics, deletions: SharedCounter, clock: Clock
) -> Client:
    return Client(reading(application, recorded, deletions, clock))


def reading(
    application: Application, recorded: EmbeddedMetrics, deletions: SharedCounter, clock: Clock
) -> HotAnswers:
    return HotAnswers(
        application,
        recorded,
        deletions,
        image_id,
        streams=Streams(),
        places=ReadPlaces(Admission(Settings(), recorded)),
        origin_key=lambda environ: environ.get("HTTP_ORIGIN", ""),
        clock=clock,
    )


def test_a_repeated_request_gets_the_same_answer_without_the_application(
    hot: Client, application: Application
) -> None:
    first, second = hot.get(PATH), hot.get(PATH)

    assert application.requests == 1
    assert (second.data, second.status, second.headers) == (first.data, first.status, first.headers)


def test_an_answer_expires_after_a_minute(
    hot: Client, application: Application, clock: Clock
) -> None:
    hot.get(PATH)
    clock.now = 60
    hot.get(PATH)
    assert application.requests == 1

    clock.now = 61
    hot.get(PATH)
    hot.get(PATH)
    assert application.requests == 2


@pytest.mark.parametrize(
    "headers",
    [
        {"Accept": "application/json"},
        {"Accept-Encoding": "gzip"},
        {"Origin": "https://a.example"},
        {"User-Agent": "Twitterbot/1.0"},
    ],
)
def test_requests_whose_answers_may_differ_share_none(
    hot: Client, application: Application, headers: dict[str, str]
) -> None:
    answers = [
        hot.get(PATH),
        hot.get(PATH, headers=headers),
        hot.get(PATH),
        hot.get(PATH, headers=headers),
    ]

    assert [answer.headers["X-Number"] for answer in answers] == ["1", "2", "1", "2"]


@pytest.mark.parametrize(
    "request_",
    [
        {"query_string": "utm_source=a"},
        {"query_string": "width=20"},
        {"headers": {"Range": "bytes=0-1"}},
        {"headers": {"Accept": "*/*"}},
        {"headers": {"Host": "b.example", "X-Forwarded-Proto": "https"}},
        {"headers": {"Accept-Encoding": "br"}},
        {"headers": {"User-Agent": "curl/8"}},
    ],
)
def test_nothing_without_a_meaning_makes_another_answer(
    hot: Client, application: Application, request_: dict[str, Any]
) -> None:
    first = hot.get(PATH)
    assert hot.get(PATH, **request_).data == first.data

    assert application.requests == 1


@pytest.mark.parametrize("accept", ["application/json", "text/html"])
def test_only_answers_that_contain_the_address_differ_by_it(
    hot: Client, application: Application, accept: str
) -> None:
    for host in ("a.example", "b.example", "a.example"):
        hot.get(PATH, headers={"Accept": accept, "Host": host})
        hot.get(f"{PATH}.png", headers={"Accept": accept, "Host": host})

    assert application.requests == 2 + 1


def test_a_file_with_options_in_the_query_reaches_the_application(
    hot: Client, application: Application
) -> None:
    hot.get(f"{PATH}.png")
    hot.get(f"{PATH}.png?%77idth=9")
    assert application.requests == 2

    hot.get(f"{PATH}.png?utm_source=9")
    assert application.requests == 2


@pytest.mark.parametrize("is_kept", [True, False])
def test_a_client_with_the_same_art_gets_no_body(
    hot: Client, application: Application, *, is_kept: bool
) -> None:
    if is_kept:
        hot.get(PATH)
    answer = hot.get(PATH, headers={"If-None-Match": '"1"'})

    assert (answer.status_code, answer.data) == (304, b"")
    assert answer.headers["ETag"] == '"1"'
    assert "Content-Type" not in answer.headers
    assert hot.get(PATH, headers={"If-None-Match": '"2"'}).status_code == 200
    assert application.requests == 1


def test_head_has_the_headers_of_get(hot: Client, application: Application) -> None:
    got, head = hot.get(PATH), hot.head(PATH)

    assert (head.status, head.headers, head.data) == (got.status, got.headers, b"")
    assert application.requests == 1


@pytest.mark.parametrize("method", ["POST", "PUT", "OPTIONS"])
def test_other_methods_reach_the_application(
    hot: Client, application: Application, method: str
) -> None:
    hot.get(PATH)
    hot.open(PATH, method=method)
    hot.open(PATH, method=method)

    assert application.requests == 3


def test_identical_requests_wait_for_the_first_and_share_its_answer(
    hot: Client, application: Application
) -> None:
    everybody_waits = threading.Barrier(2)
    application.on_request = lambda: everybody_waits.wait(60) and None
    with ThreadPoolExecutor(5) as pool:
        asked = [pool.submit(hot.get, PATH) for _ in range(5)]
        everybody_waits.wait(60)
        assert {answer.result().headers["X-Number"] for answer in asked} == {"1"}


def test_reads_beyond_the_places_are_refused_at_once_and_others_are_served(
    application: Application,
    recorded: EmbeddedMetrics,
    deletions: SharedCounter,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(admission, "_READS", 1)
    monkeypatch.setattr(admission, "_WAITING_READS", 0)
    client = Client(reading(application, recorded, deletions, clock))
    client.get(PATH)
    begun, ended = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        ended.wait(60)

    application.on_request = wait
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(client.get, f"/{'1' * 64}/width/80")
        begun.wait(60)
        application.on_request = lambda: None
        assert client.get(PATH).headers["X-Number"] == "1"
        refused = client.get(f"/{'2' * 64}/width/80")
        ended.set()
        slow.result()

    assert refused.headers["X-Refused"] == "True"


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/healthz",
        f"/image/{DIGEST}00000000",
        f"/{DIGEST}/width/80/",
        f"/{DIGEST[1:]}/width/80",
    ],
)
def test_other_paths_reach_the_application(
    hot: Client, application: Application, path: str
) -> None:
    hot.get(path)
    hot.get(path)

    assert application.requests == 2


def test_errors_are_not_kept(hot: Client, application: Application) -> None:
    application.status = "503 SERVICE UNAVAILABLE"
    hot.get(PATH)
    application.status = "200 OK"

    assert hot.get(PATH).status_code == 200
    assert hot.get(PATH).status_code == 200
    assert application.requests == 2


def test_the_least_recently_used_answers_make_room_for_others(
    hot: Client, application: Application
) -> None:
    application.art = "x" * 4_500_000
    paths = [f"/{number:064x}/width/80" for number in range(6)]
    for path in paths[:5]:
        hot.get(path)
    hot.get(paths[0])  # the second one has been unused for longest
    hot.get(paths[5])

    assert application.requests == 6
    for path in (paths[0], *paths[2:]):
        hot.get(path)
    assert application.requests == 6
    hot.get(paths[1])
    assert application.requests == 7


def test_a_deletion_by_any_process_drops_all_answers(
    hot: Client, application: Application, deletions: SharedCounter
) -> None:
    hot.get(PATH)
    process = os.fork()
    if process == 0:
        deletions.increment()
        os._exit(0)
    os.waitpid(process, 0)

    hot.get(PATH)
    assert application.requests == 2
    hot.get(PATH)
    assert application.requests == 2


def test_an_answer_that_was_made_before_a_deletion_is_not_kept(
    hot: Client, application: Application, deletions: SharedCounter
) -> None:
    application.on_request = deletions.increment
    hot.get(PATH)
    hot.get(PATH)

    assert application.requests == 2


def test_a_very_large_answer_is_not_kept(hot: Client, application: Application) -> None:
    application.art = "x" * 12_000_001
    hot.get(PATH)
    hot.get(PATH)

    assert application.requests == 2


def test_variants_of_tiny_art_take_no_more_memory_than_large_art(
    application: Application, recorded: EmbeddedMetrics, deletions: SharedCounter, clock: Clock
) -> None:
    answers = reading(application, recorded, deletions, clock)
    client = Client(answers)
    for number in range(1000):
        client.get(PATH, headers={"Origin": f"{number}" + "x" * 60_000})

    assert sum(map(len, answers._answers)) < 24_000_000


def test_an_answer_from_memory_is_counted_and_described_in_the_log(
    hot: Client, recorded: EmbeddedMetrics
) -> None:
    hot.get(PATH)
    assert recorded.total(metrics.ART_SERVED) == 0  # the application counts its own
    with logs.scope():
        hot.get(PATH)
        line = logs.formatter().format(
            logging.LogRecord("test", logging.INFO, "", 0, "request", None, None)
        )

    assert recorded.total(metrics.ART_SERVED, source="store") == 1
    assert (
        f'"image": "id of {DIGEST}", "style": "structure", "width": 80, "source": "store"' in line
    )


@pytest.fixture
def service(tmp_path: Path) -> Iterator[WebProcess]:
    process = build_web_process(Settings(data_dir=tmp_path, metrics="none"))
    yield process
    process.close()


@pytest.fixture
def served(service: WebProcess) -> Flask:
    return create_app(
        settings=service.settings,
        requester=service.requester,
        metrics=service.metrics,
        links=service.links,
        is_ready=service.is_ready,
    )


def fixed(answer: TestResponse) -> list[tuple[str, str]]:
    """Return the headers without the request id, which differs for every answer."""
    assert answer.headers["X-Request-Id"]
    return sorted((name, value) for name, value in answer.headers if name != "X-Request-Id")


@pytest.mark.parametrize("accept", ["text/plain", "application/json", "text/html"])
@pytest.mark.parametrize("encoding", ["identity", "gzip", "zstd"])
def test_the_service_answers_stored_art_the_same_from_memory(
    served: Flask, cat: bytes, accept: str, encoding: str
) -> None:
    client: FlaskClient = served.test_client()
    path = client.put("/?width=90", data=cat).headers["Content-Location"]
    headers = {"Accept": accept, "Accept-Encoding": encoding}
    first, second = client.get(path, headers=headers), client.get(path, headers=headers)

    assert (second.status, second.data, fixed(second)) == (first.status, first.data, fixed(first))
    assert first.headers["X-Request-Id"] != second.headers["X-Request-Id"]
    assert (
        client.get(path, headers={**headers, "If-None-Match": first.headers["ETag"]}).status_code
        == 304
    )


def test_the_log_names_the_route_of_an_answer_from_memory(
    served: Flask, service: WebProcess, cat: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    client = served.test_client()
    path = client.put("/?width=90", data=cat).headers["Content-Location"]
    caplog.handler.setFormatter(logs.formatter())
    with caplog.at_level(logging.INFO, "service.request_log"):
        client.get(path)
        client.get(path)

    assert isinstance(service.metrics, EmbeddedMetrics)
    assert service.metrics.total(metrics.ART_SERVED, source="store") == 2
    assert service.metrics.total(metrics.REQUESTS, status="200") == 3
    lines = [json.loads(line) for line in caplog.text.splitlines()]
    assert {line["route"] for line in lines} == {"/<link:name>/width/<width>"}
    assert {line["image"] for line in lines} == {service.links.image_id(digest_of(cat))}
