"""The renderer process gives what the caller would get, and survives its own end."""

import signal
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from asciist.adapters.renderer import RendererProcess
from asciist.art import forms, still
from asciist.art.codec import encode
from asciist.art.performance import Performance
from asciist.art.rendering import Rendering
from asciist.errors import OverloadedError, UnavailableError, UndrawableArtError
from tests.art.drawn import animation
from tests.waiting import wait_until

COLOURED = encode(still("@▀\n▚ ", is_light=False, colours=bytes(range(24))))
MOVING = encode(animation(("a", 20), ("b", 30), plays=2))
PNG = Rendering("file", "png", is_light=False)


def take_any(_size: int) -> None:
    pass


@pytest.fixture
def process() -> Iterator[RendererProcess]:
    process = RendererProcess()
    yield process
    process.close()


@pytest.mark.parametrize("art", [COLOURED, MOVING], ids=["still", "moving"])
@pytest.mark.parametrize(
    "rendering",
    [
        *(Rendering("file", suffix, is_light=True) for suffix in forms.FORMS if suffix != "json"),
        Rendering("page", "html", is_light=False),
        Rendering("members", "ansi", is_light=False),
        Rendering("members", "html", is_light=False),
    ],
    ids=lambda rendering: f"{rendering.kind}-{rendering.suffix}",
)
def test_the_parts_are_those_of_the_rendering_and_announced_with_their_size(
    process: RendererProcess, art: str, rendering: Rendering
) -> None:
    announced: list[int] = []
    parts = process.render(art, rendering, reserve=announced.append)

    assert parts == rendering.of(art)
    assert announced == [sum(map(len, parts))]


def test_a_stream_keeps_its_times(process: RendererProcess) -> None:
    parts = process.render(MOVING, Rendering("stream", "txt", is_light=False), reserve=take_any)
    performance = Performance.from_parts(parts)

    assert [moment.seconds for moment in performance.moments] == [0.02, 0.03]
    assert sum(len(moment.text) for moment in performance) == performance.length


def test_art_that_cannot_be_drawn_is_an_error_of_its_own(process: RendererProcess) -> None:
    with pytest.raises(UndrawableArtError, match="日"):
        process.render("日", PNG, reserve=take_any)
    with pytest.raises(UnavailableError, match="malformed"):
        process.render("\x1c9 0", PNG, reserve=take_any)

    assert process.render("@", PNG, reserve=take_any)


def refuse(_size: int) -> None:
    raise OverloadedError


def kill(process: RendererProcess) -> Callable[[int], None]:
    def reserve(_size: int) -> None:
        running = process._process
        assert running is not None
        running.send_signal(signal.SIGSTOP)  # so that it has not sent everything
        running.kill()
        running.wait()

    return reserve


def test_after_a_refused_or_lost_result_the_next_one_is_right(process: RendererProcess) -> None:
    large = "\n".join(["@%#" * 200] * 300)
    with pytest.raises(OverloadedError):
        process.render(large, PNG, reserve=refuse)
    assert process.render("@", PNG, reserve=take_any) == PNG.of("@")

    with pytest.raises(UnavailableError):
        process.render(large, Rendering("file", "svg", is_light=False), reserve=kill(process))
    assert process.render("@", PNG, reserve=take_any) == PNG.of("@")


def test_an_idle_process_ends_and_another_takes_its_place() -> None:
    process = RendererProcess(idle_seconds=1)
    with closing(process):
        process.render("@", PNG, reserve=take_any)
        idle = process._process
        assert idle is not None
        wait_until(lambda: idle.poll() == 0)

        assert process.render("@", PNG, reserve=take_any) == PNG.of("@")
        assert process._process is not idle
