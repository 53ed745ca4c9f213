"""The contract at /openapi.json is true: a fuzzer that is driven by it finds no lie."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.serving import Server

CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_headers_conformance,response_schema_conformance"
)


@pytest.mark.slow
def test_no_answer_breaks_the_contract(tmp_path: Path) -> None:
    server = Server(tmp_path)
    fuzzer = str(Path(sys.executable).with_name("schemathesis"))
    try:
        run = subprocess.run(
            [fuzzer, "run", f"{server.url}/openapi.json", "--checks", CHECKS, "--max-examples", "60", "--no-color"],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
        )
    finally:
        server.stop()
    assert run.returncode == 0, run.stdout
    assert "Tested: 8" in run.stdout
