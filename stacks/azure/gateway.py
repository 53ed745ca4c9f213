"""The application gateway: the public address of a deployment."""

from typing import Any, Final

from cdktn import TerraformOutput, TerraformStack
from cdktn_provider_azurerm.application_gateway import (
    ApplicationGateway,
    ApplicationGatewayAutoscaleConfiguration,
    ApplicationGatewayBackendAddressPool,
    ApplicationGatewayBackendHttpSettings,
    ApplicationGatewayBackendHttpSettingsConnectionDraining,
    ApplicationGatewayFrontendIpConfiguration,
    ApplicationGatewayFrontendPort,
    ApplicationGatewayGatewayIpConfiguration,
    ApplicationGatewayHttpListener,
    ApplicationGatewayIdentity,
    ApplicationGatewayProbe,
    ApplicationGatewayRedirectConfiguration,
    ApplicationGatewayRequestRoutingRule,
    ApplicationGatewayRewriteRuleSet,
    ApplicationGatewayRewriteRuleSetRewriteRule,
    ApplicationGatewayRewriteRuleSetRewriteRuleResponseHeaderConfiguration,
    ApplicationGatewaySku,
    ApplicationGatewaySslCertificate,
    ApplicationGatewaySslPolicy,
)
from cdktn_provider_azurerm.public_ip import PublicIp
from cdktn_provider_azurerm.resource_group import ResourceGroup
from cdktn_provider_azurerm.user_assigned_identity import UserAssignedIdentity
from cdktn_provider_azurerm.web_application_firewall_policy import (
    WebApplicationFirewallPolicy,
    WebApplicationFirewallPolicyCustomRules,
    WebApplicationFirewallPolicyCustomRulesMatchConditions,
    WebApplicationFirewallPolicyCustomRulesMatchConditionsMatchVariables,
    WebApplicationFirewallPolicyManagedRules,
    WebApplicationFirewallPolicyManagedRulesManagedRuleSet,
    WebApplicationFirewallPolicyPolicySettings,
)

from asciist.settings import Settings
from stacks.azure.environment import Environment
from stacks.azure.network import WEB_PORT, Network

_HSTS_SECONDS: Final = 365 * 86_400
"""Maximum age of HSTS, in seconds, as on AWS."""
_TLS: Final = "AppGwSslPolicy20220101S"
"""Azure's predefined policy with TLS 1.2 and 1.3 and its strict list of ciphers."""
_RULE_SETS: Final = {"Microsoft_DefaultRuleSet": "2.1", "Microsoft_BotManagerRuleSet": "1.1"}
"""Azure's rules of the firewall: known attacks, and addresses with a bad reputation."""
_PORTS: Final = {"http": 80, "https": 443}


class Gateway:
    """The gateway, its address and its health probe.

    A port has the same listener with and without a domain. With a domain, port 80 redirects to
    HTTPS.
    """

    def __init__(
        self,
        stack: TerraformStack,
        *,
        environment: Environment,
        settings: Settings,
        group: ResourceGroup,
        network: Network,
        identity: UserAssignedIdentity | None,
        depends_on: list[Any],
    ) -> None:
        """`identity` reads the certificate once `depends_on` permits it; without a domain, there is
        no certificate."""
        has_domain = bool(environment.domain)
        tier = "WAF_v2" if environment.firewall else "Standard_v2"
        address = PublicIp(
            stack,
            "front_address",
            name=f"{environment.prefix}-front",
            location=group.location,
            resource_group_name=group.name,
            allocation_method="Static",
            sku="Standard",  # the only kind that a gateway of version 2 accepts
            zones=environment.zones,
            domain_name_label=environment.unique_name,
        )
        self.host: str = f"{environment.unique_name}.{environment.location}.cloudapp.azure.com"
        """Host name of the address, for clients without a domain."""
        self.gateway = ApplicationGateway(
            stack,
            "gateway",
            name=environment.prefix,
            location=group.location,
            resource_group_name=group.name,
            zones=environment.zones,
            sku=ApplicationGatewaySku(name=tier, tier=tier),
            firewall_policy_id=(
                _firewall(stack, environment, group).id if environment.firewall else None
            ),
            autoscale_configuration=ApplicationGatewayAutoscaleConfiguration(
                min_capacity=environment.sizes.gateway_min_units,
                max_capacity=environment.sizes.gateway_max_units,
            ),
            http2_enabled=True,
            ssl_policy=ApplicationGatewaySslPolicy(policy_type="Predefined", policy_name=_TLS),
            gateway_ip_configuration=[
                ApplicationGatewayGatewayIpConfiguration(
                    name="gateway", subnet_id=network.gateway.id
                )
            ],
            frontend_ip_configuration=[
                ApplicationGatewayFrontendIpConfiguration(
                    name="front", public_ip_address_id=address.id
                )
            ],
            frontend_port=[
                ApplicationGatewayFrontendPort(name=name, port=_PORTS[name])
                for name in _schemes(has_domain=has_domain)
            ],
            backend_address_pool=[ApplicationGatewayBackendAddressPool(name="web")],
            backend_http_settings=[_backend(settings)],
            probe=[_probe()],
            http_listener=[_listener(name) for name in _schemes(has_domain=has_domain)],
            request_routing_rule=[
                _rule(name, has_domain=has_domain) for name in _schemes(has_domain=has_domain)
            ],
            depends_on=depends_on,
            **(_https(environment, identity) if identity else {}),
        )
        self.web_pool: str = self.gateway.backend_address_pool.get(0).id
        """Id of the pool of web instances."""
        TerraformOutput(
            stack,
            "url",
            value=f"https://{environment.domain}" if has_domain else f"http://{self.host}",
        )
        TerraformOutput(stack, "point_domain_at", value=self.host)


def _firewall(
    stack: TerraformStack, environment: Environment, group: ResourceGroup
) -> WebApplicationFirewallPolicy:
    """Create the firewall rules: a limit for each address, and Azure's own. The bytes of images are
    not inspected."""
    anybody = WebApplicationFirewallPolicyCustomRulesMatchConditions(
        match_variables=[
            WebApplicationFirewallPolicyCustomRulesMatchConditionsMatchVariables(
                variable_name="RemoteAddr"
            )
        ],
        operator="IPMatch",
        match_values=["0.0.0.0/0", "::/0"],
    )
    return WebApplicationFirewallPolicy(
        stack,
        "firewall",
        name=environment.prefix.replace("-", ""),  # only letters and digits
        location=group.location,
        resource_group_name=group.name,
        policy_settings=WebApplicationFirewallPolicyPolicySettings(
            enabled=True,
            mode="Prevention",
            request_body_check=False,  # bytes of images match attack patterns by chance
            request_body_enforcement=False,
        ),
        custom_rules=[
            WebApplicationFirewallPolicyCustomRules(
                name="RequestsOfAnAddress",
                priority=1,
                rule_type="RateLimitRule",
                action="Block",
                rate_limit_duration="FiveMins",
                rate_limit_threshold=environment.sizes.requests_per_address,
                group_rate_limit_by="ClientAddr",
                match_conditions=[anybody],  # a rule needs a condition; this one always holds
            )
        ],
        managed_rules=WebApplicationFirewallPolicyManagedRules(
            managed_rule_set=[
                WebApplicationFirewallPolicyManagedRulesManagedRuleSet(type=type_, version=version)
                for type_, version in _RULE_SETS.items()
            ]
        ),
    )


def _schemes(*, has_domain: bool) -> list[str]:
    return ["http", "https"] if has_domain else ["http"]


def _backend(settings: Settings) -> ApplicationGatewayBackendHttpSettings:
    timeouts = settings.timeouts
    return ApplicationGatewayBackendHttpSettings(
        name="web",
        port=WEB_PORT,
        protocol="Http",
        cookie_based_affinity="Disabled",  # any instance can answer any request
        probe_name="healthz",
        # Longer than an answer takes, so that the gateway never gives up first.
        request_timeout=timeouts.load_balancer_idle,
        connection_draining=ApplicationGatewayBackendHttpSettingsConnectionDraining(
            enabled=True, drain_timeout_sec=timeouts.deregistration_delay
        ),
    )


def _probe() -> ApplicationGatewayProbe:
    """Return the health probe. It checks the instance alone: if storage fails, replacing instances
    would not help."""
    return ApplicationGatewayProbe(
        name="healthz",
        protocol="Http",
        host="127.0.0.1",  # Azure requires a name; the service accepts any for health checks
        path="/healthz",
        interval=10,
        timeout=5,
        unhealthy_threshold=3,
    )


def _listener(scheme: str) -> ApplicationGatewayHttpListener:
    return ApplicationGatewayHttpListener(
        name=scheme,
        protocol=scheme.capitalize(),
        frontend_ip_configuration_name="front",
        frontend_port_name=scheme,
        ssl_certificate_name="domain" if scheme == "https" else None,
    )


def _rule(scheme: str, *, has_domain: bool) -> ApplicationGatewayRequestRoutingRule:
    if scheme == "http" and has_domain:
        return ApplicationGatewayRequestRoutingRule(
            name=scheme,
            rule_type="Basic",
            priority=20,
            http_listener_name=scheme,
            redirect_configuration_name="to-https",
        )
    return ApplicationGatewayRequestRoutingRule(
        name=scheme,
        rule_type="Basic",
        priority=10 if scheme == "https" else 20,  # Azure requires priorities, which must differ
        http_listener_name=scheme,
        backend_address_pool_name="web",
        backend_http_settings_name="web",
        rewrite_rule_set_name="hsts" if scheme == "https" else None,
    )


def _https(environment: Environment, identity: UserAssignedIdentity) -> dict[str, Any]:
    """Return the arguments of a gateway with a certificate. The gateway fetches it, and fetches it
    again every four hours."""
    vault = environment.certificate_vault.rpartition("/")[2]
    header = ApplicationGatewayRewriteRuleSetRewriteRuleResponseHeaderConfiguration(
        header_name="Strict-Transport-Security", header_value=f"max-age={_HSTS_SECONDS}"
    )
    return {
        "identity": ApplicationGatewayIdentity(type="UserAssigned", identity_ids=[identity.id]),
        "ssl_certificate": [
            ApplicationGatewaySslCertificate(
                name="domain",
                key_vault_secret_id=(
                    f"https://{vault}.vault.azure.net/secrets/{environment.certificate}"
                ),
            )
        ],
        "redirect_configuration": [
            ApplicationGatewayRedirectConfiguration(
                name="to-https",
                redirect_type="Permanent",
                target_listener_name="https",
                include_path=True,
                include_query_string=True,
            )
        ],
        "rewrite_rule_set": [
            ApplicationGatewayRewriteRuleSet(
                name="hsts",
                rewrite_rule=[
                    ApplicationGatewayRewriteRuleSetRewriteRule(
                        name="hsts", rule_sequence=1, response_header_configuration=[header]
                    )
                ],
            )
        ],
    }
