"""The images of the bench: those shipped with scikit-image and scikit-learn, and graphics drawn by code in this module.

All are rotated upright according to EXIF, flattened on black, and saved as PNG (RGB, or L if they have no colour). Every engine
gets the same pixels, so its handling of transparency, EXIF and 16-bit samples does not affect its score. Nothing is downloaded.

    from bench.pictures import pictures
    for picture in pictures(Path("/tmp/pictures")): print(picture.name, picture.kind, picture.file)
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

Kind = Literal["photograph", "graphic", "unsorted"]

SKIMAGE: Final[dict[str, Kind]] = {
    "astronaut.png": "photograph",
    "brick.png": "photograph",
    "camera.png": "photograph",
    "cell.png": "photograph",
    "chelsea.png": "photograph",
    "chessboard_RGB.png": "graphic",
    "clock_motion.png": "photograph",
    "coffee.png": "photograph",
    "coins.png": "photograph",
    "color.png": "graphic",
    "grass.png": "photograph",
    "gravel.png": "photograph",
    "horse.png": "graphic",
    "hubble_deep_field.jpg": "photograph",
    "ihc.png": "photograph",
    "logo.png": "graphic",
    "microaneurysms.png": "photograph",
    "moon.png": "photograph",
    "motorcycle_left.png": "photograph",
    "page.png": "photograph",
    "phantom.png": "graphic",
    "retina.jpg": "photograph",
    "rocket.jpg": "photograph",
    "text.png": "photograph",
}
EXCLUDED: Final = {
    "chessboard_GRAY.png": "the same board as chessboard_RGB.png",
    "motorcycle_right.png": "the other half of a stereo pair",
    "multipage.tif": "a test file of 10x15 px",
    "multipage_rgb.tif": "a test file of 10x10 px that Pillow does not read",
    "no_time_for_that_tiny.gif": "a test file of 14x25 px",
}
"""Image files of the scikit-image wheel that are not used, with the reasons."""

SKLEARN: Final[dict[str, Kind]] = {"china.jpg": "photograph", "flower.jpg": "photograph"}
IMAGE_SUFFIXES: Final = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}

_OVERSAMPLING: Final = 3  # graphics are drawn three times as large and averaged, which gives antialiased edges


class CollectionError(Exception):
    """scikit-image or scikit-learn is not installed, or its images have changed; the message gives the details."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One image of the bench."""

    name: str
    kind: Kind
    source: str
    """A package, `rendered` for a graphic of this module, or the name of a folder."""
    file: Path
    """PNG file, flattened on black."""


def pictures(directory: Path) -> list[Picture]:
    """Save every image into `directory` and return them in the order of the tables. Raises CollectionError."""
    directory.mkdir(parents=True, exist_ok=True)
    found = []
    for source, folder, kinds in (
        ("scikit-image", _package("skimage") / "data", SKIMAGE),
        ("scikit-learn", _package("sklearn") / "datasets" / "images", SKLEARN),
    ):
        there = {file.name for file in folder.iterdir() if file.suffix in IMAGE_SUFFIXES}
        if changed := there ^ (kinds.keys() | (EXCLUDED.keys() if kinds is SKIMAGE else set())):
            raise CollectionError(f"the images of {source} have changed: {', '.join(sorted(changed))}")
        for name, kind in kinds.items():
            found.append(_save(folder / name, kind=kind, source=source, directory=directory))
    for name, drawing in GRAPHICS.items():
        file = directory / f"{name}.png"
        drawing().save(file)
        found.append(Picture(name=name, kind="graphic", source="rendered", file=file))
    return found


def folder_pictures(folder: Path, directory: Path) -> list[Picture]:
    """Flatten every image file of `folder` into `directory` and return them sorted by file name.

    Their kind is "unsorted", neither photograph nor graphic.
    """
    directory.mkdir(parents=True, exist_ok=True)
    return [
        _save(file, kind="unsorted", source=folder.name, directory=directory)
        for file in sorted(folder.iterdir())
        if file.suffix.lower() in IMAGE_SUFFIXES
    ]


def flatten(image: Image.Image) -> Image.Image:
    """Return `image` upright according to EXIF, flattened on black, in mode L or RGB."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        values = np.asarray(image, np.float64)
        image = Image.fromarray((values * (255 / 65535 if values.max() > 255 else 1)).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        black.alpha_composite(image)
        image = black
    return image.convert("L" if image.mode in {"1", "L", "LA"} else "RGB")


def _package(name: str) -> Path:
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise CollectionError(f"{name} is not installed: `make bench` installs it from requirements/bench.txt")
    return Path(spec.origin).parent


def _save(original: Path, *, kind: Kind, source: str, directory: Path) -> Picture:
    file = directory / f"{original.stem}.png"
    with Image.open(original) as image:
        flatten(image).save(file)
    return Picture(name=original.stem, kind=kind, source=source, file=file)


class _Canvas:
    """A drawing surface that takes coordinates of the finished image, and draws in three times the size for antialiasing."""

    def __init__(self, width: int, height: int, background: str) -> None:
        self._size = (width, height)
        self._image = Image.new("RGB", (width * _OVERSAMPLING, height * _OVERSAMPLING), background)
        self._draw = ImageDraw.Draw(self._image)

    def finished(self) -> Image.Image:
        return self._image.resize(self._size, Image.Resampling.BOX)

    def box(self, left: float, top: float, right: float, bottom: float, *, fill: str, radius: float = 0) -> None:
        self._draw.rounded_rectangle(self._scaled(left, top, right, bottom), radius * _OVERSAMPLING, fill=fill)

    def ellipse(
        self, x: float, y: float, x_radius: float, y_radius: float, *, fill: str | None = None, outline: str | None = None
    ) -> None:
        """Draw an ellipse around the centre (x, y), filled, or with an outline of 4 px."""
        box = self._scaled(x - x_radius, y - y_radius, x + x_radius, y + y_radius)
        self._draw.ellipse(box, fill=fill, outline=outline, width=4 * _OVERSAMPLING)

    def polygon(self, *points: float, fill: str) -> None:
        self._draw.polygon(self._scaled(*points), fill=fill)

    def line(self, *points: float, fill: str, width: float = 3) -> None:
        self._draw.line(self._scaled(*points), fill=fill, width=round(width * _OVERSAMPLING), joint="curve")

    def arc(
        self, x: float, y: float, x_radius: float, y_radius: float, *, start: float, end: float, fill: str, width: float
    ) -> None:
        box = self._scaled(x - x_radius, y - y_radius, x + x_radius, y + y_radius)
        self._draw.arc(box, start, end, fill=fill, width=round(width * _OVERSAMPLING))

    def text(self, x: float, y: float, words: str, *, size: float, fill: str, anchor: str = "lm") -> None:
        """Draw text in the font that Pillow includes."""
        font = ImageFont.load_default(size * _OVERSAMPLING)
        self._draw.text((x * _OVERSAMPLING, y * _OVERSAMPLING), words, font=font, fill=fill, anchor=anchor)

    @staticmethod
    def _scaled(*values: float) -> list[float]:
        return [value * _OVERSAMPLING for value in values]


def _house() -> Image.Image:
    """Line art: black lines on white paper, perspective, hatching."""
    canvas = _Canvas(640, 480, "white")
    ink = "black"
    canvas.line(0, 400, 640, 380, fill=ink)
    canvas.line(120, 395, 120, 220, 260, 120, 400, 210, 400, 388, fill=ink)
    canvas.line(260, 120, 470, 105, 590, 190, 400, 210, fill=ink)
    canvas.line(590, 190, 590, 382, fill=ink)
    canvas.line(215, 393, 215, 290, 285, 287, 285, 392, fill=ink)
    canvas.ellipse(273, 340, 4, 4, fill=ink)
    for left in (145, 320):
        canvas.line(left, 300, left, 245, left + 50, 243, left + 50, 298, left, 300, fill=ink, width=2)
        canvas.line(left + 25, 244, left + 25, 299, fill=ink, width=2)
        canvas.line(left, 272, left + 50, 270, fill=ink, width=2)
    for step in range(1, 16):
        canvas.line(260 + 9 * step, 120 + 6 * step, 470 + 8 * step, 105 + 5.6 * step, fill=ink, width=1)
    canvas.line(500, 118, 500, 70, 530, 68, 530, 142, fill=ink)
    canvas.line(40, 400, 50, 300, fill=ink, width=6)
    for angle in range(0, 360, 20):
        x, y = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        canvas.line(50, 270, 50 + 45 * x, 250 + 60 * y, fill=ink, width=2)
    canvas.ellipse(90, 80, 38, 38, outline=ink)
    for angle in range(0, 360, 30):
        x, y = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        canvas.line(90 + 48 * x, 80 + 48 * y, 90 + 68 * x, 80 + 68 * y, fill=ink, width=3)
    return canvas.finished()


def _emblem() -> Image.Image:
    """A logo: flat shapes, few colours, dark background."""
    canvas = _Canvas(480, 480, "#101828")
    canvas.ellipse(240, 200, 160, 160, fill="#f97316")
    canvas.ellipse(240, 200, 118, 118, fill="#101828")
    points = []
    for corner in range(10):
        radius = 105 if corner % 2 == 0 else 44
        angle = math.radians(36 * corner - 90)
        points += [240 + radius * math.cos(angle), 200 + radius * math.sin(angle)]
    canvas.polygon(*points, fill="#fde68a")
    canvas.box(60, 385, 420, 450, fill="#f97316", radius=18)
    canvas.text(240, 417, "NORTHSTAR", size=44, fill="#101828", anchor="mm")
    return canvas.finished()


def _lettering() -> Image.Image:
    """Large letters on white, one line inverse."""
    canvas = _Canvas(800, 400, "white")
    canvas.text(400, 95, "ASCII art", size=170, fill="black", anchor="mm")
    canvas.box(0, 200, 800, 400, fill="#1d4ed8")
    canvas.text(400, 300, "Q 7 & R 42", size=150, fill="white", anchor="mm")
    return canvas.finished()


def _screenshot() -> Image.Image:
    """A window of a mail program: panels, rules, small text, buttons."""
    canvas = _Canvas(960, 600, "#f3f4f6")
    canvas.box(0, 0, 960, 44, fill="#1f2937")
    for index, light in enumerate(("#ef4444", "#f59e0b", "#10b981")):
        canvas.ellipse(24 + 26 * index, 22, 8, 8, fill=light)
    canvas.text(480, 22, "Inbox - Mail", size=20, fill="#e5e7eb", anchor="mm")
    canvas.box(0, 44, 200, 600, fill="#374151")
    for index, folder in enumerate(("Inbox", "Starred", "Sent", "Drafts", "Archive", "Trash")):
        if index == 0:
            canvas.box(10, 66, 190, 104, fill="#2563eb", radius=8)
        canvas.text(28, 85 + 50 * index, folder, size=22, fill="white")
    subjects = ("Quarterly figures", "Lunch on Friday?", "Your order has shipped", "Build passed", "Minutes of the meeting")
    for index, subject in enumerate(subjects):
        top = 60 + 82 * index
        canvas.box(220, top, 560, top + 70, fill="white" if index else "#dbeafe", radius=6)
        canvas.ellipse(252, top + 35, 20, 20, fill=("#8b5cf6", "#ec4899", "#14b8a6", "#f97316", "#64748b")[index])
        canvas.text(285, top + 22, subject, size=20, fill="#111827")
        canvas.text(285, top + 48, "Hello, please find attached the", size=15, fill="#6b7280")
    canvas.box(580, 60, 940, 580, fill="white", radius=6)
    canvas.text(600, 92, subjects[0], size=28, fill="#111827")
    canvas.line(600, 116, 920, 116, fill="#d1d5db", width=2)
    for index in range(14):
        canvas.box(600, 136 + 24 * index, 600 + (320, 300, 310, 250, 0, 315, 290)[index % 7], 146 + 24 * index, fill="#9ca3af")
    canvas.box(600, 510, 720, 556, fill="#2563eb", radius=10)
    canvas.text(660, 533, "Reply", size=22, fill="white", anchor="mm")
    canvas.box(740, 510, 860, 556, fill="#e5e7eb", radius=10)
    canvas.text(800, 533, "Forward", size=22, fill="#111827", anchor="mm")
    return canvas.finished()


def _face() -> Image.Image:
    """A cartoon: flat colours inside bold outlines."""
    canvas = _Canvas(480, 520, "#7dd3fc")
    canvas.ellipse(240, 270, 180, 205, fill="black")
    canvas.ellipse(240, 270, 172, 197, fill="#fcd34d")
    canvas.polygon(
        70, 210, 95, 90, 170, 120, 215, 50, 270, 110, 340, 60, 365, 125, 420, 110, 412, 215, 330, 160, 160, 160, fill="#7c2d12"
    )
    for x in (170, 310):
        canvas.ellipse(x, 245, 46, 54, fill="black")
        canvas.ellipse(x, 245, 40, 48, fill="white")
        canvas.ellipse(x + 10, 255, 18, 22, fill="black")
        canvas.ellipse(x + 16, 247, 6, 7, fill="white")
    canvas.line(125, 178, 205, 168, fill="black", width=10)
    canvas.line(275, 168, 355, 178, fill="black", width=10)
    canvas.polygon(240, 280, 215, 330, 262, 330, fill="#f59e0b")
    canvas.arc(240, 345, 90, 65, start=10, end=170, fill="black", width=10)
    canvas.ellipse(125, 345, 26, 18, fill="#fb7185")
    canvas.ellipse(355, 345, 26, 18, fill="#fb7185")
    return canvas.finished()


def _chart() -> Image.Image:
    """Bars and a line on axes with a grid and labels."""
    canvas = _Canvas(720, 480, "white")
    for tick in range(6):
        y = 410 - 64 * tick
        canvas.line(80, y, 690, y, fill="#d1d5db", width=2)
        canvas.text(68, y, str(20 * tick), size=20, fill="#374151", anchor="rm")
    values = (31, 44, 38, 62, 55, 78, 91)
    line = []
    for index, value in enumerate(values):
        left = 105 + 84 * index
        canvas.box(left, 410 - 3.2 * value, left + 52, 410, fill="#2563eb")
        canvas.text(left + 26, 434, "MTWTFSS"[index], size=22, fill="#374151", anchor="mm")
        line += [left + 26, 330 - 2.1 * (value * 0.6 + 12 * math.sin(index))]
    canvas.line(*line, fill="#dc2626", width=5)
    for x, y in zip(line[::2], line[1::2], strict=True):
        canvas.ellipse(x, y, 8, 8, fill="#dc2626")
    canvas.line(80, 60, 80, 410, 690, 410, fill="black", width=3)
    canvas.text(385, 34, "Requests a day", size=30, fill="black", anchor="mm")
    return canvas.finished()


def _shapes() -> Image.Image:
    """A checkerboard, a gradient and a shaded sphere: a hard edge, a smooth tone and both."""
    height, width = 480, 640
    y, x = np.mgrid[0:height, 0:width]
    values = np.where((x // 40 + y // 40) % 2, 215.0, 40.0)
    values[:, width // 2 :] = 255 * (x[:, width // 2 :] - width / 2) / (width / 2)
    u, v = (x - 320) / 170, (y - 240) / 170
    inside = u**2 + v**2 < 1
    w = np.sqrt(np.clip(1 - u**2 - v**2, 0, 1))
    light = np.clip(-0.45 * u - 0.6 * v + 0.66 * w, 0, 1)  # from the upper left, towards the eye
    values[inside] = (25 + 190 * light + 40 * light**24)[inside]
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def _diagram() -> Image.Image:
    """Boxes and arrows, light on dark."""
    canvas = _Canvas(720, 420, "#0f172a")
    boxes = {"web": (110, 90), "queue": (360, 90), "worker": (610, 90), "store": (360, 330)}
    arrows = ((195, 90, 275, 90), (445, 90, 525, 90), (150, 140, 285, 290), (570, 140, 435, 290))
    for left, top, right, bottom in arrows:
        canvas.line(left, top, right, bottom, fill="#e2e8f0", width=4)
        angle = math.atan2(bottom - top, right - left)
        wings = [right - 22 * math.cos(angle + turn) for turn in (-0.45, 0.45)]
        rises = [bottom - 22 * math.sin(angle + turn) for turn in (-0.45, 0.45)]
        canvas.polygon(right, bottom, wings[0], rises[0], wings[1], rises[1], fill="#e2e8f0")
    for label, (x, y) in boxes.items():
        canvas.box(x - 85, y - 50, x + 85, y + 50, fill="#38bdf8", radius=16)
        canvas.box(x - 80, y - 45, x + 80, y + 45, fill="#0f172a", radius=12)
        canvas.text(x, y, label, size=36, fill="white", anchor="mm")
    return canvas.finished()


GRAPHICS: Final[dict[str, Callable[[], Image.Image]]] = {
    "rendered_chart": _chart,
    "rendered_diagram": _diagram,
    "rendered_emblem": _emblem,
    "rendered_face": _face,
    "rendered_house": _house,
    "rendered_lettering": _lettering,
    "rendered_screenshot": _screenshot,
    "rendered_shapes": _shapes,
}


def description(found: list[Picture]) -> Iterator[str]:
    """Yield Markdown lines that list the images by source. An asterisk marks a graphic."""
    for source in dict.fromkeys(picture.source for picture in found):
        names = [f"{p.name}{'*' if p.kind == 'graphic' else ''}" for p in found if p.source == source]
        yield f"- {source} ({len(names)}): {', '.join(names)}"
        if source == "scikit-image":
            yield f"  Not used: {'; '.join(f'{name}, {reason}' for name, reason in EXCLUDED.items())}"
