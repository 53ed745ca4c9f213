"""Generate the documents whose tables come from the code: `python -m docs.generate`.

docs/templates/ has a template with the prose of each document. This module collects the rows of the tables.
"""

import ast
import inspect
import re
from collections.abc import Iterable, Iterator
from dataclasses import MISSING, Field, fields
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from click.testing import CliRunner
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from asciist import cli
from asciist.errors import AsciistError
from asciist.limits import Limits
from asciist.options import COLORS, STYLES, ConversionOptions
from asciist.settings import BACKENDS, METRICS_SINKS, REPLY_PATHS, Settings
from asciist.telemetry import logs
from asciist.telemetry.metrics import CATALOGUE
from service.errors import STATUSES
from service.openapi import document as openapi_document
from stacks.environment import CHOICES, Sizes
from stacks.environment import Environment as Deployment

DOCS: Final = Path(__file__).parent
TEMPLATES: Final = {
    DOCS / "reference.md": "reference.md.jinja",
    DOCS / "decisions" / "README.md": "decisions.md.jinja",
}
"""Template of each generated document."""

_COMPUTED_DEFAULTS: Final = {
    "data_dir": "`~/.cache/asciist`",
    "instance": "the host name",
    "workers": "the number of CPU cores",
}
"""Defaults that depend on the machine."""

_CHOICES: Final = {"backend": BACKENDS, "metrics": METRICS_SINKS, "reply_path": REPLY_PATHS}
"""Values of settings that accept only these."""

_BODY_NAMES: Final = {
    "application/json": "JSON",
    "application/octet-stream": "raw",
    "multipart/form-data": "form",
}
"""Names that the reference uses for the content types of request bodies."""

_HTTP_ERRORS: Final = {
    404: "No resource has this URL.",
    405: "The URL does not accept this method. `Allow` lists the methods it accepts.",
    414: "The URL is longer than 8 kB.",
    417: "`Expect` is not `100-continue`.",
    431: "There are more than 100 headers, one has more than 8 kB, or all together have more than 16 kB.",
    500: "Internal error. The service's log has the details.",
}
"""Meaning of the statuses that have no class in `asciist.errors`."""


def render(path: Path) -> str:
    """Return the current text of the generated document at `path`."""
    environment = Environment(  # noqa: S701 - Markdown, not HTML
        loader=FileSystemLoader(DOCS / "templates"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
    )
    contract = openapi_document(Limits(), "http://localhost:27244")
    return environment.get_template(TEMPLATES[path]).render(
        table=_table,
        help_of=_help,
        calls=list(_calls(contract)),
        options=list(_options(contract)),
        cell_weights=list(_cell_weights()),
        color_titles=[f"`{color}`" for color in COLORS],
        limits=list(_variables(Limits)),
        settings=list(_variables(Settings)),
        environment=list(_keys()),
        sizes=[(f"`{name}`", meaning) for name, meaning in _field_docstrings(Sizes).items()],
        errors=sorted(_errors()),
        metrics=[(f"`{metric.name}`", metric.type, metric.unit, _code_list(metric.tags)) for metric in CATALOGUE.values()],
        log_fields=[(f"`{name}`", meaning) for name, meaning in logs.FIELDS.items()],
        decisions=list(_decisions()),
    )


def _table(titles: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Return a Markdown table, without a newline at its end."""
    titles = list(titles)
    cells = [titles, ["---" for _ in titles], *([str(cell).replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def _code_list(values: Iterable[object]) -> str:
    return ", ".join(f"`{value}`" for value in values)


def _calls(contract: dict[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    """Yield (call, summary, request bodies, statuses) of each operation."""
    for path, operations in contract["paths"].items():
        for method, operation in operations.items():
            bodies = ", ".join(_BODY_NAMES[body] for body in operation.get("requestBody", {}).get("content", {}))
            yield f"`{method.upper()} {path}`", operation["summary"], bodies, ", ".join(operation["responses"])


def _options(contract: dict[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    """Yield (name, values, default, description) of each conversion option."""
    for parameter in contract["paths"]["/"]["post"]["parameters"]:
        schema = parameter["schema"]
        default = str(schema.get("default", ""))
        if schema["type"] == "boolean":
            default = default.lower()
        yield f"`{parameter['name']}`", _values(schema), f"`{default}`" if default else "", parameter["description"]


def _values(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return _code_list(schema["enum"])
    if schema["type"] == "integer":
        return f"{schema['minimum']} to {schema['maximum']}"
    if schema["type"] == "boolean":
        return "`true`, `false`"
    return "text"


def _cell_weights() -> Iterator[tuple[object, ...]]:
    """Yield (style, characters for which a cell counts in each of `COLORS`)."""
    for style in STYLES:
        yield f"`{style}`", *(ConversionOptions(width=1, style=style, color=color).cell_weight for color in COLORS)


def _variables(owner: type) -> Iterator[tuple[str, str, str]]:
    """Yield (variable, default, meaning) of each field of a settings class."""
    meanings = _field_docstrings(owner)
    for field in fields(owner):
        if field.name != "limits":
            choices = f" One of {_code_list(_CHOICES[field.name])}." if field.name in _CHOICES else ""
            yield f"`ASCIIST_{field.name.upper()}`", _default(field), meanings[field.name] + choices


def _keys() -> Iterator[tuple[str, str, str]]:
    """Yield (key, default, meaning) of each key of a deployment's file, except for its sizes."""
    meanings = _field_docstrings(Deployment)
    for field in fields(Deployment):
        if field.default is not MISSING:
            choices = f" One of {_code_list(CHOICES[field.name])}." if field.name in CHOICES else ""
            default = str(field.default).lower() if isinstance(field.default, bool) else field.default
            yield f"`{field.name}`", f"`{default}`" if default else "", meanings[field.name] + choices


def _default(field: "Field[Any]") -> str:
    if field.default is MISSING:
        return _COMPUTED_DEFAULTS[field.name]
    return f"`{field.default}`" if field.default != "" else ""


def _field_docstrings(owner: type) -> dict[str, str]:
    """Return the docstring below each field of a dataclass, on one line."""
    definition = next(node for node in ast.walk(ast.parse(inspect.getsource(owner))) if isinstance(node, ast.ClassDef))
    docstrings = {}
    for field, docstring in pairwise(definition.body):
        match field, docstring:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                docstrings[name] = _one_line(text)
    return docstrings


def _errors() -> Iterator[tuple[int, str, str]]:
    """Yield (status, meaning, class) of each error that a client can get."""
    yield from ((status, meaning, "") for status, meaning in _HTTP_ERRORS.items())
    for error in _leaves(AsciistError):
        status = next((STATUSES[base] for base in error.__mro__ if base in STATUSES), None)
        if status:
            yield status, _one_line(error.__doc__ or ""), f"`{error.__name__}`"


def _leaves(error: type[AsciistError]) -> Iterator[type[AsciistError]]:
    subclasses = [subclass for subclass in error.__subclasses__() if subclass.__module__ == AsciistError.__module__]
    if not subclasses:
        yield error
    for subclass in subclasses:
        yield from _leaves(subclass)


def _help(*arguments: str) -> str:
    """Return what the `asciist` command prints for `arguments` on a terminal of 100 columns."""
    result = CliRunner().invoke(
        cli.main, [*arguments, "--help"], prog_name="asciist", terminal_width=100, catch_exceptions=False
    )
    return result.output.rstrip("\n")


def _decisions() -> Iterator[tuple[str, str]]:
    """Yield (link, title) of each decision record."""
    for path in sorted((DOCS / "decisions").glob("[0-9]*.md")):
        heading = re.match(r"# (\d+): (.+)\n", path.read_text())
        if not heading:
            raise ValueError(f"{path.name} does not begin with '# NUMBER: TITLE'")
        yield f"[{heading[1]}]({path.name})", heading[2]


def _one_line(text: str) -> str:
    return " ".join(text.split())


if __name__ == "__main__":
    for path in TEMPLATES:
        path.write_text(render(path))
