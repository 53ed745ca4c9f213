"""Rehearses the life cycle of a deployment on this machine: bootstrap, deploy, serve, dead letter, upgrade, destroy.

Run by `make deploy-local` and by `test_rehearsal.py`. The CDK command deploys the real templates to the emulator, which runs
the real function on messages and enforces the roles' policies. The programs of the instances run as local processes.
"""

import argparse
import contextlib
import itertools
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import boto3
from botocore.exceptions import ClientError

from asciist.conversion import ConversionOptions, convert
from asciist.limits import Limits
from asciist.options import STYLES
from asciist.protocol.artifacts import digest_of
from asciist.protocol.messages import ConversionRequest
from devtools import smoke
from tests.emulated.deployment import Deployment, Instance, copy_of_the_project
from tests.emulated.emulator import ROOT, Emulator

EXAMPLES: Final = ROOT / "examples"
PHOTOGRAPHS: Final = ("cat.jpg", "astronaut.jpg", "coffee.webp", "camera.png", "horse.png", "moon.gif")
WEB_ADDRESSES: Final = ("127.0.0.11", "127.0.0.12")
WORKER_ADDRESS: Final = "127.0.0.13"

Say = Callable[[str], object]


def rehearse(context: Mapping[str, str], *, say: Say = print) -> None:
    """Run the rehearsal and raise an exception at the first failure."""
    with (
        TemporaryDirectory(prefix="rehearsal-") as scratch,
        Emulator(enforce_iam=True) as emulator,
        Deployment(emulator, project=copy_of_the_project(Path(scratch)), context=context) as deployment,
    ):
        with timed("cdk bootstrap", say):
            deployment.bootstrap()
        with timed("cdk deploy --all", say):
            deployment.deploy()
        if deployment.context.get("worker") == "asg":
            deployment.launch("worker", WORKER_ADDRESS)
        web = [deployment.launch("web", address) for address in WEB_ADDRESSES]
        convert_images(deployment, say)
        assert (
            smoke.run(smoke.Smoke(deployment.outputs("web")["Url"], connect_to=f"127.0.0.1:{emulator.port}").checks(), say)
            == []
        )
        probe(deployment, say)
        try_what_is_not_permitted(deployment, say)
        send_poison_message(deployment, say)
        upgrade(deployment, say)
        stop(deployment, web, say)
        abandon_reply_queue(deployment)
        with timed("make destroy", say):
            deployment.destroy()
        assert _stacks(deployment) == []
        assert _reply_queues(deployment) == []


def convert_images(deployment: Deployment, say: Say, *, width: int = 60) -> None:
    """Convert an image of each format to an even width of art that is not stored yet, request the stored art, and send an image
    that cannot be converted."""
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
    assert (answer.status, answer.body) == (400, b"the image is damaged and cannot be decoded\n"), answer
    say("  a damaged image: 400, from the worker")


def probe(deployment: Deployment, say: Say) -> None:
    """Invoke the function that probes the deployment. The name of the load balancer resolves in AWS only."""
    functions = boto3.client("lambda", **deployment.emulator.client_arguments)
    (name,) = deployment.physical_ids("observability", "AWS::Lambda::Function")
    variables = functions.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
    reachable = variables | {"ASCIIST_CONNECT_TO": f"127.0.0.1:{deployment.emulator.port}"}
    functions.update_function_configuration(FunctionName=name, Environment={"Variables": reachable})
    answer = functions.invoke(FunctionName=name)
    assert "FunctionError" not in answer, answer["Payload"].read()
    say("  the probe has converted an image")


def try_what_is_not_permitted(deployment: Deployment, say: Say) -> None:
    """Make calls with the credentials of each tier, and check which of them the deployed policies allow."""
    buckets = deployment.physical_ids("storage", "AWS::S3::Bucket")
    (bucket,) = [name for name, logical_id in buckets.items() if logical_id == "Artifacts"]
    queues = deployment.physical_ids("storage", "AWS::SQS::Queue")
    (requests,) = [url for url, name in queues.items() if name == "Requests"]
    digest = digest_of((EXAMPLES / PHOTOGRAPHS[0]).read_bytes())
    image, art, other = f"{digest}/image", f"{digest}/width/60", secrets.token_hex(32)
    other_image, absent = f"{other}/image", f"{other}/width/60"
    expired = ConversionRequest(
        correlation_id="", digest=digest, options=ConversionOptions(width=60), deadline=0, reply_to="", published_at=0
    ).to_json()  # the worker drops it
    calls: list[tuple[str, str, dict[str, str], str, str]] = [  # service, call, its parameters, and who may make it
        ("s3", "get_object", {"Key": image}, "worker", "read an image"),
        ("s3", "put_object", {"Key": other_image}, "web", "store an image"),
        ("s3", "get_object", {"Key": art}, "web worker", "read art"),
        ("s3", "get_object", {"Key": absent}, "", "find out whether art is absent or must not be read"),
        ("s3", "put_object", {"Key": absent}, "worker", "store art"),
        ("s3", "delete_object", {"Key": absent}, "web", "delete art"),
        ("s3", "put_object", {"Key": "anything"}, "", "store anything else"),
        ("s3", "list_objects_v2", {"Prefix": f"{digest}/"}, "web", "list the folder of a digest"),
        ("s3", "list_objects_v2", {"Prefix": digest[:8]}, "", "complete a digest"),
        ("s3", "list_objects_v2", {}, "", "list the bucket"),
        ("s3", "delete_bucket_policy", {}, "", "change the bucket's policy"),
        ("sqs", "send_message", {"QueueUrl": requests, "MessageBody": expired}, "web", "publish a request"),
        ("sqs", "receive_message", {"QueueUrl": requests}, "worker", "consume requests"),
        ("sqs", "purge_queue", {"QueueUrl": requests}, "", "purge the queue"),
        ("sqs", "create_queue", {"QueueName": "another-reply-1"}, "", "create a queue of another name"),
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
            expected = ("allowed",) if tier in allowed.split() else ("AccessDenied", "AccessDeniedException")
            assert outcome in expected, f"{tier} tier, {description}: {outcome}"
    say(f"  permissions: {len(calls)} calls with the role of each tier, allowed and denied as intended")


def send_poison_message(deployment: Deployment, say: Say) -> None:
    """Send a message that no worker can read, and wait until it is in the dead-letter queue."""
    sqs = boto3.client("sqs", **deployment.emulator.client_arguments)
    queues = {logical: url for url, logical in deployment.physical_ids("storage", "AWS::SQS::Queue").items()}
    with timed("a poison message becomes a dead letter", say):
        sqs.send_message(QueueUrl=queues["Requests"], MessageBody="{poison")
        give_up = time.monotonic() + 90
        letters: list[str] = []
        while not letters and time.monotonic() < give_up:
            received = sqs.receive_message(QueueUrl=queues["DeadLetters"], WaitTimeSeconds=2)
            letters = [message["Body"] for message in received.get("Messages", [])]
        assert letters == ["{poison"]


def upgrade(deployment: Deployment, say: Say) -> None:
    """Deploy a changed worker under a stream of requests for new art."""
    retained = deployment.physical_ids("storage", "AWS::S3::Bucket") | deployment.physical_ids("storage", "AWS::SQS::Queue")
    stack = deployment.project / "stacks/storage.py"
    stack.write_text(stack.read_text().replace("\n\n\n", "\n\n\n\n"))
    assert deployment.diff() == "", "a change of white space must not change the deployment"
    handler = deployment.project / "lambda_worker/handler.py"
    handler.write_text(f"{handler.read_text()}\n# a new release\n")
    changed = sorted(set(re.findall(r"^\[[~+-]\] (\S+)", deployment.diff(), re.MULTILINE)))
    say(f"  cdk diff: no change for white space; for a changed worker: {', '.join(changed)}")
    assert changed
    with requests(deployment) as statuses, timed("cdk deploy --all, under load", say):
        deployment.deploy()
    # The emulator kills a function during an invocation, where Lambda lets it finish. The request is then published again.
    say(f"  {len(statuses)} new requests meanwhile: {statuses.count(200)} succeeded")
    assert set(statuses) == {200}
    assert retained == (
        deployment.physical_ids("storage", "AWS::S3::Bucket") | deployment.physical_ids("storage", "AWS::SQS::Queue")
    ), "the upgrade replaced a bucket or a queue"


def stop(deployment: Deployment, web: list[Instance], say: Say) -> None:
    """Stop the web processes as systemd would, which makes them delete their reply queues."""
    with timed("a graceful stop of both web instances", say):
        for instance in web:
            deployment.deregister(instance)
            assert instance.stop() == 0
    assert _reply_queues(deployment) == []


def abandon_reply_queue(deployment: Deployment) -> None:
    """Leave a reply queue and its note, as the instances do that are terminated with their group and have no time to stop."""
    sqs = boto3.client("sqs", **deployment.emulator.client_arguments)
    sqs.create_queue(QueueName=f"{deployment.prefix}-reply-10-0-0-1-0")
    (bucket,) = [
        name for name, logical in deployment.physical_ids("storage", "AWS::S3::Bucket").items() if logical == "Artifacts"
    ]
    boto3.client("s3", **deployment.emulator.client_arguments).put_object(Bucket=bucket, Key="reply-queues/10-0-0-1-0")


@contextlib.contextmanager
def requests(deployment: Deployment) -> Iterator[list[int]]:
    """Send requests for new art, one after another, until the context ends. Yields the list of their statuses."""
    image = (EXAMPLES / "rocket.jpg").read_bytes()
    stopping = threading.Event()
    statuses: list[int] = []

    def send_requests() -> None:
        for style, width in itertools.product(STYLES, range(100, 1000)):
            if stopping.is_set():
                return
            statuses.append(deployment.request("PUT", f"/photo?width={width}&style={style}", image).status)

    thread = threading.Thread(target=send_requests)
    thread.start()
    try:
        yield statuses
    finally:
        stopping.set()
        thread.join()
    assert statuses


@contextlib.contextmanager
def timed(what: str, say: Say) -> Iterator[None]:
    start = time.monotonic()
    yield
    say(f"{what}: {time.monotonic() - start:.1f} s")


def _reply_queues(deployment: Deployment) -> list[str]:
    sqs = boto3.client("sqs", **deployment.emulator.client_arguments)
    return list(sqs.list_queues(QueueNamePrefix=f"{deployment.prefix}-reply-").get("QueueUrls", ()))


def _stacks(deployment: Deployment) -> list[str]:
    stacks = boto3.client("cloudformation", **deployment.emulator.client_arguments).describe_stacks()["Stacks"]
    alive = [stack["StackName"] for stack in stacks if not stack["StackStatus"].startswith("DELETE")]
    return [name for name in alive if name.startswith(deployment.prefix)]


def main() -> None:
    parser = argparse.ArgumentParser(description="Deploy to an emulated AWS account, convert images, upgrade and destroy.")
    parser.add_argument("-c", dest="context", action="append", default=[], help="a CDK context value, such as worker=asg")
    try:
        context = dict(value.split("=", 1) for value in parser.parse_args().context)
    except ValueError:
        parser.error("a context value has the form NAME=VALUE")
    rehearse(context)
    print("All processes have ended.")


if __name__ == "__main__":
    main()
