"""Refusals of S3 as reported by the artifact store. A server in place of S3 gives the documented
answers."""

from collections.abc import Iterator

import pytest

from asciist.adapters.object_store import ObjectStore
from asciist.errors import ArtifactNotFoundError, SettingsError, UnavailableError
from tests.local_http import Handler, served

KEY = f"{'0' * 64}/width/80"


class S3:
    """A bucket that refuses every request with an error code."""

    def __init__(self) -> None:
        self.code = "AccessDenied"
        self.folder: list[str] | None = None
        """Keys of the answer to a list request; None refuses it."""
        self.requests: list[str] = []
        s3 = self

        class Bucket(Handler):
            def answer(self) -> None:
                s3.requests.append(f"{self.command} {self.path}")
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                error = f"<Error><Key>{KEY}</Key><Code>{s3.code}</Code><Message>Refused</Message></Error>"
                is_deletion = self.command == "POST"  # of many objects, which has a result for each
                body = (f"<DeleteResult>{error}</DeleteResult>" if is_deletion else error).encode()
                is_listing = s3.folder is not None and "list-type=2" in self.path
                if is_listing:
                    keys = "".join(
                        f"<Contents><Key>{key}</Key><Size>1</Size><LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
                        for key in s3.folder or ()
                    )
                    body = f"<ListBucketResult>{keys}</ListBucketResult>".encode()
                self.respond(200 if is_deletion or is_listing else 403, body)

        self.handler = Bucket


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    s3 = S3()
    with served(s3.handler) as port:
        for name, value in (
            ("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}"),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", "key"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
        ):
            monkeypatch.setenv(name, value)
        yield s3


def test_an_object_that_may_not_be_read_counts_as_absent(s3: S3) -> None:
    """Without permission to list the bucket, S3 gives the same answer for an absent object."""
    with pytest.raises(ArtifactNotFoundError):
        ObjectStore.in_bucket("bucket").get(KEY)


@pytest.mark.parametrize(
    "code",
    ["RequestTimeTooSkewed", "InvalidAccessKeyId", "SignatureDoesNotMatch", "AllAccessDisabled"],
)
def test_any_other_refusal_to_read_is_a_failure_of_the_store(s3: S3, code: str) -> None:
    s3.code = code
    with pytest.raises(UnavailableError, match=code):
        ObjectStore.in_bucket("bucket").get(KEY)


def test_a_write_a_deletion_and_a_listing_that_are_denied_are_failures_of_the_store(s3: S3) -> None:
    store = ObjectStore.in_bucket("bucket")
    for call in (
        lambda: store.put(KEY, b""),
        lambda: store.create(KEY, b""),
        lambda: store.delete(KEY),
        lambda: store.exists(KEY),
        lambda: list(store.last_modified("reply-queues")),
    ):
        with pytest.raises(UnavailableError, match="AccessDenied"):
            call()


def test_looking_for_an_object_lists_its_folder_only_and_reads_nothing(s3: S3) -> None:
    with pytest.raises(UnavailableError):
        ObjectStore.in_bucket("bucket").exists(f"{'0' * 64}/image")
    (request,) = s3.requests
    assert request.startswith("GET /bucket?")
    assert f"prefix={'0' * 64}%2F" in request


def test_a_store_by_url_does_not_count_an_object_as_absent_that_may_not_be_read(s3: S3) -> None:
    """Otherwise a peer store without permissions would seem empty."""
    with pytest.raises(UnavailableError, match="AccessDenied"):
        ObjectStore.at("s3://bucket").get(KEY)


def test_a_store_by_url_lists_a_folder_to_know_that_an_object_is_absent(s3: S3) -> None:
    """The role may list a folder of a known digest, but not the bucket."""
    s3.folder = []
    with pytest.raises(ArtifactNotFoundError):
        ObjectStore.at("s3://bucket").get(KEY)

    s3.folder = [KEY]
    with pytest.raises(UnavailableError, match="AccessDenied"):
        ObjectStore.at("s3://bucket").get(KEY)


@pytest.mark.parametrize(
    "url",
    [
        "s3x://bucket",
        "bucket",
        "https://example.org/x",
        "memory:///",
        "azure://container",
        "file:///dev/null/x",
    ],
)
def test_a_url_of_no_usable_store_is_an_invalid_setting(url: str) -> None:
    with pytest.raises(SettingsError, match=url):
        ObjectStore.at(url)
