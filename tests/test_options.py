"""The conversion options: valid values, error messages, and the table that the rest of the code
follows."""

import base64
import json
import re
import subprocess
import sys
from dataclasses import asdict
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from asciist.conversion import STYLES, ConversionOptions
from asciist.conversion.rendering import RENDERERS
from asciist.errors import BadOptionError, MalformedMessageError
from asciist.limits import Limits
from asciist.options import COLORS, OPTIONS, PAINTS, with_defaults
from asciist.protocol.artifacts import art_key
from asciist.protocol.links import NAME_PATTERN
from asciist.protocol.messages import (
    _REQUEST_VERSIONS_READ,
    REQUEST_VERSION,
    ConversionRequest,
)
from service.openapi import dereferenced
from tools.testing.drawing import convert
from tools.testing.images import encoded, gradient

ROOT = Path(__file__).parent.parent
CAT = ROOT / "docs" / "examples" / "cat.jpg"

RAMP = " .:-=+*#%@"
DARK_TO_LIGHT = encoded(Image.linear_gradient("L").rotate(90).resize((1000, 200)), "PNG")


def characters_of_first_row(**options: object) -> str:
    """Return the distinct characters, from left to right, in the first row of the art of a gradient
    from black to white."""
    art = convert(DARK_TO_LIGHT, ConversionOptions(width=100, style="ramp", **options), Limits())  # type: ignore[arg-type]
    return "".join(dict.fromkeys(art.split("\n")[0]))


def test_every_style_has_a_renderer() -> None:
    assert list(RENDERERS) == list(STYLES)


class TestChars:
    @pytest.mark.parametrize("chars", [RAMP, " .oO@", " ░▒▓█", "·+Ж█", "ab", "^", "<&>\"'"])
    def test_chars_replace_the_ramp_from_dark_to_light(self, chars: str) -> None:
        assert characters_of_first_row(chars=chars) == chars

    def test_a_repeated_character_takes_a_larger_part_of_the_ramp(self) -> None:
        art = convert(
            DARK_TO_LIGHT, ConversionOptions(width=100, style="ramp", chars="   @"), Limits()
        )

        assert 70 <= art.split("\n")[0].count(" ") <= 80

    def test_characters_after_a_circumflex_are_excluded(self) -> None:
        assert characters_of_first_row(chars="^@%") == " .:-=+*#"
        assert characters_of_first_row(chars="^x") == RAMP
        assert characters_of_first_row(chars="^^") == RAMP

    def test_a_circumflex_alone_is_drawn(self) -> None:
        art = convert(DARK_TO_LIGHT, ConversionOptions(width=9, style="ramp", chars="^"), Limits())

        assert set(art) == {"^"}

    @pytest.mark.parametrize(
        "chars",
        [
            "\n",
            " \x1b[2J@",
            "\x00",
            "\x7f",
            "\x9b",
            "^\x07",
            "\u0301",  # combining acute accent
            "a\u200b",  # zero-width space
            "\u00ad",  # soft hyphen
            "\u202e",  # right-to-left override
            "\u2028",
            "\ufeff",
            "漢",
            "\uff21",  # full-width A
            "🙂",
            "א",
            "ع",
            "\u1161",  # Hangul vowel, which joins the character before it
            "\ud800",  # unpaired surrogate, which JSON can contain
            "\ue000",
            "\U000e0041",
        ],
    )
    def test_each_character_must_be_printable_and_one_column_wide(self, chars: str) -> None:
        with pytest.raises(
            BadOptionError, match="chars must be printable characters, each one column wide"
        ):
            ConversionOptions(width=9, style="ramp", chars=chars).check(Limits())

    def test_replacement_characters_of_invalid_utf8_are_refused(self) -> None:
        with pytest.raises(BadOptionError, match="chars must be printable"):
            ConversionOptions(width=9, style="ramp", chars=b"\xff".decode(errors="replace")).check(
                Limits()
            )

    def test_chars_hold_all_of_printable_ascii_and_at_most_100_bytes(self) -> None:
        printable = "".join(map(chr, range(32, 127)))
        for chars in (printable, "^" + printable.replace(" ", ""), "█" * 33):
            ConversionOptions(width=9, style="ramp", chars=chars).check(Limits())
        for chars in ("x" * 101, "█" * 34, "x" * 10_000_000, "\ud800" * 50):
            with pytest.raises(BadOptionError, match="chars must be at most 100 bytes in UTF-8"):
                ConversionOptions(width=9, style="ramp", chars=chars).check(Limits())

    def test_excluding_every_character_is_refused(self) -> None:
        with pytest.raises(BadOptionError, match="chars excludes every character of the style"):
            ConversionOptions(width=9, style="ramp", chars="^" + RAMP).check(Limits())

    @pytest.mark.parametrize(
        "style", [name for name, style in STYLES.items() if not style.characters]
    )
    def test_a_style_with_fixed_patterns_refuses_chars(self, style: str) -> None:
        with pytest.raises(
            BadOptionError,
            match=f"chars cannot be used with the style {style}, which draws fixed patterns",
        ):
            ConversionOptions(width=9, style=style, chars="x").check(Limits())


def test_invert_reverses_the_ramp() -> None:
    assert characters_of_first_row(invert=True) == RAMP[::-1]
    assert characters_of_first_row(invert=True, chars=" ░▒▓█") == "█▓▒░ "


def test_the_background_is_that_of_the_reader_unless_the_answer_sets_it() -> None:
    assert with_defaults({}) == ConversionOptions(width=80)
    assert with_defaults({"width": 9, "color": "ansi"}) == ConversionOptions(width=9, color="ansi")
    assert with_defaults({"color": "html"}) == ConversionOptions(
        width=80, color="html", invert="auto"
    )
    assert with_defaults({"color": "html", "invert": False}).invert is False


def test_another_value_of_invert_is_refused() -> None:
    with pytest.raises(BadOptionError, match="invert must be true, false or auto"):
        # As in a message.
        ConversionOptions(width=9, invert="yes").check(Limits())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("auto", "auto"),
        ("#FF8800", "#ff8800"),
        ("f80", "#ff8800"),
        ("#f80", "#ff8800"),
        ("abc", "#aabbcc"),
        ("RebeccaPurple", "#663399"),
    ],
)
def test_a_background_is_a_colour_in_any_notation(text: str, value: str) -> None:
    kind = OPTIONS["background"].kind
    assert (
        kind.from_text("background", text, Limits())
        == kind.from_json("background", text, Limits())
        == value
    )
    ConversionOptions(width=9, background=value).check(Limits())


@pytest.mark.parametrize(
    "text", ["", "#ff880", "nocolour", "rgb(1,2,3)", "#ggg", "#" * 100, "transparent", "\n"]
)
def test_another_background_is_refused(text: str) -> None:
    sentence = "background must be auto, a colour such as #ff8800, or a colour's name in CSS"
    with pytest.raises(BadOptionError, match=sentence):
        OPTIONS["background"].kind.from_text("background", text, Limits())
    with pytest.raises(BadOptionError, match=sentence):
        ConversionOptions(width=9, background=text).check(Limits())


def test_an_unknown_color_is_refused() -> None:
    with pytest.raises(
        BadOptionError, match="color must be one of: none, ansi, html, ansi256, ansi16"
    ):
        ConversionOptions(width=9, color="cmyk").check(Limits())


@pytest.mark.parametrize("paint", PAINTS)
@pytest.mark.parametrize("color", COLORS)
@pytest.mark.parametrize("style", STYLES)
def test_no_cell_has_more_characters_than_its_weight(style: str, color: str, paint: str) -> None:
    noise = Image.merge("RGB", [Image.effect_noise((160, 160), 200) for _ in range(3)])
    chars = "&" if STYLES[style].takes_any_character else ""
    options = ConversionOptions(width=80, style=style, color=color, chars=chars, paint=paint)
    small, large = (
        len(convert(encoded(image, "PNG"), options, Limits()))
        for image in (noise.crop((0, 0, 160, 4)), noise)
    )

    line_ends = 40 * len("</b>\x1b[0m\n")
    assert large - small <= 39 * 80 * options.cell_weight + line_ends


def test_art_over_the_character_limit_is_refused_and_colour_codes_count() -> None:
    limits = Limits(max_art_characters=100_000)
    for options, max_characters in (
        (ConversionOptions(width=80, style="ramp"), 100_000),
        (ConversionOptions(width=80, style="ramp", color="ansi"), 5000),
        (ConversionOptions(width=80, style="ramp", color="html"), 3125),
        (ConversionOptions(width=80, style="braille"), 12_500),
        (ConversionOptions(width=80, style="blocks", color="ansi"), 2702),
    ):
        options.check_art(1, max_characters, limits, pixels=10_000_000)
        with pytest.raises(
            BadOptionError,
            match=f"the limit for this style and color is {max_characters} characters",
        ):
            options.check_art(1, max_characters + 1, limits, pixels=10_000_000)


def test_art_of_an_image_has_the_same_size_in_every_style() -> None:
    for style in STYLES:
        lines = convert(
            encoded(gradient(64, 64), "PNG"), ConversionOptions(width=20, style=style), Limits()
        ).split("\n")
        assert {len(line) for line in lines} == {20}
        assert len(lines) == 10


PRESENT: list[dict[str, Any]] = [
    {"width": 80},
    {"width": 1, "style": "ramp"},
    {"width": 9, "invert": True},
    {"width": 9, "style": "ramp", "invert": True, "color": "html", "chars": " .é█"},
    {"width": 1000, "style": "blocks", "color": "ansi"},
]
"""Sets of values of the existing options."""

ADDED: list[tuple[dict[str, Any], str, str]] = [
    ({"xlines": 4}, "xlines=4", "/style/structure.xlines-4/width/80"),
    ({"xmirror": True}, "xmirror", "/style/structure.xmirror/width/80"),
    ({"xedges": "sharp"}, "xedges=sharp", "/style/structure.sharp/width/80"),
    ({"xfill": "#é"}, "xfill=%23%C3%A9", "/style/structure.xfill-23c3a9/width/80"),
    (
        {
            "style": "ramp",
            "invert": True,
            "xlines": 9,
            "xmirror": True,
            "xedges": "sharp",
            "xfill": "x",
        },
        "style=ramp&invert&xlines=9&xmirror=1&xedges=sharp&xfill=x",
        "/style/ramp.invert.xlines-9.xmirror.sharp.xfill-78/width/80",
    ),
]
"""Sets of values of the added options, with their query and the end of the storage key."""

ADDED_NAMES = ["xlines", "xmirror", "xedges", "xfill"]

ADDED_VERSION = max(_REQUEST_VERSIONS_READ) + 1
"""Message version of a conversion request with an added option."""

REJECTED = {
    "xlines=0": "xlines must be a whole number from 1 to 9\n",
    "xlines=x": "xlines must be a whole number from 1 to 9\n",
    "xmirror=2": "xmirror must be true or false\n",
    "xedges=round": "xedges must be one of: soft, sharp\n",
}

REQUEST: dict[str, Any] = {
    "correlation_id": "test",
    "digest": "0" * 64,
    "deadline": 1.5,
    "reply_to": "embedded:test",
}

WITH_ADDED_OPTIONS = """
import json, sys
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from urllib.parse import parse_qsl

from asciist import options
from asciist.options.kinds import Characters, Choice, Flag, Integer

given = json.load(sys.stdin)


def row(kind, name):
    texts = {text: f"{text} of {name}" for text in ("summary", "description", "label")}
    return {"kind": kind, "message_version": given["version"], **texts}


@dataclass(frozen=True, kw_only=True)
class ExtendedOptions(options.ConversionOptions):
    xlines: int = field(default=1, metadata=row(Integer(minimum=1, maximum=lambda limits: 9), "xlines"))
    xmirror: bool = field(default=False, metadata=row(Flag(), "xmirror"))
    xedges: str = field(default="soft", metadata=row(Choice(choices=("soft", "sharp")), "xedges"))
    xfill: str = field(default="", metadata=row(Characters(max_bytes=20), "xfill"))


# The table must be complete before any module that reads it is imported.
readers = ("asciist.protocol", "asciist.conversion", "asciist.cli", "service")
assert not [name for name in sys.modules if name.startswith(readers)]
options.ConversionOptions = ExtendedOptions
options.OPTIONS = options._table()

from click.testing import CliRunner

from asciist.cli.commands import main
from asciist.protocol.artifacts import art_key, digest_of, options_of_variant, variant_of
from asciist.protocol.messages import ConversionRequest
from asciist.settings import Settings
from asciist.wiring import build_web_process
from service import create_app

present, added = ([ExtendedOptions(**values) for values in given[name]] for name in ("present", "added"))
image = Path(given["image"]).read_bytes()
process = build_web_process(Settings(data_dir=Path(given["data_dir"]), metrics="none"))
app = create_app(
    settings=process.settings,
    requester=process.requester,
    metrics=process.metrics,
    links=process.links,
    is_ready=process.is_ready,
)
client = app.test_client()
HTML = {"Accept": "text/html"}


def write(values):
    return ConversionRequest(**given["request"], options=values).to_json()


def is_read_back_from_key(values):
    return options_of_variant(variant_of(values), values.width) == values


def convert(method, path, **body):
    location = client.open(path, method=method, **body).headers["Content-Location"]
    return [location, client.get(location).status_code]


def run(*arguments):
    result = CliRunner().invoke(main, ["test", "--width", "9", *arguments, given["image"]])
    return [result.exit_code, result.output]


stored_image = client.post("/", data=image).headers["Link"][1:].partition(">")[0]
report = {
    "names": list(options.OPTIONS),
    "present_keys": [art_key("0" * 64, values) for values in present],
    "added_keys": [art_key("0" * 64, values) for values in added],
    "keys_read_back": [is_read_back_from_key(values) for values in [*present, *added]],
    "present_messages": [write(values) for values in present],
    "added_messages": [write(values) for values in added],
    "messages_read_back": [ConversionRequest.from_json(write(values)).options == values for values in [*present, *added]],
    "released_messages_read": [
        ConversionRequest.from_json(body).options == values for body, values in zip(given["messages"], present, strict=True)
    ],
    "queries": [convert("PUT", f"/?{query}", data=image) for query in given["queries"]],
    "stored_image": [convert("POST", f"{stored_image}?{query}") for query in given["queries"]],
    "forms": [
        convert("POST", "/", data={"image": (BytesIO(image), "cat.jpg"), **dict(parse_qsl(query, keep_blank_values=True))})
        for query in given["queries"]
    ],
    "json_bodies": [
        convert("POST", "/", json={"width": 80, "image": given["base64"], **values}) for values in given["added"]
    ],
    "rejections": {query: client.post(f"/?{query}", data=image).text for query in given["rejected"]},
    "openapi": client.get("/openapi.json").get_json(),
    "docs": client.get("/docs").text,
    "usage": client.get("/").text,
    "page": client.get("/", headers=HTML).text,
    "page_of_art": client.post(f"/?{given['queries'][-1]}", data=image, headers=HTML).text,
    "help": [CliRunner().invoke(main, [command, "--help"]).output for command in ("test", "convert")],
    "command": run(),
    "command_with_added": run("--xlines", "4", "--xmirror", "--xedges", "sharp", "--xfill", "x"),
    "commands_rejected": [run("--xlines", "0"), run("--xedges", "round")],
}
process.close()
print(json.dumps(report))
"""


def message_of(values: dict[str, Any]) -> ConversionRequest:
    return ConversionRequest(**REQUEST, options=ConversionOptions(**values))


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The report of a process whose table contains the added options."""
    given = {
        "present": PRESENT,
        "added": [{"width": 80, **values} for values, _, _ in ADDED],
        "queries": [query for _, query, _ in ADDED],
        "rejected": list(REJECTED),
        "request": REQUEST,
        "version": ADDED_VERSION,
        "messages": [message_of(values).to_json() for values in PRESENT],
        "image": str(CAT),
        "base64": base64.b64encode(CAT.read_bytes()).decode(),
        "data_dir": str(tmp_path_factory.mktemp("store")),
    }
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", WITH_ADDED_OPTIONS],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert run.returncode == 0, run.stderr
    report: dict[str, Any] = json.loads(run.stdout)
    assert report["names"] == [*OPTIONS, *ADDED_NAMES]
    return report


class TestTable:
    """A new row adds an option to storage keys, messages, requests, the OpenAPI document, the page
    and the command.

    A subprocess adds one row of each kind to the table before any other module reads it, and
    reports the results. The test process uses the table without these rows, like the previous
    release during an upgrade.
    """

    def test_storage_keys_of_the_present_options_do_not_change(
        self, extended: dict[str, Any]
    ) -> None:
        assert extended["present_keys"] == [
            art_key("0" * 64, ConversionOptions(**values)) for values in PRESENT
        ]

    def test_storage_keys_name_the_added_options_and_can_be_read_back(
        self, extended: dict[str, Any]
    ) -> None:
        assert extended["added_keys"] == ["0" * 64 + suffix for _, _, suffix in ADDED]
        assert all(extended["keys_read_back"])

    def test_a_message_has_a_new_version_only_if_it_carries_an_added_option(
        self, extended: dict[str, Any]
    ) -> None:
        versions = [json.loads(body)["version"] for body in extended["present_messages"]]
        assert versions == [
            json.loads(message_of(values).to_json())["version"] for values in PRESENT
        ]
        assert set(versions) == {REQUEST_VERSION, ADDED_VERSION - 1}
        assert {json.loads(body)["version"] for body in extended["added_messages"]} == {
            ADDED_VERSION
        }
        for body, (values, _, _) in zip(extended["added_messages"], ADDED, strict=True):
            assert json.loads(body).items() >= values.items()
        assert all(extended["messages_read_back"])

    def test_releases_with_and_without_the_added_options_read_each_others_messages(
        self, extended: dict[str, Any]
    ) -> None:
        assert all(extended["released_messages_read"])
        for body, values in zip(extended["present_messages"], PRESENT, strict=True):
            assert ConversionRequest.from_json(body) == message_of(values)
        for body in extended["added_messages"]:
            with pytest.raises(MalformedMessageError, match=f"version {ADDED_VERSION}"):
                ConversionRequest.from_json(body)

    @pytest.mark.parametrize("source", ["queries", "stored_image", "forms", "json_bodies"])
    def test_requests_accept_the_added_options_and_the_art_has_a_url(
        self, extended: dict[str, Any], source: str
    ) -> None:
        urls = [url for url, _ in extended[source]]
        assert [re.sub(f"^/{NAME_PATTERN}", "", url) for url in urls] == [
            suffix for _, _, suffix in ADDED
        ]
        assert {status for _, status in extended[source]} == {200}

    def test_an_invalid_value_is_refused_by_name(self, extended: dict[str, Any]) -> None:
        assert extended["rejections"] == REJECTED

    def test_the_openapi_document_describes_the_added_options(
        self, extended: dict[str, Any]
    ) -> None:
        paths = dereferenced(extended["openapi"])
        schemas = {
            "xlines": {"type": "integer", "minimum": 1, "maximum": 9, "default": 1},
            "xmirror": {"type": "boolean", "default": False},
            "xedges": {"type": "string", "enum": ["soft", "sharp"], "default": "soft"},
        }
        for operation in (
            paths["/"]["post"],
            paths["/"]["put"],
            paths["/{name}"]["put"],
            paths["/image/{capability}"]["post"],
        ):
            parameters = {parameter["name"]: parameter for parameter in operation["parameters"]}
            assert [name for name in parameters if name in OPTIONS or name in ADDED_NAMES] == [
                *OPTIONS,
                *ADDED_NAMES,
            ]
            assert all(parameters[name]["schema"] == schema for name, schema in schemas.items())
            assert (
                parameters["xfill"]["schema"].items()
                >= {"type": "string", "maxLength": 20, "default": ""}.items()
            )
        for content_type in ("application/json", "multipart/form-data"):
            properties = paths["/"]["post"]["requestBody"]["content"][content_type]["schema"][
                "properties"
            ]
            for name in ADDED_NAMES:
                assert properties[name]["description"] == f"description of {name}"

        (variant,) = [
            parameter["schema"]["pattern"]
            for parameter in paths["/{name}/style/{variant}/width/{width}"]["get"]["parameters"]
            if parameter["name"] == "variant"
        ]
        assert all(re.match(variant, suffix.split("/")[2]) for _, _, suffix in ADDED)
        assert all(f"description of {name}" in unescape(extended["docs"]) for name in ADDED_NAMES)

    def test_the_usage_text_lists_the_added_options(self, extended: dict[str, Any]) -> None:
        assert re.findall(
            "^    ([a-z]+) +summary of ([a-z]+)", extended["usage"], re.MULTILINE
        ) == [(name, name) for name in ADDED_NAMES]
        assert "summary of xlines, 1 to 9 (default 1)\n" in extended["usage"]
        assert "summary of xedges (default soft)\n" in extended["usage"]

    def test_the_page_has_a_control_for_each_added_option(self, extended: dict[str, Any]) -> None:
        def controls(page: str) -> list[str]:
            return [
                re.search(rf'<(?:input|select)[^>]* name="{name}".*', page)[0]
                for name in ADDED_NAMES
            ]  # type: ignore[index]

        page, page_of_art = extended["page"], extended["page_of_art"]
        lines, mirror, edges, fill = controls(page)
        assert all(f"label of {name}" in page for name in ADDED_NAMES)
        assert 'type="number"' in lines
        assert 'min="1" max="9" value="1"' in lines
        assert 'type="checkbox"' in mirror
        assert "checked" not in mirror
        assert edges.startswith("<select")
        assert "<option selected>soft</option>\n<option>sharp</option>" in page
        assert 'value=""' in fill
        assert 'maxlength="20"' in fill

        values = dict(re.findall("<dt>(.*)</dt><dd>(.*)</dd>", page_of_art))
        assert [values[f"label of {name}"] for name in ADDED_NAMES] == ["9", "yes", "sharp", "x"]

    def test_the_command_has_the_added_options(self, extended: dict[str, Any]) -> None:
        flags = ["--xlines NUMBER", "--xmirror / --no-xmirror", "--xedges NAME", "--xfill TEXT"]
        for text in extended["help"]:
            for flag, name in zip(flags, ADDED_NAMES, strict=True):
                assert re.search(rf"^  {flag} +Summary of {name}\.", text, re.MULTILINE)

        art = convert(CAT.read_bytes(), ConversionOptions(width=9), Limits()) + "\n"
        assert extended["command"] == extended["command_with_added"] == [0, art]
        (number_status, number_error), (choice_status, choice_error) = extended["commands_rejected"]
        assert (number_status, choice_status) == (2, 1)
        assert "1<=x<=9" in number_error
        assert choice_error.endswith("xedges must be one of: soft, sharp\n")


def test_the_table_has_the_fields_of_the_options_in_order_with_their_defaults() -> None:
    assert list(OPTIONS) == list(asdict(ConversionOptions(width=80)))
    assert {name: option.default for name, option in OPTIONS.items()} == asdict(
        ConversionOptions(width=80)
    )
