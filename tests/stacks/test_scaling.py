"""The groups of the templates follow the load of a day: they neither oscillate nor stay large, and
serve up to their capacity."""

import pytest

from tests.stacks.scaling import (
    PEAK_SHARE,
    Group,
    Metrics,
    Minute,
    Steps,
    Tracking,
    day_with_bursts,
    groups_of,
    simulate,
    turns,
)
from tests.stacks.synthesis import choose, synthesized

NAMES = ("asciist-prod-web", "asciist-prod-poller")


@pytest.fixture
def groups() -> dict[str, Group]:
    return groups_of(synthesized(choose("prod", worker="asg")).values())


def day_of(group: Group, name: str) -> list[Minute]:
    load = day_with_bursts(PEAK_SHARE * group.max_instances * group.capacity)
    return simulate(group, load, waits=name.endswith("-poller"))


def test_both_groups_have_policies_on_cpu_and_on_what_waits(groups: dict[str, Group]) -> None:
    tracked = {
        name: {policy.metric for policy in group.policies if isinstance(policy, Tracking | Steps)}
        for name, group in groups.items()
    }
    assert tracked == {NAMES[0]: {"cpu", "in_flight"}, NAMES[1]: {"cpu", "backlog", "age"}}


@pytest.mark.parametrize("name", NAMES)
class TestADay:
    def test_no_instance_is_added_and_removed_again_at_once(
        self, groups: dict[str, Group], name: str
    ) -> None:
        assert turns(day_of(groups[name], name), within=15) == 0

    def test_the_group_returns_to_its_minimum_at_night(
        self, groups: dict[str, Group], name: str
    ) -> None:
        group = groups[name]
        day = day_of(group, name)
        assert day[170].running == day[-1].running == group.min_instances
        assert max(minute.running for minute in day) > 2 * group.min_instances

    def test_no_request_waits_or_is_refused_outside_of_bursts(
        self, groups: dict[str, Group], name: str
    ) -> None:
        day = day_of(groups[name], name)
        bursts = [minute for start in (180, 700, 1150) for minute in range(start, start + 30)]
        assert all(day[minute].backlog == 0 for minute in range(len(day)) if minute not in bursts)

    def test_after_a_burst_nothing_waits_within_twelve_minutes(
        self, groups: dict[str, Group], name: str
    ) -> None:
        day = day_of(groups[name], name)
        for start in (180, 700, 1150):
            assert day[start + 12].backlog == 0


def test_a_standing_step_downwards_swings_all_day(groups: dict[str, Group]) -> None:
    """The pollers once had one: a backlog near 0 removed an instance, however much CPU was
    needed."""
    group = groups[NAMES[1]]
    group.policies = [Tracking("cpu", 60), _Fighting()]
    assert turns(day_of(group, NAMES[1]), within=15) > 20


class _Fighting:
    insists = True

    def wants(self, metrics: Metrics, running: int, booting: int) -> int | None:
        return running + booting - 1 if metrics["backlog"] < 1 else None


def test_a_metric_that_does_not_fall_pins_the_group(groups: dict[str, Group]) -> None:
    """Memory was such a metric: adding instances does not reduce it."""
    group = groups[NAMES[0]]
    group.policies = [Tracking("cpu", 60), _Memory()]
    assert day_of(group, NAMES[0])[-1].running == group.max_instances


class _Memory(Tracking):
    def __init__(self) -> None:
        super().__init__("memory", 75)

    def wants(self, metrics: Metrics, running: int, booting: int) -> int | None:
        return super().wants({**metrics, "memory": 80}, running, booting)
