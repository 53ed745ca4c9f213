"""Accepted findings of cdk-nag's AwsSolutions rules, each with its reason. Synthesis fails on any
other finding."""

from typing import Final

from aws_cdk import Acknowledgment, App, Validations

from stacks.environment import Environment

_BUILDS: Final = (
    "Image Builder may change what it needs. Only the instance that bakes an image has this, which"
    " serves nothing."
)

_REASONS: Final = {
    "S1": (
        "Access logs would cost more than the artifacts, which are a cache and can be created"
        " again."
    ),
    "ELB2": (
        "A choice of the environment. Without them, the instances log each request, but not the"
        " client's address."
    ),
    "EC23": "The load balancer is public by design, on the HTTP ports only.",
    "AS3": "Groups scale many times a day. Alarms fire if scaling does not help.",
    "L1": (
        "The runtime is a version that all wheels support, not the newest; stacks/bundles.py gives"
        " the reason."
    ),
    "IAM5[Resource::*]": (
        "PutMetricData, the channels of Session Manager and Lambda's calls for network interfaces"
        " support no resources. Conditions limit the first to a namespace of this service, and the"
        " last to Lambda itself."
    ),
    "SMG4": (
        "The keys of links: rotation adds one in front and keeps the old one until its links may"
        " end, which no fixed schedule suits. The key of the distribution: it is also in the"
        " firewall, and a deployment changes both. The credentials of the peer: they are also in"
        " the other cloud, and are deleted after the move."
    ),
    "IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/EC2InstanceProfileForImageBuilder]": _BUILDS,
    "IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/AmazonSSMManagedInstanceCore]": _BUILDS,
    "IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy"
    "/service-role/EC2ImageBuilderLifecycleExecutionPolicy]": (_BUILDS),
    "CFR3": "A choice of the environment, as for the load balancer.",
    "CFR1": "The service is for all countries.",
    "CFR2": (
        "The firewall is behind the distribution, at the load balancer, which clients can also"
        " reach directly."
    ),
    "CFR4": (
        "Only without a domain, for trying things out: then the distribution has a name and a"
        " certificate of CloudFront."
    ),
    "CFR5": (
        "Only without a domain, for trying things out: then the load balancer has no certificate."
    ),
}

_ARTIFACTS: Final = "ExportsOutputFnGetAttArtifactsArnD57A43D2"
"""Name of the CloudFormation export of the bucket's ARN. The bucket has a pinned logical id."""


def acknowledge(app: App, environment: Environment) -> None:
    """Acknowledge the accepted findings, so that synthesis does not fail on them."""
    storage = f"{environment.prefix}-storage"
    reasons = {
        **_REASONS,
        f"IAM5[Resource::{storage}:{_ARTIFACTS}/*/image]": (
            "Images are named by their digests, which are unknown in advance."
        ),
        f"IAM5[Resource::{storage}:{_ARTIFACTS}/*/width/*]": (
            "Art is named by the digest of its image and by its options."
        ),
        f"IAM5[Resource::{storage}:{_ARTIFACTS}/*/link]": (
            "Short links are named by digests of their codes."
        ),
        f"IAM5[Resource::{storage}:{_ARTIFACTS}/reply-queues/*]": (
            "The registry of reply queues, which are named at run time."
        ),
        "IAM5[Resource::arn:<AWS::Partition>:sqs:<AWS::Region>:<AWS::AccountId>"
        f":{environment.prefix}-reply-*]": (
            "Reply queues are created at run time, one per web process, all with this prefix."
        ),
    }
    Validations.of(app).acknowledge(
        *(
            Acknowledgment(id=f"AwsSolutions-{rule}", reason=reason)
            for rule, reason in reasons.items()
        )
    )
