"""The size of finished art."""

import html
import re
from typing import Final

from asciist.animations import first_frame, is_animation

_ESCAPE_CODE: Final = re.compile(r"\x1b\[[0-9;]*m")
_TAG: Final = re.compile("<[^>]*>")


_DOCUMENT: Final = "<!doctype html>"


def size_of(art: str) -> tuple[int, int]:
    """Return the columns and rows of art of any colour mode, also of an animation; (0, 0) for an HTML document without art.

    Only the first row is looked at closely, because all are as long.
    """
    if is_animation(art):
        art = first_frame(art)
    if not art.startswith(_DOCUMENT):
        row = art.partition("\n")[0]
        return len(_ESCAPE_CODE.sub("", row)), art.count("\n") + 1
    start = art.find("\n", art.find("<pre")) + 1
    end = art.rfind("</pre>")
    if not 0 < art.find("<pre") < start <= end:
        return 0, 0
    row = art[start:end].partition("\n")[0]
    return len(html.unescape(_TAG.sub("", row))), art.count("\n", start, end)
