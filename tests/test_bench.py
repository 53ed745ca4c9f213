"""The scorer is correct, the bench reports missing peers and failed sections, and the soak test
finds violations."""

import dataclasses
import math
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench import servers
from bench.__main__ import run
from bench.drawings import GRAPHICS
from bench.fidelity import peer_table
from bench.fonts import FACES, Face, bank, metrics
from bench.goals import goal, milliseconds
from bench.peers import PEERS, Peer
from bench.pictures import HALVES, KINDS, flatten, folder_pictures, halves_of
from bench.pressure import Overload
from bench.scoring import (
    FONTS,
    Floats,
    FontMissingError,
    ImagePyramid,
    Reference,
    character_grid,
    draw,
    glyphs,
    luma,
)
from bench.service import Contestant, Figures
from bench.soak import Part, Sample, Soak, report, soak
from bench.terminal import screen
from tools.testing.images import encoded, gradient
from tools.testing.load import Latencies, ProcessTree, Result, Usage, fixed
from tools.testing.server import temporary_server

EXAMPLES = Path(__file__).parent.parent / "docs" / "examples"
ORDER = np.arange(128) * 47 % 128
BANK = (np.arange(95)[:, None] / 94 * 128 > ORDER).astype(np.float32).reshape(95, 16, 8)
"""Artificial glyphs, from blank to full in 95 steps, so that these tests need no installed font."""


def reference(name: str = "camera.png", *, columns: int = 40, rows: int = 20) -> Reference:
    return Reference.of(EXAMPLES / name, columns=columns, rows=rows)


def dithered(canvas: Floats) -> str:
    """Convert pixels to art in BANK by the mean of each cell. Adding 0.001 makes the result
    independent of rounding errors."""
    rows, columns = canvas.shape[0] // 16, canvas.shape[1] // 8
    tones = canvas.reshape(rows, 16, columns, 8).mean((1, 3))
    return "\n".join("".join(chr(32 + int(94 * tone + 0.001)) for tone in row) for row in tones)


@pytest.mark.parametrize(
    ("name", "columns", "rows", "expected"),
    # q, ssim, edge, tone and r2 as computed with OpenCV 5.0: GaussianBlur, and resize with
    # INTER_AREA or INTER_CUBIC.
    [
        ("camera.png", 80, 40, (59.65784, 0.30753, 0.69057, 44.82204, 0.99953)),
        ("camera.png", 40, 20, (61.05719, 0.31577, 0.72108, 43.64298, 0.99931)),
        ("camera.png", 7, 3, (65.79035, 0.38055, 0.75012, 39.64524, 0.99518)),
        ("horse.png", 61, 25, (84.90319, 0.76117, 0.80443, 38.61345, 0.99910)),
    ],
)
def test_scores_agree_with_an_independent_implementation(
    name: str, columns: int, rows: int, expected: tuple[float, ...]
) -> None:
    image = reference(name, columns=columns, rows=rows)
    score = image.score(dithered(image.canvas), BANK)

    assert score.q == pytest.approx(expected[0], abs=0.01)
    assert (score.ssim, score.edge, score.r2) == pytest.approx(
        (expected[1], expected[2], expected[4]), abs=1e-4
    )
    assert score.tone == pytest.approx(expected[3], abs=0.01)


def test_a_copy_of_the_image_scores_100() -> None:
    image = reference()

    assert image.score_coverage(image.canvas).q == pytest.approx(100, abs=0.01)


def test_brightness_and_contrast_do_not_affect_the_score() -> None:
    image = reference()

    assert image.score_coverage(0.3 * image.canvas + 0.2).q == pytest.approx(100, abs=0.01)


def test_blank_art_scores_0() -> None:
    assert reference().score("\n".join([40 * " "] * 20), BANK).q == 0


def test_one_repeated_character_scores_below_6() -> None:
    assert reference().score("\n".join([40 * "@"] * 20), BANK).q < 6


def test_shuffled_rows_and_a_mirror_image_score_less_than_half() -> None:
    image = reference()
    lines = dithered(image.canvas).split("\n")
    intact = image.score("\n".join(lines), BANK).q

    assert image.score("\n".join(lines[1::2] + lines[::2]), BANK).q < intact / 2
    assert image.score("\n".join(line[::-1] for line in lines), BANK).q < intact / 2


def test_a_shift_by_one_character_costs_at_least_a_tenth_of_the_score() -> None:
    image = reference()
    lines = dithered(image.canvas).split("\n")

    assert (
        image.score("\n".join(" " + line[:-1] for line in lines), BANK).q
        < 0.9 * image.score("\n".join(lines), BANK).q
    )


def test_a_negative_scores_0_unless_it_is_meant_for_dark_on_light() -> None:
    image = reference()

    assert image.score_coverage(1 - image.canvas).q == 0
    assert image.score_coverage(1 - image.canvas, dark_on_light=True).q == pytest.approx(
        100, abs=0.01
    )


def flat_with_waves(level: float) -> Floats:
    """An even grey with gentle waves three cells long, 40 columns by 20 rows."""
    y, x = np.mgrid[0 : 20 * 16, 0 : 40 * 8]
    return (level + 0.1 * np.sin(x / 4) * np.sin(y / 8)).astype(np.float32)


def test_blank_and_even_midtones_have_no_visible_contrast() -> None:
    image = Reference(flat_with_waves(0.4), columns=40, rows=20)
    faithful = image.score_coverage(image.canvas)

    assert (faithful.blank, faithful.midtones) == (0, 800)
    assert faithful.contrast == pytest.approx(1, abs=0.01)
    assert faithful.v == pytest.approx(100, abs=0.5)
    for even in (
        np.zeros_like(image.canvas),
        np.full_like(image.canvas, 0.4),
        draw("\n".join(["A" * 40] * 20), BANK, 40),
    ):
        assert image.score_coverage(even).contrast < 0.05
    assert image.score_coverage(np.zeros_like(image.canvas)).blank == 1


def test_blank_midtones_halve_the_rank_of_otherwise_equal_art() -> None:
    image = reference()
    score = image.score(
        "\n".join(line[:20] + " " * 20 for line in dithered(image.canvas).split("\n")), BANK
    )

    assert 0 < score.blank < 1
    assert score.v <= score.q * (1 - score.blank * score.midtones / 800 / 2)


def test_the_midtones_of_dark_on_light_art_are_seen_from_white() -> None:
    pale = Reference(flat_with_waves(0.75), columns=40, rows=20)

    assert pale.score_coverage(1 - pale.canvas, dark_on_light=True).midtones == 800
    assert pale.score_coverage(pale.canvas).midtones == 0
    assert math.isnan(pale.score_coverage(pale.canvas).blank)
    assert pale.score_coverage(np.zeros_like(pale.canvas), dark_on_light=True).blank == 1


@pytest.mark.parametrize("is_light", [True, False])
def test_a_broken_line_is_shown_in_part_and_texture_has_no_lines(is_light: bool) -> None:
    canvas = np.zeros((20 * 16, 40 * 8), np.float32)
    canvas[100:104, 10:310] = 1
    canvas[20:300, 160:163] = 1
    broken = canvas.copy()
    broken[:, 160:] = 0
    if not is_light:
        canvas, broken = 1 - canvas, 1 - broken
    image = Reference(canvas, columns=40, rows=20)

    assert image.score_coverage(canvas).lines == 1
    assert 0.2 < image.score_coverage(broken).lines < 0.5
    assert image.score_coverage(np.full_like(canvas, 0.5)).lines == 0
    noise = np.random.default_rng(1).random(canvas.shape).astype(np.float32)
    assert math.isnan(Reference(noise, columns=40, rows=20).score_coverage(noise).lines)


def test_stripes_are_runs_of_strokes_where_the_image_is_flat() -> None:
    grey = np.full((20 * 16, 40 * 8), 0.4, np.float32)
    image = Reference(grey, columns=40, rows=20)
    wall, square = np.zeros_like(grey), np.zeros_like(grey)
    wall[:, 3::8] = 1
    square.reshape(20, 16, 40, 8)[:, 5:11, :, 1:7] = 1
    pairs = wall.copy()
    pairs.reshape(20, 16, 40, 8)[:, :, 2::3] = 0
    pairs.reshape(20, 16, 40, 8)[2::3] = 0

    assert image.score_coverage(wall).stripes == 1
    assert image.score_coverage(square).stripes == 0
    assert image.score_coverage(pairs).stripes == 0
    assert image.score_coverage(1 - wall, dark_on_light=False).stripes == 0
    assert image.score_coverage(wall, dark_on_light=True).stripes == 1
    assert Reference(wall, columns=40, rows=20).score_coverage(wall).stripes == 1
    ruled = Reference(
        np.kron(np.indices((40, 40)).sum(0) // 4 % 2, np.ones((8, 8))).astype(np.float32),
        columns=40,
        rows=20,
    )
    assert ruled.score_coverage(wall).stripes < 0.1


def test_a_screen_shows_colours_and_exact_blocks() -> None:
    shown = screen(
        "\x1b[38;2;10;20;30m\u2580\x1b[48;5;231m\u2584\x1b[0m\x1b[91;44m\u259a\x1b[7m\u2588\n\x1b[m\U0001fb0b\u2882\u2800",
        5,
    )

    assert shown.foreground[0, :4].tolist() == [
        [10, 20, 30],
        [10, 20, 30],
        [255, 0, 0],
        [0, 0, 238],
    ]
    assert shown.background[0, :4].tolist() == [
        [0, 0, 0],
        [255, 255, 255],
        [0, 0, 238],
        [255, 0, 0],
    ]
    cells = shown.coverage("no font is needed").reshape(2, 16, 5, 8).transpose(0, 2, 1, 3)
    assert (cells[0, 0, :8].all(), cells[0, 0, 8:].any()) == (True, False)
    assert (cells[0, 1, :8].any(), cells[0, 1, 8:].all()) == (False, True)
    assert cells[0, 2].reshape(2, 8, 2, 4).mean((1, 3)).tolist() == [[1, 0], [0, 1]]
    assert cells[0, 3].all()
    assert cells[1, 0].mean(1).tolist() == pytest.approx(
        [0] * 5 + [2 / 3] + [1] * 4 + [2 / 3] + [0] * 5
    )
    assert cells[1, 1].reshape(4, 4, 2, 4).mean((1, 3)).tolist() == [[0, 0], [1, 0], [0, 0], [0, 1]]
    assert not cells[1, 2].any()
    assert shown.pixels("no font is needed")[0, 0].tolist() == pytest.approx(
        [10 / 255, 20 / 255, 30 / 255]
    )


def test_a_transparent_image_is_seen_on_the_ground_that_is_asked_for() -> None:
    ink = Image.new("RGBA", (2, 1))
    ink.putpixel((0, 0), (0, 0, 0, 255))

    assert luma(ink, ground="white").tolist() == [pytest.approx([0, 1])]
    assert not luma(ink).any()


def test_the_similarity_of_images_without_a_fit_depends_on_their_contrast() -> None:
    image = reference()
    pyramid = ImagePyramid(image.canvas)

    assert pyramid.similarity(image.canvas) == pytest.approx(1, abs=1e-4)
    assert pyramid.similarity(image.canvas / 2) < 0.9


def test_only_printable_ascii_is_drawn() -> None:
    assert not draw("\u2588\u28ff\t", BANK, 3).any()
    assert character_grid("ab\n~", 3).tolist() == [[65, 66, 0], [94, 0, 0]]
    assert character_grid("abcd\n\n", 2).tolist() == [[65, 66]]


def test_art_whose_size_differs_from_the_reference_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(16, 320\)"):
        reference().score(40 * "@", BANK)


def test_the_error_for_a_missing_font_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(FONTS, "Liberation Mono", Path("/nowhere.ttf"))

    with pytest.raises(FontMissingError, match="apt-get install fonts-liberation"):
        glyphs.__wrapped__("Liberation Mono")


def test_a_font_with_a_taller_cell_covers_less_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    font = FACES["DejaVu Sans Mono"]
    if not font.file.exists():
        pytest.skip("fonts-dejavu-core is not installed")
    advance, ascent, descent = metrics(font)
    tall = Face(file=font.file, metrics=(advance, 2 * ascent, 2 * descent))
    monkeypatch.setitem(FACES, "tall", tall)

    assert bank("tall").mean() == pytest.approx(bank("DejaVu Sans Mono").mean() / 2, rel=0.01)


def test_transparency_becomes_black_and_16_bit_samples_are_scaled() -> None:
    clear = Image.new("RGBA", (2, 1), (255, 255, 255, 0))
    deep = Image.fromarray(np.array([[0, 65535]], np.uint16))

    assert flatten(clear).getpixel((0, 0)) == (0, 0, 0)
    assert not luma(clear).any()
    assert list(np.asarray(flatten(deep)).ravel()) == [0, 255]
    assert luma(deep).tolist() == [[0, 1]]


@pytest.mark.parametrize("name", GRAPHICS)
def test_a_rendered_graphic_is_deterministic_and_has_contrast(name: str) -> None:
    image = GRAPHICS[name]()
    contrasts = [
        high - low for low, high in image.convert("RGBA").getextrema()
    ]  # of each channel: colours of one luma, or alpha, count too

    assert image.tobytes() == GRAPHICS[name]().tobytes()
    assert max(contrasts) > 150


def test_each_kind_is_shared_between_the_halves_by_the_names_of_its_images() -> None:
    names = [(f"{kind} {number}", kind, "") for kind in KINDS for number in range(7)]
    halves = halves_of(names)

    for kind in KINDS:
        of_kind = Counter(halves[name] for name, its_kind, _ in names if its_kind == kind)
        assert abs(of_kind[HALVES[0]] - of_kind[HALVES[1]]) == 1
    assert abs(Counter(halves.values())[HALVES[0]] - len(names) / 2) <= 1
    assert halves_of(reversed(names)) == halves


def test_a_part_of_an_image_is_in_the_half_of_the_image() -> None:
    names = [(f"image {number}", "portrait", "") for number in range(8)]
    parts = [(f"part {number}", "dark", f"image {number}") for number in range(8)]
    halves = halves_of([*names, *parts])

    assert all(halves[part] == halves[image] for part, _, image in parts)


def test_any_folder_of_images_can_be_scored(tmp_path: Path) -> None:
    found = folder_pictures(EXAMPLES, tmp_path / "flat")

    assert {picture.name for picture in found} >= {"camera", "horse", "moon", "coffee"}
    for picture in found:
        with Image.open(picture.file) as image:
            assert (image.format, image.mode in {"L", "RGB"}) == ("PNG", True)


def peer(name: str, version: str | None) -> Peer:
    return Peer(
        name=name,
        program=name,
        package=f"Debian {name}",
        install=f"apt-get install {name}",
        call=f"{name} FILE",
        version=lambda: version,
        draw=lambda _file, _columns, _rows: "",
    )


def test_a_missing_peer_is_listed_with_the_command_that_installs_it() -> None:
    table = list(peer_table([peer("here", "1.2"), peer("gone", None)], {}))

    assert table[2:] == [
        "| here | Debian here | 1.2 | `here FILE` |",
        "| gone | Debian gone | **missing**: `apt-get install gone` | `gone FILE` |",
    ]


def test_a_failed_peer_is_listed_with_its_error() -> None:
    assert "1.2; **failed** on camera at 80: no such format" in "".join(
        peer_table([peer("here", "1.2")], {"here": "camera at 80: no such format"})
    )


def test_peer_names_are_unique_and_every_peer_has_an_install_command() -> None:
    assert len({peer.name for peer in PEERS}) == len(PEERS)
    assert {"chafa", "jp2a", "img2txt", "ascii_magic", "aalib"} <= {peer.program for peer in PEERS}
    assert all(re.match("apt-get install |make bench", peer.install) for peer in PEERS)


def failing() -> Iterator[str]:
    yield "half a table"
    raise RuntimeError("broken section")


def test_a_failed_section_is_reported_and_the_others_still_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "results.md"
    results.write_text(
        "# Results\n\n## Coldstart\n\nold coldstart\n\n## Speed\n\nold speed\n\n## Fidelity\n\nold"
        " fidelity\n"
    )

    failed = run({"speed": failing, "coldstart": lambda: ["new coldstart"]}, results)

    assert failed == ["speed"]
    assert "speed: FAILED" in capsys.readouterr().err
    text = results.read_text()
    assert re.search(
        r"## Coldstart\n\n\d{4}-\d\d-\d\d \d\d:\d\d UTC, .*cores.*NumPy .*Pillow .*\n\n"
        r"new coldstart\n",
        text,
    )
    assert "old coldstart" not in text
    assert "half a table" not in text
    assert text.endswith("## Speed\n\nold speed\n\n## Fidelity\n\nold fidelity\n")


def test_running_a_section_again_replaces_it(tmp_path: Path) -> None:
    results = tmp_path / "results.md"
    for figure in ("1 ms", "2 ms"):
        assert run({"coldstart": lambda figure=figure: [figure]}, results) == []

    assert results.read_text().count("## Coldstart") == 1
    assert results.read_text().endswith("\n\n2 ms\n")


def result(*latencies: float, status: int = 200) -> Result:
    outcome = Result(start=0, seconds=1)
    for latency in latencies:
        outcome.due.append(0)
        outcome.latency.append(latency)
        outcome.status.append(status)
    return outcome


def contestant(name: str, rounds: list[Result], cpu_ms: list[float]) -> Contestant:
    return Contestant(
        name=name,
        port=1,
        requests=fixed("GET", "/"),
        tree=ProcessTree(0),
        rounds=rounds,
        cpu_ms=cpu_ms,
    )


def test_servers_are_compared_by_the_cpu_time_of_a_request_within_a_round() -> None:
    ours = contestant("ours", [result(0.1), result(0.1, 0.2, 0.3)], [1.0, 9.0, 2.0])
    peer = contestant("peer", [result(0.1, 0.2), result(0.1)], [2.0, 18.0, 2.0])
    figures = Figures(contestants={"ours": ours, "peer": peer}, missing={}, conversion_ms={})

    assert figures.cpu_ratio("peer", "ours") == 2
    assert ours.median_rate == 2
    assert math.isnan(figures.cpu_ratio("ours", "missing"))


def test_a_goal_is_met_missed_or_not_measured() -> None:
    assert goal("rate", "≥ 1", "2", met=True) == "| rate | ≥ 1 | 2 | met |"
    assert goal("rate", "≥ 1", "0", met=False) == "| rate | ≥ 1 | 0 | **not met** |"
    assert goal("rate", "≥ 1", "nan", met=None) == "| rate | ≥ 1 | | not measured |"
    assert (milliseconds(0.0123), milliseconds(math.nan)) == ("12.3", "")


def test_an_overload_tells_refusals_from_failures() -> None:
    outcome = result(0.1, 0.2)
    for status in (503, 503, 500, 0):
        outcome.due.append(0)
        outcome.latency.append(0.01)
        outcome.status.append(status)
    overload = Overload(
        peak=10, factor=3, rate=30, result=outcome, max_rss_bytes=0, recovery_seconds=math.nan
    )

    assert (len(outcome.refused), overload.failed) == (2, 2)
    assert overload.recovery_text == "> 4"


def test_the_original_program_is_measured_where_its_command_is_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(servers.ORIGINAL, raising=False)
    image = encoded(gradient(), "JPEG")
    with (
        pytest.raises(servers.PeerMissingError, match="set ORIGINAL to its command"),
        servers.original(image),
    ):
        pass

    monkeypatch.setenv(
        servers.ORIGINAL, f"{sys.executable} -m http.server --bind 127.0.0.1 {{port}}"
    )
    with servers.original(image) as (port, _requests, _tree):
        assert servers.status_of(port, fixed("GET", "/")) == 200

    monkeypatch.setenv(servers.ORIGINAL, f"""{sys.executable} -c 'exit("broken")'""")
    with (
        pytest.raises(servers.PeerMissingError, match="does not start: broken"),
        servers.original(image),
    ):
        pass


@pytest.mark.slow
def test_the_hello_world_runs_on_the_settings_of_the_service() -> None:
    with servers.hello() as (port, requests, tree):
        assert servers.status_of(port, requests) == 200
        assert tree.usage().processes > 1


def usage(*, megabytes: float = 100, descriptors: int = 50) -> Usage:
    return Usage(
        processes=2,
        threads=20,
        descriptors=descriptors,
        rss_bytes=int(1e6 * megabytes),
        cpu_seconds=1,
    )


def soaked(*samples: Usage, left: int = 50, outcome: Result | None = None) -> Soak:
    return Soak(
        peak=100,
        seconds=len(samples),
        before=usage(),
        after=usage(descriptors=left),
        parts=[Part(name="fresh", requests=fixed("GET", "/"), rate=50)],
        results=[outcome or result(0.1)],
        slow_clients=12,
        dropped=Counter(),
        pids=({1, 2}, {1, 2}),
        max_pooled=9,
        answers_after=True,
        samples=[
            Sample(
                seconds=second + 0.5,
                usage=sample,
                connections=12,
                answered=50,
                fresh=Latencies([0.1]),
                refused=0,
                unexpected=0,
                slow_clients=12,
                data_bytes=0,
            )
            for second, sample in enumerate(samples)
        ],
    )


def missed(done: Soak) -> list[str]:
    return [measure.partition(":")[0] for measure, _, _, met in done.verdict() if not met]


def test_a_soak_test_finds_what_grows_is_left_open_or_fails() -> None:
    flat = [usage()] * 6
    steep = [usage(megabytes=100 + 10 * n, descriptors=50 + 10 * n) for n in range(6)]
    unanswered = result(9, status=0)
    unanswered.errors["timeout"] += 1

    assert missed(soaked(*flat)) == []
    assert missed(soaked(*steep)) == ["memory, MB", "descriptors besides those of clients"]
    assert missed(soaked(*flat, left=90)) == ["descriptors left open after the load"]
    assert missed(soaked(*flat, outcome=unanswered)) == ["requests without an answer"]
    assert missed(soaked(*flat, outcome=result(1, status=503))) == [
        "requests refused with 429 or 503"
    ]
    assert missed(soaked(*flat, outcome=result(1, status=500))) == [
        "requests with another wrong status"
    ]
    assert missed(dataclasses.replace(soaked(*flat), pids=({1, 2}, {1, 3}))) == [
        "processes that ended"
    ]


def test_growth_at_the_start_is_allowed() -> None:
    assert missed(soaked(usage(megabytes=10), *[usage()] * 5)) == []


@pytest.mark.slow
def test_a_short_soak_test_leaves_nothing_behind() -> None:
    lines: list[str] = []
    with temporary_server() as server:
        done = soak(server, 8, slow_clients=12, tell=lines.append)

    assert lines[0].startswith("peak ")
    assert (done.unanswered, done.unexpected) == (0, 0)
    assert done.answers_after
    assert not done.pids[0] - done.pids[1]  # processes that render may have started
    assert "descriptors left open after the load" not in missed(done)
    assert [sample.slow_clients for sample in done.samples[:2]] == [12, 12]
    text = "\n".join(report(done))
    for part, outcome in zip(done.parts, done.results, strict=True):
        assert outcome.offered == len(outcome.status) > 0
        assert f"| {part.name} | {part.rate:.1f} | {outcome.offered} |" in text
