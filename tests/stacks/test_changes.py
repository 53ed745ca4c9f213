"""Every option of a deployment can be changed later, and back, by a plain deployment.

The templates of all deployments are compared in pairs for changes that CloudFormation would refuse,
or that would harm resources that serve requests.
"""

import dataclasses
import itertools
import json
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from stacks.environment import Environment
from tests.stacks.synthesis import choose, synthesized

DOMAIN = {
    "domain": "art.example",
    "certificate": "arn:aws:acm:eu-west-1:123456789012:certificate/x",
    "cdn_certificate": "arn:aws:acm:us-east-1:123456789012:certificate/y",
    "hosted_zone": "Z0123456789",
}
DATADOG = {
    "datadog_api_key": "arn:aws:secretsmanager:eu-west-1:123456789012:secret:api-key-AbCdEf",
    "datadog_app_key": "arn:aws:secretsmanager:eu-west-1:123456789012:secret:app-key-AbCdEf",
    "datadog_notify": "@pagerduty-asciist",
}
PEER = {
    "peer_store": "azure://artifacts",
    "peer_secret": "arn:aws:secretsmanager:eu-west-1:123456789012:secret:peer-AbCdEf",
}
CHOICES: tuple[tuple[dict[str, str], ...], ...] = (
    ({"worker": "lambda"}, {"worker": "asg"}),
    ({"replies": "queue"}, {"replies": "callback"}),
    ({}, DOMAIN),
    ({"firewall": "false"}, {"firewall": "true", "access_logs": "true"}),
    ({"cdn": "false"}, {"cdn": "true"}),
    ({"canary": "false"}, {"canary": "true"}),
    ({"snap_start": "false"}, {"snap_start": "true"}),
    ({"baked": "false"}, {"baked": "true"}),
    ({}, DATADOG),
    ({}, PEER),
    ({"architecture": "arm64"}, {"architecture": "x86_64"}),
)
NAMES = (
    "FunctionName",
    "AutoScalingGroupName",
    "AlarmName",
    "DashboardName",
    "TopicName",
    "RoleName",
    "UserName",
    "QueueName",
    "BucketName",
)
"""Properties that name a resource. Two resources with one name cannot exist at the same time."""


def rows() -> list[tuple[int, ...]]:
    """Assignments of options that contain every combination of values of any two options.

    Kleitman and Spencer, Families of k-independent sets, Discrete Mathematics 6, 1973: the options
    are different subsets of equal size, more than half of a set. Any two have an element in common,
    and each contains an element that the other lacks; the row without an element is first.
    """
    subsets = list(itertools.combinations(range(1, 7), 4))
    assert len(CHOICES) <= len(subsets)
    return [tuple(int(row in subset) for subset in subsets[: len(CHOICES)]) for row in range(7)]


def deployments() -> list[Environment]:
    """Deployments with every pair of options, and with the sizes of each file. All have the name
    `dev`, like a running deployment."""
    found = []
    for row, numbers in enumerate(rows()):
        values = {
            key: value
            for number, pair in zip(numbers, CHOICES, strict=True)
            for key, value in pair[number].items()
        }
        sizes = choose("prod" if row % 2 else "dev").sizes
        found.append(
            dataclasses.replace(choose("dev", image="ami-0123456789abcdef0", **values), sizes=sizes)
        )
    return found


def test_every_pair_of_choices_is_deployed() -> None:
    for one, other in itertools.combinations(range(len(CHOICES)), 2):
        assert {(row[one], row[other]) for row in rows()} == {(0, 0), (0, 1), (1, 0), (1, 1)}


ALL = deployments()


@cache
def stacks() -> dict[str, list[dict[str, Any]]]:
    """The templates of each stack, of all deployments that contain it."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for environment in ALL:
        for stack, template in synthesized(environment).items():
            found[stack].append(template)
    return found


def every_resource() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(stack, logical id, resource) in all templates."""
    for stack, templates in stacks().items():
        for template in templates:
            for name, resource in template["Resources"].items():
                yield stack, name, resource


@pytest.mark.slow
class TestAnyTwoDeployments:
    def test_have_the_same_stacks(self) -> None:
        assert {frozenset(synthesized(environment)) for environment in ALL} == {frozenset(stacks())}

    def test_export_the_same_values(self) -> None:
        """CloudFormation refuses to remove or change an export in use, and updates the exporting
        stack first."""
        for stack, templates in stacks().items():
            exports = {
                json.dumps(
                    [
                        output
                        for output in template.get("Outputs", {}).values()
                        if "Export" in output
                    ],
                    sort_keys=True,
                )
                for template in templates
            }
            assert len(exports) == 1, stack

    def test_replace_no_resource(self) -> None:
        """Resources with the same logical id never differ in a property that requires a new
        resource."""
        values: dict[tuple[str, str, str], set[str]] = defaultdict(set)
        for stack, name, resource in every_resource():
            for path in create_only(resource["Type"]):
                values[stack, name, path] = values[stack, name, path] | {
                    json.dumps(at(resource.get("Properties", {}), path))
                }
        assert {key: found for key, found in values.items() if len(found) > 1} == {}

    def test_keep_the_type_of_each_logical_id(self) -> None:
        types: dict[tuple[str, str], set[str]] = defaultdict(set)
        for stack, name, resource in every_resource():
            types[stack, name].add(resource["Type"])
        assert all(len(found) == 1 for found in types.values())

    def test_have_one_listener_for_a_port(self) -> None:
        """A load balancer has one listener for a port, and a new listener is created before the old
        one is deleted."""
        names: dict[int, set[str]] = defaultdict(set)
        for _, name, resource in every_resource():
            if resource["Type"] == "AWS::ElasticLoadBalancingV2::Listener":
                names[resource["Properties"]["Port"]].add(name)
        assert names.keys() == {80, 443}
        assert all(len(found) == 1 for found in names.values())

    def test_give_a_name_to_one_resource(self) -> None:
        owners: dict[tuple[str, str], set[tuple[str, str]]] = defaultdict(set)
        for stack, name, resource in every_resource():
            for key in NAMES:
                given = resource.get("Properties", {}).get(key)
                if isinstance(given, str):
                    owners[resource["Type"].rpartition("::")[0] + key, given].add((stack, name))
        assert {key: found for key, found in owners.items() if len(found) > 1} == {}


@cache
def create_only(kind: str) -> tuple[str, ...]:
    """Properties of a resource type that require a new resource, as paths such as
    `/properties/VpcId`."""
    if kind.startswith(("AWS::CDK::", "Custom::")) or kind == "AWS::CloudFormation::CustomResource":
        return ()
    from cfnlint.schema import PROVIDER_SCHEMA_MANAGER

    schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", kind).schema
    return tuple(path for path in schema.get("createOnlyProperties", ()) if "*" not in path)


def at(properties: Any, path: str) -> Any:
    for part in path.removeprefix("/properties/").split("/"):
        properties = properties.get(part) if isinstance(properties, dict) else None
    return properties
