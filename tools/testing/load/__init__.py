"""A load generator for HTTP servers on this machine, and measurements of their processes.

It uses little CPU, because it shares the machine with the server: one thread, one epoll, no copies
of request bodies. It sends HTTP/1.1 over raw sockets, and parses only the status and the length of
a response.

    requests = FreshJson(photograph, width=80)
    peak = closed_loop(port, requests, connections=32, seconds=3)
    overload = open_loop(port, requests, rate=3 * peak.goodput, seconds=8)
    print(overload.goodput, overload.refused.p50, overload.served.p99, overload.errors)
"""

from tools.testing.load.engine import ClosedLoop, OpenLoop, Tick, closed_loop, open_loop, run
from tools.testing.load.processes import ProcessTree, Usage, open_connections
from tools.testing.load.requests import (
    FreshJson,
    FreshUpload,
    Parts,
    RequestSource,
    fixed,
    json_request,
    several,
)
from tools.testing.load.results import REFUSALS, Latencies, Result, percentile
from tools.testing.load.slow import SlowClients, half_body, half_head

__all__ = [
    "REFUSALS",
    "ClosedLoop",
    "FreshJson",
    "FreshUpload",
    "Latencies",
    "OpenLoop",
    "Parts",
    "ProcessTree",
    "RequestSource",
    "Result",
    "SlowClients",
    "Tick",
    "Usage",
    "closed_loop",
    "fixed",
    "half_body",
    "half_head",
    "json_request",
    "open_connections",
    "open_loop",
    "percentile",
    "run",
    "several",
]
