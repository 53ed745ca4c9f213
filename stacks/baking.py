"""A baked image (AMI): Amazon Linux with a release and its packages, so that instances boot without
installing anything."""

import hashlib
import json
from typing import Final

from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_imagebuilder as imagebuilder
from aws_cdk import aws_s3_assets as s3_assets
from constructs import Construct

from stacks.environment import Environment
from stacks.permissions import grant_release

_VERSION: Final = "1.0.0"
"""Version of every component and recipe. Their names contain the digest of their contents."""
_COMMANDS: Final = (
    "set -euo pipefail",
    "aws s3 cp s3://{bucket}/{key} /tmp/release.zip",
    "python3 -m zipfile -e /tmp/release.zip /tmp/release",
    "bash /tmp/release/boot --prepare",
    "rm -rf /tmp/release /tmp/release.zip",
)
_DISK_GB: Final = 8


def baked_image(
    scope: Construct,
    environment: Environment,
    *,
    vpc: ec2.IVpc,
    security_group: ec2.ISecurityGroup,
    instance_type: str,
    release: s3_assets.Asset,
) -> str:
    """Build the image of a release with EC2 Image Builder during the deployment, and return a
    reference to its id.

    The build takes about a quarter of an hour, and runs only if the release or the base image has
    changed. The image of the earlier release is deleted after the deployment succeeds.
    """
    arm = environment.architecture == "arm64"
    digest = hashlib.sha256(
        json.dumps([release.asset_hash, environment.image, _COMMANDS, arm]).encode()
    ).hexdigest()[:8]  # short, because names of resources contain it
    name = f"{environment.prefix}-{scope.node.id.lower()}-{digest}"
    component = imagebuilder.CfnComponent(
        scope,
        f"Component{digest}",
        name=name,
        version=_VERSION,
        platform="Linux",
        data=json.dumps(  # JSON is YAML
            {
                "schemaVersion": 1.0,
                "phases": [
                    {
                        "name": "build",
                        "steps": [
                            {
                                "name": "Prepare",
                                "action": "ExecuteBash",
                                "inputs": {
                                    "commands": [
                                        "\n".join(_COMMANDS).format(
                                            bucket=release.s3_bucket_name, key=release.s3_object_key
                                        )
                                    ]
                                },
                            }
                        ],
                    }
                ],
            }
        ),
    )
    recipe = imagebuilder.CfnImageRecipe(
        scope,
        f"Recipe{digest}",
        name=name,
        version=_VERSION,
        parent_image=environment.image,
        components=[
            imagebuilder.CfnImageRecipe.ComponentConfigurationProperty(
                component_arn=component.attr_arn
            )
        ],
        block_device_mappings=[
            imagebuilder.CfnImageRecipe.InstanceBlockDeviceMappingProperty(
                device_name="/dev/xvda",
                ebs=imagebuilder.CfnImageRecipe.EbsInstanceBlockDeviceSpecificationProperty(
                    volume_size=_DISK_GB,
                    volume_type="gp3",
                    encrypted=True,
                    delete_on_termination=True,
                ),
            )
        ],
    )
    builder = _role(
        scope, "Builder", "ec2", "EC2InstanceProfileForImageBuilder", "AmazonSSMManagedInstanceCore"
    )
    grant_release(builder, release)
    infrastructure = imagebuilder.CfnInfrastructureConfiguration(
        scope,
        "Workshop",
        name=f"{environment.prefix}-{scope.node.id.lower()}",
        instance_profile_name=iam.CfnInstanceProfile(
            scope, "BuilderProfile", roles=[builder.role_name]
        ).ref,
        instance_types=[environment.instance_type(instance_type)],
        subnet_id=vpc.private_subnets[0].subnet_id,
        security_group_ids=[security_group.security_group_id],
        instance_metadata_options=imagebuilder.CfnInfrastructureConfiguration.InstanceMetadataOptionsProperty(
            http_tokens="required", http_put_response_hop_limit=1
        ),
    )
    cleaner = _role(
        scope, "Cleaner", "imagebuilder", "service-role/EC2ImageBuilderLifecycleExecutionPolicy"
    )
    image = imagebuilder.CfnImage(
        scope,
        f"Image{digest}",
        image_recipe_arn=recipe.attr_arn,
        infrastructure_configuration_arn=infrastructure.attr_arn,
        image_tests_configuration=imagebuilder.CfnImage.ImageTestsConfigurationProperty(
            image_tests_enabled=False  # a test would boot one more instance
        ),
        deletion_settings=imagebuilder.CfnImage.DeletionSettingsProperty(
            execution_role=cleaner.role_arn
        ),
    )
    image.node.add_dependency(builder)  # and so on its policies, resources of their own
    return image.attr_image_id


def _role(scope: Construct, name: str, service: str, *policies: str) -> iam.Role:
    """Create a role that exists only for the build, for its instance or for Image Builder
    itself."""
    return iam.Role(
        scope,
        name,
        assumed_by=iam.ServicePrincipal(f"{service}.amazonaws.com"),
        managed_policies=[
            iam.ManagedPolicy.from_aws_managed_policy_name(policy) for policy in policies
        ],
    )
