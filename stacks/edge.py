"""The edge stack: a web application firewall in front of the load balancer, if the environment wants one."""

from typing import Final

from aws_cdk import CfnWaitConditionHandle, Stack
from aws_cdk import aws_elasticloadbalancingv2 as elbv2
from aws_cdk import aws_wafv2 as waf
from constructs import Construct

from stacks.environment import Environment

_RATE_SECONDS: Final = 300
"""Seconds over which WAF counts the requests of an address."""
_RETRY_AFTER_SECONDS: Final = 60

_MANAGED: Final = {
    "AWSManagedRulesAmazonIpReputationList": (),
    "AWSManagedRulesKnownBadInputsRuleSet": ("JavaDeserializationRCE_BODY", "Log4JRCE_BODY"),
}
"""Rule groups of AWS, with their rules that only count: a body is an image, in which anything may occur. The core rule set is
not used, because it blocks every body of more than 8 kB."""


class EdgeStack(Stack):
    """Blocks addresses that send too many requests, have a bad reputation, or try known attacks.

    Without a firewall, the stack has nothing but a placeholder, so that the next deployment deletes that of an earlier one.
    """

    def __init__(
        self, scope: Construct, name: str, *, environment: Environment, load_balancer: elbv2.IApplicationLoadBalancer
    ) -> None:
        super().__init__(scope, name)
        if not environment.firewall:
            CfnWaitConditionHandle(self, "Nothing")  # a stack has at least one resource
            return
        rules = [self._rate_rule(0, environment)]
        rules += [self._managed_rule(number, name, counted) for number, (name, counted) in enumerate(_MANAGED.items(), 1)]
        acl = waf.CfnWebACL(
            self,
            "Firewall",
            scope="REGIONAL",
            default_action=waf.CfnWebACL.DefaultActionProperty(allow={}),
            rules=rules,
            custom_response_bodies={
                "TooMany": waf.CfnWebACL.CustomResponseBodyProperty(
                    content="too many requests from this address; try again in a minute\n", content_type="TEXT_PLAIN"
                )
            },
            visibility_config=_visible("Firewall"),
        )
        waf.CfnWebACLAssociation(self, "Front", resource_arn=load_balancer.load_balancer_arn, web_acl_arn=acl.attr_arn)

    def _rate_rule(self, priority: int, environment: Environment) -> waf.CfnWebACL.RuleProperty:
        """Answer 429 while an address has sent more than its share in the last five minutes."""
        return waf.CfnWebACL.RuleProperty(
            name="Rate",
            priority=priority,
            statement=waf.CfnWebACL.StatementProperty(
                rate_based_statement=waf.CfnWebACL.RateBasedStatementProperty(
                    aggregate_key_type="IP", evaluation_window_sec=_RATE_SECONDS, limit=environment.sizes.requests_per_address
                )
            ),
            action=waf.CfnWebACL.RuleActionProperty(
                block=waf.CfnWebACL.BlockActionProperty(
                    custom_response=waf.CfnWebACL.CustomResponseProperty(
                        response_code=429,
                        custom_response_body_key="TooMany",
                        response_headers=[
                            waf.CfnWebACL.CustomHTTPHeaderProperty(name="Retry-After", value=str(_RETRY_AFTER_SECONDS))
                        ],
                    )
                )
            ),
            visibility_config=_visible("Rate"),
        )

    def _managed_rule(self, priority: int, name: str, counted: tuple[str, ...]) -> waf.CfnWebACL.RuleProperty:
        return waf.CfnWebACL.RuleProperty(
            name=name,
            priority=priority,
            statement=waf.CfnWebACL.StatementProperty(
                managed_rule_group_statement=waf.CfnWebACL.ManagedRuleGroupStatementProperty(
                    vendor_name="AWS",
                    name=name,
                    rule_action_overrides=[
                        waf.CfnWebACL.RuleActionOverrideProperty(
                            name=rule, action_to_use=waf.CfnWebACL.RuleActionProperty(count={})
                        )
                        for rule in counted
                    ]
                    or None,
                )
            ),
            override_action=waf.CfnWebACL.OverrideActionProperty(none={}),
            visibility_config=_visible(name),
        )


def _visible(name: str) -> waf.CfnWebACL.VisibilityConfigProperty:
    """Count in CloudWatch, and keep samples of requests, which have the client's address, for AWS's three hours."""
    return waf.CfnWebACL.VisibilityConfigProperty(
        cloud_watch_metrics_enabled=True, metric_name=name, sampled_requests_enabled=True
    )
