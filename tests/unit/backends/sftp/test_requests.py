"""Framing and pairing of requests and replies, against a peer that is written out in bytes."""

import socket
import struct
import threading
from contextlib import contextmanager
from typing import Any

import pytest

from data_mover.backends.sftp.messages import Request, Status, string
from data_mover.backends.sftp.requests import SftpRequests

VERSION = struct.pack(">BI", 2, 3) + string(b"fsync@openssh.com") + string(b"1")


class SocketChannel(socket.socket):
    """A socket with the one method more that a paramiko channel has."""

    def recv_ready(self) -> bool:
        return False


def packet(content):
    return struct.pack(">I", len(content)) + content


def status(number, code):
    return packet(struct.pack(">BII", 101, number, code) + string(b"") + string(b""))


def as_channel(connected: SocketChannel) -> Any:
    """It has all of a channel that requests use."""
    return connected


@contextmanager
def session(*answers, limit=4):
    """Requests to a peer that says all its answers at once, whatever it is asked."""
    ours, theirs = socket.socketpair()
    channel = SocketChannel(fileno=ours.detach())
    channel.settimeout(0.5)
    theirs.settimeout(5)
    with channel, theirs:
        theirs.sendall(packet(VERSION) + b"".join(answers))
        yield SftpRequests(as_channel(channel), limit), theirs


def test_the_extensions_of_the_host_are_known():
    with session() as (requests, _):
        assert requests.extensions == {b"fsync@openssh.com": b"1"}


def test_replies_find_their_requests_in_any_order():
    with session(status(2, Status.FAILURE), status(1, Status.OK)) as (requests, _):
        first = requests.ask(Request.CLOSE, b"")
        second = requests.ask(Request.CLOSE, b"")

        assert requests.wait(first).status == Status.OK
        assert requests.wait(second).status == Status.FAILURE


def test_no_more_requests_than_the_limit_are_in_flight():
    answered = []
    with session(status(1, Status.OK), status(2, Status.OK), limit=2) as (requests, _):
        for _ in range(3):
            requests.send(Request.CLOSE, b"", lambda reply: answered.append(reply.status))

        assert answered == [Status.OK]


def test_draining_waits_for_every_reply_and_notes_the_failed_one():
    answered = []
    with session(*(status(number, Status.FAILURE * (number == 2)) for number in (1, 2, 3))) as (requests, _):
        for _ in range(3):
            requests.send(Request.CLOSE, b"", lambda reply: answered.append(reply.status))
        requests.drain()

    assert answered == [Status.OK, Status.FAILURE, Status.OK]


def test_a_block_arrives_behind_its_header_without_a_gap():
    block = bytes(range(256)) * 400
    received = bytearray()
    with session(status(1, Status.OK)) as (requests, peer):
        stream = peer.makefile("rb")
        reading = threading.Thread(target=lambda: received.extend(stream.read(9 + 13 + len(block))))
        reading.start()
        requests.send(Request.WRITE, b"head", lambda reply: None, memoryview(block))
        requests.drain()
        reading.join()
        stream.close()

    length, kind, number = struct.unpack_from(">IBI", received, 9)
    assert (length, kind, number) == (5 + 4 + len(block), Request.WRITE, 1)
    assert received[9 + 9 :] == b"head" + block


@pytest.mark.parametrize("nonsense", [b"Welcome to the machine", packet(b"\x65"), status(77, 0), b""], ids=ascii)
def test_what_is_not_sftp_ends_the_session_for_good(nonsense):
    with session(nonsense) as (requests, _):
        with pytest.raises((EOFError, TimeoutError)):
            requests.call(Request.CLOSE, b"")
        with pytest.raises(EOFError, match="broken"):
            requests.call(Request.CLOSE, b"")


def test_a_host_that_greets_with_text_does_not_speak_sftp():
    ours, theirs = socket.socketpair()
    with SocketChannel(fileno=ours.detach()) as channel, theirs:
        theirs.sendall(b"This service allows sftp connections only.\n")

        with pytest.raises(EOFError, match="does not speak SFTP"):
            SftpRequests(as_channel(channel), 4)
