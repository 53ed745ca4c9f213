"""`make destroy` keeps protected data, and asks first. The rehearsal destroys a deployment with
it."""

import subprocess
import sys

import pytest

from tests.emulated.emulator import ROOT


def destroy(*arguments: str, answer: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "stacks.destroy", *arguments],
        cwd=ROOT,
        input=answer,
        # Without credentials, a call to AWS would fail in another way than expected.
        env={"PATH": "/usr/bin:/bin", "AWS_EC2_METADATA_DISABLED": "true"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_deployment_that_keeps_its_data_is_refused() -> None:
    done = destroy("prod", "--yes", "-c", "plain_http=true", "-c", "pages_nobody=true")
    assert done.returncode == 1
    assert (
        done.stderr
        == "asciist: asciist-prod keeps its data: set keeps_data = false in environments/prod.toml"
        " and deploy, before you destroy it\n"
    )


@pytest.mark.parametrize("answer", ["\n", "y\n", "dev\n", "asciist-prod\n"])
def test_nothing_is_deleted_unless_the_deployment_is_named(answer: str) -> None:
    done = destroy("dev", answer=answer)
    assert (done.returncode, done.stderr) == (1, "asciist: nothing deleted\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("production",), "environment must be one of dev, prod, not 'production'"),
        (("dev", "-c", "workr=asg"), "unknown key 'workr': did you mean 'worker'?"),
        (("dev", "-c", "worker"), "a context value has the form NAME=VALUE"),
    ],
)
def test_a_mistake_is_told_in_one_sentence(arguments: tuple[str, ...], message: str) -> None:
    done = destroy(*arguments)
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr
