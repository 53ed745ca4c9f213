"""The two deployments of a rehearsal, each with a web process and a poller on an emulated account.
They can be stopped, killed and broken."""

import contextlib
import http.client
import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import boto3

from asciist.adapters.azure import DEAD_LETTERS
from asciist.settings import READ_ONLY_MARKER
from operations.deployment import copy_of_the_project
from operations.smoke import Smoke
from tests.emulated.azurite import Azurite
from tests.emulated.deployment import Deployment
from tests.emulated.emulator import Emulator
from tests.emulated.migration import faulty_service
from tests.emulated.rehearsal import credentials_of_peer, peer_of
from tests.waiting import wait_until
from tools.testing.load import ProcessTree
from tools.testing.server import free_port

AWS: Final = "aws"
AZURE: Final = "azure"

_NAME: Final = "asciist"
"""Name of the bucket, the container and the queues if no stack creates them."""
_WEB: Final = [sys.executable, "-m", "gunicorn", "--config", "python:service.gunicorn_settings"]
_POLLER: Final = [sys.executable, "-m", "asciist.poller"]
_CALLBACKS: Final = {AWS: "28600", AZURE: "28700"}
"""First ports for callbacks, unused by other tests."""
_START_SECONDS: Final = 300


class Cloud:
    """A deployment with one web process, always at the same port, and one poller with two
    threads."""

    def __init__(
        self,
        name: str,
        *,
        store: str,
        project: Path,
        directory: Path,
        process_group: int,
        web: Mapping[str, str],
        worker: Mapping[str, str],
    ) -> None:
        """`store` is its URL, and `web` and `worker` are the environments of the tiers. Files are
        written to `directory`.

        Its processes end with `process_group` at the latest.
        """
        self.name = name
        self.store = store
        self.port = free_port()
        self._project, self._directory, self._process_group = project, directory, process_group
        self._fault = directory / f"{name}.fault"
        self.set_fault("")
        own = {
            "FAULT_FILE": str(self._fault),
            "ASCIIST_HOST": "127.0.0.1",
            "ASCIIST_PORT": str(self.port),
        }
        self._web_environment = {
            **web,
            **own,
            "ASCIIST_INSTANCE": "127.0.0.1",
            "ASCIIST_WORKERS": "1",
        }
        self._worker_environment = {**worker, "ASCIIST_WORKERS": "2"}
        self._web: subprocess.Popen[bytes] | None = None
        self._poller: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def set_fault(self, fault: str) -> None:
        """Set a fault of the service, described in `faulty_service`; an empty text removes it."""
        self._fault.with_suffix(".new").write_text(fault)
        self._fault.with_suffix(".new").rename(self._fault)

    def start(self) -> None:
        """Start the tiers that are not running, and wait until the web process is ready."""
        if self._poller is None or self._poller.poll() is not None:
            log = self._directory / f"{self.name}-poller.log"
            self._poller = self._started(_POLLER, self._worker_environment, log)
            wait_until(lambda: b"polling with" in log.read_bytes(), seconds=_START_SECONDS)
        if self._web is None or self._web.poll() is not None:
            self._web = self._started(
                _WEB, self._web_environment, self._directory / f"{self.name}-web.log"
            )
        wait_until(self.is_ready, seconds=_START_SECONDS)

    def stop(self) -> None:
        """Stop both tiers like an instance, which completes its requests. The poller is stopped
        last, because they may need it."""
        for process in filter(None, (self._web, self._poller)):
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            process.wait(_START_SECONDS)

    def kill(self) -> None:
        """Kill all processes of both tiers at once."""
        for process in filter(None, (self._web, self._poller)):
            for pid in ProcessTree(process.pid).pids():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.wait()

    def is_ready(self) -> bool:
        with contextlib.suppress(OSError, http.client.HTTPException):
            return Smoke(self.url).request("GET", "/readyz").status == 200
        return False

    def _started(
        self, command: list[str], environment: Mapping[str, str], path: Path
    ) -> "subprocess.Popen[bytes]":
        with path.open("wb") as log:
            return subprocess.Popen(
                command,
                cwd=self._project,  # comes first in the path of `python -m`
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=self._process_group,
                env={"PATH": os.environ["PATH"], **environment},
            )


@contextmanager
def clouds(directory: Path, *, stacks: bool) -> Iterator[tuple[dict[str, Cloud], dict[str, str]]]:
    """Start a deployment in each cloud, peers of each other; yield them by name, and the variables
    that give access to both stores.

    With `stacks`, the AWS deployment is created by `cdk deploy`, with the permissions of its roles.
    This takes half a minute longer.
    """
    with ExitStack() as stack:
        emulator = stack.enter_context(Emulator(enforce_iam=stacks))
        account = stack.enter_context(Azurite(any_api_version=True))  # rclone speaks a newer one
        project = _project(directory)
        variables = {**emulator.environment, **account.environment}
        common = {
            **variables,
            "ASCIIST_LINK_KEYS": secrets.token_hex(16),
            "ASCIIST_CALLBACK_NETWORKS": "127.0.0.0/8",
            "ASCIIST_METRICS": "none",
        }
        azure = _in_azure(account)
        if stacks:
            aws_web, aws_worker, for_azure = _in_stacks(stack, emulator, account, project)
            azure |= for_azure
        else:
            aws_web = aws_worker = _without_stacks(emulator)
        stores = {AWS: f"s3://{aws_web['ASCIIST_BUCKET']}", AZURE: f"azure://{_NAME}"}
        environments = {AWS: (aws_web, aws_worker), AZURE: (azure, azure)}
        made = {}
        for name, (web, worker) in environments.items():
            (peer,) = stores.keys() - {name}
            callbacks = {"ASCIIST_CALLBACK_FIRST_PORT": _CALLBACKS[name]}
            own = {
                "ASCIIST_PEER_STORE": stores[peer],
                "ASCIIST_READ_ONLY": f"{stores[name]}/{READ_ONLY_MARKER}",
            }
            made[name] = Cloud(
                name,
                store=stores[name],
                project=project,
                directory=directory,
                process_group=emulator.process_group,
                web={**common, **web, **callbacks, **own},
                worker={**common, **worker, **callbacks},
            )
            stack.callback(made[name].kill)
            made[name].start()
        yield made, variables


def _project(directory: Path) -> Path:
    """Copy the project, with an application that reads its fault from a file."""
    project = copy_of_the_project(directory)
    module = Path(faulty_service.__file__)
    shutil.copy(module, project / "service")
    application = project / "service/wsgi.py"
    text = application.read_text()
    wrapped = "    app.wsgi_app = Faulty(app.wsgi_app)\n    return app\n"
    application.write_text(
        f"from service.{module.stem} import Faulty\n{text}".replace("    return app\n", wrapped)
    )
    assert application.read_text().count("Faulty") == 2, text
    return project


def _in_stacks(
    stack: ExitStack, emulator: Emulator, account: Azurite, project: Path
) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    """Deploy the stacks.

    Returns the environments of their web and worker instances, and the variables for the other
    deployment: link keys, and credentials that read and delete images and art.
    """
    context = {"worker": "asg", "replies": "queue", **peer_of(emulator, account, _NAME)}
    deployment = stack.enter_context(Deployment(emulator, project=project, context=context))
    deployment.bootstrap()
    deployment.deploy()
    _, _, web = deployment.program("web", "127.0.0.1", 1)  # which `Cloud` replaces
    _, _, worker = deployment.program("worker", "127.0.0.1", 1)
    return (
        web,
        worker,
        {"ASCIIST_LINK_KEYS": web["ASCIIST_LINK_KEYS"], **credentials_of_peer(deployment)},
    )


def _without_stacks(emulator: Emulator) -> dict[str, str]:
    boto3.client("s3", **emulator.client_arguments).create_bucket(Bucket=_NAME)
    queue_url = boto3.client("sqs", **emulator.client_arguments).create_queue(QueueName=_NAME)[
        "QueueUrl"
    ]
    return {
        "ASCIIST_BACKEND": "aws",
        "ASCIIST_BUCKET": _NAME,
        "ASCIIST_REQUEST_QUEUE_URL": queue_url,
        "ASCIIST_REPLY_QUEUE_PREFIX": f"{_NAME}-reply-",
    }


def _in_azure(account: Azurite) -> dict[str, str]:
    account.create_container(_NAME)
    account.create_queue(_NAME + DEAD_LETTERS)
    return {
        "ASCIIST_BACKEND": "azure",
        "ASCIIST_BUCKET": _NAME,
        "ASCIIST_REQUEST_QUEUE_URL": account.create_queue(_NAME),
        "ASCIIST_REPLY_PATH": "callback",
    }
