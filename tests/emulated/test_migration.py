"""A migration between two clouds fails no request, and a broken new origin is rolled back."""

from pathlib import Path

import pytest

from asciist_migration_testing.haproxy_server import binary
from tests.emulated.migration.operator import Pace
from tests.emulated.migration.rehearsal import rehearsal

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

HURRIED = Pace(
    rate=25,
    interval_seconds=1,
    min_requests=1,
    poll_seconds=0.2,
    late_seconds=0.5,
    slower=10,
    drain_seconds=1,
    hurries=True,
)


def test_the_short_rehearsal_of_a_migration_is_as_expected(tmp_path: Path) -> None:
    binary()  # or skip
    said: list[str] = []
    with rehearsal(
        tmp_path, HURRIED, stacks=False, say=lambda text: said.append(str(text))
    ) as rehearsed:
        rehearsed.broken()
        rehearsed.there()

    assert rehearsed.passed, "\n".join(said)
    assert [scenario.name for scenario in rehearsed.scenarios] == [
        "The newcomer answers 500 at 10%, with healthy checks",
        "The whole move",
    ]
