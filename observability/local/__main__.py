"""`python -m observability.local`: the service, a little load, and the dashboard of what it sends, on this machine."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NoReturn
from urllib.request import urlopen

import click
from flask import Flask

from observability.datadog import dashboard
from observability.local.dogstatsd import Receiver
from observability.local.load import Load
from observability.local.server import create_app, serve

PORT: Final = 27245  # the service's, and one
_AGENT_PORT: Final = 8125  # where a service that was started elsewhere looks for the agent
_START_SECONDS: Final = 30
_STOP_SECONDS: Final = 30  # requests in flight are answered first


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, help="Of the page; 0: a free one.")
@click.option(
    "--statsd-port", type=click.IntRange(0, 65535), help="UDP port for metrics.  [default: a free one, or 8125 with --service]"
)
@click.option("--rate", type=click.FloatRange(0.1, 100), default=5, show_default=True, help="Requests a second.")
@click.option("--no-load", is_flag=True, help="Send no requests.")
@click.option("--for", "seconds", type=click.FloatRange(0, min_open=True), help="Stop after so many seconds.")
@click.option("--service", metavar="URL", help="Watch a service that was started elsewhere, with DD_DOGSTATSD_PORT as above.")
def main(*, port: int, statsd_port: int | None, rate: float, no_load: bool, seconds: float | None, service: str | None) -> None:
    """Draw the Datadog dashboard of the repository against what the service sends, on a page of this machine.

    Starts the service with an empty store and a little load, and stops both with Ctrl-C.
    """
    if service and not _is_ready(service):
        _fail(f"no service answers at {service}")
    for name in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.default_int_handler)  # whatever ends this ends the service, too
    with contextlib.suppress(KeyboardInterrupt), contextlib.ExitStack() as stack:
        receiver = stack.enter_context(_receiver(statsd_port if statsd_port is not None else _AGENT_PORT if service else 0))
        url = service or stack.enter_context(_service(receiver))
        app = create_app(receiver=receiver, dashboard=dashboard(), service=url)
        page = stack.enter_context(_page(app, port))
        click.echo(f"The dashboard is at {page}, the service at {url}. Ctrl-C stops {'it' if service else 'both'}.")
        if not no_load:
            stack.enter_context(Load(url, rate=rate))
        threading.Event().wait(seconds)


def _receiver(port: int) -> Receiver:
    try:
        return Receiver(port)
    except OSError:
        _fail(f"UDP port {port} is taken: choose another with --statsd-port")


@contextlib.contextmanager
def _page(app: Flask, port: int) -> Iterator[str]:
    with contextlib.ExitStack() as stack:
        try:
            url = stack.enter_context(serve(app, port=port))
        except OSError:
            _fail(f"port {port} is taken: choose another with --port")
        yield url


@contextlib.contextmanager
def _service(receiver: Receiver) -> Iterator[str]:
    """`asciist serve` on a free port, with a store that is gone afterwards; its address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="asciist-dashboard-") as directory:
        log = Path(directory) / "log"
        environment = {name: value for name, value in os.environ.items() if name != "DD_DOGSTATSD_URL"}
        environment |= {
            "ASCIIST_HOST": "127.0.0.1",
            "ASCIIST_PORT": str(port),
            "ASCIIST_DATA_DIR": str(Path(directory) / "store"),
            "DD_AGENT_HOST": "127.0.0.1",
            "DD_DOGSTATSD_PORT": str(receiver.port),
        }
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "asciist.cli", "serve"],
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for this process, which stops the service when it is done with it
            )
        url = f"http://127.0.0.1:{port}"
        try:
            give_up = time.monotonic() + _START_SECONDS
            while not _is_ready(url):
                if process.poll() is not None or time.monotonic() > give_up:
                    _fail(f"the service did not start: {log.read_text(errors='replace').strip()[-500:]}")
                time.sleep(0.1)
            yield url
        finally:
            _stop(process)


def _is_ready(url: str) -> bool:
    if not url.startswith("http://"):
        return False
    with contextlib.suppress(OSError), urlopen(f"{url.rstrip('/')}/readyz", timeout=5) as answer:  # noqa: S310 - checked above
        return bool(answer.status == 200)
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):  # a second Ctrl-C means at once
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _fail(message: str) -> NoReturn:
    click.echo(f"dashboard: {message}", err=True)
    sys.exit(1)


if __name__ == "__main__":
    main()
