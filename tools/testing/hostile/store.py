"""Generated files, cached on disk: generating all of them takes seconds, reading them a fraction.

The files of a module are cached in `.cache/` of the checkout, in a folder named after a hash of
everything that determines their bytes: the sources of the generators, Python and Pillow. A changed
generator therefore never reads files of an earlier one.
"""

import gzip
import pickle
import sys
from collections.abc import Callable, Iterable
from functools import cache
from hashlib import sha256
from pathlib import Path
from tempfile import NamedTemporaryFile

import PIL
from PIL import features

from tools.testing.hostile.cases import Case

FOLDER = Path(__file__).parents[3] / ".cache" / "hostile"


@cache
def key() -> str:
    """Return the hash used as the name of the folder."""
    here = Path(__file__).parent
    digest = sha256(
        f"{sys.version} {PIL.__version__}"
        f" {features.version('avif')} {features.version('zlib')}".encode()
    )
    for source in [*sorted(here.glob("*.py")), here.parent / "images.py"]:
        digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def stored(name: str, generate: Callable[[], Iterable[Case]]) -> tuple[Case, ...]:
    """Return the cached cases of this name; generate and store them first if necessary.

    Several processes may do so at once: each writes its own file and renames it.
    """
    path = FOLDER / key() / f"{name}.gz"
    try:
        with gzip.open(path) as file:
            read: tuple[Case, ...] = pickle.load(file)  # noqa: S301 - written below
        return read
    except FileNotFoundError:
        pass
    generated = tuple(generate())
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        NamedTemporaryFile(dir=path.parent, delete=False) as temporary,
        gzip.open(temporary, "wb", compresslevel=1) as file,
    ):
        pickle.dump(generated, file)
    Path(temporary.name).replace(path)
    return generated
