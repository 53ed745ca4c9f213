"""Only one module uses Pillow's undocumented parts, and only with tested releases of Pillow."""

import ast
from collections.abc import Iterator
from pathlib import Path

import PIL

from asciist.conversion import pillow_internals

ROOT = Path(__file__).parents[2]
INTERNALS = Path(pillow_internals.__file__)

ATTRIBUTES = {
    "MAX_IMAGE_PIXELS",
    "_decoder",
    "_get_next",
    "_getexif",
    "_im",
    "_mode",
    "_open",
    "_size",
    "decoderconfig",
    "decodermaxblock",
    "fp",
    "im",
    "layer",
    "tile",
}


def product_modules_that_use_pillow() -> Iterator[Path]:
    for folder in ("asciist", "service", "lambda_worker"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if "PIL" in path.read_text() or "conversion" in path.parts:
                yield path


def uses_of_internals(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Attribute(attr=name) if name in ATTRIBUTES:
                yield f"{path.name}:{node.lineno} {name}"
            case ast.Constant(value=str(text)) if text in ATTRIBUTES or "ImagePlugin" in text:
                yield f"{path.name}:{node.lineno} {text!r}"
            case ast.ImportFrom(module=str(module), names=names) if module.split(".")[0] == "PIL":
                for name in [module, *(alias.name for alias in names)]:
                    if "ImagePlugin" in name or name.split(".")[-1].startswith("_"):
                        yield f"{path.name}:{node.lineno} {name}"


def test_pillows_internals_are_used_in_one_module_only() -> None:
    modules = list(product_modules_that_use_pillow())

    assert INTERNALS in modules
    assert [use for path in modules if path != INTERNALS for use in uses_of_internals(path)] == []


def test_the_scan_finds_the_uses_in_that_module() -> None:
    found = {use.split()[1] for use in uses_of_internals(INTERNALS)}

    assert {
        "MAX_IMAGE_PIXELS",
        "_decoder",
        "_get_next",
        "decodermaxblock",
        "fp",
        "im",
    } <= found


def test_the_installed_pillow_is_in_the_tried_range() -> None:
    installed = tuple(int(part) for part in PIL.__version__.split(".")[:3])

    assert pillow_internals.OLDEST_TRIED <= installed <= pillow_internals.NEWEST_TRIED
