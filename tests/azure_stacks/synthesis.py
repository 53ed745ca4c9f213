"""Programs for Terraform, by deployment, and checkov's findings in them."""

import fcntl
import json
import os
import subprocess
import tempfile
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import stacks.azure.__main__ as azure
from stacks.azure.environment import Environment
from stacks.bundles import ROOT

VAULT = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/certificates/providers/Microsoft.KeyVault/vaults/certs"
PRINCIPAL = "11111111-2222-3333-4444-555555555555"
CHOSEN = {
    "dev": {"deployers": "20.31.5.9"},
    "prod": {
        "domain": "art.example",
        "certificate_vault": VAULT,
        "certificate": "art",
        "alarm_email": "on-call@art.example",
        "ticket_email": "office@art.example",
        "architecture": "x86_64",
        "peer_store": "s3://art-bucket",
        "peer_principal": PRINCIPAL,
        "peer_addresses": "52.16.0.7,52.16.0.8",
    },
}
"""Values of the keys that the files leave to the deployer."""


@dataclass(frozen=True, kw_only=True)
class Program:
    """A synthesized deployment."""

    directory: Path
    content: dict[str, Any] = field(repr=False)

    def resources(self, kind: str) -> dict[str, dict[str, Any]]:
        """Return the resources of a type, such as `subnet`, by their names in the program."""
        found: dict[str, dict[str, Any]] = self.content["resource"].get(f"azurerm_{kind}", {})
        return found

    def addresses(self) -> set[str]:
        """Return Terraform's addresses of all resources."""
        return {
            f"{kind.removeprefix('azurerm_')}.{name}"
            for kind, named in self.content["resource"].items()
            for name in named
        }

    def user_data(self, tier: str) -> dict[str, Any]:
        """Return cloud-init's configuration of the instances of a tier."""
        first, _, text = (self.directory / f"{tier}.cloud-config").read_text().partition("\n")
        assert first == "#cloud-config"
        config: dict[str, Any] = json.loads(text)
        return config

    def settings(self, tier: str) -> dict[str, str]:
        """Return the settings of the unit of a tier."""
        (content,) = (
            file["content"]
            for file in self.user_data(tier)["write_files"]
            if file["path"].endswith("/settings")
        )
        return dict(line.split("=", 1) for line in content.splitlines())


def _without_comments(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_comments(item) for key, item in value.items() if key != "//"}
    return [_without_comments(item) for item in value] if isinstance(value, list) else value


def ensure_environment() -> None:
    """Create `.venv-azure` if it is missing or older than its lock; concurrent test runs wait for
    the run that creates it."""
    root = os.open(ROOT, os.O_RDONLY)
    try:
        fcntl.flock(root, fcntl.LOCK_EX)
        subprocess.run(
            ["make", "--quiet", ".venv-azure/.ready"],
            cwd=ROOT,
            check=True,
            stdout=subprocess.DEVNULL,
        )
    finally:
        os.close(root)


@cache
def release(name: str) -> Path:
    """The release for `dev`, and a placeholder for `prod`."""
    if name == "dev":
        return azure.release(Environment.load(name))
    directory = Path(tempfile.mkdtemp(prefix="release-"))
    (directory / "python-version").write_text("3.11\n")
    return directory


@cache
def synthesized(name: str) -> Program:
    """The program of the deployment `dev` or `prod`."""
    ensure_environment()
    output = Path(tempfile.mkdtemp(prefix="azure-"))
    directory = azure.synthesize(name, CHOSEN[name], release=release(name), output=output)
    return Program(
        directory=directory,
        content=_without_comments(json.loads((directory / "cdk.tf.json").read_text())),
    )
