"""The policies of synthesized templates: resolved to ARNs, listed as rows, and evaluated like
AWS's.

The evaluator supports identity policies and the policies of buckets, queues and VPC endpoints, in
one account, with a few condition operators. It refuses any other element, so that a decision never
ignores one.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

ACCOUNT: Final = "123456789012"
REGION: Final = "eu-west-1"
_PSEUDO_PARAMETERS: Final = {
    "AWS::AccountId": ACCOUNT,
    "AWS::Region": REGION,
    "AWS::Partition": "aws",
    "AWS::StackId": "its stack",
}

Template = dict[str, Any]
Templates = Mapping[str, Template]

_ARNS: Final = {
    "AWS::S3::Bucket": "arn:aws:s3:::{id}",
    "AWS::SQS::Queue": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{{id}}",
    "AWS::Lambda::Function": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{{id}}",
    "AWS::Logs::LogGroup": f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{{id}}:*",
}
"""ARN of each type of resource, with its logical id in lower case as its name."""

_REFERENCES: Final = {
    "AWS::SecretsManager::Secret": f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:{{id}}"
}
"""Value of Ref for each type of resource, in the same way."""

_ROLES: Final = {
    ("web", "ec2.amazonaws.com"): "web instance",
    ("network", "vpc-flow-logs.amazonaws.com"): "flow log",
    ("worker", "ec2.amazonaws.com"): "poller",
    ("worker", "lambda.amazonaws.com"): "function",
    ("worker", "codedeploy.amazonaws.com"): "CodeDeploy",
    ("observability", "lambda.amazonaws.com"): "probe",
    ("datadog", "lambda.amazonaws.com"): "Datadog function",
}
"""Name of the role of a stack, by the service that may assume it."""


@dataclass(frozen=True)
class Statement:
    """A statement of a policy, without intrinsic functions."""

    effect: str
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    conditions: tuple[tuple[str, str, tuple[str, ...]], ...]
    """(operator, key, values); all of them must hold."""

    def applies(self, action: str, resource: str, context: Mapping[str, str]) -> bool:
        return (
            any(_matches(pattern.lower(), action.lower()) for pattern in self.actions)
            and any(_matches(pattern, resource) for pattern in self.resources)
            and all(
                _holds(operator, values, context.get(key))
                for operator, key, values in self.conditions
            )
        )

    def rows(self) -> Iterator[tuple[str, str, str]]:
        """Yield (action, resource, condition) for each action and resource; the action of a denial
        begins with "not "."""
        condition = " and ".join(
            sorted(f"{key} = {' or '.join(values)}" for _, key, values in self.conditions)
        )
        for action in self.actions:
            for resource in self.resources:
                yield ("not " if self.effect == "Deny" else "") + action, resource, condition


def roles(templates: Templates) -> dict[str, list[Statement]]:
    """Return the statements of every role of a deployment, and of its user, as `peer`.

    Raises KeyError for a role without a name in `_ROLES`.
    """
    found: dict[str, list[Statement]] = {}
    for stack, template in templates.items():
        resources = template["Resources"]
        names = {}
        for logical_id, resource in resources.items():
            if resource["Type"] == "AWS::IAM::Role":
                assert "ManagedPolicyArns" not in resource["Properties"], (
                    f"{logical_id} has managed policies"
                )
                assert "Policies" not in resource["Properties"], f"{logical_id} has inline policies"
                (trust,) = resource["Properties"]["AssumeRolePolicyDocument"]["Statement"]
                assert (trust["Action"], trust.keys()) == (
                    "sts:AssumeRole",
                    {"Action", "Effect", "Principal"},
                )
                names[logical_id] = _ROLES[stack, trust["Principal"]["Service"]]
                found[names[logical_id]] = []
            if resource["Type"] == "AWS::IAM::User":
                assert resource["Properties"].keys() == {"Tags"}  # no policies, groups or password
                names[logical_id] = "peer"
                found["peer"] = []
        for resource in resources.values():
            if resource["Type"] == "AWS::IAM::Policy":
                for role in [
                    *resource["Properties"].get("Roles", []),
                    *resource["Properties"].get("Users", []),
                ]:
                    found[names[role["Ref"]]] += statements(
                        resource["Properties"]["PolicyDocument"], template, templates
                    )
    return found


def resource_policies(templates: Templates, kind: str) -> dict[str, list[Statement]]:
    """Return the statements of each policy of a type such as AWS::S3::BucketPolicy, keyed by
    logical id."""
    return {
        logical_id: statements(resource["Properties"]["PolicyDocument"], template, templates)
        for template in templates.values()
        for logical_id, resource in template["Resources"].items()
        if resource["Type"] == kind
    }


def statements(document: Template, template: Template, templates: Templates) -> list[Statement]:
    """Return the statements of a policy document of `template`."""
    found = []
    for statement in document["Statement"]:
        if statement.get("Principal", {}).keys() == {"Service"}:
            continue  # for a service of AWS, and for no role of a deployment
        assert not statement.keys() - {
            "Action",
            "Resource",
            "Effect",
            "Condition",
            "Principal",
            "Sid",
        }, statement
        assert statement.get("Principal", {"AWS": "*"}) == {"AWS": "*"}, statement
        conditions = [
            (
                operator,
                key,
                tuple(str(resolve(value, template, templates)) for value in _list(values)),
            )
            for operator, keys in statement.get("Condition", {}).items()
            for key, values in keys.items()
        ]
        resources = tuple(
            resolve(resource, template, templates) for resource in _list(statement["Resource"])
        )
        found.append(
            Statement(
                statement["Effect"], tuple(_list(statement["Action"])), resources, tuple(conditions)
            )
        )
    return found


def resolve(value: Any, template: Template, templates: Templates) -> Any:
    """Return a value of a template without its intrinsic functions. Raises KeyError or ValueError
    for unknown functions."""
    if not isinstance(value, dict):
        return value
    ((function, argument),) = value.items()
    match function:
        case "Ref":
            if argument in template["Resources"]:
                return _REFERENCES[template["Resources"][argument]["Type"]].format(
                    id=argument.lower()
                )
            return _PSEUDO_PARAMETERS[argument]
        case "Fn::GetAtt":
            logical_id, attribute = argument
            if attribute != "Arn":
                raise ValueError(f"unknown attribute: {argument}")
            return _ARNS[template["Resources"][logical_id]["Type"]].format(id=logical_id.lower())
        case "Fn::Join":
            separator, parts = argument
            return separator.join(resolve(part, template, templates) for part in parts)
        case "Fn::Sub":
            return re.sub(r"\$\{([\w:]+)\}", lambda match: _PSEUDO_PARAMETERS[match[1]], argument)
        case "Fn::ImportValue":
            (exported,) = (
                (output["Value"], exporter)
                for exporter in templates.values()
                for output in exporter.get("Outputs", {}).values()
                if output.get("Export", {}).get("Name") == argument
            )
            return resolve(*exported, templates)
    raise ValueError(f"unknown function: {function}")


def is_allowed(policies: list[list[Statement]], action: str, resource: str, **context: str) -> bool:
    """Return True if every one of `policies` allows a call, and none denies it.

    In `context`, two underscores replace the colon of a condition key. By default, a call is made
    over TLS 1.3, and by this account to its own resources.
    """
    keys = {
        "aws:SecureTransport": "true",
        "s3:TlsVersion": "1.3",
        "aws:PrincipalAccount": ACCOUNT,
        "aws:ResourceAccount": ACCOUNT,
    } | {name.replace("__", ":"): value for name, value in context.items()}
    for policy in policies:
        effects = {
            statement.effect for statement in policy if statement.applies(action, resource, keys)
        }
        if "Deny" in effects or "Allow" not in effects:
            return False
    return True


def is_denied(policy: list[Statement], action: str, resource: str, **context: str) -> bool:
    """Return True if a policy denies a call explicitly. `context` is that of `is_allowed`, without
    defaults."""
    keys = {name.replace("__", ":"): value for name, value in context.items()}
    return any(
        statement.effect == "Deny" and statement.applies(action, resource, keys)
        for statement in policy
    )


def _holds(operator: str, values: tuple[str, ...], actual: str | None) -> bool:
    if actual is None:  # none of these operators holds for an absent key
        return False
    match operator:
        case "StringEquals" | "Bool":
            return actual in values
        case "StringLike" | "ArnLike":
            return any(_matches(pattern, actual) for pattern in values)
        case "NumericLessThan":
            return all(float(actual) < float(value) for value in values)
    raise ValueError(f"unknown operator: {operator}")


def _matches(pattern: str, text: str) -> bool:
    translated = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(translated, text, re.DOTALL) is not None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
