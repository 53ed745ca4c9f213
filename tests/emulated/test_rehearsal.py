"""A deployment works in an emulated account from creation to deletion, with either worker and
either reply path."""

import pytest

from tests.emulated.azurite import Azurite
from tests.emulated.matrix import CHOICES, EACH_CHOICE, every_switch, switch_under_load
from tests.emulated.rehearsal import rehearse

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def test_every_choice_can_be_switched_forth_and_back_under_load() -> None:
    """Each worker therefore serves over each reply path."""
    switch_under_load(EACH_CHOICE)


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_the_matrix_has_every_switch_from_every_deployment_once(number: int) -> None:
    choices = [str(place) for place in range(number)]
    corner, made = frozenset[str](), []
    for choice in every_switch(choices):
        made.append((corner, choice))
        corner ^= {choice}
    assert corner == frozenset()
    assert len(made) == len(set(made)) == number * 2**number


def test_the_pruned_matrix_changes_how_requests_are_converted_in_both_directions() -> None:
    made = {choice: EACH_CHOICE.count(choice) for choice in CHOICES}
    assert made == {"worker": 2, "replies": 2, "surroundings": 0, "machines": 0}


def test_a_deployment_with_a_peer_upgrades_and_rolls_back_under_load_and_leaves_nothing() -> None:
    with Azurite() as peer:
        peer.create_container("artifacts")
        report = rehearse({"worker": "lambda", "replies": "queue"}, peer=peer)

    assert report.passed, report.markdown()
