"""The command in a subprocess: its output, error messages, exit status, help and shell
completion."""

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from asciist import conversion
from asciist.art.forms import FORMS
from asciist.conversion import STYLES, ConversionOptions
from asciist.limits import Limits
from asciist.options import COLORS
from asciist.protocol.links import NAME_PATTERN
from asciist.settings import Settings
from tests.reading import read_head
from tools.testing.drawing import convert

CAT = Path(__file__).parent.parent / "docs" / "examples" / "cat.jpg"
COFFEE = CAT.with_name("coffee.webp")
HORSE = CAT.with_name("horse.png")
NO_IMAGE = Path(__file__)
COMMANDS = ((), ("convert",), ("test",), ("serve",), ("completion",))


def asciist(
    *arguments: str, stdin: bytes | None = None, **environment: str
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "asciist.cli", *arguments],
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        check=False,
        env={**os.environ, "COLUMNS": "70", "LINES": "24", **environment},
    )


def art(width: int, image: Path = CAT, **options: Any) -> bytes:
    return (
        convert(image.read_bytes(), ConversionOptions(width=width, **options), Limits()).encode()
        + b"\n"
    )


def terminal_output(*arguments: str, stream: str = "stdout", **environment: str) -> bytes:
    """Run the command with `stream` connected to a terminal 40 columns wide, and return its output
    there."""
    terminal = {"COLUMNS": "40", "LINES": "24", "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    inherited = {
        name: value for name, value in os.environ.items() if name not in ("NO_COLOR", *terminal)
    }
    master, slave = pty.openpty()
    streams: dict[str, Any] = {
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        stream: slave,
    }
    with subprocess.Popen(
        [sys.executable, "-m", "asciist.cli", *arguments],
        **streams,
        env=inherited | terminal | environment,
    ) as command:
        os.close(slave)
        written = b""
        with suppress(OSError):  # Linux raises EIO once the other end is closed
            while part := os.read(master, 65_536):
                written += part
        os.close(master)
        assert command.wait() == 0
    return written.replace(b"\r\n", b"\n")


@contextmanager
def slow_service(*, seconds: float) -> Iterator[str]:
    """Run a server that takes `seconds` to receive an image and 0.2 seconds more to send its art;
    yield its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # a larger buffer would take the whole image at once
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)

        def serve() -> None:
            connection, _ = listener.accept()
            with connection, connection.makefile("rb") as stream:
                head = read_head(stream)
                length = int(re.findall(rb"Content-Length: (\d+)", head)[0])
                part = -(-length // 20)
                for _ in range(20):
                    if len(stream.read(part)) < part:
                        break
                    time.sleep(seconds / 20)
                time.sleep(0.2)
                head = (
                    b"HTTP/1.1 200 OK\r\nContent-Location: /5eed/width/2\r\nCache-Status: asciist;"
                    b" fwd=miss; stored\r\n"
                )
                with suppress(OSError):  # the client may have closed the connection
                    connection.sendall(head + b"Content-Length: 6\r\n\r\n.:\n:.\n")

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


@pytest.fixture
def unreachable_url() -> Iterator[str]:
    """URL of a local port that refuses connections and stays reserved during the test."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{reserved.getsockname()[1]}"


def test_the_command_test_converts_a_file_without_the_service() -> None:
    run = asciist("test", "-w", "40", str(CAT))

    assert (run.returncode, run.stdout, run.stderr) == (0, art(40), b"")


def test_without_a_command_images_are_converted_without_the_service(unreachable_url: str) -> None:
    for arguments in (
        ("-w", "40", str(CAT)),
        (str(CAT), "--width", "40"),
        ("-w40", "--", str(CAT)),
    ):
        run = asciist(*arguments, ASCIIST_URL=unreachable_url)
        assert (run.returncode, run.stdout, run.stderr) == (0, art(40), b"")


def test_without_arguments_an_image_is_read_from_a_pipe_or_file_or_the_help_is_printed() -> None:
    assert asciist(stdin=CAT.read_bytes()).stdout == art(70)
    with CAT.open("rb") as image:
        run = subprocess.run(
            [sys.executable, "-m", "asciist.cli"], stdin=image, capture_output=True, check=False
        )
    assert run.stdout == art(80)

    run = asciist()
    assert (run.returncode, run.stderr[:6]) == (2, b"Usage:")


def test_a_file_with_the_name_of_a_command_is_converted_by_its_path(tmp_path: Path) -> None:
    for name in ("serve", "-odd.jpg"):
        (tmp_path / name).write_bytes(CAT.read_bytes())
    run = subprocess.run(
        [sys.executable, "-m", "asciist.cli", "--", "-odd.jpg", "serve"],
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )

    assert (run.returncode, run.stdout) == (
        0,
        b"==> -odd.jpg <==\n" + art(80) + b"\n==> serve <==\n" + art(80),
    )
    run = subprocess.run(
        [sys.executable, "-m", "asciist.cli", "./serve"],
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert run.stdout == art(80)


@pytest.mark.parametrize(
    ("name", "arguments", "options"),
    [
        ("art.txt", (), {}),
        ("art.ansi", (), {"color": "ansi"}),
        ("art.ansi", ("--color", "ansi16"), {"color": "ansi16"}),
        ("art.HTML", ("-s", "blocks"), {"color": "html", "style": "blocks", "invert": "auto"}),
    ],
)
def test_the_suffix_of_the_output_selects_the_form_of_the_art(
    tmp_path: Path, name: str, arguments: tuple[str, ...], options: dict[str, Any]
) -> None:
    output = tmp_path / name
    run = asciist("-o", str(output), *arguments, str(CAT))

    assert (run.returncode, run.stdout, run.stderr) == (0, b"", b"")
    assert output.read_bytes() == art(70, **options)


@pytest.mark.parametrize(
    ("name", "arguments", "options"),
    [
        ("art.png", (), {"color": "ansi", "invert": "auto"}),
        ("art.SVG", ("--no-invert", "--color", "none"), {"invert": False}),
        (
            "art.svg",
            ("--invert", "--color", "ansi16", "-s", "blocks"),
            {"invert": True, "color": "ansi16", "style": "blocks"},
        ),
    ],
)
def test_an_output_can_be_a_picture_on_the_background_that_suits_the_art(
    url: str, tmp_path: Path, name: str, arguments: tuple[str, ...], options: dict[str, Any]
) -> None:
    output = tmp_path / name
    drawn = conversion.convert(CAT.read_bytes(), ConversionOptions(width=70, **options), Limits())
    picture = b"".join(FORMS[output.suffix.lower()[1:]].written(drawn))

    for command in ((), ("convert", "-u", url)):
        run = asciist(*command, "-o", str(output), *arguments, str(CAT))
        assert (run.returncode, run.stdout, run.stderr) == (0, b"", b"")
        assert output.read_bytes() == picture


def test_an_output_that_cannot_be_drawn_is_an_error(tmp_path: Path) -> None:
    output = tmp_path / "art.png"
    run = asciist(
        "-o", str(output), "-s", "ramp", "--chars", " \N{CYRILLIC SMALL LETTER ZHE}", str(CAT)
    )

    assert run.returncode == 1
    assert b"asciist: no picture of this art: the font lacks the character" in run.stderr
    assert not output.exists()


def test_convert_writes_art_of_the_service_to_a_file(url: str, tmp_path: Path) -> None:
    output = tmp_path / "art.ansi"

    assert asciist("convert", "-u", url, "-o", str(output), str(CAT)).stdout == b""
    assert output.read_bytes() == art(70, color="ansi")


def test_an_output_in_a_file_does_not_depend_on_the_terminal_but_for_its_width(
    tmp_path: Path,
) -> None:
    output = tmp_path / "art.ansi"

    assert (
        terminal_output("-o", str(output), str(CAT), COLORFGBG="0;15", NO_COLOR="1", LINES="5")
        == b""
    )
    assert output.read_bytes() == art(40, color="ansi")
    assert terminal_output("-o", "-", str(CAT)) == art(40, color="ansi", height=23)


def test_a_failed_conversion_leaves_the_output_as_it_was(tmp_path: Path) -> None:
    output = tmp_path / "art.txt"
    output.write_text("before")

    assert asciist("-o", str(output), str(NO_IMAGE)).returncode == 1
    assert output.read_text() == "before"


def test_the_command_test_reads_standard_input() -> None:
    assert asciist("test", "-w", "40", stdin=CAT.read_bytes()).stdout == art(40)
    assert asciist("test", "-w", "40", "-", stdin=CAT.read_bytes()).stdout == art(40)


def test_the_width_defaults_to_that_of_the_terminal() -> None:
    assert asciist("test", str(CAT)).stdout == art(70)


class Terminal:
    """A terminal controlled by the command, with a background colour; None if it does not answer
    the query for it."""

    def __init__(self, background: str | None) -> None:
        self._background = background

    def output(self, *arguments: str, **environment: str) -> bytes:
        """Run the command in this terminal, 40 columns wide, and return the printed art."""
        terminal, slave = pty.openpty()
        size = {"COLUMNS": "40", "LINES": "24", "TERM": "xterm", "NO_COLOR": "1", "COLORFGBG": ""}
        with subprocess.Popen(
            ["setsid", "--ctty", "--wait", sys.executable, "-m", "asciist.cli", *arguments],
            stdin=slave,
            stdout=slave,
            env=os.environ | size | environment,
        ) as command:
            os.close(slave)
            written = b""
            with suppress(OSError):  # Linux raises EIO once the other end is closed
                while part := os.read(terminal, 65_536):
                    written += part
                    if part.endswith(b"\x1b[c"):
                        answer = f"\x1b]11;{self._background}\x1b\\" if self._background else ""
                        os.write(terminal, f"{answer}\x1b[?1;2c".encode())
            os.close(terminal)
            assert command.wait() == 0
        return written.replace(b"\r\n", b"\n").removeprefix(b"\x1b]11;?\x1b\\\x1b[c")


@pytest.mark.parametrize(
    ("background", "environment", "invert"),
    [
        ("rgb:ffff/ffff/ffff", {}, True),
        ("rgb:f/e/d", {}, True),
        ("rgb:1e1e/1e1e/2e2e", {}, False),
        ("rgba:0000/0000/0000/ffff", {}, False),
        (None, {}, False),
        ("rgb:0/0/0", {"COLORFGBG": "0;15"}, True),
        ("rgb:ffff/ffff/ffff", {"COLORFGBG": "15;default;0"}, False),
        ("rgb:ffff/ffff/ffff", {"TERM": "dumb"}, False),
    ],
)
def test_art_is_inverted_on_a_terminal_with_a_light_background(
    background: str | None, environment: dict[str, str], invert: bool
) -> None:
    assert Terminal(background).output("test", str(CAT), **environment) == art(40, invert=invert)


def test_art_fits_both_sides_of_the_terminal_unless_a_size_is_given(
    tmp_path: Path, url: str
) -> None:
    tall = tmp_path / "tall.png"
    Image.linear_gradient("L").resize((100, 1000)).save(tall)
    for command in ((), ("test",), ("convert", "-u", url)):
        for arguments, options in (
            ((), {"width": 40, "height": 23}),
            (("--fit", "fill"), {"width": 40, "height": 23, "fit": "fill"}),
            (("--width", "40"), {"width": 40}),
            (("--height", "9"), {"width": 40, "height": 9}),
        ):
            assert terminal_output(*command, *arguments, str(tall), NO_COLOR="1") == art(
                image=tall, **options
            )
        # a file or a pipe has no height
        assert asciist(*command, str(tall)).stdout == art(70, image=tall)


def test_the_terminal_is_not_asked_if_the_command_says_how_to_draw() -> None:
    terminal = Terminal("rgb:ffff/ffff/ffff")

    assert terminal.output("test", "--no-invert", str(CAT)) == art(40)
    assert terminal.output("test", "--auto-invert", str(CAT)) == art(40, invert="auto")
    assert terminal.output("test", "--color", "html", str(CAT)) == art(
        40, color="html", invert="auto"
    )
    assert json.loads(terminal.output("test", "--json", str(CAT)))["invert"] is False


def test_the_command_convert_uses_the_service_at_the_url(url: str) -> None:
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
        (
            ("--color", "html", "-s", "blocks"),
            {"color": "html", "style": "blocks", "invert": "auto"},
        ),
        (("--color", "ansi16", "--paint", "text"), {"color": "ansi16", "paint": "text"}),
        (("--auto-invert",), {"invert": "auto"}),
        (("--background", "White"), {"background": "#ffffff"}),
        (("--height", "7"), {"height": 7}),
        (("--contrast", "-20", "--brightness", "30"), {"contrast": -20, "brightness": 30}),
        (("--height", "7", "--fit", "cover"), {"height": 7, "fit": "cover"}),
    ],
)
def test_both_commands_accept_the_same_options(
    url: str, arguments: tuple[str, ...], options: dict[str, Any]
) -> None:
    for command in (("test",), ("convert", "-u", url)):
        run = asciist(*command, "-w", "40", *arguments, str(CAT))
        assert (run.returncode, run.stdout, run.stderr) == (0, art(40, **options), b"")


def test_art_is_coloured_on_a_truecolor_terminal_unless_no_color_is_set(url: str) -> None:
    for command in (("test",), ("convert", "-u", url)):
        assert terminal_output(*command, str(CAT)) == art(40, color="ansi")
    assert terminal_output("test", str(CAT), COLORTERM="24bit", NO_COLOR="") == art(
        40, color="ansi"
    )

    for environment in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        assert terminal_output("test", str(CAT), **environment) == art(40)
    assert terminal_output("test", "--color", "none", str(CAT)) == art(40)
    assert terminal_output("test", "--color", "ansi", str(CAT), NO_COLOR="1") == art(
        40, color="ansi"
    )


@pytest.mark.parametrize(
    ("term", "color"),
    [
        ("xterm-256color", "ansi256"),
        ("tmux-256color", "ansi256"),
        ("xterm-direct", "ansi"),
        ("xterm", "ansi16"),
        ("linux", "ansi16"),
        ("vt100", "none"),
        ("", "none"),
    ],
)
def test_art_has_the_colours_that_the_terminal_announces(term: str, color: str) -> None:
    for colorterm in ("", "yes"):
        assert terminal_output("test", str(CAT), COLORTERM=colorterm, TERM=term) == art(
            40, color=color
        )


def test_art_in_a_pipe_is_not_coloured() -> None:
    assert asciist(
        "test", str(CAT), COLORTERM="truecolor", TERM="xterm", NO_COLOR=""
    ).stdout == art(70)


def test_the_help_names_every_style_and_colour() -> None:
    text = asciist("test", "--help").stdout.decode()

    assert all(re.search(rf"\b{name}\b", text) for name in (*STYLES, *COLORS))


def test_an_output_encoding_without_the_characters_is_an_error() -> None:
    run = asciist("test", "-s", "braille", str(CAT), PYTHONIOENCODING="latin-1")

    assert (run.returncode, run.stdout) == (1, b"")
    assert b"PYTHONIOENCODING=utf-8" in run.stderr
    assert asciist("test", "-s", "braille", str(CAT), PYTHONIOENCODING="utf-8").stdout == art(
        70, style="braille"
    )


@pytest.mark.parametrize(
    ("arguments", "stdin", "status", "excerpt"),
    [
        (
            ("test", "nowhere.jpg"),
            None,
            1,
            "asciist: nowhere.jpg: cannot read the file: No such file or directory",
        ),
        (("test", "-w", "0", str(CAT)), None, 2, "1<=x<=1000"),
        (("test", "-w", "wide", str(CAT)), None, 2, "wide"),
        (("test", "-w", "0", "nowhere.jpg"), None, 2, "1<=x<=1000"),
        (("test", "-s", "oil", str(CAT)), None, 1, "asciist: style must be one of: "),
        (
            ("test", "-s", "ramp", "--chars", "漢字", str(CAT)),
            None,
            1,
            "asciist: chars must be printable",
        ),
        (
            ("test", "--color", "cmyk", str(CAT)),
            None,
            2,
            "'auto', 'none', 'ansi', 'html', 'ansi256', 'ansi16'",
        ),
        (("test", __file__), None, 1, "asciist: unknown image format"),
        (("test",), b"", 1, "asciist: standard input is empty"),
        (("test",), CAT.read_bytes()[:5000], 1, "asciist: the image is damaged"),
        (("test", str(Path(__file__).parent)), None, 1, "cannot read the file: Is a directory"),
        (("test", "/dev/null"), None, 1, "asciist: /dev/null: the file is empty"),
        (
            ("convert", "-u", "http://127.0.0.1:9", str(CAT)),
            None,
            3,
            "asciist: cannot reach http://127.0.0.1:9",
        ),
        (("convert", "-u", "ftp://example", str(CAT)), None, 1, "not an http address"),
        (("convert", "-u", "file:///etc/passwd", str(CAT)), None, 1, "not an http address"),
        (("paint",), None, 1, "asciist: paint: cannot read the file: No such file or directory"),
        (("sreve",), None, 2, "No such command 'sreve'. Did you mean 'serve'?"),
        (
            ("--stile", "ramp", str(CAT)),
            None,
            2,
            "No such option '--stile'. Did you mean '--style'?",
        ),
        (
            (str(CAT), "-o", "art.gif"),
            None,
            2,
            "'art.gif' must end with one of: .png, .svg, .html, .ansi, .ansi256, .ansi16, .txt",
        ),
        (
            (str(CAT), "-o", "art"),
            None,
            2,
            "'art' must end with one of: .png, .svg, .html, .ansi, .ansi256, .ansi16, .txt",
        ),
        (
            (str(CAT), "-o", "art.txt", "--color", "ansi"),
            None,
            2,
            "--color ansi does not suit a .txt file, which has: none",
        ),
        (
            (str(CAT), "-o", "art.html", "--color", "none"),
            None,
            2,
            "--color none does not suit a .html file, which has: html",
        ),
        (
            (str(CAT), "-o", "art.png", "--color", "html"),
            None,
            2,
            "--color html does not suit a .png file, which has: ansi, ",
        ),
        ((str(CAT), str(CAT), "-o", "art.txt"), None, 2, "--output takes the art of one FILE"),
        ((str(CAT), "--json", "-o", "art.txt"), None, 2, "--json prints the art"),
        (
            (str(CAT), "-o", "/nowhere/art.txt"),
            None,
            1,
            "cannot write /nowhere/art.txt: No such file or directory",
        ),
    ],
)
def test_errors_go_to_standard_error_without_a_traceback(
    arguments: tuple[str, ...], stdin: bytes | None, status: int, excerpt: str
) -> None:
    run = asciist(*arguments, stdin=stdin)

    assert (run.returncode, run.stdout) == (status, b"")
    assert excerpt in run.stderr.decode()
    assert b"Traceback" not in run.stderr


def test_a_rejection_by_the_service_is_printed_with_status_1(url: str) -> None:
    run = asciist("convert", "-u", url, stdin=b"not an image")

    assert (run.returncode, run.stdout) == (1, b"")
    assert run.stderr.startswith(b"asciist: unknown image format")


def test_an_option_that_is_not_printable_text_is_a_usage_error(url: str) -> None:
    for command in (("test",), ("convert", "-u", url)):
        run = asciist(*command, "-s", "ramp", "--chars", os.fsdecode(b"\xff."), str(CAT))
        assert (run.returncode, run.stdout) == (2, b"")
        assert b"'--chars': not printable text" in run.stderr


def test_a_pipe_closed_by_its_reader_is_not_an_error() -> None:
    command = f'"{sys.executable}" -m asciist.cli test -w 1000 "{CAT}" | head -c 10'
    run = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, check=False
    )

    assert (run.returncode, len(run.stdout), run.stderr) == (0, 10, b"")


def test_standard_input_from_a_terminal_is_refused() -> None:
    master, slave = pty.openpty()
    run = subprocess.run(
        [sys.executable, "-m", "asciist.cli", "test"], stdin=slave, capture_output=True, check=False
    )
    os.close(master)
    os.close(slave)

    assert (run.returncode, run.stderr) == (
        1,
        b"asciist: no image: name a FILE or pipe an image to standard input\n",
    )


def test_the_help_and_the_version_are_printed() -> None:
    for arguments in ((), ("serve", "-h")):
        run = asciist(*arguments)
        assert b"Usage:" in run.stdout + run.stderr
    assert b"0.1.0" in asciist("--version").stdout


@pytest.mark.parametrize("columns", [60, 100])
def test_the_help_fits_the_width_of_the_terminal(columns: int) -> None:
    for command in COMMANDS:
        lines = asciist(*command, "--help", COLUMNS=str(columns)).stdout.decode().splitlines()
        assert lines[0].startswith("Usage:")
        assert max(map(len, lines)) <= columns


def test_the_help_lists_exit_statuses_environment_variables_and_examples() -> None:
    text = asciist("--help", COLUMNS="100").stdout.decode()
    statuses = re.findall(
        r"^  (\d+) +\S", text.partition("\nExit status:\n")[2].partition("\n\n")[0], re.MULTILINE
    )
    variables = re.findall(r"^  ([A-Z_]+) +\S", text.partition("\nEnvironment:\n")[2], re.MULTILINE)

    assert statuses == ["0", "1", "2", "3", "130"]
    assert variables == [
        "ASCIIST_URL",
        "COLUMNS",
        "LINES",
        "COLORFGBG",
        "COLORTERM",
        "TERM",
        "NO_COLOR",
    ]
    for command in ((), ("convert",), ("test",)):
        assert b"\nExamples:\n  asciist " in asciist(*command, "--help").stdout


def test_the_art_of_several_files_has_their_names_as_titles(url: str) -> None:
    for command in (("test",), ("convert", "-u", url)):
        run = asciist(*command, "-w", "40", str(CAT), "-", str(CAT), stdin=HORSE.read_bytes())
        with_titles = [
            f"==> {CAT} <==\n".encode() + art(40),
            b"==> standard input <==\n" + art(40, HORSE),
        ]
        assert (run.returncode, run.stdout, run.stderr) == (
            0,
            b"\n".join([*with_titles, with_titles[0]]),
            b"",
        )


def test_a_file_that_fails_does_not_stop_the_others(url: str) -> None:
    for command in ((), ("convert", "-u", url)):
        run = asciist(
            *command, "-w", "40", str(NO_IMAGE), str(CAT), str(HORSE), "nowhere.jpg", str(NO_IMAGE)
        )
        assert run.returncode == 1
        assert run.stdout == f"==> {CAT} <==\n".encode() + art(
            40
        ) + f"\n==> {HORSE} <==\n".encode() + art(40, HORSE)
        first, missing, last = run.stderr.decode().splitlines()
        assert all(
            line.startswith(f"asciist: {NO_IMAGE}: unknown image format") for line in (first, last)
        )
        assert missing == "asciist: nowhere.jpg: cannot read the file: No such file or directory"


def test_the_exit_status_is_the_highest_of_all_failures(
    unreachable_url: str, tmp_path: Path
) -> None:
    empty = tmp_path / "empty.jpg"
    empty.touch()
    for names in ((empty, CAT), (CAT, empty)):
        run = asciist("convert", "-u", unreachable_url, *map(str, names))
        assert (run.returncode, run.stdout, len(run.stderr.splitlines())) == (3, b"", 2)


def test_a_file_name_is_printed_on_one_line_with_escapes(tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"a\nb\x1b\xff\xc3\xa9.jpg")
    odd.write_bytes(CAT.read_bytes())
    run = asciist("test", "-w", "40", str(odd), str(odd), PYTHONIOENCODING="utf-8")

    assert (run.returncode, run.stderr) == (0, b"")
    assert run.stdout.startswith(f"==> {tmp_path}/a\\nb\\x1b\\udcffé.jpg <==\n".encode() + art(40))


def test_json_output_has_one_object_per_line() -> None:
    run = asciist("--json", "-w", "40", str(CAT), str(NO_IMAGE), "nowhere.jpg", str(HORSE))
    first, failed, missing, last = map(json.loads, run.stdout.splitlines())

    assert (run.returncode, run.stderr) == (1, b"")
    assert first == {
        "file": str(CAT),
        "width": 40,
        "invert": False,
        "art": art(40).decode().removesuffix("\n"),
    }
    assert failed["file"] == str(NO_IMAGE)
    assert failed["error"].startswith("unknown image format")
    assert missing == {
        "file": "nowhere.jpg",
        "error": "cannot read the file: No such file or directory",
    }
    assert last["file"] == str(HORSE)


def test_json_output_reports_an_invalid_option() -> None:
    run = asciist("--json", "--background", "mauvish", str(CAT))

    assert (run.returncode, run.stderr) == (1, b"")
    message = "background must be auto, a colour such as #ff8800, or a colour's name in CSS"
    assert json.loads(run.stdout) == {"file": str(CAT), "error": message}


def test_json_output_of_convert_has_the_url_of_the_art(url: str) -> None:
    run = asciist(
        "convert", "--json", "-u", url, "-s", "braille", str(CAT), "-", stdin=CAT.read_bytes()
    )
    first, second = map(json.loads, run.stdout.splitlines())

    assert (run.returncode, run.stderr, run.stdout.isascii()) == (0, b"", True)
    assert first["art"] == art(70, style="braille").decode().removesuffix("\n")
    assert re.fullmatch(rf"{url}/{NAME_PATTERN}/style/braille/width/70", first["url"])
    assert first["stored"] is False
    assert second == first | {"file": "-", "stored": True}


def test_json_output_says_whether_art_is_for_a_light_background(url: str) -> None:
    for command in (("test",), ("convert", "-u", url)):
        run = asciist(*command, "--json", "--auto-invert", str(HORSE), str(COFFEE))
        assert [json.loads(line)["invert"] for line in run.stdout.splitlines()] == [True, False]


def test_json_output_reports_an_unreachable_service(unreachable_url: str) -> None:
    run = asciist("convert", "--json", "-u", unreachable_url, str(CAT))

    assert (run.returncode, run.stderr) == (3, b"")
    assert json.loads(run.stdout) == {
        "file": str(CAT),
        "error": f"cannot reach {unreachable_url}: Connection refused",
    }


def test_art_in_json_output_is_not_coloured() -> None:
    assert b"\\u001b" not in terminal_output("test", "--json", str(CAT))


def test_an_unreachable_local_service_is_reported_with_the_command_that_starts_it() -> None:
    with socket.socket() as reserved:
        try:
            reserved.bind(("127.0.0.1", 27244))
        except OSError:
            pytest.skip("port 27244 is in use")
        run = asciist("convert", "-u", "http://localhost:27244", str(CAT))

    message = (
        b"asciist: cannot reach http://localhost:27244: Connection refused (is it running? start it"
        b" with: asciist serve)\n"
    )
    assert (run.returncode, run.stdout, run.stderr) == (3, b"", message)


@pytest.fixture
def large_file(tmp_path: Path) -> Path:
    """A 20 MB file whose name is wider than a terminal."""
    path = tmp_path / f"{'large' * 20}.jpg"
    path.write_bytes(bytes(20_000_000))
    return path


def test_a_long_upload_shows_its_progress_and_then_clears_the_line(large_file: Path) -> None:
    with slow_service(seconds=1.3) as url:
        written = terminal_output("convert", "-u", url, str(large_file), stream="stderr").decode()

    *lines, last = written.split("\r")[1:]
    assert last == "\x1b[K"
    assert "\n" not in written
    *progress, waiting = [
        line.removeprefix("\x1b[?7l").removesuffix("\x1b[K\x1b[?7h") for line in lines
    ]
    percentages = [
        int(re.findall(rf"^asciist: (\d+)% of 20.0 MB sent: {large_file}$", line)[0])
        for line in progress
    ]
    assert len(set(percentages)) > 1
    assert percentages == sorted(percentages)
    assert waiting == f"asciist: waiting for the art: {large_file}"


def test_progress_is_shown_only_on_a_terminal_and_for_long_uploads(
    url: str, large_file: Path
) -> None:
    with slow_service(seconds=0.7) as slow:
        run = asciist("convert", "-u", slow, str(large_file))
    assert (run.returncode, run.stdout, run.stderr) == (0, b".:\n:.\n", b"")

    with slow_service(seconds=0.7) as slow:
        assert (
            terminal_output("convert", "-u", slow, str(large_file), stream="stderr", TERM="dumb")
            == b""
        )
    assert terminal_output("convert", "-u", url, str(CAT), stream="stderr") == b""


@pytest.mark.parametrize(
    ("shell", "status", "output"),
    [
        ((), -signal.SIGINT, b""),
        # the trap keeps the shell alive
        (("bash", "-c", 'trap : INT; "$@"; echo $?', "bash"), 0, b"130\n"),
        (("bash", "-c", 'for again in 1 2; do "$@"; done; echo on', "bash"), -signal.SIGINT, b""),
    ],
)
def test_ctrl_c_ends_the_command_and_the_shell_loop_around_it_silently(
    shell: tuple[str, ...], status: int, output: bytes
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent_server:
        url = f"http://127.0.0.1:{silent_server.getsockname()[1]}"
        command = subprocess.Popen(
            [*shell, sys.executable, "-m", "asciist.cli", "convert", "-u", url, str(CAT)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        connection, _ = silent_server.accept()
        with connection, connection.makefile("rb") as request:
            request.read(CAT.stat().st_size)
            # Python misses a signal that arrives just before it blocks; from here on it waits for
            # the response.
            time.sleep(0.5)
            os.killpg(command.pid, signal.SIGINT)  # as a terminal does on Ctrl-C
            assert command.communicate(timeout=30) == (output, b"")

    assert command.returncode == status


def test_ctrl_c_clears_the_progress_line(large_file: Path) -> None:
    master, slave = pty.openpty()
    with slow_service(seconds=1.5) as url:
        command = subprocess.Popen(
            [sys.executable, "-m", "asciist.cli", "convert", "-u", url, str(large_file)],
            stderr=slave,
        )
        os.close(slave)
        written = os.read(master, 65_536)
        command.send_signal(signal.SIGINT)
        assert command.wait(120) == -signal.SIGINT
    with suppress(OSError):
        while part := os.read(master, 65_536):
            written += part
    os.close(master)

    assert b"% of 20.0 MB sent" in written
    assert written.endswith(b"\r\x1b[K")


def test_closed_streams_and_full_disks_cause_no_traceback() -> None:
    for redirection, status, message in (
        (">/dev/full", 1, b"asciist: cannot write to standard output: No space left on device\n"),
        (">&-", 0, b""),
        ("<&-", 1, b"asciist: no image: name a FILE or pipe an image to standard input\n"),
    ):
        file = "" if redirection == "<&-" else f'"{CAT}"'
        shell = f'"{sys.executable}" -m asciist.cli test {file} {redirection}'
        run = subprocess.run(["bash", "-c", shell], capture_output=True, check=False)
        assert (run.returncode, run.stdout, run.stderr) == (status, b"", message)


def completions(*words: str) -> list[str]:
    """Return bash's completions of the last of `words`; "files by ..." if bash is to complete file
    names."""
    script = """
        source <(asciist completion bash)
        [[ "$(complete -p asciist)" == *"-F _asciist_completion asciist" ]] || exit 1
        compopt() { COMPREPLY+=("files by $2"); }
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        _asciist_completion asciist
        printf '%s\\n' "${COMPREPLY[@]}"
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    run = subprocess.run(
        ["bash", "-c", script, "bash", *words],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PATH": path},
    )
    assert run.stderr == ""
    return run.stdout.split("\n")[:-1]


def test_bash_completes_commands_options_values_and_files() -> None:
    assert completions("asciist", "co") == ["completion", "convert"]
    assert completions("asciist", "convert", "--st") == ["--style"]
    assert completions("asciist", "convert", "--style", "") == list(STYLES)
    assert completions("asciist", "test", "-s", "b") == ["braille", "blocks"]
    assert completions("asciist", "test", "--color", "a") == ["auto", "ansi", "ansi256", "ansi16"]
    assert completions("asciist", "completion", "") == ["bash", "zsh", "fish"]
    assert completions("asciist", "test", str(CAT), "exa") == ["files by default"]
    assert completions("asciist", "exa") == ["files by default"]
    assert completions("asciist", str(CAT), "co") == ["files by default"]
    assert completions("asciist", "--st") == ["--style"]
    assert completions("asciist", str(CAT), "--style", "b") == ["braille", "blocks"]
    assert {"--width", "--output", "--version", "--help"} <= set(completions("asciist", "--"))


@pytest.mark.parametrize(
    ("shell", "excerpt"),
    [("zsh", b"#compdef asciist\n"), ("fish", b"complete --no-files --command asciist ")],
)
def test_zsh_and_fish_have_completion_scripts(shell: str, excerpt: bytes) -> None:
    run = asciist("completion", shell)

    assert (run.returncode, run.stderr) == (0, b"")
    assert excerpt in run.stdout
    assert f"_ASCIIST_COMPLETE={shell}_complete".encode() in run.stdout


def test_the_help_of_completion_names_the_file_and_the_line_for_each_shell() -> None:
    text = asciist("completion", "--help").stdout.decode()

    for path in ("~/.bashrc", "~/.zshrc", "~/.config/fish/config.fish"):
        assert path in text
    for line in (
        'eval "$(asciist completion bash)"',
        'eval "$(asciist completion zsh)"',
        "asciist completion fish | source",
    ):
        assert line in text


def without_the_server(*arguments: str) -> "subprocess.CompletedProcess[bytes]":
    """Run the command like an installation without the extra `server`."""
    packages = (
        "cryptography datadog flask gevent gunicorn jinja2 obstore pybase64 pythonjsonlogger"
        " requests werkzeug"
    )
    script = (
        f"import sys; sys.modules |= dict.fromkeys({packages.split()}); from asciist.cli import"
        " main; main(prog_name='asciist')"
    )
    return subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, check=False
    )


def test_only_serve_needs_the_packages_of_the_service(url: str) -> None:
    assert without_the_server("-w", "40", str(CAT)).stdout == art(40)
    assert without_the_server("convert", "-u", url, "-w", "40", str(CAT)).stdout == art(40)

    serve = without_the_server("serve")
    message = b"asciist: the packages of the service are not installed: install asciist[server]\n"
    assert (serve.returncode, serve.stderr) == (1, message)


def test_importing_the_command_imports_neither_http_nor_image_libraries() -> None:
    script = (
        "import sys, asciist.cli; print([name for name in ('http', 'ssl', 'email', 'PIL') if name"
        " in sys.modules])"
    )

    assert (
        subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout
        == b"[]\n"
    )


def test_the_help_of_serve_shows_the_default_address() -> None:
    text = " ".join(asciist("serve", "--help", COLUMNS="100").stdout.decode().split())

    assert f"[default: (HOST or {Settings.host})]" in text
    assert f"[default: (PORT or {Settings.port}); 1<=x<=65535]" in text
    assert completions("asciist", "serve", "--") == ["--host", "--port", "--help"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--port", "0"), "'--port': 0 is not in the range 1<=x<=65535"),
        (("--port", "65536"), "'--port': 65536 is not in the range 1<=x<=65535"),
        (("--port", "many"), "'--port': 'many' is not a valid integer range"),
        (("--host", ""), "'--host': '' is neither an IP address nor a known host name"),
        (("--host", "[::1]"), "'--host': '[::1]' is neither an IP address nor a known host name"),
        (
            ("--host", "nonsense.invalid"),
            "'--host': 'nonsense.invalid' is neither an IP address nor a known host name",
        ),
    ],
)
def test_an_invalid_address_to_listen_on_is_a_usage_error(
    arguments: tuple[str, ...], message: str
) -> None:
    run = asciist("serve", *arguments)

    assert run.returncode == 2
    assert f"Error: Invalid value for {message}.\n" in run.stderr.decode()


def test_serve_reports_every_invalid_setting() -> None:
    run = asciist("serve", ASCIIST_BACKEND="abacus", PORT="many", ASCIIST_DATA_DIRR="x")

    assert run.returncode == 1
    for excerpt in (
        "ASCIIST_BACKEND='abacus' is not one of: embedded",
        "ASCIIST_PORT='many'",
        "did you mean ASCIIST_DATA_DIR?",
    ):
        assert excerpt in run.stderr.decode()


def blinking(path: Path, *, loop: int) -> Path:
    """Write an animation that shows black, white and black for 30 ms each."""
    frames = [Image.new("L", (80, 40), level) for level in (0, 255, 0)]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=30, loop=loop)
    return path


@pytest.fixture
def animation(tmp_path: Path) -> Path:
    return blinking(tmp_path / "blinking.png", loop=2)


ANIMATE = ("--animate", "--style", "ramp", "--width", "8", "--no-invert", "--color", "none")


def test_an_animation_plays_on_a_terminal_and_shows_the_cursor_again(animation: Path) -> None:
    written = terminal_output(*ANIMATE, str(animation))

    assert written.startswith(b"\x1b[?25l")
    assert written.endswith(b"\x1b[?25h")
    assert b"".join(re.findall(rb"\x1b\[2A\r(.)", written)) == b" @ @ "


def test_ctrl_c_ends_an_endless_animation_and_shows_the_cursor_again(tmp_path: Path) -> None:
    endless = blinking(tmp_path / "endless.png", loop=0)
    master, slave = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "asciist.cli", *ANIMATE, str(endless)],
        stdin=subprocess.DEVNULL,
        stdout=slave,
        stderr=slave,
    ) as command:
        os.close(slave)
        written = b""
        while written.count(b"@") < 100:
            written += os.read(master, 1000)
        command.send_signal(signal.SIGINT)
        with suppress(OSError):
            while chunk := os.read(master, 1000):
                written += chunk
    os.close(master)

    assert written.endswith(b"\x1b[?25h")
    assert command.returncode == -signal.SIGINT


def test_the_frames_of_an_animation_are_printed_with_form_feeds_between_in_a_pipe(
    animation: Path,
) -> None:
    blank, full = b"        \n" * 2, b"@@@@@@@@\n" * 2

    assert asciist(*ANIMATE, str(animation)).stdout == b"\f\n".join((blank, full, blank))
    assert asciist(*ANIMATE, str(HORSE)).stdout == art(8, HORSE, style="ramp")


def test_json_output_has_the_frames_of_an_animation(animation: Path) -> None:
    result = json.loads(asciist(*ANIMATE, "--json", str(animation)).stdout)

    assert [(frame["art"][0], frame["milliseconds"]) for frame in result["frames"]] == [
        (" ", 30),
        ("@", 30),
        (" ", 30),
    ]
    assert (result["plays"], result["shown_frames"], result["image_frames"], "art" in result) == (
        2,
        3,
        3,
        False,
    )


def test_an_animation_is_a_document_that_plays(animation: Path, tmp_path: Path) -> None:
    written = tmp_path / "blinking.html"
    assert (
        asciist(
            "--animate", "--width", "8", "--no-invert", "--output", str(written), str(animation)
        ).stdout
        == b""
    )
    printed = asciist(
        "test", "--animate", "--width", "8", "--no-invert", "--color", "html", str(animation)
    ).stdout

    assert written.read_bytes() == printed
    assert printed.count(b"@keyframes") == 3
    assert printed.count(b"step-end 2 forwards") == 3


def test_an_animation_is_a_png_that_plays(animation: Path, tmp_path: Path) -> None:
    written = tmp_path / "art.png"
    assert asciist(*ANIMATE, "--output", str(written), str(animation)).stdout == b""

    with Image.open(written) as picture:
        assert (picture.n_frames, picture.info["loop"], picture.info["duration"]) == (3, 2, 30)


def test_an_svg_of_an_animation_is_refused(animation: Path, tmp_path: Path) -> None:
    failed = asciist("--animate", "--output", str(tmp_path / "blinking.svg"), str(animation))

    assert failed.returncode == 2
    assert b"a .svg file cannot move: use .png or .html" in failed.stderr.lower()


def test_an_animation_that_is_taller_than_the_terminal_is_an_error(animation: Path) -> None:
    master, slave = pty.openpty()
    failed = subprocess.run(
        [sys.executable, "-m", "asciist.cli", *ANIMATE, str(animation)],
        stdin=subprocess.DEVNULL,
        stdout=slave,
        stderr=subprocess.PIPE,
        check=False,
        env={**os.environ, "COLUMNS": "40", "LINES": "2"},
    )
    os.close(slave)
    os.close(master)

    assert failed.returncode == 1
    assert (
        failed.stderr
        == b"asciist: the terminal has too few lines for an animation of 2: choose a smaller"
        b" --height\n"
    )
