"""Permissions of each identity, as custom roles and conditions of their assignments.

The built-in roles of Azure allow more: `Storage Blob Data Contributor` reads, writes, deletes and
lists every blob. As on AWS, the web tier cannot read an image, the worker tier cannot write one,
and listing blobs requires a digest.
"""

from dataclasses import dataclass
from typing import Final, Literal

from asciist.settings import READ_ONLY_MARKER

_BLOBS: Final = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"
_CONTAINER_WRITE: Final = "Microsoft.Storage/storageAccounts/blobServices/containers/write"
"""Action required by obstore's batches for deleting blobs, even a single one. Each blob of a batch
also needs its own permission.

It also allows changing the metadata of the container. Azure's page "Authorize with Microsoft Entra
ID" lists the permissions by operation.
"""
_MESSAGES: Final = "Microsoft.Storage/storageAccounts/queueServices/queues/messages"
# The name of an action.
_READ_SECRET: Final = "Microsoft.KeyVault/vaults/secrets/getSecret/action"  # noqa: S105

_PATH: Final = f"@Resource[{_BLOBS}:path] StringLike"
_LISTED_PREFIX: Final = f"@Request[{_BLOBS}:prefix] StringLike"

IMAGES: Final = "*/image"
ART: Final = "*/width/*"
LINKS: Final = "*/link"
DIGEST: Final = f"{64 * '?'}/"
"""Prefix of the keys of one image. In conditions, as in AWS's policies, each ? stands for any one
character."""

Identity = Literal["web", "worker", "gateway"]
Grantee = Identity | Literal["peer"]
"""An identity of the deployment, or the service principal of the peer deployment."""
Scope = Literal[
    "artifacts", "releases", "requests", "dead_letters", "link_keys", "peer_secret", "certificate"
]


@dataclass(frozen=True, kw_only=True)
class Grant:
    """Data actions of an identity in a scope."""

    identity: Grantee
    scope: Scope
    actions: tuple[str, ...]
    reason: str
    needs: str = ""
    """Key of the environment that the grant requires; empty for none."""
    configures: tuple[str, ...] = ()
    """Management actions on the scope itself."""
    reads: tuple[str, ...] = ()
    """Path patterns that may be read; empty for all."""
    writes: tuple[str, ...] = ()
    """Path patterns that may be written; empty for all."""
    deletes: tuple[str, ...] = ()
    """Path patterns that may be deleted; empty for all."""
    lists: str = ""
    """Pattern for the prefix that a listing must name, if blobs may be listed."""

    @property
    def name(self) -> str:
        """Name of the role and of its assignment."""
        more = "-with-peer" if self.needs == "peer_store" else ""
        return f"{self.identity}-{self.scope.replace('_', '-')}{more}"

    @property
    def condition(self) -> str:
        """The condition of the assignment, in Azure's language; empty if there is none."""
        clauses = [
            _clause(f"{_BLOBS}/{action}", _PATH, patterns)
            for action, patterns in (("write", self.writes), ("delete", self.deletes))
            if patterns
        ]
        if self.reads:
            # Azure counts a listing as a read of blobs, with a suboperation of its own.
            clauses.append(
                _clause(f"{_BLOBS}/read", _PATH, self.reads, "NOT SubOperationMatches{'Blob.List'}")
            )
            # A pattern that matches no prefix forbids listings.
            listed = (self.lists or "-",)
            clauses.append(
                _clause(
                    f"{_BLOBS}/read", _LISTED_PREFIX, listed, "SubOperationMatches{'Blob.List'}"
                )
            )
        return " AND ".join(clauses)


def _clause(action: str, attribute: str, patterns: tuple[str, ...], suboperation: str = "") -> str:
    """Return a clause that permits any other action, and this one if the attribute matches a
    pattern."""
    matches = f"ActionMatches{{'{action}'}}" + (f" AND {suboperation}" if suboperation else "")
    return (
        f"((!({matches})) OR ("
        + " OR ".join(f"{attribute} '{pattern}'" for pattern in patterns)
        + "))"
    )


GRANTS: Final = (
    Grant(
        identity="web",
        scope="artifacts",
        actions=(f"{_BLOBS}/read", f"{_BLOBS}/write", f"{_BLOBS}/delete"),
        reads=(ART, LINKS),
        writes=(IMAGES, LINKS),
        deletes=(IMAGES, ART),
        lists=DIGEST,
        configures=(_CONTAINER_WRITE,),
        reason=(
            "storing uploads and short links, serving art, and deleting an image and its art when"
            " its uploader asks for it"
        ),
    ),
    Grant(
        identity="web",
        scope="artifacts",
        needs="peer_store",
        actions=(f"{_BLOBS}/read", f"{_BLOBS}/write", f"{_BLOBS}/delete"),
        reads=(READ_ONLY_MARKER,),
        writes=(ART,),
        deletes=(LINKS,),
        reason="the read-only mode, and copies of art and short links of the peer store",
    ),
    Grant(
        identity="web",
        scope="peer_secret",
        needs="peer_store",
        actions=(_READ_SECRET,),
        reason="the credentials of the peer store",
    ),
    Grant(
        identity="peer",
        scope="artifacts",
        needs="peer_principal",
        actions=(f"{_BLOBS}/read", f"{_BLOBS}/delete"),
        reads=(IMAGES, ART, LINKS),
        deletes=(IMAGES, ART),
        lists=DIGEST,
        configures=(_CONTAINER_WRITE,),
        reason=(
            "copying what is stored to the other deployment, and deleting it when its uploader asks"
            " for it there"
        ),
    ),
    Grant(
        identity="web",
        scope="requests",
        actions=(f"{_MESSAGES}/add/action",),
        reason="publishing requests",
    ),
    Grant(
        identity="web",
        scope="releases",
        actions=(f"{_BLOBS}/read",),
        reads=("*",),
        reason="booting",
    ),
    Grant(
        identity="web",
        scope="link_keys",
        actions=(_READ_SECRET,),
        reason="making and reading links",
    ),
    Grant(
        identity="worker",
        scope="artifacts",
        actions=(f"{_BLOBS}/read", f"{_BLOBS}/write"),
        reads=(IMAGES, ART),
        writes=(ART,),
        reason="reading images and earlier art, and storing art",
    ),
    Grant(
        identity="worker",
        scope="requests",
        actions=(
            f"{_MESSAGES}/read",
            f"{_MESSAGES}/process/action",
            f"{_MESSAGES}/write",
            f"{_MESSAGES}/delete",
        ),
        reason="receiving requests, extending their visibility timeout, and deleting them",
    ),
    Grant(
        identity="worker",
        scope="dead_letters",
        actions=(f"{_MESSAGES}/add/action",),
        reason="keeping messages whose processing failed at every attempt",
    ),
    Grant(
        identity="worker",
        scope="releases",
        actions=(f"{_BLOBS}/read",),
        reads=("*",),
        reason="booting",
    ),
    Grant(
        identity="gateway",
        scope="certificate",
        needs="domain",
        actions=(_READ_SECRET,),
        reason="the certificate of the domain",
    ),
)
"""All grants. Any other action is denied."""
