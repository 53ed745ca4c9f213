"""The size of finished art."""

import html
import re
from typing import Final

_ESCAPE_CODE: Final = re.compile(r"\x1b\[[0-9;]*m")
_TAG: Final = re.compile("<[^>]*>")


def size_of(art: str, color: str) -> tuple[int, int]:
    """Return the columns and rows of art in this colour mode. Only its first line is looked at closely: all are as long."""
    if color != "html":
        line = art.partition("\n")[0]
        return len(_ESCAPE_CODE.sub("", line)), art.count("\n") + 1
    start, end = art.index("\n", art.index("<pre")) + 1, art.rindex("</pre>")
    line = art[start : art.index("\n", start)]
    return len(html.unescape(_TAG.sub("", line))), art.count("\n", start, end)
