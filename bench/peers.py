"""Other programs that turn images into text art, from Debian and PyPI, each with one or more sets
of documented options.

Each draws at a given number of columns and rows. If a program chooses the number of rows itself, it
is scored at that number. Frames are stripped; escape codes are stripped unless the art is scored in
colour.
"""

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Literal

from PIL import Image

from bench.scoring import FONTS

_PICTURE: Final = "PICTURE"  # these three are placeholders in the arguments of a command
_COLUMNS: Final = "COLUMNS"
_ROWS: Final = "ROWS"
# the interpreter for which Debian packages Python modules
_SYSTEM_PYTHON: Final = "/usr/bin/python3"
_ESCAPE_CODES: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_TIMEOUT_SECONDS: Final = 60

Characters = Literal["ascii", "braille", "blocks"]
"""Characters that art consists of: printable ASCII, braille patterns, or blocks of any kind."""


class PeerError(Exception):
    """A peer could not draw a picture; the message contains its error output."""


@dataclass(frozen=True, kw_only=True)
class Peer:
    """One program with one set of options: a row of the tables."""

    name: str
    """Program and options; unique."""
    program: str
    """Name of the program, the same for every set of its options."""
    package: str
    """Distribution and package name, such as "Debian jp2a"."""
    install: str
    """Command that installs it."""
    call: str
    """The call with its arguments, for display."""
    version: Callable[[], str | None]
    """Return the version reported by the program or its package, or None if it is not installed."""
    draw: Callable[[Path, int, int], str]
    """Convert an image file to art: (file, columns, rows) -> text. Raises PeerError."""
    characters: Characters = "ascii"
    is_coloured: bool = False
    dark_on_light: bool = False
    """True if the options are for dark text on a light background."""


@cache
def installed_version(peer: Peer) -> str | None:
    """Return the peer's version, or None if it is not installed. Cached."""
    return peer.version()


def _run(command: list[str], *, stdin: bytes | None = None, with_stderr: bool = False) -> str:
    done = subprocess.run(
        command,
        input=stdin,
        capture_output=True,
        check=False,
        timeout=_TIMEOUT_SECONDS,
        env={"PATH": os.defpath + ":/usr/local/bin", "TERM": "dumb", "LC_ALL": "C.UTF-8"},
    )
    if done.returncode:
        raise PeerError(
            f"{command[0]} exited with status {done.returncode}:"
            f" {done.stderr.decode(errors='replace').strip()[:200]}"
        )
    return (done.stdout + done.stderr if with_stderr else done.stdout).decode(errors="replace")


def _plain(text: str) -> str:
    return _ESCAPE_CODES.sub("", text).replace("\r", "").rstrip("\n")


def _unframed(text: str) -> str:
    return "\n".join(line[1:-1] for line in text.split("\n")[1:-1])


def _command(
    name: str,
    *arguments: str,
    package: str,
    version: list[str],
    clean: Callable[[str], str] = lambda text: text,
    characters: Characters = "ascii",
    is_coloured: bool = False,
    dark_on_light: bool = False,
) -> Peer:
    """Return a peer that runs a command of a Debian package. `version` is the command that prints
    its version."""
    program = arguments[0]

    def find_version() -> str | None:
        if shutil.which(program) is None:
            return None
        found = re.search(r"\d+\.[\w.]+", _run(version, with_stderr=True))
        return found[0].rstrip(".,") if found else "unknown version"

    def draw(picture: Path, columns: int, rows: int) -> str:
        values = {_COLUMNS: str(columns), _ROWS: str(rows), _PICTURE: str(picture)}
        pattern = re.compile("|".join(values))
        command = [pattern.sub(lambda match: values[match[0]], argument) for argument in arguments]
        text = _run(command)
        return clean(text if is_coloured else _plain(text))

    return Peer(
        name=name,
        program=program,
        package=f"Debian {package}",
        install=f"apt-get install {package}",
        call=" ".join(
            Path(argument).name if argument.startswith("/") else argument for argument in arguments
        ),
        version=find_version,
        draw=draw,
        characters=characters,
        is_coloured=is_coloured,
        dark_on_light=dark_on_light,
    )


def _chafa(
    name: str,
    *settings: str,
    symbols: str = "ascii",
    characters: Characters = "ascii",
    is_coloured: bool = False,
    dark_on_light: bool = False,
) -> Peer:
    colours = "full" if is_coloured else "none"
    common = [
        "-f",
        "symbols",
        "--symbols",
        symbols,
        "-c",
        colours,
        "--stretch",
        "--size",
        f"{_COLUMNS}x{_ROWS}",
    ]
    # no escape codes but those of colours
    plain = ["--polite", "on", "--animate", "off", "-O", "0"]
    return _command(
        name, "chafa", *common, *plain, *settings, _PICTURE,
        package="chafa",
        version=["chafa", "--version"],
        characters=characters,
        is_coloured=is_coloured,
        dark_on_light=dark_on_light,
    )  # fmt: skip


def _img2txt(dither: str) -> Peer:
    # It has no output format without colour, so the colours are stripped and the characters scored
    # as plain text.
    return _command(
        f"img2txt -d {dither}",
        "img2txt", "-W", _COLUMNS, "-H", _ROWS, "-f", "utf8", "-d", dither, _PICTURE,
        package="caca-utils",
        version=["img2txt", "--version"],
    )  # fmt: skip


_AALIB_PROGRAM: Final = """
import sys, aalib
columns, rows, dithering = map(int, sys.argv[1:4])
screen = aalib.AsciiScreen(width=columns, height=rows)
width, height = screen.virtual_size
pixels = sys.stdin.buffer.read()
for y in range(height):
    for x in range(width):
        screen[x, y] = pixels[y * width + x]
print(screen.render(dithering_mode=dithering))
"""


def _aalib(name: str, dithering: int) -> Peer:
    def find_version() -> str | None:
        if not Path(_SYSTEM_PYTHON).exists():
            return None
        try:
            _run([_SYSTEM_PYTHON, "-c", "import aalib"])
        except PeerError:
            return None
        if shutil.which("dpkg-query") is None:
            return "unknown version"
        return _run(["dpkg-query", "-W", "-f", "${Version}", "libaa1"])

    def draw(picture: Path, columns: int, rows: int) -> str:
        with Image.open(picture) as image:
            # aalib's virtual screen has 2x2 px per character.
            pixels = image.convert("L").resize((2 * columns, 2 * rows), Image.Resampling.BOX)
        return _plain(
            _run(
                [_SYSTEM_PYTHON, "-c", _AALIB_PROGRAM, str(columns), str(rows), str(dithering)],
                stdin=pixels.tobytes(),
            )
        )

    return Peer(
        name=name,
        program="aalib",
        package="Debian python3-aalib",
        install="apt-get install python3-aalib",
        call=f"aalib.AsciiScreen(width=COLUMNS, height=ROWS).render(dithering_mode={dithering})",
        version=find_version,
        draw=draw,
    )


def _pypi_version(package: str) -> Callable[[], str | None]:
    def find_version() -> str | None:
        try:
            return importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            return None

    return find_version


def _chafa_py(name: str, *, preprocessing: bool, work: float = 0.5) -> Peer:
    def draw(picture: Path, columns: int, rows: int) -> str:
        import chafa  # noqa: PLC0415 - the peer may not be installed

        config = chafa.CanvasConfig()
        config.width, config.height = columns, rows
        config.canvas_mode = chafa.CanvasMode.CHAFA_CANVAS_MODE_FGBG
        config.preprocessing = preprocessing
        config.work_factor = work
        config.optimizations = (chafa.Optimizations.CHAFA_OPTIMIZATION_NONE,)
        symbols = chafa.SymbolMap()
        symbols.add_by_tags(chafa.SymbolTags.CHAFA_SYMBOL_TAG_ASCII)
        config.set_symbol_map(symbols)
        canvas = chafa.Canvas(config)
        with Image.open(picture) as image:
            rgb = image.convert("RGB")
        canvas.draw_all_pixels(
            chafa.PixelType.CHAFA_PIXEL_RGB8, rgb.tobytes(), rgb.width, rgb.height, rgb.width * 3
        )
        return _plain(canvas.print(fallback=True).decode())

    call = f"chafa.Canvas, ASCII symbols, FGBG, preprocessing={preprocessing}, work_factor={work}"
    return _from_pypi(name, "chafa", "chafa-py", call, draw)


def _ascii_magic(name: str, *, enhance: bool) -> Peer:
    # Ascii_magic chooses the rows itself.
    def draw(picture: Path, columns: int, rows: int) -> str:  # noqa: ARG001
        import ascii_magic  # noqa: PLC0415 - the peer may not be installed

        with Image.open(picture) as image:
            art = ascii_magic.AsciiArt(image.convert("RGB"))
        return _plain(
            art.to_ascii(columns=columns, width_ratio=2, monochrome=True, enhance_image=enhance)
        )

    call = (
        "AsciiArt.to_ascii(columns=COLUMNS, width_ratio=2, monochrome=True,"
        f" enhance_image={enhance})"
    )
    return _from_pypi(name, "ascii_magic", "ascii-magic", call, draw)


def _from_pypi(
    name: str, program: str, distribution: str, call: str, draw: Callable[[Path, int, int], str]
) -> Peer:
    return Peer(
        name=name,
        program=program,
        package=f"PyPI {distribution}",
        install="make bench (tools/locks/bench.txt)",
        call=call,
        version=_pypi_version(distribution),
        draw=draw,
    )


PEERS: Final = (
    _chafa("chafa"),
    _chafa("chafa -p off", "-p", "off"),
    _chafa("chafa -p off -w 9", "-p", "off", "-w", "9"),
    _chafa("chafa -p off --glyph-file", "-p", "off", "--glyph-file", str(FONTS["DejaVu Sans Mono"])),
    _chafa("chafa --invert", "--invert", dark_on_light=True),
    _chafa("chafa -p off --invert", "-p", "off", "--invert", dark_on_light=True),
    _chafa("chafa braille", symbols="braille", characters="braille"),
    _chafa("chafa braille --dither diffusion", "--dither", "diffusion", symbols="braille", characters="braille"),
    _chafa("chafa quadrants", symbols="quad+space", characters="blocks"),
    _chafa("chafa quadrants --dither diffusion", "--dither", "diffusion", symbols="quad+space", characters="blocks"),
    _chafa("chafa half blocks", symbols="vhalf", characters="blocks", is_coloured=True),
    _chafa("chafa quadrants in colour", symbols="quad", characters="blocks", is_coloured=True),
    _chafa("chafa sextants -w 9", "-w", "9", symbols="sextant", characters="blocks", is_coloured=True),
    _chafa("chafa blocks -w 9", "-w", "9", symbols="block", characters="blocks", is_coloured=True),
    _chafa("chafa all -w 9", "-w", "9", symbols="all", characters="blocks", is_coloured=True),
    _chafa("chafa ASCII in colour -w 9", "-w", "9", is_coloured=True),
    _chafa("chafa ASCII in colour, --fg-only", "--fg-only", is_coloured=True),
    _chafa("chafa braille in colour", symbols="braille", characters="braille", is_coloured=True),
    _chafa("chafa braille in colour, --fg-only", "--fg-only", symbols="braille", characters="braille", is_coloured=True),
    _chafa_py("chafa-py", preprocessing=True),
    _chafa_py("chafa-py, preprocessing off", preprocessing=False),
    _command("jp2a", "jp2a", f"--size={_COLUMNS}x{_ROWS}", _PICTURE, package="jp2a", version=["jp2a", "--version"]),
    _command(
        "jp2a --edge-threshold", "jp2a", f"--size={_COLUMNS}x{_ROWS}", "--edge-threshold=0.5", _PICTURE,
        package="jp2a", version=["jp2a", "--version"],
    ),
    _command(
        "asciiart", "asciiart", "-w", _COLUMNS, _PICTURE,
        package="asciiart", version=["asciiart", "--version"], clean=_unframed,
    ),
    _aalib("aalib", 0),
    _aalib("aalib, Floyd-Steinberg", 2),
    _ascii_magic("ascii_magic", enhance=False),
    _ascii_magic("ascii_magic, enhanced", enhance=True),
    _img2txt("none"),
)  # fmt: skip
"""Every peer, with its best options. chafa is run without `--font-ratio`: with `--stretch` it has
no effect, and its default is 1/2 anyway."""
