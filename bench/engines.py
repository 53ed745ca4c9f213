"""Engines that draw art, by name:

structure                 a style of asciist
structure+invert=auto     with options
structure@FOLDER          as another checkout draws it
chafa                     a peer of bench/peers.py
module:function           a function (file, columns, rows) -> text
"""

import importlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from bench.peers import PEERS, installed_version

Draw = Callable[[Path, int, int], tuple[str, bool]]
"""Draws an image file: (file, columns, rows) -> (art, whether it is dark on light)."""

_WORKER: Final = """
import json, sys
from asciist import conversion
from asciist.art import forms
from asciist.limits import Limits
from asciist.options import ConversionOptions
for line in sys.stdin:
    file, values = json.loads(line)
    options = ConversionOptions(**values)
    with open(file, "rb") as image:
        image = conversion.decode(conversion.open_image(image.read(), options, Limits()))
    art = forms.text(conversion.render(image, options), forms.of_colour("none"))
    print(json.dumps([art, conversion.resolve(image, options).invert is True]), flush=True)
"""


@contextmanager
def engine(name: str) -> Iterator[Draw | None]:
    """Yield the function that draws for an engine; None if it is a peer that is not installed."""
    peer = next((peer for peer in PEERS if peer.name == name), None)
    if peer:
        is_there = installed_version(peer) is not None
        yield (lambda *place: (peer.draw(*place), peer.dark_on_light)) if is_there else None
    elif ":" in name:
        module, _, function = name.partition(":")
        draw = getattr(importlib.import_module(module), function)
        yield lambda *place: (draw(*place), False)
    else:
        setting, _, folder = name.partition("@")
        style, *options = setting.split("+")
        pairs = (option.partition("=") for option in options)
        values = {key: _value(value) for key, _, value in pairs}
        with _checkout({"style": style} | values, folder or ".") as drawn:
            yield drawn


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


@contextmanager
def _checkout(options: dict[str, Any], folder: str) -> Iterator[Draw]:
    """Draw with the asciist of a folder, in a process of its own."""
    with subprocess.Popen(
        [sys.executable, "-c", _WORKER],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as worker:
        assert worker.stdin
        assert worker.stdout
        send, receive = worker.stdin, worker.stdout

        def draw(file: Path, columns: int, _rows: int) -> tuple[str, bool]:
            send.write(json.dumps([str(file), options | {"width": columns}]) + "\n")
            send.flush()
            art, dark_on_light = json.loads(receive.readline())
            return art, dark_on_light

        yield draw
