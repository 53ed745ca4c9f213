"""The worker tier on instances: consumes the request queue until it is asked to stop."""

import logging
import signal
import threading

from asciist.errors import AsciistError
from asciist.settings import Settings
from asciist.telemetry import logs
from asciist.wiring import build_responder

_log = logging.getLogger(__name__)


def main() -> None:
    """Poll with as many threads as `Settings.workers`; on SIGTERM or SIGINT finish the messages in hand and return."""
    logs.configure()
    try:
        settings = Settings.from_environment()
        responder = build_responder(settings)
    except AsciistError as error:
        raise SystemExit(f"asciist: {error}") from error
    asked_to_stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: asked_to_stop.set())
    responder.start(settings.workers)
    _log.info("polling with %d threads", settings.workers)
    asked_to_stop.wait()
    _log.info("stopping once the messages in hand are done")
    responder.stop(settings.timeouts.graceful_stop)


if __name__ == "__main__":
    main()
