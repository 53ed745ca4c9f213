"""MiniStack 1.5.33, extended by the resource types of these stacks, and as strict as AWS where
MiniStack is lenient.

Runs in `.venv-emulator`, started by `tests.emulated.emulator`, and is configured by MiniStack's
environment variables.

The emulator records and describes the resource types added here but does not simulate them, as
MiniStack does for the rest of EC2. Unsupported properties are errors, so a template that uses one
cannot be deployed.

Below `/_emulator/` it answers requests unknown to AWS: for the credentials of a role, the metrics
of a queue, older messages, and processes registered as instances of a group.
"""

import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import botocore.session
from botocore.serialize import create_serializer

# Not installed in the environment that mypy checks.
from ministack import app  # type: ignore[import-not-found]
from ministack.core import iam_actions  # type: ignore[import-not-found]
from ministack.core.iam_evaluator import enforce  # type: ignore[import-not-found]
from ministack.core.lambda_runtime import execution_credentials  # type: ignore[import-not-found]
from ministack.core.responses import get_account_id, get_region, new_uuid  # type: ignore[import-not-found]
from ministack.services import (
    alb,
    cloudformation,
    cloudwatch,
    ec2,
    iam,
    lambda_svc,
    s3,
    secretsmanager,
    sqs,
    ssm,
)  # type: ignore[import-not-found]
from ministack.services.cloudformation import handlers, provisioners, stacks  # type: ignore[import-not-found]

Properties = dict[str, Any]
Created = tuple[str, Properties]  # the value of Ref, and those of Fn::GetAtt
Handlers = dict[str, Any]


def _refuse_unknown(properties: Mapping[str, Any], known: set[str], what: str) -> None:
    if unknown := properties.keys() - known:
        raise ValueError(f"{what}: the emulator does not apply {', '.join(sorted(unknown))}")


def _new_id(prefix: str) -> str:
    return f"{prefix}-{new_uuid().replace('-', '')[:17]}"


def _create_address(_logical_id: str, properties: Properties, _stack: str) -> Created:
    _refuse_unknown(properties, {"Domain", "Tags"}, "AWS::EC2::EIP")
    allocation, address = _new_id("eipalloc"), ec2._random_ip("52.")
    absent = dict.fromkeys(
        ("AssociationId", "InstanceId", "NetworkInterfaceId", "PrivateIpAddress")
    )
    ec2._addresses[allocation] = {
        "AllocationId": allocation,
        "PublicIp": address,
        "Domain": "vpc",
        **absent,
    }
    provisioners._ec2_apply_tags(allocation, properties)
    return address, {"AllocationId": allocation, "PublicIp": address}


def _delete_address(address: str, _properties: Properties) -> None:
    for allocation in [
        key for key, value in ec2._addresses.items() if value["PublicIp"] == address
    ]:
        del ec2._addresses[allocation]
        ec2._tags.pop(allocation, None)


def _create_nat_gateway(_logical_id: str, properties: Properties, _stack: str) -> Created:
    _refuse_unknown(
        properties, {"AllocationId", "SubnetId", "ConnectivityType", "Tags"}, "AWS::EC2::NatGateway"
    )
    gateway = _new_id("nat")
    if properties["AllocationId"] not in ec2._addresses:
        raise ValueError(f"no such address: {properties['AllocationId']}")
    ec2._nat_gateways[gateway] = {
        "NatGatewayId": gateway,
        "SubnetId": properties["SubnetId"],
        "VpcId": ec2._subnets[properties["SubnetId"]]["VpcId"],
        "AllocationId": properties["AllocationId"],
        "ConnectivityType": properties.get("ConnectivityType", "public"),
        "State": "available",
        "CreateTime": ec2._now_ts(),
        "Tags": [],
    }
    provisioners._ec2_apply_tags(gateway, properties)
    return gateway, {"NatGatewayId": gateway}


def _delete_nat_gateway(gateway: str, _properties: Properties) -> None:
    ec2._nat_gateways.pop(gateway, None)
    ec2._tags.pop(gateway, None)


def _create_flow_log(_logical_id: str, properties: Properties, _stack: str) -> Created:
    known = {
        "ResourceId",
        "ResourceType",
        "TrafficType",
        "LogDestinationType",
        "LogDestination",
        "LogGroupName",
    }
    # ignored: there is no traffic to log
    delivery = {"DeliverLogsPermissionArn", "MaxAggregationInterval", "LogFormat"}
    _refuse_unknown(properties, known | delivery | {"Tags"}, "AWS::EC2::FlowLog")
    log = _new_id("fl")
    ec2._flow_logs[log] = {
        "FlowLogId": log,
        "ResourceId": properties["ResourceId"],
        "ResourceType": properties["ResourceType"],
        "TrafficType": properties.get("TrafficType", "ALL"),
        "LogDestinationType": properties.get("LogDestinationType", "cloud-watch-logs"),
        "LogDestination": properties.get("LogDestination") or properties.get("LogGroupName", ""),
        "FlowLogStatus": "ACTIVE",
        "CreationTime": ec2._now_ts(),
    }
    provisioners._ec2_apply_tags(log, properties)
    return log, {"Id": log}


def _delete_flow_log(log: str, _properties: Properties) -> None:
    ec2._flow_logs.pop(log, None)
    ec2._tags.pop(log, None)


_RECORDED = (
    "AWS::Budgets::Budget",
    "AWS::CodeDeploy::Application",
    "AWS::CodeDeploy::DeploymentGroup",
    "AWS::ImageBuilder::Component",
    "AWS::ImageBuilder::ImageRecipe",
    "AWS::ImageBuilder::InfrastructureConfiguration",
    "AWS::ImageBuilder::Image",
)


def _delete_recorded(_physical_id: str, _properties: Properties) -> None:
    """Delete a resource that exists only in CloudFormation's record."""


def _recorded(kind: str) -> Handlers:
    """Return handlers of a resource type that the emulator only records, because no test depends on
    its behaviour."""

    def create(logical_id: str, _properties: Properties, _stack: str) -> Created:
        name = _new_id(logical_id.lower())
        arn = f"arn:aws:{kind.split('::')[1].lower()}:{get_region()}:{get_account_id()}:{name}"
        return name, {"Arn": arn, "Name": name, "ImageId": _new_id("ami")}

    return {"create": create, "delete": _delete_recorded}


def _create_identity_provider(_logical_id: str, properties: Properties, _stack: str) -> Created:
    """Return the ARN, which trust policies name. MiniStack trusts the claims of any token without
    verifying its signature."""
    _refuse_unknown(properties, {"ClientIdList", "Url", "Tags"}, "AWS::IAM::OIDCProvider")
    arn = f"arn:aws:iam::{get_account_id()}:oidc-provider/{properties['Url'].removeprefix('https://')}"
    return arn, {"Arn": arn}


def _create_access_key(_logical_id: str, properties: Properties, _stack: str) -> Created:
    """Return the id of a new access key of a user, and its secret."""
    _refuse_unknown(properties, {"UserName"}, "AWS::IAM::AccessKey")
    before = set(iam._access_keys)
    status, _, body = iam._create_access_key(properties)
    if status != 200:
        raise ValueError(f"AWS::IAM::AccessKey: {body}")
    (key,) = set(iam._access_keys) - before
    return key, {"SecretAccessKey": iam._access_keys[key]["SecretAccessKey"]}


def _delete_access_key(key: str, _properties: Properties) -> None:
    iam._delete_access_key({"AccessKeyId": key})


def _create_acl_association(logical_id: str, properties: Properties, _stack: str) -> Created:
    """Return an id. MiniStack's load balancers have no firewall."""
    _refuse_unknown(properties, {"ResourceArn", "WebACLArn"}, "AWS::WAFv2::WebACLAssociation")
    return f"{logical_id}|{properties['WebACLArn']}|{properties['ResourceArn']}", {}


def _rule_handlers(permissions: str) -> Handlers:
    """Return handlers of the separate rules created by the CDK for two security groups that refer
    to each other."""

    def create(_logical_id: str, properties: Properties, _stack: str) -> Created:
        group = ec2._security_groups[properties["GroupId"]]
        group.setdefault(permissions, []).extend(provisioners._ec2_sg_permissions([properties]))
        rule = _new_id("sgr")
        return rule, {"Id": rule}

    def delete(_rule: str, properties: Properties) -> None:
        if group := ec2._security_groups.get(properties["GroupId"]):
            provisioners._ec2_sg_reconcile(
                group[permissions], provisioners._ec2_sg_permissions([properties]), []
            )

    return {"create": create, "delete": delete}


def _secret_handlers() -> Handlers:
    """Return handlers of secrets whose Ref is the ARN, as on AWS. MiniStack's Ref is the name,
    which no policy allows."""
    own = provisioners._RESOURCE_HANDLERS["AWS::SecretsManager::Secret"]

    def name_of(arn: str) -> str:
        return next(
            name for name, secret in secretsmanager._secrets.items() if secret["ARN"] == arn
        )

    def create(logical_id: str, properties: Properties, stack: str) -> Created:
        _, attributes = own["create"](logical_id, properties, stack)
        return attributes["Arn"], attributes

    def update(
        arn: str, old: Properties, properties: Properties, stack: str, logical_id: str
    ) -> Created:
        _, attributes = own["update"](name_of(arn), old, properties, stack, logical_id)
        return attributes["Arn"], attributes

    def delete(arn: str, properties: Properties) -> None:
        own["delete"](name_of(arn), properties)

    return {"create": create, "update": update, "update_with_logical_id": True, "delete": delete}


_metric_alarm_record = provisioners._cw_metric_alarm_record


def _alarm_record(name: str, properties: Properties) -> Properties:
    """Return MiniStack's record of an alarm. Alarms on metric math, which MiniStack does not
    support, are described but not evaluated."""
    if "Metrics" not in properties:
        return dict(_metric_alarm_record(name, properties))
    single_metric_properties = {
        "MetricName",
        "Namespace",
        "Statistic",
        "ExtendedStatistic",
        "Period",
        "Dimensions",
        "Unit",
    }
    if mixed := properties.keys() & single_metric_properties:
        raise ValueError(f"AWS::CloudWatch::Alarm: Metrics excludes {', '.join(sorted(mixed))}")
    placeholder = {"MetricName": "-", "Namespace": "-"}
    rest = {key: value for key, value in properties.items() if key != "Metrics"}
    record = _metric_alarm_record(name, rest | placeholder)
    return {key: value for key, value in record.items() if key not in single_metric_properties} | {
        "Metrics": properties["Metrics"]
    }


def _put_composite_alarm(_logical_id: str, properties: Properties, _stack: str) -> Created:
    name = properties["AlarmName"]
    status, _headers, answer = cloudwatch._put_composite_alarm(
        {}, properties, is_cbor=False, is_json=True
    )
    if status >= 400:
        raise ValueError(f"PutCompositeAlarm: {answer!r}")
    return name, {"Arn": cloudwatch._composite_alarms[name]["AlarmArn"]}


def _update_composite_alarm(
    _name: str, _old: Properties, properties: Properties, stack: str
) -> Created:
    return _put_composite_alarm("", properties, stack)


def _delete_composite_alarm(name: str, _properties: Properties) -> None:
    cloudwatch._composite_alarms.pop(name, None)


# Public parameters with the ids of Amazon Linux images. MiniStack has those for x86-64 only.
_PUBLIC_PARAMETERS = {
    f"/aws/service/ami-amazon-linux-latest/al2023-ami{minimal}-kernel-{kernel}-{architecture}": (
        "ami-0c2023a1b2c3d4e5f"
    )
    for minimal in ("", "-minimal")
    for kernel in ("default", "6.1", "6.12")
    for architecture in ("arm64", "x86_64")
}

_S3_MODEL = botocore.session.get_session().get_service_model("s3")


def _s3_body(operation: str, **parameters: Any) -> bytes:
    """Return a client's XML body for an operation, the input of MiniStack's S3 functions."""
    request = create_serializer("rest-xml").serialize_to_request(
        {"Bucket": "-", **parameters}, _S3_MODEL.operation_model(operation)
    )
    return bytes(request["body"])


def _lifecycle_rule(declared: Properties) -> Properties:
    """Convert a lifecycle rule from the property names of CloudFormation to those of the S3 API."""
    same = {"Status", "AbortIncompleteMultipartUpload", "NoncurrentVersionExpiration"}
    _refuse_unknown(
        declared, same | {"Id", "Prefix", "ExpirationInDays", "Transitions"}, "a lifecycle rule"
    )
    rule = {key: declared[key] for key in same & declared.keys()}
    rule["Filter"] = {"Prefix": declared.get("Prefix", "")}
    if "Id" in declared:
        rule["ID"] = declared["Id"]
    if "ExpirationInDays" in declared:
        rule["Expiration"] = {"Days": declared["ExpirationInDays"]}
    if "Transitions" in declared:
        rule["Transitions"] = [
            {"Days": transition["TransitionInDays"], "StorageClass": transition["StorageClass"]}
            for transition in declared["Transitions"]
        ]
    return rule


def _lifecycle(declared: Properties) -> bytes:
    rules = [_lifecycle_rule(rule) for rule in declared["Rules"]]
    return _s3_body("PutBucketLifecycleConfiguration", LifecycleConfiguration={"Rules": rules})


def _encryption(declared: Properties) -> bytes:
    rules = []
    for rule in declared["ServerSideEncryptionConfiguration"]:
        default = dict(rule["ServerSideEncryptionByDefault"])
        if default["SSEAlgorithm"] == "aws:kms":
            # the default on AWS; MiniStack requires it
            default.setdefault("KMSMasterKeyID", "alias/aws/s3")
        rules.append(
            {
                "ApplyServerSideEncryptionByDefault": default,
                "BucketKeyEnabled": rule.get("BucketKeyEnabled", False),
            }
        )
    return _s3_body("PutBucketEncryption", ServerSideEncryptionConfiguration={"Rules": rules})


def _ownership(declared: Properties) -> bytes:
    return _s3_body("PutBucketOwnershipControls", OwnershipControls=declared)


def _tags(declared: list[Properties]) -> bytes:
    return _s3_body("PutBucketTagging", Tagging={"TagSet": declared})


def _logging(declared: Properties) -> bytes:
    _refuse_unknown(declared, {"DestinationBucketName", "LogFilePrefix"}, "LoggingConfiguration")
    enabled = {
        "TargetBucket": declared["DestinationBucketName"],
        "TargetPrefix": declared.get("LogFilePrefix", ""),
    }
    return _s3_body("PutBucketLogging", BucketLoggingStatus={"LoggingEnabled": enabled})


def _delete_logging(bucket: str) -> None:
    s3._put_bucket_logging(bucket, _s3_body("PutBucketLogging", BucketLoggingStatus={}))


def _raising_on_error(
    put: Callable[[str, bytes], tuple[int, Any, Any]],
) -> Callable[[str, bytes], None]:
    def checked(bucket: str, body: bytes) -> None:
        status, _headers, answer = put(bucket, body)
        if status >= 400:
            raise ValueError(f"{put.__name__.strip('_')}: {answer!r}")

    return checked


# (property, function that returns its XML, function that applies it, function that removes it), as
# in MiniStack's own table
_BUCKET_CONFIGURATIONS = (
    (
        "LifecycleConfiguration",
        _lifecycle,
        _raising_on_error(s3._put_bucket_lifecycle),
        s3._delete_bucket_lifecycle,
    ),
    (
        "BucketEncryption",
        _encryption,
        _raising_on_error(s3._put_bucket_encryption),
        s3._delete_bucket_encryption,
    ),
    (
        "OwnershipControls",
        _ownership,
        _raising_on_error(s3._put_bucket_ownership_controls),
        s3._delete_bucket_ownership_controls,
    ),
    ("LoggingConfiguration", _logging, _raising_on_error(s3._put_bucket_logging), _delete_logging),
    ("Tags", _tags, _raising_on_error(s3._put_bucket_tagging), s3._delete_bucket_tagging),
)
_apply_bucket_configurations = provisioners._s3_apply_configurations


def _apply_all_bucket_configurations(
    bucket: str, properties: Properties, old: Properties | None = None
) -> None:
    known = {name for name, *_ in provisioners._S3_BUCKET_CONFIGURATIONS}
    known |= {"BucketName", "NotificationConfiguration", "VersioningConfiguration"}
    if properties.get("AccessControl") == "Private":  # the default
        known.add("AccessControl")
    _refuse_unknown(properties, known, "AWS::S3::Bucket")
    _apply_bucket_configurations(bucket, properties, old)


def _with_cidr_block(
    provision: Callable[..., Created], properties_at: int
) -> Callable[..., Created]:
    """Add the attribute `Fn::GetAtt Vpc.CidrBlock`, used by the CDK in the security group of an
    endpoint."""

    def provision_with_attribute(*arguments: Any, **named: Any) -> Created:
        vpc, attributes = provision(*arguments, **named)
        return vpc, {**attributes, "CidrBlock": arguments[properties_at]["CidrBlock"]}

    return provision_with_attribute


_create_custom_resource = provisioners._custom_resource_create


def _create_python_custom_resource(
    logical_id: str, properties: Properties, stack: str, resource_type: str
) -> Created:
    _, function, _ = lambda_svc._get_func_record_for_ref(properties["ServiceToken"])
    if not (function or {}).get("Runtime", "").startswith("python"):
        raise ValueError(
            f"{resource_type}: the emulator has no AWS SDK for Node, so the stack would wait an"
            " hour for a response"
        )
    return _create_custom_resource(logical_id, properties, stack, resource_type)


_delete_bucket = provisioners._RESOURCE_HANDLERS["AWS::S3::Bucket"]["delete"]


def _delete_empty_bucket(bucket: str, properties: Properties) -> None:
    """Refuse to delete a bucket with objects, like CloudFormation and unlike MiniStack."""
    if s3._buckets.get(bucket, {}).get("objects"):
        raise ValueError(f"The bucket you tried to delete is not empty ({bucket})")
    _delete_bucket(bucket, properties)


_delete_load_balancer = provisioners._RESOURCE_HANDLERS[
    "AWS::ElasticLoadBalancingV2::LoadBalancer"
]["delete"]


def _delete_unprotected_load_balancer(arn: str, properties: Properties) -> None:
    """Refuse to delete a load balancer with deletion protection, like CloudFormation and unlike
    MiniStack."""
    if alb._lb_attr(arn, "deletion_protection.enabled", "false") == "true":
        raise ValueError(
            f"Load balancer '{arn}' cannot be deleted because deletion protection is enabled"
        )
    _delete_load_balancer(arn, properties)


_create_listener = provisioners._RESOURCE_HANDLERS["AWS::ElasticLoadBalancingV2::Listener"][
    "create"
]


def _create_only_listener_of_port(logical_id: str, properties: Properties, stack: str) -> Any:
    """Refuse a second listener on a port, like AWS and unlike MiniStack."""
    for listener in alb._listeners.values():
        if (listener["LoadBalancerArn"], listener["Port"]) == (
            properties["LoadBalancerArn"],
            int(properties["Port"]),
        ):
            raise ValueError(
                f"A listener already exists on port {listener['Port']} for this load balancer"
            )
    return _create_listener(logical_id, properties, stack)


_names_in_use: set[tuple[str, str]] = set()


def _with_unique_names(kind: str, name_of: str) -> Handlers:
    """Return handlers of a type that refuse a name in use, like AWS. MiniStack overwrites the
    existing resource."""
    own = provisioners._RESOURCE_HANDLERS[kind]

    def create(logical_id: str, properties: Properties, stack: str) -> Any:
        name = properties.get(name_of)
        if (kind, name) in _names_in_use:
            raise ValueError(f"{name} already exists")
        created = own["create"](logical_id, properties, stack)
        if name:
            _names_in_use.add((kind, name))
        return created

    def delete(physical_id: str, properties: Properties) -> None:
        own["delete"](physical_id, properties)
        _names_in_use.discard((kind, properties.get(name_of, "")))

    return {**own, "create": create, "delete": delete}


_GROUP: Final = "AWS::AutoScaling::AutoScalingGroup"
_STOP_SECONDS: Final = 60
_instances: dict[str, list[int]] = {}
"""Ids of the processes registered as instances of a group, by its name."""
_is_run_in_a_thread = stacks._runs_on_worker_thread


def _runs_in_a_thread(kind: str) -> bool:
    """Return True for deletions of groups: they take time, and their instances use other services
    meanwhile."""
    return kind == _GROUP or _is_run_in_a_thread(kind)


def _with_termination(handlers: Handlers) -> Handlers:
    """Return handlers of groups that end the instances of a group before deleting it, like AWS."""

    def delete(name: str, properties: Properties) -> None:
        for process in _instances.pop(name, []):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGTERM)
            give_up = time.monotonic() + _STOP_SECONDS
            while _is_running(process) and time.monotonic() < give_up:
                time.sleep(0.05)
        handlers["delete"](name, properties)

    return {**handlers, "delete": delete}


def _is_running(process: int) -> bool:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


_resolve_outputs = stacks._resolve_stack_outputs


def _resolve_outputs_in_use(*arguments: Any) -> Any:
    """Refuse to remove or change an export that another stack imports, like CloudFormation.

    MiniStack checks imports only when a stack is deleted, and keeps exports removed by an update.
    """
    stack_name, stack_id = arguments[-2:]
    outputs, exports = _resolve_outputs(*arguments)
    for name, exported in list(cloudformation._exports.items()):
        if (
            exported["StackId"] != stack_id
            or exports.get(name, {}).get("Value") == exported["Value"]
        ):
            continue
        users = [
            other
            for other, stack in cloudformation._stacks.items()
            if other != stack_name
            and not stack["StackStatus"].startswith("DELETE")
            and name in handlers._imported_export_names(stack, other)
        ]
        if users:
            change = "updated" if name in exports else "deleted"
            raise ValueError(
                f"Export {name} cannot be {change} as it is in use by {', '.join(users)}"
            )
        if name not in exports:
            del cloudformation._exports[name]
    return outputs, exports


_create_event_source = provisioners._RESOURCE_HANDLERS["AWS::Lambda::EventSourceMapping"]["create"]


def _create_permitted_event_source(logical_id: str, properties: Properties, stack: str) -> Any:
    """Require permission to poll in the function's role, like Lambda and unlike MiniStack."""
    queue = properties["EventSourceArn"]
    if app.AUTH and ":sqs:" in queue:
        function, *_ = provisioners._lambda_function_for_cfn_ref(properties["FunctionName"])
        key = execution_credentials(function["config"])["AWS_ACCESS_KEY_ID"]
        for action in ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes"):
            if enforce(key, f"sqs:{action}", "sqs", get_region(), resource_arn=queue):
                raise ValueError(
                    f"The provided execution role does not have permissions to call {action} on SQS"
                )
    return _create_event_source(logical_id, properties, stack)


_dispatch = app._dispatch_service_request


async def _dispatch_without_disclosure(  # noqa: PLR0917 - MiniStack's signature
    method: str,
    path: str,
    headers: Mapping[str, str],
    body: bytes,
    query: Properties,
    request_id: str,
) -> Any:
    """Answer 403 for an absent object to a caller that may not list its bucket, like S3; MiniStack
    answers 404."""
    status, answer_headers, answer = await _dispatch(method, path, headers, body, query, request_id)
    bucket, _, key = path.lstrip("/").partition("/")
    if (
        app.AUTH
        and status == 404
        and key
        and method in ("GET", "HEAD")
        and app.detect_service(method, path, headers, query) == "s3"
    ):
        denied = enforce(
            app.extract_access_key_id(headers, query),
            "s3:ListBucket",
            "s3",
            get_region(),
            resource_arn=f"arn:aws:s3:::{bucket}",
        )
        if denied:
            return iam_actions.access_denied_response(
                "s3", "s3:ListBucket", denied.principal_arn, request_id, headers=headers
            )
    return status, answer_headers, answer


_action_of = iam_actions.extract_iam_action


def _action_without_batch(*arguments: Any, **named: Any) -> Any:
    """Require for a batch the permission for a single message, like SQS and unlike MiniStack."""
    action = _action_of(*arguments, **named)
    return action.removesuffix("Batch") if action and action.startswith("sqs:") else action


_FORWARDED = b"x-forwarded-proto"
_CREDENTIALS_PATH = "/_emulator/credentials/"
_QUEUES_PATH = "/_emulator/queues/"
_INSTANCES_PATH = "/_emulator/instances/"
_MAX_RECEIVES = 3
"""Deliveries after which a message is excluded from the age of the oldest message
(https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html)."""
_answer = app.app


def _credentials_of(role_name: str) -> bytes:
    """Return a role's credentials in the format of an instance's metadata service, from MiniStack's
    call for functions."""
    arn = iam._roles[role_name]["Arn"]
    # distinguishes sessions only
    function = f"arn:aws:lambda:{get_region()}:{get_account_id()}:function:{role_name}"
    return json.dumps(
        execution_credentials({"Role": arn, "FunctionArn": function, "FunctionName": "i-0"})
    ).encode()


def _metrics_of(queue_name: str) -> bytes:
    """Return the metrics of a queue by their names in CloudWatch. MiniStack does not publish
    them."""
    (messages,) = (
        queue["messages"] for _, queue in sqs._queues.all_items() if queue["name"] == queue_name
    )
    now = time.time()
    ages = [
        now - message["sent_at"]
        for message in list(messages)
        if message["receive_count"] <= _MAX_RECEIVES
    ]
    visible = sum(message["visible_at"] <= now for message in list(messages))
    return json.dumps(
        {
            "ApproximateNumberOfMessagesVisible": visible,
            "ApproximateAgeOfOldestMessage": max(ages, default=0.0),
        }
    ).encode()


def _make_older(queue_name: str, seconds: float) -> None:
    """Set the times at which a queue accepted its messages back."""
    with sqs._queues_lock:
        for message in next(
            queue["messages"] for _, queue in sqs._queues.all_items() if queue["name"] == queue_name
        ):
            message["sent_at"] -= seconds
            message["sys"]["SentTimestamp"] = str(int(1000 * message["sent_at"]))


def _own_answer(path: str) -> bytes | None:
    """Return the answer to a request unknown to AWS; None for other requests."""
    if path.startswith(_CREDENTIALS_PATH):
        return _credentials_of(path.removeprefix(_CREDENTIALS_PATH))
    if path.startswith(_QUEUES_PATH):
        name, _, seconds = path.removeprefix(_QUEUES_PATH).partition("/older-by/")
        if seconds:
            _make_older(name, float(seconds))
        return _metrics_of(name)
    if path.startswith(_INSTANCES_PATH):
        group, _, process = path.removeprefix(_INSTANCES_PATH).rpartition("/")
        _instances.setdefault(group, []).append(int(process))
        return b"{}"
    return None


async def _serve_own_and_tls(
    scope: Properties, receive: Callable[..., Any], send: Callable[..., Any]
) -> None:
    """Answer requests unknown to AWS, and mark all others as TLS, which the policies require."""
    if scope["type"] == "http" and (body := _own_answer(scope["path"])) is not None:
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-type", b"application/json")],
            }
        )
        await send({"type": "http.response.body", "body": body})
        return
    if scope["type"] == "http" and not any(name == _FORWARDED for name, _ in scope["headers"]):
        scope = {**scope, "headers": [*scope["headers"], (_FORWARDED, b"https")]}
    await _answer(scope, receive, send)


def _extend_ministack() -> None:
    app.app = _serve_own_and_tls
    iam_actions.extract_iam_action = _action_without_batch
    app._dispatch_service_request = _dispatch_without_disclosure
    added = {
        "AWS::EC2::EIP": {"create": _create_address, "delete": _delete_address},
        "AWS::EC2::NatGateway": {"create": _create_nat_gateway, "delete": _delete_nat_gateway},
        "AWS::EC2::FlowLog": {"create": _create_flow_log, "delete": _delete_flow_log},
        "AWS::CloudWatch::CompositeAlarm": {
            "create": _put_composite_alarm,
            "update": _update_composite_alarm,
            "delete": _delete_composite_alarm,
        },
        "AWS::WAFv2::WebACLAssociation": {
            "create": _create_acl_association,
            "delete": _delete_recorded,
        },
        "AWS::IAM::AccessKey": {"create": _create_access_key, "delete": _delete_access_key},
        "AWS::IAM::OIDCProvider": {"create": _create_identity_provider, "delete": _delete_recorded},
        "AWS::EC2::SecurityGroupIngress": _rule_handlers("IpPermissions"),
        "AWS::EC2::SecurityGroupEgress": _rule_handlers("IpPermissionsEgress"),
    }
    provisioners._RESOURCE_HANDLERS.update(added)
    provisioners._RESOURCE_HANDLERS.update({kind: _recorded(kind) for kind in _RECORDED})
    for kind, name_of in (
        (_GROUP, "AutoScalingGroupName"),
        ("AWS::Lambda::Function", "FunctionName"),
    ):
        provisioners._RESOURCE_HANDLERS[kind] = _with_unique_names(kind, name_of)
    provisioners._RESOURCE_HANDLERS[_GROUP] = _with_termination(
        provisioners._RESOURCE_HANDLERS[_GROUP]
    )
    stacks._runs_on_worker_thread = _runs_in_a_thread
    provisioners._RESOURCE_HANDLERS["AWS::ElasticLoadBalancingV2::Listener"]["create"] = (
        _create_only_listener_of_port
    )
    stacks._resolve_stack_outputs = _resolve_outputs_in_use
    provisioners._RESOURCE_HANDLERS["AWS::SecretsManager::Secret"] = _secret_handlers()
    vpc = provisioners._RESOURCE_HANDLERS["AWS::EC2::VPC"]
    vpc.update(create=_with_cidr_block(vpc["create"], 1), update=_with_cidr_block(vpc["update"], 2))
    provisioners._custom_resource_create = _create_python_custom_resource
    provisioners._RESOURCE_HANDLERS["AWS::S3::Bucket"]["delete"] = _delete_empty_bucket
    provisioners._RESOURCE_HANDLERS["AWS::ElasticLoadBalancingV2::LoadBalancer"]["delete"] = (
        _delete_unprotected_load_balancer
    )
    provisioners._RESOURCE_HANDLERS["AWS::Lambda::EventSourceMapping"]["create"] = (
        _create_permitted_event_source
    )
    ssm._PUBLIC_AMI_PARAMETERS.update(_PUBLIC_PARAMETERS)
    provisioners._cw_metric_alarm_record = _alarm_record
    provisioners._S3_BUCKET_CONFIGURATIONS += _BUCKET_CONFIGURATIONS
    provisioners._s3_apply_configurations = _apply_all_bucket_configurations


def _end_with_parent() -> None:
    """Wait until standard input closes, which means that the parent has ended; then end this
    process group."""
    sys.stdin.read()
    shutil.rmtree(tempfile.gettempdir(), ignore_errors=True)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _extend_ministack()
    app.main()
