"""The `asciist` command. Art goes to standard output and nothing else does; errors go to standard error."""

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import Any, BinaryIO, Final, NoReturn
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urlsplit
from urllib.request import Request, urlopen

import click

from asciist.errors import AsciistError
from asciist.limits import Limits

_CLIENT_TIMEOUT_SECONDS = 75  # an upload of the longest and its answer

_FAILURE = 1

SERVER_ENVIRONMENT = {
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": "1048576",
    "MALLOC_TRIM_THRESHOLD_": "8388608",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    "OPENBLAS_NUM_THREADS": "1",
}
"""glibc gives blocks of a megabyte back at once, and keeps up to 8 MB of smaller ones. By default it learns to keep large
ones, once for each thread, and the peak under large images was a tenth higher; giving small ones back made conversions a third
slower. Large blocks come as huge pages where glibc (2.35) and the system have them: a progressive JPEG takes half the time. A
conversion uses one processor, because others use the rest."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="asciist")
def main() -> None:
    """Turn images into ASCII art."""


def _default_width() -> int:
    return min(shutil.get_terminal_size().columns, Limits().max_width)


@dataclass(frozen=True, kw_only=True)
class _Options:
    """What was asked for; None where nothing was."""

    width: int | None
    style: str | None
    invert: bool | None
    chars: str | None
    color: str

    def chosen(self) -> dict[str, Any]:
        """Those that are not left to the service, by the names that it and `ConversionOptions` give them."""
        color = self.color if self.color != "auto" else _color_of_the_terminal()
        options = {"style": self.style, "invert": self.invert, "chars": self.chars, "color": color}
        return {"width": self.width or _default_width()} | {
            name: value for name, value in options.items() if value is not None and (name, value) != ("color", "none")
        }


def _color_of_the_terminal() -> str:
    """`ansi` where standard output is a terminal that says it has 24 bits of colour, and nobody minds (no-color.org)."""
    environment = os.environ
    says_so = environment.get("COLORTERM") in ("truecolor", "24bit") and environment.get("TERM") != "dumb"
    return "ansi" if says_so and not environment.get("NO_COLOR") and sys.stdout.isatty() else "none"


def _text(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and not value.isprintable():  # half a character of another encoding, too
        raise click.BadParameter("it is not printable text")
    return value


_OPTIONS: Final = (
    click.option(
        "-w", "--width", type=click.IntRange(1, Limits().max_width), help="Columns of the art.  [default: the terminal's]"
    ),
    # No choice of names and no default here: they are the service's, which may be of another release.
    click.option("-s", "--style", callback=_text, help="How it is drawn: structure, ramp, braille or blocks."),
    click.option("--invert/--no-invert", default=None, help="Draw for a light background."),
    click.option(
        "--chars", callback=_text, help="The characters to draw with, dark to light; or, after ^, those not to draw with."
    ),
    click.option(
        "--color",
        type=click.Choice(["auto", "none", "ansi", "html"]),
        default="auto",
        show_default=True,
        help="Colour: none, for a terminal, or in a document. auto: ansi on a terminal that says COLORTERM=truecolor.",
    ),
)


def _with_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give `command` an argument `options` for all that a caller may choose about a conversion."""

    @wraps(command)
    def with_options(**arguments: Any) -> None:
        options = _Options(**{field.name: arguments.pop(field.name) for field in fields(_Options)})
        command(options=options, **arguments)

    for option in reversed(_OPTIONS):
        with_options = option(with_options)
    return with_options


_file = click.argument("file", type=click.File("rb"), default="-")


@main.command()
def serve() -> None:
    """Run the service on this machine.

    It listens on HOST (127.0.0.1) and PORT (27244) and keeps images and art in ASCIIST_DATA_DIR. Ctrl-C stops it once
    the requests in flight are answered.
    """
    from asciist.settings import Settings

    try:
        Settings.from_environment()
    except AsciistError as error:
        _fail(error.public_message)
    # In place of this process, so that signals reach the server itself.
    arguments = [sys.executable, "-m", "gunicorn", "--config", "python:service.gunicorn_settings"]
    os.execve(sys.executable, arguments, {**SERVER_ENVIRONMENT, **os.environ})  # noqa: S606 - no shell is meant


@main.command()
@click.option(
    "-u",
    "--url",
    envvar="ASCIIST_URL",
    default="http://localhost:27244",
    show_default=True,
    show_envvar=True,
    help="Address of the service.",
)
@_with_options
@_file
def convert(url: str, options: _Options, file: BinaryIO) -> None:
    """Convert FILE through the service and print the art. Without FILE, or with -, reads standard input."""
    if urlsplit(url).scheme not in ("http", "https"):
        _fail(f"{url} is not an http address")
    request = Request(  # noqa: S310 - the scheme is checked above
        f"{url.rstrip('/')}/?{urlencode(options.chosen())}",
        data=_read(file),
        method="PUT",
        headers={"Accept": "text/plain", "Content-Type": "application/octet-stream"},
    )
    try:
        with urlopen(request, timeout=_CLIENT_TIMEOUT_SECONDS) as response:  # noqa: S310 - as above
            _print(response.read().decode("utf-8"))
    except HTTPError as error:
        _fail(error.read(2000).decode("utf-8", "replace").strip() or f"the service answered {error.code}")
    except URLError as error:
        _fail(f"cannot reach {url}: {error.reason}")
    except (OSError, UnicodeDecodeError) as error:
        _fail(f"the answer of {url} did not arrive whole: {error}")


@main.command("test")
@_with_options
@_file
def convert_locally(options: _Options, file: BinaryIO) -> None:
    """Convert FILE in this process, without the service, and print the art. Without FILE, or with -, reads standard input."""
    from asciist.conversion import ConversionOptions
    from asciist.conversion import convert as convert_image

    image = _read(file)
    try:
        art = convert_image(image, ConversionOptions(**options.chosen()), Limits())
    except AsciistError as error:
        _fail(error.public_message)
    _print(art + "\n")


def _read(file: BinaryIO) -> bytes:
    if file.isatty():
        _fail("no image: name a FILE or pipe one in")
    try:
        image = file.read()
    except OSError as error:
        _fail(f"cannot read {file.name}: {error.strerror}")
    if not image:
        _fail(f"{'standard input' if file.name == '<stdin>' else Path(file.name).name} is empty")
    return image


def _print(art: str) -> None:
    try:
        sys.stdout.write(art)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader (head, less) has seen enough. Nothing may be written at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except UnicodeEncodeError:
        _fail(f"standard output takes {sys.stdout.encoding}, which lacks characters of this art: try PYTHONIOENCODING=utf-8")


def _fail(message: str) -> NoReturn:
    click.echo(f"asciist: {message}", err=True)
    raise SystemExit(_FAILURE)


if __name__ == "__main__":
    main()
