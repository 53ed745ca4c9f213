"""Finds stored art by its links, and creates short links."""

from collections.abc import Iterable

from asciist.errors import DeadlineExceededError, ReadOnlyError, UnavailableError
from asciist.limits import Limits
from asciist.protocol.artifacts import art_key
from asciist.protocol.links import Links, parts_of
from asciist.protocol.requester import Requester
from asciist.protocol.served import ServedArt
from .parsing import options_from_url


class SharedLinks:
    """Links of one deployment, and the art behind them."""

    def __init__(self, requester: Requester, links: Links, limits: Limits) -> None:
        self._requester = requester
        self._links = links
        self._limits = limits

    def art(self, name: str, variant: str, width: str, *, query: Iterable[str] = ()) -> ServedArt:
        """Return the art of a long link. `query` contains the names in the query of a request for a
        file.

        Raises BadOptionError, ArtifactNotFoundError, DeadlineExceededError or UnavailableError.
        """
        options = options_from_url(variant, width, self._limits, query=query)
        return self._requester.stored_art(self._links.digest_of_art(name, options), options)

    def art_of_code(self, code: str, *, query: Iterable[str] = ()) -> ServedArt:
        """Return the art of a short link. Raises the same errors as `art`."""
        name, variant, width = parts_of(self._requester.find_link(code))
        return self.art(name, variant, width, query=query)

    def long_path(self, served: ServedArt) -> str:
        """Return the path of the long link of art."""
        return self._links.art_path(served.digest, served.options)

    def code(self, served: ServedArt, *, keep: bool = True) -> str:
        """Return the code of the short link of art, storing the link if necessary. Unless `keep` is
        false, the store keeps link and art longer than others.

        Raises ReadOnlyError, DeadlineExceededError or UnavailableError.
        """
        path = self.long_path(served)
        kept_key = art_key(served.digest, served.options) if keep else ""
        return self._requester.store_link(self._links.codes(path), path, kept_key=kept_key)

    def shortest_path(self, served: ServedArt) -> str:
        """Return the path of the short link of art, or the long path if no short link can be
        stored."""
        try:
            # any upload by a form gets here, and must not take the place of links that are shared
            return f"/{self.code(served, keep=False)}"
        # The art is stored already, and its long link works.
        except (ReadOnlyError, DeadlineExceededError, UnavailableError):
            return self.long_path(served)
