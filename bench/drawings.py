"""Images of the bench that code draws: line art, logos, screenshots, pages and lettering by Pillow,
plots by matplotlib.

Every drawing is deterministic. `GRAPHICS` needs only Pillow and numpy, `PLOTS` the matplotlib of
the bench's environment.
"""

import io
import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

# graphics are drawn three times as large and averaged, which gives antialiased edges
_OVERSAMPLING: Final = 3


class _Canvas:
    """A drawing surface with the coordinates of the finished image. It draws at three times the
    size, for antialiasing."""

    def __init__(self, width: int, height: int, background: str | None) -> None:
        """`background` is a colour, or None for a transparent ground."""
        self._size = (width, height)
        mode, ground = ("RGBA", (0, 0, 0, 0)) if background is None else ("RGB", background)
        self._image = Image.new(mode, (width * _OVERSAMPLING, height * _OVERSAMPLING), ground)
        self._draw = ImageDraw.Draw(self._image)

    def finished(self) -> Image.Image:
        return self._image.resize(self._size, Image.Resampling.BOX)

    def box(
        self, left: float, top: float, right: float, bottom: float, *, fill: str, radius: float = 0
    ) -> None:
        self._draw.rounded_rectangle(
            self._scaled(left, top, right, bottom), radius * _OVERSAMPLING, fill=fill
        )

    def ellipse(
        self,
        x: float,
        y: float,
        x_radius: float,
        y_radius: float,
        *,
        fill: str | None = None,
        outline: str | None = None,
    ) -> None:
        """Draw an ellipse around the centre (x, y), filled, or with an outline of 4 px."""
        box = self._scaled(x - x_radius, y - y_radius, x + x_radius, y + y_radius)
        self._draw.ellipse(box, fill=fill, outline=outline, width=4 * _OVERSAMPLING)

    def polygon(self, *points: float, fill: str) -> None:
        self._draw.polygon(self._scaled(*points), fill=fill)

    def line(self, *points: float, fill: str, width: float = 3) -> None:
        self._draw.line(
            self._scaled(*points), fill=fill, width=round(width * _OVERSAMPLING), joint="curve"
        )

    def arc(
        self,
        x: float,
        y: float,
        x_radius: float,
        y_radius: float,
        *,
        start: float,
        end: float,
        fill: str,
        width: float,
    ) -> None:
        box = self._scaled(x - x_radius, y - y_radius, x + x_radius, y + y_radius)
        self._draw.arc(box, start, end, fill=fill, width=round(width * _OVERSAMPLING))

    def text(
        self, x: float, y: float, words: str, *, size: float, fill: str, anchor: str = "lm"
    ) -> None:
        """Draw text in the font that Pillow includes."""
        font = ImageFont.load_default(size * _OVERSAMPLING)
        self._draw.text(
            (x * _OVERSAMPLING, y * _OVERSAMPLING), words, font=font, fill=fill, anchor=anchor
        )

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
        canvas.line(
            left, 300, left, 245, left + 50, 243, left + 50, 298, left, 300, fill=ink, width=2
        )
        canvas.line(left + 25, 244, left + 25, 299, fill=ink, width=2)
        canvas.line(left, 272, left + 50, 270, fill=ink, width=2)
    for step in range(1, 16):
        canvas.line(
            260 + 9 * step, 120 + 6 * step, 470 + 8 * step, 105 + 5.6 * step, fill=ink, width=1
        )
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
    subjects = (
        "Quarterly figures",
        "Lunch on Friday?",
        "Your order has shipped",
        "Build passed",
        "Minutes of the meeting",
    )
    for index, subject in enumerate(subjects):
        top = 60 + 82 * index
        canvas.box(220, top, 560, top + 70, fill="white" if index else "#dbeafe", radius=6)
        canvas.ellipse(
            252,
            top + 35,
            20,
            20,
            fill=("#8b5cf6", "#ec4899", "#14b8a6", "#f97316", "#64748b")[index],
        )
        canvas.text(285, top + 22, subject, size=20, fill="#111827")
        canvas.text(285, top + 48, "Hello, please find attached the", size=15, fill="#6b7280")
    canvas.box(580, 60, 940, 580, fill="white", radius=6)
    canvas.text(600, 92, subjects[0], size=28, fill="#111827")
    canvas.line(600, 116, 920, 116, fill="#d1d5db", width=2)
    for index in range(14):
        canvas.box(
            600,
            136 + 24 * index,
            600 + (320, 300, 310, 250, 0, 315, 290)[index % 7],
            146 + 24 * index,
            fill="#9ca3af",
        )
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
        70,
        210,
        95,
        90,
        170,
        120,
        215,
        50,
        270,
        110,
        340,
        60,
        365,
        125,
        420,
        110,
        412,
        215,
        330,
        160,
        160,
        160,
        fill="#7c2d12",
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
    """Light boxes and arrows on a dark background."""
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


def _scanned_letter() -> Image.Image:
    """A typed page, askew."""
    canvas = _Canvas(620, 800, "white")
    canvas.text(70, 90, "Dear Ms Okafor,", size=24, fill="#222222")
    words = (
        "the report that you asked for",
        "in March is ready",
        "and covers the three sites",
        "on the northern line",
    )
    for row in range(16):
        if row % 6 == 5:
            continue
        line = " ".join(words[(3 * row + column) % len(words)] for column in range(2 + row % 2))
        canvas.text(70, 150 + 34 * row, line, size=17, fill="#222222")
    canvas.text(70, 710, "With kind regards,", size=20, fill="#222222")
    canvas.line(80, 760, 110, 735, 130, 765, 160, 738, 170, 760, 240, 748, fill="#1e3a8a", width=3)
    return canvas.finished().rotate(1.5, Image.Resampling.BICUBIC, fillcolor="white")


def _scanned_form() -> Image.Image:
    """A form with rules, boxes, ticks and a stamp."""
    canvas = _Canvas(700, 560, "white")
    ink = "#303030"
    canvas.text(350, 45, "APPLICATION 27-B", size=34, fill=ink, anchor="mm")
    for row, label in enumerate(("Surname", "Given names", "Street", "Town", "Born on")):
        y = 110 + 62 * row
        canvas.text(40, y, label, size=22, fill=ink)
        canvas.line(220, y + 18, 660, y + 18, fill=ink, width=2)
    for column, label in enumerate(("yes", "no", "unknown")):
        x = 60 + 190 * column
        for edge in (
            (x, 440, x + 34, 440),
            (x + 34, 440, x + 34, 474),
            (x + 34, 474, x, 474),
            (x, 474, x, 440),
        ):
            canvas.line(*edge, fill=ink, width=3)
        canvas.text(x + 48, 457, label, size=22, fill=ink)
    canvas.line(62, 452, 76, 470, 108, 424, fill="#1e3a8a", width=6)
    canvas.ellipse(570, 330, 78, 78, outline="#b91c1c")
    canvas.text(570, 330, "PAID", size=46, fill="#b91c1c", anchor="mm")
    return canvas.finished()


def photographed(page: Image.Image, *, seed: int) -> Image.Image:
    """Add uneven light, a shadow at one edge, a little blur and noise to a page, like a photograph
    by lamplight."""
    pixels = np.asarray(page.convert("RGB").filter(ImageFilter.GaussianBlur(0.7)), np.float64)
    height, width, _ = pixels.shape
    y, x = np.mgrid[0:height, 0:width]
    light = 0.95 - 0.5 * ((x / width - 0.25) ** 2 + (y / height - 0.3) ** 2)
    shadow = 1 - 0.3 / (1 + np.exp(np.clip((x + 0.35 * y - 0.3 * width) / 25, -50, 50)))
    noise = np.random.default_rng(seed).normal(0, 3, (height, width, 1))
    tinted = pixels * (light * shadow)[:, :, None] * np.array([1.0, 0.98, 0.93]) + noise
    return Image.fromarray(np.clip(np.rint(tinted), 0, 255).astype(np.uint8))


def _staves() -> Image.Image:
    """Sheet music: staves, clefs as curves, notes with stems and beams."""
    canvas = _Canvas(800, 500, "white")
    for stave in range(3):
        top = 70 + 150 * stave
        for line in range(5):
            canvas.line(30, top + 16 * line, 770, top + 16 * line, fill="black", width=2)
        for bar in (30, 280, 525, 770):
            canvas.line(bar, top, bar, top + 64, fill="black", width=3)
        canvas.arc(60, top + 40, 16, 20, start=90, end=400, fill="black", width=4)
        canvas.line(62, top - 14, 68, top + 84, fill="black", width=3)
        for note in range(12):
            x, step = 110 + 54 * note, (3 * note + 2 * stave) % 8
            y = top + 64 - 8 * step
            canvas.ellipse(x, y, 11, 8, fill="black")
            canvas.line(x + 10, y, x + 10, y - 46, fill="black", width=3)
            if note % 4 in (0, 2):
                canvas.line(
                    x + 10,
                    y - 46,
                    x + 64,
                    top + 64 - 8 * ((3 * (note + 1) + 2 * stave) % 8) - 46,
                    fill="black",
                    width=6,
                )
    return canvas.finished()


def _crossword() -> Image.Image:
    """A ruled grid with black squares and small numbers."""
    canvas = _Canvas(520, 520, "white")
    number = 1
    for row in range(13):
        for column in range(13):
            x, y = 12 + 38 * column, 12 + 38 * row
            if (row % 2 and column % 2) or (3 * row + 5 * column) % 11 == 4:
                canvas.box(x, y, x + 38, y + 38, fill="black")
            elif (row + 2 * column) % 5 == 0:
                canvas.text(x + 4, y + 10, str(number), size=12, fill="black")
                number += 1
    for step in range(14):
        canvas.line(12 + 38 * step, 12, 12 + 38 * step, 506, fill="black", width=2)
        canvas.line(12, 12 + 38 * step, 506, 12 + 38 * step, fill="black", width=2)
    return canvas.finished()


def _spirograph() -> Image.Image:
    """Thin black curves on white, crossing at every angle."""
    canvas = _Canvas(560, 560, "white")
    for inner, colour in ((83, "black"), (52, "#444444")):
        points = []
        for step in range(1441):
            angle = math.radians(5 * step)
            turn = angle * (250 - inner) / inner
            points += [
                280 + (250 - inner) * math.cos(angle) + 0.8 * inner * math.cos(turn),
                280 + (250 - inner) * math.sin(angle) - 0.8 * inner * math.sin(turn),
            ]
        canvas.line(*points, fill=colour, width=2)
    return canvas.finished()


def _bicycle() -> Image.Image:
    """Line art of a bicycle, in pencil grey on cream."""
    canvas = _Canvas(720, 460, "#fdf6e3")
    ink = "#475569"
    for x in (180, 540):
        canvas.ellipse(x, 310, 115, 115, outline=ink)
        for angle in range(0, 360, 24):
            turn = math.radians(angle)
            canvas.line(
                x, 310, x + 112 * math.cos(turn), 310 + 112 * math.sin(turn), fill=ink, width=1
            )
    canvas.line(180, 310, 270, 160, 470, 160, 330, 310, 180, 310, fill=ink, width=5)
    canvas.line(330, 310, 255, 135, fill=ink, width=5)
    canvas.line(540, 310, 460, 120, 500, 100, 525, 110, fill=ink, width=5)
    canvas.line(220, 130, 290, 130, fill=ink, width=9)
    canvas.ellipse(330, 310, 26, 26, outline=ink)
    canvas.line(330, 310, 355, 350, 375, 350, fill=ink, width=4)
    return canvas.finished()


def _blueprint() -> Image.Image:
    """The plan of a flat: thin white lines on blue."""
    canvas = _Canvas(760, 520, "#1e3a8a")
    ink = "#e0f2fe"
    for step in range(20):
        canvas.line(40 * step, 0, 40 * step, 520, fill="#2a4a9c", width=1)
        canvas.line(0, 40 * step, 760, 40 * step, fill="#2a4a9c", width=1)
    canvas.line(80, 70, 680, 70, 680, 450, 80, 450, 80, 70, fill=ink, width=5)
    canvas.line(330, 70, 330, 260, fill=ink, width=4)
    canvas.line(80, 260, 250, 260, fill=ink, width=4)
    canvas.line(480, 450, 480, 300, 680, 300, fill=ink, width=4)
    canvas.arc(250, 260, 70, 70, start=0, end=90, fill=ink, width=2)
    canvas.arc(480, 300, 60, 60, start=180, end=270, fill=ink, width=2)
    for room, x, y in (
        ("kitchen", 200, 165),
        ("living", 500, 180),
        ("bath", 580, 375),
        ("bedroom", 270, 370),
    ):
        canvas.text(x, y, room, size=30, fill=ink, anchor="mm")
    canvas.line(80, 485, 680, 485, fill=ink, width=2)
    canvas.text(380, 485, "12.40 m", size=20, fill=ink, anchor="mm")
    return canvas.finished()


def _terminal() -> Image.Image:
    """A terminal: coloured text on black."""
    canvas = _Canvas(800, 500, "#0c0c0c")
    colours = ("#22c55e", "#e5e5e5", "#eab308", "#38bdf8", "#e5e5e5", "#ef4444")
    lines = (
        "user@host:~/project$ make test",
        "collected 412 items",
        "tests/test_service.py ............ [ 31%]",
        "tests/test_worker.py ....F....... [ 58%]",
        "E   assert 200 == 503",
        "FAILED in 12.41 s, 411 passed",
    )
    for row in range(15):
        canvas.text(16, 26 + 32 * row, lines[row % 6], size=24, fill=colours[row % 6])
    canvas.box(16, 478, 30, 498, fill="#e5e5e5")
    return canvas.finished()


def _editor() -> Image.Image:
    """A code editor with a dark theme: a sidebar, line numbers, coloured words."""
    canvas = _Canvas(900, 560, "#1e1e2e")
    canvas.box(0, 0, 190, 560, fill="#181825")
    for row, name in enumerate(
        ("src", "  app.py", "  queue.py", "  store.py", "tests", "  test_app.py", "README.md")
    ):
        if row == 2:
            canvas.box(0, 30 + 36 * row, 190, 62 + 36 * row, fill="#313244")
        canvas.text(16, 46 + 36 * row, name, size=19, fill="#cdd6f4")
    words = (
        ("def", "#cba6f7"),
        ("receive", "#89b4fa"),
        ("(self)", "#cdd6f4"),
        ("->", "#94e2d5"),
        ("Message", "#f9e2af"),
    )
    for row in range(16):
        y = 30 + 33 * row
        canvas.text(230, y, str(row + 1), size=18, fill="#6c7086", anchor="rm")
        x = 250 + 36 * (row % 4)
        for word, colour in words[row % 3 : 2 + row % 4]:
            canvas.text(x, y, word, size=20, fill=colour)
            x += 12 * len(word) + 12
    canvas.box(230, 118, 890, 150, fill="#2a2b3c")
    canvas.text(250, 134, "raise QueueEmptyError", size=20, fill="#f38ba8")
    return canvas.finished()


def _dialog() -> Image.Image:
    """A light dialog of settings: tabs, check boxes, a slider, buttons."""
    canvas = _Canvas(640, 480, "#e5e7eb")
    canvas.box(20, 20, 620, 460, fill="white", radius=12)
    for index, tab in enumerate(("General", "Display", "Network")):
        canvas.text(60 + 150 * index, 58, tab, size=24, fill="#2563eb" if index == 1 else "#6b7280")
    canvas.line(40, 84, 600, 84, fill="#d1d5db", width=2)
    canvas.line(205, 84, 300, 84, fill="#2563eb", width=5)
    for row, label in enumerate(("Use the dark theme", "Smooth scrolling", "Show hidden files")):
        y = 130 + 52 * row
        canvas.box(50, y - 14, 78, y + 14, fill="#2563eb" if row != 1 else "#d1d5db", radius=5)
        canvas.line(56, y, 62, y + 7, 73, y - 7, fill="white", width=4)
        canvas.text(94, y, label, size=23, fill="#111827")
    canvas.line(50, 310, 590, 310, fill="#d1d5db", width=8)
    canvas.line(50, 310, 360, 310, fill="#2563eb", width=8)
    canvas.ellipse(360, 310, 16, 16, fill="#1d4ed8")
    canvas.box(330, 390, 450, 436, fill="#e5e7eb", radius=8)
    canvas.text(390, 413, "Cancel", size=23, fill="#111827", anchor="mm")
    canvas.box(470, 390, 590, 436, fill="#2563eb", radius=8)
    canvas.text(530, 413, "Apply", size=23, fill="white", anchor="mm")
    return canvas.finished()


def _poster() -> Image.Image:
    """Lettering of one luma: red and green words of equal brightness, indistinguishable in grey."""
    canvas = _Canvas(640, 400, "#2e8b2e")
    canvas.text(320, 130, "OPEN", size=170, fill="#d43a2f", anchor="mm")
    canvas.box(0, 230, 640, 400, fill="#d43a2f")
    canvas.text(320, 310, "all day", size=120, fill="#f8fafc", anchor="mm")
    return canvas.finished()


def _paragraph() -> Image.Image:
    """Lines of text from large to small on dark slate."""
    canvas = _Canvas(760, 480, "#0f172a")
    y = 40.0
    for size in (42, 38, 34, 30, 26, 22, 18, 15):
        canvas.text(24, y, "Sphinx of black quartz, judge my vow", size=size, fill="#f1f5f9")
        y += 1.9 * size
    return canvas.finished()


def _logo_black() -> Image.Image:
    """A black logo on a transparent ground: a mountain in a ring, and a name."""
    canvas = _Canvas(480, 420, None)
    canvas.ellipse(240, 170, 150, 150, fill="black")
    canvas.ellipse(240, 170, 132, 132, fill="white")
    canvas.polygon(130, 230, 210, 90, 262, 175, 290, 135, 352, 230, fill="black")
    canvas.polygon(186, 132, 210, 90, 236, 132, 212, 148, fill="white")
    canvas.text(240, 375, "ALPINE", size=72, fill="black", anchor="mm")
    return canvas.finished()


def _logo_ink() -> Image.Image:
    """A black outline on a transparent ground, without any fill: a fish and a word."""
    canvas = _Canvas(560, 300, None)
    canvas.arc(220, 190, 170, 120, start=205, end=335, fill="black", width=9)
    canvas.arc(220, 90, 170, 120, start=25, end=155, fill="black", width=9)
    canvas.line(368, 122, 440, 80, 440, 200, 368, 158, fill="black", width=9)
    canvas.ellipse(120, 128, 9, 9, fill="black")
    canvas.text(280, 262, "harbour", size=60, fill="black", anchor="mm")
    return canvas.finished()


def _logo_white() -> Image.Image:
    """A white logo on a transparent ground: three waves and a name."""
    canvas = _Canvas(560, 360, None)
    for row in range(3):
        points = []
        for step in range(101):
            points += [60 + 4.4 * step, 80 + 55 * row + 22 * math.sin(step / 8)]
        canvas.line(*points, fill="white", width=16)
    canvas.text(280, 305, "TIDELINE", size=84, fill="white", anchor="mm")
    return canvas.finished()


def _logo_two_tones() -> Image.Image:
    """A logo with a dark blue and a light orange part on a transparent ground. Judged by
    brightness, no ground suits both."""
    canvas = _Canvas(600, 240, None)
    canvas.box(20, 30, 200, 210, fill="#172554", radius=36)
    canvas.polygon(60, 170, 110, 60, 160, 170, fill="#fdba74")
    canvas.text(225, 90, "Kestrel", size=96, fill="#172554")
    canvas.text(228, 178, "aviation", size=64, fill="#fdba74")
    return canvas.finished()


def _badge() -> Image.Image:
    """White letters on a red disc on black. In grey, the disc is only slightly darker than the
    letters."""
    canvas = _Canvas(480, 480, "black")
    canvas.ellipse(240, 240, 215, 215, fill="#dc2626")
    canvas.text(240, 240, "404", size=190, fill="white", anchor="mm")
    return canvas.finished()


def _landscape_cartoon() -> Image.Image:
    """Clip art of flat midtones: hills, a river, a sun."""
    canvas = _Canvas(720, 420, "#7aa5c4")
    canvas.ellipse(560, 110, 60, 60, fill="#f5d58a")
    canvas.ellipse(160, 430, 330, 200, fill="#5d7f4a")
    canvas.ellipse(560, 450, 360, 190, fill="#4a6b45")
    canvas.polygon(330, 262, 380, 262, 300, 420, 170, 420, fill="#6389a8")
    for x, y in ((90, 290), (150, 270), (620, 300), (670, 320)):
        canvas.box(x - 6, y, x + 6, y + 46, fill="#33261b")
        canvas.ellipse(x, y - 14, 28, 34, fill="#39563a")
    return canvas.finished()


def _crowd() -> Image.Image:
    """Small people in bright clothes, side by side and one behind the other: detail everywhere."""
    canvas = _Canvas(800, 560, "#e8d8a8")
    random = np.random.default_rng(5)
    clothes = ("#c0392b", "#2471a3", "#1e8449", "#d4ac0d", "#7d3c98", "#f0f3f4", "#2c3e50")
    for row in range(11):
        for column in range(24):
            x, y = 18 + 34 * column + random.uniform(-9, 9), 40 + 48 * row + random.uniform(-12, 12)
            shirt, trousers = clothes[random.integers(7)], clothes[random.integers(7)]
            skin = ("#f5cba7", "#a1663a")[random.integers(2)]
            canvas.line(x - 4, y + 20, x - 6, y + 38, fill=trousers, width=5)
            canvas.line(x + 4, y + 20, x + 6, y + 38, fill=trousers, width=5)
            canvas.box(x - 8, y, x + 8, y + 22, fill=shirt, radius=4)
            canvas.line(x - 8, y + 4, x - 15, y + random.uniform(-10, 18), fill=skin, width=4)
            canvas.line(x + 8, y + 4, x + 15, y + random.uniform(-10, 18), fill=skin, width=4)
            canvas.ellipse(x, y - 8, 8, 9, fill="#1c1c1c" if random.random() < 0.7 else "#d68910")
            canvas.ellipse(x, y - 6, 6, 7, fill=skin)
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
    "badge": _badge,
    "bicycle": _bicycle,
    "blueprint": _blueprint,
    "cartoon_hills": _landscape_cartoon,
    "crowd": _crowd,
    "crossword": _crossword,
    "dialog": _dialog,
    "editor": _editor,
    "logo_black": _logo_black,
    "logo_ink": _logo_ink,
    "logo_two_tones": _logo_two_tones,
    "logo_white": _logo_white,
    "paragraph": _paragraph,
    "poster": _poster,
    "scanned_form": _scanned_form,
    "scanned_letter": _scanned_letter,
    "spirograph": _spirograph,
    "staves": _staves,
    "terminal": _terminal,
}
"""Drawings by Pillow. Names starting with `logo_` mark drawings with a transparent ground."""

SEEDS_OF_PHOTOGRAPHS: Final = {"scanned_letter": 1, "scanned_form": 2}
"""Seed of the noise of each drawing that is `photographed`."""


def _plot(
    draw: Callable[[Any], None], *, style: str = "default", size: tuple[float, float] = (7, 5)
) -> Image.Image:
    """Return the figure filled by `draw`, at 100 dpi."""
    import matplotlib.style  # noqa: PLC0415 - in the bench's environment only
    from matplotlib.figure import Figure  # noqa: PLC0415 - imported on first use

    with matplotlib.style.context(style):
        figure = Figure(figsize=size, dpi=100)
        draw(figure)
        file = io.BytesIO()
        figure.savefig(file, format="png")
    return Image.open(file).convert("RGB")


def _curves(figure: Any) -> None:
    axes = figure.subplots()
    x = np.linspace(0, 12, 300)
    for phase in range(3):
        axes.plot(x, np.sin(x + phase) * np.exp(-x / (6 + 3 * phase)), label=f"run {phase + 1}")
    axes.grid(visible=True)
    axes.legend()
    axes.set_title("Damped oscillation")
    axes.set_xlabel("seconds")


def _points(figure: Any) -> None:
    axes = figure.subplots()
    random = np.random.default_rng(3)
    for x, y in ((0, 0), (3, 1), (1, 3)):
        axes.scatter(random.normal(x, 0.7, 80), random.normal(y, 0.6, 80), s=18)
    axes.set_title("Three clusters")


def _bars(figure: Any) -> None:
    axes = figure.subplots()
    axes.hist(np.random.default_rng(4).gamma(3, 2, 2000), bins=30, edgecolor="black")
    axes.set_ylabel("count")


def _heat(figure: Any) -> None:
    axes = figure.subplots()
    y, x = np.mgrid[-3:3:60j, -3:3:60j]
    figure.colorbar(axes.imshow(np.sin(x**2 + y) * np.exp(-(y**2) / 6)))


def _contours(figure: Any) -> None:
    axes = figure.subplots()
    y, x = np.mgrid[-3:3:120j, -3:3:120j]
    height = 3 * (1 - x) ** 2 * np.exp(-(x**2) - (y + 1) ** 2) - 10 * (
        x / 5 - x**3 - y**5
    ) * np.exp(-(x**2) - y**2)
    axes.contour(x, y, height, levels=12, colors="black")


def _wireframe(figure: Any) -> None:
    axes = figure.add_subplot(projection="3d")
    y, x = np.mgrid[-4:4:28j, -4:4:28j]
    radius = np.hypot(x, y) + 1e-9
    axes.plot_wireframe(x, y, np.sin(2 * radius) / radius, linewidth=0.8)


def _italics(figure: Any) -> None:
    figure.text(
        0.5, 0.66, "Quiet Gardens", ha="center", size=62, family="DejaVu Serif", style="italic"
    )
    figure.text(
        0.5, 0.3, "an evening of music", ha="center", size=34, family="STIXGeneral", style="italic"
    )


def _formula(figure: Any) -> None:
    formula = r"$\int_{-\infty}^{\infty} e^{-x^2}\,dx = \sqrt{\pi}$"
    figure.text(0.5, 0.45, formula, ha="center", size=48, math_fontfamily="stix")


PLOTS: Final[dict[str, Callable[[], Image.Image]]] = {
    "formula": lambda: _plot(_formula, size=(7, 2.6)),
    "italics": lambda: _plot(_italics, size=(7, 3)),
    "plot_bars": lambda: _plot(_bars),
    "plot_contours": lambda: _plot(_contours, size=(6, 6)),
    "plot_curves": lambda: _plot(_curves),
    "plot_dark": lambda: _plot(_curves, style="dark_background"),
    "plot_heat": lambda: _plot(_heat),
    "plot_points": lambda: _plot(_points),
    "plot_wireframe": lambda: _plot(_wireframe, size=(6, 6)),
}
"""Drawings by matplotlib."""
