"""Crawlers that fetch a link to show a preview."""

import re
from collections.abc import Mapping
from typing import Any, Final

_AGENTS: Final = re.compile(
    r"bot\b|facebookexternalhit|whatsapp|slack|telegram|mastodon|skypeuripreview|embedly|iframely|preview|pinterest|vkshare",
    re.IGNORECASE,
)
"""Parts of the User-Agent of chats, social networks and search engines."""


def fetches_previews(environ: Mapping[str, Any]) -> bool:
    """Return whether a request, as a WSGI environment, comes from a crawler that shows previews of
    pages.

    Most crawlers send no Accept header that distinguishes them from curl.
    """
    return _AGENTS.search(environ.get("HTTP_USER_AGENT", "")) is not None
