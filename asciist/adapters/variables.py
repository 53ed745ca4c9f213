"""Environment variables of the processes that this one starts for conversions and renderings."""

import os
import re
from typing import Final

_INTERPRETERS: Final = re.compile(
    r"GLIBC_TUNABLES|LANG|LC_\w+|LD_LIBRARY_PATH|LD_PRELOAD|MALLOC_\w+|OPENBLAS_\w+|PYTHON\w*"
)


def interpreter_variables() -> dict[str, str]:
    """Return the variables of this process that the interpreter and its libraries read. No secret
    is among them."""
    return {name: text for name, text in os.environ.items() if _INTERPRETERS.fullmatch(name)}
