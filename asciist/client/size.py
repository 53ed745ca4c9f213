"""The size of art received as text."""

import html
import re
from typing import Final

_ESCAPE_CODE: Final = re.compile(r"\x1b\[[0-9;]*m")
_TAG: Final = re.compile("<[^>]*>")
_DOCUMENT: Final = "<!doctype html>"


def size_of(text: str) -> tuple[int, int]:
    """Return the columns and rows of art in any form of text; (0, 0) for an HTML document without
    art.

    Only the first row is parsed, because all rows are equally long.
    """
    if not text.startswith(_DOCUMENT):
        row = text.partition("\n")[0]
        return len(_ESCAPE_CODE.sub("", row)), text.count("\n") + 1
    start = text.find("\n", text.find("<pre")) + 1
    end = text.rfind("</pre>")
    if not 0 < text.find("<pre") < start <= end:
        return 0, 0
    row = text[start:end].partition("\n")[0]
    return len(html.unescape(_TAG.sub("", row))), text.count("\n", start, end)
