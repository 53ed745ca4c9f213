"""Digests of the art of every example, recorded for each engine version by `python -m
tests.conversion.goldens`.

The command refuses to record changed art for the same ENGINE_VERSION: the service would serve
stored art of that version beside the new art.
"""

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from asciist.conversion import ENGINE_VERSION, STYLES, ConversionOptions
from asciist.limits import Limits
from asciist.options import COLORS
from tools.testing.drawing import convert

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
FILE = Path(__file__).with_suffix(".json")


def options() -> Iterator[ConversionOptions]:
    for style in STYLES:
        yield from (ConversionOptions(width=width, style=style) for width in (40, 80, 200))
        yield from (
            ConversionOptions(width=60, style=style, color=color)
            for color in COLORS
            if color != "none"
        )
        yield ConversionOptions(width=60, style=style, color="ansi", paint="text")
        yield ConversionOptions(width=60, style=style, invert=True)
    yield ConversionOptions(width=60, style="blocks", color="ansi", shapes="quadrants")
    for style in ("structure", "ramp"):
        yield ConversionOptions(width=60, style=style, chars=" .oO@")
        yield ConversionOptions(width=60, style=style, chars="^@#")


def name_of(choice: ConversionOptions) -> str:
    others = [
        value
        for value, default in ((choice.paint, "cells"), (choice.shapes, "sextants"))
        if value != default
    ]
    parts = [
        choice.style,
        str(choice.width),
        choice.color,
        "inverted" * choice.invert,
        choice.chars,
        *others,
    ]
    return " ".join(filter(None, parts))


def images() -> list[Path]:
    return [image for image in sorted(EXAMPLES.iterdir()) if image.suffix != ".md"]


def digests_of(image: Path) -> dict[str, str]:
    """Return the SHA-256 digests of the art of an example, by `name_of` the options."""
    return {
        name_of(choice): (
            hashlib.sha256(convert(image.read_bytes(), choice, Limits()).encode()).hexdigest()
        )
        for choice in options()
    }


def digests() -> dict[str, dict[str, str]]:
    """Return the `digests_of` all examples, by file name."""
    return {image.name: digests_of(image) for image in images()}


def main() -> None:
    new = digests()
    old = json.loads(FILE.read_text()) if FILE.exists() else {"engine": 0, "art": {}}
    changed = [
        f"{image}: {name}"
        for image, arts in new.items()
        for name, digest in arts.items()
        if old["art"].get(image, {}).get(name, digest) != digest
    ]
    if changed and old["engine"] == ENGINE_VERSION:
        sys.exit(
            f"{len(changed)} goldens changed ({changed[0]} …): first raise ENGINE_VERSION, which is"
            f" {ENGINE_VERSION}"
        )
    FILE.write_text(json.dumps({"engine": ENGINE_VERSION, "art": new}, indent=1) + "\n")
    print(f"{FILE.name}: engine {ENGINE_VERSION}, {len(changed)} changed")


if __name__ == "__main__":
    main()
