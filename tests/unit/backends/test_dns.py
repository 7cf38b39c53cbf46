"""The addresses of a host, found in bounded time whatever the system's resolver does."""

import socket
import threading

import pytest

from data_mover.backends.dns import resolved
from data_mover.backends.ssh.options import SshAddress
from data_mover.domain.errors import HostUnreachable


def test_a_number_is_its_own_address():
    assert resolved("vis", SshAddress(address="127.0.0.1", port=22)) == [(socket.AF_INET, ("127.0.0.1", 22))]
    assert resolved("vis", SshAddress(address="[::1]", port=2222)) == [(socket.AF_INET6, ("::1", 2222, 0, 0))]


@pytest.mark.parametrize("address", ["host.invalid", "a" * 64 + ".example.org", "a..b"])
def test_a_name_that_nobody_has_or_can_have_is_unreachable(address):
    with pytest.raises(HostUnreachable, match="vis"):
        resolved("vis", SshAddress(address=address))


def test_a_resolver_that_does_not_answer_is_waited_for_no_longer_than_for_a_connection(monkeypatch):
    ended = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: ended.wait() and [])

    with pytest.raises(HostUnreachable, match="not found in time"):
        resolved("vis", SshAddress(address="vis.example.org", connect_timeout_seconds=0.1))
    ended.set()
