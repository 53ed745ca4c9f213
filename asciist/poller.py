"""Worker tier on EC2 instances: a process that consumes the request queue until it is asked to stop."""

import logging
import signal
import threading

from asciist.errors import AsciistError
from asciist.settings import Settings
from asciist.telemetry import logs
from asciist.wiring import build_responder

_log = logging.getLogger(__name__)


def main() -> None:
    """Poll with `Settings.workers` threads until SIGTERM or SIGINT; then finish the messages in progress and return."""
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
    _log.info("polling with %d threads", settings.workers)
    stop_requested.wait()
    _log.info("stopping after the in-flight messages")
    responder.stop(settings.timeouts.graceful_stop)


if __name__ == "__main__":
    main()
