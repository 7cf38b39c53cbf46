"""Who is served where there is no callers' file."""

import pytest

from data_mover.services.access import is_from_this_machine


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("127.0.0.1", "127.0.0.1:6543"),
        ("127.0.0.1", "localhost:6543"),
        ("::1", "[::1]:6543"),
        ("127.8.0.1", "LOCALHOST"),
    ],
)
def test_this_machine_is_served(address, host):
    assert is_from_this_machine({"REMOTE_ADDR": address, "HTTP_HOST": host})


def test_whoever_may_write_to_the_socket_is_served_but_no_proxy():
    over_the_socket = {"REMOTE_ADDR": "localhost", "data_mover.unix_socket": True}

    assert is_from_this_machine(over_the_socket)
    assert not is_from_this_machine({**over_the_socket, "HTTP_X_FORWARDED_FOR": "192.0.2.7"})


def test_a_program_that_sends_no_host_header_is_served():
    """Web pages cannot make a browser do so."""
    assert is_from_this_machine({"REMOTE_ADDR": "127.0.0.1"})


@pytest.mark.parametrize(
    "environ",
    [
        {"REMOTE_ADDR": "192.0.2.7", "HTTP_HOST": "localhost"},
        {"REMOTE_ADDR": "127.0.0.1", "HTTP_HOST": "evil.example.org"},
        {"REMOTE_ADDR": "127.0.0.1", "HTTP_HOST": "localhost.evil.example.org"},
        {"REMOTE_ADDR": "127.0.0.1", "HTTP_HOST": "[broken"},
        {"REMOTE_ADDR": "127.0.0.1", "HTTP_HOST": ""},
        {"REMOTE_ADDR": "192.0.2.7"},
        {"HTTP_HOST": "localhost"},
        {"REMOTE_ADDR": "127.0.0.1", "HTTP_HOST": "localhost", "HTTP_X_FORWARDED_FOR": "127.0.0.1"},
        {"REMOTE_ADDR": "127.0.0.1", "HTTP_HOST": "localhost", "HTTP_FORWARDED": "for=127.0.0.1"},
    ],
)
def test_others_are_not(environ):
    assert not is_from_this_machine(environ)
