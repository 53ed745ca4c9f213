"""Peak memory of a conversion."""

import json
import subprocess
import sys

_PROGRAM = """
import json, pathlib, sys
sys.path.insert(0, ".")
from asciist.conversion import ConversionOptions, convert
from asciist.limits import Limits
convert(sys.stdin.buffer.read(), ConversionOptions(**json.loads(sys.argv[1])), Limits())
status = pathlib.Path("/proc/self/status").read_text()
print(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])
"""


def peak_bytes(image: bytes, **options: object) -> int:
    """Convert `image` in a new process and return the peak resident memory of that process, in
    bytes."""
    command = [sys.executable, "-c", _PROGRAM, json.dumps(options)]
    return 1024 * int(subprocess.run(command, input=image, capture_output=True, check=True).stdout)
