"""The second pass of the style `structure`: cells agree with their neighbours, and midtones are
drawn."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from asciist.conversion import ConversionOptions, refining
from asciist.conversion.glyphs import CHARACTERS, glyph_bank
from asciist.conversion.refining import COLUMNS, ROWS, RefiningTables, refined
from asciist.limits import Limits
from tools.testing.drawing import convert

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"

Bytes = NDArray[np.uint8]


def indices(*lines: str) -> Bytes:
    """Return the glyph indices of lines of art."""
    return np.array(
        [[CHARACTERS.index(character) for character in line] for line in lines], np.uint8
    )


def text(nearest: Bytes) -> list[str]:
    return ["".join(CHARACTERS[glyph] for glyph in row) for row in nearest]


def picture(*lines: str, white: int = 4) -> Bytes:
    """Return the eighths of an image that resembles art, `white` times as bright as its glyphs."""
    drawn = glyph_bank().coverage[indices(*lines)] / 4 * white
    rows, columns, _ = drawn.shape
    eighths = (
        drawn.reshape(rows, columns, ROWS, COLUMNS)
        .swapaxes(1, 2)
        .reshape(rows * ROWS, columns * COLUMNS)
    )
    return np.clip(eighths, 0, 255).astype(np.uint8)


def cell_means(image: Bytes) -> Bytes:
    rows, columns = len(image) // ROWS, image.shape[1] // COLUMNS
    means: Bytes = image.reshape(rows, ROWS, columns, COLUMNS).mean((1, 3)).astype(np.uint8)
    return means


def pass_over(nearest: Bytes, image: Bytes) -> Bytes:
    means = cell_means(image)
    padded = np.pad(means.astype(np.uint16), 1, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3))
    return refined(
        nearest, image, means, windows.mean((2, 3)).astype(np.uint8), glyph_bank().refining
    )


def again(nearest: Bytes, image: Bytes) -> list[str]:
    """Return the lines of art after the second pass."""
    return text(pass_over(nearest, image))


def flat(tone: int, rows: int, columns: int) -> Bytes:
    return np.full((rows * ROWS, columns * COLUMNS), tone, np.uint8)


def random_art(rows: int, columns: int) -> tuple[Bytes, Bytes]:
    """Return glyph indices, and the eighths of an image."""
    random = np.random.default_rng(1)
    nearest = random.integers(0, len(CHARACTERS), (rows, columns), np.uint8)
    return nearest, random.integers(0, 256, (rows * ROWS, columns * COLUMNS), np.uint8)


def slopes(field: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the differences of adjacent eighths, blurred by 1:2:1 in both directions."""
    padded = np.pad(field, 1, mode="edge")
    padded = padded[:-2] + 2 * padded[1:-1] + padded[2:]
    blurred = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    return np.concatenate([np.diff(blurred, axis=0).ravel(), np.diff(blurred, axis=1).ravel()])


def agreement(nearest: Bytes, image: Bytes) -> float:
    """Return the correlation of the slopes of a drawing with those of the image."""
    drawn, wanted = (
        slopes(picture(*text(nearest), white=1).astype(np.float64)),
        slopes(image.astype(np.float64)),
    )
    return float(drawn @ wanted / np.sqrt((drawn @ drawn) * (wanted @ wanted)))


@pytest.fixture(params=["camera.png", "coffee.webp"])
def seen(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> tuple[Bytes, Bytes, Bytes]:
    """Glyph indices of an example before and after the pass, and the eighths of its image."""
    calls: list[tuple[Bytes, Bytes, Bytes]] = []

    def watched(
        nearest: Bytes, image: Bytes, means: Bytes, surroundings: Bytes, tables: RefiningTables
    ) -> Bytes:
        chosen = refined(nearest, image, means, surroundings, tables)
        calls.append((nearest, chosen, image))
        return chosen

    monkeypatch.setattr(refining, "refined", watched)
    convert((EXAMPLES / request.param).read_bytes(), ConversionOptions(width=80), Limits())
    return calls[0]


def test_edges_agree_better_with_the_image(seen: tuple[Bytes, Bytes, Bytes]) -> None:
    before, after, image = seen

    assert agreement(after, image) > agreement(before, image) + 0.01


def test_fewer_midtones_are_blank(seen: tuple[Bytes, Bytes, Bytes]) -> None:
    before, after, image = seen
    is_midtone = cell_means(image) > 0.15 * 255

    assert (after[is_midtone] == 0).sum() < 0.97 * (before[is_midtone] == 0).sum()


@pytest.mark.parametrize(
    ("line", "flaw"),
    [
        (["   |    ", "   |    ", "   |    ", "   |    "], (2, 3)),
        (["    /   ", "   /    ", "  /     ", " /      "], (1, 3)),
    ],
)
def test_a_line_runs_on_through_a_cell_in_which_it_was_missed(
    line: list[str], flaw: tuple[int, int]
) -> None:
    nearest = indices(*line)
    nearest[flaw] = CHARACTERS.index(" ")

    row, column = flaw
    assert again(nearest, picture(*line))[row][column] in "|/\\!:;Il1"


@pytest.mark.parametrize("line", ["--------", "________", "~~~~~~~~", "////////"])
def test_a_line_in_the_image_keeps_its_strokes(line: str) -> None:
    lines = ["        ", line, "        "]

    assert again(indices(*lines), picture(*lines)) == lines


@pytest.mark.parametrize("tone", [0, 30])
def test_what_is_near_the_background_stays_blank(tone: int) -> None:
    nearest = indices(*[" " * 20] * 8)

    assert set("".join(again(nearest, flat(tone, 8, 20)))) == {" "}


@pytest.mark.parametrize("stroke", "|\\/[")
def test_strokes_do_not_repeat_over_a_flat_area(stroke: str) -> None:
    image = flat(120, 10, 24)
    image[:, :12] = 0
    drawn = again(indices(*[" " * 6 + stroke * 18] * 10), image)

    assert not any(2 * stroke in row[8:-1] for row in drawn)


def test_the_art_does_not_depend_on_how_many_cells_are_refined_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nearest, image = random_art(23, 17)
    drawn = pass_over(nearest, image)

    monkeypatch.setattr(refining, "_CELLS_AT_ONCE", 1)

    assert (pass_over(nearest, image) == drawn).all()
    assert (drawn != nearest).any()


@pytest.mark.parametrize("rows", [1, 2, 3])
@pytest.mark.parametrize("columns", [1, 2, 5])
def test_art_of_any_size_is_refined(rows: int, columns: int) -> None:
    nearest, image = random_art(rows, columns)

    assert pass_over(nearest, image).shape == (rows, columns)


@pytest.mark.parametrize("characters", [" .oO@", "#", "|", "@#"])
def test_every_sum_is_exact_in_single_precision(characters: str) -> None:
    for tables in (glyph_bank().refining, glyph_bank().restricted_to(characters).refining):
        inputs = np.array([refining._MAX_GRADIENT] * 8 + [1, 1])
        for table in (tables.eighths, tables.own, tables.weights, tables.strokes):
            assert (table == np.rint(table)).all()
        largest = (
            inputs @ np.abs(tables.weights.astype(np.float64))
            + 4 * tables.strokes
            + refining._CHANGE_CHARGE
        )
        assert largest.max() < 2**24
