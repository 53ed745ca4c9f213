"""The configuration of a deployment: a file of `environments/`, read and validated once, and the
CDK context."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from asciist.settings import Settings
from stacks.bundles import FUNCTION_PYTHON
from stacks.settings import settings_of
from stacks.values import ContextError, typed

ENVIRONMENTS: Final = Path(__file__).parents[1] / "environments"
"""Directory of the files. The name of a file, without its suffix, is the name of the
environment."""

LOG_DAYS: Final = (1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365)
"""Log retentions supported by CloudWatch, in days, up to a year."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """The capacity of a deployment, and how long it keeps data."""

    web_instance_type: str
    """Type of the web instances, for `arm64`: `t4g.small` or `c7g.large`. For `x86_64`, the
    equivalent type is used."""
    web_min_instances: int
    """Minimum number of web instances."""
    web_max_instances: int
    """Maximum number of web instances."""
    worker_max_concurrency: int
    """Maximum concurrent Lambda invocations."""
    function_memory_mb: int
    """Memory of the worker function, in MB. Lambda grants processor time in proportion: 1,769 MB is
    one whole virtual CPU."""
    function_provisioned: int
    """Provisioned concurrency of the worker function: instances that are always ready, at 15 USD a
    month each on arm64."""
    poller_instance_type: str
    """Type of the pollers; see `web_instance_type`."""
    poller_min_instances: int
    """Minimum number of pollers."""
    poller_max_instances: int
    """Maximum number of pollers."""
    nat_gateways: int
    """Number of NAT gateways, at 33 USD a month each. With one, an outage of its zone also cuts off
    the other zone."""
    artifact_days: int
    """Age, in days, at which images and art are deleted."""
    log_days: int
    """Retention of logs, in days: a value supported by CloudWatch, such as 7, 30 or 90."""
    requests_per_address: int
    """Requests of one client address in five minutes above which the firewall refuses more, at
    least 10."""
    access_log_days: int
    """Age, in days, at which access logs of the load balancer are deleted. They contain client
    addresses."""
    monthly_budget: int
    """USD a month above which an e-mail is sent, also if the forecast exceeds it. 0 for no
    budget."""
    keeps_data: bool
    """True if the bucket and the queues outlive their stack, and the load balancer has deletion
    protection."""


DATADOG_SITES: Final = (
    "datadoghq.com",
    "us3.datadoghq.com",
    "us5.datadoghq.com",
    "datadoghq.eu",
    "ap1.datadoghq.com",
    "ap2.datadoghq.com",
    "uk1.datadoghq.com",
)
"""Datadog sites with a Lambda extension in the public AWS partition. GovCloud uses other layers."""

CHOICES: Final = {
    "worker": ("lambda", "asg"),
    "replies": ("queue", "callback"),
    "architecture": ("arm64", "x86_64"),
    "function_python": (FUNCTION_PYTHON, "3.11", "3.12", "3.14"),
    "datadog_site": DATADOG_SITES,
}
_RESERVED: Final = ("environment", "sizes", "settings")
"""Fields of `Environment` that are not keys with one value."""
_CONTAINER: Final = re.compile(r"azure://[a-z0-9-]{3,63}")
_X86_INSTANCES: Final = {"t4g.small": "t3.small", "c7g.large": "c7i.large"}


@dataclass(frozen=True, kw_only=True)
class Environment:
    """The configuration of a deployment. Each field is the key of that name in its file; the keys
    of `Sizes` are in `[sizes]`, and the settings of the service in `[settings]`.

    A CDK context value overrides a key of the file, as in `-c worker=asg`, for a deployment that
    tries something out.
    """

    environment: str
    """Name of the file and of the deployment, such as `dev` or `prod`."""
    sizes: Sizes
    settings: Settings
    worker: str = "lambda"
    """`lambda` for a function, or `asg` for an auto-scaling group of instances that poll."""
    replies: str = "queue"
    """`queue` for an SQS queue per web process, or `callback` for HTTP from worker to web process
    inside the VPC."""
    architecture: str = "arm64"
    """Processor of the function and all instances. `arm64` costs a fifth less; most local machines
    can run only `x86_64`."""
    image: str = ""
    """Id of the instances' image (AMI): an Amazon Linux 2023 for the architecture, in the same
    region. `make image` writes it.

    If empty, CloudFormation uses the newest one at each deployment. The image determines the
    versions of its packages, too.
    """
    baked: bool = False
    """True to build an image with the release during the deployment, so that instances boot without
    installing anything.

    Requires `image`. Deploying another release then takes a quarter of an hour longer for each
    group.
    """
    function_python: str = FUNCTION_PYTHON
    """Python version of the function. Other versions are for emulators, which run functions on
    their own interpreter."""
    canary: bool = False
    """True to give a new version of the function a tenth of the messages for five minutes, and to
    go back if any fail."""
    snap_start: bool = False
    """True to start instances of the function from a snapshot (SnapStart); excludes
    `function_provisioned`."""
    peer_store: str = ""
    """Container on Azure with which artifacts are being moved, such as `azure://artifacts`;
    requires `peer_secret`.

    It also enables the read-only mode in the web tier, at 19 USD a month for each instance, and
    creates credentials for the other deployment to use this one's bucket.
    """
    peer_secret: str = ""
    """ARN of the secret that holds the credentials of `peer_store`: Azure's variables, as a JSON
    object."""
    domain: str = ""
    """Domain name of the service; requires `certificate`."""
    certificate: str = ""
    """ARN of the certificate for `domain`, in the same region."""
    hosted_zone: str = ""
    """Id of the Route 53 zone for the records of `domain`. If empty, create them yourself."""
    plain_http: bool = False
    """True to allow a deployment without a domain, which uses plain HTTP."""
    cdn: bool = False
    """True for CloudFront in front of the load balancer. It caches art with a permanent URL, and
    static files."""
    cdn_certificate: str = ""
    """ARN of another certificate for `domain`, in us-east-1 for CloudFront; required by `cdn` with
    a domain."""
    firewall: bool = False
    """True for a web application firewall in front of the load balancer, at 8 USD a month and 0.60
    for a million requests."""
    access_logs: bool = False
    """True if the load balancer logs each request, with the client's address, to a bucket of its
    own."""
    alarm_email: str = ""
    """E-mail address for alarms that page. It must confirm the subscription."""
    pages_nobody: bool = False
    """True to allow a deployment whose alarms notify nobody: neither `alarm_email` nor
    `datadog_notify` is set."""
    ticket_email: str = ""
    """E-mail address for alarms that can wait until the next working day; by default,
    `alarm_email`."""
    runbook: str = "docs/runbook.md"
    """URL or path of the runbook, linked from each alarm."""
    datadog_api_key: str = ""
    """ARN of the secret that holds the Datadog API key; requires `datadog_app_key`. If empty,
    Datadog is not used."""
    datadog_app_key: str = ""
    """ARN of the secret that holds the Datadog application key, used to manage the dashboard, the
    monitors and the SLO."""
    datadog_site: str = DATADOG_SITES[0]
    """Datadog site of the account."""
    datadog_notify: str = ""
    """Recipient of monitor notifications in Datadog's syntax, such as `@pagerduty-asciist`."""

    @property
    def prefix(self) -> str:
        """Prefix of the names of this deployment's stacks and reply queues."""
        return f"asciist-{self.environment}"

    @property
    def datadog(self) -> bool:
        """True if this deployment reports to Datadog, and manages its dashboard, monitors and SLO
        there."""
        return bool(self.datadog_api_key)

    def instance_type(self, arm_type: str) -> str:
        """Return the equivalent of `arm_type` for this deployment's architecture."""
        return arm_type if self.architecture == "arm64" else _X86_INSTANCES[arm_type]

    @classmethod
    def from_context(cls, context: Mapping[str, Any]) -> "Environment":
        """Return the environment named in the CDK context, by default `dev`, with the other values
        of the context. Raises ContextError."""
        # Keys of the CDK itself contain a colon, an @ or a slash. Any other key is meant for this
        # class.
        own = {key: str(value) for key, value in context.items() if not {":", "@", "/"} & set(key)}
        return cls.load(own.pop("environment", "dev"), own)

    @classmethod
    def load(cls, name: str, overrides: Mapping[str, str] | None = None) -> "Environment":
        """Read and validate `environments/{name}.toml`, with other values for some keys. Raises
        ContextError."""
        values = read(name)
        mistakes: list[str] = []
        sizes = typed(Sizes, values.pop("sizes", {}), mistakes)
        mistakes += [f"sizes lacks {missing}" for missing in _names(Sizes) if missing not in sizes]
        settings = settings_of(values.pop("settings", {}), mistakes)
        values = typed(cls, values, mistakes, reserved=_RESERVED)
        values |= typed(cls, overrides or {}, mistakes, reserved=_RESERVED)
        mistakes += _mistakes(values)
        if sizes.get("log_days", LOG_DAYS[0]) not in LOG_DAYS:
            mistakes.append(
                f"log_days must be one of {', '.join(map(str, LOG_DAYS))}, not {sizes['log_days']}"
            )
        if sizes.get("requests_per_address", 10) < 10:
            mistakes.append(
                f"requests_per_address must be at least 10, not {sizes['requests_per_address']}"
            )
        if values.get("snap_start") and sizes.get("function_provisioned"):
            mistakes.append(
                "snap_start and function_provisioned exclude each other: give one of them"
            )
        if mistakes:
            raise ContextError("; ".join(mistakes))
        return cls(environment=name, sizes=Sizes(**sizes), settings=settings, **values)


def read(name: str) -> dict[str, Any]:
    """Return the contents of `environments/{name}.toml`, not yet checked. Raises ContextError if
    there is no such file."""
    known = sorted(file.stem for file in ENVIRONMENTS.glob("*.toml"))
    if name not in known:
        raise ContextError(f"environment must be one of {', '.join(known)}, not {name!r}")
    try:
        return tomllib.loads((ENVIRONMENTS / f"{name}.toml").read_text())
    except tomllib.TOMLDecodeError as error:
        raise ContextError(f"environments/{name}.toml: {error}") from error


def _names(kind: type) -> list[str]:
    return [field.name for field in fields(kind)]


def _mistakes(values: Mapping[str, Any]) -> list[str]:
    mistakes = [
        f"{name} must be one of {', '.join(choices)}, not {values[name]!r}"
        for name, choices in CHOICES.items()
        if values.get(name, choices[0]) not in choices
    ]
    mistakes += _peer_mistakes(values) + _domain_mistakes(values) + _datadog_mistakes(values)
    if values.get("baked") and not values.get("image"):
        mistakes.append("a baked image is built upon another: give image, which make image writes")
    if values.get("image") and not values["image"].startswith("ami-"):
        mistakes.append(
            "image must be the id of an image, such as ami-0123456789abcdef0, not"
            f" {values['image']!r}"
        )
    mistakes += [
        f"{name} must be an e-mail address, not {values[name]!r}"
        for name in ("alarm_email", "ticket_email")
        if values.get(name) and "@" not in values[name]
    ]
    if not (
        values.get("alarm_email") or values.get("datadog_notify") or values.get("pages_nobody")
    ):
        mistakes.append(
            "nobody is told of alarms: give alarm_email or datadog_notify, or set pages_nobody"
        )
    return mistakes


def _peer_mistakes(values: Mapping[str, Any]) -> list[str]:
    mistakes = []
    if bool(values.get("peer_store")) != bool(values.get("peer_secret")):
        mistakes.append(
            "peer_store and peer_secret (the ARN of its credentials) go together: give both or"
            " neither"
        )
    # Not a bucket: its credentials would take the place of the instance's own.
    if values.get("peer_store") and not _CONTAINER.fullmatch(values["peer_store"]):
        mistakes.append(
            "peer_store must be a container on Azure, such as azure://artifacts, not"
            f" {values['peer_store']!r}"
        )
    # The message omits the invalid value, which may be the credentials themselves.
    if values.get("peer_secret") and not values["peer_secret"].startswith("arn:"):
        mistakes.append("peer_secret must be the ARN of the secret that holds the credentials")
    return mistakes


def _domain_mistakes(values: Mapping[str, Any]) -> list[str]:
    mistakes = []
    if bool(values.get("domain")) != bool(values.get("certificate")):
        mistakes.append("domain and certificate (its ARN) go together: give both or neither")
    elif not values.get("domain") and not values.get("plain_http"):
        mistakes.append(
            "images would be sent unencrypted: give domain and certificate, or set plain_http"
        )
    if values.get("hosted_zone") and not values.get("domain"):
        mistakes.append("hosted_zone has the records of a domain: give domain, too")
    if values.get("cdn") and values.get("domain") and not values.get("cdn_certificate"):
        mistakes.append(
            "CloudFront needs a certificate for the domain in us-east-1: give cdn_certificate"
        )
    if values.get("cdn_certificate") and not re.match(
        r"arn:[\w-]+:acm:us-east-1:", values["cdn_certificate"]
    ):
        mistakes.append(
            "cdn_certificate must be the ARN of a certificate in us-east-1, not"
            f" {values['cdn_certificate']!r}"
        )
    if values.get("certificate") and not values["certificate"].startswith("arn:"):
        mistakes.append(
            f"certificate must be the ARN of a certificate, not {values['certificate']!r}"
        )
    return mistakes


def _datadog_mistakes(values: Mapping[str, Any]) -> list[str]:
    keys = ("datadog_api_key", "datadog_app_key")
    # The message omits the invalid value, which may be the key itself.
    mistakes = [
        f"{name} must be the ARN of the secret that holds the key"
        for name in keys
        if values.get(name) and not values[name].startswith("arn:")
    ]
    if bool(values.get(keys[0])) != bool(values.get(keys[1])):
        mistakes.append(
            "datadog_api_key and datadog_app_key (ARNs of their secrets) go together: give both or"
            " neither"
        )
    if values.get("datadog_notify") and not values["datadog_notify"].startswith("@"):
        mistakes.append(f"datadog_notify must begin with an @, not {values['datadog_notify']!r}")
    return mistakes
