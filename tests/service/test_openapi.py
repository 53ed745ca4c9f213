"""The service conforms to /openapi.json, and its examples print the documented output."""

import base64
import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from asciist.conversion import STYLES
from asciist.protocol.links import CODE_PATTERN, NAME_PATTERN
from service.examples import ART_NAME, HEART
from service.openapi import dereferenced
from tests.serving import Server

HEART_FILE = Path(__file__).parents[2] / "service" / "static" / "heart.png"

CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_headers_conformance,response_schema_conformance"
)


@pytest.mark.slow
def test_a_fuzzer_finds_no_response_outside_the_contract(tmp_path: Path) -> None:
    # The timeout of the tests, 2 s, can pass on a busy machine while the fuzzer's requests queue: a
    # 504, as the contract says.
    server = Server(tmp_path, ASCIIST_REQUEST_TIMEOUT="30")
    fuzzer = str(Path(sys.executable).with_name("schemathesis"))
    try:
        run = subprocess.run(
            [
                fuzzer,
                "run",
                f"{server.url}/openapi.json",
                "--checks",
                CHECKS,
                "--max-examples",
                "40",
                "--no-color",
            ],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
        )
    finally:
        server.stop()
    assert run.returncode == 0, run.stdout
    assert "Tested: 17" in run.stdout


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("store"))
    yield server
    server.stop()


def operations(contract: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        op["operationId"]: op
        for methods in dereferenced(contract).values()
        for op in methods.values()
    }


def references(node: Any) -> Iterator[str]:
    """Yield every reference in a part of the document."""
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"]
        node = list(node.values())
    if isinstance(node, list):
        for each in node:
            yield from references(each)


def test_what_operations_share_is_a_component_and_every_component_is_used(
    client: FlaskClient,
) -> None:
    contract = client.get("/openapi.json").get_json()
    components = {
        f"#/components/{kind}/{name}"
        for kind, named in contract["components"].items()
        for name in named
    }

    assert components == set(references(contract))


def test_every_operation_has_one_tag_that_is_described(client: FlaskClient) -> None:
    contract = client.get("/openapi.json").get_json()
    used = [operation["tags"] for operation in operations(contract).values()]

    assert all(len(tags) == 1 for tags in used)
    assert [tag["name"] for tag in contract["tags"] if tag["description"]] == list(
        dict.fromkeys(
            tag
            for name in ("convert", "storedArt", "health")
            for tag in operations(contract)[name]["tags"]
        )
    )


def command_of(sample: dict[str, str]) -> list[str]:
    """Return the command that runs an example."""
    source = sample["source"]
    if sample["lang"] == "Python":
        return [sys.executable, "-W", "error::DeprecationWarning", "-c", source]
    if sample["lang"] == "JavaScript":
        node = str(Path(sys.executable).with_name("node"))
        # openAsBlob is experimental in Node 20
        return [node, "--no-warnings", "--input-type=module", "--eval", source]
    return ["bash", "-c", source.replace("curl ", "curl --silent --show-error ")]


@pytest.mark.slow
def test_every_example_prints_the_output_shown(server: Server, tmp_path: Path) -> None:
    """Run the examples in the order of the document, in a folder that contains their image."""
    shutil.copy(HEART_FILE, tmp_path)
    run_count: Counter[str] = Counter()
    contract = json.loads(
        server.request("GET", "/openapi.json", Host=f"127.0.0.1:{server.port}")[1]
    )
    for name, operation in operations(contract).items():
        assert operation["x-codeSamples"] or name == "docs"
        for sample in operation["x-codeSamples"]:
            run = subprocess.run(
                command_of(sample),
                capture_output=True,
                text=True,
                check=False,
                cwd=tmp_path,
            )
            assert (run.returncode, run.stderr) == (0, ""), sample
            printed = re.sub(
                f"{NAME_PATTERN}|{CODE_PATTERN}", ART_NAME, run.stdout.removesuffix("\n")
            )
            assert printed == (sample["output"] or printed), sample
            assert len(printed) > 1
            run_count[sample["lang"]] += 1
    assert run_count.keys() == {"Shell", "Python", "JavaScript"}
    assert run_count.total() >= 20


def test_the_image_of_the_examples_can_be_downloaded(client: FlaskClient) -> None:
    assert base64.b64decode(HEART) == HEART_FILE.read_bytes()
    with client.get("/static/heart.png") as file:
        assert file.data == HEART_FILE.read_bytes()


def test_the_docs_page_shows_the_whole_contract_and_loads_nothing_from_other_sites(
    client: FlaskClient,
) -> None:
    page, contract = client.get("/docs"), client.get("/openapi.json").get_json()
    text = unescape(page.text)
    prose = unescape(re.sub("</?code>", "`", page.text))

    for name, operation in operations(contract).items():
        assert f'id="{name}"' in text
        assert operation["summary"] in text
        for sample in operation["x-codeSamples"]:
            assert sample["source"] in text
            assert sample["output"] in text
        for parameter in operation.get("parameters", ()):
            assert parameter["description"] in prose
        for response in operation["responses"].values():
            assert response["description"] in prose
    assert ", ".join(STYLES) in text
    for schema in ("Art", "Error"):
        for key in contract["components"]["schemas"][schema]["properties"]:
            assert f"<code>{key}</code>" in text
    assert re.findall(r"<script[^>]*>(.*?)</script>", text) == [""]
    assert not re.search(r"<[^>]* style=", page.text)
    assert page.headers["Content-Security-Policy"].startswith(
        "default-src 'none'; script-src 'self'; style-src 'self'; font-src"
    )
    assert "form-action 'none'" in page.headers["Content-Security-Policy"]
    assert "://" not in text.replace(f"{contract['servers'][0]['url']}", "")
