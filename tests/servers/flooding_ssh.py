"""An SSH server that lets everybody in and then sends on and on, without a look at the client's window."""

import getpass
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import paramiko
from paramiko.common import cMSG_CHANNEL_DATA
from paramiko.ssh_exception import SSHException

from tests.servers.openssh import SshServer, make_keys

#: what it sends if nobody stops it
FLOOD_BYTES = 2**27
_PIECE = bytes(2**15)


@dataclass
class Flood:
    """Where the server is, and how much it has sent."""

    server: SshServer
    sent_bytes: int = 0


class _Interface(paramiko.ServerInterface):
    """`way` is `send`, `send_stderr`, or `unopened`: into a channel that the client has asked for and not got yet."""

    def __init__(self, transport: paramiko.Transport, flood: Flood, way: str) -> None:
        self._transport = transport
        self._flood = flood
        self._way = way

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return paramiko.common.AUTH_SUCCESSFUL

    def check_channel_request(self, kind: str, chanid: int) -> int:
        if self._way == "unopened":
            self._pour(self._into_the_first_channel)
            return paramiko.common.OPEN_FAILED_RESOURCE_SHORTAGE
        return paramiko.common.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        channel.out_window_size = 2**60
        threading.Thread(target=self._pour, args=(getattr(channel, self._way),), daemon=True).start()
        return True

    def _pour(self, send) -> None:
        with suppress(OSError, EOFError, SSHException):
            while self._flood.sent_bytes < FLOOD_BYTES and self._transport.is_active():
                send(_PIECE)
                self._flood.sent_bytes += len(_PIECE)

    def _into_the_first_channel(self, piece: bytes) -> None:
        message = paramiko.Message()
        message.add_byte(cMSG_CHANNEL_DATA)
        message.add_int(0)
        message.add_string(piece)
        self._transport.packetizer.send_message(message)


@contextmanager
def flooding_server(directory: Path, way: str) -> Iterator[Flood]:
    """A server for one connection, in threads of the test's process."""
    host_key = make_keys(directory)

    def serve() -> None:
        with listener.accept()[0] as client:
            transport = paramiko.Transport(client)
            transport.add_server_key(paramiko.PKey.from_path(str(directory / "host_key")))
            with suppress(EOFError, SSHException):
                transport.start_server(threading.Event(), _Interface(transport, flood, way))
            transport.join(30)
            transport.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        server = SshServer(listener.getsockname()[1], getpass.getuser(), directory / "user_key", host_key, 0)
        flood = Flood(server)
        thread = threading.Thread(target=serve)
        thread.start()
        yield flood
        thread.join()
