"""A deployment works in an emulated account from creation to deletion, with either worker and either reply path."""

import pytest

from tests.emulated.rehearsal import rehearse

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def test_a_deployment_serves_and_upgrades_under_load_and_is_destroyed() -> None:
    rehearse({"worker": "lambda", "replies": "queue"})


@pytest.mark.parametrize(("worker", "replies"), [("lambda", "callback"), ("asg", "queue"), ("asg", "callback")])
def test_images_are_converted_with_each_other_worker_and_reply_path(worker: str, replies: str) -> None:
    rehearse({"worker": worker, "replies": replies}, whole=False)
