"""Files and functions of the product and its tools keep within their size limits; the product names
no development folder; no module imports itself through others."""

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parent.parent
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
PRODUCT = ("asciist", "service", "lambda_worker", "stacks", "operations")
DEVELOPMENT = ("tools", "tests", "bench", "devtools")

# Larger files and functions that existed when the limits were introduced, with their lines then.
# They may shrink and must not grow; remove an entry that keeps to the limit.
LARGER_FILES = {
    "asciist/adapters/local_store/database.py": 454,
    "asciist/cli/commands.py": 443,
    "asciist/protocol/requester.py": 481,
    "asciist/wiring.py": 440,
    "bench/drawings.py": 759,
    "bench/fidelity.py": 808,
    "bench/pictures.py": 679,
    "bench/scoring.py": 597,
    "bench/soak.py": 504,
    "operations/observability/alarms.py": 405,
    "operations/observability/datadog.py": 482,
    "operations/observability/panels.py": 527,
    "packages/asciist-migration/src/asciist_migration/shift/controller.py": 411,
    "packages/asciist-migration/src/asciist_migration/shift/judge.py": 411,
    "service/answers.py": 436,
    "service/openapi.py": 649,
    "stacks/bundles.py": 412,
    "tools/testing/hostile/avif.py": 552,
    "tools/testing/hostile/jpeg.py": 514,
    "tools/testing/hostile/png.py": 557,
    "tools/testing/hostile/tiff.py": 493,
    "tools/testing/load/engine.py": 445,
}
LARGER_FUNCTIONS = {
    "app.py:compose": 70,
    "bench/plots.py:load_plot": 67,
    "bench/soak.py:soak": 80,
    "bench/soak.py:report": 61,
    "service/__init__.py:create_app": 72,
    "service/examples.py:examples": 115,
    "service/examples.py:_conversions": 87,
    "service/openapi.py:_conversion_paths": 64,
    "service/openapi.py:_stored_paths": 85,
    "service/openapi.py:_answer_schemas": 76,
    "service/routes.py:blueprint": 78,
    "stacks/azure/gateway.py:__init__": 77,
    "stacks/azure/instances.py:__init__": 106,
    "stacks/azure/observability.py:_collect_logs": 87,
    "stacks/azure/program.py:compose": 74,
    "stacks/azure/storage.py:__init__": 64,
    "stacks/baking.py:baked_image": 108,
    "stacks/edge.py:_distribution": 73,
    "stacks/instances.py:__init__": 61,
    "stacks/storage.py:__init__": 88,
    "stacks/web.py:__init__": 96,
    "tools/testing/hostile/avif.py:corpus": 222,
    "tools/testing/hostile/bmp.py:corpus": 140,
    "tools/testing/hostile/gif.py:corpus": 138,
    "tools/testing/hostile/jpeg.py:corpus": 286,
    "tools/testing/hostile/png.py:corpus": 340,
    "tools/testing/hostile/polyglots.py:corpus": 67,
    "tools/testing/hostile/tiff.py:corpus": 222,
    "tools/testing/hostile/webp.py:corpus": 184,
}
RUN_IN_A_CHECKOUT = {
    # They run the commands of the checkout, or name them in messages.
    "operations/capacity/figures.py",
    "operations/deployment.py",
    "stacks/destroy.py",
}


@cache
def sources() -> dict[str, str]:
    """The text of each Python file outside the tests and documents, by its path."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    names = [name for name in listed if not re.match(r"(tests|docs|packages/[\w-]+/tests)/", name)]
    return {name: (ROOT / name).read_text() for name in names if (ROOT / name).exists()}


def lines_of_functions() -> Iterator[tuple[str, int]]:
    for name, text in sources().items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
                yield f"{name}:{node.name}", node.end_lineno - node.lineno + 1


def test_no_file_is_longer_than_its_limit() -> None:
    lines = {name: len(text.splitlines()) for name, text in sources().items()}

    assert len(lines) > 100
    assert {
        name: count
        for name, count in lines.items()
        if count > LARGER_FILES.get(name, MAX_FILE_LINES)
    } == {}
    assert [name for name in LARGER_FILES if lines.get(name, 0) <= MAX_FILE_LINES] == []


def test_no_function_is_longer_than_its_limit() -> None:
    lines: dict[str, int] = {}
    for name, count in lines_of_functions():
        lines[name] = max(count, lines.get(name, 0))

    assert {
        name: count
        for name, count in lines.items()
        if count > LARGER_FUNCTIONS.get(name, MAX_FUNCTION_LINES)
    } == {}
    assert [name for name in LARGER_FUNCTIONS if lines.get(name, 0) <= MAX_FUNCTION_LINES] == []


def test_no_string_of_the_product_names_a_module_or_file_of_development() -> None:
    """A string can name a module that an import contract does not see, such as the handler of a
    function."""
    folders = tuple(f"{folder}{mark}" for folder in DEVELOPMENT for mark in "./")
    named = [
        f"{name}: {node.value}"
        for name, text in sources().items()
        if name.startswith(tuple(f"{folder}/" for folder in PRODUCT))
        and name not in RUN_IN_A_CHECKOUT
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if node.value.startswith(folders)
    ]

    assert named == []


@pytest.mark.parametrize(
    "package", ["asciist", "service", "stacks", "operations", "bench", "tools"]
)
def test_no_module_imports_itself_through_others(package: str) -> None:
    graph = grimp.build_graph(package, cache_dir=None)
    circles = {
        frozenset((module, imported))
        for module in graph.modules
        for imported in graph.find_modules_directly_imported_by(module)
        if graph.chain_exists(importer=imported, imported=module)
    }

    assert circles == set()
