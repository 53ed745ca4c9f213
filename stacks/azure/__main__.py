"""Synthesize a deployment on Azure: `python -m stacks.azure ENVIRONMENT [KEY=VALUE…]`.

It writes `azure.out/stacks/asciist-ENVIRONMENT`, a directory for `terraform`, if the environment is
valid and checkov finds nothing that `stacks/azure/findings.py` does not accept. KEY=VALUE overrides
a key of the environment's file.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

from stacks.azure.environment import Environment
from stacks.azure.findings import ACCEPTED
from stacks.bundles import INSTANCE_PYTHON, ROOT, Architecture, BundleError, Target, release_bundle
from stacks.values import ContextError

OUTPUT: Final = ROOT / "azure.out"
_BIN: Final = ROOT / ".venv-azure/bin"
"""Commands of the virtual environment of `tools/locks/azure.txt`, which `make` creates."""


class SynthesisError(Exception):
    """The program failed, or checkov found something. The message contains their output."""


def release(environment: Environment) -> Path:
    """Return the release of a deployment: the same as for instances on AWS, with Azure's libraries.
    Raises BundleError."""
    target = Target(
        architecture=cast("Architecture", environment.architecture), python=INSTANCE_PYTHON
    )
    return release_bundle(target, lock="service/requirements-azure.txt")


def synthesize(
    name: str, overrides: Mapping[str, str], *, release: Path, output: Path = OUTPUT
) -> Path:
    """Synthesize a validated deployment; return the directory for `terraform`. Raises
    SynthesisError."""
    given = [f"{key}={value}" for key, value in overrides.items()]
    directory = output / "stacks" / Environment.load(name, overrides).prefix
    shutil.rmtree(directory, ignore_errors=True)
    _run(_BIN / "python", "-m", "stacks.azure.program", name, release, output, *given)
    return directory


def findings(*directories: Path) -> list[dict[str, set[str]]]:
    """Return checkov's findings in each program: resource names by the id of the check. Raises
    SynthesisError."""
    with tempfile.TemporaryDirectory() as temporary:
        judged = [
            _without_version(directory, Path(temporary) / f"{number}.tf.json")
            for number, directory in enumerate(directories)
        ]
        files = [argument for file in judged for argument in ("--file", file)]
        options = (
            "--framework",
            "terraform_json",
            "--output",
            "json",
            "--soft-fail",
            "--skip-download",
        )
        report = json.loads(_run(_BIN / "python", "-m", "checkov.main", *files, *options))
    if report["summary"]["parsing_errors"] or not report["summary"]["passed"]:
        raise SynthesisError("checkov cannot read the program")
    found: list[dict[str, set[str]]] = [{} for _ in directories]
    for check in report["results"]["failed_checks"]:
        program = found[int(Path(check["file_path"]).name.partition(".")[0])]
        program.setdefault(check["check_id"], set()).add(check["resource"].rpartition(".")[2])
    return found


def _without_version(directory: Path, copy: Path) -> Path:
    """Copy a program without its required Terraform version, which checkov cannot parse; return the
    copy."""
    program: dict[str, Any] = json.loads((directory / "cdk.tf.json").read_text())
    del program["terraform"]["required_version"]
    copy.write_text(json.dumps(program))
    return copy


def judge(found: Mapping[str, set[str]]) -> None:
    """Raise SynthesisError if checkov reports an unaccepted finding."""
    refused = {check: resources for check, resources in found.items() if check not in ACCEPTED}
    if refused:
        raise SynthesisError(
            "; ".join(
                f"{check} in {', '.join(sorted(names))}" for check, names in sorted(refused.items())
            )
        )


def _run(*command: str | Path) -> str:
    # No downloads.
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)  # noqa: S603
    if done.returncode != 0:
        raise SynthesisError(f"{done.stdout}{done.stderr}".strip())
    return done.stdout


def main() -> None:
    name, *given = sys.argv[1:] or ["dev"]
    overrides = {key: value for key, _, value in (override.partition("=") for override in given)}
    try:
        environment = Environment.load(name, overrides)
        directory = synthesize(name, overrides, release=release(environment))
        judge(*findings(directory))
    except (ContextError, BundleError, SynthesisError) as error:
        sys.exit(f"asciist: {error}")
    print(directory)


if __name__ == "__main__":
    main()
