"""Example commands for every operation of the API, shown in its documentation. A test runs each and compares its output."""

import json
from dataclasses import dataclass
from typing import Final


def _lines(*lines: str) -> str:
    return "\n".join(lines)


HEART: Final = (
    "iVBORw0KGgoAAAANSUhEUgAAABgAAAAYAQAAAADIDABVAAAASElEQVR42lXDsQmAMBCG0Y//BFew08JBHD3iIocTpEhxSExsLPTBg9eIMx+hZR20ITEh+E80"
    "OVWZUJBVcTUSdIy+G/dpXIWPB028FRdYULUeAAAAAElFTkSuQmCC"
)
"""The file `static/heart.png`, in base64."""

ART: Final = _lines(
    "   _j_    _j_   ",
    "_g@@Q@@, @@QQ@g,",
    "]@QZZQQ@@QQZZQ@[",
    "'B@QQZZZZZZQQ@@`",
    "  TQ@QQZZQQ@@T  ",
    "    TQ@QQ@@T    ",
    "      T@@T      ",
    "                ",
)
BLOCKS: Final = _lines(
    " ▗▗▄    ▄▖▖ ",
    "▐████▙▟████▌",
    "▐██████████▌",
    " ▝▜██████▛▘ ",
    "   ▝▜██▛▘   ",
    "     ▝▘     ",
)
SMALL: Final = _lines(
    "_gg__gg_",
    "Q@QQQQ@E",
    ' "BQ@B" ',
    '   ""   ',
)


@dataclass(frozen=True, kw_only=True)
class Example:
    """A command line, to be run in the directory of `heart.png`."""

    title: str
    command: str
    output: str = ""
    """Output of the command, without the final newline; empty if it is too long to show."""


def examples(origin: str) -> dict[str, list[Example]]:
    """Return the examples by operation id, in an order in which they can be run.

    `origin` is the address of the service, such as `https://host`.
    """
    form = "curl -F image=@heart.png"
    sent = f"curl -s -o /dev/null --data-binary @heart.png '{origin}/?width=12&style=blocks'"
    link = f"""$({sent} -w '%header{{content-location}}')"""
    image = f"""$({sent} -w '%header{{link}}' | tr -d '<' | cut -d '>' -f 1)"""
    json_type = "-H 'Content-Type: application/json'"
    return {
        "front": [Example(title="The usage text", command=f"curl {origin}")],
        "convert": [
            Example(title="A file", command=f"curl --data-binary @heart.png '{origin}/?width=16'", output=ART),
            Example(title="A form", command=f"{form} -F width=12 -F style=blocks {origin}", output=BLOCKS),
            Example(
                title="JSON",
                command=f"""curl {json_type} -d '{{"width": 8, "image": "{HEART}"}}' {origin}""",
                output=json.dumps({"art": SMALL}, separators=(",", ":")),
            ),
            Example(
                title="JSON without a width",
                command=f"""curl {json_type} -d '{{"image": "{HEART}"}}' {origin}""",
                output='{"error":"no width provided"}',
            ),
        ],
        "convertRaw": [
            Example(
                title="An error as text",
                command=f"curl -X PUT --data-binary @heart.png '{origin}/?width=0'",
                output="width must be a whole number from 1 to 1000",
            )
        ],
        "convertNamed": [Example(title="A file", command=f"curl -T heart.png '{origin}/heart.png?width=16'", output=ART)],
        "convertStoredImage": [
            Example(
                title="Another style, without uploading the image again",
                command=f'curl -X POST "{origin}{image}?width=16"',
                output=ART,
            )
        ],
        "deleteImage": [
            Example(
                title="The image and all its art",
                command=f"""curl -X DELETE -w '%{{http_code}}' "{origin}{image}\"""",
                output="204",
            )
        ],
        "storedArt": [
            Example(
                title="By its URL",
                command=f'curl "{origin}{link.replace("12&style=blocks", "16")}"',
                output=ART,
            )
        ],
        "storedArtOfVariant": [Example(title="By its URL", command=f'curl "{origin}{link}"', output=BLOCKS)],
        "health": [Example(title="Liveness", command=f"curl {origin}/healthz", output="ok")],
        "readiness": [Example(title="Readiness", command=f"curl {origin}/readyz", output="ready")],
        "openapi": [Example(title="The OpenAPI document", command=f"curl {origin}/openapi.json")],
    }
