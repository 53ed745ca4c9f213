"""The built function under AWS's runtime client (awslambdaric): takes SQS events and reports the
failed records."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest

from asciist.adapters.embedded import EmbeddedMetrics
from asciist.adapters.local_store import LocalStore
from asciist.conversion import ConversionOptions
from asciist.errors import ArtifactNotFoundError
from asciist.limits import Limits
from asciist.protocol.artifacts import StoredArt, art_key, digest_of, image_key
from asciist.protocol.messages import ConversionRequest
from stacks.bundles import Target, function_bundle
from tests.sqs_event import record
from tests.stacks import runtime_api
from tests.stacks.runtime_api import RuntimeApi
from tools.testing.drawing import convert

pytestmark = pytest.mark.slow

RUNTIME_CLIENT = ("awslambdaric", "simplejson", "snapshot-restore-py")


@pytest.fixture(scope="module")
def bundle() -> Path:
    """The function bundle for this machine's processor and interpreter."""
    return function_bundle(Target.here())


@pytest.fixture(scope="module")
def runtime_client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of the runtime client's packages only, linked from the test environment."""
    directory = tmp_path_factory.mktemp("runtime")
    for package in RUNTIME_CLIENT:
        client = distribution(package)
        for entry in {file.parts[0] for file in client.files or ()} - {".."}:
            (directory / entry).symlink_to(str(client.locate_file(entry)))
    return directory


@contextmanager
def execution_environment(
    bundle: Path, runtime_client: Path, **variables: str
) -> Iterator[RuntimeApi]:
    """Run the function in a process that sees only the bundle and the runtime client."""
    handler = "lambda_worker.handler.handler"
    with runtime_api.serving() as api:
        process = subprocess.Popen(
            [sys.executable, "-S", "-B", "-m", "awslambdaric", handler],
            cwd=bundle,
            stdout=subprocess.DEVNULL,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": f"{bundle}:{runtime_client}",
                "AWS_LAMBDA_RUNTIME_API": api.address,
                "AWS_LAMBDA_FUNCTION_NAME": "asciist",
                "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
                "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1024",
                "LAMBDA_TASK_ROOT": str(bundle),
                "_HANDLER": handler,
                "TZ": ":UTC",
                **variables,
            },
        )
        try:
            yield api
        finally:
            process.kill()
            process.wait()


class Function:
    """The running function, and the store that it shares with the web tier, with one image."""

    def __init__(self, api: RuntimeApi, store: LocalStore, image: bytes) -> None:
        self.api = api
        self.store = store
        self.digest = digest_of(image)
        # The function reads it in another process, and `create` would keep it in memory until the
        # next `put`.
        store.put(image_key(self.digest), image)

    def request(self, width: int, **changes: Any) -> str:
        fields: dict[str, Any] = {
            "correlation_id": f"width {width}",
            "digest": self.digest,
            "options": ConversionOptions(width=width),
            "deadline": time.time() + 600,
            # a web process that has stopped; the art is stored all the same
            "reply_to": "embedded:elsewhere",
        }
        return ConversionRequest(**(fields | changes)).to_json()

    def invoke(self, *bodies: str) -> list[str]:
        """Invoke the function with a batch and return the ids of the failed records. Ids count from
        0."""
        response = self.api.invoke(
            {"Records": [record(str(number), body) for number, body in enumerate(bodies)]}
        )
        assert response.keys() == {"batchItemFailures"}
        return [failure["itemIdentifier"] for failure in response["batchItemFailures"]]

    def art(self, width: int) -> str | None:
        try:
            stored = StoredArt.from_json(
                self.store.get(art_key(self.digest, ConversionOptions(width=width)))
            )
        except ArtifactNotFoundError:
            return None
        return stored.art if stored else None


@pytest.fixture(scope="module")
def function(
    bundle: Path, runtime_client: Path, cat: bytes, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Function]:
    data = tmp_path_factory.mktemp("data")
    settings = {"ASCIIST_BACKEND": "embedded", "ASCIIST_DATA_DIR": str(data)}
    with execution_environment(bundle, runtime_client, **settings) as api:
        store = LocalStore(
            data, max_bytes=100_000_000, max_age_seconds=3600, metrics=EmbeddedMetrics()
        )
        yield Function(api, store, cat)
        store.close()


def test_a_request_is_converted_and_stored(function: Function, cat: bytes) -> None:
    assert function.invoke(function.request(10)) == []
    assert function.art(10) == convert(cat, ConversionOptions(width=10), Limits())


def test_a_poison_message_is_reported_as_failed(function: Function) -> None:
    assert function.invoke("{poison") == ["0"]


def test_an_expired_request_succeeds_without_a_conversion(function: Function) -> None:
    assert function.invoke(function.request(11, deadline=time.time() - 1)) == []
    assert function.art(11) is None


def test_only_the_failed_records_of_a_batch_are_reported(function: Function) -> None:
    not_an_image = b"not an image"
    function.store.put(image_key(digest_of(not_an_image)), not_an_image)
    bodies = [
        function.request(20),
        "{poison",
        function.request(22),
        function.request(23, deadline=time.time() - 1),
        # its image is not stored: the record fails and is redelivered
        function.request(24, digest="f" * 64),
        function.request(25),
        # cannot be converted: the reply says so, and the record succeeds
        function.request(26, digest=digest_of(not_an_image)),
        '{"version": 99}',
        function.request(28),
        function.request(29),
    ]

    assert function.invoke(*bodies) == ["1", "4", "7"]
    assert [width for width in range(20, 30) if function.art(width)] == [20, 22, 25, 28, 29]


def test_an_invalid_setting_is_reported_as_an_initialization_error(
    bundle: Path, runtime_client: Path
) -> None:
    with execution_environment(bundle, runtime_client, ASCIIST_BACKEND="paper") as api:
        assert "ASCIIST_BACKEND='paper' is not one of" in api.initialization_error()
