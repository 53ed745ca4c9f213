"""Gunicorn's configuration: `gunicorn --config python:asciist_service.gunicorn_settings`.

The wheel installs this package as `asciist_service`. In a checkout it is `service`, too.
"""

import gc
import os
import resource
import signal
import sys
from contextlib import suppress
from pathlib import Path

import gunicorn.http.wsgi
from gunicorn.arbiter import Arbiter
from gunicorn.config import Config
from gunicorn.glogging import Logger
from gunicorn.workers.base import Worker

from asciist.settings import Settings
from asciist.telemetry import logs
from asciist.wiring import link_keys, shared_tasks
from .hot_answers import SharedCounter

_settings = Settings.from_environment()
_timeouts = _settings.timeouts

tasks = shared_tasks(_settings)
keys = link_keys(_settings)
deletions = SharedCounter()
"""The web processes share these three, because they inherit them when they are forked."""


_MOST_DESCRIPTORS = 20_000
_OTHER_DESCRIPTORS = 500
"""Descriptors besides those of connections: files, logs, and two for each conversion in
progress."""


def _max_connections() -> int:
    """Raise the limit on file descriptors as far as allowed; return the number of connections that
    fit into it in one process."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    descriptors = (
        min(hard, _MOST_DESCRIPTORS) if hard != resource.RLIM_INFINITY else _MOST_DESCRIPTORS
    )
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, hard))
    return max(descriptors - _OTHER_DESCRIPTORS, descriptors // 2)


wsgi_app = f"{__package__}.wsgi:application()"
bind = (
    f"[{_settings.host}]:{_settings.port}"
    if ":" in _settings.host
    else f"{_settings.host}:{_settings.port}"
)
worker_class = f"{__package__}.gevent_worker.WebWorker"
workers = _settings.workers
worker_connections = _max_connections()
# the system's own bound is lower unless it is raised (net.core.somaxconn, 4,096 by default)
backlog = 16_384
timeout = _timeouts.gunicorn
graceful_timeout = _timeouts.graceful_stop
keepalive = _timeouts.keep_alive
# in memory, so that heartbeats do not wait for a disk
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None
control_socket_disable = True
accesslog = None  # the service writes its own request log
limit_request_line = 8190  # gunicorn's maximum
proc_name = "asciist"

# No header changes what gunicorn tells the application about a request: neither its scheme nor its
# path, of which a client on this machine may set a part by default (SCRIPT_NAME). So it does not
# matter who sends which header. The service itself reads X-Forwarded-Proto, to show its own URL.
forwarded_allow_ips = ""
forwarder_headers = ""
secure_scheme_headers: dict[str, str] = {}
proxy_protocol = "off"
# headers with an underscore, which in a WSGI environment are the same as those with a hyphen
header_map = "drop"
# the same for everyone, whether or not gunicorn's faster parser happens to be installed
http_parser = "python"

# Missing in its stubs; responses do not name the server software.
gunicorn.http.wsgi.SERVER = "asciist"  # type: ignore[attr-defined]


class logger_class(Logger):  # noqa: N801 - the name of gunicorn's setting
    """Gunicorn's logger, with lines in the JSON form of all other logs."""

    def setup(self, cfg: Config) -> None:
        super().setup(cfg)
        for handler in self.error_log.handlers:
            handler.setFormatter(logs.formatter())


def when_ready(server: Arbiter) -> None:
    """Make Ctrl-C a graceful stop, and print how to try the service."""
    # Gunicorn stops at once on SIGINT; on SIGTERM, in-flight requests finish first.
    signal.signal(signal.SIGINT, lambda _signal, frame: server.signal(signal.SIGTERM, frame))
    host = (
        "localhost" if _settings.host in ("127.0.0.1", "0.0.0.0", "::1", "::") else _settings.host
    )
    photo = "docs/examples/cat.jpg" if Path("docs/examples/cat.jpg").exists() else "photo.jpg"
    try_it = f"curl --data-binary @{photo} 'http://{host}:{_settings.port}/?width=80'"
    if server.log and not sys.stdout.isatty():
        server.log.info("ready: %s", try_it)
        return
    print(
        f"\nasciist is ready. Try it in another terminal:\n\n    {try_it}\n\n"
        "Ctrl-C stops it once the requests in flight are answered.\n",
        flush=True,
    )


_COLLECTION_THRESHOLD = 20_000  # requests leave little garbage in cycles
"""Number of new container objects that starts a garbage collection."""


def post_worker_init(worker: Worker) -> None:
    """Prepare a web process for its requests."""
    gc.set_threshold(_COLLECTION_THRESHOLD)
    _let_others_finish()
    # A terminal sends SIGINT to every process on Ctrl-C, but the master process stops the web
    # processes itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _let_others_finish() -> None:
    """Let an arriving request wait for the time slice of a conversion if all cores are busy.

    If each arrival interrupted a conversion, each would find the CPU caches filled by the other: at
    1.5 and 3 times its capacity, the service served 7 to 15% less.
    """
    if sys.platform == "linux":
        with suppress(OSError):  # a container may not allow it
            os.sched_setscheduler(0, os.SCHED_BATCH | os.SCHED_RESET_ON_FORK, os.sched_param(0))


def worker_exit(server: Arbiter, worker: Worker) -> None:
    """Close the service of this web process after its last request."""
    # missing in a process that is stopped before it has loaded the application
    wsgi = getattr(worker, "wsgi", None)
    service = getattr(wsgi, "extensions", {}).get("asciist")
    if service is not None:
        service.close()
