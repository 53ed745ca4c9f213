"""Gunicorn's configuration: `gunicorn --config python:service.gunicorn_settings`."""

import signal
import sys
from pathlib import Path

import gunicorn.http.wsgi
from gunicorn.arbiter import Arbiter
from gunicorn.config import Config
from gunicorn.glogging import Logger
from gunicorn.workers.gthread import ThreadWorker

from asciist.settings import Settings
from asciist.telemetry import logs

_settings = Settings.from_environment()
_timeouts = _settings.timeouts

wsgi_app = "service.wsgi:application()"
bind = f"[{_settings.host}]:{_settings.port}" if ":" in _settings.host else f"{_settings.host}:{_settings.port}"
worker_class = "gthread"
# The embedded queue lives in its process, whose worker threads use every core.
workers = 1 if _settings.backend == "embedded" else _settings.workers
threads = _settings.max_requests_in_flight + 8  # the few more answer health checks, and say no, when all others wait
timeout = _timeouts.gunicorn
graceful_timeout = _timeouts.graceful_stop
keepalive = _timeouts.keep_alive
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # heartbeats must not wait for a disk
control_socket_disable = True
accesslog = None  # the service writes a line for each request itself
proc_name = "asciist"

gunicorn.http.wsgi.SERVER = "asciist"  # type: ignore[attr-defined]  # missing in its stubs; no answer names the software behind it


class logger_class(Logger):  # noqa: N801 - the name of gunicorn's setting
    """Gunicorn's own lines in the form of all others."""

    def setup(self, cfg: Config) -> None:
        super().setup(cfg)
        for handler in self.error_log.handlers:
            handler.setFormatter(logs.formatter())


def when_ready(server: Arbiter) -> None:
    """Make Ctrl-C a graceful stop; tell a person where the service is and how to try it."""
    # Gunicorn takes SIGINT for "stop at once". A person who presses Ctrl-C wants requests in flight to finish.
    signal.signal(signal.SIGINT, lambda _signal, frame: server.signal(signal.SIGTERM, frame))
    host = "localhost" if _settings.host in ("127.0.0.1", "0.0.0.0", "::1", "::") else _settings.host
    photo = next((path for path in ("examples/cat.jpg",) if Path(path).exists()), "photo.jpg")
    try_it = f"curl --data-binary @{photo} 'http://{host}:{_settings.port}/?width=80'"
    if server.log and not sys.stdout.isatty():
        server.log.info("ready: %s", try_it)
        return
    print(
        f"\nasciist is ready. Try it in another terminal:\n\n    {try_it}\n\n"
        "Ctrl-C stops it once the requests in flight are answered.\n",
        flush=True,
    )


def post_worker_init(worker: ThreadWorker) -> None:
    """The terminal sends Ctrl-C to every process; the web process waits for the master's word."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def worker_exit(server: Arbiter, worker: ThreadWorker) -> None:
    """After the last request: let the workers finish what they hold."""
    service = getattr(worker.wsgi, "extensions", {}).get("asciist")
    if service is not None:
        service.close()
