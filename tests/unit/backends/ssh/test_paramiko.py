"""What we rely on in paramiko beyond its documentation; a new version of it must pass here first."""

import inspect
import re
import threading
from typing import Any

import paramiko
import pytest
from paramiko.buffered_pipe import BufferedPipe
from paramiko.packet import Packetizer

from data_mover.backends.ssh.connection import CIPHERS, MACS


def test_a_channel_takes_views_and_has_the_events_that_we_wait_for():
    channel = paramiko.Channel(1)

    assert hasattr(channel.status_event, "wait")
    assert "memoryview" not in inspect.getsource(
        paramiko.Channel.sendall
    )  # it slices, which a view does without a copy
    assert paramiko.Message().add_string(memoryview(b"abc")).asbytes() == b"\0\0\0\3abc"


def test_what_comes_in_is_announced_by_an_event_that_reading_clears():
    buffer, event = paramiko.Channel(1).in_buffer, threading.Event()

    buffer.set_event(event)
    assert not event.is_set()
    buffer.feed(b"abc")
    assert event.is_set()
    buffer.read(2)
    assert event.is_set()
    buffer.read(2)
    assert not event.is_set()
    buffer.close()
    assert event.is_set()


def test_a_channel_is_bounded_before_its_host_hears_of_it():
    source = inspect.getsource(paramiko.Transport.open_channel)

    assert source.index("self._channels.put(chanid, chan)") < source.index("self._send_user_message(m)")


def test_our_ciphers_and_digests_are_offered():
    unused: Any = UnusedSocket()
    transport = paramiko.Transport(unused)
    security = transport.get_security_options()

    security.ciphers, security.digests = CIPHERS, MACS

    assert security.ciphers[0] == "aes128-gcm@openssh.com"
    assert not [name for name in (*security.ciphers, *security.digests) if "cbc" in name or "md5" in name]


def test_an_rsa_key_may_be_asked_for_by_its_safe_signatures_alone():
    unused: Any = UnusedSocket()
    security = paramiko.Transport(unused).get_security_options()

    security.key_types = ("rsa-sha2-512", "rsa-sha2-256")

    with pytest.raises(ValueError, match="unknown"):
        security.key_types = ("ssh-rsa",)


def test_what_our_packetizer_channel_and_pipe_replace_is_still_so():
    transport: Any = paramiko.Transport
    channel: Any = paramiko.Channel

    assert list(inspect.signature(Packetizer.set_outbound_cipher).parameters)[6:] == ["sdctr", "etm", "aead", "iv_out"]
    assert list(inspect.signature(Packetizer.set_inbound_cipher).parameters)[6:] == ["etm", "aead", "iv_in"]
    assert transport._preferred_compression == ("none",)
    assert "self.packetizer.send_message(data)" in inspect.getsource(transport._send_message)
    assert "self.in_buffer.feed(s)" in inspect.getsource(channel._feed)
    assert "self._wait_for_send_window(size)" in inspect.getsource(channel._send)
    assert {"REKEY_BYTES", "REKEY_BYTES_OVERFLOW_MAX", "_trigger_rekey", "need_rekey", "handshake_timed_out"} <= set(
        dir(Packetizer)
    )
    pipe = inspect.getsource(BufferedPipe)
    uses = {pipe[found.start() :].split("\n")[0] for found in re.finditer(r"self\._buffer\b(?!_)", pipe)}
    assert uses == {
        'self._buffer = array.array("B")',
        "self._buffer.frombytes(data)",
        "self._buffer[:limit].tobytes()",
        "self._buffer) > 0:",
        "self._buffer) == 0:",
        "self._buffer) == 0) and not self._closed:",
        "self._buffer) <= nbytes:",
        "self._buffer[:]",
        "self._buffer[:nbytes]",
        "self._buffer)",
    }


class UnusedSocket:
    def settimeout(self, seconds):
        pass

    def close(self):
        pass
