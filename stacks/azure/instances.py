"""A scale set of Debian instances that run one unit of the release."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cdktn import TerraformResourceLifecycle, TerraformStack
from cdktn_provider_azurerm.linux_virtual_machine_scale_set import (
    LinuxVirtualMachineScaleSet,
    LinuxVirtualMachineScaleSetAdminSshKey,
    LinuxVirtualMachineScaleSetAutomaticInstanceRepair,
    LinuxVirtualMachineScaleSetBootDiagnostics,
    LinuxVirtualMachineScaleSetExtension,
    LinuxVirtualMachineScaleSetIdentity,
    LinuxVirtualMachineScaleSetNetworkInterface,
    LinuxVirtualMachineScaleSetNetworkInterfaceIpConfiguration,
    LinuxVirtualMachineScaleSetOsDisk,
    LinuxVirtualMachineScaleSetRollingUpgradePolicy,
    LinuxVirtualMachineScaleSetSourceImageReference,
)
from cdktn_provider_azurerm.monitor_autoscale_setting import (
    MonitorAutoscaleSetting,
    MonitorAutoscaleSettingProfile,
    MonitorAutoscaleSettingProfileCapacity,
    MonitorAutoscaleSettingProfileRule,
    MonitorAutoscaleSettingProfileRuleMetricTrigger,
    MonitorAutoscaleSettingProfileRuleScaleAction,
)
from cdktn_provider_azurerm.resource_group import ResourceGroup
from cdktn_provider_azurerm.subnet import Subnet
from cdktn_provider_azurerm.user_assigned_identity import UserAssignedIdentity

from stacks.azure.environment import Environment
from stacks.azure.variables import CLIENT_ID

INSTANCE: Final = Path(__file__).with_name("instance")
"""Directory of an instance's files besides the release."""

# Nobody has the private key: the key's 32 bytes are the digest of `ADMIN_KEY_TEXT`. Commands run on
# an instance by `az vmss run-command`, as through Session Manager on AWS.
ADMIN_KEY: Final = (
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBvjK09NLqHGLgKVwzgf6/faxJy+8ISFiZH6Y/UXInwM"
)
"""Public key of the administrator, which Azure requires."""
ADMIN_KEY_TEXT: Final = "asciist: nobody has the private key"

_ADMIN: Final = "asciistadmin"
"""Name of the administrator; not a user or group of Debian."""
_SKUS: Final = {"x86_64": "12-gen2", "arm64": "12-arm64"}
_BUSY_PERCENT: Final = 60
# with two instances, the remaining one then reaches the level at which one is added
_IDLE_PERCENT: Final = 30
"""CPU utilization, in percent, below which an instance is removed."""
_REPAIR_AFTER: Final = "PT20M"  # a boot takes some minutes
"""Time for which a new instance may be unhealthy before it is replaced."""


@dataclass(frozen=True, kw_only=True)
class Tier:
    """Properties that differ between the two scale sets."""

    name: str
    """`web` or `worker`."""
    unit: str
    """Name of the systemd unit in the release."""
    instance_type: str
    min_instances: int
    max_instances: int
    health_port: int
    """TCP port of the health check on the instance."""
    health_path: str


class ScaleSet:
    """Instances in a private subnet, with encrypted disks, one identity and no reachable SSH.

    An update starts new instances before it deletes old ones, and stops if they are not healthy. An
    instance that stays unhealthy is replaced.
    """

    def __init__(
        self,
        stack: TerraformStack,
        *,
        environment: Environment,
        tier: Tier,
        group: ResourceGroup,
        subnet: Subnet,
        identity: UserAssignedIdentity,
        variables: Mapping[str, str],
        release_url: str,
        pools: list[str],
        depends_on: list[Any],
        output: Path,
    ) -> None:
        """Instances join `pools`, by their ids, and boot after `depends_on`. `output` is the
        program's directory."""
        self.name = f"{environment.prefix}-{tier.name}"
        self.scale_set = LinuxVirtualMachineScaleSet(
            stack,
            f"{tier.name}_instances",
            name=self.name,
            computer_name_prefix=tier.name,
            location=group.location,
            resource_group_name=group.name,
            sku=tier.instance_type,
            instances=tier.min_instances,
            zones=environment.zones,
            zone_balance=environment.sizes.zones > 1,
            overprovision=False,
            source_image_reference=LinuxVirtualMachineScaleSetSourceImageReference(
                publisher="Debian",
                offer="debian-12",
                sku=_SKUS[environment.architecture],
                version=environment.image,
            ),
            os_disk=LinuxVirtualMachineScaleSetOsDisk(
                caching="ReadWrite", storage_account_type="StandardSSD_LRS"
            ),
            encryption_at_host_enabled=True,
            admin_username=_ADMIN,
            admin_ssh_key=[
                LinuxVirtualMachineScaleSetAdminSshKey(username=_ADMIN, public_key=ADMIN_KEY)
            ],
            disable_password_authentication=True,
            boot_diagnostics=LinuxVirtualMachineScaleSetBootDiagnostics(),
            identity=LinuxVirtualMachineScaleSetIdentity(
                type="UserAssigned", identity_ids=[identity.id]
            ),
            network_interface=[
                LinuxVirtualMachineScaleSetNetworkInterface(
                    name="main",
                    primary=True,
                    ip_configuration=[
                        LinuxVirtualMachineScaleSetNetworkInterfaceIpConfiguration(
                            name="main",
                            primary=True,
                            subnet_id=subnet.id,
                            application_gateway_backend_address_pool_ids=pools,
                        )
                    ],
                )
            ],
            custom_data=_custom_data(
                tier, identity, user_data(tier, variables, release_url=release_url), output
            ),
            extension=[_health(tier), _agent(identity)],
            upgrade_mode="Rolling",
            rolling_upgrade_policy=LinuxVirtualMachineScaleSetRollingUpgradePolicy(
                max_batch_instance_percent=20,
                max_unhealthy_instance_percent=50,
                max_unhealthy_upgraded_instance_percent=20,
                pause_time_between_batches="PT0S",
                prioritize_unhealthy_instances_enabled=True,
                # An existing instance would keep the release with which it booted.
                maximum_surge_instances_enabled=True,
            ),
            automatic_instance_repair=LinuxVirtualMachineScaleSetAutomaticInstanceRepair(
                enabled=True, action="Replace", grace_period=_REPAIR_AFTER
            ),
            depends_on=depends_on,
            # autoscale changes their number
            lifecycle=TerraformResourceLifecycle(ignore_changes=["instances"]),
        )
        self.autoscale = MonitorAutoscaleSetting(
            stack,
            f"{tier.name}_autoscale",
            name=self.name,
            location=group.location,
            resource_group_name=group.name,
            target_resource_id=self.scale_set.id,
            profile=[
                MonitorAutoscaleSettingProfile(
                    name="cpu",
                    capacity=MonitorAutoscaleSettingProfileCapacity(
                        minimum=tier.min_instances,
                        maximum=tier.max_instances,
                        default=tier.min_instances,
                    ),
                    rule=[
                        self._rule("GreaterThan", _BUSY_PERCENT, "Increase", minutes=5),
                        self._rule("LessThan", _IDLE_PERCENT, "Decrease", minutes=10),
                    ],
                )
            ],
        )

    def _rule(
        self, operator: str, threshold: int, direction: str, *, minutes: int
    ) -> MonitorAutoscaleSettingProfileRule:
        """Return a rule that adds or removes an instance when the mean CPU of the group passes a
        threshold."""
        return MonitorAutoscaleSettingProfileRule(
            metric_trigger=MonitorAutoscaleSettingProfileRuleMetricTrigger(
                metric_name="Percentage CPU",
                metric_resource_id=self.scale_set.id,
                time_grain="PT1M",
                statistic="Average",
                time_window=f"PT{minutes}M",
                time_aggregation="Average",
                operator=operator,
                threshold=threshold,
            ),
            scale_action=MonitorAutoscaleSettingProfileRuleScaleAction(
                direction=direction, type="ChangeCount", value=1, cooldown=f"PT{minutes}M"
            ),
        )


def user_data(tier: Tier, variables: Mapping[str, str], *, release_url: str) -> str:
    """Return the configuration of cloud-init, which writes the files of `stacks/azure/instance` and
    runs `boot`.

    It is JSON, and so YAML. It contains no secret, because every process on an instance can read
    it.
    """
    settings = "".join(f"{name}={value}\n" for name, value in sorted(variables.items()))
    files = {
        "/opt/asciist-boot/settings": settings,
        **{
            f"/opt/asciist-boot/{file.name}": file.read_text()
            for file in sorted(INSTANCE.iterdir())
        },
    }
    boot = ["bash", "/opt/asciist-boot/boot", tier.unit, "/opt/asciist-boot/settings", release_url]
    config = {
        "write_files": [
            {"path": path, "permissions": "0600", "content": content}
            for path, content in files.items()
        ],
        "runcmd": [boot],
    }
    return f"#cloud-config\n{json.dumps(config)}\n"


def _custom_data(tier: Tier, identity: UserAssignedIdentity, text: str, output: Path) -> str:
    """Write user data to a file of the program; return the Terraform expression that reads it and
    adds the client id."""
    name = f"{tier.name}.cloud-config"
    (output / name).write_text(text)
    client_id = f"azurerm_user_assigned_identity.{identity.friendly_unique_id}.client_id"
    return (
        f'${{base64encode(replace(file("${{path.module}}/{name}"), "{CLIENT_ID}", {client_id}))}}'
    )


def _health(tier: Tier) -> LinuxVirtualMachineScaleSetExtension:
    """Return the extension that checks the unit's health, on which upgrades and repairs depend."""
    return LinuxVirtualMachineScaleSetExtension(
        name="health",
        publisher="Microsoft.ManagedServices",
        type="ApplicationHealthLinux",
        type_handler_version="1.0",
        auto_upgrade_minor_version=True,
        settings=json.dumps(
            {"protocol": "http", "port": tier.health_port, "requestPath": tier.health_path}
        ),
    )


def _agent(identity: UserAssignedIdentity) -> LinuxVirtualMachineScaleSetExtension:
    """Return the extension that ships the logs and the disk usage."""
    return LinuxVirtualMachineScaleSetExtension(
        name="logs",
        publisher="Microsoft.Azure.Monitor",
        type="AzureMonitorLinuxAgent",
        type_handler_version="1.0",
        auto_upgrade_minor_version=True,
        automatic_upgrade_enabled=True,
        settings=json.dumps(
            {
                "authentication": {
                    "managedIdentity": {
                        "identifier-name": "mi_res_id",
                        "identifier-value": identity.id,
                    }
                }
            }
        ),
    )
