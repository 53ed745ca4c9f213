"""Programs that fetch a link to show a preview of it."""

import re
from collections.abc import Mapping
from typing import Any, Final

_AGENTS: Final = re.compile(
    r"bot\b|facebookexternalhit|whatsapp|slack|telegram|mastodon|skypeuripreview|embedly|iframely|preview|pinterest|vkshare",
    re.IGNORECASE,
)
"""Parts of the User-Agent of such programs: those of chats, social networks and search engines."""


def fetches_previews(environ: Mapping[str, Any]) -> bool:
    """Return whether a request, as a WSGI environment, comes from a program that shows previews of pages.

    Most of them send no Accept that tells them from curl.
    """
    return _AGENTS.search(environ.get("HTTP_USER_AGENT", "")) is not None
