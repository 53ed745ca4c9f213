"""A local AWS emulator: MiniStack, in its own virtual environment and process group.

    with Emulator() as emulator:
        sqs = boto3.client("sqs", **emulator.client_arguments)
        subprocess.run([...], env={**os.environ, **emulator.environment})

docs/operations.md lists what it does not emulate, such as health checks, scaling, most alarms and
the expiry of objects.
"""

import contextlib
import fcntl
import hashlib
import http.client
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final, Self

from tools.testing.server import free_port

ROOT: Final = Path(__file__).parents[2]
REGION: Final = "us-east-1"
ACCOUNT: Final = "000000000000"

_VENV: Final = ROOT / ".venv-emulator"
_LOCK: Final = ROOT / "tools/locks/emulator.txt"
_PROGRAM: Final = Path(__file__).with_name("ministack_plus.py")


class EmulatorError(Exception):
    """The emulator could not be installed or did not start. The message ends with its output."""


class Emulator:
    """One emulated account, empty at the start. Leaving the context removes all its processes and
    files."""

    def __init__(self, *, enforce_iam: bool = False) -> None:
        """`enforce_iam` enforces the policies of roles and resources: `environment` has the
        permissions of the account's root, a deployed function those of its role, and
        `role_environment` those of a given role. Signatures are not checked."""
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.environment = {
            "AWS_ENDPOINT_URL": self.endpoint,
            # Any well-formed key is accepted. It is new each time because the CDK caches the
            # account of a key.
            "AWS_ACCESS_KEY_ID": f"AKIA{secrets.token_hex(8).upper()}",
            "AWS_SECRET_ACCESS_KEY": secrets.token_hex(20),
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ALLOW_HTTP": "true",  # obstore refuses plain HTTP otherwise
            "AWS_EC2_METADATA_DISABLED": "true",
            # Keeps the developer's own AWS configuration and credentials out.
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
        }
        self._enforces_iam = enforce_iam
        self._directory: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def client_arguments(self) -> dict[str, Any]:
        """Arguments of `boto3.client(service, **arguments)`, an alternative to setting
        `environment` in this process."""
        return {
            "endpoint_url": self.endpoint,
            "aws_access_key_id": self.environment["AWS_ACCESS_KEY_ID"],
            "aws_secret_access_key": self.environment["AWS_SECRET_ACCESS_KEY"],
            "region_name": REGION,
        }

    @property
    def log(self) -> str:
        """Output of the emulator and its functions so far; empty if it is not running."""
        return (self._directory / "log").read_text(errors="replace") if self._directory else ""

    @property
    def directory(self) -> Path:
        """Directory that is deleted with the emulator. Raises EmulatorError if it is not
        running."""
        if self._directory is None:
            raise EmulatorError("The emulator is not running.")
        return self._directory

    @property
    def process_group(self) -> int:
        """Id of the process group that ends with the emulator. Raises EmulatorError if it is not
        running."""
        if self._process is None:
            raise EmulatorError("The emulator is not running.")
        return self._process.pid

    def role_environment(self, role_name: str) -> dict[str, str]:
        """Return `environment` with the credentials of a role, like an instance's. They allow
        everything without `enforce_iam`. Raises EmulatorError if the role does not exist."""
        status, body = self._get(f"/_emulator/credentials/{role_name}")
        if status != 200:
            raise EmulatorError(f"No such role: {role_name}")
        credentials: dict[str, str] = json.loads(body)
        return self.environment | credentials

    def queue_metrics(self, name: str) -> dict[str, float]:
        """Return the metrics of a queue by their names in CloudWatch. Raises OSError if the
        emulator does not answer."""
        metrics: dict[str, float] = json.loads(self._get(f"/_emulator/queues/{name}")[1])
        return metrics

    def add_instance(self, group: str, process: int) -> None:
        """Register a process as an instance of an auto-scaling group: CloudFormation ends it before
        deleting the group."""
        self._get(f"/_emulator/instances/{group}/{process}")

    def make_messages_older(self, queue_name: str, seconds: float) -> None:
        """Set the times at which a queue accepted its messages back by `seconds`."""
        self._get(f"/_emulator/queues/{queue_name}/older-by/{seconds}")

    def __enter__(self) -> Self:
        """Start the emulator and wait until it is healthy. Raises EmulatorError with its log after
        30 seconds."""
        python = _environment_python()
        self._directory = Path(tempfile.mkdtemp(prefix="emulator-"))
        with (self._directory / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [python, "-Iu", _PROGRAM],
                # The emulator ends when this pipe closes, which happens however this process ends.
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._directory,
                process_group=0,  # includes the processes of deployed functions
                env={
                    # Nothing else of this process's environment, because functions inherit it.
                    "PATH": f"{python.parent}:{os.defpath}",
                    "TMPDIR": str(self._directory),
                    "GATEWAY_PORT": str(self.port),
                    "BIND_HOST": "127.0.0.1",
                    "MINISTACK_HOST": "127.0.0.1",
                    "MINISTACK_REGION": REGION,
                    "MINISTACK_ACCOUNT_ID": ACCOUNT,
                    "AUTH": str(self._enforces_iam).lower(),
                    "AWS_ACCESS_KEY_ID": self.environment["AWS_ACCESS_KEY_ID"],
                    "AWS_SECRET_ACCESS_KEY": self.environment["AWS_SECRET_ACCESS_KEY"],
                    "SFTP_ENABLED": "0",
                    "IOT_MTLS_ENABLED": "0",
                    "AWS_ALLOW_HTTP": "true",
                    "AWS_EC2_METADATA_DISABLED": "true",
                },
            )
        give_up = time.monotonic() + 300
        while not self._is_healthy():
            if self._process.poll() is not None or time.monotonic() > give_up:
                message = f"The emulator did not start:\n{self.log[-4000:]}"
                self._stop()
                raise EmulatorError(message)
            time.sleep(0.05)
        return self

    def __exit__(self, _kind: object, error: object, _traceback: object) -> None:
        if isinstance(error, Exception):
            error.add_note(f"The emulator's log ends with:\n{self.log[-4000:]}")
        self._stop()

    def _is_healthy(self) -> bool:
        with contextlib.suppress(OSError):
            return self._get("/_ministack/health")[0] == 200
        return False

    def _get(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        with contextlib.closing(connection):
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()

    def _stop(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                # Killed at once, because it has no state to save.
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            assert self._process.stdin
            self._process.stdin.close()
            self._process = None
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None


def _environment_python() -> Path:
    """Return the Python of the emulator's environment, creating the environment if it is missing or
    its lock has changed.

    The environment is separate because MiniStack requires another boto3 than the service. Its
    Python version is that of the tests, because functions run on it.
    """
    python, stamp = _VENV / "bin/python", _VENV / ".ready"
    wanted = f"{sys.version} {hashlib.sha256(_LOCK.read_bytes()).hexdigest()}\n"
    root = os.open(ROOT, os.O_RDONLY)
    try:
        fcntl.flock(root, fcntl.LOCK_EX)  # concurrent test runs wait for the one that creates it
        if not stamp.exists() or stamp.read_text() != wanted:
            _run(sys.executable, "-m", "venv", "--clear", _VENV)
            _run(
                python,
                "-m",
                "pip",
                "install",
                "--disable-pip-version-check",
                "--require-hashes",
                "--requirement",
                _LOCK,
            )
            stamp.write_text(wanted)
    finally:
        os.close(root)
    return python


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise EmulatorError(f"The emulator could not be installed:\n{done.stdout}{done.stderr}")
