"""Docstrings begin with what a thing is or does."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDERS = (
    "asciist",
    "bench",
    "docs",
    "lambda_worker",
    "operations",
    "packages",
    "service",
    "stacks",
    "tests",
    "tools",
)
RIDDLE = re.compile(r"(Of|That|What|Who|Whom|Whose|Whether|Those|Whoever|Whatever|Nobody)\b")


def docstrings(file: Path) -> Iterator[str]:
    """Strings that form a statement of their own: docstrings, including those of attributes."""
    for node in ast.walk(ast.parse(file.read_text())):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            yield (
                f"{file.relative_to(ROOT)}:{node.lineno}:"
                f" {node.value.value.strip().splitlines()[0]}"
            )


def test_no_docstring_opens_with_a_subordinate_clause() -> None:
    files = [file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py")] + [
        ROOT / "app.py"
    ]
    opening = [
        text for file in files for text in docstrings(file) if RIDDLE.match(text.split(": ", 1)[1])
    ]

    assert len(files) > 100
    assert opening == []
