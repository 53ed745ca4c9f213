"""The table `[settings]` of an environment's file: settings of the service in one deployment."""

from collections.abc import Mapping
from typing import Any, Final

from asciist.errors import SettingsError
from asciist.settings import Settings, setting_types
from stacks.values import typed_as

DECIDED: Final = {
    "backend": "it is the cloud of the deployment",
    "bucket": "the stack creates it",
    "request_queue_url": "the stack creates the queue",
    "reply_path": "the key replies determines it on AWS, and Azure has callbacks only",
    "reply_queue_prefix": "the permissions of both tiers contain it",
    "callback_networks": "the stack creates the network",
    "instance": "each instance uses its own address",
    "data_dir": "a deployment has no embedded store",
    "store_max_bytes": "a deployment has no embedded store",
    "store_max_days": "the key artifact_days in [sizes] determines it",
    "host": "the stack decides which addresses can reach the instances",
    "port": "the load balancer and the security groups contain it",
    "workers": "an instance runs one process for each of its processors",
    "metrics": "the alarms determine it",
    "metrics_namespace": "the alarms contain it",
    "link_keys": "they are secrets, which the deployment keeps in its vault",
    "trusted_hosts": "the key domain determines it",
    "peer_store": "the key peer_store outside [settings] determines it",
    "read_only": "the key peer_store outside [settings] determines it",
}
"""Settings determined by the deployment, with the reasons why its file cannot set them."""


def settings_of(given: object, mistakes: list[str]) -> Settings:
    """Return the settings in a table `[settings]`; add errors to `mistakes`."""
    if not isinstance(given, Mapping):
        mistakes.append(f"settings must be a table, not {given!r}")
        return Settings()
    mistakes += [
        f"{key} cannot be in [settings]: {DECIDED[key]}" for key in given if key in DECIDED
    ]
    types = {key: kind for key, kind in setting_types().items() if key not in DECIDED}
    chosen: dict[str, Any] = {key: value for key, value in given.items() if key not in DECIDED}
    values = typed_as(types, chosen, mistakes)
    # A variable is one line of a file on an instance.
    mistakes += [
        f"{key} must be one line of printable characters, not {value!r}"
        for key, value in values.items()
        if not str(value).isprintable()
    ]
    try:
        return Settings.from_values(values)
    except SettingsError as error:
        mistakes.append(str(error))
        return Settings()
