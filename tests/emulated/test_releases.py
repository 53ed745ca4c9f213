"""Both tiers of a deployment may run two releases for some minutes: the previous one and this one.

The file `previous_release` contains the commit of the previous release. Update it when a release is
tagged.
"""

import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from asciist.options import COLORS, OPTIONS, PAINTS, SHAPES, STYLES, ConversionOptions
from asciist.protocol.messages import REQUEST_VERSION, ConversionReply, ConversionRequest, Trace
from tests.emulated.emulator import ROOT, Emulator
from tests.emulated.test_faults import reply_path
from tests.emulated.tiers import RATE, running

__all__ = ["reply_path"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

COMMIT = Path(__file__).with_name("previous_release").read_text().strip()
PACKAGES = ("asciist", "service", "lambda_worker")
REQUESTS = 3 * RATE

NEWER = [
    *({"color": color} for color in COLORS[1:]),
    *({"paint": paint} for paint in PAINTS[1:]),
    *({"shapes": shapes} for shapes in SHAPES[1:]),
    {"invert": "auto"},
    {"background": "#ffffff"},
    {"height": 9},
    {"fit": "fill"},
    {"brightness": -1},
    {"contrast": 1},
    {"animate": True},
]
"""Options unknown to the previous release."""


@pytest.fixture(scope="module")
def previous(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the code of the previous release."""
    directory = tmp_path_factory.mktemp("previous")
    archive = subprocess.run(
        ["git", "-C", ROOT, "archive", COMMIT, *PACKAGES], capture_output=True, check=True
    ).stdout
    # tarfile takes `filter` only since Python 3.11.4, and warns without it in Python 3.12.
    subprocess.run(["tar", "--extract", "--directory", directory], input=archive, check=True)
    # The name that `asciist serve` imports would be found in this checkout otherwise.
    (directory / "asciist_service").symlink_to("service")
    return directory


def requests() -> Iterator[ConversionRequest]:
    """Requests with each value of each option of the previous release."""
    for style, invert, chars in itertools.product(STYLES, (False, True), ("", " .:-=+*#%@")):
        options = ConversionOptions(
            width=80,
            style=style,
            invert=invert,
            chars=chars if style == "ramp" else "",
        )
        for attempt in (1, 2):
            yield ConversionRequest(
                correlation_id="0" * 32,
                digest="0" * 64,
                options=options,
                deadline=1e9,
                reply_to="https://queue.example/1/reply",
                published_at=1e9 - 10,
                attempt=attempt,
                trace=Trace(request_id="id", headers={"traceparent": "00-1-2-01"}),
            )


REPLIES = [
    ConversionReply(correlation_id="0" * 32, art="@\n▚"),
    ConversionReply(
        correlation_id="0" * 32, rejection="the image is damaged and cannot be decoded", attempt=2
    ),
    ConversionReply(correlation_id="0" * 32, attempt=3),
]

READ = """
import json, sys
from asciist.protocol.messages import ConversionReply, ConversionRequest
requests, replies = json.load(sys.stdin)
again = [ConversionRequest.from_json(body).to_json() for body in requests]
print(json.dumps([again, [ConversionReply.from_json(body).to_json() for body in replies]]))
"""


def test_the_previous_release_reads_every_message_of_this_one_and_the_other_way_round(
    previous: Path,
) -> None:
    """The previous release writes everything that it has read, and this one reads it again."""
    of_previous = {
        option.name for option in OPTIONS.values() if option.message_version <= REQUEST_VERSION
    }
    assert of_previous == {"width", "style", "color", "invert", "chars"}
    sent = list(requests())
    written = json.dumps(
        [[request.to_json() for request in sent], [reply.to_json() for reply in REPLIES]]
    )
    done = subprocess.run(
        [sys.executable, "-c", READ],
        cwd=previous,
        input=written,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    again, replies = json.loads(done.stdout)

    assert [ConversionRequest.from_json(body) for body in again] == sent
    assert [ConversionReply.from_json(body) for body in replies] == REPLIES


READ_NEWER = """
import json, sys
from asciist.errors import MalformedMessageError
from asciist.protocol.messages import ConversionRequest
for body in json.load(sys.stdin):
    try:
        ConversionRequest.from_json(body)
    except MalformedMessageError:
        print("left to another worker")
"""


def test_the_previous_release_leaves_options_that_it_does_not_know_to_workers_of_this_one(
    previous: Path,
) -> None:
    """The previous release would refuse them, and the web tier would return that refusal."""
    request = next(requests())
    bodies = [
        replace(request, options=replace(request.options, **newer)).to_json() for newer in NEWER
    ]
    done = subprocess.run(
        [sys.executable, "-c", READ_NEWER],
        cwd=previous,
        input=json.dumps(bodies),
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.splitlines() == ["left to another worker"] * len(NEWER)


def test_a_worker_of_the_previous_release_serves_this_web_tier(
    tmp_path: Path, emulator: Emulator, reply_path: str, cat: bytes, previous: Path
) -> None:
    with running(tmp_path, emulator, reply_path=reply_path, request_timeout=30) as tiers:
        tiers.start_poller(previous)
        with tiers.load(cat, range(20, 20 + REQUESTS)) as answers:
            pass
        assert answers == {200: REQUESTS}


def test_a_worker_of_this_release_serves_the_previous_web_tier(
    tmp_path: Path, emulator: Emulator, reply_path: str, cat: bytes, previous: Path
) -> None:
    with running(
        tmp_path, emulator, reply_path=reply_path, request_timeout=30, web_checkout=previous
    ) as tiers:
        tiers.start_poller()
        with tiers.load(cat, range(20, 20 + REQUESTS)) as answers:
            pass
        assert answers == {200: REQUESTS}


def test_a_worker_answers_web_processes_of_both_reply_paths(
    tmp_path: Path, emulator: Emulator, cat: bytes
) -> None:
    """While the reply path of a deployment is changed, a worker receives requests of both."""
    for path in ("queue", "callback"):
        (tmp_path / path).mkdir()
        other = {"ASCIIST_REPLY_PATH": "callback" if path == "queue" else "queue"}
        with running(
            tmp_path / path, emulator, reply_path=path, request_timeout=30, worker_environment=other
        ) as tiers:
            tiers.start_poller()
            assert [tiers.request(cat, width) for width in range(20, 30)] == [200] * 10
