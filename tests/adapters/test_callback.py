"""A callback port accepts only expected replies."""

import http.client
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from asciist.adapters.callback import CallbackInbox, CallbackSender
from asciist.adapters.embedded import EmbeddedMetrics
from asciist.errors import ReplyAddressGoneError, UnavailableError
from asciist.protocol.messages import ConversionReply

REPLY = ConversionReply(correlation_id="a", art="@")


@pytest.fixture
def inbox() -> Iterator[CallbackInbox]:
    inbox = CallbackInbox(host="127.0.0.1", ports=range(28_200, 28_216), metrics=EmbeddedMetrics())
    yield inbox
    inbox.close()


def post(address: str, path: str, body: bytes, method: str = "POST", **headers: str) -> int:
    url = urlsplit(address)
    connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=10)
    connection.request(method, path, body, headers)
    status = connection.getresponse().status
    connection.close()
    return status


def test_any_path_but_that_of_the_reply_address_is_forbidden(inbox: CallbackInbox) -> None:
    body = REPLY.to_json().encode()
    with inbox.expect("a") as pending, inbox.expect("b") as other:
        path, other_path = urlsplit(pending.reply_to).path, urlsplit(other.reply_to).path
        for wrong in (
            "/",
            "//",
            "/a",
            "/a/",
            path[:-1],
            path + "x",
            path.upper(),
            path + "?x",
            "/b/" + path.split("/")[2],
            "/%61",
        ):
            assert post(pending.reply_to, wrong, body) == 403
        assert post(pending.reply_to, other_path, body) == 403  # a reply to another request
        assert pending.wait(0) is None

        assert post(pending.reply_to, path, body) == 204
        assert pending.wait(0) == REPLY
        assert post(pending.reply_to, path, body) == 403  # a token is valid once


def test_a_malformed_reply_is_refused_and_the_wait_continues(inbox: CallbackInbox) -> None:
    with inbox.expect("a") as pending:
        path = urlsplit(pending.reply_to).path
        assert post(pending.reply_to, path, b"{}") == 400
        assert post(pending.reply_to, path, b"\xff") == 400
        assert post(pending.reply_to, path, b"", **{"Content-Length": "99999999"}) == 413
        assert post(pending.reply_to, path, b"", **{"Content-Length": "-1"}) == 413
        assert post(pending.reply_to, path, b"", method="GET") == 501
        assert post(pending.reply_to, path, REPLY.to_json().encode()) == 204


def test_a_stalled_sender_does_not_block_others(inbox: CallbackInbox) -> None:
    with inbox.expect("a") as pending:
        url = urlsplit(pending.reply_to)
        with socket.create_connection((url.hostname, url.port)) as stalled:
            stalled.sendall(b"POST ")
            CallbackSender().send(pending.reply_to, REPLY)
            assert pending.wait(5) == REPLY


def test_each_inbox_takes_the_next_port_until_none_is_free() -> None:
    ports = range(28_300, 28_302)
    inboxes = [CallbackInbox(host="127.0.0.1", ports=ports, metrics=EmbeddedMetrics()) for _ in ports]
    with pytest.raises(UnavailableError, match="no free port from 28300 to 28301"):
        CallbackInbox(host="127.0.0.1", ports=ports, metrics=EmbeddedMetrics())
    for inbox in inboxes:
        inbox.close()


@pytest.mark.parametrize("address", ["", "file:///etc/passwd", "https://127.0.0.1:1/a/b", "http://", "http://127.0.0.1:9/a/b"])
def test_an_unreachable_or_invalid_address_raises_reply_address_gone(address: str) -> None:
    with pytest.raises(ReplyAddressGoneError):
        CallbackSender().send(address, REPLY)
