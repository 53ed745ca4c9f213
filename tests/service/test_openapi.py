"""The service behaves as /openapi.json describes, and its examples print what they show."""

import base64
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from asciist.conversion import STYLES
from service.examples import HEART
from tests.serving import Server

HEART_FILE = Path(__file__).parents[2] / "service" / "static" / "heart.png"

CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_headers_conformance,response_schema_conformance"
)


@pytest.mark.slow
def test_a_fuzzer_finds_no_response_outside_the_contract(tmp_path: Path) -> None:
    # The timeout of the tests, 2 s, can pass on a busy machine while the fuzzer's requests queue: a 504, as the contract says.
    server = Server(tmp_path, ASCIIST_REQUEST_TIMEOUT="30")
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
    assert "Tested: 11" in run.stdout


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("store"))
    yield server
    server.stop()


def operations(contract: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {operation["operationId"]: operation for methods in contract["paths"].values() for operation in methods.values()}


@pytest.mark.slow
def test_every_example_prints_the_output_shown(server: Server, tmp_path: Path) -> None:
    """Run the examples in the order of the document, in a folder that contains their image."""
    shutil.copy(HEART_FILE, tmp_path)
    run_count = 0
    contract = json.loads(server.request("GET", "/openapi.json", Host=f"127.0.0.1:{server.port}")[1])
    for name, operation in operations(contract).items():
        assert operation["x-codeSamples"] or name == "docs"
        for sample in operation["x-codeSamples"]:
            run = subprocess.run(
                ["bash", "-c", sample["source"].replace("curl ", "curl --silent --show-error ")],
                capture_output=True,
                text=True,
                check=False,
                cwd=tmp_path,
            )
            assert (run.returncode, run.stderr) == (0, ""), sample
            assert run.stdout.removesuffix("\n") == (sample["output"] or run.stdout.removesuffix("\n")), sample
            assert len(run.stdout) > 1
            run_count += 1
    assert run_count >= 11


def test_the_image_of_the_examples_can_be_downloaded(client: FlaskClient) -> None:
    assert base64.b64decode(HEART) == HEART_FILE.read_bytes()
    with client.get("/static/heart.png") as file:
        assert file.data == HEART_FILE.read_bytes()


def test_the_docs_page_shows_the_whole_contract_and_loads_nothing_from_other_sites(client: FlaskClient) -> None:
    page, contract = client.get("/docs"), client.get("/openapi.json").get_json()
    text = unescape(page.text)

    for name, operation in operations(contract).items():
        assert f'id="{name}"' in text
        assert operation["summary"] in text
        for sample in operation["x-codeSamples"]:
            assert sample["source"] in text
            assert sample["output"] in text
        for parameter in operation.get("parameters", ()):
            assert parameter["description"] in text
        for response in operation["responses"].values():
            assert response["description"] in text
    assert ", ".join(STYLES) in text
    assert "<script" not in text
    assert page.headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'self'; font-src 'self';")
    assert "://" not in text.replace(f"{contract['servers'][0]['url']}", "")
