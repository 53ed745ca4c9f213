"""Two deployments that exchange artifacts: reading through to the peer store, deleting in both,
read-only mode."""

import time
from collections.abc import Iterator

import pytest

from asciist.adapters.threads import ThreadedCalls
from asciist.conversion import ConversionOptions
from asciist.errors import ArtifactNotFoundError, AsciistError, ReadOnlyError, UnavailableError
from asciist.protocol.artifacts import StoredArt, digest_of, image_key, link_key
from asciist.protocol.copying import put_copy
from asciist.protocol.read_only import VALID_SECONDS, ReadOnlySwitch
from asciist.protocol.served import ArtSource
from asciist.telemetry import metrics
from tests.clock import Clock
from tests.protocol.tiers import ART, CAT, KEY, OPTIONS, FlakyStore, Tiers

DIGEST = digest_of(CAT)
IMAGE = image_key(DIGEST)


@pytest.fixture
def peer() -> FlakyStore:
    """A peer store with the image and its art."""
    store = FlakyStore()
    store.create(IMAGE, CAT)
    store.put(KEY, StoredArt(ART).to_json())
    store.calls.clear()
    return store


@pytest.fixture
def tiers(peer: FlakyStore) -> Iterator[Tiers]:
    """Tiers with an empty store, and a peer."""
    tiers = Tiers(peer=peer, timeout_seconds=20, call=ThreadedCalls(8))
    tiers.start()
    yield tiers
    tiers.stop()


def reads(tiers: Tiers, outcome: str) -> int:
    return tiers.metrics.total(metrics.PEER_READS, outcome=outcome)


def test_art_of_the_peer_is_served_and_copied(tiers: Tiers, peer: FlakyStore) -> None:
    assert tiers.requester.stored_art(DIGEST, OPTIONS).first.text == ART

    peer.failing = lambda _call, _key: True
    assert tiers.requester.stored_art(DIGEST, OPTIONS).first.text == ART
    assert tiers.store.get(KEY) == StoredArt(ART).to_json()


def test_a_short_link_of_the_peer_is_served_and_copied(tiers: Tiers, peer: FlakyStore) -> None:
    peer.put(link_key("0123-4567-89ab"), b"/name/width/80")
    assert tiers.requester.find_link("0123-4567-89ab") == "/name/width/80"

    peer.failing = lambda _call, _key: True
    assert tiers.requester.find_link("0123-4567-89ab") == "/name/width/80"


def test_an_image_of_the_peer_is_copied_and_converted(tiers: Tiers, peer: FlakyStore) -> None:
    served = tiers.requester.convert_stored_image(DIGEST, ConversionOptions(width=30))

    assert served.source is ArtSource.CONVERSION
    assert tiers.store.get(IMAGE) == CAT
    assert peer.calls == [("get", IMAGE), ("exists", IMAGE)]


def test_uploads_and_stored_art_do_not_ask_the_peer(tiers: Tiers, peer: FlakyStore) -> None:
    tiers.requester.convert(CAT, OPTIONS)
    tiers.requester.convert(CAT, OPTIONS)
    tiers.requester.stored_art(DIGEST, OPTIONS)
    tiers.requester.convert_stored_image(DIGEST, ConversionOptions(width=30))

    assert peer.calls == []


def test_an_object_that_neither_store_has_is_not_found(tiers: Tiers) -> None:
    with pytest.raises(ArtifactNotFoundError):
        tiers.requester.stored_art(DIGEST, ConversionOptions(width=99))
    with pytest.raises(ArtifactNotFoundError):
        tiers.requester.convert_stored_image("0" * 64, OPTIONS)


def test_a_peer_that_fails_makes_the_service_unavailable_and_hides_nothing(
    tiers: Tiers, peer: FlakyStore
) -> None:
    peer.failing = lambda call, _key: call == "get"

    with pytest.raises(UnavailableError):
        tiers.requester.stored_art(DIGEST, OPTIONS)
    with pytest.raises(UnavailableError):
        tiers.requester.convert_stored_image(DIGEST, OPTIONS)


def test_a_peer_that_does_not_answer_makes_the_service_unavailable_before_the_deadline(
    tiers: Tiers, peer: FlakyStore
) -> None:
    tiers.requester._timeout_seconds = 2
    peer.failing = lambda _call, _key: bool(time.sleep(1.5))

    with pytest.raises(UnavailableError, match="did not answer in time"):
        tiers.requester.stored_art(DIGEST, OPTIONS)


@pytest.mark.parametrize("call", ["create", "put"])
def test_art_of_the_peer_is_served_even_if_it_cannot_be_copied(tiers: Tiers, call: str) -> None:
    tiers.store.failing = lambda failing, _key: failing in (call, "create")

    assert tiers.requester.stored_art(DIGEST, OPTIONS).first.text == ART


def test_a_damaged_image_of_the_peer_is_not_copied(tiers: Tiers, peer: FlakyStore) -> None:
    peer.put(IMAGE, CAT[:-1])

    with pytest.raises(UnavailableError, match="SHA-256"):
        tiers.requester.convert_stored_image(DIGEST, OPTIONS)
    with pytest.raises(ArtifactNotFoundError):
        tiers.store.get(IMAGE)


@pytest.mark.parametrize("failure", [False, True])
def test_a_copy_whose_source_is_gone_or_cannot_be_checked_is_undone(
    failure: bool, peer: FlakyStore
) -> None:
    peer.delete(IMAGE)
    peer.failing = lambda call, _key: failure and call == "exists"
    own = FlakyStore()

    with pytest.raises(UnavailableError if failure else ArtifactNotFoundError):
        put_copy(IMAGE, CAT, source=peer, destination=own)
    assert not own.exists(IMAGE)


def test_what_was_stored_already_is_not_undone(peer: FlakyStore) -> None:
    peer.delete(IMAGE)
    own = FlakyStore()
    own.create(IMAGE, CAT)

    assert not put_copy(IMAGE, CAT, source=peer, destination=own)
    assert own.get(IMAGE) == CAT


def test_a_deletion_deletes_in_both_stores(tiers: Tiers, peer: FlakyStore) -> None:
    tiers.requester.convert(CAT, OPTIONS)

    tiers.requester.delete(DIGEST)

    with pytest.raises(ArtifactNotFoundError):
        tiers.requester.stored_art(DIGEST, OPTIONS)
    assert not peer.exists(IMAGE)


def test_a_deletion_that_the_peer_refuses_fails_and_succeeds_later(
    tiers: Tiers, peer: FlakyStore
) -> None:
    peer.failing = lambda call, _key: call == "delete_folder"
    with pytest.raises(UnavailableError):
        tiers.requester.delete(DIGEST)

    peer.failing = lambda _call, _key: False
    tiers.requester.delete(DIGEST)
    assert not peer.exists(IMAGE)


def test_the_outcomes_of_reading_through_are_counted(tiers: Tiers, peer: FlakyStore) -> None:
    tiers.requester.stored_art(DIGEST, OPTIONS)
    with pytest.raises(ArtifactNotFoundError):
        tiers.requester.stored_art(DIGEST, ConversionOptions(width=99))
    peer.failing = lambda _call, _key: True
    with pytest.raises(UnavailableError):
        tiers.requester.stored_art(DIGEST, ConversionOptions(width=99))

    assert [reads(tiers, outcome) for outcome in ("copied", "missing", "failed", "served")] == [
        1,
        1,
        1,
        0,
    ]


def test_read_only_serves_what_is_stored_here_or_there_and_writes_nothing(
    tiers: Tiers, peer: FlakyStore
) -> None:
    tiers.requester.convert(CAT, ConversionOptions(width=30))
    tiers.is_read_only = True
    tiers.store.calls.clear()

    assert tiers.requester.convert(CAT, ConversionOptions(width=30)).source is ArtSource.STORE
    assert tiers.requester.stored_art(DIGEST, OPTIONS).first.text == ART
    for refused in (
        lambda: tiers.requester.convert(CAT, ConversionOptions(width=31)),
        lambda: tiers.requester.convert_stored_image(DIGEST, ConversionOptions(width=31)),
        lambda: tiers.requester.delete(DIGEST),
    ):
        with pytest.raises(ReadOnlyError):
            refused()
    assert {call for call, _ in tiers.store.calls} == {"get"}
    assert peer.exists(IMAGE)
    assert tiers.metrics.total(metrics.REQUESTS_READ_ONLY) == 3
    assert reads(tiers, "served") == 1


class Marker:
    """A marker of the read-only mode whose reads can fail."""

    def __init__(self) -> None:
        self.exists = False
        self.error: AsciistError | None = None

    def __call__(self) -> bool:
        if self.error:
            raise self.error
        return self.exists


def test_the_switch_follows_its_marker(caplog: pytest.LogCaptureFixture) -> None:
    marker = Marker()
    switch = ReadOnlySwitch(marker)
    switch.look()
    assert not switch.is_on()

    marker.exists = True
    switch.look()
    assert switch.is_on()

    marker.exists = False
    switch.look()
    assert not switch.is_on()
    assert caplog.messages == ["read-only mode is on", "read-only mode is off"]


def test_a_process_that_cannot_read_the_marker_writes_no_longer_than_its_last_answer_is_valid() -> (
    None
):
    marker, clock = Marker(), Clock()
    switch = ReadOnlySwitch(marker, clock)
    switch.look()
    marker.error = UnavailableError("no answer")

    clock.now += VALID_SECONDS - 0.1
    switch.look()
    assert not switch.is_on()
    clock.now += 0.2
    switch.look()
    assert switch.is_on()


def test_a_process_that_has_never_read_the_marker_does_not_write() -> None:
    marker = Marker()
    marker.error = UnavailableError("no permission")
    switch = ReadOnlySwitch(marker)

    switch.look()

    assert switch.is_on()
