"""MiniStack 1.5.33, with what its CloudFormation lacks for our stacks.

Runs in `.venv-emulator`, started by `tests.emulated.emulator`; MiniStack's own variables configure it.

What is added is recorded and described, not simulated, as MiniStack does for the rest of EC2. A property that nobody
would apply is an error here, so that a template cannot pass by being ignored.
"""

import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from typing import Any

import botocore.session
from botocore.serialize import create_serializer
from ministack.app import main  # type: ignore[import-not-found]  # its environment is not the one that types are checked in
from ministack.core.responses import new_uuid  # type: ignore[import-not-found]
from ministack.services import ec2, s3  # type: ignore[import-not-found]
from ministack.services.cloudformation import provisioners  # type: ignore[import-not-found]

Properties = dict[str, Any]
Created = tuple[str, Properties]  # what Ref gives, what Fn::GetAtt gives
Handlers = dict[str, Callable[..., Any]]


def _refuse_unknown(properties: Mapping[str, Any], known: set[str], what: str) -> None:
    if unknown := properties.keys() - known:
        raise ValueError(f"{what}: the emulator does not apply {', '.join(sorted(unknown))}")


def _new_id(prefix: str) -> str:
    return f"{prefix}-{new_uuid().replace('-', '')[:17]}"


def _create_address(_logical_id: str, properties: Properties, _stack: str) -> Created:
    _refuse_unknown(properties, {"Domain", "Tags"}, "AWS::EC2::EIP")
    allocation, address = _new_id("eipalloc"), ec2._random_ip("52.")
    absent = dict.fromkeys(("AssociationId", "InstanceId", "NetworkInterfaceId", "PrivateIpAddress"))
    ec2._addresses[allocation] = {"AllocationId": allocation, "PublicIp": address, "Domain": "vpc", **absent}
    provisioners._ec2_apply_tags(allocation, properties)
    return address, {"AllocationId": allocation, "PublicIp": address}


def _delete_address(address: str, _properties: Properties) -> None:
    for allocation in [key for key, value in ec2._addresses.items() if value["PublicIp"] == address]:
        del ec2._addresses[allocation]
        ec2._tags.pop(allocation, None)


def _create_nat_gateway(_logical_id: str, properties: Properties, _stack: str) -> Created:
    _refuse_unknown(properties, {"AllocationId", "SubnetId", "ConnectivityType", "Tags"}, "AWS::EC2::NatGateway")
    gateway = _new_id("nat")
    if properties["AllocationId"] not in ec2._addresses:
        raise ValueError(f"there is no address {properties['AllocationId']}")
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
    known = {"ResourceId", "ResourceType", "TrafficType", "LogDestinationType", "LogDestination", "LogGroupName"}
    recorded_by_nobody = {"DeliverLogsPermissionArn", "MaxAggregationInterval", "LogFormat"}
    _refuse_unknown(properties, known | recorded_by_nobody | {"Tags"}, "AWS::EC2::FlowLog")
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


def _rule_handlers(permissions: str) -> Handlers:
    """Of the rules that the CDK puts beside a security group, where two groups name each other."""

    def create(_logical_id: str, properties: Properties, _stack: str) -> Created:
        group = ec2._security_groups[properties["GroupId"]]
        group.setdefault(permissions, []).extend(provisioners._ec2_sg_permissions([properties]))
        rule = _new_id("sgr")
        return rule, {"Id": rule}

    def delete(_rule: str, properties: Properties) -> None:
        if group := ec2._security_groups.get(properties["GroupId"]):
            provisioners._ec2_sg_reconcile(group[permissions], provisioners._ec2_sg_permissions([properties]), [])

    return {"create": create, "delete": delete}


_metric_alarm_record = provisioners._cw_metric_alarm_record


def _alarm_record(name: str, properties: Properties) -> Properties:
    """MiniStack's record of an alarm, of one on metric math too: described as declared, never evaluated."""
    if "Metrics" not in properties:
        return dict(_metric_alarm_record(name, properties))
    of_one_metric = {"MetricName", "Namespace", "Statistic", "ExtendedStatistic", "Period", "Dimensions", "Unit"}
    if mixed := properties.keys() & of_one_metric:
        raise ValueError(f"AWS::CloudWatch::Alarm: Metrics excludes {', '.join(sorted(mixed))}")
    placeholder = {"MetricName": "-", "Namespace": "-"}
    rest = {key: value for key, value in properties.items() if key != "Metrics"}
    record = _metric_alarm_record(name, rest | placeholder)
    return {key: value for key, value in record.items() if key not in of_one_metric} | {"Metrics": properties["Metrics"]}


_S3_MODEL = botocore.session.get_session().get_service_model("s3")


def _s3_body(operation: str, **parameters: Any) -> bytes:
    """The XML that a client would send, which is what MiniStack's S3 takes."""
    request = create_serializer("rest-xml").serialize_to_request(
        {"Bucket": "-", **parameters}, _S3_MODEL.operation_model(operation)
    )
    return bytes(request["body"])


def _lifecycle_rule(declared: Properties) -> Properties:
    """CloudFormation's spelling of a rule in the API's."""
    same = {"Status", "AbortIncompleteMultipartUpload", "NoncurrentVersionExpiration"}
    _refuse_unknown(declared, same | {"Id", "Prefix", "ExpirationInDays", "Transitions"}, "a lifecycle rule")
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
    rules = [
        {
            "ApplyServerSideEncryptionByDefault": rule["ServerSideEncryptionByDefault"],
            "BucketKeyEnabled": rule.get("BucketKeyEnabled", False),
        }
        for rule in declared["ServerSideEncryptionConfiguration"]
    ]
    return _s3_body("PutBucketEncryption", ServerSideEncryptionConfiguration={"Rules": rules})


def _ownership(declared: Properties) -> bytes:
    return _s3_body("PutBucketOwnershipControls", OwnershipControls=declared)


def _tags(declared: list[Properties]) -> bytes:
    return _s3_body("PutBucketTagging", Tagging={"TagSet": declared})


def _or_fail(put: Callable[[str, bytes], tuple[int, Any, Any]]) -> Callable[[str, bytes], None]:
    def checked(bucket: str, body: bytes) -> None:
        status, _headers, answer = put(bucket, body)
        if status >= 400:
            raise ValueError(f"{put.__name__.strip('_')}: {answer!r}")

    return checked


# property: (its XML, its call, the call that takes it away), the form of MiniStack's own table
_BUCKET_CONFIGURATIONS = (
    ("LifecycleConfiguration", _lifecycle, _or_fail(s3._put_bucket_lifecycle), s3._delete_bucket_lifecycle),
    ("BucketEncryption", _encryption, _or_fail(s3._put_bucket_encryption), s3._delete_bucket_encryption),
    ("OwnershipControls", _ownership, _or_fail(s3._put_bucket_ownership_controls), s3._delete_bucket_ownership_controls),
    ("Tags", _tags, _or_fail(s3._put_bucket_tagging), s3._delete_bucket_tagging),
)
_apply_bucket_configurations = provisioners._s3_apply_configurations


def _apply_all_bucket_configurations(bucket: str, properties: Properties, old: Properties | None = None) -> None:
    known = {name for name, *_ in provisioners._S3_BUCKET_CONFIGURATIONS}
    known |= {"BucketName", "NotificationConfiguration", "VersioningConfiguration"}
    if properties.get("AccessControl") == "Private":  # as every bucket is
        known.add("AccessControl")
    _refuse_unknown(properties, known, "AWS::S3::Bucket")
    _apply_bucket_configurations(bucket, properties, old)


def _extend_ministack() -> None:
    handlers = {
        "AWS::EC2::EIP": {"create": _create_address, "delete": _delete_address},
        "AWS::EC2::NatGateway": {"create": _create_nat_gateway, "delete": _delete_nat_gateway},
        "AWS::EC2::FlowLog": {"create": _create_flow_log, "delete": _delete_flow_log},
        "AWS::EC2::SecurityGroupIngress": _rule_handlers("IpPermissions"),
        "AWS::EC2::SecurityGroupEgress": _rule_handlers("IpPermissionsEgress"),
    }
    provisioners._RESOURCE_HANDLERS.update(handlers)
    provisioners._cw_metric_alarm_record = _alarm_record
    provisioners._S3_BUCKET_CONFIGURATIONS += _BUCKET_CONFIGURATIONS
    provisioners._s3_apply_configurations = _apply_all_bucket_configurations


def _end_with_parent() -> None:
    """Wait until the parent has closed our standard input, which it does by dying, and end this process group."""
    sys.stdin.read()
    shutil.rmtree(tempfile.gettempdir(), ignore_errors=True)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _extend_ministack()
    main()
