"""SSH packets under AES-GCM: what paramiko seals we open, and the other way round."""

import os
import socket
from contextlib import closing

import paramiko
import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from paramiko.common import MSG_CHANNEL_DATA
from paramiko.message import Message
from paramiko.packet import NeedRekeyException, Packetizer
from paramiko.ssh_exception import SSHException

from data_mover.backends.ssh.packets import MOST_PACKET_BYTES, BurstPacketizer, ChannelData

KEY, NONCE = bytes(range(16)), b"\1\2\3\4" + b"\0" * 7 + b"\xff"


def sealing(packetizer):
    packetizer.set_outbound_cipher(AESGCM(KEY), 16, None, 16, b"", aead=True, iv_out=NONCE)
    return packetizer


def opening(packetizer):
    packetizer.set_inbound_cipher(AESGCM(KEY), 16, None, 16, b"", aead=True, iv_in=NONCE)
    return packetizer


@pytest.fixture
def ends():
    near, far = socket.socketpair()
    with closing(near), closing(far):
        for end in (near, far):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**21)
            end.settimeout(0.1)
        yield near, far


def message(content):
    whole = Message()
    whole.add_byte(b"\x62")
    whole.add_bytes(content)
    return whole


def data_message(number, data):
    whole = Message()
    whole.add_byte(b"\x5e")
    whole.add_int(number)
    whole.add_string(data)
    return whole


@pytest.mark.parametrize("size", [0, 1, 10, 11, 12, 15, 16, 17, 32_768, 200_000])
def test_paramiko_opens_what_we_have_sealed_and_the_other_way_round(ends, size):
    content = os.urandom(size)
    for writer, reader in ((BurstPacketizer, Packetizer), (Packetizer, BurstPacketizer)):
        sender, receiver = sealing(writer(ends[0])), opening(reader(ends[1]))

        for _ in range(3):
            sender.send_message(message(content))

        for _ in range(3):
            kind, read = receiver.read_message()
            assert (kind, read.get_remainder()) == (0x62, content)


def test_data_of_a_channel_becomes_packets_that_the_other_side_accepts(ends):
    data = os.urandom(300_000)

    sealing(BurstPacketizer(ends[0])).send_message(ChannelData(7, memoryview(data), 32_000))

    reader, found = opening(Packetizer(ends[1])), b""
    while len(found) < len(data):
        kind, read = reader.read_message()
        assert (kind, read.get_int()) == (MSG_CHANNEL_DATA, 7)
        piece = read.get_binary()
        assert len(piece) <= 32_000
        found += piece
    assert found == data


def test_data_of_a_channel_is_handed_to_it_in_order_and_other_messages_are_returned(ends):
    sender, receiver = sealing(Packetizer(ends[0])), opening(BurstPacketizer(ends[1]))
    receiver.find_channel = {7: paramiko.Channel(7)}.get
    for data in (b"one ", b"two"):
        sender.send_message(data_message(7, data))
    sender.send_message(data_message(8, b"for nobody"))

    kind, read = receiver.read_message()

    assert receiver.find_channel(7).in_buffer.read(100) == b"one two"
    assert (kind, read.get_int(), read.get_binary()) == (MSG_CHANNEL_DATA, 8, b"for nobody")


def test_without_aes_gcm_paramiko_itself_sends_the_data(ends):
    BurstPacketizer(ends[0]).send_message(ChannelData(7, memoryview(b"abcdef"), 4))

    reader = Packetizer(ends[1])
    assert [reader.read_message()[1].get_remainder()[8:] for _ in range(2)] == [b"abcd", b"ef"]


def test_a_packet_that_was_altered_is_refused(ends):
    between = socket.socketpair()
    sealing(Packetizer(between[0])).send_message(data_message(7, b"data"))
    sealed = bytearray(between[1].recv(1000))
    for end in between:
        end.close()
    sealed[-1] ^= 1
    ends[0].sendall(sealed)
    receiver = opening(BurstPacketizer(ends[1]))
    receiver.find_channel = {7: paramiko.Channel(7)}.get

    with pytest.raises(InvalidTag):
        receiver.read_message()
    assert not receiver.find_channel(7).in_buffer.read_ready()


@pytest.mark.parametrize("length", [0, 15, MOST_PACKET_BYTES + 1, 2**32 - 1])
def test_a_length_that_no_packet_has_is_refused_before_anything_is_read(ends, length):
    ends[0].sendall(length.to_bytes(4, "big"))

    with pytest.raises(SSHException, match="larger"):
        opening(BurstPacketizer(ends[1])).read_message()


def test_a_key_is_changed_in_time_whichever_way_the_bytes_flow(ends):
    class Eager(BurstPacketizer):
        REKEY_BYTES, REKEY_BYTES_OVERFLOW_MAX = 1000, 3000

    sender, receiver = sealing(Eager(ends[0])), opening(Eager(ends[1]))
    receiver.find_channel = {7: paramiko.Channel(7)}.get

    sender.send_message(message(bytes(100)))
    assert not sender.need_rekey()
    sender.send_message(ChannelData(7, memoryview(bytes(1000)), 32_000))
    assert sender.need_rekey()

    assert receiver.read_message()[0] == 0x62
    with pytest.raises(NeedRekeyException):
        receiver.read_message()
    with pytest.raises(NeedRekeyException):  # nothing comes, and it is due
        receiver.read_message()
    sender.send_message(message(bytes(1000)))
    with pytest.raises(SSHException, match="ignores"):
        sender.send_message(message(bytes(3000)))


def test_the_end_of_a_connection_and_a_packetizer_that_is_closed_end_the_reading(ends):
    receiver = opening(BurstPacketizer(ends[1]))
    ends[0].sendall(b"\0\0")
    ends[0].shutdown(socket.SHUT_WR)

    with pytest.raises(EOFError):
        receiver.read_message()
    receiver.close()
    with pytest.raises(EOFError):
        receiver.read_message()
