"""The emulator refuses everything that CloudFormation refuses, so a deployment that works in it can
be trusted."""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, WaiterError

from tests.emulated.emulator import Emulator

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

Template = dict[str, Any]

QUEUE: Template = {"Type": "AWS::SQS::Queue", "Properties": {}}
VPC: Template = {"Type": "AWS::EC2::VPC", "Properties": {"CidrBlock": "10.0.0.0/16"}}
ROLE: Template = {
    "Type": "AWS::IAM::Role",
    "Properties": {
        "AssumeRolePolicyDocument": {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Action": "sts:AssumeRole",
                    "Principal": {"Service": "lambda.amazonaws.com"},
                }
            ],
        }
    },
}


class Account:
    """Stacks of one emulated account."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self._cloudformation = boto3.client("cloudformation", **emulator.client_arguments)

    def deploy(self, stack: str, resources: Template, outputs: Template | None = None) -> str:
        """Create or update a stack; return its status and the reasons for failures."""
        template = json.dumps({"Resources": resources, "Outputs": outputs or {}})
        exists = stack in {
            each["StackName"] for each in self._cloudformation.describe_stacks()["Stacks"]
        }
        call = self._cloudformation.update_stack if exists else self._cloudformation.create_stack
        call(StackName=stack, TemplateBody=template)
        return self._outcome(stack, "stack_update_complete" if exists else "stack_create_complete")

    def delete(self, stack: str) -> str:
        """Delete a stack; return its status and the reasons for failures, or an empty string if it
        is gone."""
        self._cloudformation.delete_stack(StackName=stack)
        return self._outcome(stack, "stack_delete_complete")

    def _outcome(self, stack: str, ends: str) -> str:
        waiter = self._cloudformation.get_waiter(ends)
        with contextlib.suppress(WaiterError):  # it also raises if the stack has failed
            waiter.wait(StackName=stack, WaiterConfig={"Delay": 0.2, "MaxAttempts": 100})
        try:
            (found,) = self._cloudformation.describe_stacks(StackName=stack)["Stacks"]
        except ClientError:
            return ""
        events = self._cloudformation.describe_stack_events(StackName=stack)["StackEvents"]
        reasons = [
            event.get("ResourceStatusReason", "")
            for event in events
            if "FAILED" in event["ResourceStatus"]
        ]
        return " ".join([found["StackStatus"], found.get("StackStatusReason", ""), *reasons])


@pytest.fixture(scope="module")
def account() -> Iterator[Account]:
    with Emulator() as emulator:
        yield Account(emulator)


def test_an_export_in_use_can_neither_go_nor_change_nor_can_its_stack(account: Account) -> None:
    name = {"Export": {"Name": "exporting:queue"}}
    both = {"Queue": QUEUE, "Other": QUEUE}
    assert "COMPLETE" in account.deploy(
        "exporting", both, {"Queue": {"Value": {"Ref": "Queue"}, **name}}
    )
    parameter = {"Type": "String", "Value": {"Fn::ImportValue": "exporting:queue"}}
    assert "COMPLETE" in account.deploy(
        "importing", {"Url": {"Type": "AWS::SSM::Parameter", "Properties": parameter}}
    )

    for outputs in ({}, {"Queue": {"Value": {"Ref": "Other"}, **name}}):
        outcome = account.deploy("exporting", both, outputs)
        assert "ROLLBACK_COMPLETE" in outcome
        assert "in use by importing" in outcome
    with pytest.raises(ClientError, match="is imported by stack importing"):
        account.delete("exporting")
    assert account.delete("importing") == ""
    assert account.delete("exporting") == ""


def test_a_port_has_one_listener_and_a_new_one_is_created_before_the_old_one_goes(
    account: Account,
) -> None:
    def balanced(listener: str) -> Template:
        subnets = {
            f"Subnet{number}": {
                "Type": "AWS::EC2::Subnet",
                "Properties": {"VpcId": {"Ref": "Vpc"}, "CidrBlock": f"10.0.{number}.0/24"},
            }
            for number in (0, 1)
        }
        reply = {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "200"}}
        return {
            "Vpc": VPC,
            **subnets,
            "Balancer": {
                "Type": "AWS::ElasticLoadBalancingV2::LoadBalancer",
                "Properties": {
                    "Type": "application",
                    "Subnets": [{"Ref": name} for name in subnets],
                },
            },
            listener: {
                "Type": "AWS::ElasticLoadBalancingV2::Listener",
                "Properties": {
                    "LoadBalancerArn": {"Ref": "Balancer"},
                    "Port": 80,
                    "Protocol": "HTTP",
                    "DefaultActions": [reply],
                },
            },
        }

    assert "CREATE_COMPLETE" in account.deploy("balanced", balanced("Http"))
    outcome = account.deploy("balanced", balanced("Redirect80To443"))
    assert "ROLLBACK_COMPLETE" in outcome
    assert "already exists" in outcome


def test_a_fixed_name_prevents_a_replacement(account: Account) -> None:
    """A new logical id stands for a changed property that requires a new resource."""

    def function(name: str) -> Template:
        return {
            "Role": ROLE,
            name: {
                "Type": "AWS::Lambda::Function",
                "Properties": {
                    "FunctionName": "converter",
                    "Role": {"Fn::GetAtt": ["Role", "Arn"]},
                    "Runtime": "python3.13",
                    "Handler": "index.handler",
                    "Code": {"ZipFile": "def handler(event, context): pass"},
                },
            },
        }

    assert "CREATE_COMPLETE" in account.deploy("named", function("First"))
    outcome = account.deploy("named", function("Second"))
    assert "ROLLBACK_COMPLETE" in outcome
    assert "already exists" in outcome


def test_a_bucket_with_objects_is_not_deleted(account: Account) -> None:
    bucket = {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": "full"}}
    assert "CREATE_COMPLETE" in account.deploy("storing", {"Bucket": bucket})
    boto3.client("s3", **account.emulator.client_arguments).put_object(
        Bucket="full", Key="key", Body=b""
    )

    assert "DELETE_FAILED" in account.delete("storing")
