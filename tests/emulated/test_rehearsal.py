"""A deployment lives its whole life in an emulated account, with either worker and either way of replying."""

import pytest

from tests.emulated.rehearsal import rehearse

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def test_a_deployment_serves_upgrades_under_load_and_leaves_nothing() -> None:
    rehearse({"worker": "lambda", "replies": "queue"})


@pytest.mark.parametrize(("worker", "replies"), [("lambda", "callback"), ("asg", "queue"), ("asg", "callback")])
def test_images_travel_with_the_other_workers_and_ways_of_replying(worker: str, replies: str) -> None:
    rehearse({"worker": worker, "replies": replies}, whole=False)
