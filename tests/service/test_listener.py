"""A web process takes on a burst of connections quickly, and begins their uploads few at a time."""

import socket
import sys
from collections.abc import Iterator

import gevent
import pytest
from gevent import socket as gevent_socket

from service.listener import Listener, Turns, waiting


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with gevent_socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        yield listener


def connections(listener: socket.socket, count: int) -> list[socket.socket]:
    return [socket.create_connection(listener.getsockname()[:2]) for _ in range(count)]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux reports it")
def test_connections_that_wait_to_be_accepted_are_counted(listening: socket.socket) -> None:
    assert waiting(listening) == 0
    clients = connections(listening, 5)
    assert waiting(listening) == 5
    for client in clients:
        client.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux reports it")
@pytest.mark.parametrize(("processes", "accepted"), [(1, 9), (2, 4), (16, 1)])
def test_a_process_accepts_its_share_of_the_waiting_connections_in_one_turn(
    listening: socket.socket, processes: int, accepted: int
) -> None:
    clients = connections(listening, 9)
    handled: list[object] = []
    server = Listener(
        listening,
        handle=lambda client, _address: handled.append(client),
        make_room=lambda: False,
        processes=processes,
    )
    server.init_socket()
    server._do_read()
    gevent.sleep(0)

    assert len(handled) == accepted
    for client in clients:
        client.close()


def test_few_take_a_turn_before_arrived_data_is_served() -> None:
    reader, writer = gevent_socket.socketpair()
    order: list[str] = []
    turns = Turns(places=4)

    def upload(number: int) -> None:
        turns.take()
        order.append(str(number))

    def other() -> None:
        gevent_socket.wait_read(reader.fileno())
        order.append("other")

    waiter = gevent.spawn(other)
    gevent.sleep(0)
    uploads = [gevent.spawn(upload, number) for number in range(100)]
    writer.send(b"x")
    gevent.joinall([waiter, *uploads], raise_error=True)

    assert order.index("other") <= 8
    assert [name for name in order if name != "other"] == [str(number) for number in range(100)]
    reader.close()
    writer.close()
