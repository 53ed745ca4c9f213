"""The documentation matches the code: every setting, option, limit and status is documented, and
every command works."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import MISSING, fields
from pathlib import Path

import pytest

from asciist import formats
from asciist.cli import main
from asciist.conversion import DEFAULT_WIDTH, STYLES, ConversionOptions
from asciist.limits import Limits
from asciist.options import COLORS
from asciist.settings import READ_ONLY_MARKER, Settings
from docs import generate
from service.errors import STATUSES
from service.refusal import REJECTIONS
from tests.groups import failing
from tests.serving import Server
from tools.testing.drawing import convert

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
REFERENCE = (ROOT / "docs" / "reference.md").read_text()
WRITTEN = {"node_modules", "cdk.out", "azure.out"}
"""Folders that tools write."""


def documents(folder: Path) -> Iterator[Path]:
    """Yield the Markdown files in a folder of the checkout and below."""
    for path in folder.iterdir():
        if path.name.startswith(".") or path.name in WRITTEN:
            continue
        if path.is_dir():
            yield from documents(path)
        elif path.suffix == ".md":
            yield path


DOCUMENTS = sorted(documents(ROOT))


def section(title: str) -> str:
    """Return a second-level section of the reference."""
    return REFERENCE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def table(text: str) -> list[list[str]]:
    """Return the cells of each row of the first Markdown table in `text`, without its head."""
    lines = re.search(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert lines
    return [
        re.split(r"(?<!\\)\|", line)[1:-1]
        for line in re.sub(r" *\| *", "|", lines[0]).splitlines()[2:]
    ]


def commands(text: str) -> list[str]:
    """Return the shell commands of a document, except those of make."""
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    lines = [line.partition(" #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if not line.startswith("make ")]


def variables(owner: type) -> set[str]:
    return {f"ASCIIST_{field.name.upper()}" for field in fields(owner) if field.name != "limits"}


def anchors(document: Path) -> set[str]:
    """Return GitHub's anchors of a document's headings."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_the_command_and_the_metrics_list_the_formats() -> None:
    """The page, the usage text and the generated documents take the list from `asciist.formats`."""
    assert formats.LISTED in " ".join(README.split())
    assert formats.LISTED in " ".join((main.help or "").split())
    moving = re.search(r"an animated (.*?) plays", " ".join((main.help or "").split()))
    assert moving is not None
    assert {*re.split(", | or ", moving[1])} == {
        row.name for row in formats.FORMATS if row.is_animated
    }
    tags = re.search(
        r"`format` is one of (.*?), `style`",
        " ".join((ROOT / "docs/metrics.md").read_text().split()),
    )
    assert tags is not None
    assert re.findall(r"`(\w+)`", tags[1]) == sorted(name.lower() for name in formats.MEDIA_TYPES)


def test_the_readme_is_at_most_6000_bytes() -> None:
    assert len(README.encode()) <= 6000


@pytest.mark.parametrize(
    "document", generate.TEMPLATES, ids=lambda path: str(path.relative_to(ROOT))
)
def test_generated_documents_are_up_to_date(document: Path) -> None:
    assert document.read_text() == generate.render(document), (
        "run: .venv/bin/python -m docs.generate"
    )


@pytest.mark.parametrize("document", generate.PARTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_generated_parts_of_documents_are_up_to_date(document: Path) -> None:
    assert document.read_text() == generate.render_parts(document), (
        "run: .venv/bin/python -m docs.generate"
    )


def test_every_setting_is_documented_and_every_documented_setting_exists() -> None:
    known = variables(Settings) | variables(Limits)

    assert set(re.findall(r"`(ASCIIST_[A-Z_]+)`", REFERENCE)) == known
    for document in DOCUMENTS:
        assert set(re.findall(r"`(ASCIIST_[A-Z_]+)", document.read_text())) <= known | {
            "ASCIIST_URL"
        }, document


def test_documented_defaults_of_settings_are_the_defaults() -> None:
    rows = {
        name.strip("`"): default.strip("`")
        for name, default, _ in table(section("Settings"))
        if "`" in default
    }

    assert rows.pop("ASCIIST_DATA_DIR") == "~/.cache/asciist"
    assert rows == {
        f"ASCIIST_{field.name.upper()}": str(field.default)
        for field in fields(Settings)
        if field.default not in ("", MISSING)
    }


def test_documented_limits_are_the_limits() -> None:
    rows = {name.strip("`"): int(value.strip("`")) for name, value, _ in table(section("Limits"))}

    assert rows == {f"ASCIIST_{field.name.upper()}": field.default for field in fields(Limits)}


def test_every_setting_and_limit_has_a_meaning() -> None:
    for name, _, meaning in table(section("Settings")) + table(section("Limits")):
        assert len(meaning) > 10, name


def test_every_option_is_documented_with_its_values_and_default() -> None:
    rows = {
        name.strip("`"): (values, default.strip("`"))
        for name, values, default, _ in table(section("Options"))
    }

    assert list(rows) == [field.name for field in fields(ConversionOptions)]
    for name, values in (("style", STYLES), ("color", COLORS)):
        assert re.findall(r"`(\w+)`", rows[name][0]) == list(values)
    options = ConversionOptions(width=DEFAULT_WIDTH)
    for name, (_, default) in rows.items():
        value = getattr(options, name)
        assert default == (str(value).lower() if value != "" else "")


def test_every_style_and_colour_is_described() -> None:
    assert re.findall(r"^- `(\w+)` ", section("Options"), re.MULTILINE) == [*STYLES, *COLORS]


def test_the_weight_of_a_cell_is_documented() -> None:
    rows = table(section("Limits").partition("A cell")[2])

    assert {style.strip("`"): [int(weight) for weight in weights] for style, *weights in rows} == {
        style: [
            ConversionOptions(width=1, style=style, color=color).cell_weight for color in COLORS
        ]
        for style in STYLES
    }


def test_every_status_is_documented() -> None:
    assert {int(row[0]) for row in table(section("Errors"))} == set(STATUSES.values()) | {
        status for status, _ in REJECTIONS.values()
    } | {405, 500}


def test_every_link_has_a_target() -> None:
    def has_targets(document: Path) -> None:
        text = document.read_text()
        for target in re.findall(r"\]\(([^)#\s]+)\)", text) + re.findall(
            r'(?:src|srcset)="([^"]+)"', text
        ):
            assert target.startswith("https://") or (document.parent / target).exists(), target
        for target, anchor in re.findall(r"\]\(([^)#\s:]*)#([^)\s]+)\)", text):
            assert anchor in anchors(document.parent / target if target else document), anchor

    assert failing(DOCUMENTS, has_targets, str) == {}


def test_every_named_file_exists() -> None:
    def names_files(document: Path) -> None:
        for name in re.findall(
            r"`((?:asciist|service|lambda_worker|packages|stacks|environments|operations|tests|docs"
            r"|bench|tools)/[\w./-]*)`",
            document.read_text(),
        ):
            # the latter names an object
            assert (ROOT / name).exists() or name == READ_ONLY_MARKER, name

    assert failing(DOCUMENTS, names_files, str) == {}


def test_every_named_make_target_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

    for document in DOCUMENTS:
        assert set(
            re.findall(r"`make ([a-z-]+)`|^make ([a-z-]+)", document.read_text(), re.MULTILINE)
        ) <= {pair for target in targets for pair in ((target, ""), ("", target))}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("store"))
    yield server
    server.stop()


def run(command: str, server: Server) -> "subprocess.CompletedProcess[str]":
    """Run a documented command against `server`. curl exits with 22 if the status is an error."""
    here = command.replace("localhost:27244", f"127.0.0.1:{server.port}")
    here = here.replace(".venv/bin/", f"{Path(sys.executable).parent}/")
    here = here.replace("curl ", "curl --silent --show-error --fail-with-body ")
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", here],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "ASCIIST_URL": server.url, "COLUMNS": "70"},
    )


EXPECTED_ERRORS = {
    "curl -T README.md http://localhost:27244": (
        "unknown image format: send JPEG, PNG, GIF, WebP, AVIF, TIFF or BMP\n"
    ),
    "curl -T docs/examples/cat.jpg 'http://localhost:27244/?width=0'": (
        "width must be a whole number from 1 to 1000\n"
    ),
}
"""Output of the commands that demonstrate an error."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "minimum"),
    [("README.md", 6), ("docs/reference.md", 17), ("docs/tour.md", 21), ("docs/gallery.md", 9)],
)
def test_every_documented_command_works_in_order(server: Server, name: str, minimum: int) -> None:
    assert shutil.which("curl"), (
        "curl is needed to try the documents' commands: apt-get install curl"
    )
    lines = commands((ROOT / name).read_text())
    assert len(lines) >= minimum
    for line in lines:
        result = run(line, server)
        if line in EXPECTED_ERRORS:
            assert (result.returncode, result.stdout) == (22, EXPECTED_ERRORS[line])
        else:
            assert (result.returncode, result.stderr) == (0, ""), line
            assert len(result.stdout) > 200, line


@pytest.mark.slow
def test_the_readme_shows_the_output_of_its_first_command(server: Server) -> None:
    example = re.search(r"\n~~~\n\$ (asciist [^\n]+)\n(.*?)~~~\n", README, re.DOTALL)
    assert example

    assert run(f".venv/bin/{example[1]}", server).stdout == example[2]


@pytest.mark.slow
def test_documented_headers_are_sent(server: Server) -> None:
    rows = {
        name.strip("`"): value
        for name, value in table(section("HTTP API").partition("these headers:")[2])
    }
    result = run(
        "curl -o /dev/null -w '%{header_json}' -T docs/examples/horse.png"
        " 'http://localhost:27244/?invert=auto'",
        server,
    )
    headers = {name.title(): values[0] for name, values in json.loads(result.stdout).items()}

    assert {name.title() for name in rows} <= set(headers)
    assert rows["Cache-Control"].startswith(f"`{headers['Cache-Control']}`")
    assert f"`{headers['Cache-Status']}`" in rows["Cache-Status"]
    assert rows["Vary"] == f"`{headers['Vary']}`"


@pytest.mark.slow
def test_the_documented_python_examples_work(server: Server) -> None:
    blocking, asynchronous = (
        subprocess.run(
            [sys.executable, "-c", program.replace("width=60", f"width=60, url={server.url!r}")],
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
        )
        for program in re.findall(r"```python\n(.*?)```", REFERENCE, re.DOTALL)
    )

    for result in (blocking, asynchronous):
        assert (result.returncode, result.stderr) == (0, "")
    assert blocking.stdout.startswith(
        convert(
            (ROOT / "docs/examples/cat.jpg").read_bytes(), ConversionOptions(width=60), Limits()
        )
    )
    assert f" {server.url}/" in f" {blocking.stdout.splitlines()[-2]}"
    assert [line.startswith(f"{server.url}/") for line in asynchronous.stdout.splitlines()] == [
        True,
        True,
    ]
