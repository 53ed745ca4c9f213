"""Rehearses the life cycle of a deployment on this machine: the steps of `operations.trial`, and
further steps that only an emulator allows.

Run by `make deploy-local` and by `test_rehearsal.py`. The CDK command deploys the real templates to
the emulator, which runs the real function on messages and enforces the roles' policies. The
programs of the instances run as local processes.
"""

import argparse
import contextlib
import itertools
import json
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import boto3
from botocore.exceptions import ClientError

from asciist.conversion import ConversionOptions
from asciist.limits import Limits
from asciist.protocol.artifacts import art_key, digest_of
from asciist.protocol.messages import ConversionRequest
from asciist.protocol.read_only import VALID_SECONDS
from asciist.settings import READ_ONLY_MARKER
from operations.deployment import copy_of_the_project, templates
from operations.trial import Report, Step, Switch, Trial, switches_of
from tests.emulated.azurite import Azurite
from tests.emulated.deployment import Deployment, ManagedDeployment
from tests.emulated.emulator import ROOT, Emulator
from tests.waiting import wait_until
from tools.testing.drawing import convert

EXAMPLES: Final = ROOT / "docs" / "examples"
PHOTOGRAPHS: Final = (
    "cat.jpg",
    "astronaut.jpg",
    "coffee.webp",
    "camera.png",
    "horse.png",
    "moon.gif",
)
_PEER_CONTAINER: Final = "artifacts"

Say = Callable[[str], object]


class Rehearsal(Trial):
    """A trial that also converts images, tests the permissions of roles, and checks which resources
    a deployment keeps."""

    def __init__(
        self,
        deployment: Deployment,
        *,
        switches: Sequence[Switch],
        omitted: Mapping[str, str],
        peer: Azurite | None,
        say: Say,
    ) -> None:
        # No observation waits: the emulator shows none of them.
        super().__init__(
            deployment, switches=switches, omitted=omitted, budget_seconds=0.1, say=say
        )
        self._deployed, self._peer, self._say = deployment, peer, say

    def steps(self) -> list[Step]:
        deployed, say, kept = self._deployed, self._say, list[dict[str, str]]()
        peer = self._peer
        with_peer = [
            Step("read art of the peer store", lambda: peer and read_through(deployed, peer)),
            Step("try what the other deployment may do", lambda: try_as_peer(deployed)),
            Step("switch the read-only mode on and off", lambda: switch_read_only(deployed)),
        ]
        more = {
            "smoke test": [
                Step("convert images", lambda: convert_images(deployed, say)),
                Step("the probe converts an image", lambda: probe(deployed)),
                Step("try what is not permitted", lambda: try_what_is_not_permitted(deployed, say)),
                *(with_peer if peer else []),
                Step(
                    "a poison message becomes a dead letter", lambda: send_poison_message(deployed)
                ),
                Step("white space changes nothing", lambda: change_white_space(deployed)),
                Step("note what an upgrade must keep", lambda: kept.append(_storage(deployed))),
            ],
            "roll back": [
                Step(
                    "the buckets and the queues are the same",
                    lambda: _assert_equal(_storage(deployed), kept[0]),
                ),
                Step("abandon a reply queue", lambda: abandon_reply_queue(deployed)),
            ],
        }
        return [step for own in super().steps() for step in (own, *more.get(own.title, []))]


def rehearse(
    context: Mapping[str, str],
    *,
    switches: bool = False,
    peer: Azurite | None = None,
    say: Say = print,
) -> Report:
    """Run the rehearsal until a step fails, and return the report.

    With `switches`, switch each option back and forth. With `peer`, its container `artifacts` is
    the peer store.
    """
    with (
        TemporaryDirectory(prefix="rehearsal-") as scratch,
        Emulator(enforce_iam=True) as emulator,
        ManagedDeployment(
            emulator,
            project=_patient(copy_of_the_project(Path(scratch))),
            context={**context, **(peer_of(emulator, peer, _PEER_CONTAINER) if peer else {})},
        ) as deployment,
    ):
        every, omitted = switches_of(deployment.environment, deployment.context)
        possible = [switch for switch in every if switches and switch.choice != "architecture"]
        omitted["architecture"] = "this machine can run one"
        rehearsal = Rehearsal(deployment, switches=possible, omitted=omitted, peer=peer, say=say)
        rehearsal.run(rehearsal.steps())
        return rehearsal.report


def _patient(project: Path) -> Path:
    """Raise the request timeout from 10 s to 30 s in each environment of a copy of the project.

    On a busy machine, the first start of an emulated function takes longer than the default.
    """
    for file in (project / "environments").glob("*.toml"):
        file.write_text(f"{file.read_text()}\n[settings]\nrequest_timeout = 30\n")
    return project


def convert_images(deployment: Deployment, say: Say, *, width: int = 60) -> None:
    """Convert an image of each format to a new, even width, request the stored art, and send an
    image that cannot be converted."""
    for name in PHOTOGRAPHS:
        image = (EXAMPLES / name).read_bytes()
        expected = f"{convert(image, ConversionOptions(width=width), Limits())}\n"
        for source in ("fwd=miss; stored", "hit"):
            start = time.monotonic()
            answer = deployment.request("PUT", f"/photo?width={width}", image)
            assert (answer.status, answer.body.decode()) == (200, expected), answer
            assert answer.headers["cache-status"] == f"asciist; {source}"
            say(f"  {name}: {source}, {1000 * (time.monotonic() - start):.0f} ms")
    stored_image = answer.headers["link"][1:].partition(">")[0]
    answer = deployment.request("POST", f"{stored_image}?width={width + 1}")
    expected = f"{convert(image, ConversionOptions(width=width + 1), Limits())}\n"
    assert (answer.status, answer.body.decode()) == (200, expected), answer
    say(f"  {name}: converted again from the stored image")
    damaged = (EXAMPLES / "cat.jpg").read_bytes()[:-9000]
    answer = deployment.request("PUT", "/photo?width=60", damaged)
    assert (answer.status, answer.body) == (
        400,
        b"the image is damaged and cannot be decoded\n",
    ), answer
    say("  a damaged image: 400, from the worker")


def peer_of(emulator: Emulator, peer: Azurite, container: str) -> dict[str, str]:
    """Create the secret with the credentials of a peer store, and return the environment keys for
    the peer."""
    variables = {
        name: value for name, value in peer.environment.items() if name.startswith("AZURE_")
    }
    secrets_manager = boto3.client("secretsmanager", **emulator.client_arguments)
    secret = secrets_manager.create_secret(Name="peer", SecretString=json.dumps(variables))
    return {"peer_store": f"azure://{container}", "peer_secret": secret["ARN"]}


def read_through(deployment: Deployment, peer: Azurite) -> None:
    """Move art to the peer store, request it, and check that it is served and copied back."""
    image = (EXAMPLES / PHOTOGRAPHS[0]).read_bytes()
    answer = deployment.request("PUT", "/photo?width=50", image)
    key = art_key(digest_of(image), ConversionOptions(width=50))
    s3, place = deployment.aws("s3"), {"Bucket": _artifacts(deployment), "Key": key}
    peer.create_blob(_PEER_CONTAINER, key, s3.get_object(**place)["Body"].read())
    s3.delete_object(**place)
    served = deployment.request("GET", answer.headers["content-location"])
    assert (served.status, served.body) == (200, answer.body), served
    s3.head_object(**place)
    absent = deployment.request("GET", answer.headers["content-location"].replace("50", "51"))
    assert absent.status == 404, absent


def try_as_peer(deployment: Deployment) -> None:
    """Read art with the deployment's credentials for its peer, and try calls that they do not
    allow."""
    credentials = {name.lower(): value for name, value in credentials_of_peer(deployment).items()}
    region = credentials.pop("aws_region")
    s3 = boto3.client(
        "s3", endpoint_url=deployment.emulator.endpoint, region_name=region, **credentials
    )
    digest = digest_of((EXAMPLES / PHOTOGRAPHS[0]).read_bytes())
    place = {"Bucket": _artifacts(deployment)}
    listed = s3.list_objects_v2(**place, Prefix=f"{digest}/")["Contents"]
    for entry in listed:
        s3.get_object(**place, Key=entry["Key"])
    for call in (
        lambda: s3.list_objects_v2(**place),
        lambda: s3.put_object(**place, Key=f"{digest}/width/50"),
        lambda: s3.get_object(**place, Key=READ_ONLY_MARKER),
    ):
        _assert_denied(call)


def credentials_of_peer(deployment: Deployment) -> dict[str, str]:
    """Return the variables created by a deployment for its peer."""
    secret = deployment.aws("secretsmanager").get_secret_value(
        SecretId=deployment.outputs("web")["PeerSecret"]
    )
    variables: dict[str, str] = json.loads(secret["SecretString"])
    return variables


def _assert_denied(call: Callable[[], object]) -> None:
    try:
        answer = call()
    except ClientError as error:
        _assert_equal(error.response["Error"]["Code"], "AccessDenied")
    else:
        raise AssertionError(f"allowed: {answer}")


def switch_read_only(deployment: Deployment) -> None:
    """Write and delete the marker, and check that new art is refused meanwhile, and that the web
    tier may only read the marker."""
    image = (EXAMPLES / PHOTOGRAPHS[0]).read_bytes()
    s3, web = deployment.aws("s3"), deployment.client("s3", "web")
    place = {"Bucket": _artifacts(deployment), "Key": READ_ONLY_MARKER}
    widths = itertools.count(200)

    def wait_for(status: int) -> None:
        wait_until(
            lambda: (
                deployment.request("PUT", f"/photo?width={next(widths)}", image).status == status
            ),
            seconds=2 * VALID_SECONDS,
        )

    s3.put_object(**place)
    wait_for(503)
    web.get_object(**place)
    _assert_denied(lambda: web.put_object(**place))
    _assert_denied(lambda: web.delete_object(**place))
    s3.delete_object(**place)
    wait_for(200)  # one process; the others notice during the next steps, which convert nothing


def _artifacts(deployment: Deployment) -> str:
    buckets = deployment.physical_ids("storage", "AWS::S3::Bucket")
    (bucket,) = [name for name, logical_id in buckets.items() if logical_id == "Artifacts"]
    return bucket


def probe(deployment: Deployment) -> None:
    """Invoke the function that probes the deployment. The load balancer's name resolves only in
    AWS."""
    functions = deployment.aws("lambda")
    (name,) = deployment.physical_ids("observability", "AWS::Lambda::Function")
    variables = functions.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
    reachable = variables | {"ASCIIST_CONNECT_TO": f"127.0.0.1:{deployment.emulator.port}"}
    functions.update_function_configuration(FunctionName=name, Environment={"Variables": reachable})
    answer = functions.invoke(FunctionName=name)
    assert "FunctionError" not in answer, answer["Payload"].read()


def try_what_is_not_permitted(deployment: Deployment, say: Say) -> None:
    """Make calls with the credentials of each tier, and check them against the deployed
    policies."""
    bucket = _artifacts(deployment)
    queues = deployment.physical_ids("storage", "AWS::SQS::Queue")
    (requests,) = [url for url, name in queues.items() if name == "Requests"]
    has_peer = bool(deployment.context.get("peer_store"))
    digest = digest_of((EXAMPLES / PHOTOGRAPHS[0]).read_bytes())
    image, art, other = f"{digest}/image", f"{digest}/width/60", secrets.token_hex(32)
    other_image, absent = f"{other}/image", f"{other}/width/60"
    expired = ConversionRequest(
        correlation_id="",
        digest=digest,
        options=ConversionOptions(width=60),
        deadline=0,
        reply_to="",
        published_at=0,
    ).to_json()  # the worker drops it
    # service, call, its parameters, and who may make it
    calls: list[tuple[str, str, dict[str, str], str, str]] = [
        ("s3", "get_object", {"Key": image}, "worker", "read an image"),
        ("s3", "put_object", {"Key": other_image}, "web", "store an image"),
        ("s3", "get_object", {"Key": art}, "web worker", "read art"),
        (
            "s3",
            "get_object",
            {"Key": absent},
            "",
            "find out whether art is absent or must not be read",
        ),
        ("s3", "put_object", {"Key": absent}, "web worker" if has_peer else "worker", "store art"),
        ("s3", "delete_object", {"Key": absent}, "web", "delete art"),
        ("s3", "put_object", {"Key": f"{other}/link"}, "web", "store a short link"),
        ("s3", "get_object", {"Key": f"{other}/link"}, "web", "read a short link"),
        ("s3", "put_object", {"Key": "anything"}, "", "store anything else"),
        ("s3", "put_object", {"Key": READ_ONLY_MARKER}, "", "switch the read-only mode on"),
        (
            "s3",
            "list_objects_v2",
            {"Prefix": "migration/"},
            "web" if has_peer else "",
            "find out that the mode is off",
        ),
        ("s3", "list_objects_v2", {"Prefix": f"{digest}/"}, "web", "list the folder of a digest"),
        ("s3", "list_objects_v2", {"Prefix": digest[:8]}, "", "complete a digest"),
        ("s3", "list_objects_v2", {}, "", "list the bucket"),
        ("s3", "delete_bucket_policy", {}, "", "change the bucket's policy"),
        (
            "sqs",
            "send_message",
            {"QueueUrl": requests, "MessageBody": expired},
            "web",
            "publish a request",
        ),
        ("sqs", "receive_message", {"QueueUrl": requests}, "worker", "consume requests"),
        ("sqs", "purge_queue", {"QueueUrl": requests}, "", "purge the queue"),
        (
            "sqs",
            "create_queue",
            {"QueueName": "another-reply-1"},
            "",
            "create a queue of another name",
        ),
        ("sqs", "list_queues", {}, "", "list queues"),
    ]
    for tier in ("web", "worker"):
        clients = {service: deployment.client(service, tier) for service in ("s3", "sqs")}
        for service, call, parameters, allowed, description in calls:
            place = {"Bucket": bucket} if service == "s3" else {}
            try:
                getattr(clients[service], call)(**place, **parameters)
                outcome = "allowed"
            except ClientError as error:
                outcome = error.response["Error"]["Code"]
            expected = (
                ("allowed",)
                if tier in allowed.split()
                else ("AccessDenied", "AccessDeniedException")
            )
            assert outcome in expected, f"{tier} tier, {description}: {outcome}"
    say(
        f"  permissions: {len(calls)} calls with the role of each tier, allowed and denied as"
        " intended"
    )


def send_poison_message(deployment: Deployment) -> None:
    """Send a malformed message, and wait until it is in the dead-letter queue."""
    sqs = deployment.aws("sqs")
    queues = {
        logical: url
        for url, logical in deployment.physical_ids("storage", "AWS::SQS::Queue").items()
    }
    sqs.send_message(QueueUrl=queues["Requests"], MessageBody="{poison")
    give_up = time.monotonic() + 300
    letters: list[str] = []
    while not letters and time.monotonic() < give_up:
        received = sqs.receive_message(QueueUrl=queues["DeadLetters"], WaitTimeSeconds=2)
        letters = [message["Body"] for message in received.get("Messages", [])]
    _assert_equal(letters, ["{poison"])


def change_white_space(deployment: Deployment) -> None:
    """Change the source of a stack without an effect. The deployment must not change."""
    stack = deployment.project / "stacks/storage.py"
    stack.write_text(stack.read_text().replace("\n\n\n", "\n\n\n\n"))
    again = deployment.directory / "again"
    deployment.synthesize(again)
    _assert_equal(templates(again), templates(deployment.deployed))


def _storage(deployment: Deployment) -> dict[str, str]:
    return deployment.physical_ids("storage", "AWS::S3::Bucket") | deployment.physical_ids(
        "storage", "AWS::SQS::Queue"
    )


def abandon_reply_queue(deployment: Deployment) -> None:
    """Leave a reply queue and its entry, like instances terminated without time to stop."""
    deployment.aws("sqs").create_queue(QueueName=f"{deployment.prefix}-reply-10-0-0-1-0")
    deployment.aws("s3").put_object(Bucket=_artifacts(deployment), Key="reply-queues/10-0-0-1-0")


def _assert_equal(found: object, expected: object) -> None:
    assert found == expected, f"{found} instead of {expected}"


@contextlib.contextmanager
def timed(what: str, say: Say) -> Iterator[None]:
    start = time.monotonic()
    yield
    say(f"{what}: {time.monotonic() - start:.1f} s")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=(
            "Deploy to an emulated AWS account, convert images, upgrade, roll back and destroy."
        )
    )
    parser.add_argument(
        "-c",
        dest="context",
        action="append",
        default=[],
        help="a CDK context value, such as worker=asg",
    )
    parser.add_argument(
        "--switches",
        action="store_true",
        help="change each choice that this machine can run, forth and back",
    )
    arguments = parser.parse_args()
    try:
        context = dict(value.split("=", 1) for value in arguments.context)
    except ValueError:
        parser.error("a context value has the form NAME=VALUE")
    report = rehearse(context, switches=arguments.switches)
    print(f"\n{report.markdown()}\nAll processes have ended.")
    return 0 if report.passed else 1


if __name__ == "__main__":
    sys.exit(main())
