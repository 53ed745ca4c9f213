"""The variables that a deployment gives to its units on Azure."""

from dataclasses import replace
from typing import Final

from asciist.settings import READ_ONLY_MARKER, Settings, Tier
from stacks.azure.environment import Environment
from stacks.azure.gateway import Gateway
from stacks.azure.network import NETWORK, WEB_PORT
from stacks.azure.storage import ARTIFACTS, Storage

CLIENT_ID: Final = "@CLIENT_ID@"
"""Placeholder for an identity's client id, which Terraform learns when it creates the identity."""
LINK_KEYS_URL: Final = "LINK_KEYS_URL"
"""Variable with the URL of the link keys, for `stacks/azure/instance/boot`. The unit does not read
it."""
PEER_SECRET_URL: Final = "PEER_SECRET_URL"  # noqa: S105 - the name of a variable
"""Variable with the URL of the peer store's credentials, for `boot`."""


def web_variables(
    environment: Environment, settings: Settings, *, storage: Storage, gateway: Gateway
) -> dict[str, str]:
    """Return the variables of the web unit."""
    hosts = (
        {"ASCIIST_TRUSTED_HOSTS": f"{environment.domain},{gateway.host}"}
        if environment.domain
        else {}
    )
    return {
        **_variables(environment, settings, storage=storage, tier="web"),
        **hosts,
        LINK_KEYS_URL: storage.link_keys_url,
        **({PEER_SECRET_URL: storage.peer_secret_url} if environment.peer_store else {}),
    }


def worker_variables(
    environment: Environment, settings: Settings, *, storage: Storage
) -> dict[str, str]:
    """Return the variables of the poller."""
    return _variables(environment, settings, storage=storage, tier="worker")


def _variables(
    environment: Environment, settings: Settings, *, storage: Storage, tier: Tier
) -> dict[str, str]:
    deployed = replace(
        settings,
        backend="azure",
        bucket=ARTIFACTS,
        request_queue_url=storage.requests_url,
        reply_path="callback",
        callback_networks=NETWORK,
        host="0.0.0.0",  # noqa: S104 - the security group admits only the gateway and workers
        port=WEB_PORT,
        store_max_days=environment.sizes.artifact_days,
        metrics="none",  # the alarms use only gateway logs and Azure's own metrics
        peer_store=environment.peer_store,
        # Every process polls the marker, so it is configured only during a move, as on AWS.
        read_only=f"azure://{ARTIFACTS}/{READ_ONLY_MARKER}" if environment.peer_store else "",
    )
    return {
        **deployed.to_tier_environment(tier),
        "AZURE_STORAGE_ACCOUNT_NAME": environment.unique_name,
        "AZURE_CLIENT_ID": CLIENT_ID,
    }
