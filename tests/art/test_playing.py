"""Animations as shown by terminals and browsers."""

import re
from itertools import cycle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asciist.art import Art, forms
from asciist.art.forms import FORMS
from asciist.art.html import document
from asciist.art.playing import perform
from tests.art.drawn import animation, animations
from tests.screen import Screen

TERMINALS = [form for form in FORMS.values() if form.palette]


def shown_by(art: str) -> list[list[tuple[str, str]]]:
    screen = Screen(6, 5)
    screen.write(art)
    return screen.cells


@settings(max_examples=60)
@given(animations(columns=6), st.sampled_from([*TERMINALS, forms.TXT]))
def test_a_terminal_shows_each_frame_and_only_the_cells_that_change_are_written(
    art: Art, form: forms.Form
) -> None:
    performance = perform(art, forms.palette_of(form), max_seconds=3, max_bytes=2000)
    screen = Screen(6, 5)
    arts = cycle([shown_by(text) for text, _ in forms.texts(art, form)])

    *moments, last, end = performance
    for moment in [*moments, last]:
        before, screen.written = [list(line) for line in screen.cells], 0
        screen.write(moment.text.decode())
        expected = next(arts)
        assert screen.cells == expected
        assert (screen.row, screen.column, screen.colour) == (3, 0, "")  # a reader may stop here
        if moment is not performance.moments[0]:
            differing = [
                (a, b)
                for line in zip(before, expected, strict=True)
                for a, b in zip(*line, strict=True)
                if a != b
            ]
            assert screen.written <= 5 * len(differing)
    screen.write(end.text.decode())
    assert (screen.row, screen.column) == (3, 0)
    assert sum(len(moment.text) for moment in performance) == performance.length
    assert sum(moment.seconds for moment in performance) <= 3
    assert performance.length <= 2000 or performance.plays == 1


@pytest.mark.parametrize(
    ("seconds", "plays", "shown"),
    [(0.3, 0, 3), (1, 0, 9), (1, 2, 6), (0.15, 0, 2), (0.1, 0, 1)],
    ids=[
        "once",
        "repeated",
        "as often as the file says",
        "cut off",
        "cut off after the first frame",
    ],
)
def test_an_animation_plays_for_a_limited_time(seconds: float, plays: int, shown: int) -> None:
    art = animation(("a", 100), ("b", 100), ("c", 100), plays=plays)

    text = b"".join(
        moment.text for moment in perform(art, None, max_seconds=seconds, max_bytes=10_000)
    ).decode()

    assert "".join(re.findall("[abc]", text)) == ("abc" * 3)[:shown]


def visible_lines(html: str, at: float) -> list[str]:
    """Return the lines shown by a browser at a share of an animation's time."""
    visible = {}
    for name, steps in re.findall(r"@keyframes (\S+?)\{((?:[0-9.]+%\{[^}]*\})+)\}", html):
        stops = [
            (float(share) / 100, look == "visible")
            for share, look in re.findall(r"([0-9.]+)%\{visibility:(\w+)\}", steps)
        ]
        visible[name] = [look for share, look in stops if share <= at][-1]
    lines = html[html.index("\n", html.index("<pre")) + 1 : html.index("</pre>")].splitlines()
    return [
        "".join(
            look for name, look in re.findall(r"<i class=(\S+?)>(.*?)</i>", line) if visible[name]
        )
        if line.startswith("<span class=row>")
        else line
        for line in lines
    ]


@settings(max_examples=40)
@given(animations())
def test_a_document_shows_each_frame_at_its_time(art: Art) -> None:
    html = "".join(document(art))
    stills = ["".join(document(frame)) for frame in art.stills()]

    total = sum(frame.milliseconds for frame in art.frames)
    begin = 0
    for frame, still in zip(art.frames, stills, strict=True):
        for within in (0.1, 0.9):
            shown = visible_lines(html, (begin + within * frame.milliseconds) / total)
            assert shown == visible_lines(still, 0)
        begin += frame.milliseconds
    assert "script" not in html
    assert html.index("</pre>") < html.rindex("<style>")  # so that all lines begin to move at once
    assert html.endswith("\n</html>")


def test_the_size_of_an_animation_is_that_of_its_frames() -> None:
    assert animation(("ab\ncd\nef", 10), ("ab\ncd\neX", 10)).size == (2, 3)
