"""The configuration of a deployment on Azure: a file of `environments/azure/`, read and validated
once."""

import ipaddress
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from asciist.settings import Settings
from stacks.settings import settings_of
from stacks.values import ContextError, typed

ENVIRONMENTS: Final = Path(__file__).parents[2] / "environments/azure"
"""Directory of the files. The name of a file, without its suffix, is the name of the
environment."""

ARCHITECTURES: Final = ("x86_64", "arm64")
LOG_DAYS: Final = range(30, 731)
"""Retentions of a Log Analytics workspace, in days."""

_RESERVED: Final = ("environment", "sizes", "settings")
"""Fields of `Environment` that are not keys with one value."""
_VAULT: Final = re.compile(
    r"/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft\.KeyVault/vaults/[A-Za-z0-9-]+"
)
_INSTANCE_TYPE: Final = re.compile(r"Standard_[A-Z]+\d+(?P<features>[a-z]*)_v\d+")
_BUCKET: Final = re.compile(r"s3://[a-z0-9.-]{3,63}")
_NO_OBJECT_ID: Final = "00000000-0000-0000-0000-000000000000"
_OBJECT_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_LONGEST_NAME: Final = 24
"""Maximum characters of the name of a storage account or a Key Vault."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """The capacity of a deployment, and how long it keeps data."""

    web_instance_type: str
    """Size of the web instances, with two virtual CPUs, such as `Standard_D2ls_v5`, or
    `Standard_D2pls_v5` for `arm64`."""
    web_min_instances: int
    """Minimum number of web instances."""
    web_max_instances: int
    """Maximum number of web instances."""
    poller_instance_type: str
    """Size of the pollers; see `web_instance_type`."""
    poller_min_instances: int
    """Minimum number of pollers."""
    poller_max_instances: int
    """Maximum number of pollers."""
    gateway_min_units: int
    """Minimum capacity units of the application gateway, billed whether used or not."""
    gateway_max_units: int
    """Maximum capacity units of the application gateway, from 2 to 125."""
    requests_per_address: int
    """Requests of one client address in five minutes above which the firewall refuses more, from 10
    to 5000."""
    zones: int
    """Number of availability zones, from 1 to 3, over which gateway and instances are spread."""
    artifact_days: int
    """Age, in days, at which images and art are deleted."""
    log_days: int
    """Retention of logs, in days, from 30 to 730. The gateway's logs contain client addresses."""
    monthly_budget: int
    """Amount a month, in the currency of the subscription, above which an e-mail is sent. 0 for no
    budget."""
    keeps_data: bool
    """True if Terraform refuses to delete the storage account and the vault."""


@dataclass(frozen=True, kw_only=True)
class Environment:
    """The configuration of a deployment. Each field is the key of that name in its file; the keys
    of `Sizes` are in `[sizes]`, and the settings of the service in `[settings]`."""

    environment: str
    """Name of the file and of the deployment, such as `dev` or `prod`."""
    sizes: Sizes
    settings: Settings
    location: str = "westeurope"
    """Azure region."""
    name_suffix: str = ""
    """Lower-case letters and digits that make the names of the storage account and the vault unique
    in all of Azure."""
    architecture: str = ARCHITECTURES[0]
    """Processor of the instances: `x86_64` or `arm64`."""
    image: str = "latest"
    """Version of Debian 12's image, or `latest` for the newest one when an instance is created."""
    domain: str = ""
    """Domain name of the service; requires a certificate."""
    certificate_vault: str = ""
    """Resource id of the Key Vault that holds the certificate for `domain`."""
    certificate: str = ""
    """Name of the certificate in that vault. The gateway uses its newest version."""
    plain_http: bool = False
    """True to allow a deployment without a domain, which uses plain HTTP."""
    firewall: bool = False
    """True for a web application firewall, which limits the requests of an address."""
    deployers: str = ""
    """Public IPv4 addresses from which Terraform writes the release and the link keys, separated by
    commas."""
    peer_store: str = ""
    """Bucket on AWS with which artifacts are being moved, such as `s3://bucket`; requires
    `peer_principal`.

    The secret `peer` of the vault contains its credentials. It also enables the read-only mode in
    the web tier.
    """
    peer_principal: str = ""
    """Object id of the service principal that the deployment on AWS uses for this one's
    container."""
    peer_addresses: str = ""
    """Public IPv4 addresses of the peer deployment's NAT gateways, separated by commas."""
    alarm_email: str = ""
    """E-mail address for alarms that page."""
    ticket_email: str = ""
    """E-mail address for alarms that can wait until the next working day; by default,
    `alarm_email`."""
    pages_nobody: bool = False
    """True to allow a deployment whose alarms notify nobody."""
    runbook: str = "docs/runbook.md"
    """URL or path of the runbook, linked from each alarm."""

    @property
    def prefix(self) -> str:
        """Prefix of the names of this deployment's resources."""
        return f"asciist-{self.environment}"

    @property
    def unique_name(self) -> str:
        """Name of the storage account and of the vault, unique in all of Azure."""
        return f"asciist{self.environment}{self.name_suffix}"

    @property
    def zones(self) -> list[str]:
        """Names of the availability zones."""
        return [str(number) for number in range(1, self.sizes.zones + 1)]

    @property
    def deployer_addresses(self) -> list[str]:
        """The addresses of `deployers`."""
        return _addresses(self.deployers)

    @property
    def peers(self) -> list[str]:
        """The addresses of `peer_addresses`."""
        return _addresses(self.peer_addresses)

    @classmethod
    def load(cls, name: str, overrides: Mapping[str, str] | None = None) -> "Environment":
        """Read and validate `environments/azure/{name}.toml`, with other values for some keys.
        Raises ContextError."""
        values = _read(name)
        mistakes: list[str] = []
        given_sizes = typed(Sizes, values.pop("sizes", {}), mistakes)
        mistakes += [
            f"sizes lacks {field.name}" for field in fields(Sizes) if field.name not in given_sizes
        ]
        mistakes_of_settings: list[str] = []
        settings = settings_of(values.pop("settings", {}), mistakes_of_settings)
        values = typed(cls, values, mistakes, reserved=_RESERVED)
        values |= typed(cls, overrides or {}, mistakes, reserved=_RESERVED)
        if mistakes:
            raise ContextError("; ".join([*mistakes, *mistakes_of_settings]))
        environment = cls(environment=name, sizes=Sizes(**given_sizes), settings=settings, **values)
        mistakes = [
            *_mistakes(environment),
            *_mistakes_of_sizes(environment),
            *mistakes_of_settings,
        ]
        if mistakes:
            raise ContextError("; ".join(mistakes))
        return environment


def _read(name: str) -> dict[str, Any]:
    known = sorted(file.stem for file in ENVIRONMENTS.glob("*.toml"))
    if name not in known:
        raise ContextError(f"environment must be one of {', '.join(known)}, not {name!r}")
    try:
        return tomllib.loads((ENVIRONMENTS / f"{name}.toml").read_text())
    except tomllib.TOMLDecodeError as error:
        raise ContextError(f"environments/azure/{name}.toml: {error}") from error


def _mistakes(environment: Environment) -> list[str]:
    mistakes = []
    if environment.architecture not in ARCHITECTURES:
        mistakes.append(
            f"architecture must be one of {', '.join(ARCHITECTURES)}, not"
            f" {environment.architecture!r}"
        )
    if not re.fullmatch(r"[a-z0-9]*", environment.name_suffix):
        mistakes.append(
            f"name_suffix must be lower-case letters and digits, not {environment.name_suffix!r}"
        )
    if len(environment.unique_name) > _LONGEST_NAME:
        mistakes.append(
            f"the name {environment.unique_name} has more than {_LONGEST_NAME} characters: shorten"
            " name_suffix"
        )
    with_domain = [
        bool(given)
        for given in (environment.domain, environment.certificate_vault, environment.certificate)
    ]
    if any(with_domain) and not all(with_domain):
        mistakes.append("domain, certificate_vault and certificate go together: give all or none")
    elif not any(with_domain) and not environment.plain_http:
        mistakes.append(
            "images would be sent unencrypted: give a domain with its certificate, or set"
            " plain_http"
        )
    if environment.certificate_vault and not _VAULT.fullmatch(environment.certificate_vault):
        mistakes.append(
            "certificate_vault must be the resource id of a Key Vault, not"
            f" {environment.certificate_vault!r}"
        )
    mistakes += [
        f"{name} must be public IPv4 addresses, not {address!r}"
        for name, addresses in (
            ("deployers", environment.deployer_addresses),
            ("peer_addresses", environment.peers),
        )
        for address in addresses
        if not _is_public(address)
    ]
    mistakes += _mistakes_of_peer(environment)
    mistakes += [
        f"{name} must be an e-mail address, not {address!r}"
        for name, address in (
            ("alarm_email", environment.alarm_email),
            ("ticket_email", environment.ticket_email),
        )
        if address and "@" not in address
    ]
    if not (environment.alarm_email or environment.pages_nobody):
        mistakes.append("nobody is told of alarms: give alarm_email, or set pages_nobody")
    return mistakes


def _mistakes_of_peer(environment: Environment) -> list[str]:
    mistakes = []
    if bool(environment.peer_principal) != bool(environment.peer_addresses):
        mistakes.append("peer_principal and peer_addresses go together: give both or neither")
    if environment.peer_principal and not _OBJECT_ID.fullmatch(environment.peer_principal):
        mistakes.append(
            f"peer_principal must be an object id, such as {_NO_OBJECT_ID}, not"
            f" {environment.peer_principal!r}"
        )
    # Not a container: its credentials would take the place of the instance's own.
    if environment.peer_store and not _BUCKET.fullmatch(environment.peer_store):
        mistakes.append(
            "peer_store must be a bucket on AWS, such as s3://bucket, not"
            f" {environment.peer_store!r}"
        )
    if environment.peer_store and not environment.peer_principal:
        mistakes.append(
            "each deployment uses the store of the other: give peer_principal with peer_store"
        )
    return mistakes


def _mistakes_of_sizes(environment: Environment) -> list[str]:
    sizes = environment.sizes
    mistakes = []
    for name in ("web_instance_type", "poller_instance_type"):
        size = _INSTANCE_TYPE.fullmatch(getattr(sizes, name))
        # The letter p stands for an ARM processor.
        if not size or ("p" in size["features"]) != (environment.architecture == "arm64"):
            mistakes.append(
                f"{name} must be a size for {environment.architecture}, not"
                f" {getattr(sizes, name)!r}"
            )
    for name, allowed in (
        ("zones", range(1, 4)),
        ("log_days", LOG_DAYS),
        ("gateway_max_units", range(2, 126)),
        ("requests_per_address", range(10, 5001)),
    ):
        if getattr(sizes, name) not in allowed:
            mistakes.append(
                f"{name} must be from {allowed[0]} to {allowed[-1]}, not {getattr(sizes, name)}"
            )
    mistakes += [
        f"{tier}_min_instances must be from 1 to {tier}_max_instances"
        for tier in ("web", "poller")
        if not 1
        <= getattr(sizes, f"{tier}_min_instances")
        <= getattr(sizes, f"{tier}_max_instances")
    ]
    return mistakes


def _addresses(text: str) -> list[str]:
    return [address.strip() for address in text.split(",") if address.strip()]


def _is_public(address: str) -> bool:
    try:
        return ipaddress.IPv4Address(address).is_global
    except ValueError:
        return False
