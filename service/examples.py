"""Example commands for every operation of the API, shown in its documentation. A test runs each and
compares its output."""

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
    "   __      __   ",
    " y@QQ@g  @@QQ@y ",
    " @QQQQQQQQQQQQ@`",
    " QQQQQQQQQQQQQ@`",
    '  "QQQQQQQQQ8"  ',
    '    "QQQQQ8"    ',
    '      "Q@"      ',
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
    "__y__y__",
    "3QQQQQQE",
    ' "RQQR" ',
    '   ""   ',
)


ART_NAME: Final = "\u2026"
"""Placeholder in outputs for the name of art or the code of a short link, which differ between
deployments."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """A call in up to three languages, to be run in the directory of `heart.png`. Each prints the
    same."""

    title: str
    command: str
    """For bash."""
    python: str = ""
    """Standard library only, unless the title says otherwise."""
    javascript: str = ""
    """Module for Node.js. Browsers support the same calls; their files come from a form or a
    drop."""
    output: str = ""
    """Output without the final newline; empty if it is too long to show. Contains `ART_NAME` in
    place of the name of art."""

    @property
    def sources(self) -> dict[str, str]:
        """The available sources, by language."""
        sources = {"Shell": self.command, "Python": self.python, "JavaScript": self.javascript}
        return {language: source for language, source in sources.items() if source}


def examples(origin: str) -> dict[str, list[Example]]:
    """Return the examples by operation id, in an order that runs.

    `origin` is the address of the service, such as `https://host`.
    """
    sent = f"curl -s -o /dev/null --data-binary @heart.png '{origin}/?width=12&style=blocks'"
    link = f"""$({sent} -w '%header{{content-location}}')"""
    of_defaults = link.replace("12&style=blocks", "16")
    image = f"""$({sent} -w '%header{{link}}' | tr -d '<' | cut -d '>' -f 1)"""
    return {
        "front": [Example(title="The usage text", command=f"curl {origin}")],
        "convert": _conversions(origin),
        "convertRaw": [
            Example(
                title="An error as text",
                command=f"curl -X PUT --data-binary @heart.png '{origin}/?width=0'",
                output="width must be a whole number from 1 to 1000",
            ),
            Example(
                title="A misspelled option",
                command=f"curl -X PUT --data-binary @heart.png '{origin}/?colour=ansi'",
                output='unknown option "colour": did you mean color?',
            ),
        ],
        "convertNamed": [
            Example(
                title="A file",
                command=f"curl -T heart.png '{origin}/heart.png?width=16'",
                output=ART,
            )
        ],
        "convertStoredImage": [
            Example(
                title="Another style, without uploading the image again",
                command=f'curl -X POST "{origin}{image}?width=16"',
                python=_lines(
                    *_python_upload(origin),
                    "again = Request(f'{url}?width=16', method='POST')",
                    "print(urlopen(again).read().decode(), end='')",
                ),
                javascript=_lines(
                    *_javascript_upload(origin),
                    "const again = await fetch(`${url}?width=16`, { method: 'POST' });",
                    "console.log((await again.text()).replace(/\\n$/, ''));",
                ),
                output=ART,
            )
        ],
        "deleteImage": [
            Example(
                title="The image and all its art",
                command=f"""curl -X DELETE -w '%{{http_code}}' "{origin}{image}\"""",
                python=_lines(
                    *_python_upload(origin), "print(urlopen(Request(url, method='DELETE')).status)"
                ),
                javascript=_lines(
                    *_javascript_upload(origin),
                    "console.log((await fetch(url, { method: 'DELETE' })).status);",
                ),
                output="204",
            )
        ],
        "storedArt": [
            Example(
                title="By its URL",
                command=f'curl "{origin}{of_defaults}"',
                output=ART,
            )
        ],
        "sharedArt": [
            Example(
                title="By its short link",
                command=f'curl "$(curl -s -X POST "{origin}{of_defaults}")"',
                output=ART,
            )
        ],
        "sharedFile": [
            Example(
                title="As text",
                command=f'curl "$(curl -s -X POST "{origin}{of_defaults}").txt"',
                output=ART,
            )
        ],
        "shortLink": [
            Example(
                title="A link to read aloud",
                command=f'curl -X POST "{origin}{of_defaults}"',
                output=f"{origin}/{ART_NAME}",
            )
        ],
        "shortLinkOfVariant": [
            Example(
                title="A link to read aloud",
                command=f'curl -X POST "{origin}{link}"',
                output=f"{origin}/{ART_NAME}",
            )
        ],
        "storedArtOfVariant": [
            Example(title="By its URL", command=f'curl "{origin}{link}"', output=BLOCKS)
        ],
        "storedFile": [
            Example(title="As text", command=f'curl "{origin}{of_defaults}.txt"', output=ART),
            Example(
                title="As a picture",
                command=f"""curl -o art.png -w '%{{content_type}}' "{origin}{of_defaults}.png\"""",
                output="image/png",
            ),
        ],
        "storedFileOfVariant": [
            Example(title="As text", command=f'curl "{origin}{link}.txt"', output=BLOCKS)
        ],
        "health": [Example(title="Liveness", command=f"curl {origin}/healthz", output="ok")],
        "readiness": [Example(title="Readiness", command=f"curl {origin}/readyz", output="ready")],
        "openapi": [Example(title="The OpenAPI document", command=f"curl {origin}/openapi.json")],
    }


def _conversions(origin: str) -> list[Example]:
    json_type = "-H 'Content-Type: application/json'"
    described = {
        "url": f"{origin}/{ART_NAME}/width/8",
        "columns": 8,
        "rows": 4,
        "style": "structure",
        "stored": False,
        "art": SMALL,
    }
    return [
        Example(
            title="A file",
            command=f"curl --data-binary @heart.png '{origin}/?width=16'",
            python=_lines(
                "from pathlib import Path",
                "from urllib.request import Request, urlopen",
                "",
                "image = Path('heart.png').read_bytes()",
                f"request = Request('{origin}/?width=16', image, method='PUT')",
                "print(urlopen(request).read().decode(), end='')",
            ),
            javascript=_lines(
                "import { openAsBlob } from 'node:fs';",
                "",
                "const body = await openAsBlob('heart.png'); // in a browser: input.files[0]",
                f"const answer = await fetch('{origin}/?width=16', {{ method: 'PUT', body }});",
                "if (!answer.ok) throw new Error(await answer.text());",
                "console.log((await answer.text()).replace(/\\n$/, ''));",
            ),
            output=ART,
        ),
        Example(
            title="A form",
            command=f"curl -F image=@heart.png -F width=12 -F style=blocks {origin}",
            javascript=_lines(
                "import { openAsBlob } from 'node:fs';",
                "",
                "const body = new FormData();",
                "body.set('image', await openAsBlob('heart.png'), 'heart.png');",
                "body.set('width', '12');",
                "body.set('style', 'blocks');",
                f"const answer = await fetch('{origin}', {{ method: 'POST', body }});",
                "console.log((await answer.text()).replace(/\\n$/, ''));",
            ),
            output=BLOCKS,
        ),
        Example(
            title="JSON",
            command=f"""curl {json_type} -d '{{"width": 8, "image": "{HEART}"}}' {origin}""",
            output=json.dumps(described, separators=(",", ":"), ensure_ascii=False),
        ),
        Example(
            title="JSON that describes the art",
            command=(
                f"curl -H 'Accept: application/json' --data-binary @heart.png '{origin}/?width=8'"
            ),
            python=_lines(
                "import json",
                "from pathlib import Path",
                "from urllib.request import Request, urlopen",
                "",
                "image = Path('heart.png').read_bytes()",
                "headers = {'Accept': 'application/json'}",
                f"request = Request('{origin}/?width=8', image, headers, method='PUT')",
                "print(json.dumps(json.load(urlopen(request)), separators=(',', ':')))",
            ),
            javascript=_lines(
                "import { openAsBlob } from 'node:fs';",
                "",
                f"const answer = await fetch('{origin}/?width=8', {{",
                "  method: 'PUT',",
                "  body: await openAsBlob('heart.png'), // in a browser: input.files[0]",
                "  headers: { Accept: 'application/json' },",
                "});",
                "console.log(JSON.stringify(await answer.json()));",
            ),
            output=json.dumps(
                described | {"stored": True}, separators=(",", ":"), ensure_ascii=False
            ),
        ),
        Example(
            title="JSON without a width",
            command=f"""curl {json_type} -d '{{"image": "{HEART}"}}' {origin}""",
            output='{"error":"no width provided"}',
        ),
    ]


def _python_upload(origin: str) -> list[str]:
    """Return the lines that upload the image and set `url` to the image's URL."""
    return [
        "from pathlib import Path",
        "from urllib.parse import urljoin",
        "from urllib.request import Request, urlopen",
        "",
        "image = Path('heart.png').read_bytes()",
        f"answer = urlopen(Request('{origin}/?width=12', image, method='PUT'))",
        "path = answer.headers['Link'].split('>')[0].removeprefix('<')",
        "url = urljoin(answer.url, path)",
        "",
    ]


def _javascript_upload(origin: str) -> list[str]:
    """Return the lines that upload the image and set `url` to the image's URL."""
    return [
        "import { openAsBlob } from 'node:fs';",
        "",
        "const body = await openAsBlob('heart.png'); // in a browser: input.files[0]",
        f"const answer = await fetch('{origin}/?width=12', {{ method: 'PUT', body }});",
        "const [, path] = answer.headers.get('Link').match(/<([^>]+)>; rel=\"edit\"/);",
        "const url = new URL(path, answer.url);",
        "",
    ]
