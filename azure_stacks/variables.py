"""Settings of the units on Azure: every variable that the deployment gives them is named here."""

from typing import Final

from asciist.settings import READ_ONLY_MARKER, Settings
from azure_stacks.environment import Environment
from azure_stacks.gateway import Gateway
from azure_stacks.network import NETWORK, WEB_PORT
from azure_stacks.storage import ARTIFACTS, Storage

_BOTH: Final = ("BACKEND", "BUCKET", "REQUEST_QUEUE_URL", "CALLBACK_FIRST_PORT", "METRICS")
_WEB: Final = (*_BOTH, "REPLY_PATH", "HOST", "PORT", "REQUEST_TIMEOUT", "STORE_MAX_DAYS", "PEER_STORE", "READ_ONLY")
_WORKER: Final = (*_BOTH, "CALLBACK_NETWORKS")
CLIENT_ID: Final = "@CLIENT_ID@"
"""Placeholder of the client id of an identity, which Terraform knows only when it has created it."""
LINK_KEYS_URL: Final = "LINK_KEYS_URL"
"""Variable from which `azure_stacks/instance/boot` learns where the keys of links are. The unit does not read it."""
PEER_SECRET_URL: Final = "PEER_SECRET_URL"  # noqa: S105 - the name of a variable
"""Variable from which it learns where the credentials of the peer store are."""


def web_variables(environment: Environment, settings: Settings, *, storage: Storage, gateway: Gateway) -> dict[str, str]:
    """Return the variables of the web unit."""
    hosts = {"ASCIIST_TRUSTED_HOSTS": f"{environment.domain},{gateway.host}"} if environment.domain else {}
    return {
        **_variables(environment, settings, storage=storage, names=_WEB),
        **hosts,
        LINK_KEYS_URL: storage.link_keys_url,
        **({PEER_SECRET_URL: storage.peer_secret_url} if environment.peer_store else {}),
    }


def worker_variables(environment: Environment, settings: Settings, *, storage: Storage) -> dict[str, str]:
    """Return the variables of the poller."""
    return _variables(environment, settings, storage=storage, names=_WORKER)


def _variables(environment: Environment, settings: Settings, *, storage: Storage, names: tuple[str, ...]) -> dict[str, str]:
    deployed = Settings(
        backend="azure",
        bucket=ARTIFACTS,
        request_queue_url=storage.requests_url,
        reply_path="callback",
        callback_first_port=settings.callback_first_port,
        callback_networks=NETWORK,
        host="0.0.0.0",  # noqa: S104 - the security group admits only the gateway and workers
        port=WEB_PORT,
        request_timeout=settings.request_timeout,
        store_max_days=environment.sizes.artifact_days,
        metrics="none",  # what the gateway logs and Azure measures is all that alarms use
        peer_store=environment.peer_store,
        # Each process asks for the marker all the time, so there is one only during a move, as on AWS.
        read_only=f"azure://{ARTIFACTS}/{READ_ONLY_MARKER}" if environment.peer_store else "",
    ).to_environment()
    return {
        **{name: value for name, value in deployed.items() if name.removeprefix("ASCIIST_") in names},
        "AZURE_STORAGE_ACCOUNT_NAME": environment.unique_name,
        "AZURE_CLIENT_ID": CLIENT_ID,
    }
