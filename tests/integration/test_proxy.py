"""The proxy that other tests put between two parts does what it is asked."""

import socket
import threading

import pytest

from tests.servers.processes import eventually
from tests.servers.proxy import Fault, proxy


@pytest.fixture
def heard():
    """What the server hears."""
    return bytearray()


@pytest.fixture
def network(heard):
    """A proxy to a server that sends back what it hears."""

    def serve():
        while True:
            try:
                connected, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=echo, args=(connected,), daemon=True).start()

    def echo(connected):
        with connected:
            try:
                while piece := connected.recv(65536):
                    heard.extend(piece)
                    connected.sendall(piece)
            except OSError:
                return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        with proxy(listener.getsockname()[1]) as network:
            yield network
        listener.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def client(network):
    with socket.create_connection(("127.0.0.1", network.port), timeout=10) as client:
        yield client


def echoed(client, data):
    client.sendall(data)
    answer = bytearray()
    while len(answer) < len(data):
        piece = client.recv(65536)
        if not piece:
            break
        answer += piece
    return bytes(answer)


def test_bytes_pass_and_are_counted(network, client):
    assert echoed(client, bytes(100_000)) == bytes(100_000)

    assert (network.sent_bytes, network.received_bytes) == (100_000, 100_000)


def test_a_connection_is_cut_after_so_many_bytes_and_the_next_one_works(network, client, heard):
    network.strike(Fault.CUT, after_bytes=1000)

    assert echoed(client, bytes(5000)) in (b"", bytes(1000))

    eventually(lambda: len(heard) == 1000, "the server has heard what passed")
    with socket.create_connection(("127.0.0.1", network.port), timeout=10) as another:
        assert echoed(another, bytes(10)) == bytes(10)


def test_a_connection_is_reset(network, client):
    network.strike(Fault.RESET)

    with pytest.raises(ConnectionResetError):
        echoed(client, bytes(10))


def test_what_is_swallowed_comes_late(network, client):
    network.strike(Fault.SWALLOW)
    client.sendall(b"1")
    client.settimeout(0.2)
    with pytest.raises(TimeoutError):
        client.recv(1)

    network.heal()

    client.settimeout(10)
    assert client.recv(1) == b"1"


def test_a_slow_way_passes_little_at_a_time(network, client, heard):
    network.strike(Fault.SLOW)
    client.sendall(bytes(100_000))

    eventually(lambda: heard, "something has passed")
    assert len(heard) <= 1000

    network.heal()
    eventually(lambda: len(heard) == 100_000, "everything has passed")


def test_one_bit_is_flipped(network, client):
    network.strike(Fault.FLIP, after_bytes=2)

    assert echoed(client, bytes(5)) == b"\0\0\1\0\0"
    assert echoed(client, bytes(5)) == bytes(5)
