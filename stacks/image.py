"""The image (AMI) of the instances: finds the newest one, and pins it.

    python -m stacks.image ENVIRONMENT

writes the id of the newest Amazon Linux 2023 into the file of an environment. The next deployment
replaces the instances.
"""

import argparse
import re
import sys
from typing import Final

from stacks.environment import ENVIRONMENTS, read
from stacks.values import ContextError

NEWEST: Final = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-{architecture}"
"""Name of the public parameter in Systems Manager with the id of the newest image."""

_PINNED: Final = re.compile(r'^image = "[^"\n]*"', re.MULTILINE)


def pin_newest(name: str) -> tuple[str, str]:
    """Write the newest image into an environment's file, and return the ids of the old and the new
    one.

    Calls AWS with the credentials and the region of the process. Raises ContextError.
    """
    import boto3  # noqa: PLC0415 - the stacks, which import this module, do not need it

    file, values = ENVIRONMENTS / f"{name}.toml", read(name)
    parameter = NEWEST.format(architecture=values.get("architecture", "arm64"))
    newest = str(boto3.client("ssm").get_parameter(Name=parameter)["Parameter"]["Value"])
    text, replaced = _PINNED.subn(f'image = "{newest}"', file.read_text())
    if replaced != 1:
        raise ContextError(f"environments/{name}.toml has no line that begins with image =")
    file.write_text(text)
    return str(values.get("image", "")), newest


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m stacks.image", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("environment", help="name of a file of environments/, such as prod")
    name = parser.parse_args().environment
    try:
        old, new = pin_newest(name)
    except ContextError as error:
        sys.exit(f"asciist: {error}")
    print(
        f"environments/{name}.toml: image"
        f" {new} {'is the newest' if old == new else 'instead of ' + (old or 'none')}"
    )


if __name__ == "__main__":
    main()
