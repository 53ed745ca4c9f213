"""The stand-in for Datadog's agent: what it takes, what it refuses, and how exact its percentiles are."""

import contextlib
import socket
from collections.abc import Callable

import numpy as np
import pytest
from datadog.dogstatsd import DogStatsd
from hypothesis import given
from hypothesis import strategies as st

from asciist.telemetry import metrics
from asciist.telemetry.metrics import CATALOGUE
from observability.local.dogstatsd import (
    BUCKET_SECONDS,
    BUCKETS,
    TYPES,
    DogStatsDError,
    Message,
    Receiver,
    check_against_catalogue,
    merge,
    parse_line,
)

ACCURACY = 0.01


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("page.views:1|c", Message(name="page.views", type="c", values=(1,))),
        ("fuel.level:0.5|g", Message(name="fuel.level", type="g", values=(0.5,))),
        ("song.length:240|h|@0.5", Message(name="song.length", type="h", values=(240,), rate=0.5)),
        ("song.length:240:234|ms", Message(name="song.length", type="ms", values=(240, 234))),
        ("users.uniques:1234|s", Message(name="users.uniques", type="s", member="1234")),
        ("users.uniques:a:b|s", Message(name="users.uniques", type="s", member="a:b")),
        ("a:-1.5e-3|d", Message(name="a", type="d", values=(-0.0015,))),
        ("a:1|c|@.1", Message(name="a", type="c", values=(1,), rate=0.1)),
        ("a:1|c|@1e-05", Message(name="a", type="c", values=(1,), rate=1e-05)),
        (
            "users.online:1|c|@0.5|#country:china,new",
            Message(name="users.online", type="c", values=(1,), rate=0.5, tags=frozenset({("country", "china"), ("new", "")})),
        ),
        ("a:1|c|#url:http://x/y", Message(name="a", type="c", values=(1,), tags=frozenset({("url", "http://x/y")}))),
        ("a:1|c|#format:JPEG", Message(name="a", type="c", values=(1,), tags=frozenset({("format", "jpeg")}))),
        (
            "page.views:15|c|#env:dev|c:ci-83c0a99c0a54c0c187f461c7980e9b57f3f6a8b0c918c8d93df19a9de6f3fe1d|T1656581400",
            Message(
                name="page.views",
                type="c",
                values=(15,),
                tags=frozenset({("env", "dev")}),
                container="ci-83c0a99c0a54c0c187f461c7980e9b57f3f6a8b0c918c8d93df19a9de6f3fe1d",
                timestamp=1656581400,
            ),
        ),
        (
            "a:1|d|e:it-false,cn-nginx|card:low",
            Message(name="a", type="d", values=(1,), external_data="it-false,cn-nginx", cardinality="low"),
        ),
    ],
)
def test_what_the_protocol_has_is_read(line: str, message: Message) -> None:
    assert parse_line(line) == message


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("", "the name ''"),
        ("a", "not NAME:VALUE|TYPE"),
        ("a:1", "not NAME:VALUE|TYPE"),
        ("a|c", "not NAME:VALUE|TYPE"),
        (":1|c", "the name ''"),
        ("1a:1|c", "the name '1a'"),
        ("a-b:1|c", "the name 'a-b'"),
        ("ä:1|c", "the name 'ä'"),
        (f"{'a' * 201}:1|c", "the name "),
        ("a:|c", "the value ''"),
        ("a:1:|c", "the value ''"),
        ("a:x|c", "the value 'x'"),
        ("a:1_0|c", "the value '1_0'"),
        ("a: 1|c", "the value ' 1'"),
        ("a:nan|d", "the value 'nan'"),
        ("a:inf|d", "the value 'inf'"),
        ("a:1e999|d", "the value '1e999'"),
        ("a:0x10|c", "the value '0x10'"),
        ("a:|s", "a set without a value"),
        ("a:1|", "there is no type ''"),
        ("a:1|x", "there is no type 'x'"),
        ("a:1|C", "there is no type 'C'"),
        ("a:1|c|", "the field '' is not known"),
        ("a:1|c|0.5", "the field '0.5' is not known"),
        ("a:1|c|@0", "'0' is no rate"),
        ("a:1|c|@0.0", "'0.0' is no rate"),
        ("a:1|c|@1.5", "'1.5' is no rate"),
        ("a:1|c|@-0.5", "'-0.5' is no rate"),
        ("a:1|c|@", "'' is no rate"),
        ("a:1|c|@0.5|@0.5", "the rate is given twice"),
        ("a:1|g|@0.5", "a gauge has no rate"),
        ("a:1|s|@0.5", "a set has no rate"),
        ("a:1|c|#", "'' is no tags"),
        ("a:1|c|#a,", "the tag ''"),
        ("a:1|c|#a b", "the tag 'a b'"),
        ("a:1|c|#1:2", "the tag '1:2'"),
        ("a:1|c|#a:", "the tag 'a:'"),
        (f"a:1|c|#{'a' * 201}", "the tag "),
        ("a:1|c|#a:1,a:1", "the tag 'a:1' is given twice"),
        ("a:1|c|#a|#b", "the tags is given twice"),
        ("a:1|d|T1656581400", "a distribution has no timestamp"),
        ("a:1|c|Tnow", "'now' is no timestamp"),
        ("a:1|c|T-5", "'-5' is no timestamp"),
        ("a:1|c|c:", "'' is no container"),
        ("a:1|c|card:huge", "'huge' is no cardinality"),
        ("_e{2,2}:hi|ho", "an event"),
        ("_sc|db|0", "an event"),
    ],
)
def test_all_else_is_refused_with_a_reason(line: str, reason: str) -> None:
    with pytest.raises(DogStatsDError) as refusal:
        parse_line(line)
    assert reason in str(refusal.value)


LETTERS = "abcdefghijklmnopqrstuvwxyz"
tag_parts = st.text(LETTERS + "0123456789_-./", min_size=1, max_size=20).map(lambda text: f"t{text}")
numbers = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)


@given(
    name=st.text(LETTERS + "0123456789_.", max_size=30).map(lambda text: f"m{text}"),
    kind=st.sampled_from(["c", "g", "ms", "h", "d"]),
    values=st.lists(numbers, min_size=1, max_size=5),
    rate=st.none() | st.floats(0.001, 1),
    tags=st.sets(st.tuples(tag_parts, tag_parts | st.just("")), max_size=4),
    container=st.none() | tag_parts,
)
def test_what_is_written_is_read_back(
    *, name: str, kind: str, values: list[float], rate: float | None, tags: set[tuple[str, str]], container: str | None
) -> None:
    line = f"{name}:{':'.join(map(str, values))}|{kind}"
    has_rate = rate is not None and kind != "g"
    if has_rate:
        line += f"|@{rate}"
    if tags:
        line += "|#" + ",".join(f"{key}:{value}" if value else key for key, value in tags)
    if container:
        line += f"|c:{container}"

    message = parse_line(line)

    assert (message.name, message.type, message.values) == (name, kind, tuple(map(float, values)))
    assert message.rate == (rate if has_rate else 1)
    assert (message.tags, message.container) == (tags, container or "")


@given(st.text(max_size=60) | st.text("ab1:|@#cdghmsT,.", max_size=40))
def test_no_line_does_harm(line: str) -> None:
    with contextlib.suppress(DogStatsDError):
        assert parse_line(line).type in TYPES


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("asciist.request:1|c", "not in the catalogue"),
        (f"{metrics.REQUESTS}:1|d|#status:200", "is a count, not a distribution"),
        (f"{metrics.REQUEST_DURATION}:1|h|#status:200", "is a distribution, not a histogram"),
        (f"{metrics.REQUESTS}:1|c", "has the tags [], not ['status']"),
        (f"{metrics.REQUESTS}:1|c|#status:200,user:42", "has the tags ['status', 'user'], not ['status']"),
        (f"{metrics.REQUESTS}:1|c|#status:200|T1656581400", "has a timestamp"),
    ],
)
def test_the_catalogue_says_which_values_there_may_be(line: str, reason: str) -> None:
    with pytest.raises(DogStatsDError) as refusal:
        check_against_catalogue(parse_line(line), CATALOGUE)
    assert reason in str(refusal.value)


def test_the_tags_of_a_deployment_may_come_with_any_value() -> None:
    check_against_catalogue(parse_line(f"{metrics.REQUESTS}:1|c|#status:200,env:prod,service:asciist,version:1.2"), CATALOGUE)


def test_counts_and_values_of_the_vendors_client_arrive() -> None:
    with Receiver() as receiver:
        client = DogStatsd(host="127.0.0.1", port=receiver.port, disable_buffering=False, disable_telemetry=True)
        for number in range(10_000):
            client.increment(metrics.REQUESTS, tags=[f"status:{200 if number % 10 else 503}"])
            client.distribution(metrics.REQUEST_DURATION, number, tags=["status:200"])
        client.increment(metrics.REQUESTS, 5, tags=["status:200"], sample_rate=1)
        client.flush()
        client.wait_for_pending()
        receiver.settle()

        assert not receiver.errors
        assert receiver.total(metrics.REQUESTS) == receiver.totals()[metrics.REQUESTS] == 10_005
        assert receiver.total(metrics.REQUESTS, status="503") == 1000
        assert receiver.values(metrics.REQUEST_DURATION) == 10_000
        assert receiver.total(metrics.REQUEST_DURATION, status="200") == sum(range(10_000))
        assert receiver.series()[metrics.REQUESTS, frozenset({("status", "503")})] == 1000
        assert receiver.datagrams < receiver.lines == 20_001
        client.close_socket()


def test_bad_lines_are_counted_and_shown_and_the_good_ones_beside_them_taken() -> None:
    with Receiver() as receiver, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        good = f"{metrics.REQUESTS}:1|c|#status:200".encode()
        client.sendto(b"\n".join([good, b"nonsense", b"\xff\xfe:1|c", good, b""]), receiver.address)
        receiver.settle()

        assert receiver.total(metrics.REQUESTS) == 2
        assert (receiver.lines, receiver.bad_lines) == (4, 2)
        assert str(receiver.errors[0]) == "not NAME:VALUE|TYPE: nonsense"


def test_a_sampled_value_stands_for_several() -> None:
    with Receiver() as receiver:
        receiver.take(f"{metrics.REQUESTS}:3|c|@0.25|#status:200\n{metrics.REPLY_WAIT}:8|d|@0.5".encode())

        assert receiver.total(metrics.REQUESTS) == 12
        assert (receiver.values(metrics.REPLY_WAIT), receiver.total(metrics.REPLY_WAIT)) == (2, 16)


def test_a_port_that_is_taken_is_an_error() -> None:
    with Receiver() as receiver, pytest.raises(OSError, match="in use"):
        Receiver(receiver.port)


def test_buckets_are_forgotten_after_a_while_and_totals_are_not() -> None:
    now = 1_000_000.0
    with Receiver(clock=lambda: now) as receiver:
        for _ in range(BUCKETS + 10):
            receiver.take(f"{metrics.REPLY_WAIT}:1|d".encode())
            now += BUCKET_SECONDS
        [buckets] = receiver.read(metrics.REPLY_WAIT, since=0, group=lambda _tags: "all").values()

        assert len(buckets) == BUCKETS
        assert receiver.values(metrics.REPLY_WAIT) == BUCKETS + 10


random = np.random.default_rng(1)
DISTRIBUTIONS: dict[str, Callable[[int], np.ndarray]] = {
    "lognormal": lambda count: random.lognormal(3, 1, count),
    "bimodal": lambda count: np.where(random.random(count) < 0.7, random.normal(5, 0.5, count), random.normal(900, 80, count)),
    "heavy-tailed": lambda count: 1 + random.pareto(1.1, count),
    "uniform": lambda count: random.uniform(0.1, 10_000, count),
    "whole numbers": lambda count: random.integers(1, 50, count).astype(float),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize("count", [10_000, 100_000])
def test_percentiles_are_within_a_hundredth_also_when_merged(name: str, count: int) -> None:
    values = DISTRIBUTIONS[name](count)
    now = 1_000_000.0
    with Receiver(clock=lambda: now) as receiver:
        for part in np.array_split(values, 60):  # buckets, in each of which the values are of three tags
            for status, share in zip((200, 404, 503), np.array_split(part, 3), strict=True):
                packed = ":".join(map(str, share.tolist()))
                receiver.take(f"{metrics.REQUEST_DURATION}:{packed}|d|#status:{status}".encode())
            now += BUCKET_SECONDS

        [buckets] = receiver.read(metrics.REQUEST_DURATION, since=0, group=lambda _tags: "all").values()
        for summary in (merge(buckets.values()), receiver.summary(metrics.REQUEST_DURATION)):
            for percent in (50, 75, 90, 95, 99, 99.9):
                # A sketch answers with one of the values, as numpy does when it takes the lower of two.
                exact = np.percentile(values, percent, method="lower")
                assert summary.percentile(percent) == pytest.approx(exact, rel=ACCURACY * 1.0001)
            assert (summary.count, summary.sum) == (count, pytest.approx(values.sum()))
            assert (summary.min, summary.max) == (values.min(), values.max())


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_values_beyond_a_threshold_are_counted_but_for_those_next_to_it(name: str) -> None:
    values = DISTRIBUTIONS[name](10_000)
    with Receiver() as receiver:
        receiver.take(f"{metrics.REPLY_WAIT}:{':'.join(map(str, values.tolist()))}|d".encode())
        summary = receiver.summary(metrics.REPLY_WAIT)

        for threshold in np.percentile(values, [0, 10, 50, 99, 100]):
            least, most = (values > threshold * (1 + ACCURACY)).sum(), (values > threshold * (1 - ACCURACY)).sum()
            assert least <= summary.count_above(threshold) <= most
        assert summary.count_above(0) == len(values)
        assert summary.count_above(values.max() * 2) == 0
