"""The section `recognition` of the bench: its table of subjects, its halves and its tests."""

import math
from pathlib import Path

import pytest

from bench.comparing import SAMPLES, Result, p_value, tables
from bench.engines import engine
from bench.subjects import HALVES, TABLE, Subject, half_of, overlap, rows


def subject(name: str, *, is_face: bool) -> Subject:
    return Subject(
        name=name,
        half="work",
        is_photograph=True,
        labels=() if is_face else (7,),
        box=(0.2, 0.2, 0.5, 0.5) if is_face else None,
        file=Path(name),
    )


def result(*, is_found: bool = False, rank: int = 0, distance: float = 1) -> Result:
    return Result(is_found=is_found, rank=rank, distance=distance)


def test_every_subject_is_a_face_or_has_classes_and_is_listed_once() -> None:
    listed = rows(TABLE.read_text())

    assert all((row.margin is None) == bool(row.labels) for row in listed)
    assert all(0 <= label < 1000 for row in listed for label in row.labels)
    assert len({(row.source, row.path) for row in listed}) == len(listed)


def test_a_file_stays_in_its_half() -> None:
    assert half_of("skimage", "astronaut.png") == "work"
    assert half_of("skimage", "camera.png") == "held"
    halves = [half_of(row.source, row.path) for row in rows(TABLE.read_text()) if row.labels]
    assert all(0.4 < halves.count(half) / len(halves) < 0.6 for half in HALVES)


@pytest.mark.parametrize(
    ("wins", "losses", "expected"),
    [(0, 0, 1), (5, 5, 1), (5, 0, 0.0625), (0, 5, 0.0625), (13, 3, 0.0213)],
)
def test_the_paired_test_is_exact(wins: int, losses: int, expected: float) -> None:
    assert p_value(wins, losses) == pytest.approx(expected, abs=1e-4)


def test_overlapping_boxes_share_a_part_of_their_union() -> None:
    assert overlap((0, 0, 2, 2), (0, 0, 2, 2)) == 1
    assert overlap((0, 0, 2, 2), (1, 0, 2, 2)) == pytest.approx(1 / 3)
    assert overlap((0, 0, 1, 1), (2, 2, 1, 1)) == 0


def test_engines_are_compared_with_one_sample_a_cell_and_with_the_first() -> None:
    found = [subject("a", is_face=True), subject("b", is_face=True), subject("c", is_face=False)]
    perfect = [result(is_found=True), result(is_found=True), result(rank=0)]
    old = [result(distance=2), result(is_found=True, distance=2), result(rank=9, distance=2)]
    new = [result(is_found=True), result(is_found=True), result(rank=4, distance=3)]

    lines = list(tables(found, {(SAMPLES, 80): perfect, ("old", 80): old, ("new", 80): new}))

    assert "| old | 50% (0.50) | 50% (0.50) | 0% (0.00) | 0% (0.00) | 2.000 (0.50) |" in lines
    pairs = "1 : 0, p 1.000 | 1 : 0, p 1.000 | 2 : 1, p 1.000 |"
    assert lines[-3:-1] == [f"| new | 80 | {images} | {pairs}" for images in ("all", "photographs")]
    assert lines[-1].startswith("| new | 80 | cut-outs | 0 : 0")


def test_a_measure_without_subjects_is_not_a_number() -> None:
    found = [subject("a", is_face=True)]
    results = {(SAMPLES, 80): [result(is_found=True)], ("old", 80): [result(is_found=True)]}

    row = next(line for line in tables(found, results) if line.startswith("| old"))

    assert "nan" in row
    assert not math.isnan(float(row.split("|")[-2].split()[0]))


def test_an_engine_is_a_style_with_options_or_a_function() -> None:
    picture = Path(__file__).parent.parent / "docs" / "examples" / "camera.png"

    with engine("structure+invert=true") as draw:
        assert draw
        art, is_dark = draw(picture, 20, 10)
    with engine("tests.test_recognition:blank") as draw:
        assert draw
        same, _ = draw(picture, 20, 10)

    assert [len(line) for line in art.split("\n")] == [20] * 10
    assert is_dark
    assert same == "\n".join([" " * 20] * 10)


def blank(_file: Path, columns: int, rows: int) -> str:
    return "\n".join([" " * columns] * rows)
