"""Command-line options for a conversion, generated from the table in `asciist.options`."""

import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, Final

import click

from asciist.art.forms import FORMS, TXT, Form
from asciist.cli.terminal import is_background_light
from asciist.limits import Limits
from asciist.options import AUTO, COLORS, OPTIONS, Option
from asciist.options.kinds import Choice, Colour, Flag, Integer

_TRUECOLOR_VALUES: Final = ("truecolor", "24bit")
"""Values of COLORTERM that announce 24-bit colour."""

_TERMS_OF_16_COLOURS: Final = (
    "ansi",
    "cygwin",
    "konsole",
    "linux",
    "putty",
    "rxvt",
    "screen",
    "tmux",
    "xterm",
)
"""Prefixes of TERM for terminals with at least 16 colours."""

_OUTPUT_FORMS: Final = {
    f".{form.suffix}": form
    for form in FORMS.values()
    if form.write is not None and "." not in form.suffix
}
"""Forms of --output by suffix."""

_TERMINALS: Final = tuple(form.color for form in FORMS.values() if form.palette)
"""Values of --color with the colours of a terminal, the most colours first."""


@dataclass(frozen=True, kw_only=True)
class ChosenOptions:
    """Options given on the command line."""

    values: Mapping[str, Any]
    """Values by API name; None for an option that was not given."""
    as_json: bool
    output: Path | None
    """File for the art; None for standard output."""

    def for_conversion(self) -> dict[str, Any]:
        """Return the options of the conversion, keyed by their API names.

        The width and, on a terminal, the height default to the terminal's, if neither is given. The
        colour `auto` becomes the best that the terminal supports, and on a light terminal art is
        inverted. A picture has its own background, so the image determines the polarity. Other
        missing options are left to the service, which may be of another release with other
        defaults.
        """
        chosen = dict(self.values)
        if chosen["width"] is None and chosen["height"] is None and self._fits_terminal():
            # The last line is for the prompt.
            chosen["height"] = min(max(1, shutil.get_terminal_size().lines - 1), Limits().max_width)
        chosen["width"] = chosen["width"] or min(
            shutil.get_terminal_size().columns, Limits().max_width
        )
        if chosen["color"] == "auto":
            chosen["color"] = self._automatic_colour()
        if chosen["color"] == "none":
            del chosen["color"]
        if chosen["invert"] is None:
            chosen["invert"] = self._automatic_polarity(chosen.get("color"))
        return {name: value for name, value in chosen.items() if value is not None}

    def _fits_terminal(self) -> bool:
        """Return True if art is printed on a terminal, as text rather than a document."""
        return self.values["color"] != "html" and self._is_on_terminal()

    def _automatic_colour(self) -> str:
        """Return the colour for the suffix of --output, or for the terminal unless NO_COLOR
        (no-color.org) is set."""
        if self.output:
            return _colours_of(form_of(self.output))[0]
        return (
            _terminal_colour()
            if self._is_on_terminal() and not os.environ.get("NO_COLOR")
            else "none"
        )

    def _automatic_polarity(self, color: str | None) -> Any:
        """Return the value of `invert` for a terminal or a picture; None to leave it to the
        service."""
        if self.output and form_of(self.output).is_picture:
            return AUTO
        return (
            True if color != "html" and self._is_on_terminal() and is_background_light() else None
        )

    def _is_on_terminal(self) -> bool:
        """Return True if art is printed on a terminal, and not as JSON."""
        return (
            not self.output and not self.as_json and sys.stdout is not None and sys.stdout.isatty()
        )


def _terminal_colour() -> str:
    """Return the best value of the option `color` for the terminal, according to COLORTERM and
    TERM."""
    terminal = os.environ.get("TERM", "")
    # It may inherit the COLORTERM of another terminal.
    if terminal == "dumb":
        return "none"
    if os.environ.get("COLORTERM") in _TRUECOLOR_VALUES or terminal.endswith("-direct"):
        return "ansi"
    if "256color" in terminal:
        return "ansi256"
    return "ansi16" if terminal.startswith(_TERMS_OF_16_COLOURS) else "none"


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the conversion options, --output, --json and FILE to `command`, which gets `options`
    (ChosenOptions) and `names`."""

    @wraps(command)
    def wrapper(*, as_json: bool, output: Path | None, **arguments: Any) -> None:
        values = {name: arguments.pop(name) for name in OPTIONS}
        for name in _OPTIONS_WITH_AUTO:
            if arguments.pop(f"{AUTO}_{name}"):
                values[name] = AUTO
        if output:
            _check_output(output, values, as_json=as_json, names=arguments["names"])
        command(options=ChosenOptions(values=values, as_json=as_json, output=output), **arguments)

    for parameter in reversed(_PARAMETERS):
        wrapper = parameter(wrapper)
    return wrapper


def _check_output(
    output: Path, values: Mapping[str, Any], *, as_json: bool, names: tuple[str, ...]
) -> None:
    """Raise UsageError if --output contradicts another option."""
    form = form_of(output)
    colours = _colours_of(form)
    color = values["color"]
    flaw = ""
    if as_json:
        flaw = "--json prints the art: it cannot be used with --output."
    elif len(names) > 1:
        flaw = "--output takes the art of one FILE."
    elif color not in ("auto", *colours):
        flaw = (
            f"--color {color} does not suit a {output.suffix} file, which has:"
            f" {', '.join(colours)}."
        )
    elif values["animate"] and form.is_picture and not form.moves:
        flaw = f"A {output.suffix} file cannot move: use .png or .html, or leave out --animate."
    if flaw:
        raise click.UsageError(flaw, click.get_current_context())


def form_of(output: Path) -> Form:
    """Return the form that the suffix of a file selects."""
    return _OUTPUT_FORMS[output.suffix.lower()]


def _colours_of(form: Form) -> tuple[str, ...]:
    """Return the values of --color that a form can have, the default first."""
    if form.is_picture:
        return *_TERMINALS, TXT.color
    if form.palette:
        return form.color, *(color for color in _TERMINALS if color != form.color)
    return (form.color,)


def _output_file(
    _context: click.Context, _parameter: click.Parameter, value: str | None
) -> Path | None:
    """Return the file of --output, after checking its suffix; None for standard output."""
    if value in (None, "-"):
        return None
    output = Path(value)
    if output.suffix.lower() not in _OUTPUT_FORMS:
        raise click.BadParameter(f"{value!r} must end with one of: {', '.join(_OUTPUT_FORMS)}")
    return output


def _printable(
    _context: click.Context, _parameter: click.Parameter, value: str | None
) -> str | None:
    # also rejects surrogates: bytes that are not UTF-8
    if value is not None and not value.isprintable():
        raise click.BadParameter("not printable text")
    return value


def _parameter(option: Option) -> Callable[..., Any]:
    """Return the click decorator for an option, without a default: the service has the defaults."""
    kind = option.kind
    flag = option.name.replace("_", "-")
    flags = [option.name, f"--{flag}/--no-{flag}" if isinstance(kind, Flag) else f"--{flag}"]
    attributes: dict[str, Any] = {
        "help": f"{option.summary[0].upper()}{option.summary[1:]}.",
        "default": None,
    }
    if isinstance(kind, Integer):
        attributes |= {
            "type": click.IntRange(kind.minimum, kind.maximum(Limits())),
            "metavar": "NUMBER",
        }
    elif isinstance(kind, Choice):
        # The service, which may be of another release, decides which names are valid.
        attributes |= {
            "metavar": "NAME",
            "callback": _printable,
            "shell_complete": _completion(kind),
        }
    elif isinstance(kind, Colour):
        attributes |= {"metavar": "COLOUR", "callback": _printable}
    elif not isinstance(kind, Flag):
        attributes |= {"metavar": "TEXT", "callback": _printable}
    return click.option(
        *([option.short_flag] if option.short_flag else []),
        *flags,
        **(attributes | _OVERRIDES.get(option.name, {})),
    )


def _completion(kind: Choice) -> Callable[..., list[str]]:
    def complete(_context: click.Context, _parameter: click.Parameter, beginning: str) -> list[str]:
        return [name for name in kind.choices if name.startswith(beginning)]

    return complete


_OPTIONS_WITH_AUTO: Final = tuple(
    name
    for name, option in OPTIONS.items()
    if isinstance(option.kind, Flag) and option.kind.has_auto
)
"""Options with a third flag, such as `--auto-invert` beside `--invert` and `--no-invert`."""

_OVERRIDES: Final[dict[str, dict[str, Any]]] = {
    "width": {"metavar": "COLUMNS", "show_default": "the terminal's width"},
    "height": {
        "metavar": "ROWS",
        "show_default": "the terminal's height, without --width on a terminal",
    },
    "invert": {
        "help": "Draw dark characters on a light background, or light ones.",
        "show_default": "by the terminal's background",
    },
    "color": {
        "type": click.Choice(["auto", *COLORS]),
        "metavar": "KIND",
        "callback": None,
        "shell_complete": None,
        "default": "auto",
        "show_default": True,
        "help": (
            "Colour: none, html (an HTML document), escape codes for 24-bit colours (ansi), 256 or"
            " 16 colours (ansi256, ansi16), or auto: what the terminal can show."
        ),
    },
}
"""Attributes of the options with a default that depends on the terminal, by option name."""

_PARAMETERS: Final = (
    *map(_parameter, OPTIONS.values()),
    *(
        click.option(f"--{AUTO}-{name}", is_flag=True, help=f"Let the image decide about --{name}.")
        for name in _OPTIONS_WITH_AUTO
    ),
    click.option(
        "-o",
        "--output",
        metavar="FILE",
        type=click.Path(),
        callback=_output_file,
        help=(
            f"Write the art to FILE, whose suffix selects its form: {', '.join(_OUTPUT_FORMS)}."
            " - is standard output."
        ),
    ),
    click.option(
        "--json",
        "as_json",
        is_flag=True,
        help="Print one JSON object per FILE, one per line, also for errors.",
    ),
    click.argument("names", metavar="[FILE]...", nargs=-1, type=click.Path()),
)
