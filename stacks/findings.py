"""Rules of cdk-nag's AwsSolutions pack that do not hold here, each with the reason why. Synthesis fails on any other."""

from typing import Final

from aws_cdk import Acknowledgment, App, Validations

from stacks.environment import Environment

_REASONS: Final = {
    "S1": "Access logs would cost more than the artifacts, which are a cache of what clients sent and can be made again.",
    "ELB2": "The instances log each request. A deployment that must keep the load balancer's own log names a bucket for it.",
    "EC23": "This is the public front door: the whole internet may ask for art, on the ports of HTTP alone.",
    "AS3": "Groups scale by themselves many times a day; the alarms tell when that does not help.",
    "L1": "A runtime is chosen by what the wheels support, not by its age; stacks/bundles.py says why this one.",
    "IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/AmazonSSMManagedInstanceCore]": (
        "Session Manager is the only way onto an instance, and AWS keeps this policy up with its agent."
    ),
    "IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole]": (
        "Writes the function's log, and nothing else."
    ),
    "IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/service-role/AWSLambdaVPCAccessExecutionRole]": (
        "Lambda's own network interfaces, whose ids nobody knows before it makes them."
    ),
    "IAM5[Resource::*]": "PutMetricData takes no resource; a condition limits it to this service's namespace.",
}

_ARTIFACTS: Final = "ExportsOutputFnGetAttArtifactsArnD57A43D2"
"""The name under which CloudFormation exports the ARN of the bucket, which has a pinned logical id."""


def acknowledge(app: App, environment: Environment) -> None:
    """Acknowledge the findings that were weighed and accepted."""
    storage = f"{environment.prefix}-storage"
    reasons = {
        **_REASONS,
        f"IAM5[Resource::{storage}:{_ARTIFACTS}/*]": "Artifacts are named by hashes; both tiers read and write all of them.",
        f"IAM5[Resource::{storage}:{_ARTIFACTS}/reply-queues/*]": "Notes of reply queues, whose names are made at run time.",
        f"IAM5[Resource::arn:<AWS::Partition>:sqs:<AWS::Region>:<AWS::AccountId>:{environment.prefix}-reply-*]": (
            "Reply queues are made at run time, one for each web process, and all have this prefix."
        ),
    }
    Validations.of(app).acknowledge(
        *(Acknowledgment(id=f"AwsSolutions-{rule}", reason=reason) for rule, reason in reasons.items())
    )
