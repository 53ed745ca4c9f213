"""What the documents say is what the code does, in both directions."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from asciist.conversion import DEFAULT_WIDTH, STYLES, ConversionOptions, convert
from asciist.limits import Limits
from asciist.options import COLORS
from asciist.settings import Settings
from service.errors import STATUSES
from tests.serving import Server

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
DOCUMENTS = sorted(
    path for path in ROOT.rglob("*.md") if not re.search(r"(^|/)(\.|node_modules/)", str(path.relative_to(ROOT)))
)


def section(title: str) -> str:
    return README.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def commands(text: str) -> list[str]:
    """The lines to type into a shell, but for those that set up or start the whole."""
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    lines = [line.partition(" #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if not line.startswith("make ")]


def variables(owner: type) -> set[str]:
    return {f"ASCIIST_{field.name.upper()}" for field in fields(owner) if field.name != "limits"}


def test_the_sample_is_real() -> None:
    sample = re.search(r"\$ curl --data-binary @(\S+) '[^'\n]*width=(\d+)'\n(.*?)~~~", README, re.DOTALL)
    assert sample
    image = (ROOT / sample[1]).read_bytes()

    assert sample[3] == convert(image, ConversionOptions(width=int(sample[2])), Limits()) + "\n"


def test_every_setting_is_documented_and_every_documented_setting_exists() -> None:
    documented = set(re.findall(r"`(ASCIIST_[A-Z_]+)`", README))

    assert documented == variables(Settings) | variables(Limits)


def test_the_defaults_are_as_documented() -> None:
    rows = dict(re.findall(r"^\| `(ASCIIST_[A-Z_]+)`[^|]*\| `([^`]+)` \|", section("Settings"), re.MULTILINE))
    settings = Settings()

    assert rows.pop("ASCIIST_DATA_DIR") == "~/.cache/asciist"
    assert rows == {name: str(getattr(settings, name.removeprefix("ASCIIST_").lower())) for name in rows}
    limits = re.findall(r"^\|[^|]*\| (\d+) [^|]*\| `(ASCIIST_[A-Z_]+)` \|", section("Limits"), re.MULTILINE)
    assert len(limits) == len(variables(Limits)) + 1
    for value, name in limits:
        key = name.removeprefix("ASCIIST_").lower()
        assert int(value) == getattr(settings.limits, key, None) or int(value) == getattr(settings, key)


def test_every_option_is_documented_with_its_values_and_default() -> None:
    table = re.findall(r"^\| `(\w+)` \| (.*) \| (.*)\|$", section("Options"), re.MULTILINE)
    rows = {name: (text, default) for name, text, default in table}

    assert list(rows) == [field.name for field in fields(ConversionOptions)]
    for name, values in (("style", STYLES), ("color", COLORS)):
        assert re.findall(r"(?:^|; )`(\w+)`", rows[name][0]) == list(values)
    options = ConversionOptions(width=DEFAULT_WIDTH)
    for name, (_, default) in rows.items():
        value = getattr(options, name)
        assert default.partition("`")[2].partition("`")[0] == (str(value).lower() if value != "" else "")


def test_what_a_cell_counts_for_is_documented() -> None:
    row = re.search(r"^\| the whole of it; ([^|]*)\|", section("Limits"), re.MULTILINE)
    assert row

    assert [int(number) for number in re.findall(r"\d+", row[1])] == [
        ConversionOptions(width=1, style=style, color=color).cell_weight
        for color, style in (
            *(("none", "braille"), ("none", "blocks")),
            *(("ansi", "ramp"), ("html", "ramp"), ("ansi", "blocks"), ("html", "blocks")),
        )
    ]


def test_every_status_is_documented() -> None:
    documented = {int(status) for status in re.findall(r"^\| (\d{3}) \|", section("Errors"), re.MULTILINE)}

    assert documented == set(STATUSES.values()) | {405, 500}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)\)", document.read_text()):
        assert target.startswith("https://") or (document.parent / target).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_that_is_named_exists(document: Path) -> None:
    for name in re.findall(r"`((?:asciist|service|lambda_worker|tests|docs|examples|bench)/[\w./-]*)`", document.read_text()):
        assert (ROOT / name).exists(), name


def test_every_target_that_is_named_is_one() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

    for document in DOCUMENTS:
        assert set(re.findall(r"`make ([a-z-]+)`|^make ([a-z-]+)", document.read_text(), re.MULTILINE)) <= {
            pair for target in targets for pair in ((target, ""), ("", target))
        }


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("store"))
    yield server
    server.stop()


WRONG_ON_PURPOSE = {
    "curl -T README.md http://localhost:27244": "unknown image format; JPEG, PNG, GIF, WebP and BMP can be converted\n",
    "curl -T examples/cat.jpg 'http://localhost:27244/?width=0'": "width must be a whole number from 1 to 1000\n",
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lines", "number"),
    [
        (commands(section("Use it")) + commands(section("Options")), 18),
        (commands((ROOT / "docs/tour.md").read_text()), 18),
        (commands((ROOT / "docs/gallery.md").read_text()), 9),
    ],
    ids=["README", "tour", "gallery"],
)
def test_every_command_works_in_the_order_it_stands(server: Server, lines: list[str], number: int) -> None:
    assert shutil.which("curl"), "curl is needed to try the documents' commands: apt-get install curl"
    assert len(lines) >= number
    for line in lines:
        here = line.replace("localhost:27244", f"127.0.0.1:{server.port}")
        here = here.replace(".venv/bin/", f"{Path(sys.executable).parent}/")
        here = here.replace("curl ", "curl --silent --show-error --fail-with-body ")
        run = subprocess.run(
            ["bash", "-o", "pipefail", "-c", here],
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
            env={"PATH": "/usr/bin:/bin", "ASCIIST_URL": server.url, "COLUMNS": "70"},
        )
        if line in WRONG_ON_PURPOSE:
            assert (run.returncode, run.stdout) == (22, WRONG_ON_PURPOSE[line])
        else:
            assert (run.returncode, run.stderr) == (0, ""), line
            assert len(run.stdout) > 200, line


@pytest.mark.slow
def test_the_python_of_the_readme_works(server: Server) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    here = program.replace("width=60", f"width=60, url={server.url!r}")
    run = subprocess.run([sys.executable, "-c", here], capture_output=True, text=True, check=False, cwd=ROOT)

    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.startswith(convert((ROOT / "examples/cat.jpg").read_bytes(), ConversionOptions(width=60), Limits()))
    assert f" {server.url}/" in f" {run.stdout.splitlines()[-2]}"
