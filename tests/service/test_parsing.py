"""The memory for a body is proportional to its size: JSON and forms are limited in structure before
they are parsed."""

import base64
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asciist.adapters.embedded import EmbeddedMetrics
from asciist.errors import (
    AsciistError,
    BadOptionError,
    BadRequestError,
    TooManyBytesError,
    sentences,
)
from asciist.limits import Limits
from service.parsing import Upload, parse_upload
from service.uploads import ENVELOPE_BYTES, UploadRequest

IMAGE = os.urandom(600_000)
"""Bytes with base64 much larger than the allowed rest of the body."""

BODY_BYTES = 13_000_000
JSON = "application/json"
FORM = "multipart/form-data; boundary=edge"


def parse(body: bytes, content_type: str = JSON) -> Upload:
    """Parse a request like the application, with its body in memory."""
    environ = {
        "REQUEST_METHOD": "POST",
        "CONTENT_TYPE": content_type,
        "CONTENT_LENGTH": str(len(body)),
        "QUERY_STRING": "",
        "wsgi.input": io.BytesIO(body),
        "wsgi.input_terminated": True,
    }
    return parse_upload(UploadRequest(environ), Limits(), EmbeddedMetrics())


def encoded(image: bytes = IMAGE) -> str:
    return base64.b64encode(image).decode()


def escaped_slashes(document: str) -> bytes:
    """Escape slashes, like PHP's json_encode."""
    return document.replace("/", r"\/").encode()


@pytest.mark.parametrize("size", [1, 1000, 49_000, 98_000, 99_000, 600_000])
@pytest.mark.parametrize("order", ["image first", "image last"])
def test_an_image_of_any_size_is_found_wherever_it_is(size: int, order: str) -> None:
    image = os.urandom(size)
    members = {"image": encoded(image), "width": 30, "style": "ramp", "chars": ' }"],\\'}
    items = list(members.items())
    upload = parse(json.dumps(dict(items if order == "image first" else reversed(items))).encode())

    assert (upload.image, upload.options.width, upload.options.chars) == (image, 30, ' }"],\\')


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({"width": 30, "image": base64.encodebytes(IMAGE).decode()}).encode(),
        json.dumps({"width": 30, "image": f"data:image/png;base64,{encoded()}"}).encode(),
        escaped_slashes(json.dumps({"width": 30, "image": encoded()})),
        escaped_slashes(json.dumps({"width": 30, "image": f"data:image/png;base64,{encoded()}"})),
        escaped_slashes(
            json.dumps(
                {
                    "width": 30,
                    "image": f"data:image/png;base64,{base64.encodebytes(IMAGE).decode()}",
                }
            )
        ),
        json.dumps({"width": 30, "image": encoded()}).replace("+", r"\u002B").encode(),
        json.dumps({"width": 30, "image": encoded()}).replace('"image"', r'"\u0069mage"').encode(),
        json.dumps({"width": 30, "image": encoded()}).encode("utf-8-sig"),
        json.dumps(
            {"width": 30, "image": encoded(), "style": "ramp", "chars": "öø"}, ensure_ascii=False
        ).encode(),
        json.dumps({"image": encoded(), "width": 30}).replace(", ", f",{' ' * 60_000}").encode(),
        b'{"image": "a", "width": 30, "image": "%b"}' % encoded().encode(),
    ],
    ids=[
        "wrapped",
        "data URL",
        "escaped slashes",
        "escaped data URL",
        "escaped, wrapped data URL",
        "escaped plus",
        "escaped key",
        "byte order mark",
        "other alphabets",
        "spaces",
        "duplicate",
    ],
)
def test_a_large_image_may_be_written_in_any_way_that_json_allows(body: bytes) -> None:
    upload = parse(body)

    assert (upload.image, upload.options.width) == (IMAGE, 30)


def test_a_long_string_that_is_not_the_image_is_refused_like_any_unknown_member() -> None:
    long = "A" * 600_000
    for extra, shown in (
        ({"comment": long}, ' "comment"'),
        ({"comment": {"image": long}}, ' "comment"'),
        ({long: 1}, ""),
    ):
        for body in (
            {**extra, "width": 30, "image": "YWJj"},
            {"width": 30, "image": "YWJj", **extra},
        ):
            with pytest.raises(BadOptionError) as raised:
                parse(json.dumps(body).encode())
            assert raised.value.public_message.startswith(f"unknown option{shown}: use width, ")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"width": 30, "image": encoded() + "!"}, sentences.IMAGE_NOT_BASE64),
        ({"width": 30, "image": encoded() + "😀"}, sentences.IMAGE_NOT_BASE64),
        ({"width": 30, "image": encoded() + '"'}, sentences.TOO_MUCH_JSON),
        ({"width": 30, "image": '"' + encoded()}, sentences.IMAGE_NOT_BASE64),
        ({"width": 30, "image": {"image": encoded()}}, sentences.IMAGE_NOT_A_STRING),
        ({"width": 30, "image": [encoded()]}, sentences.IMAGE_NOT_A_STRING),
        ({"width": encoded(), "image": "YWJj"}, "width must be a whole number from 1 to 1000"),
        ({"width": 30, "image": "YWJj", "style": encoded()}, "style must be one of: "),
        (
            {"width": 30, "image": "YWJj", "chars": encoded()},
            "chars must be at most 100 bytes in UTF-8",
        ),
        ({"image": encoded()}, "no width provided"),
        ({"width": 30, "image": " " * 600_000}, sentences.NO_IMAGE),
        (
            {"width": 30, "image": encoded(), "comment": "x" * 3 * ENVELOPE_BYTES},
            sentences.TOO_MUCH_JSON,
        ),
        ({"width": 30, "image": "YWJj", "list": [0] * 100_000}, sentences.TOO_MUCH_JSON),
        ([encoded()], sentences.NOT_A_JSON_OBJECT),
        (encoded(), sentences.NOT_A_JSON_OBJECT),
    ],
)
def test_a_large_body_that_is_wrong_gets_the_message_of_a_small_one(
    body: object, message: str
) -> None:
    for ensure_ascii in (True, False):
        with pytest.raises(AsciistError) as raised:
            parse(json.dumps(body, ensure_ascii=ensure_ascii).encode())
        assert raised.value.public_message.startswith(message)


@pytest.mark.parametrize(
    "body",
    [
        f'{{"width": 30, "image": "{encoded()}'.encode(),
        f'{{"width": 30, "image": "{encoded()}\\"}}'.encode(),
        f'{{"width": 30, "image": "{encoded()}\n"}}'.encode(),
        f'{{"width": 30, "image": "{encoded()}\\x"}}'.encode(),
        f'{{"width": 30, "image": {encoded()}}}'.encode(),
        f'{{"width": 30, "image": "a"{" " * 600_000}"b": 1}}'.encode(),
        json.dumps({"width": 30, "image": encoded()}).encode("utf-16"),
        b"\xff" * 600_000,
    ],
    ids=[
        "unclosed",
        "escaped quote",
        "line break",
        "unknown escape",
        "no quotes",
        "white space",
        "UTF-16",
        "binary",
    ],
)
def test_a_large_body_that_is_not_json_gets_an_error(body: bytes) -> None:
    with pytest.raises(BadRequestError) as raised:
        parse(body)
    assert raised.value.public_message in (sentences.NOT_JSON, sentences.TOO_MUCH_JSON)


def part(name: str, content: bytes, *, headers: bytes = b"") -> bytes:
    disposition = f'Content-Disposition: form-data; name="{name}"; filename="x"\r\n'.encode()
    return b"--edge\r\n" + disposition + headers + b"\r\n" + content + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--edge--\r\n"


def test_a_form_may_hold_a_large_file_with_anything_in_it() -> None:
    for image in (
        IMAGE,
        b"\r" * 600_000,
        b"\n" * 600_000,
        b"\r\n--edg" * 80_000,
        b"x--edge" * 100_000,
    ):
        assert parse(form(part("width", b"30"), part("image", image)), FORM).image == image


@pytest.mark.parametrize(
    "body",
    [
        form(*[part(str(number), b"x") for number in range(17)]),
        form(part("image", IMAGE, headers=b"A: b\r\n" * 10_000)),
        form(b'--edge\r\nContent-Disposition: form-data; name="image"\r\n\r\n' + IMAGE + b"\r\n"),
        b"--edge\r\n" + b"A" * 600_000,
        b"A" * 600_000,
    ],
    ids=["parts", "headers", "field", "header", "preamble"],
)
def test_a_form_with_more_than_an_image_gets_413(body: bytes) -> None:
    with pytest.raises(TooManyBytesError) as raised:
        parse(body, FORM)
    assert raised.value.public_message == sentences.FORM_TOO_LARGE


@pytest.mark.parametrize("filename", [b"", b'; filename="cat.jpg"'])
@pytest.mark.parametrize("others", [b"", b"; names=image", b"; x=name", b'; NAM="image"'])
def test_a_part_without_a_name_gets_an_error_that_says_so(filename: bytes, others: bytes) -> None:
    headers = b"Content-Disposition: form-data" + others + filename
    with pytest.raises(BadRequestError) as raised:
        parse(form(part("image", b"x"), b"--edge\r\n" + headers + b"\r\n\r\n80\r\n"), FORM)
    assert raised.value.public_message == sentences.NAMELESS_PART


@given(
    st.lists(
        st.sampled_from(
            [
                b"Content-Disposition:",
                b"Content-Type:",
                b"form-data",
                b"; name",
                b'="image"',
                b"=width",
                b"; filename",
                b"*=utf-8''%ff",
                b"; charset=utf-16",
                b'"',
                b"\\",
                b" ",
                b"\r\n",
                b"\xff\0",
                b"--edge",
            ]
        ),
        max_size=12,
    )
)
def test_a_part_with_any_headers_is_parsed_or_gets_an_error(pieces: list[bytes]) -> None:
    disposition = b"--edge\r\nContent-Disposition: form-data"
    for start in (b"--edge\r\n", disposition, disposition + b'; name="image"'):
        body = form(part("image", b"x"), start + b"".join(pieces) + b"\r\n\r\n80\r\n")
        with suppress(BadRequestError, BadOptionError, TooManyBytesError):
            parse(body, FORM)


def filled(start: bytes, unit: bytes, end: bytes = b"") -> bytes:
    """Return a body of BODY_BYTES, nearly all of it repetitions of `unit`."""
    return start + unit * ((BODY_BYTES - len(start) - len(end)) // len(unit)) + end


LARGE: dict[str, Callable[[], tuple[bytes, str]]] = {
    "image": lambda: (filled(b'{"width":8,"image":"', b"YWJj", b'"}'), JSON),
    "image with escaped slashes": lambda: (
        filled(b'{"width":8,"image":"', rb"YWJjYWJjYWJj\/\/\/\/", b'"}'),
        JSON,
    ),
    "wrapped image": lambda: (filled(b'{"width":8,"image":"', rb"YWJj" * 19 + rb"\n", b'"}'), JSON),
    "wrapped data URL": lambda: (
        filled(b'{"width":8,"image":"data:;base64,', rb"YWJj" * 19 + rb"\n", b'"}'),
        JSON,
    ),
    "deep lists": lambda: (filled(b"", b"["), JSON),
    "deep objects": lambda: (filled(b"", b'{"a":'), JSON),
    "objects": lambda: (filled(b'{"width":8,"image":"YWJj","x":[', b"{},", b"0]}"), JSON),
    "floats": lambda: (filled(b'{"width":8,"image":"YWJj","x":[', b"1e1,", b"0]}"), JSON),
    "members": lambda: (
        b'{"width":8,"image":"YWJj"%b}' % b"".join(b',"%x":0' % n for n in range(1_200_000)),
        JSON,
    ),
    "duplicates": lambda: (filled(b"{", b'"image":{},', b'"width":8}'), JSON),
    "number": lambda: (filled(b'{"width":', b"9", b"}"), JSON),
    "escapes": lambda: (filled(b'{"width":8,"image":"', rb"\u0041", b'"}'), JSON),
    "wide characters": lambda: (filled(b'{"width":8,"image":"', "😀".encode(), b'"}'), JSON),
    "one wide character": lambda: (filled(b'{"width":8,"image":"', b"YWJj", '😀"}'.encode()), JSON),
    "one escaped wide character": lambda: (
        filled(b'{"width":8,"image":"', b"YWJj", rb'\ud83d\ude00"}'),
        JSON,
    ),
    "one wide character elsewhere": lambda: (
        filled('{"style":"ramp","chars":" █","width":8,"image":"'.encode(), b"YWJj", b'"}'),
        JSON,
    ),
    "lone surrogates": lambda: (filled(b'{"width":8,"image":"', rb"\ud800", b'"}'), JSON),
    "escaped quotes": lambda: (filled(b'{"width":8,"image":"', rb"\"", b'"}'), JSON),
    "key": lambda: (filled(b'{"', b"k", b'":0,"width":8,"image":"YWJj"}'), JSON),
    "form": lambda: (form(part("image", bytes(10_000_000))), FORM),
    "form of small parts": lambda: (
        form(*[part(str(number), b"x") for number in range(100_000)]),
        FORM,
    ),
    "form of headers": lambda: (
        form(*[part(str(n), b"x", headers=b"A:\r\n" * 150_000) for n in range(16)]),
        FORM,
    ),
}
"""Makers of the most expensive bodies, each with its content type."""

PROGRAM = """
import os, pathlib, re, sys
sys.path.insert(0, ".")
from tests.service.test_parsing import AsciistError, form, parse, part

def peak():
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])

def cost(path, content_type):
    body = pathlib.Path(path).read_bytes()
    before = peak()
    try:
        parse(body, content_type)
    except AsciistError:
        pass
    return peak() - before + len(body)

parse(b'{"width": 8, "image": "YWJj"}')
parse(form(part("image", b"x")), "multipart/form-data; boundary=edge")
for line in sys.stdin:
    if os.fork() == 0:
        print(cost(*line.rstrip("\\n").split("\\t")), flush=True)
        os._exit(0)
    os.wait()
"""
"""Prints the peak memory of parsing a body, and the size of the body, in bytes, for each line with
its path and content type.

Each body is parsed in a new child process, which has parsed nothing large before.
"""


INTERPRETER_BYTES = 2_000_000
"""The forked process copies the interpreter's pages that it touches, how many depends on the Python:
on 3.11.2, up to 0.4 MB more than on 3.11.7."""


@pytest.fixture(scope="module")
def measurer() -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_parsing_a_large_body_takes_at_most_four_times_its_size(
    tmp_path: Path, name: str, measurer: "subprocess.Popen[str]"
) -> None:
    body, content_type = LARGE[name]()
    path = tmp_path / "body"
    path.write_bytes(body)
    assert measurer.stdin
    assert measurer.stdout
    print(path, content_type, sep="\t", file=measurer.stdin, flush=True)

    assert int(measurer.stdout.readline()) < 4 * len(body) + INTERPRETER_BYTES
