"""Artifact keys differ for different options, and the options can be read back from them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asciist.conversion import DEFAULT_STYLE, STYLES, ConversionOptions
from asciist.errors import BadOptionError
from asciist.limits import Limits
from asciist.options import COLORS, MAX_CHARS_BYTES, PAINTS, SHAPES
from asciist.options import OPTIONS as OPTIONS_TABLE
from asciist.options.kinds import Choice, Flag
from asciist.protocol.artifacts import StoredArt, art_key, options_of_variant, variant_of

DIGEST = "0" * 64

OPTIONS = st.builds(
    ConversionOptions,
    width=st.integers(1, 1000),
    style=st.sampled_from(list(STYLES)),
    invert=st.sampled_from([False, True, "auto"]),
    chars=st.one_of(st.just(""), st.text(st.characters(codec="utf-8"), max_size=90)),
    color=st.sampled_from(COLORS),
    background=st.sampled_from(["auto", "#000000", "#ff8800"]),
    height=st.integers(0, 1000),
    fit=st.sampled_from(["contain", "cover", "fill"]),
    brightness=st.integers(-100, 100),
    contrast=st.integers(-100, 100),
    paint=st.sampled_from(PAINTS),
    shapes=st.sampled_from(SHAPES),
)


def test_the_default_style_without_options_has_the_short_key() -> None:
    assert art_key(DIGEST, ConversionOptions(width=80)) == f"{DIGEST}/width/80"


@pytest.mark.parametrize(
    ("options", "variant"),
    [
        (ConversionOptions(width=80, style="braille"), "braille"),
        (ConversionOptions(width=80, style="ramp", invert=True), "ramp.invert"),
        (ConversionOptions(width=80, invert="auto"), "structure.invert-auto"),
        (ConversionOptions(width=80, style="blocks", color="html"), "blocks.html"),
        (
            ConversionOptions(width=80, style="ramp", chars=".:", color="ansi", invert=True),
            "ramp.invert.ansi.chars-2e3a",
        ),
        (
            ConversionOptions(width=80, background="#ff8800", chars="@"),
            "structure.chars-40.background-ff8800",
        ),
        (ConversionOptions(width=80, height=24, fit="fill"), "structure.height-24.fill"),
        (
            ConversionOptions(width=80, contrast=-5, brightness=20),
            "structure.brightness-20.contrast--5",
        ),
        (ConversionOptions(width=80, style="ramp", chars="^█"), "ramp.chars-5ee29688"),
    ],
)
def test_a_variant_lists_options_in_a_fixed_order(options: ConversionOptions, variant: str) -> None:
    assert variant_of(options) == variant
    drawn = variant_of(options.as_drawn())
    assert art_key(DIGEST, options) == f"{DIGEST}/style/{drawn}/width/80"


def test_many_characters_are_in_base64_and_few_in_hexadecimal() -> None:
    for chars, part in (
        ("x" * 48, "chars-" + "78" * 48),
        ("x" * 49, "chars64-" + "eHh4" * 16 + "eA"),
    ):
        options = ConversionOptions(width=80, style="ramp", chars=chars)
        assert variant_of(options) == f"ramp.{part}"
        assert options_of_variant(variant_of(options), 80) == options
    for other in (
        "chars64-eA",
        "chars-" + "78" * 49,
        "chars64-" + "eHh4" * 16 + "eB",
        "chars64-" + "eHh4" * 16 + "eA==",
    ):
        assert options_of_variant(f"ramp.{other}", 80) is None


@given(OPTIONS)
def test_a_variant_can_be_parsed_back_into_options(options: ConversionOptions) -> None:
    assert options_of_variant(variant_of(options), options.width) == options


@given(OPTIONS, OPTIONS)
def test_different_options_have_different_keys(
    one: ConversionOptions, other: ConversionOptions
) -> None:
    assert (art_key(DIGEST, one) == art_key(DIGEST, other)) == (one == other)


@given(
    st.one_of(
        st.text(),
        st.from_regex(r"[a-z.]+(chars-[0-9a-f]*)?", fullmatch=True),
        st.from_regex(r"ramp.chars64-[A-Za-z0-9_-]{66,}", fullmatch=True),
    )
)
def test_each_set_of_options_has_only_one_variant(variant: str) -> None:
    options = options_of_variant(variant, 80)

    assert options is None or variant_of(options) == variant


@given(OPTIONS)
def test_every_part_of_a_key_is_a_valid_file_name(options: ConversionOptions) -> None:
    try:
        options.check(Limits())
    except BadOptionError:
        return
    parts = art_key(DIGEST, options).split("/")
    assert all(
        part.isascii() and 0 < len(part) <= 255 and part not in (".", "..") for part in parts
    )


def test_the_longest_variant_fits_a_file_name() -> None:
    longest = {
        "invert": "auto",
        "color": "ansi256",
        "paint": "text",
        "shapes": "quadrants",
        "chars": "x" * MAX_CHARS_BYTES,
        "background": "#ff8800",
        "height": 1000,
        "fit": "cover",
        "brightness": -100,
        "contrast": -100,
        "animate": True,
    }
    assert {*longest, "width", "style"} == {*OPTIONS_TABLE}
    for style in STYLES:
        assert len(variant_of(ConversionOptions(width=1, style=style, **longest))) <= 255  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "variant",
    [
        ".invert",
        "ramp.",
        "ramp.ansi.invert",
        "ramp.invert.invert",
        "ramp.invert-false",
        "ramp.none",
        "ramp.color-ansi",
        "RAMP",
        "ramp.chars-",
    ]
    + [f"ramp.chars-{characters}" for characters in ("2", "2E", "ff", "eda080", "c1bf", "2e.ansi")],
)
def test_an_invalid_variant_gives_no_options(variant: str) -> None:
    assert options_of_variant(variant, 80) is None
    assert options_of_variant(variant + "\n", 80) is None


def test_the_variant_of_the_default_style_is_accepted() -> None:
    assert options_of_variant(DEFAULT_STYLE, 80) == ConversionOptions(width=80)


@given(st.text(st.characters(codec="utf-8")), st.sampled_from([None, False, True]))
def test_stored_art_survives_a_round_trip(art: str, invert: bool | None) -> None:
    assert StoredArt.from_json(StoredArt(art, invert).to_json()) == StoredArt(art, invert)


def test_stored_art_with_another_polarity_than_true_or_false_counts_as_absent() -> None:
    document = StoredArt("@", invert=True).to_json()

    assert StoredArt.from_json(document.replace(b"true", b'"auto"')) is None


def test_no_two_values_of_different_options_have_the_same_part_of_a_key() -> None:
    """A key contains the values of choices and the names of flags, but not the names of the
    options."""
    parts = []
    for option in OPTIONS_TABLE.values():
        if isinstance(option.kind, Flag):
            assert option.default is False
            parts.append(option.kind.to_key(option.name, True))
        elif isinstance(option.kind, Choice) and option.name != "style":
            parts += [
                option.kind.to_key(option.name, value)
                for value in option.kind.choices
                if value != option.default
            ]

    assert len(parts) == len(set(parts))
