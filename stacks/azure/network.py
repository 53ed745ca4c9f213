"""The network: three subnets with their security groups, and the NAT gateway."""

from typing import Any, Final

from cdktn import TerraformStack
from cdktn_provider_azurerm.nat_gateway import NatGateway
from cdktn_provider_azurerm.nat_gateway_public_ip_association import NatGatewayPublicIpAssociation
from cdktn_provider_azurerm.network_security_group import (
    NetworkSecurityGroup,
    NetworkSecurityGroupSecurityRule,
)
from cdktn_provider_azurerm.public_ip import PublicIp
from cdktn_provider_azurerm.resource_group import ResourceGroup
from cdktn_provider_azurerm.subnet import Subnet, SubnetServiceEndpoint
from cdktn_provider_azurerm.subnet_nat_gateway_association import SubnetNatGatewayAssociation
from cdktn_provider_azurerm.subnet_network_security_group_association import (
    SubnetNetworkSecurityGroupAssociation,
)
from cdktn_provider_azurerm.virtual_network import VirtualNetwork

from asciist.settings import Settings
from stacks.azure.environment import Environment

WEB_PORT: Final = 8080
"""TCP port of the web instances."""
NETWORK: Final = "10.1.0.0/16"
"""Addresses of the network; workers send callbacks to no others. They differ from those on AWS."""
_SUBNETS: Final = {"gateway": "10.1.0.0/24", "web": "10.1.4.0/22", "worker": "10.1.8.0/22"}

_SERVICES: Final = ("Microsoft.Storage", "Microsoft.KeyVault")
"""Services that instances reach through Azure's network, and that accept only these subnets."""

_HIGHEST_PRIORITY: Final = 100
_LOWEST_PRIORITY: Final = 4096
"""Maximum rule number. Rules are applied in ascending order; Azure's own follow."""


class Network:
    """The network and the access of all tiers.

    Only the gateway accepts connections from clients. Web instances accept them from the gateway
    and, for replies, from workers. Nothing connects to a worker.
    """

    def __init__(
        self,
        stack: TerraformStack,
        *,
        environment: Environment,
        settings: Settings,
        group: ResourceGroup,
    ) -> None:
        self._stack, self._environment, self._group = stack, environment, group
        self.ready: list[Any] = []
        """Rules and routes that an instance needs to boot."""
        network = VirtualNetwork(
            stack, "network", name=environment.prefix, address_space=[NETWORK], **self._place()
        )
        callbacks = f"{settings.callback_ports[0]}-{settings.callback_ports[-1]}"
        self.gateway = self._subnet(
            network,
            "gateway",
            [
                _allow("Clients", "Internet", "80" if not environment.domain else ("80", "443")),
                # Azure manages a gateway through these ports; they accept only its certificates.
                _allow("Management", "GatewayManager", "65200-65535"),
                _allow("Probes", "AzureLoadBalancer", "*"),
            ],
        )
        self.web = self._subnet(
            network,
            "web",
            [
                _allow("Gateway", _SUBNETS["gateway"], str(WEB_PORT)),
                _allow("Replies", _SUBNETS["worker"], callbacks),
            ],
        )
        self.worker = self._subnet(network, "worker", [])
        self._add_nat()

    def _place(self) -> dict[str, Any]:
        return {"location": self._group.location, "resource_group_name": self._group.name}

    def _subnet(self, network: VirtualNetwork, name: str, rules: list[dict[str, Any]]) -> Subnet:
        """Create a subnet that accepts only traffic permitted by the rules, although Azure's own
        rules allow the whole network."""
        is_gateway = name == "gateway"
        subnet = Subnet(
            self._stack,
            f"{name}_subnet",
            name=name,
            resource_group_name=self._group.name,
            virtual_network_name=network.name,
            address_prefixes=[_SUBNETS[name]],
            default_outbound_access_enabled=is_gateway,  # a gateway does not work without
            service_endpoint=None
            if is_gateway
            else [SubnetServiceEndpoint(service=service) for service in _SERVICES],
        )
        group = NetworkSecurityGroup(
            self._stack,
            f"{name}_access",
            name=f"{self._environment.prefix}-{name}",
            **self._place(),
            security_rule=[
                NetworkSecurityGroupSecurityRule(priority=_HIGHEST_PRIORITY + number, **rule)
                for number, rule in enumerate(rules)
            ]
            + [
                NetworkSecurityGroupSecurityRule(
                    priority=_LOWEST_PRIORITY, **_rule("Others", "Deny", "*", "*")
                )
            ],
        )
        guard = SubnetNetworkSecurityGroupAssociation(
            self._stack, f"{name}_guard", subnet_id=subnet.id, network_security_group_id=group.id
        )
        self.ready.append(guard)
        return subnet

    def _add_nat(self) -> None:
        """Give instances outbound access, for packages at boot and for their logs. Traffic to
        storage uses the service endpoints."""
        address = PublicIp(
            self._stack,
            "nat_address",
            name=f"{self._environment.prefix}-nat",
            **self._place(),
            allocation_method="Static",
            sku="Standard",
            zones=self._environment.zones,
        )
        nat = NatGateway(
            self._stack,
            "nat",
            name=self._environment.prefix,
            **self._place(),
            sku_name="Standard",
            zones=["1"],
        )
        front = NatGatewayPublicIpAssociation(
            self._stack, "nat_front", nat_gateway_id=nat.id, public_ip_address_id=address.id
        )
        routes = [
            SubnetNatGatewayAssociation(
                self._stack, f"{name}_nat", subnet_id=subnet.id, nat_gateway_id=nat.id
            )
            for name, subnet in (("web", self.web), ("worker", self.worker))
        ]
        self.ready += [front, *routes]


def _allow(name: str, source: str, ports: str | tuple[str, ...]) -> dict[str, Any]:
    return _rule(name, "Allow", source, ports)


def _rule(name: str, access: str, source: str, ports: str | tuple[str, ...]) -> dict[str, Any]:
    return {
        "name": name,
        "access": access,
        "direction": "Inbound",
        "protocol": "*" if access == "Deny" else "Tcp",
        "source_address_prefix": source,
        "source_port_range": "*",
        "destination_address_prefix": "*",
        **(
            {"destination_port_range": ports}
            if isinstance(ports, str)
            else {"destination_port_ranges": list(ports)}
        ),
    }
