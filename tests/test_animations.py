"""The text of an animation, and what terminals and browsers show of it."""

import re
from itertools import cycle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asciist.animations import Animation, AnimationWriter, is_animation
from asciist.animations.documents import document
from asciist.animations.terminal import perform
from asciist.size import size_of
from tests.screen import Screen

LINES = st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), max_size=4)
FRAMES = st.lists(st.tuples(st.lists(LINES, min_size=1, max_size=5), st.integers(1, 99)), min_size=1, max_size=6)


def written(*frames: tuple[str, int], max_characters: int = 1000, plays: int = 0) -> str:
    writer = AnimationWriter(max_characters=max_characters)
    for art, milliseconds in frames:
        if not writer.add(art, milliseconds):
            break
    return writer.text(plays=plays, image_frames=len(frames))


@settings(max_examples=40)
@given(FRAMES)
def test_frames_are_read_as_they_were_written(frames: list[tuple[list[str], int]]) -> None:
    shown: list[tuple[list[str], int]] = []
    for lines, milliseconds in frames:
        if shown and shown[-1][0] == lines:
            shown[-1] = (lines, shown[-1][1] + milliseconds)
        else:
            shown.append((lines, milliseconds))

    animation = Animation.from_text(written(*(("\n".join(lines), time) for lines, time in frames)))

    assert [(list(frame.lines), frame.milliseconds) for frame in animation.frames] == shown
    assert (animation.shown_frames, animation.image_frames) == (len(frames), len(frames))


def test_a_frame_is_stored_as_the_lines_that_differ() -> None:
    text = written(("ab\ncd\nef\ngh", 100), ("ab\nXd\nef\ngX", 40), ("ab\nXd\nef\ngX", 60), plays=3)

    assert text == "\x1c1 3 3 3\n100 4 0-3\nab\ncd\nef\ngh\n100 4 1-1 3-3\nXd\ngX"
    assert [frame.changed for frame in Animation.from_text(text).frames] == [[(0, 3)], [(1, 1), (3, 3)]]


def test_frames_beyond_the_bound_on_characters_are_left_out_and_counted() -> None:
    animation = Animation.from_text(written(("aaaa", 10), ("bbbb", 10), ("cccc", 10), max_characters=10))

    assert [frame.art for frame in animation.frames] == ["aaaa", "bbbb"]
    assert (animation.shown_frames, animation.image_frames) == (2, 3)


def test_the_first_frame_always_fits() -> None:
    assert Animation.from_text(written(("a" * 100, 10), max_characters=10)).frames[0].art == "a" * 100


def test_art_of_a_still_image_is_no_animation() -> None:
    assert is_animation(written(("a", 10)))
    assert not any(map(is_animation, ("", "1 0 1 1", "\x1b[31ma", "<!doctype html>")))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "art",
        "\x1c2 0 1 1\n10 1 0-0\na",
        "\x1c1 0 1 1",
        "\x1c1 0 1 1\n10 1",
        "\x1c1 0 1 1\n10 1 0-0",
        "\x1c1 0 1 1\n10 1 0-1\na\nb",
        "\x1c1 0 1 1\n10 2 1-1\na",
        "\x1c1 0 1 1\n10 2 1-0\na",
        "\x1c1 0 1 1\nten 1 0-0\na",
        "\x1c1 0 1 1\n10 999999999 0-999999998\na",
    ],
)
def test_a_malformed_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"animation|frame"):
        Animation.from_text(text)


CODES = {
    "none": [""],
    "ansi": ["\x1b[38;2;1;2;3;48;2;4;5;6m", "\x1b[38;2;1;2;3m", "\x1b[48;2;9;9;9m"],
    "ansi256": ["\x1b[38;5;1;48;5;2m", "\x1b[38;5;3m"],
    "ansi16": ["\x1b[31;42m", "\x1b[97m", "\x1b[107m"],
}


@st.composite
def movements(draw: st.DrawFn) -> list[tuple[str, int]]:
    """Frames of 6x3 cells and their milliseconds, in one of the colours of a terminal."""
    codes = CODES[draw(st.sampled_from(sorted(CODES)))]
    reset = "\x1b[0m" if codes != [""] else ""
    cell = st.tuples(st.sampled_from(["", *codes]), st.sampled_from("ab ▚"))
    line = st.lists(cell, min_size=6, max_size=6).map(lambda cells: codes[0] + "".join(map("".join, cells)) + reset)
    frame = st.lists(line, min_size=3, max_size=3).map("\n".join)
    return draw(st.lists(st.tuples(frame, st.integers(11, 400)), min_size=1, max_size=5))


def shown_by(art: str) -> list[list[tuple[str, str]]]:
    screen = Screen(6, 5)
    screen.write(art)
    return screen.cells


@settings(max_examples=60)
@given(movements(), st.integers(0, 3))
def test_a_terminal_shows_each_frame_and_only_the_cells_that_change_are_written(
    frames: list[tuple[str, int]], plays: int
) -> None:
    animation = Animation.from_text(written(*frames, max_characters=100_000, plays=plays))
    performance = perform(animation, max_seconds=3, max_bytes=2000)
    screen = Screen(6, 5)
    arts = cycle([shown_by(frame.art) for frame in animation.frames])

    *moments, last, end = performance
    for moment in [*moments, last]:
        before, screen.written = [list(line) for line in screen.cells], 0
        screen.write(moment.text.decode())
        expected = next(arts)
        assert screen.cells == expected
        assert (screen.row, screen.column, screen.colour) == (3, 0, "")  # a reader may stop here
        if moment is not performance.moments[0]:
            differing = [(a, b) for line in zip(before, expected, strict=True) for a, b in zip(*line, strict=True) if a != b]
            assert screen.written <= 5 * len(differing)
    screen.write(end.text.decode())
    assert (screen.row, screen.column) == (3, 0)
    assert sum(len(moment.text) for moment in performance) == performance.length
    assert sum(moment.seconds for moment in performance) <= 3
    assert performance.length <= 2000 or performance.plays == 1


@pytest.mark.parametrize(
    ("seconds", "plays", "shown"),
    [(0.3, 0, 3), (1, 0, 9), (1, 2, 6), (0.15, 0, 2), (0.1, 0, 1)],
    ids=["once", "repeated", "as often as the file says", "cut off", "cut off after the first frame"],
)
def test_an_animation_plays_for_a_limited_time(seconds: float, plays: int, shown: int) -> None:
    animation = Animation.from_text(written(("a", 100), ("b", 100), ("c", 100), plays=plays))

    text = b"".join(moment.text for moment in perform(animation, max_seconds=seconds, max_bytes=10_000)).decode()

    assert "".join(re.findall("[abc]", text)) == ("abc" * 3)[:shown]


def visible_lines(html: str, at: float) -> list[str]:
    """Return the lines that a browser shows at a share of an animation's time."""
    visible = {}
    for name, steps in re.findall(r"@keyframes (\S+?)\{((?:[0-9.]+%\{[^}]*\})+)\}", html):
        stops = [
            (float(share) / 100, look == "visible") for share, look in re.findall(r"([0-9.]+)%\{visibility:(\w+)\}", steps)
        ]
        visible[name] = [look for share, look in stops if share <= at][-1]
    lines = html[html.index("\n", html.index("<pre")) + 1 : html.index("</pre>")].splitlines()
    return [
        "".join(look for name, look in re.findall(r"<i class=(\S+?)>(.*?)</i>", line) if visible[name])
        if line.startswith("<span class=row>")
        else line
        for line in lines
    ]


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from(["ab", "&lt;", "<b style=color:#123456>x</b>", ""]), min_size=3, max_size=3),
            st.integers(11, 500),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_a_document_shows_each_frame_at_its_time(frames: list[tuple[list[str], int]]) -> None:
    documents = ["\n".join(("<!doctype html>", "<pre role=img>", *lines, "</pre>", "</html>")) for lines, _ in frames]
    animation = Animation.from_text(
        written(*zip(documents, [time for _, time in frames], strict=True), max_characters=10_000, plays=2)
    )
    html = document(animation)

    total = sum(frame.milliseconds for frame in animation.frames)
    begin = 0
    for frame in animation.frames:
        for within in (0.1, 0.9):
            assert visible_lines(html, (begin + within * frame.milliseconds) / total) == list(frame.lines[2:-2])
        begin += frame.milliseconds
    assert "script" not in html
    assert html.index("</pre>") < html.rindex("<style>")  # so that all lines begin to move at once
    assert html.endswith("\n</html>")


def test_the_size_of_an_animation_is_that_of_its_frames() -> None:
    assert size_of(written(("ab\ncd\nef", 10), ("ab\ncd\neX", 10))) == (2, 3)
