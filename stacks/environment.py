"""Everything that differs between two deployments, read once from the CDK context and checked at once."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any, Final

from stacks.bundles import FUNCTION_PYTHON


class ContextError(Exception):
    """The context is wrong; the message lists every mistake, one sentence each."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How large a deployment is, and what may be lost with it."""

    web_instance_type: str
    web_min_instances: int
    web_max_instances: int
    worker_max_concurrency: int
    """Lambda invocations at a time."""
    poller_instance_type: str
    poller_min_instances: int
    poller_max_instances: int
    nat_gateways: int
    """Each 33 USD a month; one is a single point of failure for a zone's way out."""
    artifact_days: int
    """Images and art are deleted at this age; whatever is missing is converted again."""
    log_days: int
    keeps_data: bool
    """Whether bucket and queues outlive their stack, and the load balancer refuses to be deleted."""


SIZES: Final = {
    "dev": Sizes(
        web_instance_type="t4g.small",
        web_min_instances=1,
        web_max_instances=2,
        worker_max_concurrency=5,
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
"""Those whose extension is in AWS's public partition: GovCloud has layers of its own."""

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
    """One deployment. Each field is a context value of its name: `cdk deploy -c environment=prod -c worker=asg`."""

    environment: str = "dev"
    """`dev` or `prod`: how large, and whether data outlives the stacks."""
    worker: str = "lambda"
    """`lambda`, or `asg`: an auto-scaling group of pollers."""
    replies: str = "queue"
    """`queue`: one of each web process; `callback`: by HTTP from worker to web process, inside the VPC."""
    architecture: str = "arm64"
    """Of the function and of all instances: `arm64` costs a fifth less, `x86_64` is what most machines can run."""
    function_python: str = FUNCTION_PYTHON
    """Of the function. Others than the default are for emulators, which run functions on the interpreter they have."""
    domain: str = ""
    """Name under which the service is reached by HTTPS; needs `certificate`. Without, it is plain HTTP."""
    certificate: str = ""
    """ARN of the certificate for `domain`, in the same region."""
    alarm_email: str = ""
    """Address that alarms are mailed to, once it has confirmed."""
    runbook: str = "docs/runbook.md"
    """Address of the runbook, which each alarm points into."""
    datadog_api_key: str = ""
    """ARN of the secret that holds Datadog's API key; needs `datadog_app_key`. Without, nothing of Datadog is deployed."""
    datadog_app_key: str = ""
    """ARN of the secret that holds the application key with which dashboard, monitors and objective are kept."""
    datadog_site: str = DATADOG_SITES[0]
    """Where the account lives."""
    datadog_notify: str = ""
    """Who is told by monitors, in Datadog's way: `@pagerduty-asciist`."""

    @property
    def sizes(self) -> Sizes:
        return SIZES[self.environment]

    @property
    def prefix(self) -> str:
        """How the names of this deployment's stacks and reply queues begin."""
        return f"asciist-{self.environment}"

    @property
    def datadog(self) -> bool:
        """Whether metrics go to Datadog, and dashboard, monitors and objective are kept there."""
        return bool(self.datadog_api_key)

    def instance_type(self, arm_type: str) -> str:
        """The instance type of this architecture that stands for `arm_type`."""
        return arm_type if self.architecture == "arm64" else _X86_INSTANCES[arm_type]

    @classmethod
    def from_context(cls, context: Mapping[str, Any]) -> "Environment":
        """Raises ContextError."""
        names = [field.name for field in fields(cls)]
        mistakes = []
        # The CDK's own keys have a colon, an @ or a slash; a key without one is meant for us.
        for key in context:
            if key not in names and not {":", "@", "/"} & set(key):
                near = get_close_matches(key, names, n=1)
                mistakes.append(f"there is no context value {key!r}" + (f": did you mean {near[0]!r}?" if near else ""))
        values = {name: str(context[name]) for name in names if name in context}
        for name, choices in _CHOICES.items():
            if values.get(name, choices[0]) not in choices:
                mistakes.append(f"{name} must be one of {', '.join(choices)}, not {values[name]!r}")
        mistakes += _in_domain(values) + _in_datadog(values)
        if values.get("alarm_email") and "@" not in values["alarm_email"]:
            mistakes.append(f"alarm_email must be an e-mail address, not {values['alarm_email']!r}")
        if mistakes:
            raise ContextError("; ".join(mistakes))
        return cls(**values)


def _in_domain(values: Mapping[str, str]) -> list[str]:
    mistakes = []
    if bool(values.get("domain")) != bool(values.get("certificate")):
        mistakes.append("domain and certificate (its ARN) go together: give both or neither")
    if values.get("certificate") and not values["certificate"].startswith("arn:"):
        mistakes.append(f"certificate must be the ARN of a certificate, not {values['certificate']!r}")
    return mistakes


def _in_datadog(values: Mapping[str, str]) -> list[str]:
    keys = ("datadog_api_key", "datadog_app_key")
    # What is wrong is not repeated: it may be the key itself.
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
