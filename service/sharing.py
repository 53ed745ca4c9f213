"""Finds stored art by its links, and makes short links."""

from collections.abc import Iterable

from asciist.errors import DeadlineExceededError, ReadOnlyError, UnavailableError
from asciist.limits import Limits
from asciist.protocol.links import Links, parts_of
from asciist.protocol.requester import Requester, ServedArt
from service.parsing import options_from_url


class SharedLinks:
    """The links of one deployment, with the art that they show."""

    def __init__(self, requester: Requester, links: Links, limits: Limits) -> None:
        self._requester = requester
        self._links = links
        self._limits = limits

    def art(self, name: str, variant: str, width: str, *, query: Iterable[str] = ()) -> ServedArt:
        """Return the art of a long link. `query` has the names in the query of a request for a file.

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

    def code(self, served: ServedArt) -> str:
        """Return the code of the short link of art, which is stored if it is not yet.

        Raises ReadOnlyError, DeadlineExceededError or UnavailableError.
        """
        path = self.long_path(served)
        return self._requester.store_link(self._links.codes(path), path)

    def shortest_path(self, served: ServedArt) -> str:
        """Return the path of the short link of art, or that of the long one, which does as well, if none can be stored."""
        try:
            return f"/{self.code(served)}"
        except (ReadOnlyError, DeadlineExceededError, UnavailableError):
            return self.long_path(served)
