"""The storage account with its containers and queues, the vault with the link keys, and the
release."""

import hashlib
import zipfile
from pathlib import Path
from typing import Any, Final

from cdktn import TerraformResourceLifecycle, TerraformStack
from cdktn_provider_azurerm.data_azurerm_client_config import DataAzurermClientConfig
from cdktn_provider_azurerm.key_vault import KeyVault, KeyVaultNetworkAcls
from cdktn_provider_azurerm.key_vault_secret import KeyVaultSecret
from cdktn_provider_azurerm.resource_group import ResourceGroup
from cdktn_provider_azurerm.storage_account import StorageAccount, StorageAccountNetworkRules
from cdktn_provider_azurerm.storage_blob import StorageBlob
from cdktn_provider_azurerm.storage_container import StorageContainer
from cdktn_provider_azurerm.storage_management_policy import (
    StorageManagementPolicy,
    StorageManagementPolicyRule,
    StorageManagementPolicyRuleActions,
    StorageManagementPolicyRuleActionsBaseBlob,
    StorageManagementPolicyRuleFilters,
)
from cdktn_provider_azurerm.storage_queue import StorageQueue

from stacks.azure.environment import Environment
from stacks.azure.network import Network
from stacks.azure.permissions import Scope

ARTIFACTS: Final = "artifacts"
"""Name of the container of images and art."""
REQUESTS: Final = "requests"
"""Name of the request queue."""
DEAD_LETTERS: Final = "requests-dead-letters"
"""Name of the dead-letter queue. Workers move messages there, because Azure does not."""
LINK_KEYS: Final = "link-keys"
"""Name of the secret that contains the link keys."""

PEER: Final = "peer"
"""Name of the secret that contains the peer store's credentials; a person creates it."""

_RANDOM_PROVIDER: Final = {"source": "hashicorp/random", "version": "~> 3.7"}
"""First version that supports generated values outside the state."""


class Storage:
    """Resources that outlive the instances. An update never replaces them."""

    def __init__(
        self,
        stack: TerraformStack,
        *,
        environment: Environment,
        group: ResourceGroup,
        network: Network,
        release: Path,
        output: Path,
    ) -> None:
        """`release` is the directory installed by instances; its archive is written to `output`,
        the program's directory."""
        self._stack, self._environment, self._group = stack, environment, group
        self._keeps = TerraformResourceLifecycle(prevent_destroy=environment.sizes.keeps_data)
        subnets = [network.web.id, network.worker.id]
        self.account = self._storage_account(subnets)
        self.artifacts = StorageContainer(
            stack,
            "artifacts",
            name=ARTIFACTS,
            storage_account_id=self.account.id,
            lifecycle=self._keeps,
        )
        self.requests, self.dead_letters = (
            StorageQueue(
                stack, id_, name=name, storage_account_id=self.account.id, lifecycle=self._keeps
            )
            for id_, name in (("requests", REQUESTS), ("dead_letters", DEAD_LETTERS))
        )
        self._expire_artifacts()
        self.vault = self._vault(subnets)
        self.link_keys = self._generate_link_keys()
        self.releases = StorageContainer(
            stack, "releases", name="releases", storage_account_id=self.account.id
        )
        archive = archive_release(release, output)
        self.release = StorageBlob(
            stack,
            "release",
            name=archive.name,
            storage_container_id=self.releases.id,
            type="Block",
            source=f"${{path.module}}/{archive.name}",
            # Old instances may still be booting from the old one while they are replaced.
            lifecycle=TerraformResourceLifecycle(create_before_destroy=True),
        )
        name = environment.unique_name
        self.release_url = f"https://{name}.blob.core.windows.net/releases/{archive.name}"
        """URL of the release."""
        self.requests_url = f"https://{name}.queue.core.windows.net/{REQUESTS}"
        """URL of the request queue."""
        self.link_keys_url = f"https://{name}.vault.azure.net/secrets/{LINK_KEYS}"
        """URL of the secret with the link keys."""
        self.peer_secret_url = f"https://{name}.vault.azure.net/secrets/{PEER}"
        """URL of the secret with the credentials of the peer store."""
        self.scopes: dict[Scope, Any] = {
            "artifacts": self.artifacts.id,
            "releases": self.releases.id,
            "requests": self.requests.id,
            "dead_letters": self.dead_letters.id,
            "link_keys": self.link_keys.resource_versionless_id,
            "peer_secret": f"{self.vault.id}/secrets/{PEER}",
        }
        """Ids of the resources on which permissions are granted."""

    def _storage_account(self, subnets: list[str]) -> StorageAccount:
        """Create the account. It has no keys: every access uses an identity, from a subnet, a
        deployer or the peer."""
        return StorageAccount(
            self._stack,
            "storage",
            name=self._environment.unique_name,
            location=self._group.location,
            resource_group_name=self._group.name,
            account_tier="Standard",
            # ZRS survives the loss of a zone.
            account_replication_type="ZRS" if self._environment.sizes.zones > 1 else "LRS",
            min_tls_version="TLS1_2",
            https_traffic_only_enabled=True,
            shared_access_key_enabled=False,
            default_to_oauth_authentication=True,
            local_user_enabled=False,
            allow_nested_items_to_be_public=False,
            cross_tenant_replication_enabled=False,
            network_rules=StorageAccountNetworkRules(
                default_action="Deny",
                bypass=["None"],  # Azure's own services have no need of the data
                virtual_network_subnet_ids=subnets,
                ip_rules=[*self._environment.deployer_addresses, *self._environment.peers],
            ),
            lifecycle=self._keeps,
        )

    def _expire_artifacts(self) -> None:
        """Delete images and art by age. One rule for both: art cannot be converted to another width
        without its image."""
        StorageManagementPolicy(
            self._stack,
            "expiry",
            storage_account_id=self.account.id,
            rule=[
                StorageManagementPolicyRule(
                    name="images-and-art",
                    enabled=True,
                    filters=StorageManagementPolicyRuleFilters(
                        blob_types=["blockBlob"], prefix_match=[f"{ARTIFACTS}/"]
                    ),
                    actions=StorageManagementPolicyRuleActions(
                        base_blob=StorageManagementPolicyRuleActionsBaseBlob(
                            delete_after_days_since_modification_greater_than=self._environment.sizes.artifact_days
                        )
                    ),
                )
            ],
        )

    def _vault(self, subnets: list[str]) -> KeyVault:
        return KeyVault(
            self._stack,
            "vault",
            name=self._environment.unique_name,
            location=self._group.location,
            resource_group_name=self._group.name,
            tenant_id=DataAzurermClientConfig(self._stack, "deployer").tenant_id,
            sku_name="standard",
            rbac_authorization_enabled=True,
            purge_protection_enabled=True,
            soft_delete_retention_days=7,  # the minimum: so long, no other vault can have the name
            network_acls=KeyVaultNetworkAcls(
                default_action="Deny",
                bypass="None",
                virtual_network_subnet_ids=subnets,
                ip_rules=self._environment.deployer_addresses,
            ),
            lifecycle=self._keeps,
        )

    def _generate_link_keys(self) -> KeyVaultSecret:
        """Generate the first link key, which appears neither in the program nor in Terraform's
        state.

        Terraform writes it only when the secret is created: `value_wo_version` never changes. A
        person may change the secret.
        """
        self._stack.add_override("terraform.required_providers.random", _RANDOM_PROVIDER)
        self._stack.add_override(
            "ephemeral.random_password.link_key", {"length": 64, "special": False}
        )
        return KeyVaultSecret(
            self._stack,
            "link_keys",
            key_vault_id=self.vault.id,
            name=LINK_KEYS,
            content_type="ASCIIST_LINK_KEYS: the first makes links, and all of them read links",
            value_wo="${ephemeral.random_password.link_key.result}",
            value_wo_version=1,
            lifecycle=self._keeps,
        )


def archive_release(release: Path, output: Path) -> Path:
    """Write the release as a zip archive named for its digest to `output`; return its path.

    The same release gives the same bytes. Wheels are stored uncompressed, because they are
    compressed already.
    """
    output.mkdir(parents=True, exist_ok=True)
    building = output / "release.zip"
    with zipfile.ZipFile(building, "w") as archive:
        for file in sorted(path for path in release.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(str(file.relative_to(release)))  # of 1980, with no mode
            archive.writestr(entry, file.read_bytes())
    archived = output / f"{hashlib.sha256(building.read_bytes()).hexdigest()}.zip"
    return building.replace(archived)
