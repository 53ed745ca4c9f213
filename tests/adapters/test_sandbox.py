"""Code in a converter reaches nothing but its images; benign conversions do not notice."""

import ast
import json
import os
import re
import secrets
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from asciist.adapters.converters import sandbox
from asciist.adapters.converters.in_process import InProcessConverter
from asciist.adapters.converters.pool import ConverterPool
from asciist.errors import sentences
from asciist.formats import FORMATS
from asciist.limits import Limits
from asciist.options import COLORS, STYLES, ConversionOptions
from asciist.settings import Settings
from tests import flawed_converters, reaching
from tests.processes import children, is_converter, landlock_is_supported
from tests.serving import Server
from tests.waiting import wait_until
from tools.testing.images import EXAMPLES, encoded, gradient

OPTIONS = ConversionOptions(width=40)
ROOT = Path(__file__).parents[2]


def tried(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    tries_calls: bool = True,
) -> dict[str, str]:
    """Return the error of each attempt of a converter to reach beyond itself."""
    (tmp_path / "link.key").write_text("secret")
    flawed_converters.install(tmp_path, monkeypatch, flaw=reaching.FLAW, setup=reaching.SETUP)
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        closing(ConverterPool(Settings(), is_forked=True)) as pool,
    ):
        image = reaching.image(
            tmp_path, process=os.getpid(), port=server.getsockname()[1], tries_calls=tries_calls
        )
        attempts = pool.convert(image, OPTIONS, wait_seconds=60).rejection
    assert attempts
    errors: dict[str, str] = json.loads(attempts)
    return errors


def test_nothing_that_a_converter_tries_succeeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = tried(tmp_path, monkeypatch)

    assert len(errors) == 59
    assert {name for name, error in errors.items() if error == "ENOSYS"} == {
        "clone3",
        "a call of the future",
    }
    assert {name: error for name, error in errors.items() if error not in ("EPERM", "ENOSYS")} == {}


def test_landlock_alone_denies_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not landlock_is_supported():
        pytest.skip("the kernel does not support Landlock")
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    errors = tried(tmp_path, monkeypatch, tries_calls=False)

    assert {name for name, error in errors.items() if error == "EACCES"} >= {
        "read the key of links",
        "list the store",
        "write a file",
        "open the memory of a process",
        "open the environment of a process",
        "execute",
    }


def test_without_a_sandbox_a_converter_reaches_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The attempts of the tests above are real."""
    monkeypatch.setattr(sandbox, "enter", tuple)

    assert set(tried(tmp_path, monkeypatch, tries_calls=False).values()) == {""}


def test_every_converter_of_a_server_is_in_the_sandbox(tmp_path: Path, cat: bytes) -> None:
    server = Server(tmp_path, ASCIIST_WORKERS="2")
    try:
        assert server.request("PUT", "/?width=20", cat)[0] == 200
        wait_until(lambda: len(server.converters()) == 2)
        converters = server.converters()
        statuses = [Path(f"/proc/{process}/status").read_text() for process in converters]
        expected = b"ready\n"
        if not landlock_is_supported():
            expected = b"ready, but images are converted without landlock\n"
        assert server.request("GET", "/readyz") == (200, expected)
    finally:
        server.stop()

    for status in statuses:
        assert re.findall(r"^(?:NoNewPrivs|Seccomp):\t(\d)", status, re.MULTILINE) == ["1", "2"]


def images() -> Iterator[tuple[str, bytes]]:
    """Yield (name, image): the examples, and an image of each format that is large enough for a
    decoder to use threads and temporary files."""
    for path in sorted(set(EXAMPLES.iterdir()) - set(EXAMPLES.glob("*.md"))):
        yield path.name, path.read_bytes()
    noise = Image.effect_noise((160, 120), 100).resize((1600, 1200)).convert("RGB")
    for row in FORMATS:
        frames = [noise.resize((800, 600)), gradient(800, 600)]
        moving = {"save_all": True, "append_images": frames[1:]} if row.is_animated else {}
        yield row.name, encoded(noise, row.key)
        yield f"moving {row.name}", encoded(frames[0], row.key, **moving)
    for compression in ("tiff_lzw", "jpeg", "packbits", "tiff_adobe_deflate"):
        yield compression, encoded(noise, "TIFF", compression=compression)
    yield "fax", encoded(noise.convert("1"), "TIFF", compression="group4")


def test_art_is_the_same_in_the_sandbox(pool: ConverterPool) -> None:
    outside = InProcessConverter(Limits())
    for number, (name, image) in enumerate(images()):
        for other, style in enumerate(STYLES):
            color = COLORS[(number + other) % len(COLORS)]
            options = ConversionOptions(
                width=100, style=style, color=color, animate=other % 2 == 0, invert="auto"
            )
            converted = pool.convert(image, options, wait_seconds=100)
            expected = outside.convert(image, options, wait_seconds=100)
            assert converted.art == expected.art, (name, options)
            assert converted.art, (name, converted)


@pytest.mark.parametrize(
    "options",
    [
        {"style": "ramp", "chars": " ░▒▓█"},
        {"fit": "cover", "height": 5},
        {"fit": "fill", "height": 50},
        {"brightness": 50, "contrast": -20, "invert": "auto"},
        {"paint": "text", "color": "ansi"},
        {"style": "blocks", "color": "html", "shapes": "quadrants", "background": "#ff0000"},
    ],
)
def test_no_option_needs_a_file(options: dict[str, Any], pool: ConverterPool, cat: bytes) -> None:
    assert pool.convert(cat, ConversionOptions(width=40, **options), wait_seconds=60).art


@pytest.fixture(scope="module")
def pool() -> Iterator[ConverterPool]:
    with closing(ConverterPool(Settings(request_timeout=50))) as pool:
        yield pool


def test_the_warm_up_imports_whatever_a_conversion_may_import_later() -> None:
    later = {
        f"{node.module}.{alias.name}" if isinstance(node, ast.ImportFrom) else alias.name
        for folder in ("conversion", "options", "adapters/converters")
        for path in (ROOT / "asciist" / folder).rglob("*.py")
        for function in ast.walk(ast.parse(path.read_text()))
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    program = """
import sys
from asciist.adapters.converters import parent

parent.warm_up()
for name in sys.argv[1:]:
    module, _, member = name.rpartition(".")
    if name not in sys.modules and not hasattr(sys.modules.get(module), member):
        print(name)
"""
    command = [sys.executable, "-c", program, *later]
    assert len(later) > 5
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == ""


@pytest.mark.parametrize("is_forked", [False, True], ids=["interpreter", "fork"])
def test_the_processes_that_decode_have_no_secret_of_their_environment(
    is_forked: bool, tmp_path: Path
) -> None:
    secret, key = secrets.token_hex(32), secrets.token_hex(32)
    program = f"""
import time
from pathlib import Path
from asciist.adapters.converters.pool import ConverterPool
from asciist.options import ConversionOptions
from asciist.settings import Settings
pool = ConverterPool(Settings.from_environment(), is_forked={is_forked})
while not pool.is_ready(): time.sleep(0.01)
image = Path("docs/examples/cat.jpg").read_bytes()
pool.convert(image, ConversionOptions(width=9), wait_seconds=60)
print("ready", flush=True)
time.sleep(100)
"""
    environment = {
        **os.environ,
        "ASCIIST_LINK_KEYS": key,
        "ASCIIST_MAX_WIDTH": "777",
        "AWS_SECRET_ACCESS_KEY": secret,
        "AZURE_STORAGE_ACCOUNT_KEY": secret,
    }
    with subprocess.Popen(
        [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE
    ) as owner:
        try:
            assert owner.stdout
            assert owner.stdout.readline() == b"ready\n"
            (parent,) = children(owner.pid)
            (converter,) = children(parent)
            assert is_converter(converter)
            assert secret.encode() in memory_of(owner.pid)
            for process in (parent, converter):
                variables = Path(f"/proc/{process}/environ").read_bytes()
                assert b"ASCIIST_MAX_WIDTH=777" in variables
                assert not {secret.encode(), key.encode()} & set(re.split(b"[=\0]", variables))
                assert secret.encode() not in memory_of(process)
        finally:
            owner.kill()


def memory_of(process: int) -> bytes:
    """Return what a process may write, and so where a secret may be."""
    found = []
    with Path(f"/proc/{process}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{process}/maps").read_text().splitlines():
            bounds, access = line.split()[:2]
            if access.startswith("rw"):
                start, end = (int(bound, 16) for bound in bounds.split("-"))
                memory.seek(start)
                found.append(memory.read(end - start))
    return b"".join(found)


class TestFilter:
    """The filter of each architecture, run as the kernel runs it."""

    @pytest.mark.parametrize(
        ("machine", "architecture", "calls"),
        [
            ("x86_64", 0xC000003E, {"read": 0, "mmap": 9, "openat": 257, "clone": 56, "ioctl": 16}),
            (
                "aarch64",
                0xC00000B7,
                {"read": 63, "mmap": 222, "openat": 56, "clone": 220, "ioctl": 29},
            ),
        ],
    )
    def test_allows_and_denies_by_number_and_argument(
        self, machine: str, architecture: int, calls: dict[str, int]
    ) -> None:
        def outcome(call: int | str, *arguments: int, on: int = architecture) -> int:
            number = calls[call] if isinstance(call, str) else call
            padded = [*arguments, *[0] * (6 - len(arguments))]
            data = struct.pack("=IIQ6Q", number, on, 0, *padded)
            return run(list(sandbox._program(machine)), data)

        allowed, denied, unknown = 0x7FFF0000, 0x00050001, 0x00050026
        assert outcome("read") == allowed
        assert outcome("read", on=0x40000003) == denied  # 32-bit x86
        assert outcome("openat") == denied
        assert outcome("mmap", 0, 4096, 3) == allowed
        assert outcome("mmap", 0, 4096, 7) == denied
        assert outcome("clone", 0x3D0F00) == outcome("clone", 0x7D0F00) == allowed
        assert outcome("clone", 17) == outcome("clone", 0x3D0F00 | 0x10000000) == denied
        assert outcome("ioctl", 1, 0x5421) == allowed
        assert outcome("ioctl", 1, 0x5412) == denied
        assert outcome(435) == outcome(1000) == unknown

    def test_has_the_numbers_of_the_kernel(self) -> None:
        headers = (
            (0, "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
            (1, "/usr/include/asm-generic/unistd.h"),
        )
        for column, header in headers:
            if not Path(header).exists():
                pytest.skip("the kernel's headers are not installed")
            defined = re.findall(
                r"^#define __NR(?:3264)?_(\w+) (\d+)$", Path(header).read_text(), re.MULTILINE
            )
            known = {name: int(number) for name, number in defined}
            assert {name: numbers[column] for name, numbers in sandbox._CALLS.items()} == {
                name: known.get(name) for name in sandbox._CALLS
            }


def run(program: list[tuple[int, int, int, int]], data: bytes) -> int:
    """Run a filter on the data of a system call, as the kernel does; return the action."""
    position = accumulator = 0
    while True:
        code, if_true, if_false, operand = program[position]
        position += 1
        match code:
            case 0x20:
                accumulator = struct.unpack_from("=I", data, operand)[0]
            case 0x54:
                accumulator &= operand
            case 0x15:
                position += if_true if accumulator == operand else if_false
            case 0x35:
                position += if_true if accumulator >= operand else if_false
            case 0x06:
                return operand
            case _:
                raise AssertionError(code)


def test_what_the_kernel_lacks_is_reported_and_conversions_go_on(
    monkeypatch: pytest.MonkeyPatch, cat: bytes
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    monkeypatch.setattr(sandbox, "_LANDLOCK_CREATE_RULESET", 1000)
    with closing(ConverterPool(Settings(), is_forked=True)) as pool:
        wait_until(pool.is_ready)
        converted = pool.convert(cat, OPTIONS, wait_seconds=60)

    assert converted.art
    assert converted.unsupported == ("landlock", "seccomp")
    assert (
        sentences.ready(unsupported=converted.unsupported)
        == "ready, but images are converted without landlock and seccomp"
    )
