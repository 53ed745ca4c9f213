"""The links in an answer to an upload."""

import re
from collections.abc import Mapping


def image_path(headers: Mapping[str, str]) -> str:
    """Return the path that converts and deletes the uploaded image. Only its uploader receives
    it."""
    match = re.fullmatch(r'<(/image/[\w-]{72})>; rel="edit"', headers["Link"])
    assert match, headers["Link"]
    return match[1]
