"""Runs calls that block in native code, where gevent's event loop cannot interrupt them."""

import sys
from collections.abc import Callable
from functools import cache
from typing import Any, Final, TypeVar, cast

_THREADS: Final = 32
"""Native threads of one process: the maximum of calls in progress. Further calls wait for a free
thread."""

Result = TypeVar("Result")


def offload(call: Callable[..., Result], *arguments: Any, **options: Any) -> Result:
    """Run a call that blocks in native code, and return its result or raise its error.

    In a process with gevent's event loop, the call runs in a native thread, so other requests
    proceed; the hand-over takes about 60 microseconds. In any other process, it runs in the
    caller's thread.
    """
    if not _has_event_loop():
        return call(*arguments, **options)
    result, error = _pool().apply(_outcome, (call, arguments, options))
    if error is not None:
        try:
            raise error
        finally:
            # the error refers to this frame, which would otherwise live until the next garbage
            # collection
            del error
    return cast(Result, result)


def _outcome(
    call: Callable[..., Any], arguments: tuple[Any, ...], options: dict[str, Any]
) -> tuple[Any, Exception | None]:
    """Return (result, None) or (None, error): gevent would print a traceback for an error raised in
    a thread."""
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
    # Only a process that already uses gevent needs it.
    from gevent.threadpool import ThreadPool  # noqa: PLC0415

    return ThreadPool(_THREADS)
