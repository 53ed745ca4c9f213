"""Calls that block in native code, which an event loop cannot interrupt."""

import sys
from collections.abc import Callable
from functools import cache
from typing import Any, Final, TypeVar, cast

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
    result, error = _pool().apply(_outcome, (call, arguments, options))
    if error is not None:
        try:
            raise error
        finally:
            del error  # it refers to this frame, which would otherwise be freed only when Python looks for garbage
    return cast(Result, result)


def _outcome(call: Callable[..., Any], arguments: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, Exception | None]:
    """Return (result, None) or (None, error). gevent prints a traceback for an error that a thread raises."""
    try:
        return call(*arguments, **options), None
    except Exception as error:  # noqa: BLE001 - the caller raises it
        return None, error


@cache
def _has_event_loop() -> bool:
    gevent = sys.modules.get("gevent.monkey")
    return gevent is not None and gevent.is_module_patched("threading")


@cache
def _pool() -> Any:
    from gevent.threadpool import ThreadPool  # noqa: PLC0415 - only a process that already uses gevent needs it

    return ThreadPool(_THREADS)
