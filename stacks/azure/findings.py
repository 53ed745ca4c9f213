"""Accepted findings of checkov, each with its reason. Synthesis fails on any other finding."""

from typing import Final

_NETWORK: Final = (
    "Network rules admit only the two subnets and the addresses of deployers. A private endpoint"
    " would cost by the hour."
)
_LOGS: Final = (
    "The service logs each request. A second log of each blob and message would cost more than"
    " keeping them."
)

ACCEPTED: Final = {
    "CKV_AZURE_33": _LOGS,
    "CKV_AZURE_36": "No service of Azure reads or writes the account.",
    "CKV_AZURE_41": (
        "The keys of links: rotation adds one in front and keeps the old one until its links may"
        " end, which no date suits."
    ),
    "CKV_AZURE_59": _NETWORK,
    "CKV_AZURE_120": "A choice of the environment, `firewall`.",
    "CKV_AZURE_135": (
        "checkov knows the rules of OWASP only. Azure's default rules cover Log4j, and nothing here"
        " uses it."
    ),
    "CKV_AZURE_160": (
        "With a domain, port 80 redirects to HTTPS. Without one, the environment has chosen plain"
        " HTTP."
    ),
    "CKV_AZURE_206": (
        "Images and art are a cache and can be created again: copies in other regions are not worth"
        " their price."
    ),
    "CKV_AZURE_217": "As for port 80.",
    "CKV2_AZURE_1": (
        "Microsoft's keys encrypt the account. Keys of our own would protect from nobody who can"
        " use the account."
    ),
    "CKV2_AZURE_21": _LOGS,
    "CKV2_AZURE_32": _NETWORK,
    "CKV2_AZURE_33": _NETWORK,
    "CKV2_AZURE_38": "What an uploader deletes must be gone.",
}
"""Reasons by the id of the check."""
