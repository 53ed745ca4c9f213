"""The text in which art is stored and sent."""

from dataclasses import replace

import pytest
from hypothesis import given, settings

from asciist.art import Art, still
from asciist.art.codec import decode, encode
from tests.art.drawn import animation, animations, rgb


@settings(max_examples=60)
@given(animations())
def test_art_is_read_as_it_was_written(art: Art) -> None:
    first = still(art.text, is_light=art.is_light, colours=art.frames[0].colours)
    for each in (art, first):
        again = decode(encode(each), is_light=each.is_light)

        assert replace(again, frames=list(again.frames)) == replace(each, frames=list(each.frames))


def test_still_art_without_colours_is_its_characters() -> None:
    assert encode(still("<b>\n é ", is_light=True)) == "<b>\n é "
    assert decode("<b>\n é ", is_light=True) == still("<b>\n é ", is_light=True)


def test_colours_follow_the_characters_in_base64() -> None:
    art = still("ab\ncd", is_light=False, colours=rgb("ff0000", "0000ff", columns=2))

    assert encode(art) == "\x1c2 1\n0 2 0-1\nab\ncd\n/wAA/wAAAAD/AAD/"


def test_a_frame_is_stored_as_the_rows_that_differ() -> None:
    art = animation(
        ("ab\ncd\nef\ngh", 100), ("ab\nXd\nef\ngX", 40), ("ab\nXd\nef\ngX", 60), plays=3
    )

    assert encode(art) == "\x1c2 0 3 3 3\n100 4 0-3\nab\ncd\nef\ngh\n40 4 1-1 3-3\nXd\ngX\n60 4"


@pytest.mark.parametrize(
    "text",
    [
        "\x1c",
        "\x1c1 0 1 1\n10 1 0-0\na",
        "\x1c3 0 0 1 1\n10 1 0-0\na",
        "\x1c2 3\n0 1 0-0\na\nAAAA",
        "\x1c2 0 0 1 1",
        "\x1c2 0\n0 1 0-0\na\n0 1",
        "\x1c2 0 0 1 1\n10 1",
        "\x1c2 0 0 1 1\n10 1 0-0",
        "\x1c2 0 0 1 1\n10 1 0-1\na\nb",
        "\x1c2 0 0 1 1\n10 2 1-1\na",
        "\x1c2 0 0 1 1\n10 2 1-0\na",
        "\x1c2 0 0 1 1\nten 1 0-0\na",
        "\x1c2 0 0 1 1\n10 999999999 0-999999998\na",
        "\x1c2 0 0 1 1\n10 2 0-1\na\nbc",
        "\x1c2 1\n0 1 0-0\na",
        "\x1c2 1\n0 1 0-0\na\nAAA",
        "\x1c2 1\n0 1 0-0\na\n!AAA",
        "\x1c2 1\n0 1 0-0\na\nAAAAAAAA",
    ],
)
def test_a_malformed_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"art|animation|frame|base64|padding|ase64"):
        decode(text, is_light=False)
