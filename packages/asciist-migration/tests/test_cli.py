"""The command asciist-shift, its configuration and its comparison of art."""

import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from click.testing import CliRunner, Result
from flask import Flask
from werkzeug.serving import make_server

from asciist_migration.shift import cli, configuration
from asciist_migration.shift import controller as controller_module
from asciist_migration.shift.art import HttpArtSampler
from asciist_migration.shift.journal import read
from asciist_migration.shift.ports import PlanError
from asciist_migration.shift.request_log import LOG_FORMAT
from asciist_migration.shift.state import Phase, replay
from asciist_migration_testing.haproxy_server import BACKEND, HaproxyServer

ROOT = Path(__file__).parents[3]
CAT = ROOT / "docs" / "examples" / "cat.jpg"
DOCUMENT = ROOT / "docs" / "migration.md"


def configured(directory: Path, url: str, haproxy: Path) -> Path:
    path = directory / "shift.toml"
    path.write_text(
        f"""
from = "aws"
to = "azure"
journal = "journal"
images = ["{CAT}"]
interval_seconds = 3600

[urls]
aws = "{url}"
azure = "{url}"

[haproxy]
socket = "{haproxy / "admin.sock"}"
backend = "{BACKEND}"
log = "{haproxy / "log"}"
"""
    )
    return path


@pytest.fixture
def haproxy() -> Iterator[HaproxyServer]:
    with TemporaryDirectory() as directory:
        server = HaproxyServer(Path(directory), (1, 2))
        yield server
        server.stop()


@pytest.fixture
def shift(
    tmp_path: Path, url: str, haproxy: HaproxyServer, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The configuration of a shift between two origins, both running this code."""
    monkeypatch.setattr(controller_module, "SETTLE_SECONDS", 0.01)
    return configured(tmp_path, url, haproxy.socket.parent)


def run(path: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli.main, ["--config", str(path), *arguments], catch_exceptions=False)


def weights(path: Path) -> dict[str, int]:
    return configuration.cdn(configuration.load(path)).read().weights


def test_a_shift_is_planned_begun_drawn_and_aborted(shift: Path) -> None:
    assert "nothing planned" in run(shift, "status").output
    assert "planned: aws to azure" in run(shift, "plan").output
    assert run(shift, "step").exit_code == 0
    assert weights(shift) == {"aws": 99, "azure": 1}
    assert "[1%]  10%  50%  100%" in run(shift, "status").output
    assert run(shift, "pause").exit_code == 0
    assert run(shift, "finish").exit_code == cli.FAILED
    assert run(shift, "abort").exit_code == 0
    assert weights(shift) == {"aws": 100, "azure": 0}
    assert run(shift, "abort").output.endswith("nothing to abort: rolled back\n")


def test_a_roll_back_has_an_exit_status_of_its_own(shift: Path, haproxy: HaproxyServer) -> None:
    run(shift, "plan")
    run(shift, "step")
    haproxy.call(f"set server {BACKEND}/azure state maint")

    assert run(shift, "run").exit_code == cli.ROLLED_BACK


def test_a_pause_has_an_exit_status_of_its_own(shift: Path, haproxy: HaproxyServer) -> None:
    run(shift, "plan")
    run(shift, "step")
    haproxy.call(f"set server {BACKEND}/aws weight 3")
    result = run(shift, "run")

    assert result.exit_code == cli.PAUSED
    assert "somebody else has changed them" in result.output


def test_an_abort_takes_over_from_a_running_controller(shift: Path) -> None:
    run(shift, "plan")
    run(shift, "step")
    command = [Path(sys.executable).parent / "asciist-shift", "--config", shift, "run"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert running.stdout
    assert "observing at 1%" in running.stdout.readline()
    assert run(shift, "step").exit_code == cli.FAILED  # one controller at a time
    assert run(shift, "abort").exit_code == 0
    _, errors = running.communicate(timeout=600)

    assert (running.returncode, errors) == (
        cli.GAVE_WAY,
        "asciist-shift: another controller has asked this one to end\n",
    )
    assert weights(shift) == {"aws": 100, "azure": 0}


def test_a_killed_controller_leaves_nothing_that_stops_the_next(shift: Path) -> None:
    run(shift, "plan")
    run(shift, "step")
    command = [Path(sys.executable).parent / "asciist-shift", "--config", shift, "run"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert running.stdout
    running.stdout.readline()
    running.send_signal(signal.SIGKILL)
    running.communicate()

    assert replay(read(shift.parent / "journal")).phase is Phase.OBSERVING
    assert run(shift, "abort").exit_code == 0
    assert weights(shift) == {"aws": 100, "azure": 0}


def test_the_status_says_if_the_cdn_cannot_be_reached(shift: Path, haproxy: HaproxyServer) -> None:
    run(shift, "plan")
    haproxy.stop()
    result = run(shift, "status")

    assert result.exit_code == 0
    assert "weights in force unknown" in result.output


def test_the_weight_of_an_origin_is_a_number_alone(shift: Path) -> None:
    run(shift, "plan")
    run(shift, "step")
    unknown = run(shift, "weight", "google")

    assert run(shift, "weight", "aws").output == "99\n"
    assert (unknown.exit_code, unknown.output) == (
        cli.FAILED,
        "asciist-shift: the CDN has no origin google, but aws, azure\n",
    )


def test_all_mistakes_of_a_configuration_are_reported_together(tmp_path: Path) -> None:
    path = tmp_path / "shift.toml"
    path.write_text(
        'from = "aws"\nto = "aws"\nmin_requests = 5\ninterval_seconds = nan\nwidth ='
        ' 3\n[haproxy]\nsocket = "s"\n'
    )
    with pytest.raises(PlanError) as caught:
        configuration.load(path)

    for mistake in (
        "width",
        "journal",
        "min_requests",
        "interval_seconds",
        "the same",
        "urls",
        "images",
        "socket, backend, log",
    ):
        assert mistake in str(caught.value)


@pytest.mark.parametrize("kind", ["haproxy", "cloudflare"])
def test_the_documented_configurations_are_valid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    common, haproxy, cloudflare = re.findall(r"```toml\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    path = tmp_path / "shift.toml"
    path.write_text(common + {"haproxy": haproxy, "cloudflare": cloudflare}[kind])
    monkeypatch.setenv(configuration.TOKEN, "t" * 40)
    loaded = configuration.load(path)

    assert loaded.kind == kind
    assert configuration.cdn(loaded)


def test_cloudflare_needs_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    common, _, cloudflare = re.findall(r"```toml\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    path = tmp_path / "shift.toml"
    path.write_text(common + cloudflare)
    monkeypatch.delenv(configuration.TOKEN, raising=False)

    with pytest.raises(PlanError, match=configuration.TOKEN):
        configuration.cdn(configuration.load(path))


def test_the_documented_log_format_is_the_one_that_is_read() -> None:
    assert LOG_FORMAT in DOCUMENT.read_text()


def test_every_exit_status_is_documented() -> None:
    for status in (cli.FAILED, cli.PAUSED, cli.ROLLED_BACK, cli.GAVE_WAY):
        assert f"| {status} |" in DOCUMENT.read_text()
        assert f"{status} if" in " ".join((cli.main.help or "").split())


def test_equal_services_make_the_same_art(url: str) -> None:
    (comparison,) = HttpArtSampler({"aws": url, "azure": url}, [CAT]).compare()

    assert comparison.same is True
    assert re.search(r"width \d+: aws (\w{16}), azure \1$", comparison.detail)


def test_an_origin_that_does_not_answer_is_no_difference(url: str) -> None:
    sampler = HttpArtSampler({"aws": url, "azure": "http://127.0.0.1:9"}, [CAT])
    (comparison,) = sampler.compare()

    assert comparison.same is None
    assert "127.0.0.1:9" in comparison.detail
    assert "127.0.0.1:9" in sampler.problem("azure")
    assert sampler.problem("aws") == ""


def test_other_art_is_a_difference(url: str, app: Flask) -> None:
    def other_release(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        return [b"".join(app.wsgi_app(environ, start_response)).replace(b" ", b".")]

    server = make_server("127.0.0.1", 0, other_release, threaded=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    (comparison,) = HttpArtSampler(
        {"aws": url, "azure": f"http://127.0.0.1:{server.port}"}, [CAT]
    ).compare()
    server.shutdown()
    thread.join()
    server.server_close()

    assert comparison.same is False
