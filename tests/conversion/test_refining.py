"""The second pass of the style `structure`: cells agree with their neighbours, and midtones are drawn."""

import numpy as np
import pytest
from numpy.typing import NDArray

from asciist.conversion import refining
from asciist.conversion.glyphs import CHARACTERS, glyph_bank
from asciist.conversion.refining import COLUMNS, ROWS, refined

Bytes = NDArray[np.uint8]


def indices(*lines: str) -> Bytes:
    """Return the glyph indices of lines of art."""
    return np.array([[CHARACTERS.index(character) for character in line] for line in lines], np.uint8)


def text(nearest: Bytes) -> list[str]:
    return ["".join(CHARACTERS[glyph] for glyph in row) for row in nearest]


def picture(*lines: str, white: int = 4) -> Bytes:
    """Return the eighths of an image that looks like art, `white` times as bright as its glyphs."""
    drawn = glyph_bank().coverage[indices(*lines)] / 4 * white
    rows, columns, _ = drawn.shape
    eighths = drawn.reshape(rows, columns, ROWS, COLUMNS).swapaxes(1, 2).reshape(rows * ROWS, columns * COLUMNS)
    return np.clip(eighths, 0, 255).astype(np.uint8)


def flat(tone: int, rows: int, columns: int) -> Bytes:
    return np.full((rows * ROWS, columns * COLUMNS), tone, np.uint8)


def random_art(rows: int, columns: int) -> tuple[Bytes, Bytes]:
    """Return glyph indices, and the eighths of an image."""
    random = np.random.default_rng(1)
    nearest = random.integers(0, len(CHARACTERS), (rows, columns), np.uint8)
    return nearest, random.integers(0, 256, (rows * ROWS, columns * COLUMNS), np.uint8)


@pytest.mark.parametrize(
    ("line", "flaw"),
    [
        (["        ", "--------", "        "], (1, 3)),
        (["        ", "________", "        "], (1, 4)),
        (["   |    ", "   |    ", "   |    ", "   |    "], (2, 3)),
        (["    /   ", "   /    ", "  /     ", " /      "], (1, 3)),
    ],
)
@pytest.mark.parametrize("drawn_as", " .")
def test_an_edge_runs_on_through_a_cell_in_which_it_was_missed(line: list[str], flaw: tuple[int, int], drawn_as: str) -> None:
    nearest = indices(*line)
    nearest[flaw] = CHARACTERS.index(drawn_as)

    row, column = flaw
    assert text(refined(nearest, picture(*line), glyph_bank().refining))[row][column] not in " .'`,"


def test_midtones_are_not_blank() -> None:
    image = flat(70, 12, 20)
    image[:, 20:] = 250
    nearest = indices(*["          MMMMMMMMMM"] * 12)

    assert not any(" " in row for row in text(refined(nearest, image, glyph_bank().refining)))


@pytest.mark.parametrize("tone", [0, 30])
def test_what_is_near_the_background_stays_blank(tone: int) -> None:
    nearest = indices(*[" " * 20] * 8)

    assert set("".join(text(refined(nearest, flat(tone, 8, 20), glyph_bank().refining)))) == {" "}


@pytest.mark.parametrize("stroke", "|\\/[")
def test_strokes_do_not_repeat_over_a_flat_area(stroke: str) -> None:
    image = flat(120, 10, 24)
    image[:, :12] = 0
    drawn = text(refined(indices(*[" " * 6 + stroke * 18] * 10), image, glyph_bank().refining))

    assert not any(2 * stroke in row[8:-1] for row in drawn)


def test_the_art_does_not_depend_on_how_many_cells_are_refined_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    nearest, image = random_art(23, 17)
    drawn = refined(nearest, image, glyph_bank().refining)

    monkeypatch.setattr(refining, "_CELLS_AT_ONCE", 1)

    assert (refined(nearest, image, glyph_bank().refining) == drawn).all()
    assert (drawn != nearest).any()


@pytest.mark.parametrize("rows", [1, 2, 3])
@pytest.mark.parametrize("columns", [1, 2, 5])
def test_art_of_any_size_is_refined(rows: int, columns: int) -> None:
    nearest, image = random_art(rows, columns)

    assert refined(nearest, image, glyph_bank().refining).shape == (rows, columns)


@pytest.mark.parametrize("characters", [" .oO@", "#", "|", "@#"])
def test_every_sum_is_exact_in_single_precision(characters: str) -> None:
    for tables in (glyph_bank().refining, glyph_bank().restricted_to(characters).refining):
        inputs = np.array([refining._MAX_GRADIENT] * 8 + [1, 1])  # noqa: SLF001 - the bound that the module promises to itself
        for table in (tables.eighths, tables.own, tables.weights, tables.stripes):
            assert (table == np.rint(table)).all()
        assert (inputs @ np.abs(tables.weights.astype(np.float64)) + 4 * tables.stripes).max() < 2**24
