"""Refusals of S3, as the artifact store reports them. The server stands in for S3: it gives the answers that S3 documents."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from asciist.adapters.object_store import ObjectStore
from asciist.errors import ArtifactNotFoundError, SettingsError, UnavailableError

KEY = f"{'0' * 64}/width/80"


class S3:
    """A bucket that refuses every request with an error code."""

    def __init__(self) -> None:
        self.code = "AccessDenied"
        self.folder: list[str] | None = None
        """Keys of the answer to a list request; None refuses it."""
        self.requests: list[str] = []
        s3 = self

        class Handler(BaseHTTPRequestHandler):
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
                self.send_response(200 if is_deletion or is_listing else 403)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_GET = do_HEAD = do_PUT = do_POST = answer  # noqa: N815 - the names that http.server calls

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    s3 = S3()
    threading.Thread(target=s3.server.serve_forever, args=(0.02,), daemon=True).start()
    for name, value in (
        ("AWS_ENDPOINT_URL", f"http://127.0.0.1:{s3.server.server_port}"),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "key"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
    ):
        monkeypatch.setenv(name, value)
    yield s3
    s3.server.shutdown()
    s3.server.server_close()


def test_an_object_that_may_not_be_read_counts_as_absent(s3: S3) -> None:
    """Without permission to list the bucket, S3 gives this answer for an absent object."""
    with pytest.raises(ArtifactNotFoundError):
        ObjectStore.in_bucket("bucket").get(KEY)


@pytest.mark.parametrize("code", ["RequestTimeTooSkewed", "InvalidAccessKeyId", "SignatureDoesNotMatch", "AllAccessDisabled"])
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
    """A peer store without permissions would hide everything that it has."""
    with pytest.raises(UnavailableError, match="AccessDenied"):
        ObjectStore.at("s3://bucket").get(KEY)


def test_a_store_by_url_lists_a_folder_to_know_that_an_object_is_absent(s3: S3) -> None:
    """Its role may list a folder whose digest it knows, and not the bucket."""
    s3.folder = []
    with pytest.raises(ArtifactNotFoundError):
        ObjectStore.at("s3://bucket").get(KEY)

    s3.folder = [KEY]
    with pytest.raises(UnavailableError, match="AccessDenied"):
        ObjectStore.at("s3://bucket").get(KEY)


@pytest.mark.parametrize(
    "url", ["s3x://bucket", "bucket", "https://example.org/x", "memory:///", "azure://container", "file:///dev/null/x"]
)
def test_a_url_of_no_usable_store_is_an_invalid_setting(url: str) -> None:
    with pytest.raises(SettingsError, match=url):
        ObjectStore.at(url)
