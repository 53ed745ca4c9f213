"""Tests of the stand-in for the Datadog Agent: parsing, rejected lines, and the accuracy of
percentiles."""

import contextlib
import socket
from collections.abc import Callable, Iterable

import numpy as np
import pytest
from datadog.dogstatsd import DogStatsd
from hypothesis import given
from hypothesis import strategies as st

from asciist.telemetry import metrics
from operations.dashboard.dogstatsd import (
    BUCKET_SECONDS,
    BUCKETS,
    DogStatsDError,
    Message,
    Receiver,
    Summary,
    check_against_catalogue,
    parse_line,
)
from tests.groups import failing

ACCURACY = 0.01
ALL_BUCKETS = range(10_000_000_000)


def message(
    name: str, kind: str, *values: float, rate: float = 1, tags: Iterable[tuple[str, str]] = ()
) -> Message:
    return Message(name=name, type=kind, values=values, rate=rate, tags=frozenset(tags))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("page.views:1|c", message("page.views", "count", 1)),
        ("song.length:240:234|d", message("song.length", "distribution", 240, 234)),
        ("song.length:240|d|@0.5", message("song.length", "distribution", 240, rate=0.5)),
        ("a:-1.5e-3|d", message("a", "distribution", -0.0015)),
        ("a:1|c|@.1", message("a", "count", 1, rate=0.1)),
        ("a:1|c|@1e-05", message("a", "count", 1, rate=1e-05)),
        (
            "users.online:1|c|@0.5|#country:china,new",
            message("users.online", "count", 1, rate=0.5, tags={("country", "china"), ("new", "")}),
        ),
        ("a:1|c|#url:http://x/y", message("a", "count", 1, tags={("url", "http://x/y")})),
        ("a:1|c|#format:JPEG", message("a", "count", 1, tags={("format", "jpeg")})),
        (
            "page.views:15|c|#env:dev|c:ci-83c0a99c0a54c0c187f461c7980e9b57f3f6a8b0c918c8d93df19a9de6f3fe1d",
            message("page.views", "count", 15, tags={("env", "dev")}),
        ),
        ("a:1|d|e:it-false,cn-nginx|card:low", message("a", "distribution", 1)),
    ],
)
def test_a_valid_line_is_parsed(line: str, expected: Message) -> None:
    assert parse_line(line) == expected


UNSUPPORTED = [
    "",
    "a",
    "a:1",
    "a|c",
    ":1|c",
    "1a:1|c",
    "a-b:1|c",
    "ä:1|c",
    f"{'a' * 201}:1|c",
    "a:|c",
    "a:1:|c",
    "a:x|c",
    "a:1_0|c",
    "a: 1|c",
    "a:٣|c",
    "a:nan|d",
    "a:inf|d",
    "a:1e999|d",
    "a:0x10|c",
    "a:1|",
    "a:1|x",
    "a:1|C",
    "a:1|c|",
    "a:1|c|0.5",
    "a:1|c|@0",
    "a:1|c|@0.0",
    "a:1|c|@1.5",
    "a:1|c|@-0.5",
    "a:1|c|@",
    "a:1|c|@0.5|@0.5",
    "a:1|c|#",
    "a:1|c|#a,",
    "a:1|c|#a b",
    "a:1|c|#1:2",
    "a:1|c|#a:",
    f"a:1|c|#{'a' * 201}",
    "a:1|c|#a|#b",
    "a:1|c|c:",
    "a:1|c|card:huge",
    "a:1|c|T1656581400",  # the service sends no timestamps, no events and no types but c and d
    "fuel.level:0.5|g",
    "song.length:240|h",
    "song.length:240|ms",
    "users.uniques:1234|s",
    "_e{2,2}:hi|ho",
    "_sc|db|0",
]


def test_an_invalid_or_unsupported_line_is_rejected() -> None:
    def is_rejected(line: str) -> None:
        with pytest.raises(DogStatsDError, match="not NAME:VALUE"):
            parse_line(line)

    assert failing(UNSUPPORTED, is_rejected) == {}


def test_a_duplicate_tag_is_rejected() -> None:
    with pytest.raises(DogStatsDError, match="duplicate tag"):
        parse_line("a:1|c|#a:1,A:1")


LETTERS = "abcdefghijklmnopqrstuvwxyz"
tag_parts = st.text(LETTERS + "0123456789_-./", min_size=1, max_size=20).map(
    lambda text: f"t{text}"
)
numbers = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)


@given(
    name=st.text(LETTERS + "0123456789_.", max_size=30).map(lambda text: f"m{text}"),
    kind=st.sampled_from(["c", "d"]),
    values=st.lists(numbers, min_size=1, max_size=5),
    rate=st.none() | st.floats(0.001, 1),
    tags=st.sets(st.tuples(tag_parts, tag_parts | st.just("")), max_size=4),
    container=st.none() | tag_parts,
)
def test_parsing_reverses_formatting(
    *,
    name: str,
    kind: str,
    values: list[float],
    rate: float | None,
    tags: set[tuple[str, str]],
    container: str | None,
) -> None:
    line = f"{name}:{':'.join(map(str, values))}|{kind}"
    if rate is not None:
        line += f"|@{rate}"
    if tags:
        line += "|#" + ",".join(f"{key}:{value}" if value else key for key, value in tags)
    if container:
        line += f"|c:{container}"

    parsed = parse_line(line)

    assert (parsed.name, parsed.type[0], parsed.values) == (name, kind, tuple(map(float, values)))
    assert (parsed.rate, parsed.tags) == (1 if rate is None else rate, tags)


@given(st.text(max_size=60) | st.text("ab1:|@#cdghmsT,.", max_size=40))
def test_any_text_is_parsed_or_rejected(line: str) -> None:
    with contextlib.suppress(DogStatsDError):
        assert parse_line(line).type in ("count", "distribution")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("asciist.request:1|c", "not in the metric catalogue"),
        (f"{metrics.REQUESTS}:1|d|#status:200", "is a count, not a distribution"),
        (f"{metrics.REQUEST_DURATION}:1|c|#status:200", "is a distribution, not a count"),
        (f"{metrics.REQUESTS}:1|c", "has the tags [], not ['status']"),
        (
            f"{metrics.REQUESTS}:1|c|#status:200,user:42",
            "has the tags ['status', 'user'], not ['status']",
        ),
    ],
)
def test_a_line_that_contradicts_the_catalogue_is_rejected(line: str, reason: str) -> None:
    with pytest.raises(DogStatsDError) as error:
        check_against_catalogue(parse_line(line))
    assert reason in str(error.value)


def test_any_metric_may_have_the_deployment_tags() -> None:
    check_against_catalogue(
        parse_line(f"{metrics.REQUESTS}:1|c|#status:200,env:prod,service:asciist,version:1.2")
    )


def test_all_values_of_the_datadog_client_arrive() -> None:
    with Receiver() as receiver:
        client = DogStatsd(
            host="127.0.0.1", port=receiver.port, disable_buffering=False, disable_telemetry=True
        )
        for number in range(10_000):
            client.increment(metrics.REQUESTS, tags=[f"status:{200 if number % 10 else 503}"])
            client.distribution(metrics.REQUEST_DURATION, number, tags=["status:200"])
        client.increment(metrics.REQUESTS, 5, tags=["status:200"], sample_rate=1)
        client.flush()
        client.wait_for_pending()
        receiver.settle()

        assert not receiver.errors
        assert receiver.total(metrics.REQUESTS) == 10_005
        assert receiver.total(metrics.REQUESTS, status="503") == 1000
        assert receiver.values(metrics.REQUEST_DURATION) == 10_000
        assert receiver.total(metrics.REQUEST_DURATION, status="200") == sum(range(10_000))
        assert receiver.series()[metrics.REQUESTS, frozenset({("status", "503")})] == 1000
        assert receiver.datagrams < receiver.lines == 20_001
        client.close_socket()


def test_bad_lines_are_counted_and_do_not_affect_good_lines_of_the_datagram() -> None:
    with Receiver() as receiver, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        good = f"{metrics.REQUESTS}:1|c|#status:200".encode()
        client.sendto(
            b"\n".join([good, b"nonsense", b"\xff\xfe:1|c", good, b""]), receiver.server_address
        )
        receiver.settle()

        assert receiver.total(metrics.REQUESTS) == 2
        assert (receiver.lines, receiver.bad_lines) == (4, 2)
        assert (
            receiver.errors[0] == "not NAME:VALUE[:VALUE…]|c or d[|@RATE][|#TAG[,TAG…]]: nonsense"
        )


def test_a_sampled_value_counts_several_times() -> None:
    with Receiver() as receiver:
        receiver.take(
            f"{metrics.REQUESTS}:3|c|@0.25|#status:200\n{metrics.REPLY_WAIT}:8|d|@0.5".encode()
        )

        assert receiver.total(metrics.REQUESTS) == 12
        assert (receiver.values(metrics.REPLY_WAIT), receiver.total(metrics.REPLY_WAIT)) == (2, 16)


def test_a_taken_port_raises_an_error() -> None:
    with Receiver() as receiver, pytest.raises(OSError, match="in use"):
        Receiver(receiver.port)


def test_old_buckets_are_dropped_but_stay_in_the_totals() -> None:
    now = 1_000_000.0
    with Receiver(clock=lambda: now) as receiver:
        for _ in range(BUCKETS + 10):
            receiver.take(f"{metrics.REPLY_WAIT}:1|d".encode())
            now += BUCKET_SECONDS
        [buckets] = receiver.read(metrics.REPLY_WAIT, ALL_BUCKETS, lambda _tags: "all").values()

        assert len(buckets) == BUCKETS
        assert receiver.values(metrics.REPLY_WAIT) == BUCKETS + 10


random = np.random.default_rng(1)
DISTRIBUTIONS: dict[str, Callable[[int], np.ndarray]] = {
    "lognormal": lambda count: random.lognormal(3, 1, count),
    "bimodal": lambda count: np.where(
        random.random(count) < 0.7, random.normal(5, 0.5, count), random.normal(900, 80, count)
    ),
    "heavy-tailed": lambda count: 1 + random.pareto(1.1, count),
    "uniform": lambda count: random.uniform(0.1, 10_000, count),
    "whole numbers": lambda count: random.integers(1, 50, count).astype(float),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize("count", [10_000, 100_000])
def test_percentiles_are_within_1_percent_even_after_merging(name: str, count: int) -> None:
    values = DISTRIBUTIONS[name](count)
    now = 1_000_000.0
    with Receiver(clock=lambda: now) as receiver:
        for part in np.array_split(values, 60):  # one part per bucket, split over three tags
            for status, share in zip((200, 404, 503), np.array_split(part, 3), strict=True):
                packed = ":".join(map(str, share.tolist()))
                receiver.take(f"{metrics.REQUEST_DURATION}:{packed}|d|#status:{status}".encode())
            now += BUCKET_SECONDS

        [buckets] = receiver.read(
            metrics.REQUEST_DURATION, ALL_BUCKETS, lambda _tags: "all"
        ).values()
        merged = Summary()
        for each in buckets.values():
            merged.merge(each)
        for summary in (merged, receiver.summary(metrics.REQUEST_DURATION)):
            for percent in (50, 75, 90, 95, 99, 99.9):
                # Like the method "lower" of numpy, a sketch does not interpolate between two
                # values.
                exact = np.percentile(values, percent, method="lower")
                assert summary.percentile(percent) == pytest.approx(exact, rel=ACCURACY * 1.0001)
            assert (summary.count, summary.sum) == (count, pytest.approx(values.sum()))
            assert (summary.min, summary.max) == (values.min(), values.max())


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_values_above_a_threshold_are_counted_except_close_to_it(name: str) -> None:
    values = DISTRIBUTIONS[name](10_000)
    with Receiver() as receiver:
        receiver.take(f"{metrics.REPLY_WAIT}:{':'.join(map(str, values.tolist()))}|d".encode())
        summary = receiver.summary(metrics.REPLY_WAIT)

        for threshold in np.percentile(values, [0, 10, 50, 99, 100]):
            least, most = (
                (values > threshold * (1 + ACCURACY)).sum(),
                (values > threshold * (1 - ACCURACY)).sum(),
            )
            assert least <= summary.count_above(threshold) <= most
        assert summary.count_above(0) == len(values)
        assert summary.count_above(values.max() * 2) == 0
