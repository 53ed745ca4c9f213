"""The command as a shell runs it: art on standard output, errors on standard error, and a status that says which."""

import os
import pty
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from werkzeug.serving import make_server

from asciist.conversion import STYLES, ConversionOptions, convert
from asciist.conversion.options import COLORS
from asciist.limits import Limits

CAT = Path(__file__).parent.parent / "examples" / "cat.jpg"


def asciist(*arguments: str, stdin: bytes | None = None, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "asciist.cli", *arguments],
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        check=False,
        env={**os.environ, "COLUMNS": "70", "LINES": "24", **environment},
    )


def art(width: int, **options: Any) -> bytes:
    return convert(CAT.read_bytes(), ConversionOptions(width=width, **options), Limits()).encode() + b"\n"


def on_a_terminal(*arguments: str, **environment: str) -> bytes:
    """What the command writes to a terminal, whose width is 40."""
    terminal = {"COLUMNS": "40", "LINES": "24", "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    inherited = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", *terminal)}
    master, slave = pty.openpty()
    command = subprocess.Popen(
        [sys.executable, "-m", "asciist.cli", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=slave,
        env=inherited | terminal | environment,
    )
    os.close(slave)
    written = b""
    with suppress(OSError):  # how Linux says that nobody holds the other end any more
        while part := os.read(master, 65_536):
            written += part
    os.close(master)
    assert command.wait() == 0
    return written.replace(b"\r\n", b"\n")


@pytest.fixture
def url(app: Flask) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_test_converts_a_file_without_the_service() -> None:
    run = asciist("test", "-w", "40", str(CAT))

    assert (run.returncode, run.stdout, run.stderr) == (0, art(40), b"")


def test_test_reads_standard_input() -> None:
    assert asciist("test", "-w", "40", stdin=CAT.read_bytes()).stdout == art(40)
    assert asciist("test", "-w", "40", "-", stdin=CAT.read_bytes()).stdout == art(40)


def test_the_width_is_the_terminals() -> None:
    assert asciist("test", str(CAT)).stdout == art(70)


def test_convert_goes_through_the_service(url: str) -> None:
    run = asciist("convert", "-u", url, "-w", "40", str(CAT))
    assert (run.returncode, run.stdout, run.stderr) == (0, art(40), b"")

    assert asciist("convert", "-u", url + "/", stdin=CAT.read_bytes()).stdout == art(70)
    assert asciist("convert", str(CAT), ASCIIST_URL=url).stdout == art(70)


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (("--style", "braille"), {"style": "braille"}),
        (("-s", "ramp", "--invert"), {"style": "ramp", "invert": True}),
        (("--no-invert",), {"invert": False}),
        (("-s", "ramp", "--chars", " .&+é█"), {"style": "ramp", "chars": " .&+é█"}),
        (("-s", "ramp", "--chars", "^@"), {"style": "ramp", "chars": "^@"}),
        (("--color", "none"), {}),
        (("--color", "ansi"), {"color": "ansi"}),
        (("--color", "html", "-s", "blocks"), {"color": "html", "style": "blocks"}),
    ],
)
def test_both_commands_take_the_same_options(url: str, arguments: tuple[str, ...], options: dict[str, Any]) -> None:
    for command in (("test",), ("convert", "-u", url)):
        run = asciist(*command, "-w", "40", *arguments, str(CAT))
        assert (run.returncode, run.stdout, run.stderr) == (0, art(40, **options), b"")


def test_colour_is_for_a_terminal_that_says_it_has_it_and_nobody_minds(url: str) -> None:
    for command in (("test",), ("convert", "-u", url)):
        assert on_a_terminal(*command, str(CAT)) == art(40, color="ansi")
    assert on_a_terminal("test", str(CAT), COLORTERM="24bit", NO_COLOR="") == art(40, color="ansi")

    for environment in ({"NO_COLOR": "1"}, {"TERM": "dumb"}, {"COLORTERM": ""}, {"COLORTERM": "yes"}):
        assert on_a_terminal("test", str(CAT), **environment) == art(40)
    assert on_a_terminal("test", "--color", "none", str(CAT)) == art(40)
    assert on_a_terminal("test", "--color", "ansi", str(CAT), NO_COLOR="1") == art(40, color="ansi")


def test_there_is_no_colour_in_a_pipe() -> None:
    assert asciist("test", str(CAT), COLORTERM="truecolor", TERM="xterm", NO_COLOR="").stdout == art(70)


def test_the_help_names_every_style_and_colour() -> None:
    text = asciist("test", "--help").stdout.decode()

    assert all(re.search(rf"\b{name}\b", text) for name in (*STYLES, *COLORS))


def test_an_output_that_cannot_show_the_art_is_told_of() -> None:
    run = asciist("test", "-s", "braille", str(CAT), PYTHONIOENCODING="latin-1")

    assert (run.returncode, run.stdout) == (1, b"")
    assert b"PYTHONIOENCODING=utf-8" in run.stderr
    assert asciist("test", "-s", "braille", str(CAT), PYTHONIOENCODING="utf-8").stdout == art(70, style="braille")


@pytest.mark.parametrize(
    ("arguments", "stdin", "status", "words"),
    [
        (("test", "nowhere.jpg"), None, 2, "nowhere.jpg"),
        (("test", "-w", "0", str(CAT)), None, 2, "1<=x<=1000"),
        (("test", "-w", "wide", str(CAT)), None, 2, "wide"),
        (("test", "-s", "oil", str(CAT)), None, 1, "asciist: style must be one of: "),
        (("test", "-s", "ramp", "--chars", "漢字", str(CAT)), None, 1, "asciist: chars must be printable"),
        (("test", "--color", "cmyk", str(CAT)), None, 2, "'auto', 'none', 'ansi', 'html'"),
        (("test", __file__), None, 1, "asciist: unknown image format"),
        (("test",), b"", 1, "asciist: standard input is empty"),
        (("test",), CAT.read_bytes()[:5000], 1, "asciist: the image is damaged"),
        (("test", str(Path(__file__).parent)), None, 2, "directory"),
        (("convert", "-u", "http://127.0.0.1:9", str(CAT)), None, 1, "asciist: cannot reach http://127.0.0.1:9"),
        (("convert", "-u", "ftp://example", str(CAT)), None, 1, "not an http address"),
        (("convert", "-u", "file:///etc/passwd", str(CAT)), None, 1, "not an http address"),
        (("paint",), None, 2, "No such command"),
    ],
)
def test_errors_go_to_standard_error(arguments: tuple[str, ...], stdin: bytes | None, status: int, words: str) -> None:
    run = asciist(*arguments, stdin=stdin)

    assert (run.returncode, run.stdout) == (status, b"")
    assert words in run.stderr.decode()
    assert b"Traceback" not in run.stderr


def test_what_the_service_says_is_passed_on(url: str) -> None:
    run = asciist("convert", "-u", url, stdin=b"not an image")

    assert (run.returncode, run.stdout) == (1, b"")
    assert run.stderr.startswith(b"asciist: unknown image format")


def test_an_option_that_is_no_text_is_told_of(url: str) -> None:
    for command in (("test",), ("convert", "-u", url)):
        run = asciist(*command, "-s", "ramp", "--chars", os.fsdecode(b"\xff."), str(CAT))
        assert (run.returncode, run.stdout) == (2, b"")
        assert b"'--chars': it is not printable text" in run.stderr


def test_a_closed_pipe_is_the_readers_choice() -> None:
    command = f'"{sys.executable}" -m asciist.cli test -w 1000 "{CAT}" | head -c 10'
    run = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, check=False)

    assert (run.returncode, len(run.stdout), run.stderr) == (0, 10, b"")


def test_nothing_is_read_from_a_terminal() -> None:
    master, slave = pty.openpty()
    run = subprocess.run([sys.executable, "-m", "asciist.cli", "test"], stdin=slave, capture_output=True, check=False)
    os.close(master)
    os.close(slave)

    assert (run.returncode, run.stderr) == (1, b"asciist: no image: name a FILE or pipe one in\n")


def test_help_and_version() -> None:
    for arguments in ((), ("--help",), ("serve", "-h"), ("convert", "--help"), ("test", "--help")):
        run = asciist(*arguments)
        assert b"Usage:" in run.stdout + run.stderr
    assert b"0.1.0" in asciist("--version").stdout


def test_serve_refuses_wrong_settings_with_all_their_names() -> None:
    run = asciist("serve", ASCIIST_BACKEND="abacus", PORT="many", ASCIIST_DATA_DIRR="x")

    assert run.returncode == 1
    for words in ("ASCIIST_BACKEND='abacus' is not one of: embedded", "ASCIIST_PORT='many'", "did you mean ASCIIST_DATA_DIR?"):
        assert words in run.stderr.decode()
