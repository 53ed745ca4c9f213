"""The table of forms: each is written from the same art, and the client and the options know it."""

import re
from typing import get_args

import pytest

from asciist import conversion
from asciist.art import forms
from asciist.art.forms import FORMS
from asciist.client import Suffix
from asciist.limits import Limits
from asciist.options import COLORS, STYLES, ConversionOptions
from asciist.protocol.artifacts import art_key


def test_the_client_and_the_option_know_every_form() -> None:
    assert get_args(Suffix) == tuple(FORMS)
    assert {form.color for form in FORMS.values()} - {""} == set(COLORS)
    assert all(forms.of_colour(color).color == color for color in COLORS)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("paint", ["cells", "text"])
def test_coloured_art_is_the_same_whatever_its_form(cat: bytes, style: str, paint: str) -> None:
    choices = [
        ConversionOptions(width=40, style=style, paint=paint, color=color)
        for color in COLORS
        if color != "none"
    ]

    drawn = [conversion.convert(cat, options, Limits()) for options in choices]

    assert all(art == drawn[0] for art in drawn)
    assert len({art_key("0" * 64, options) for options in choices}) == 1


def test_every_form_is_written_from_coloured_art_and_from_plain_art(cat: bytes) -> None:
    for color in ("none", "ansi"):
        art = conversion.convert(cat, ConversionOptions(width=30, color=color), Limits())
        for form in FORMS.values():
            if form.write is None:
                continue
            content = b"".join(form.written(art))
            if form.palette:
                plain = re.sub(rb"\x1b\[[0-9;]*m", b"", content)
                assert plain.decode() == art.text + "\n"
                assert (plain != content) is (color == "ansi")
            elif form.media_type.startswith("text/"):
                assert content.endswith(b"\n")
