"""The needs and the costs of a deployment on AWS under a load, and the limits that it meets.

    environment = Environment.load("prod", {"plain_http": "true", "pages_nobody": "true"})
    needed = capacity(Load(requests_per_second=1000), environment)
    print(needed.web_instances, needed.usd_a_month, needed.limits[0].name)

`bench/capacity.py` is the command, and docs/operations.md quotes what it prints.
"""

from devtools.capacity.costs import Line
from devtools.capacity.limits import Limit
from devtools.capacity.model import Capacity, LoadError, capacity
from devtools.capacity.rendering import as_json, as_text
from devtools.capacity.sizing import Load
from devtools.capacity.tables import MEASURED, ResultsError

__all__ = ["MEASURED", "Capacity", "Limit", "Line", "Load", "LoadError", "ResultsError", "as_json", "as_text", "capacity"]
