"""The tone of photographs: few samples are clipped, details remain in dark and in bright areas, and
art of every width has the same tone."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from asciist.conversion import ConversionOptions, decode, open_image, structure, tone
from asciist.conversion.tone import LocalTone
from asciist.limits import Limits

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
PHOTOGRAPHS = ("astronaut.jpg", "camera.png", "cat.jpg", "coffee.webp", "moon.gif", "rocket.jpg")
GRAPHICS = ("galaxies.jpg", "horse.png")  # few of their samples differ from black, or from white


def tuning(name: str, width: int) -> structure.Tuning:
    options = ConversionOptions(width=width)
    image = decode(open_image((EXAMPLES / name).read_bytes(), options, Limits()))
    grid = image.header.analysis_grid(options)
    return structure.tune([structure.sample(image, options, grid)], options)


def luma(name: str) -> Image.Image:
    with Image.open(EXAMPLES / name) as image:
        return image.convert("L")


def toned(samples: Image.Image) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    """Return samples after their own local tone."""
    copy = samples.copy()
    LocalTone.of([samples]).apply(copy)
    return np.asarray(copy)


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_a_photograph_has_the_same_tone_at_every_width(name: str) -> None:
    tones = [tuning(name, width).tone for width in range(20, 221, 40)]

    blacks, whites = [tone.black for tone in tones if tone], [tone.white for tone in tones if tone]
    assert len(blacks) == len(tones)
    # JPEG decodes to another size for wide art, and a level is ten units.
    assert np.ptp(blacks) <= 20
    assert np.ptp(whites) <= 20


@pytest.mark.parametrize("name", GRAPHICS)
def test_a_graphic_is_drawn_with_the_same_preset_at_every_width(name: str) -> None:
    tunings = [tuning(name, width) for width in range(20, 221, 40)]

    assert {tuning.tone for tuning in tunings} == {None}
    assert len({tuning.preset for tuning in tunings}) == 1


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_at_most_12_per_cent_of_a_photograph_is_black_and_3_white(name: str) -> None:
    samples = toned(luma(name).resize((320, 320), Image.Resampling.BOX))

    assert (samples == 0).mean() <= 0.12
    assert (samples == 255).mean() <= 0.03


def test_details_remain_in_the_dark_half_and_in_the_bright_half() -> None:
    ripple = 12 * np.sin(np.arange(320) / 4)
    halves = np.repeat([40, 210], 160)
    image = Image.fromarray(np.tile(halves + ripple, (320, 1)).astype(np.uint8))

    samples = toned(image).astype(int)
    dark, bright = samples[:, 20:140], samples[:, 180:300]

    gap = bright.mean() - dark.mean()
    assert np.ptp(dark) / gap > 1.4 * 24 / 170
    assert np.ptp(bright) / gap > 1.4 * 24 / 170


def test_frames_of_an_animation_share_a_tone() -> None:
    dark, bright = (Image.new("L", (80, 80), level) for level in (50, 200))
    shared = LocalTone.of([dark, bright])
    frames = dark.copy(), bright.copy()
    for frame in frames:
        shared.apply(frame)

    assert np.asarray(frames[0]).max() < 20
    assert np.asarray(frames[1]).min() > 230


def test_bands_of_rows_leave_no_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    image = luma("cat.jpg").resize((240, 400))
    in_bands = toned(image)
    monkeypatch.setattr(tone, "_ROWS_AT_ONCE", 1000)

    assert (toned(image) == in_bands).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (4000, 1), (4, 8), (5, 7)])
@pytest.mark.parametrize("level", [0, 128, 255])
def test_thin_and_even_images_have_a_tone(size: tuple[int, int], level: int) -> None:
    assert len(np.unique(toned(Image.new("L", size, level)))) == 1
