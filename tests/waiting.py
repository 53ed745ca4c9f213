"""Polling for a condition that another thread or process is about to fulfil."""

import time
from collections.abc import Callable


def wait_until(condition: Callable[[], bool], seconds: float = 120) -> None:
    """Poll until `condition` holds. Fail if it does not hold within `seconds`."""
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, f"the condition did not hold within {seconds} s"
        time.sleep(0.01)
