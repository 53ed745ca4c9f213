"""A smoke test: a few requests that show whether a deployment fulfils its contract.

    python -m operations.smoke https://art.example.org

It uploads a small new photograph, reads its art at its permanent URL, converts it again, deletes
it, and sends invalid requests. It prints a line for each check, leaves nothing behind, and exits
with 1 if a check fails.
"""

import argparse
import base64
import contextlib
import http.client
import json
import secrets
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

_PHOTOGRAPH: Final = Path(__file__).parents[1] / "docs" / "examples" / "cat.jpg"
_TIMEOUT_SECONDS: Final = 30
_WIDTH: Final = 60


class SmokeError(AssertionError):
    """An unexpected answer."""


@dataclass(frozen=True)
class Answer:
    """An HTTP response."""

    status: int
    headers: Mapping[str, str]
    """Headers by name, in lower case."""
    body: bytes

    def expect(self, status: int, **headers: str) -> "Answer":
        """Raise SmokeError unless the answer has this status and each header contains its text. `_`
        stands for `-` in names."""
        if self.status != status:
            raise SmokeError(f"status {self.status} instead of {status}: {self.body[:200]!r}")
        for name, text in headers.items():
            found = self.headers.get(name.replace("_", "-"), "")
            if text not in found:
                raise SmokeError(f"{name.replace('_', '-')} is {found!r}, without {text!r}")
        return self


@dataclass
class Smoke:
    """Checks of one deployment, in order. Later checks use results of earlier ones."""

    url: str
    connect_to: str = ""
    """HOST:PORT to connect to, like curl's `--connect-to`; by default the host of the URL."""
    image: bytes = field(default_factory=lambda: fresh(_PHOTOGRAPH.read_bytes()))
    _permalink: str = ""
    _own: str = ""
    _art: bytes = b""

    def checks(self) -> Iterator[tuple[str, Callable[[], object]]]:
        """Yield (description, function that raises SmokeError or OSError on failure)."""
        yield "the process is healthy", lambda: self.request("GET", "/healthz").expect(200)
        yield "the deployment is ready", lambda: self.request("GET", "/readyz").expect(200)
        yield "a new image is converted", self._convert
        yield "the same image is answered from the store", self._convert_again
        yield "the art has a permanent URL, which caches may keep", self._read
        yield "an unchanged copy is not sent again", self._revalidate
        yield "JSON and text have the same art", self._convert_json
        yield "the uploader converts the stored image to another width", self._convert_stored
        yield "a damaged image is refused", self._send_damaged
        yield "what is no image is refused", self._send_text
        yield "a file that is too large is refused", self._send_large
        yield (
            # Random, so that no cache in front answers for the service.
            "an unknown path is not found",
            lambda: self.request("GET", f"/{secrets.token_hex(8)}").expect(404),
        )
        yield (
            "other web sites may read art",
            lambda: self.request("OPTIONS", "/", headers=_PREFLIGHT).expect(
                204, access_control_allow_origin="*"
            ),
        )
        yield (
            "every answer tells browsers not to guess its type",
            lambda: self.request("GET", "/").expect(200, x_content_type_options="nosniff"),
        )
        yield "the uploader deletes the image and its art", self._delete

    def conversion(self) -> Iterator[tuple[str, Callable[[], object]]]:
        """Yield checks that convert a new image, read its art from the store, and delete both."""
        names = {self._convert, self._convert_again, self._delete}
        yield from ((what, check) for what, check in self.checks() if check in names)

    def request(
        self, method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send one request on a connection of its own. Raises OSError."""
        parts = urlsplit(self.url)
        secure = parts.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        # A new connection each time, so that every request may reach another instance.
        connection = kind(self.connect_to or parts.netloc, timeout=_TIMEOUT_SECONDS)
        with contextlib.closing(connection):
            connection.request(
                method,
                target,
                body,
                {"Host": parts.netloc, "User-Agent": "asciist-smoke", **(headers or {})},
            )
            response = connection.getresponse()
            named = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, named, response.read())

    def _convert(self) -> None:
        answer = self.request("PUT", f"/cat.jpg?width={_WIDTH}", self.image).expect(
            200, cache_status="fwd=miss"
        )
        self._permalink = answer.headers["content-location"]
        self._own = answer.headers["link"].partition("<")[2].partition(">")[0]
        self._art = answer.body
        lines = answer.body.decode().splitlines()
        if {len(line) for line in lines} != {_WIDTH}:
            raise SmokeError(f"the art has lines of other lengths than {_WIDTH}")

    def _convert_again(self) -> None:
        answer = self.request("PUT", f"/cat.jpg?width={_WIDTH}", self.image).expect(
            200, cache_status="hit"
        )
        self._same_art(answer.body)

    def _read(self) -> None:
        answer = self.request("GET", self._permalink).expect(
            200, cache_control="public, max-age=", etag='"'
        )
        self._same_art(answer.body)
        self.request("HEAD", self._permalink).expect(
            200, content_length=answer.headers["content-length"]
        )

    def _revalidate(self) -> None:
        etag = self.request("GET", self._permalink).headers["etag"]
        self.request("GET", self._permalink, headers={"If-None-Match": etag}).expect(304)

    def _convert_json(self) -> None:
        body = json.dumps(
            {"image": base64.b64encode(self.image).decode(), "width": _WIDTH}
        ).encode()
        answer = self.request("POST", "/", body, {"Content-Type": "application/json"}).expect(
            200, content_type="application/json"
        )
        # Text ends with a newline, JSON does not.
        self._same_art(json.loads(answer.body)["art"].encode() + b"\n")

    def _convert_stored(self) -> None:
        answer = self.request("POST", f"{self._own}?width={_WIDTH + 1}").expect(200)
        if len(answer.body.splitlines()[0]) != _WIDTH + 1:
            raise SmokeError("the art has another width")

    def _send_damaged(self) -> None:
        # Its header is intact, so a worker refuses it, and not the web tier.
        self.request("PUT", "/cat.jpg", fresh(_PHOTOGRAPH.read_bytes())[:-9000]).expect(400)

    def _send_text(self) -> None:
        self.request("PUT", "/cat.jpg", b"no image").expect(400)

    def _send_large(self) -> None:
        # A byte more than the default limit.
        self.request("PUT", "/cat.jpg", bytes(10_000_001)).expect(413)

    def _delete(self) -> None:
        self.request("DELETE", self._own).expect(204)
        give_up = time.monotonic() + _TIMEOUT_SECONDS
        # A unique value of Accept, because a cache in front may hold the art for a day.
        headers = {"Accept": f"text/plain, application/x-{secrets.token_hex(8)};q=0.1"}
        while self.request("GET", self._permalink, headers=headers).status != 404:
            if time.monotonic() > give_up:
                raise SmokeError("the art is still there")
            time.sleep(1)

    def _same_art(self, art: bytes) -> None:
        if art != self._art:
            raise SmokeError(f"other art: {art[:100]!r}…")


_PREFLIGHT: Final = {"Origin": "https://other.example", "Access-Control-Request-Method": "POST"}


def fresh(jpeg: bytes) -> bytes:
    """Return a JPEG with a unique comment."""
    comment = secrets.token_hex(16).encode()
    return jpeg[:2] + b"\xff\xfe" + (2 + len(comment)).to_bytes(2, "big") + comment + jpeg[2:]


def run(
    checks: Iterable[tuple[str, Callable[[], object]]], say: Callable[[str], object] = print
) -> list[str]:
    """Run the checks, print their outcomes, and return the failed ones. Later failures may follow
    from earlier ones."""
    failed = []
    for what, check in checks:
        started = time.monotonic()
        try:
            check()
        except (SmokeError, OSError, http.client.HTTPException, KeyError, ValueError) as error:
            failed.append(what)
            say(f"FAILED {what}: {type(error).__name__}: {error}")
        else:
            say(f"ok     {what} ({1000 * (time.monotonic() - started):.0f} ms)")
    return failed


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m operations.smoke", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("url", help="address of the deployment, such as https://art.example.org")
    parser.add_argument(
        "--connect-to",
        default="",
        metavar="HOST:PORT",
        help="connect there instead, as with curl's option",
    )
    arguments = parser.parse_args()
    parts = urlsplit(arguments.url)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.path.strip("/"):
        parser.error(f"{arguments.url!r} is not an address such as https://art.example.org")
    failed = run(
        Smoke(f"{parts.scheme}://{parts.netloc}", connect_to=arguments.connect_to).checks()
    )
    print(f"{len(failed)} checks failed" if failed else "all checks passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
