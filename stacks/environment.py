"""The configuration of a deployment, read and validated once from the CDK context."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any, Final

from stacks.bundles import FUNCTION_PYTHON


class ContextError(Exception):
    """The CDK context is invalid. The message lists every mistake."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """The capacity of a deployment, and how long it keeps data."""

    web_instance_type: str
    web_min_instances: int
    web_max_instances: int
    worker_max_concurrency: int
    """Maximum concurrent Lambda invocations."""
    function_memory_mb: int
    """Memory of the worker function, in MB. Lambda grants processor time in proportion: 1,769 MB is one whole virtual CPU."""
    poller_instance_type: str
    poller_min_instances: int
    poller_max_instances: int
    nat_gateways: int
    """Number of NAT gateways, at 33 USD a month each. With one, an outage of its zone also cuts off the other zone."""
    artifact_days: int
    """Age, in days, at which images and art are deleted."""
    log_days: int
    """Retention of logs, in days: a key of `_RETENTION` in stacks/logs.py."""
    keeps_data: bool
    """True if the bucket and the queues outlive their stack, and the load balancer has deletion protection."""


SIZES: Final = {
    "dev": Sizes(
        web_instance_type="t4g.small",
        web_min_instances=1,
        web_max_instances=2,
        worker_max_concurrency=5,
        function_memory_mb=1769,
        poller_instance_type="t4g.small",
        poller_min_instances=1,
        poller_max_instances=2,
        nat_gateways=1,
        artifact_days=7,
        log_days=7,
        keeps_data=False,
    ),
    "prod": Sizes(
        web_instance_type="c7g.large",
        web_min_instances=2,
        web_max_instances=10,
        worker_max_concurrency=50,
        function_memory_mb=1769,
        poller_instance_type="c7g.large",
        poller_min_instances=2,
        poller_max_instances=20,
        nat_gateways=2,
        artifact_days=30,
        log_days=90,
        keeps_data=True,
    ),
}

DATADOG_SITES: Final = (
    "datadoghq.com",
    "us3.datadoghq.com",
    "us5.datadoghq.com",
    "datadoghq.eu",
    "ap1.datadoghq.com",
    "ap2.datadoghq.com",
    "uk1.datadoghq.com",
)
"""Datadog sites whose Lambda extension is published in the public AWS partition. GovCloud has layers of its own."""

_CHOICES: Final = {
    "environment": tuple(SIZES),
    "worker": ("lambda", "asg"),
    "replies": ("queue", "callback"),
    "architecture": ("arm64", "x86_64"),
    "function_python": (FUNCTION_PYTHON, "3.11", "3.12", "3.14"),
    "datadog_site": DATADOG_SITES,
}
_X86_INSTANCES: Final = {"t4g.small": "t3.small", "c7g.large": "c7i.large"}


@dataclass(frozen=True, kw_only=True)
class Environment:
    """The configuration of one deployment. Each field is the context value of that name, as in `cdk deploy -c worker=asg`."""

    environment: str = "dev"
    """`dev` or `prod`: selects the `Sizes`."""
    worker: str = "lambda"
    """`lambda` for a function, or `asg` for an auto-scaling group of pollers."""
    replies: str = "queue"
    """`queue` for an SQS queue per web process, or `callback` for HTTP from worker to web process inside the VPC."""
    architecture: str = "arm64"
    """Processor of the function and all instances. `arm64` costs a fifth less; `x86_64` is what most local machines can run."""
    image: str = ""
    """Id of the instances' image (AMI): an Amazon Linux 2023 for the architecture, in the same region. If empty, CloudFormation
    takes the newest one at each deployment. The image determines the versions of its packages, too."""
    function_python: str = FUNCTION_PYTHON
    """Python version of the function. Other versions are for emulators, which run functions on the interpreter they have."""
    domain: str = ""
    """Domain name of the service; requires `certificate`. If empty, the service uses plain HTTP."""
    certificate: str = ""
    """ARN of the certificate for `domain`, in the same region."""
    alarm_email: str = ""
    """E-mail address that receives alarms after it has confirmed the subscription."""
    runbook: str = "docs/runbook.md"
    """URL or path of the runbook, to which each alarm links."""
    datadog_api_key: str = ""
    """ARN of the secret that holds the Datadog API key; requires `datadog_app_key`. If empty, Datadog is not used."""
    datadog_app_key: str = ""
    """ARN of the secret that holds the Datadog application key, which manages the dashboard, the monitors and the SLO."""
    datadog_site: str = DATADOG_SITES[0]
    """Datadog site of the account."""
    datadog_notify: str = ""
    """Recipient of monitor notifications in Datadog's syntax, such as `@pagerduty-asciist`."""

    @property
    def sizes(self) -> Sizes:
        return SIZES[self.environment]

    @property
    def prefix(self) -> str:
        """Prefix of the names of this deployment's stacks and reply queues."""
        return f"asciist-{self.environment}"

    @property
    def datadog(self) -> bool:
        """True if this deployment reports to Datadog, and manages its dashboard, monitors and SLO there."""
        return bool(self.datadog_api_key)

    def instance_type(self, arm_type: str) -> str:
        """Return the equivalent of `arm_type` for this deployment's architecture."""
        return arm_type if self.architecture == "arm64" else _X86_INSTANCES[arm_type]

    @classmethod
    def from_context(cls, context: Mapping[str, Any]) -> "Environment":
        """Validate the CDK context and return the environment that it describes. Raises ContextError."""
        names = [field.name for field in fields(cls)]
        mistakes = []
        # Keys of the CDK itself contain a colon, an @ or a slash. Any other key is meant for this class.
        for key in context:
            if key not in names and not {":", "@", "/"} & set(key):
                near = get_close_matches(key, names, n=1)
                mistakes.append(f"unknown context value {key!r}" + (f": did you mean {near[0]!r}?" if near else ""))
        values = {name: str(context[name]) for name in names if name in context}
        for name, choices in _CHOICES.items():
            if values.get(name, choices[0]) not in choices:
                mistakes.append(f"{name} must be one of {', '.join(choices)}, not {values[name]!r}")
        mistakes += _domain_mistakes(values) + _datadog_mistakes(values)
        if values.get("image") and not values["image"].startswith("ami-"):
            mistakes.append(f"image must be the id of an image, such as ami-0123456789abcdef0, not {values['image']!r}")
        if values.get("alarm_email") and "@" not in values["alarm_email"]:
            mistakes.append(f"alarm_email must be an e-mail address, not {values['alarm_email']!r}")
        if mistakes:
            raise ContextError("; ".join(mistakes))
        return cls(**values)


def _domain_mistakes(values: Mapping[str, str]) -> list[str]:
    mistakes = []
    if bool(values.get("domain")) != bool(values.get("certificate")):
        mistakes.append("domain and certificate (its ARN) go together: give both or neither")
    if values.get("certificate") and not values["certificate"].startswith("arn:"):
        mistakes.append(f"certificate must be the ARN of a certificate, not {values['certificate']!r}")
    return mistakes


def _datadog_mistakes(values: Mapping[str, str]) -> list[str]:
    keys = ("datadog_api_key", "datadog_app_key")
    # The message omits the invalid value, which may be the key itself.
    mistakes = [
        f"{name} must be the ARN of the secret that holds the key"
        for name in keys
        if values.get(name) and not values[name].startswith("arn:")
    ]
    if bool(values.get(keys[0])) != bool(values.get(keys[1])):
        mistakes.append("datadog_api_key and datadog_app_key (ARNs of their secrets) go together: give both or neither")
    if values.get("datadog_notify") and not values["datadog_notify"].startswith("@"):
        mistakes.append(f"datadog_notify must begin with an @, not {values['datadog_notify']!r}")
    return mistakes
