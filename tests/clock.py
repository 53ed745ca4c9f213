"""A clock that tests set."""


class Clock:
    """Replacement for `time.time` or `time.monotonic`: each call returns `now`, in seconds."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now
