"""The program for Terraform: composes a deployment. `stacks.azure.__main__` runs it in
`.venv-azure`:

    python -m stacks.azure.program ENVIRONMENT RELEASE OUTPUT [KEY=VALUE…]

It writes `cdk.tf.json`, the archive of the release and the user data of instances to
`OUTPUT/stacks/asciist-ENVIRONMENT`.
"""

import sys
from pathlib import Path
from typing import Any, Final, get_args

from cdktn import App, TerraformStack
from cdktn_provider_azurerm.provider import (
    AzurermProvider,
    AzurermProviderFeatures,
    AzurermProviderFeaturesKeyVault,
)
from cdktn_provider_azurerm.resource_group import ResourceGroup
from cdktn_provider_azurerm.role_assignment import RoleAssignment
from cdktn_provider_azurerm.role_definition import RoleDefinition, RoleDefinitionPermissions
from cdktn_provider_azurerm.user_assigned_identity import UserAssignedIdentity

from stacks.azure.environment import Environment
from stacks.azure.gateway import Gateway
from stacks.azure.instances import ScaleSet, Tier
from stacks.azure.network import WEB_PORT, Network
from stacks.azure.observability import Observability
from stacks.azure.permissions import GRANTS, Grant, Grantee, Identity
from stacks.azure.storage import Storage
from stacks.azure.variables import web_variables, worker_variables

_TERRAFORM: Final = ">=1.11"
"""Versions of Terraform and OpenTofu with write-only arguments, which keep a secret out of the
state."""
_POLLER_HEALTH_PORT: Final = 8081
"""TCP port of `stacks/azure/instance/asciist-health.service`, on the instance itself."""


def compose(
    stack: TerraformStack, environment: Environment, *, release: Path, output: Path
) -> None:
    """Add all resources of a deployment to `stack`, and write their files to `output`."""
    settings = environment.settings
    sizes = environment.sizes
    _configure(stack, environment)
    group = ResourceGroup(
        stack,
        "group",
        name=environment.prefix,
        location=environment.location,
        tags=_tags(environment),
    )
    network = Network(stack, environment=environment, settings=settings, group=group)
    storage = Storage(
        stack, environment=environment, group=group, network=network, release=release, output=output
    )
    identities = _identities(stack, environment, group)
    grants = _grant(stack, environment, group=group, storage=storage, identities=identities)
    gateway = Gateway(
        stack,
        environment=environment,
        settings=settings,
        group=group,
        network=network,
        identity=identities.get("gateway"),
        depends_on=[*grants.get("gateway", []), *network.ready],
    )
    web = ScaleSet(
        stack,
        environment=environment,
        tier=Tier(
            name="web",
            unit="asciist-web",
            instance_type=sizes.web_instance_type,
            min_instances=sizes.web_min_instances,
            max_instances=sizes.web_max_instances,
            health_port=WEB_PORT,
            health_path="/healthz",
        ),
        group=group,
        subnet=network.web,
        identity=identities["web"],
        variables=web_variables(environment, settings, storage=storage, gateway=gateway),
        release_url=storage.release_url,
        pools=[gateway.web_pool],
        depends_on=[*grants["web"], storage.release, *network.ready],
        output=output,
    )
    worker = ScaleSet(
        stack,
        environment=environment,
        tier=Tier(
            name="worker",
            unit="asciist-poller",
            instance_type=sizes.poller_instance_type,
            min_instances=sizes.poller_min_instances,
            max_instances=sizes.poller_max_instances,
            health_port=_POLLER_HEALTH_PORT,
            health_path="/",
        ),
        group=group,
        subnet=network.worker,
        identity=identities["worker"],
        variables=worker_variables(environment, settings, storage=storage),
        release_url=storage.release_url,
        pools=[],
        depends_on=[*grants["worker"], storage.release, *network.ready],
        output=output,
    )
    Observability(
        stack, environment=environment, group=group, gateway=gateway.gateway, web=web, worker=worker
    )


def _configure(stack: TerraformStack, environment: Environment) -> None:
    """Configure the provider, which reads credentials and subscription from its environment, and
    the storage of the state."""
    AzurermProvider(
        stack,
        "azurerm",
        storage_use_azuread=True,
        features=[
            AzurermProviderFeatures(
                key_vault=[AzurermProviderFeaturesKeyVault(purge_soft_delete_on_destroy=False)]
            )
        ],
    )
    stack.add_override("terraform.required_version", _TERRAFORM)
    # `terraform init` receives the rest of the backend, since it belongs to the subscription.
    state = {"azurerm": {"key": f"{environment.prefix}.tfstate", "use_azuread_auth": True}}
    stack.add_override("terraform.backend", state)
    # the default of the constructs, in a directory of this machine
    stack.add_override("terraform.backend.local", None)


def _tags(environment: Environment) -> dict[str, str]:
    return {"service": "asciist", "environment": environment.environment}


def _identities(
    stack: TerraformStack, environment: Environment, group: ResourceGroup
) -> dict[Identity, UserAssignedIdentity]:
    """Create the identity of each tier, and the gateway's if it needs to read a certificate."""
    return {
        name: UserAssignedIdentity(
            stack,
            f"{name}_identity",
            name=f"{environment.prefix}-{name}",
            location=group.location,
            resource_group_name=group.name,
        )
        for name in get_args(Identity)
        if name != "gateway" or environment.domain
    }


def _grant(
    stack: TerraformStack,
    environment: Environment,
    *,
    group: ResourceGroup,
    storage: Storage,
    identities: dict[Identity, UserAssignedIdentity],
) -> dict[Grantee, list[RoleAssignment]]:
    """Create a role and its assignment for each grant; return the assignments by identity."""
    scopes = {
        **storage.scopes,
        "certificate": f"{environment.certificate_vault}/secrets/{environment.certificate}",
    }
    places = {"certificate": environment.certificate_vault.partition("/providers/")[0]}
    principals: dict[Grantee, Any] = {
        name: identity.principal_id for name, identity in identities.items()
    }
    principals["peer"] = environment.peer_principal
    assignments: dict[Grantee, list[RoleAssignment]] = {name: [] for name in principals}
    for grant in GRANTS:
        if not grant.needs or getattr(environment, grant.needs):
            place = places.get(grant.scope, group.id)
            role = _role(stack, environment, grant, place)
            assignments[grant.identity].append(
                RoleAssignment(
                    stack,
                    f"{grant.name}_assignment",
                    scope=scopes[grant.scope],
                    role_definition_id=role.role_definition_resource_id,
                    principal_id=principals[grant.identity],
                    principal_type="ServicePrincipal",
                    condition=grant.condition or None,
                    condition_version="2.0" if grant.condition else None,
                )
            )
    return assignments


def _role(
    stack: TerraformStack, environment: Environment, grant: Grant, place: Any
) -> RoleDefinition:
    """Create the role of a grant, assignable in the resource group `place` only."""
    return RoleDefinition(
        stack,
        f"{grant.name}_role",
        name=f"{environment.unique_name}-{grant.name}",  # unique in the whole tenant
        description=f"For {grant.reason}",
        scope=place,
        assignable_scopes=[place],
        permissions=[
            RoleDefinitionPermissions(
                data_actions=list(grant.actions), actions=list(grant.configures) or None
            )
        ],
    )


def main() -> None:
    name, release, output, *overrides = sys.argv[1:]
    environment = Environment.load(name, dict(override.split("=", 1) for override in overrides))
    app = App(
        outdir=output, context={"targetVersions": {"terraform": _TERRAFORM, "opentofu": _TERRAFORM}}
    )
    stack = TerraformStack(app, environment.prefix)
    compose(
        stack,
        environment,
        release=Path(release),
        output=Path(output) / "stacks" / environment.prefix,
    )
    app.synth()


if __name__ == "__main__":
    main()
