"""Reads of links under attack: the cost of clients that do not read, for the server and others."""

import io
import json
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import numpy as np
import pytest
from PIL import Image

from tests.processes import gone
from tests.serving import Server
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

FRAMES = 100
ADDRESS = "/?width=40&height=20&fit=fill&color=ansi&style=blocks&animate=true"
CLIENTS = 300
MAX_MEGABYTES = 250  # 870 MB with the third of the clients, when each had an animation of its own


def noise() -> bytes:
    """An animation of which every cell changes in every frame."""
    random = np.random.default_rng(1)
    frames = [
        Image.fromarray(random.integers(0, 255, (80, 100, 3), dtype=np.uint8))
        for _ in range(FRAMES)
    ]
    file = io.BytesIO()
    frames[0].save(file, "WEBP", save_all=True, append_images=frames[1:], duration=60, quality=10)
    return file.getvalue()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("store"), ASCIIST_WORKERS="1")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def link(server: Server) -> str:
    """The link of an animation of noise."""
    status, body = server.request("PUT", ADDRESS, noise(), Accept="application/json")
    assert status == 200
    url = json.loads(body)["url"]
    return f"/{url.split('/', 3)[3]}"


@pytest.mark.parametrize("suffix", ["", ".json"])
def test_clients_that_do_not_read_cost_a_bounded_amount_of_memory(
    server: Server, link: str, cat: bytes, suffix: str
) -> None:
    server.request("PUT", "/?width=40", cat)
    before = server.megabytes()
    with ExitStack() as clients:
        for number in range(CLIENTS):
            client = clients.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", server.port))
            client.sendall(f"GET {link}{suffix}?a={number} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        client.recv(1, socket.MSG_PEEK)  # the last one has its answer, or has been cut off
        assert server.megabytes() - before < MAX_MEGABYTES
        assert server.request("GET", "/healthz")[0] == 200
        assert server.request("PUT", "/?width=41", cat)[0] == 200
    assert server.tracebacks == []


def test_a_renderer_that_is_killed_costs_no_more_than_the_answer(server: Server, link: str) -> None:
    assert server.request("GET", f"{link}.png")[0] == 200
    (renderer,) = server.processes("adapters.renderer")
    os.kill(renderer, signal.SIGKILL)
    wait_until(lambda: gone([renderer]))

    statuses = [server.request("GET", f"{link}.{suffix}")[0] for suffix in ("html", "html")]
    assert statuses[1] == 200
    assert set(statuses) <= {503, 200}
