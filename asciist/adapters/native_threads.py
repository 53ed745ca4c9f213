"""Calls that block in native code, which an event loop cannot interrupt."""

import sys
from collections.abc import Callable
from functools import cache
from typing import Any, Final, TypeVar

_THREADS: Final = 32
"""Native threads of one process: calls in progress at a time. Further calls wait for a free thread."""

Result = TypeVar("Result")


def offload(call: Callable[..., Result], *arguments: Any, **options: Any) -> Result:
    """Return the result of a call that blocks in native code. Raises what it raises.

    In a process with gevent's event loop, the call runs in a native thread, so that other requests go on meanwhile; a hand-over
    takes about 60 microseconds. In any other process, it runs in the caller's thread.
    """
    if not _has_event_loop():
        return call(*arguments, **options)
    result: Result = _pool().apply(call, arguments, options)
    return result


@cache
def _has_event_loop() -> bool:
    gevent = sys.modules.get("gevent.monkey")
    return gevent is not None and gevent.is_module_patched("threading")


@cache
def _pool() -> Any:
    from gevent.threadpool import ThreadPool  # noqa: PLC0415 - only a process that already uses gevent needs it

    return ThreadPool(_THREADS)
