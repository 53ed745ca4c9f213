"""`python -m operations.dashboard`: runs the service, a load generator and the dashboard on this
machine."""

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
from typing import Final
from urllib.request import urlopen

import click

from operations.dashboard.dogstatsd import Receiver
from operations.dashboard.load import Load
from operations.dashboard.server import CHARTS, create_app, serve
from operations.observability.datadog import dashboard

PORT: Final = 27245  # the service's default port + 1
_AGENT_PORT: Final = 8125  # default port of the Datadog Agent
_START_SECONDS: Final = 30
_STOP_SECONDS: Final = 30  # requests in flight complete first


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=PORT,
    show_default=True,
    help="HTTP port; 0 picks a free one.",
)
@click.option(
    "--statsd-port",
    type=click.IntRange(0, 65535),
    help="UDP port for metrics.  [default: a free one, or 8125 with --service]",
)
@click.option(
    "--rate",
    type=click.FloatRange(0.1, 100),
    default=5,
    show_default=True,
    help="Mean requests per second.",
)
@click.option("--no-load", is_flag=True, help="Send no requests.")
@click.option(
    "--for",
    "seconds",
    type=click.FloatRange(0, min_open=True),
    help="Stop after this many seconds.",
)
@click.option(
    "--service",
    metavar="URL",
    help="Observe this running service; its DD_DOGSTATSD_PORT must be --statsd-port.",
)
def main(
    *,
    port: int,
    statsd_port: int | None,
    rate: float,
    no_load: bool,
    seconds: float | None,
    service: str | None,
) -> None:
    """Show the Datadog dashboard with the metrics of a local service.

    Starts the service with an empty store and sends it requests, until Ctrl-C.
    """
    if not CHARTS.exists():
        raise click.ClickException("the chart library is missing: run `make dashboard` once")
    if service and not _is_ready(service):
        raise click.ClickException(f"no service responds at {service}")
    for name in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.default_int_handler)  # as Ctrl-C, which also stops the service
    with contextlib.suppress(KeyboardInterrupt), contextlib.ExitStack() as stack:
        udp_port = statsd_port if statsd_port is not None else _AGENT_PORT if service else 0
        try:
            receiver = stack.enter_context(Receiver(udp_port))
        except OSError as error:
            raise click.ClickException(
                f"UDP port {udp_port} is taken: choose another with --statsd-port"
            ) from error
        url = service or stack.enter_context(_service(receiver))
        load = None if no_load else Load(url, rate=rate)
        app = create_app(receiver=receiver, dashboard=dashboard(), service=url, load=load)
        try:
            page = stack.enter_context(serve(app, port=port))
        except OSError as error:
            raise click.ClickException(
                f"port {port} is taken: choose another with --port"
            ) from error
        click.echo(
            f"The dashboard is at {page}, the service at {url}. Ctrl-C stops"
            f" {'it' if service else 'both'}."
        )
        if load:
            stack.enter_context(load)
        threading.Event().wait(seconds)


@contextlib.contextmanager
def _service(receiver: Receiver) -> Iterator[str]:
    """Run `asciist serve` on a free port with a temporary store; yield its URL. Raises
    ClickException if it does not start."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="asciist-dashboard-") as directory:
        log = Path(directory) / "log"
        environment = {
            name: value for name, value in os.environ.items() if name != "DD_DOGSTATSD_URL"
        }
        environment |= {
            "ASCIIST_HOST": "127.0.0.1",
            "ASCIIST_PORT": str(port),
            "ASCIIST_DATA_DIR": str(Path(directory) / "store"),
            "DD_AGENT_HOST": "127.0.0.1",
            "DD_DOGSTATSD_PORT": str(receiver.port),
        }
        command = [sys.executable, "-m", "asciist.cli", "serve"]
        # in its own session, so that Ctrl-C reaches only this process
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, env=environment, stdout=output, stderr=output, start_new_session=True
            )
        url = f"http://127.0.0.1:{port}"
        try:
            give_up = time.monotonic() + _START_SECONDS
            while not _is_ready(url):
                if process.poll() is not None or time.monotonic() > give_up:
                    message = log.read_text(errors="replace").strip()[-500:]
                    raise click.ClickException(f"the service did not start: {message}")
                time.sleep(0.1)
            yield url
        finally:
            _stop(process)


def _is_ready(url: str) -> bool:
    if not url.startswith("http://"):
        return False
    # Http only.
    with (
        contextlib.suppress(OSError),
        urlopen(f"{url.rstrip('/')}/readyz", timeout=5) as response,  # noqa: S310
    ):
        return bool(response.status == 200)
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):  # a second Ctrl-C kills at once
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


if __name__ == "__main__":
    main()
