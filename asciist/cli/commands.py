"""The commands: one without a name, which converts images, and convert, test, serve and
completion."""

import os
import signal
import stat
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, cast

import click
from click.exceptions import NoArgsIsHelpError
from click.shell_completion import CompletionItem

from asciist.cli.drawing import drawn, fields_of, movement_of
from asciist.cli.options import ChosenOptions, with_options
from asciist.cli.output import (
    FAILED,
    INTERRUPTED,
    UNAVAILABLE,
    Result,
    convert_each,
    fail,
    upload_progress,
)
from asciist.client import DEFAULT_TIMEOUT_SECONDS, DEFAULT_URL
from asciist.errors import AsciistError
from asciist.errors.sentences import printable
from asciist.limits import Limits

if TYPE_CHECKING:
    from asciist.client import Suffix

SERVER_ENVIRONMENT = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "1048576",
    "MALLOC_TRIM_THRESHOLD_": "8388608",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    "OPENBLAS_NUM_THREADS": "1",
}
"""Environment variables that `serve` sets for the server process, unless they are set already.

glibc returns a freed block of 1 MiB or more to the system at once, and keeps up to 8 MiB of smaller
ones. By default it keeps large blocks too, which raised peak memory by a tenth under large images.
Returning small blocks as well made conversions a third slower. All threads share one arena: with
two, a process under Python 3.13 kept 149 MB after the hostile images instead of 86 MB, and requests
were no faster. Large blocks use huge pages where glibc (2.35 or newer) and the system support them,
which halves the time of a progressive JPEG. BLAS uses one thread, because other conversions use the
other processors."""


_Sections = Mapping[str, Sequence[tuple[str, str]]]
"""Rows of (term, description), by section title. A row without a description is printed without
line wrapping."""


class _CommandWithSections(click.Command):
    """A command whose help has more sections after its options, like a manual page."""

    def __init__(self, *arguments: Any, sections: _Sections, **attributes: Any) -> None:
        super().__init__(*arguments, **attributes)
        self.sections = sections

    # Click's signature.
    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        for title, rows in self.sections.items():
            with formatter.section(title):
                formatter.write_dl(rows)


def _resolvable(
    _context: click.Context, _parameter: click.Parameter, value: str | None
) -> str | None:
    import socket

    try:
        if value is not None:
            socket.getaddrinfo(value, None)
    except (OSError, UnicodeError):
        raise click.BadParameter(
            f"{value!r} is neither an IP address nor a known host name."
        ) from None
    return value


@contextmanager
def _printable_usage_errors() -> Iterator[None]:
    """Escape unprintable characters in click's messages, which repeat arguments: `*` may expand to
    a hostile file name."""
    try:
        yield
    except (click.MissingParameter, NoArgsIsHelpError):
        # these have several lines and repeat no argument
        raise
    except click.UsageError as error:
        raise click.UsageError(printable(error.format_message()), error.ctx) from error


def _is_image_piped() -> bool:
    """Return whether standard input is a pipe or a file, rather than a terminal or /dev/null."""
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode if sys.stdin else 0
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)


class _NamelessContext(click.Context):
    @property
    def command_path(self) -> str:
        return self.parent.command_path if self.parent else ""


class _Nameless(click.Command):
    """The command of `_Main` that has no name. It shows the group's help."""

    context_class = _NamelessContext

    def get_help(self, ctx: click.Context) -> str:
        return ctx.parent.get_help() if ctx.parent else super().get_help(ctx)


class _Main(_CommandWithSections, click.Group):
    """A group that runs the command `nameless` unless its arguments begin with the name of a
    command."""

    def __init__(self, *arguments: Any, nameless: _Nameless, **attributes: Any) -> None:
        super().__init__(*arguments, **attributes)
        self.nameless = nameless

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing and _is_image_piped():
            args = ["-"]
        names = {
            *self.commands,
            *(name for parameter in self.get_params(ctx) for name in parameter.opts),
        }
        # Behind `--`, click leaves all arguments, also options, to `resolve_command`.
        return super().parse_args(ctx, args if not args or args[0] in names else ["--", *args])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        is_misspelt = (
            name.isalnum() and not os.path.lexists(name) and get_close_matches(name, self.commands)
        )
        if name in self.commands or (is_misspelt and not ctx.resilient_parsing):
            return super().resolve_command(ctx, args)
        return None, self.nameless, args

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_usage(ctx.command_path, " ".join(self.nameless.collect_usage_pieces(ctx)))
        formatter.write_usage(ctx.command_path, "COMMAND [ARGS]...", prefix=" " * len("Usage: "))

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        parameters = (*self.nameless.params, *self.get_params(ctx))
        records = [
            parameter.get_help_record(ctx)
            for parameter in parameters
            if isinstance(parameter, click.Option)
        ]
        with formatter.section("Options"):
            formatter.write_dl([record for record in records if record])
        self.format_commands(ctx, formatter)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete the names of commands and options, or else the names of files."""
        found = {item.value: item for item in self.nameless.shell_complete(ctx, incomplete)}
        found |= {item.value: item for item in super().shell_complete(ctx, incomplete)}
        return list(found.values()) or [CompletionItem(incomplete, type="file")]

    def make_context(self, *arguments: Any, **extra: Any) -> click.Context:
        with _printable_usage_errors():
            return super().make_context(*arguments, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with _printable_usage_errors():
                return super().invoke(ctx)
        except KeyboardInterrupt:
            # Let the signal end the process: a shell then reports status 130, and stops a loop that
            # runs the command. Click would print "Aborted!" and exit with status 1.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.raise_signal(signal.SIGINT)
            raise SystemExit(INTERRUPTED) from None


def _convert_here(options: ChosenOptions, names: tuple[str, ...]) -> None:
    """Convert images in this process and print the art."""
    # Imported here, because the other commands start faster without NumPy and Pillow.
    from asciist.options import OPTIONS, with_defaults

    given = options.for_conversion()

    def convert_one(_name: str, image: bytes) -> Result:
        chosen = with_defaults(
            {
                name: OPTIONS[name].kind.from_json(name, value, Limits())
                for name, value in given.items()
            }
        )
        art = drawn(image, chosen)
        return Result(fields_of(art, chosen), lambda form: b"".join(form.written(art)))

    convert_each(names, convert_one, as_json=options.as_json, output=options.output)


@click.group(
    cls=_Main,
    nameless=click.command(cls=_Nameless)(with_options(_convert_here)),
    context_settings={"help_option_names": ["-h", "--help"]},
    sections={
        "Examples": [
            ("asciist photo.jpg", ""),
            ("asciist --style braille --width 120 *.jpg", ""),
            ("asciist -o art.png photo.jpg", ""),
            ("asciist --animate cartoon.gif", ""),
            ("asciist -o art.png --animate cartoon.gif", ""),
            ("asciist https://example.org/photo.jpg", ""),
            ("asciist --json *.jpg | jq -r '.art // .error'", ""),
        ],
        "Exit status": [
            ("0", "All images were converted."),
            (
                str(FAILED),
                "An image could not be read or converted, or its art could not be written.",
            ),
            ("2", "Invalid usage."),
            (
                str(UNAVAILABLE),
                (
                    "The service, or the server of a URL, could not be reached or failed; retrying"
                    " may help."
                ),
            ),
            ("", "If several images fail, the highest of these."),
            (str(INTERRUPTED), "Interrupted with Ctrl-C."),
        ],
        "Environment": [
            ("ASCIIST_URL", "Address of the service that convert uses."),
            ("COLUMNS", "Width of the art, instead of the terminal's."),
            ("LINES", "Height of the terminal, which art on it fits."),
            (
                "COLORFGBG",
                "Colours of the terminal; without it, the terminal is asked for its background.",
            ),
            ("COLORTERM", "If truecolor or 24bit, art on a terminal has 24-bit colours."),
            ("TERM", "Otherwise, the colours of the terminal: 256, 16 or none."),
            ("NO_COLOR", "If set, art is not coloured automatically."),
        ],
    },
)
@click.version_option(package_name="asciist")
def main() -> None:
    """Turn images into ASCII art; with --auto-invert, dark on light where that is clearer.

    Images are JPEG, PNG, GIF, WebP, AVIF, TIFF or BMP. FILE may be an http or https URL. Without
    FILE, or if FILE is -, the image is read from standard input. With several files, the name of
    each is printed above its art, and a file that fails does not stop the others. Art goes to
    standard output and fits the terminal.

    With --animate, an animated GIF, PNG, WebP or AVIF plays on a terminal, in place and as often as
    its file says, until Ctrl-C. Of several files, each plays once. In a pipe or a file, its frames
    are text with form feeds between, or an HTML document or a PNG that plays.

    Without a command, images are converted in this process, and only URLs need a network. With
    --json, each object has the keys file, width, invert (true if dark on light) and art, or, for a
    file that fails, file and error. For a file that has the name of a command, write ./ before the
    name.
    """


@main.command(
    cls=_CommandWithSections,
    sections={
        "Examples": [
            ("asciist serve", ""),
            ("asciist serve --host 0.0.0.0 --port 8080", ""),
            ("ASCIIST_DATA_DIR=/srv/asciist asciist serve", ""),
        ],
        "Environment": [
            ("HOST", "Address to listen on, unless --host is given."),
            ("PORT", "Port to listen on, unless --port is given."),
            ("ASCIIST_DATA_DIR", "Directory for images and art."),
        ],
    },
)
@click.option(
    "--host",
    metavar="ADDRESS",
    callback=_resolvable,
    show_default="HOST or 127.0.0.1",
    help="IP address or host name to listen on.",
)
@click.option(
    "--port",
    type=click.IntRange(1, 65_535),
    metavar="NUMBER",
    show_default="PORT or 27244",
    help="TCP port to listen on.",
)
def serve(host: str | None, port: int | None) -> None:
    """Run the service on this machine.

    By default, only this machine can connect, and images and art are stored in the user's cache
    directory. Ctrl-C stops the service once the requests in flight are answered.
    """
    from importlib.util import find_spec

    from asciist.settings import Settings

    if find_spec("gunicorn") is None:
        fail("the packages of the service are not installed: install asciist[server]")
    chosen = {"ASCIIST_HOST": host, "ASCIIST_PORT": None if port is None else str(port)}
    environment = {**SERVER_ENVIRONMENT, **os.environ}
    environment |= {name: value for name, value in chosen.items() if value is not None}
    try:
        Settings.from_environment(environment)
    except AsciistError as error:
        fail(error.public_message)
    # Replace this process, so that signals reach the server itself.
    # A checkout that is not installed has the package under the name of its folder only.
    package = "asciist_service" if find_spec("asciist_service") else "service"
    arguments = [sys.executable, "-m", "gunicorn", f"--config=python:{package}.gunicorn_settings"]
    os.execve(sys.executable, arguments, environment)  # noqa: S606 - no shell is needed


@main.command(
    cls=_CommandWithSections,
    short_help="Convert images with the service.",
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
@click.option(
    "--timeout",
    type=click.IntRange(1, 3600),
    default=DEFAULT_TIMEOUT_SECONDS,
    metavar="SECONDS",
    show_default=True,
    help="Time limit for each FILE.",
)
@with_options
def convert(url: str, timeout: int, options: ChosenOptions, names: tuple[str, ...]) -> None:
    """Convert images with the service and print the art.

    Without FILE, or if FILE is -, the image is read from standard input. With several files, the
    name of each is printed above its art, and a file that fails does not stop the others.

    With --json, each object has the keys file, width, invert (true if dark on light), art, url
    (permanent URL of the art) and stored (true if no conversion was needed), or, for a file that
    fails, file and error.

    Art is printed only if it is safe on a terminal: printable text and escape codes for colours.
    Otherwise the file fails.
    """
    from asciist.client import convert as convert_with_service
    from asciist.client import download

    chosen = options.for_conversion()

    def convert_one(name: str, image: bytes) -> Result:
        with upload_progress(name) as on_progress:
            art = convert_with_service(
                image, url=url, timeout_seconds=timeout, on_progress=on_progress, **chosen
            )
        fields = {
            "width": chosen["width"],
            "invert": art.is_dark_on_light,
            **(movement_of(art.animation) if art.animation else {"art": art.text}),
            "url": art.url,
            "stored": art.was_stored,
        }
        return Result(
            fields,
            lambda form: download(art, cast("Suffix", form.suffix), timeout_seconds=timeout),
        )

    convert_each(names, convert_one, as_json=options.as_json, output=options.output)


@main.command(
    "test",
    cls=_CommandWithSections,
    short_help="Convert images without the service, as without a command.",
    sections={
        "Examples": [
            ("asciist test photo.jpg", ""),
            ("asciist test --style ramp --chars ' .oO' --invert *.png", ""),
            ("asciist test --json photo.jpg | jq -r .art", ""),
        ],
    },
)
@with_options
def test(options: ChosenOptions, names: tuple[str, ...]) -> None:
    """Convert images in this process, without the service, and print the art: the same as without a
    command.

    With --json, each object has the keys file, width, invert (true if dark on light) and art, or,
    for a file that fails, file and error. With --animate, that of an animation has, instead of art,
    plays (0 if endless), shown_frames of image_frames, and frames, each with art and milliseconds.
    """
    _convert_here(options, names)


@main.command(
    cls=_CommandWithSections,
    short_help="Print a shell completion script.",
    sections={
        "Installation": [
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
    """Print a script that lets the shell complete commands, options, styles and file names."""
    from click.shell_completion import shell_complete

    shell_complete(main, {}, "asciist", "_ASCIIST_COMPLETE", f"{shell}_source")
