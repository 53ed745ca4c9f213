"""Renderings are made once, one at a time, within a bound of memory."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from asciist.adapters.embedded import EmbeddedMetrics
from asciist.art import forms
from asciist.art.codec import decode, encode
from asciist.art.rendering import Rendering
from asciist.errors import OverloadedError, UnavailableError
from asciist.options import ConversionOptions
from asciist.protocol.served import ArtSource, ServedArt
from asciist.settings import Settings
from service import renderings
from service.admission import Admission, ReadPlaces
from service.renderings import Renderings
from tests.art.drawn import animation
from tests.waiting import wait_until


class Renderer:
    """A renderer whose results have a size, and that waits for `may_end`."""

    def __init__(self, size: int = 1000) -> None:
        self.size = size
        self.calls = 0
        self.may_end = threading.Event()
        self.may_end.set()

    def render(
        self, _art: str, _rendering: Rendering, *, reserve: Callable[[int], None]
    ) -> list[bytes]:
        self.calls += 1
        assert self.may_end.wait(60)
        reserve(self.size)
        return [bytes(self.size)]


def served(number: int = 0) -> ServedArt:
    return ServedArt(
        encoded="@",
        first=decode("@", is_light=False),
        digest=f"{number:064x}",
        options=ConversionOptions(width=80),
        source=ArtSource.STORE,
    )


def test_a_picture_is_made_once_for_all_colours_of_a_link() -> None:
    renderer = Renderer()
    kept = Renderings(renderer)
    first = kept.render(served(), "file", forms.PNG)

    assert kept.render(served(), "file", forms.PNG) is first
    assert kept.render(served(), "file", forms.SVG) is not first
    assert renderer.calls == 2


def test_small_text_needs_no_other_process() -> None:
    renderer = Renderer()
    assert Renderings(renderer).render(served(), "file", forms.TXT).parts == [b"@\n"]
    assert renderer.calls == 0


def test_art_that_is_malformed_behind_its_first_frame_is_a_failure_of_the_store() -> None:
    whole = encode(animation(("a", 20), ("b", 30), plays=1))
    damaged = replace(served(), encoded=f"{whole}\nrubbish")
    for kind, form in (("members", forms.TXT), ("file", forms.PNG)):
        with pytest.raises(UnavailableError, match="malformed"):
            Renderings().render(damaged, kind, form)


def test_simultaneous_requests_share_one_rendering() -> None:
    renderer = Renderer()
    renderer.may_end.clear()
    kept = Renderings(renderer)
    with ThreadPoolExecutor(5) as pool:
        asked = [pool.submit(kept.render, served(), "file", forms.PNG) for _ in range(5)]
        wait_until(lambda: renderer.calls == 1)
        renderer.may_end.set()
        assert len({id(each.result()) for each in asked}) == 1
    assert renderer.calls == 1


def test_reads_do_not_wait_behind_many_others_but_uploads_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(renderings, "_WAITING_READS", 1)
    reads = ReadPlaces(Admission(Settings(), EmbeddedMetrics()))
    renderer = Renderer()
    renderer.may_end.clear()
    kept = Renderings(renderer)
    with ThreadPoolExecutor(4) as pool:
        running = pool.submit(kept.render, served(1), "file", forms.PNG)
        wait_until(lambda: renderer.calls == 1)
        waiting = pool.submit(kept.render, served(2), "file", forms.PNG)
        wait_until(lambda: kept._waiting == 1)
        with reads.take(), pytest.raises(OverloadedError):
            kept.render(served(3), "file", forms.PNG, reads)
        upload = pool.submit(kept.render, served(4), "file", forms.PNG)
        wait_until(lambda: kept._waiting == 2)
        renderer.may_end.set()
        assert all(each.result() for each in (running, waiting, upload))


def test_results_in_use_are_bounded_and_kept_ones_make_room() -> None:
    renderer = Renderer(size=10_000_000)
    kept = Renderings(renderer)
    for number in range(10):
        kept.render(served(number), "file", forms.PNG)

    in_use = [kept.render(served(number), "file", forms.PNG) for number in range(20, 24)]
    with pytest.raises(OverloadedError):
        kept.render(served(30), "file", forms.PNG)
    in_use.clear()
    kept.render(served(30), "file", forms.PNG)


def test_answers_are_composed_within_a_bound_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renderings, "_COMPOSE_WAIT_SECONDS", 0)
    kept = Renderings(Renderer(size=10_000_000))
    rendered = kept.render(served(), "file", forms.PNG)
    with kept.composing(rendered), pytest.raises(OverloadedError), kept.composing(rendered):
        pass
    with kept.composing(rendered):
        pass
