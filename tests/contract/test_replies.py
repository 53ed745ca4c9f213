"""What every pair of ReplyInbox and ReplySender promises. A new reply path is one more parameter."""

import threading
from collections.abc import Callable

import pytest

from asciist import metrics
from asciist.adapters.embedded import EmbeddedMetrics, EmbeddedReplies
from asciist.errors import ReplyAddressGoneError
from asciist.messages import ConversionReply
from asciist.ports import ReplyInbox, ReplySender


class Path:
    """A reply path: the inbox of one web process, a worker's sender, and what was counted."""

    def __init__(self, inbox: ReplyInbox, sender: ReplySender, recorder: EmbeddedMetrics) -> None:
        self.inbox = inbox
        self.sender = sender
        self.recorder = recorder

    def send(self, reply: ConversionReply) -> None:
        self.sender.send(self.inbox.address, reply)


def embedded() -> Path:
    recorder = EmbeddedMetrics()
    replies = EmbeddedReplies(recorder)
    return Path(replies, replies, recorder)


PATHS: dict[str, Callable[[], Path]] = {"embedded": embedded}


@pytest.fixture(params=PATHS)
def path(request: pytest.FixtureRequest) -> Path:
    return PATHS[request.param]()


def done(correlation_id: str, art: str = "@") -> ConversionReply:
    return ConversionReply(correlation_id=correlation_id, art=art)


def test_a_reply_wakes_the_one_that_waits_for_it(path: Path) -> None:
    with path.inbox.expect("a") as pending:
        threading.Timer(0.1, path.send, [done("a")]).start()
        assert pending.wait(30) == done("a")


def test_a_reply_that_comes_before_the_wait_begins_is_kept(path: Path) -> None:
    with path.inbox.expect("a") as pending:
        path.send(done("a"))
        assert pending.wait(5) == done("a")


def test_replies_find_their_own_requests_in_any_order(path: Path) -> None:
    with path.inbox.expect("a") as first, path.inbox.expect("b") as second:
        path.send(done("b", "second"))
        path.send(done("a", "first"))
        assert [pending.wait(5) for pending in (first, second)] == [done("a", "first"), done("b", "second")]


def test_a_rejection_travels_like_any_reply(path: Path) -> None:
    rejection = ConversionReply(correlation_id="a", rejection="the image is damaged")
    with path.inbox.expect("a") as pending:
        path.send(rejection)
        assert pending.wait(5) == rejection


def test_a_wait_ends_without_a_reply(path: Path) -> None:
    with path.inbox.expect("a") as pending:
        assert pending.wait(0.05) is None


def test_a_late_reply_is_counted_as_an_orphan_and_is_no_error(path: Path) -> None:
    with path.inbox.expect("a") as pending:
        pending.wait(0)
    path.send(done("a"))

    assert path.recorder.total(metrics.REPLIES_ORPHANED) == 1


def test_the_second_of_two_replies_is_an_orphan(path: Path) -> None:
    with path.inbox.expect("a") as pending:
        path.send(done("a"))
        path.send(done("a"))
        assert pending.wait(5) == done("a")

    assert path.recorder.total(metrics.REPLIES_ORPHANED) == 1


def test_an_address_that_nobody_listens_at_is_gone(path: Path) -> None:
    with pytest.raises(ReplyAddressGoneError):
        path.sender.send(path.inbox.address[:-4] + "gone", done("a"))


def test_no_two_inboxes_share_an_address(path: Path, request: pytest.FixtureRequest) -> None:
    other = PATHS[request.node.callspec.params["path"]]()

    assert other.inbox.address != path.inbox.address
