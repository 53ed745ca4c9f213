"""The needs, the costs and the limits of a load follow from the code, the measurements and the
price lists."""

import math
import re
import subprocess
import sys
import tomllib
from dataclasses import fields, replace
from datetime import date
from itertools import pairwise
from pathlib import Path

import pytest

from operations.capacity import (
    HOURS,
    SECONDS,
    Capacity,
    Load,
    LoadError,
    ResultsError,
    capacity,
)
from operations.capacity.figures import Row, conversion_ms, image_bytes, measured, rows
from stacks.environment import ENVIRONMENTS, Environment, Sizes

ROOT = Path(__file__).parents[1]
VALID = {"plain_http": "true", "pages_nobody": "true"}
DEV = Environment.load("dev", VALID)
PROD = Environment.load("prod", VALID)
POLLERS = replace(PROD, worker="asg")
CALLBACKS = replace(PROD, replies="callback")
RATES = (0.0, 10.0, 1000.0, 100_000.0, 1_000_000.0)
RESULTS = """\
| 1 MP, quality 95, 0.50 bytes per pixel | 3.0 | 4.00 | 1.1 | 1.1 | yes |
| 11 MP, quality 95, 0.40 bytes per pixel | 3.0 | 24.00 | 1.1 | 1.1 | yes |
| JPEG of 1 MP, width 80 | 1.00 | 3.00 | 2 | | |
| JPEG of 11 MP, width 80 | 1.00 | 4.00 | 2 | | |
"""


def needed(
    rate: float,
    environment: Environment = PROD,
    *,
    megapixels: float = 2,
    image_bytes: int = 0,
    hit_share: float = 0,
) -> Capacity:
    load = Load(
        requests_per_second=rate,
        megapixels=megapixels,
        image_bytes=image_bytes,
        hit_share=hit_share,
    )
    return capacity(load, environment)


def usd(found: Capacity) -> dict[str, float]:
    return {line.name: line.usd for line in found.lines}


def units(found: Capacity) -> dict[str, float]:
    return {line.name: line.units for line in found.lines}


def test_each_tier_of_a_price_applies_to_its_units_only() -> None:
    tiered = replace(rows("prices")["s3_put"], usd=[(10, 3.0), (30, 2.0), (math.inf, 1.0)])

    assert [tiered.price(count) for count in (0, 10, 11, 30, 31)] == [0, 30, 32, 70, 71]


def test_conversions_are_interpolated_between_the_sizes_that_were_measured() -> None:
    assert conversion_ms(1, "ramp", RESULTS) == 4
    assert conversion_ms(6, "ramp", RESULTS) == 14
    assert conversion_ms(22, "ramp", RESULTS) == 48
    assert conversion_ms(6, "structure", RESULTS) == 14 + 2.5
    assert image_bytes(2, RESULTS) == 1_000_000
    with pytest.raises(ResultsError, match="make bench SECTIONS=speed"):
        conversion_ms(1, "ramp", "nothing")


def test_an_idle_deployment_costs_what_stands_there() -> None:
    idle = needed(0, DEV)

    assert idle.usd_a_thousand_requests is None
    assert usd(idle)["web instances, t4g.small"] == pytest.approx(0.0168 * 730)
    assert usd(idle)["NAT gateways: hours"] == pytest.approx(0.045 * 730)
    assert usd(idle)["public IPv4 addresses"] == pytest.approx(3 * 0.005 * 730)
    # Each of two processes polls its reply queue every 20 s, and Lambda has five long polls at the
    # request queue.
    assert units(idle)["SQS: requests"] == pytest.approx(7 / 20 * SECONDS)
    # Each process renews its entry every minute, and lists all of them every 150 s.
    assert units(idle)["S3: PUT and LIST requests"] == pytest.approx(
        2 * (1 / 60 + 1 / 150) * SECONDS
    )
    assert (
        usd(idle)["load balancer: units"]
        == usd(idle)["Lambda: duration"]
        == usd(idle)["S3: storage"]
        == 0
    )


def test_a_fresh_request_is_counted_as_the_code_makes_it() -> None:
    found, calls = needed(1000), needed(1000, CALLBACKS).sqs_calls

    requests = 1000 * SECONDS
    assert units(found)["S3: GET requests"] == 2 * requests
    assert units(found)["S3: PUT and LIST requests"] == pytest.approx(2 * requests, rel=1e-3)
    assert units(found)["Lambda: invocations"] == requests
    assert calls == {"send": 1000, "receive": 1000, "delete": 1000}
    uploaded = 1000 * 3600 * (found.load.upload_bytes + measured()["answer_bytes"]) / 1e9
    assert units(found)["load balancer: units"] == pytest.approx(HOURS * uploaded)
    assert found.capacity_unit_of == "bytes"


def test_replies_are_received_and_deleted_together_only_when_many_arrive() -> None:
    def replies(rate: float) -> float:
        one = replace(PROD, sizes=replace(PROD.sizes, web_min_instances=1))
        calls = needed(rate, one).sqs_calls
        return (calls["receive replies"] + calls["delete replies"]) / rate

    assert replies(10) == pytest.approx(2)
    assert replies(100) < 2 * 10 / 11


def test_a_small_answer_to_a_small_image_is_billed_by_its_connection() -> None:
    found = needed(1000, image_bytes=1000)

    assert found.capacity_unit_of == "opening"
    assert units(found)["load balancer: units"] == pytest.approx(HOURS * 1000 / 25)


def test_a_hit_needs_neither_a_worker_nor_a_put() -> None:
    hits, half = needed(1000, hit_share=1.0), needed(1000, hit_share=0.5)

    assert (hits.worker_concurrency, units(hits)["Lambda: invocations"]) == (0, 0)
    assert units(hits)["S3: GET requests"] == 1000 * SECONDS
    heartbeats_and_lists = 2 * hits.web_instances * (1 / 60 + 1 / 150)
    assert units(hits)["S3: PUT and LIST requests"] == pytest.approx(heartbeats_and_lists * SECONDS)
    assert hits.usd_a_month < half.usd_a_month < needed(1000).usd_a_month


@pytest.mark.parametrize(
    "environment", [DEV, PROD, POLLERS, CALLBACKS], ids=["dev", "prod", "pollers", "callbacks"]
)
def test_more_requests_need_and_cost_no_less(environment: Environment) -> None:
    for lower, higher in pairwise(needed(rate, environment) for rate in RATES):
        assert higher.usd_a_month > lower.usd_a_month
        assert higher.web_instances >= lower.web_instances
        assert (
            higher.worker_concurrency + higher.pollers >= lower.worker_concurrency + lower.pollers
        )
        for before, after in zip(lower.lines, higher.lines, strict=True):
            assert after.usd >= before.usd, after.name


def test_larger_images_cost_more() -> None:
    totals = [
        needed(1000, megapixels=megapixels).usd_a_month for megapixels in (0.3, 2, 12, 24, 50)
    ]

    assert totals == sorted(totals)


def test_the_workers_are_as_many_as_littles_law_says() -> None:
    found = needed(1000)

    assert found.worker_concurrency == math.ceil(1000 * found.worker_seconds)
    assert found.worker_growth_minutes == pytest.approx(found.worker_concurrency / 300)
    assert needed(100_000).worker_growth_minutes is None


@pytest.mark.parametrize("environment", [DEV, PROD], ids=["dev", "prod"])
def test_the_first_limit_of_the_environment_is_its_concurrency(environment: Environment) -> None:
    first = needed(100_000, environment).first_limit(is_own=True)

    assert first is not None
    assert (first.name, first.value) == (
        "worker_max_concurrency",
        environment.sizes.worker_max_concurrency,
    )
    seconds = needed(1, environment).worker_seconds
    assert first.requests_per_second == pytest.approx(
        environment.sizes.worker_max_concurrency / seconds
    )


@pytest.mark.parametrize(
    ("rate", "met"),
    [
        (10.0, []),
        (1000.0, ["worker_max_concurrency", "vcpus"]),
        (
            100_000.0,
            [
                "web_max_instances",
                "s3_put",
                "s3_get",
                "load_balancer_units",
                "event_source_concurrency",
            ],
        ),
        (1_000_000.0, ["targets", "nat_connections", "sqs_in_flight"]),
    ],
)
def test_each_scale_meets_its_limits(rate: float, met: list[str]) -> None:
    found = {limit.name: limit.requests_per_second for limit in needed(rate).limits}
    names = {quota.key: quota.name for quota in rows("quotas").values()}
    below = max([0.0, *(each for each in RATES if each < rate)])

    assert needed(rate).limits_met == sum(at < rate for at in found.values())
    assert needed(rate).limits_met > 0 or not met
    for key in met:
        assert below <= found[names.get(key, key)] < rate, key


def test_own_limits_come_first_and_each_part_in_the_order_in_which_it_is_met() -> None:
    found = needed(1000, POLLERS).limits

    assert [limit.is_own for limit in found] == sorted(
        (limit.is_own for limit in found), reverse=True
    )
    for part in (True, False):
        rates = [limit.requests_per_second for limit in found if limit.is_own is part]
        assert rates == sorted(rates)
    assert "poller_max_instances" in [limit.name for limit in found]


def test_sizes_come_from_the_files_of_the_environments() -> None:
    for name, environment in (("dev", DEV), ("prod", PROD)):
        sizes = tomllib.loads((ENVIRONMENTS / f"{name}.toml").read_text())["sizes"]
        found = {limit.name: limit.value for limit in needed(0, environment).limits}

        assert needed(0, environment).web_instances == sizes["web_min_instances"]
        assert found["web_max_instances"] == sizes["web_max_instances"]
        assert found["worker_max_concurrency"] == sizes["worker_max_concurrency"]
        assert (
            needed(0, replace(environment, worker="asg")).pollers == sizes["poller_min_instances"]
        )


def test_what_a_day_of_storage_costs_follows_from_the_days_it_is_kept() -> None:
    one = replace(PROD, access_logs=False, sizes=replace(PROD.sizes, artifact_days=1))

    assert units(needed(10, one))["S3: storage"] == pytest.approx(
        86_400 * 10 * (needed(10).load.upload_bytes + measured()["art_bytes"]) / 1e9
    )


def test_every_figure_has_a_source_and_a_date_and_unverified_ones_are_named() -> None:
    found: list[Row] = [
        *rows("prices").values(),
        *rows("quotas").values(),
        *rows("assumptions").values(),
    ]

    assert len(found) > 40
    for row in found:
        assert re.fullmatch(r"https://\S+", row.source), row
        # A day, whatever the zone.
        assert date(2026, 1, 1) <= row.taken <= date.today(), row  # noqa: DTZ011
    unverified = {row.key for row in found if not row.verified}
    named = set(needed(1000).unverified)
    assert named <= unverified
    assert {
        key for key in unverified if key in rows("assumptions") or key in rows("quotas")
    } <= named
    assert "firewall_requests" not in needed(1000, DEV).unverified
    assert "ec2.c7g.large" in named
    assert "ec2.c7i.large" not in named


def test_every_type_of_instance_has_a_price() -> None:
    types = [field.name for field in fields(Sizes) if field.name.endswith("instance_type")]
    for environment in (DEV, PROD):
        for architecture in ("arm64", "x86_64"):
            chosen = replace(environment, architecture=architecture)
            for name in types:
                assert f"ec2.{chosen.instance_type(getattr(chosen.sizes, name))}" in rows("prices")
            assert f"lambda_{architecture}" in rows("prices")


@pytest.mark.parametrize(
    ("load", "message"),
    [
        (Load(requests_per_second=-1), "requests per second must be from 0 to 10,000,000, not -1"),
        (Load(requests_per_second=math.nan), "requests per second"),
        (Load(requests_per_second=math.inf), "requests per second"),
        (
            Load(requests_per_second=1, hit_share=1.5),
            "the share of hits must be from 0 to 1, not 1.5",
        ),
        (Load(requests_per_second=1, megapixels=60), "megapixels must be from 0.01 to 50, not 60"),
        (
            Load(requests_per_second=1, image_bytes=20_000_000),
            "the size of an image in bytes must be from 0 to 10,000,000",
        ),
        (Load(requests_per_second=1, style="braille"), "the style must be one of ramp, structure"),
    ],
)
def test_an_impossible_load_is_an_error(load: Load, message: str) -> None:
    with pytest.raises(LoadError, match=re.escape(message)):
        capacity(load, PROD)


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "bench.capacity", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--environment", "nowhere"], "environment must be one of dev, prod"),
        (["--hit-share", "2"], "the share of hits must be from 0 to 1"),
        (["--requests-per-second", "many"], "invalid float value: 'many'"),
    ],
)
def test_the_command_rejects_what_it_cannot_compute(arguments: list[str], message: str) -> None:
    result = run(*arguments)

    assert (result.returncode, result.stdout) == (2, "")
    assert message in result.stderr
