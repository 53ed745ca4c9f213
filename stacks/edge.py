"""The edge stack: the optional firewall and CDN in front of the load balancer, and the records of
the domain.

A firewall limits the requests of an address. A content delivery network (CloudFront) caches art
with a permanent URL, and static files, near their readers. Clients may also reach the load balancer
directly: while the CDN is being added or removed, resolvers cache the old address.
"""

import json
from typing import Final

from aws_cdk import CfnOutput, CfnWaitConditionHandle, Duration, Stack
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_cloudfront as cloudfront
from aws_cdk import aws_cloudfront_origins as origins
from aws_cdk import aws_route53 as route53
from aws_cdk import aws_route53_targets as targets
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk import aws_wafv2 as waf
from constructs import Construct

from asciist.options import OPTIONS
from stacks.environment import Environment
from stacks.web import WebStack

_RATE_SECONDS: Final = 300
"""Seconds over which WAF counts the requests of an address."""
_RETRY_AFTER_SECONDS: Final = 60

# A body is an image, in which any bytes may occur. The core rule set is not used, because it blocks
# every body of more than 8 kB.
_MANAGED: Final = {
    "AWSManagedRulesAmazonIpReputationList": (),
    "AWSManagedRulesKnownBadInputsRuleSet": ("JavaDeserializationRCE_BODY", "Log4JRCE_BODY"),
}
"""AWS's rule groups, with their rules that only count."""

_READ_SECONDS: Final = 30
"""Default seconds that CloudFront waits for a response."""
_KEY_HEADER: Final = "x-asciist-cdn-key"
"""Header with a secret that identifies requests of the distribution to the firewall."""
_VIEWER_HEADER: Final = "x-asciist-viewer"
"""Header with the client's address, set by the distribution."""
_PREVIEWS: Final = (
    r"bot\b|facebookexternalhit|whatsapp|slack|telegram|mastodon|skypeuripreview"
    r"|embedly|iframely|preview|pinterest|vkshare"
)
"""Regular expression of the User-Agents of preview crawlers; a test compares it with
`service.crawlers`."""
_ART: Final = r"\/width\/[^\/]+$|^\/[0-9a-z]{4}-[0-9a-z]{4}-[0-9a-z]{4}(\.|$)"
"""Regular expression of the paths of art, by long and by short links."""
_SET_VIEWER: Final = f"""function handler(event) {{
  event.request.headers['{_VIEWER_HEADER}'] = {{ value: event.viewer.ip }};
  var headers = event.request.headers;
  var acceptsAnything = !headers.accept || headers.accept.value === '*/*';
  var agent = headers['user-agent'];
  if (acceptsAnything && agent && /{_PREVIEWS}/i.test(agent.value)) {{
    headers.accept = {{ value: 'text/html' }};
  }}
  var path = event.request.uri, query = event.request.querystring;
  var hasOption = {json.dumps([*OPTIONS])}.some(function (name) {{ return name in query; }});
  var isRead = /^(GET|HEAD)$/.test(event.request.method) && /{_ART}/.test(path);
  if (isRead && !(hasOption && /\\.[a-z0-9.]+$/.test(path))) {{
    event.request.querystring = {{}};
  }}
  return event.request;
}}
"""
"""Function that sets the header. For preview crawlers it also requests the page explicitly, because
the cache ignores the User-Agent. It removes queries without a meaning from URLs of art, so that
they pass no cache; a file with options is an error."""
_CACHED: Final = ("/*/width/*", "/????-????-????*", "/static/*")
"""Paths with cacheable responses: art, by long and by short links, and static files. Their headers
set the duration."""


class EdgeStack(Stack):
    """The distribution, the records of the domain, and the firewall; only a placeholder if the
    environment enables none of them."""

    def __init__(
        self,
        scope: Construct,
        name: str,
        *,
        environment: Environment,
        web: WebStack,
        access_logs: s3.IBucket,
    ) -> None:
        super().__init__(scope, name)
        CfnWaitConditionHandle(self, "Nothing")  # a stack has at least one resource
        key, distribution = "", None
        if environment.cdn:
            key = self._key()
            distribution = self._distribution(environment, web, key=key, access_logs=access_logs)
            CfnOutput(
                self,
                "CdnUrl",
                value=f"https://{environment.domain or distribution.distribution_domain_name}",
            )
        if environment.hosted_zone:
            self._record(environment, web, distribution)
        if environment.firewall:
            self._firewall(environment, web, key=key)

    def _key(self) -> str:
        """Create the secret, and return a reference that CloudFormation resolves to its value."""
        secret = secretsmanager.Secret(
            self,
            "CdnKey",
            description=(
                "Sent by the distribution with each request, so that the firewall trusts the"
                " client's address"
            ),
            generate_secret_string=secretsmanager.SecretStringGenerator(
                password_length=40,
                exclude_punctuation=True,  # valid in a header
            ),
        )
        return secret.secret_value.unsafe_unwrap()

    def _distribution(
        self, environment: Environment, web: WebStack, *, key: str, access_logs: s3.IBucket
    ) -> cloudfront.Distribution:
        """Create the distribution. It forwards every request with the client's headers, and caches
        cacheable responses."""
        secure = bool(environment.domain)
        origin = _origin(environment, web, key=key)
        cached = cloudfront.CachePolicy(
            self,
            "AsTheySay",
            comment="As long as responses say",
            # Responses without Cache-Control are not cached.
            min_ttl=Duration.seconds(0),
            default_ttl=Duration.seconds(0),
            max_ttl=Duration.days(365),
            # Vary headers of the responses, and query parameters of their URLs.
            header_behavior=cloudfront.CacheHeaderBehavior.allow_list("Accept", "Origin"),
            query_string_behavior=cloudfront.CacheQueryStringBehavior.all(),
            enable_accept_encoding_gzip=True,
            enable_accept_encoding_brotli=True,
        )
        viewer = cloudfront.Function(
            self,
            "Viewer",
            code=cloudfront.FunctionCode.from_inline(_SET_VIEWER),
            runtime=cloudfront.FunctionRuntime.JS_2_0,
        )

        def behavior(policy: cloudfront.ICachePolicy) -> cloudfront.BehaviorOptions:
            return cloudfront.BehaviorOptions(
                origin=origin,
                allowed_methods=cloudfront.AllowedMethods.ALLOW_ALL,
                cache_policy=policy,
                origin_request_policy=cloudfront.OriginRequestPolicy.ALL_VIEWER,
                viewer_protocol_policy=(
                    cloudfront.ViewerProtocolPolicy.REDIRECT_TO_HTTPS
                    if secure
                    else cloudfront.ViewerProtocolPolicy.ALLOW_ALL
                ),
                function_associations=[
                    cloudfront.FunctionAssociation(
                        function=viewer, event_type=cloudfront.FunctionEventType.VIEWER_REQUEST
                    )
                ],
            )

        return cloudfront.Distribution(
            self,
            "Distribution",
            comment=f"{environment.prefix}: art with a permanent URL, and static files",
            domain_names=[environment.domain] if secure else None,
            certificate=(
                acm.Certificate.from_certificate_arn(
                    self, "Certificate", environment.cdn_certificate
                )
                if secure
                else None
            ),
            default_behavior=behavior(cloudfront.CachePolicy.CACHING_DISABLED),
            additional_behaviors={path: behavior(cached) for path in _CACHED},
            http_version=cloudfront.HttpVersion.HTTP2_AND_3,
            log_bucket=access_logs if environment.access_logs else None,
            log_file_prefix="cdn/" if environment.access_logs else None,
        )

    def _record(
        self, environment: Environment, web: WebStack, distribution: cloudfront.Distribution | None
    ) -> None:
        """Create the domain's record for IPv4. It is the same resource with and without a
        distribution, so CloudFormation updates it in place."""
        if distribution:
            dns_name = distribution.distribution_domain_name
            zone = targets.CloudFrontTarget.get_hosted_zone_id(self)
        else:
            dns_name = web.load_balancer.load_balancer_dns_name
            zone = web.load_balancer.load_balancer_canonical_hosted_zone_id
        route53.CfnRecordSet(
            self,
            "Domain",
            hosted_zone_id=environment.hosted_zone,
            name=environment.domain,
            type="A",
            alias_target=route53.CfnRecordSet.AliasTargetProperty(
                # There is no other target.
                dns_name=dns_name,
                hosted_zone_id=zone,
                evaluate_target_health=False,
            ),
        )

    def _firewall(self, environment: Environment, web: WebStack, *, key: str) -> None:
        """Create the firewall: a rate limit for each address, and rules against bad reputations and
        known attacks."""
        rules = _rate_rules(environment, key=key)
        rules += [
            _managed_rule(number, name, counted)
            for number, (name, counted) in enumerate(_MANAGED.items(), len(rules))
        ]
        acl = waf.CfnWebACL(
            self,
            "Firewall",
            scope="REGIONAL",
            default_action=waf.CfnWebACL.DefaultActionProperty(allow={}),
            rules=rules,
            custom_response_bodies={
                "TooMany": waf.CfnWebACL.CustomResponseBodyProperty(
                    content="too many requests from this address; try again in a minute\n",
                    content_type="TEXT_PLAIN",
                )
            },
            visibility_config=_visible("Firewall"),
        )
        waf.CfnWebACLAssociation(
            self,
            "Front",
            resource_arn=web.load_balancer.load_balancer_arn,
            web_acl_arn=acl.attr_arn,
        )


def _rate_rules(environment: Environment, *, key: str) -> list[waf.CfnWebACL.RuleProperty]:
    """Return the rules that answer 429 while an address exceeds its rate over the last five
    minutes.

    Requests through the distribution contain the key, and a header with their client's address.
    """
    if not key:
        return [_rate_rule("Rate", 0, environment)]
    statement = waf.CfnWebACL.StatementProperty
    from_cdn = statement(
        byte_match_statement=waf.CfnWebACL.ByteMatchStatementProperty(
            field_to_match=waf.CfnWebACL.FieldToMatchProperty(single_header={"Name": _KEY_HEADER}),
            positional_constraint="EXACTLY",
            search_string=key,
            text_transformations=[
                waf.CfnWebACL.TextTransformationProperty(priority=0, type="NONE")
            ],
        )
    )
    direct = statement(not_statement=waf.CfnWebACL.NotStatementProperty(statement=from_cdn))
    return [
        # Behind the distribution, all connections come from a few addresses of CloudFront.
        _rate_rule("Rate", 0, environment, among=direct),
        _rate_rule("RateOfViewers", 1, environment, among=from_cdn, header=_VIEWER_HEADER),
    ]


def _rate_rule(
    name: str,
    priority: int,
    environment: Environment,
    *,
    among: waf.CfnWebACL.StatementProperty | None = None,
    header: str = "",
) -> waf.CfnWebACL.RuleProperty:
    """Return a rate rule for the requests that match `among`, by the client address in `header`, or
    else the connection's."""
    forwarded = waf.CfnWebACL.ForwardedIPConfigurationProperty(
        header_name=header, fallback_behavior="MATCH"
    )
    return waf.CfnWebACL.RuleProperty(
        name=name,
        priority=priority,
        statement=waf.CfnWebACL.StatementProperty(
            rate_based_statement=waf.CfnWebACL.RateBasedStatementProperty(
                aggregate_key_type="FORWARDED_IP" if header else "IP",
                forwarded_ip_config=forwarded if header else None,
                scope_down_statement=among,
                evaluation_window_sec=_RATE_SECONDS,
                limit=environment.sizes.requests_per_address,
            )
        ),
        action=waf.CfnWebACL.RuleActionProperty(
            block=waf.CfnWebACL.BlockActionProperty(
                custom_response=waf.CfnWebACL.CustomResponseProperty(
                    response_code=429,
                    custom_response_body_key="TooMany",
                    response_headers=[
                        waf.CfnWebACL.CustomHTTPHeaderProperty(
                            name="Retry-After", value=str(_RETRY_AFTER_SECONDS)
                        )
                    ],
                )
            )
        ),
        visibility_config=_visible(name),
    )


def _managed_rule(priority: int, name: str, counted: tuple[str, ...]) -> waf.CfnWebACL.RuleProperty:
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
    """Return settings that count in CloudWatch and sample requests. AWS stores samples, with the
    client's address, for three hours."""
    return waf.CfnWebACL.VisibilityConfigProperty(
        cloud_watch_metrics_enabled=True, metric_name=name, sampled_requests_enabled=True
    )


def _origin(environment: Environment, web: WebStack, *, key: str) -> origins.HttpOrigin:
    """Return the load balancer as an origin with the response time of a web process as its
    timeout."""
    longest = environment.settings.timeouts.gunicorn
    return origins.HttpOrigin(
        web.load_balancer.load_balancer_dns_name,
        # The load balancer's certificate is for the domain, which is in the Host header that the
        # origin gets.
        protocol_policy=(
            cloudfront.OriginProtocolPolicy.HTTPS_ONLY
            if environment.domain
            else cloudfront.OriginProtocolPolicy.HTTP_ONLY
        ),
        custom_headers={_KEY_HEADER: key},
        read_timeout=Duration.seconds(longest) if longest > _READ_SECONDS else None,
    )
