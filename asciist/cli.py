"""The `asciist` command. Art goes to standard output and nothing else does; what is said about it to standard error."""

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import Any, Final, NoReturn

import click

from asciist.client import DEFAULT_URL
from asciist.errors import AsciistError, ServiceError
from asciist.limits import Limits

# Statuses for a shell. Click's own, for wrong usage, is 2.
_FAILED: Final = 1
_UNAVAILABLE: Final = 3
_INTERRUPTED: Final = 130

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


_Sections = Mapping[str, Sequence[tuple[str, str]]]
"""Rows of a term and its meaning, by title. A row without a meaning is printed as it is, however long."""


class _Manual(click.Command):
    """A command whose help goes on after its options, as a page of a manual does."""

    def __init__(self, *arguments: Any, sections: _Sections, **attributes: Any) -> None:
        super().__init__(*arguments, **attributes)
        self._sections = sections

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        for title, rows in self._sections.items():
            with formatter.section(title):
                formatter.write_dl(rows)


class _Main(_Manual, click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            # Ends by the signal, where click would say "Aborted!" and exit with 1. A shell calls that 130, and leaves the
            # loop that it runs this in, which it would not do for a command that exits with 130 by itself.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.raise_signal(signal.SIGINT)
            raise SystemExit(_INTERRUPTED) from None


@click.group(
    cls=_Main,
    context_settings={"help_option_names": ["-h", "--help"]},
    sections={
        "Examples": [
            ("asciist convert photo.jpg", ""),
            ("asciist convert --width 120 *.jpg > art.txt", ""),
            ("asciist test --style braille photo.jpg", ""),
            ("curl -s https://example.org/photo.jpg | asciist test", ""),
        ],
        "Exit status": [
            ("0", "All images were converted."),
            (str(_FAILED), "An image could not be read, converted or printed."),
            ("2", "The command was used wrongly."),
            (str(_UNAVAILABLE), "The service could not be reached or failed; asking again later may help."),
            ("", "Where several images fail, the highest of these."),
            (str(_INTERRUPTED), "It was interrupted with Ctrl-C."),
        ],
        "Environment": [
            ("ASCIIST_URL", "Address of the service that convert asks."),
            ("COLUMNS", "Width of the art, in place of the terminal's."),
            ("COLORTERM", "If it is truecolor or 24bit, art is coloured on a terminal."),
            ("NO_COLOR", "If it is set, art is not coloured by itself."),
        ],
    },
)
@click.version_option(package_name="asciist")
def main() -> None:
    """Turn images into ASCII art.

    Images are JPEG, PNG, GIF, WebP or BMP. Their art goes to standard output and is as wide as the terminal. `convert` sends
    them to the service, which stores them and gives the art an address; `test` does without it; `serve` is the service.
    """


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
    as_json: bool

    def chosen(self) -> dict[str, Any]:
        """Those that are not left to the service, by the names that it and `ConversionOptions` give them."""
        color = self.color if self.color != "auto" else self._color_of_the_terminal()
        options = {"style": self.style, "invert": self.invert, "chars": self.chars, "color": color}
        return {"width": self.width or _default_width()} | {
            name: value for name, value in options.items() if value is not None and (name, value) != ("color", "none")
        }

    def _color_of_the_terminal(self) -> str:
        """`ansi` where art goes to a terminal that says it has 24 bits of colour, and nobody minds (no-color.org)."""
        environment = os.environ
        says_so = environment.get("COLORTERM") in ("truecolor", "24bit") and environment.get("TERM") != "dumb"
        nobody_minds = not environment.get("NO_COLOR") and not self.as_json
        return "ansi" if says_so and nobody_minds and sys.stdout and sys.stdout.isatty() else "none"


def _text(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and not value.isprintable():  # half a character of another encoding, too
        raise click.BadParameter("it is not printable text")
    return value


def _styles_known_here(_context: click.Context, _parameter: click.Parameter, beginning: str) -> list[str]:
    from asciist.options import STYLES

    return [name for name in STYLES if name.startswith(beginning)]


_PARAMETERS: Final = (
    click.option(
        "-w",
        "--width",
        type=click.IntRange(1, Limits().max_width),
        metavar="COLUMNS",
        show_default="the terminal's",
        help="Columns of the art.",
    ),
    # No choice of names and no default here: they are the service's, which may be of another release.
    click.option(
        "-s",
        "--style",
        metavar="NAME",
        callback=_text,
        shell_complete=_styles_known_here,
        help="How it is drawn: structure, ramp, braille or blocks.",
    ),
    click.option("--invert/--no-invert", default=None, help="Draw for a light background."),
    click.option(
        "--chars", callback=_text, help="The characters to draw with, dark to light; or, after ^, those not to draw with."
    ),
    click.option(
        "--color",
        type=click.Choice(["auto", "none", "ansi", "html"]),
        metavar="KIND",
        default="auto",
        show_default=True,
        help="Colour: none, ansi (for a terminal), html (in a document), or auto: ansi on a terminal with COLORTERM=truecolor.",
    ),
    click.option("--json", "as_json", is_flag=True, help="Print a JSON object a line for each FILE."),
    click.argument("names", metavar="[FILE]...", nargs=-1, type=click.Path(exists=True, dir_okay=False, allow_dash=True)),
)


def _with_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give `command` an argument `options` for all that a caller may choose about a conversion, and the `names` of files."""

    @wraps(command)
    def with_options(**arguments: Any) -> None:
        options = _Options(**{field.name: arguments.pop(field.name) for field in fields(_Options)})
        command(options=options, **arguments)

    for parameter in reversed(_PARAMETERS):
        with_options = parameter(with_options)
    return with_options


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


@main.command(
    cls=_Manual,
    short_help="Convert images through the service.",
    sections={
        "Examples": [
            ("asciist convert photo.jpg", ""),
            ("asciist convert --color html photo.jpg > photo.html", ""),
            ("asciist convert --url https://art.example.org *.jpg", ""),
            ("asciist convert --json *.jpg | jq -r '.url // .error'", ""),
        ],
    },
)
@click.option(
    "-u",
    "--url",
    envvar="ASCIIST_URL",
    default=DEFAULT_URL,
    metavar="URL",
    show_default=True,
    show_envvar=True,
    help="Address of the service.",
)
@_with_options
def convert(url: str, options: _Options, names: tuple[str, ...]) -> None:
    """Convert images through the service and print the art.

    Without FILE, or where it is -, the image comes from standard input. With several, a line above each art says whose it
    is, and one that fails does not keep the others from being converted.

    With --json an object has file, width, art, url (where the service keeps the art) and stored (whether it had it
    already); or file and error.
    """
    from asciist.client import convert as convert_there

    chosen = options.chosen()

    def converted(name: str, image: bytes) -> dict[str, Any]:
        with _progress(name) as on_progress:
            art = convert_there(image, url=url, on_progress=on_progress, **chosen)
        return {"width": chosen["width"], "art": art.text, "url": art.url, "stored": art.was_stored}

    _convert_each(names, converted, as_json=options.as_json)


@main.command(
    "test",
    cls=_Manual,
    short_help="Convert images without the service.",
    sections={
        "Examples": [
            ("asciist test photo.jpg", ""),
            ("asciist test --style ramp --chars ' .oO' --invert *.png", ""),
            ("curl -s https://example.org/photo.jpg | asciist test", ""),
            ("asciist test --json photo.jpg | jq -r .art", ""),
        ],
    },
)
@_with_options
def convert_locally(options: _Options, names: tuple[str, ...]) -> None:
    """Convert images in this process, without the service, and print the art.

    Without FILE, or where it is -, the image comes from standard input. With several, a line above each art says whose it
    is, and one that fails does not keep the others from being converted.

    With --json an object has file, width and art; or file and error.
    """
    from asciist.conversion import ConversionOptions
    from asciist.conversion import convert as convert_here

    chosen = options.chosen()

    def converted(_name: str, image: bytes) -> dict[str, Any]:
        return {"width": chosen["width"], "art": convert_here(image, ConversionOptions(**chosen), Limits())}

    _convert_each(names, converted, as_json=options.as_json)


@main.command(
    cls=_Manual,
    short_help="Print what completes commands in a shell.",
    sections={
        "Install it": [
            ("bash, in ~/.bashrc:", ""),
            ('  eval "$(asciist completion bash)"', ""),
            ("zsh, in ~/.zshrc, after compinit:", ""),
            ('  eval "$(asciist completion zsh)"', ""),
            ("fish, in ~/.config/fish/config.fish:", ""),
            ("  asciist completion fish | source", ""),
        ],
    },
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script by which a shell completes commands, options, styles and files."""
    from click.shell_completion import shell_complete

    shell_complete(main, {}, "asciist", "_ASCIIST_COMPLETE", f"{shell}_source")


def _convert_each(names: tuple[str, ...], convert_one: Callable[[str, bytes], dict[str, Any]], *, as_json: bool) -> NoReturn:
    """Convert and print one file after the other, whatever becomes of the others; exit with the status of the worst.

    `convert_one` takes a file's name and bytes and returns what --json tells of it, `art` among it. Raises AsciistError.
    """
    import json

    names = names or ("-",)
    status = 0
    gap = ""
    try:
        for name in names:
            try:
                result = convert_one(name, _read(name))
                if as_json:
                    _print(json.dumps({"file": name, **result}) + "\n")
                else:
                    title = f"{gap}==> {_shown(name)} <==\n" if len(names) > 1 else ""
                    _print(f"{title}{result['art']}\n")
                    gap = "\n"
            except AsciistError as error:
                status = max(status, _UNAVAILABLE if isinstance(error, ServiceError) else _FAILED)
                if as_json:
                    _print(json.dumps({"file": name, "error": error.public_message}) + "\n")
                else:
                    whose = f"{_shown(name)}: " if len(names) > 1 else ""
                    click.echo(f"asciist: {whose}{error.public_message}", err=True)
    except OSError as error:  # of standard output: all others are AsciistErrors by now
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing may be written at exit either
        if not isinstance(error, BrokenPipeError):  # which means that the reader (head, less) has seen enough
            _fail(f"cannot write to standard output: {error.strerror}")
    raise SystemExit(status)


def _read(name: str) -> bytes:
    what = "standard input" if name == "-" else "the file"
    if name == "-" and (not sys.stdin or sys.stdin.isatty()):
        raise AsciistError("no image: name a FILE or pipe one in")
    try:
        image = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise AsciistError(f"cannot read {what}: {error.strerror}") from error
    if not image:
        raise AsciistError(f"{what} is empty")
    return image


def _print(text: str) -> None:
    try:
        print(text, end="", flush=True)
    except UnicodeEncodeError as error:
        raise AsciistError(
            f"standard output takes {sys.stdout.encoding}, which lacks characters of this art: try PYTHONIOENCODING=utf-8"
        ) from error


def _shown(name: str) -> str:
    """A file's name as people read it: on one line, in characters that any output takes."""
    if name == "-":
        return "standard input"
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in name)


@contextmanager
def _progress(name: str) -> Iterator[Callable[[int, int], None] | None]:
    """What shows how an upload gets on, if somebody can see it and it takes its time: a line of a terminal, gone at the end."""
    if not sys.stderr or not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield None
        return
    is_shown = False
    next_update = 0.0

    def show(sent_bytes: int, total_bytes: int) -> None:
        nonlocal is_shown, next_update
        is_last = sent_bytes == total_bytes
        if sent_bytes == 0:
            next_update = time.monotonic() + 0.5  # most uploads are over by then, and a line would only flash
        if time.monotonic() < next_update and not (is_last and is_shown):
            return
        is_shown, next_update = True, time.monotonic() + 0.1
        sent = f"{100 * sent_bytes // total_bytes}% of {total_bytes / 1e6:.1f} MB sent"
        text = f"asciist: {'waiting for the art' if is_last else sent}: {_shown(name)}"
        # Without wrapping at the margin, where a long name is cut off: a second line would not be erased.
        print(f"\r\x1b[?7l{text}\x1b[K\x1b[?7h", end="", file=sys.stderr, flush=True)

    try:
        yield show
    finally:
        if is_shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _fail(message: str) -> NoReturn:
    click.echo(f"asciist: {message}", err=True)
    raise SystemExit(_FAILED)


if __name__ == "__main__":
    main()
