"""Worker tier on EC2 instances: a process that consumes the request queue until it is asked to
stop.

It notifies systemd once it is working, and then every few seconds. On a fatal error it logs the
reason and exits; systemd restarts it and, after repeated failures, terminates the instance.
"""

import logging
import os
import signal
import socket
import threading
from contextlib import suppress
from typing import Final

from asciist.errors import AsciistError
from asciist.protocol.responder import Responder
from asciist.settings import Settings
from asciist.telemetry import logs
from asciist.wiring import build_responder

_CHECK_SECONDS: Final = 2.0
_MAX_DENIED_SECONDS: Final = 60.0  # the policies of a new role take a while to propagate
"""Maximum seconds for which the queue may refuse the process."""

_log = logging.getLogger(__name__)


def main() -> None:
    """Poll with `Settings.workers` threads until SIGTERM or SIGINT; then finish the messages in
    progress and return."""
    logs.configure()
    try:
        settings = Settings.from_environment()
        responder = build_responder(settings)
    except AsciistError as error:
        raise SystemExit(f"asciist: {error}") from error
    stop_requested = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop_requested.set())
    responder.start(settings.workers)
    problem = _watch(responder, stop_requested, threads=settings.workers)
    _log.info("stopping after the in-flight messages")
    responder.stop(settings.timeouts.graceful_stop)
    if problem:
        _log.critical(problem)
        raise SystemExit(1)


def _watch(responder: Responder, stop_requested: threading.Event, *, threads: int) -> str:
    """Wait for a request to stop or for a fatal error. Return the reason of the error, or an empty
    string."""
    is_ready = False
    while True:
        if not is_ready and responder.has_consumed():
            is_ready = True
            _tell_systemd("READY=1")
            _log.info("polling with %d threads", threads)
        if not responder.is_alive():
            return "a thread that polls has ended"
        if responder.denied_seconds() > _MAX_DENIED_SECONDS:
            return "the request queue refuses the credentials of this instance"
        _tell_systemd("WATCHDOG=1")
        if stop_requested.wait(_CHECK_SECONDS if is_ready else 0.05):
            return ""


def _tell_systemd(message: str) -> None:
    """Notify systemd, if it started this process
    (https://man7.org/linux/man-pages/man3/sd_notify.3.html)."""
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifying:
            notifying.sendto(
                message.encode(),
                address.replace("@", "\0", 1) if address.startswith("@") else address,
            )


if __name__ == "__main__":
    main()
