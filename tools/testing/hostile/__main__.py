"""Write the corpus as files: python -m tools.testing.hostile FOLDER."""

import re
import sys
from pathlib import Path

from tools.testing.hostile import corpus


def file_name(name: str) -> str:
    """Convert the name of a case to a file name valid on every file system."""
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")


def main() -> None:
    """Write every case, in a subfolder for each kind."""
    folder = Path(sys.argv[1])
    for case in corpus():
        path = folder / case.kind.value / file_name(case.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(case.image)
    sys.stdout.write(f"{len(corpus())} files in {folder}\n")


if __name__ == "__main__":
    main()
