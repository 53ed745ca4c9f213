"""Print the needs and the costs of a deployment on AWS under a load, and the limits that it meets.

    python -m bench.capacity --environment prod --requests-per-second 0 10 1000

Each rate has a column. What it needs beyond the maxima of the environment is priced as if they were raised. Prices are list
prices of us-east-1. devtools/capacity has the computation, with the source of each figure.
"""

import argparse
from collections.abc import Sequence

from devtools.capacity import Load, LoadError, ResultsError, as_json, as_text, capacity
from stacks.environment import CHOICES, Environment
from stacks.values import ContextError

_DEPLOYABLE = {"plain_http": "true", "pages_nobody": "true"}
"""Values with which a file is valid before its domain and its recipient of alarms are filled in."""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.capacity", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests-per-second", type=float, nargs="+", default=[10.0], metavar="N", help="rates; default: 10")
    parser.add_argument("--megapixels", type=float, default=Load.megapixels, metavar="M", help="of each image; default: 2")
    parser.add_argument(
        "--image-bytes", type=int, default=0, metavar="BYTES", help="of each image; default: those of a JPEG of quality 95"
    )
    parser.add_argument(
        "--hit-share", type=float, default=0.0, metavar="H", help="requests with stored art, 0 to 1; default: 0"
    )
    parser.add_argument("--style", default=Load.style, help="structure or ramp; default: structure")
    parser.add_argument("--environment", default="prod", metavar="NAME", help="a file of environments/; default: prod")
    parser.add_argument("--worker", choices=CHOICES["worker"], help="default: that of the environment")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args(arguments)
    overrides = _DEPLOYABLE | ({"worker": given.worker} if given.worker else {})
    try:
        environment = Environment.load(given.environment, overrides)
        found = [
            capacity(
                Load(
                    requests_per_second=rate,
                    megapixels=given.megapixels,
                    image_bytes=given.image_bytes,
                    hit_share=given.hit_share,
                    style=given.style,
                ),
                environment,
            )
            for rate in given.requests_per_second
        ]
    except (ContextError, LoadError, ResultsError) as error:
        parser.error(str(error))
    print(as_json(found) if given.json else as_text(found))


if __name__ == "__main__":
    main()
