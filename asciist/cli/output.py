"""Input and output of the command: read images, print art and JSON, report errors, show upload
progress."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn

import click

from asciist.art.forms import Form
from asciist.cli.fetching import fetch, is_url
from asciist.cli.options import form_of
from asciist.cli.playing import play
from asciist.errors import AsciistError, ServiceError
from asciist.errors.sentences import printable

# Exit statuses. Click exits with 2 for invalid usage.
FAILED: Final = 1
UNAVAILABLE: Final = 3
INTERRUPTED: Final = 130

_PROGRESS_DELAY_SECONDS: Final = 0.5
"""Seconds before the progress of an upload is shown. Most uploads finish sooner, and their line
would only flash."""
_PROGRESS_INTERVAL_SECONDS: Final = 0.1

_RESET: Final = "\x1b[0m"
"""Escape code that resets all colours."""


class Result(NamedTuple):
    """The art of one image."""

    fields: dict[str, Any]
    """Fields that --json prints, including `art`, or `plays` and `frames` of an animation."""
    picture: Callable[[Form], bytes]
    """Returns the art in a form that is a picture. Raises AsciistError."""


def fail(message: str) -> NoReturn:
    """Print an error and exit with status FAILED."""
    _report(message)
    raise SystemExit(FAILED)


def _report(message: str) -> None:
    click.echo(f"asciist: {printable(message)}", err=True)


def convert_each(
    names: tuple[str, ...],
    convert: Callable[[str, bytes], Result],
    *,
    as_json: bool,
    output: Path | None,
) -> NoReturn:
    """Convert and print each file in turn, even if others fail; then exit with the highest status.

    `convert` takes the name and the bytes of a file, and may raise AsciistError. Art is written to
    `output` instead of being printed, unless it is None; the suffix selects its form.
    """
    names = names or ("-",)
    status = 0
    separator = ""
    try:
        for name in names:
            prefix = f"{printable_name(name)}: " if name != "-" or len(names) > 1 else ""
            try:
                image = _read(name)
                # it may be the options or the service that is wrong
                prefix = prefix if len(names) > 1 else ""
                result = convert(name, image)
                if as_json:
                    _print(json.dumps({"file": name, **result.fields}) + "\n")
                elif output:
                    _write(_file(result, output), output)
                else:
                    title = f"{separator}==> {printable_name(name)} <==\n" if len(names) > 1 else ""
                    _print(title)
                    _show(result.fields, is_only_file=len(names) == 1)
                    separator = "\n"
            except AsciistError as error:
                status = max(status, UNAVAILABLE if isinstance(error, ServiceError) else FAILED)
                if as_json:
                    _print(json.dumps({"file": name, "error": error.public_message}) + "\n")
                else:
                    _report(f"{prefix}{error.public_message}")
    except OSError as error:  # from standard output: any other OSError has become an AsciistError
        # so that the flush at exit does not fail too
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        # a broken pipe means that the reader (head, less) has stopped reading
        if not isinstance(error, BrokenPipeError):
            fail(f"cannot write to standard output: {error.strerror}")
    raise SystemExit(status)


def _read(name: str) -> bytes:
    if is_url(name):
        source, image = "the answer", fetch(name)
    else:
        source, image = _read_file(name)
    if not image:
        raise AsciistError(f"{source} is empty")
    return image


def _read_file(name: str) -> tuple[str, bytes]:
    """Return a description of the file, for error messages, and its bytes."""
    source = "standard input" if name == "-" else "the file"
    if name == "-" and (not sys.stdin or sys.stdin.isatty()):
        raise AsciistError("no image: name a FILE or pipe an image to standard input")
    try:
        image = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise AsciistError(f"cannot read {source}: {error.strerror}") from error
    return source, image


def _file(result: Result, output: Path) -> bytes:
    """Return art as a file with the suffix of `output`. Raises AsciistError."""
    form = form_of(output)
    return result.picture(form) if form.is_picture else _text(result.fields).encode()


def _write(content: bytes, output: Path) -> None:
    try:
        output.write_bytes(content)
    except OSError as error:
        raise AsciistError(f"cannot write {printable(str(output))}: {error.strerror}") from error


def _print(text: str) -> None:
    try:
        print(text, end="", flush=True)
    except UnicodeEncodeError as error:
        raise AsciistError(
            f"standard output uses {sys.stdout.encoding}, which lacks characters of this art: try"
            " PYTHONIOENCODING=utf-8"
        ) from error


def _show(fields: dict[str, Any], *, is_only_file: bool) -> None:
    """Print art. On a terminal, an animation plays, once if there are other files."""
    if "frames" in fields and sys.stdout.isatty():
        play(fields["frames"], _print, plays=fields["plays"] if is_only_file else 1)
    else:
        _print(_text(fields))


def _text(fields: dict[str, Any]) -> str:
    """Return art as text. Form feeds separate the frames of an animation."""
    frames = fields.get("frames", [fields])
    return "\f\n".join(f"{_with_reset(frame['art'])}\n" for frame in frames)


def _with_reset(art: str) -> str:
    """Return art followed by a reset of the terminal's colours, like the service's."""
    return art if "\x1b" not in art or art.endswith(_RESET) else art + _RESET


def printable_name(name: str) -> str:
    """Return a file's name for display, with unprintable characters escaped."""
    return "standard input" if name == "-" else printable(name)


@contextmanager
def upload_progress(name: str) -> Iterator[Callable[[int, int], None] | None]:
    """Yield a callback that shows an upload's progress on one terminal line, erased at the end;
    None without a terminal."""
    if not sys.stderr or not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield None
        return
    is_shown = False
    next_update = 0.0

    def show(sent_bytes: int, total_bytes: int) -> None:
        nonlocal is_shown, next_update
        is_last = sent_bytes == total_bytes
        if sent_bytes == 0:
            next_update = time.monotonic() + _PROGRESS_DELAY_SECONDS
        if time.monotonic() < next_update and not (is_last and is_shown):
            return
        is_shown, next_update = True, time.monotonic() + _PROGRESS_INTERVAL_SECONDS
        sent = f"{100 * sent_bytes // total_bytes}% of {total_bytes / 1e6:.1f} MB sent"
        text = f"asciist: {'waiting for the art' if is_last else sent}: {printable_name(name)}"
        # Line wrapping is off (?7l), so that a long name is cut off: a second line would not be
        # erased.
        print(f"\r\x1b[?7l{text}\x1b[K\x1b[?7h", end="", file=sys.stderr, flush=True)

    try:
        yield show
    finally:
        if is_shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
