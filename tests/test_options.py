"""What a caller may choose, and the sentence for what there is not."""

import pytest
from PIL import Image

from asciist.conversion import STYLES, ConversionOptions, convert
from asciist.conversion.rendering import RENDERERS
from asciist.errors import BadOptionError
from asciist.limits import Limits
from asciist.options import COLORS
from devtools.images import encoded, gradient

RAMP = " .:-=+*#%@"
LIGHT_TO_RIGHT = encoded(Image.linear_gradient("L").rotate(90).resize((1000, 200)), "PNG")


def row(**options: object) -> str:
    """The first row of a gradient from black to white, each character once."""
    art = convert(LIGHT_TO_RIGHT, ConversionOptions(width=100, style="ramp", **options), Limits())  # type: ignore[arg-type]
    return "".join(dict.fromkeys(art.split("\n")[0]))


def test_every_style_that_may_be_chosen_can_be_drawn() -> None:
    assert list(RENDERERS) == list(STYLES)


class TestChars:
    @pytest.mark.parametrize("chars", [RAMP, " .oO@", " ░▒▓█", "·+Ж█", "ab", "^", "<&>\"'"])
    def test_they_are_the_ramp_from_dark_to_light(self, chars: str) -> None:
        assert row(chars=chars) == chars

    def test_a_repeated_one_takes_a_larger_part_of_the_ramp(self) -> None:
        art = convert(LIGHT_TO_RIGHT, ConversionOptions(width=100, style="ramp", chars="   @"), Limits())

        assert 70 <= art.split("\n")[0].count(" ") <= 80

    def test_after_a_circumflex_they_are_left_out(self) -> None:
        assert row(chars="^@%") == " .:-=+*#"
        assert row(chars="^x") == RAMP
        assert row(chars="^^") == RAMP

    def test_a_circumflex_alone_is_drawn(self) -> None:
        art = convert(LIGHT_TO_RIGHT, ConversionOptions(width=9, style="ramp", chars="^"), Limits())

        assert set(art) == {"^"}

    @pytest.mark.parametrize(
        "chars",
        [
            "\n",
            " \x1b[2J@",
            "\x00",
            "\x7f",
            "\x9b",
            "^\x07",
            "\u0301",  # a combining acute accent
            "a\u200b",  # a space without width
            "\u00ad",  # a soft hyphen
            "\u202e",  # what turns the text around
            "\u2028",
            "\ufeff",
            "漢",
            "\uff21",  # a full-width A
            "🙂",
            "א",
            "ع",
            "\u1161",  # a Hangul vowel, which joins what is before it
            "\ud800",  # half a surrogate pair, as JSON may have it
            "\ue000",
            "\U000e0041",
        ],
    )
    def test_each_must_be_printable_and_one_column_wide(self, chars: str) -> None:
        with pytest.raises(BadOptionError, match="chars must be printable characters, each one column wide"):
            ConversionOptions(width=9, style="ramp", chars=chars).check(Limits())

    def test_bytes_that_were_no_text_are_not_drawn(self) -> None:
        with pytest.raises(BadOptionError, match="chars must be printable"):
            ConversionOptions(width=9, style="ramp", chars=b"\xff".decode(errors="replace")).check(Limits())

    def test_there_is_room_for_all_of_printable_ascii_and_for_no_more_than_a_file_name_has(self) -> None:
        printable = "".join(map(chr, range(32, 127)))
        for chars in (printable, "^" + printable.replace(" ", ""), "█" * 33):
            ConversionOptions(width=9, style="ramp", chars=chars).check(Limits())
        for chars in ("x" * 101, "█" * 34, "x" * 10_000_000, "\ud800" * 50):
            with pytest.raises(BadOptionError, match="chars must be at most 100 bytes in UTF-8"):
                ConversionOptions(width=9, style="ramp", chars=chars).check(Limits())

    def test_one_must_be_left(self) -> None:
        with pytest.raises(BadOptionError, match="chars excludes every character of the style"):
            ConversionOptions(width=9, style="ramp", chars="^" + RAMP).check(Limits())

    @pytest.mark.parametrize("style", [name for name, style in STYLES.items() if not style.characters])
    def test_a_style_with_patterns_of_its_own_takes_none(self, style: str) -> None:
        with pytest.raises(BadOptionError, match=f"chars cannot be used with the style {style}, which draws fixed patterns"):
            ConversionOptions(width=9, style=style, chars="x").check(Limits())


def test_inverted_the_ramp_runs_backwards() -> None:
    assert row(invert=True) == RAMP[::-1]
    assert row(invert=True, chars=" ░▒▓█") == "█▓▒░ "


def test_a_color_that_there_is_not_is_a_bad_option() -> None:
    with pytest.raises(BadOptionError, match="color must be one of: none, ansi, html"):
        ConversionOptions(width=9, color="cmyk").check(Limits())


@pytest.mark.parametrize("color", COLORS)
@pytest.mark.parametrize("style", STYLES)
def test_no_cell_becomes_longer_than_it_counts_for(style: str, color: str) -> None:
    noise = Image.merge("RGB", [Image.effect_noise((160, 160), 200) for _ in range(3)])
    chars = "&" if STYLES[style].takes_any_character else ""
    options = ConversionOptions(width=80, style=style, color=color, chars=chars)
    small, large = (len(convert(encoded(image, "PNG"), options, Limits())) for image in (noise.crop((0, 0, 160, 4)), noise))

    ends = 40 * len("</b>\x1b[0m\n")
    assert large - small <= 39 * 80 * options.cell_weight + ends


def test_art_over_the_limit_on_characters_is_refused_and_colour_counts() -> None:
    limits = Limits(max_art_characters=100_000)
    for options, most in (
        (ConversionOptions(width=80, style="ramp"), 100_000),
        (ConversionOptions(width=80, style="ramp", color="ansi"), 5000),
        (ConversionOptions(width=80, style="ramp", color="html"), 3125),
        (ConversionOptions(width=80, style="braille"), 12_500),
        (ConversionOptions(width=80, style="blocks", color="ansi"), 2564),
    ):
        options.check_art(1, most, limits)
        with pytest.raises(BadOptionError, match=f"the limit for this style and color is {most} characters"):
            options.check_art(1, most + 1, limits)


def test_a_gradient_has_the_same_shape_in_every_style() -> None:
    for style in STYLES:
        lines = convert(encoded(gradient(64, 64), "PNG"), ConversionOptions(width=20, style=style), Limits()).split("\n")
        assert {len(line) for line in lines} == {20}
        assert len(lines) == 10
