"""Lambda function that converts a new image through the public address of a deployment, as a user
would.

It runs every minute, and fails if the service does. ASCIIST_URL contains the address.
"""

import os
from typing import Any

from operations.smoke import Smoke, SmokeError, run


def handler(_event: dict[str, Any], _context: object) -> None:
    """Entry point named in the function's configuration. Raises SmokeError, which Lambda counts."""
    smoke = Smoke(os.environ["ASCIIST_URL"], connect_to=os.environ.get("ASCIIST_CONNECT_TO", ""))
    if failed := run(smoke.conversion()):
        raise SmokeError(f"failed: {', '.join(failed)}")
