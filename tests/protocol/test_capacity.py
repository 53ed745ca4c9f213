"""Capacity is never exceeded, is always released, and is granted in order."""

import threading
import time

import pytest

from asciist.errors import OverloadedError
from asciist.protocol.capacity import Capacity


def test_reservations_never_exceed_the_total() -> None:
    capacity = Capacity(10)
    held = 0
    most = 0
    lock = threading.Lock()

    def use(amount: int) -> None:
        nonlocal held, most
        with capacity.reserve(amount, wait_seconds=20):
            with lock:
                held += amount
                most = max(most, held)
            time.sleep(0.001)
            with lock:
                held -= amount

    threads = [threading.Thread(target=use, args=(1 + number % 7,)) for number in range(60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert 0 < most <= 10
    assert held == 0


def test_a_reservation_that_times_out_raises_overloaded() -> None:
    capacity = Capacity(1)
    with (
        capacity.reserve(1, wait_seconds=0),
        pytest.raises(OverloadedError),
        capacity.reserve(1, wait_seconds=0.05),
    ):
        pass
    with capacity.reserve(1, wait_seconds=0):
        pass  # the refused reservation holds nothing


def test_a_reservation_above_the_total_reserves_the_total() -> None:
    capacity = Capacity(5)
    with (
        capacity.reserve(50, wait_seconds=0),
        pytest.raises(OverloadedError),
        capacity.reserve(1, wait_seconds=0),
    ):
        pass


def test_an_error_releases_the_reservation() -> None:
    capacity = Capacity(1)
    with pytest.raises(KeyError), capacity.reserve(1, wait_seconds=0):
        raise KeyError
    with capacity.reserve(1, wait_seconds=0):
        pass


def test_a_large_reservation_is_not_starved_by_small_ones_behind_it() -> None:
    capacity = Capacity(2)
    order: list[str] = []

    def use(name: str, amount: int) -> None:
        with capacity.reserve(amount, wait_seconds=20):
            order.append(name)

    with capacity.reserve(1, wait_seconds=0):
        large = threading.Thread(target=use, args=("large", 2))
        large.start()
        time.sleep(0.05)
        small = threading.Thread(target=use, args=("small", 1))
        small.start()
        time.sleep(0.05)
        assert order == []
    large.join()
    small.join()
    assert order == ["large", "small"]
