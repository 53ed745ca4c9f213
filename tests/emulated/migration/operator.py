"""The commands of a migration's operator, each as a separate process that can be killed."""

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from asciist_migration.shift.cli import GAVE_WAY
from asciist_migration.shift.haproxy import HaproxyCdn
from asciist_migration.shift.journal import Record, read
from asciist_migration.shift.state import WATCH, Phase, State, replay
from asciist_migration_testing.haproxy_server import BACKEND, HaproxyServer
from tests.emulated.emulator import ROOT
from tests.emulated.migration.clouds import Cloud

IMAGES: Final = ("docs/examples/cat.jpg", "docs/examples/coffee.webp")
"""Images for comparing the art of both origins."""

_HURRY: Final = """
# This machine may be too busy to be judged by milliseconds, and has too few requests.
from asciist_migration.shift import configuration, controller, judge, state
controller.SETTLE_SECONDS = 0.2
configuration._MINIMA["min_requests"] = 1
judge.MIN_BASELINE = 2
judge.BASELINE_PERCENTILE = 50
state.PATIENCE = 100
"""
_SHIFT: Final = "from asciist_migration.shift.cli import main\nmain(prog_name='asciist-shift')\n"
_ENOUGH_SECONDS: Final = 600
_POLL_SECONDS: Final = 0.05


Running = subprocess.Popen[bytes]
"""A command that has been started."""


class OperatorError(AssertionError):
    """A command had an unexpected exit status. The message ends with its output."""


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Pace of a rehearsal."""

    rate: float
    """Requests per second."""
    interval_seconds: float
    min_requests: int
    poll_seconds: float
    late_seconds: float
    slower: float
    """Multiple of the old origin's p95 above which a request of the new one is slow."""
    drain_seconds: float | None
    """Seconds that asciist-move drains; None for its default."""
    hurries: bool
    """True to skip the minimum times and counts of a shift."""

    @property
    def settings(self) -> str:
        """The lines of `shift.toml`."""
        names = ("interval_seconds", "min_requests", "poll_seconds", "late_seconds", "slower")
        return "".join(f"{name} = {getattr(self, name)}\n" for name in names)


class Operator:
    """Migrates from one cloud to another. `variables` give access to both stores and the CDN's
    socket."""

    def __init__(
        self,
        directory: Path,
        haproxy: HaproxyServer,
        old: Cloud,
        new: Cloud,
        *,
        variables: Mapping[str, str],
        pace: Pace,
    ) -> None:
        """`directory` is a new directory for the journals of this migration."""
        directory.mkdir()
        self.old, self.new = old, new
        self.cdn = HaproxyCdn(haproxy.socket, backend=BACKEND)
        self.doubts: list[str] = []
        """Reasons for an inconclusive shift that had to be run again, at most once."""
        self._directory = directory
        self._environment = {**os.environ, **variables, **_remotes(variables)}
        self._pace = pace
        self._running: dict[Running, Path] = {}
        """Processes with the files of their outputs. A full pipe would block them."""
        program = directory / "asciist_shift.py"
        program.write_text(f"{_HURRY if pace.hurries else ''}{_SHIFT}")
        self._shift = (sys.executable, str(program), "--config", str(directory / "shift.toml"))
        images = ", ".join(f'"{ROOT / image}"' for image in IMAGES)
        (directory / "shift.toml").write_text(
            f'from = "{old.name}"\nto = "{new.name}"\njournal = "shift.journal"\nimages ='
            f' [{images}]\n{pace.settings}[urls]\n{old.name} = "{old.url}"\n{new.name} ='
            f' "{new.url}"\n[haproxy]\nsocket = "{haproxy.socket}"\nbackend = "{BACKEND}"\nlog ='
            f' "{haproxy.log}"\n'
        )

    @property
    def state(self) -> State:
        """State of the shift, according to its journal."""
        return replay(self.records())

    def records(self) -> list[Record]:
        """Return the records of the journal of the shift."""
        return read(self._directory / "shift.journal")

    def shift(self, *arguments: str, status: int = 0) -> str:
        """Run asciist-shift, and return its output. Raises OperatorError."""
        return self._ended(
            self.start_shift(*arguments), f"asciist-shift {' '.join(arguments)}", status
        )

    def start_shift(self, *arguments: str) -> Running:
        """Start asciist-shift."""
        return self._started(*self._shift, *arguments)

    def ended(self, running: Running, status: int) -> str:
        """Wait for the end of a command, and return its output. Raises OperatorError."""
        return self._ended(running, "asciist-shift", status)

    def move(self, command: str, *arguments: str) -> dict[str, Any]:
        """Run a command of asciist-move, and return its figures. Raises OperatorError."""
        stores = ("--from", self.old.store, "--to", self.new.store)
        state = ("--state", str(self._directory.parent / "move"))  # one journal, there and back
        if command in ("switch", "finish"):
            arguments += ("--weight-command", shlex.join((*self._shift, "weight", self.old.name)))
            if self._pace.drain_seconds is not None:
                arguments += ("--drain-seconds", str(self._pace.drain_seconds))
        running = self._started(
            _program("asciist-move"), *command.split(), *arguments, "--json", *stores, *state
        )
        output = self._ended(running, f"asciist-move {command}", 0)
        figures: dict[str, Any] = json.loads(output.splitlines()[-1])
        return figures

    def until(self, running: Running, condition: Callable[[State], bool]) -> Running:
        """Wait until the shift is in a state, and return the process of `run`.

        Restarts it if it pauses because a step is inconclusive, which occasionally happens with
        equal origins (`asciist_migration.shift.judge`). Raises OperatorError if it ends for another
        reason.
        """
        give_up = time.monotonic() + _ENOUGH_SECONDS
        while time.monotonic() < give_up:
            state = self.state
            if running.poll() is not None:
                if not state.reason.startswith("inconclusive: ") or self.doubts:
                    raise OperatorError(
                        f"the shift is {state.phase}:"
                        f" {state.reason}\n{self._output(running)[-4000:]}"
                    )
                self.doubts.append(state.reason)
                running = self.start_shift("run")
            elif condition(state):
                return running
            time.sleep(_POLL_SECONDS)
        raise OperatorError(
            f"after {_ENOUGH_SECONDS} s, the shift is {self.state.phase} at step {self.state.step}"
        )

    def run_to(self, step: int, *, passed: bool = False) -> Running:
        """Start `run`, and wait like `until` until a step is observed, or has been judged a
        success."""
        return self.until(
            self.start_shift("run"),
            lambda state: (
                state.phase is Phase.OBSERVING and (state.step, state.passed) >= (step, passed)
            ),
        )

    def shift_all(self) -> None:
        """Shift all traffic from the old cloud to the new one."""
        self.shift("plan")
        running = self.run_to(WATCH, passed=True)
        self.shift("finish")
        self._ended(running, "asciist-shift run", GAVE_WAY)

    def referee(self) -> str:
        """Compare the bytes of both stores with rclone, and return its output. Raises OperatorError
        if any differ."""
        return self._rclone(
            "check", "--download", "--one-way", _remote(self.old), _remote(self.new)
        )

    def empty(self, cloud: Cloud) -> None:
        """Delete the images and the art in the store of a cloud."""
        self._rclone("delete", _remote(cloud))

    def close(self) -> None:
        """Kill the commands that are still running."""
        for running in self._running:
            running.kill()
            running.wait()

    def _rclone(self, *arguments: str) -> str:
        filters = (
            "--filter",
            "+ /{{[0-9a-f]{64}}}/**",
            "--filter",
            "- *",
            "--config",
            os.devnull,
            "--stats",
            "0",
        )
        return self._ended(
            self._started(_program("rclone"), *arguments, *filters), f"rclone {arguments[0]}", 0
        )

    def _started(self, *command: str) -> Running:
        path = self._directory / f"output-{len(self._running)}"
        with path.open("w") as output:
            running = subprocess.Popen(
                command,
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._running[running] = path
        return running

    def _output(self, running: Running) -> str:
        return self._running[running].read_text()

    def _ended(self, running: Running, what: str, status: int) -> str:
        try:
            running.wait(_ENOUGH_SECONDS)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()
            raise OperatorError(
                f"{what} did not end in {_ENOUGH_SECONDS} s:\n{self._output(running)[-4000:]}"
            ) from None
        output = self._output(running)
        if running.returncode != status:
            raise OperatorError(
                f"{what} exited with {running.returncode} instead of {status}:\n{output[-4000:]}"
            )
        return output


def _program(name: str) -> str:
    """Return the path of a command of this environment."""
    return str(Path(sys.executable).with_name(name))


def _remote(cloud: Cloud) -> str:
    """Return rclone's name of a store."""
    scheme, _, name = cloud.store.partition("://")
    return f"{scheme}:{name}"


def _remotes(environment: Mapping[str, str]) -> dict[str, str]:
    """Return rclone's configuration of both stores, as environment variables."""
    return {
        "RCLONE_CONFIG_S3_TYPE": "s3",
        "RCLONE_CONFIG_S3_PROVIDER": "Other",
        "RCLONE_CONFIG_S3_ENDPOINT": environment["AWS_ENDPOINT_URL"],
        "RCLONE_CONFIG_S3_REGION": environment["AWS_REGION"],
        "RCLONE_CONFIG_S3_ACCESS_KEY_ID": environment["AWS_ACCESS_KEY_ID"],
        "RCLONE_CONFIG_S3_SECRET_ACCESS_KEY": environment["AWS_SECRET_ACCESS_KEY"],
        "RCLONE_CONFIG_AZURE_TYPE": "azureblob",
        "RCLONE_CONFIG_AZURE_ACCOUNT": environment["AZURE_STORAGE_ACCOUNT_NAME"],
        "RCLONE_CONFIG_AZURE_KEY": environment["AZURE_STORAGE_ACCOUNT_KEY"],
        "RCLONE_CONFIG_AZURE_ENDPOINT": environment["AZURE_STORAGE_ENDPOINT"],
    }
