"""How much of a file that is being sent by scp is on the host's disk, which the protocol itself does not report."""

import time
from contextlib import suppress
from shlex import quote

from paramiko import Channel

from data_mover.backends.ssh.connection import SshConnection
from data_mover.domain.errors import ConnectionLost, Stalled

#: reads how many bytes there must be, syncs the file once they are there, and prints how many there are
_COMMAND = """
while read -r expected; do
    there=$(stat -c %s -- {name}) || exit
    [ "$there" -lt "$expected" ] || sync {name} 2>/dev/null
    echo "$there"
done"""


class ScpSyncs:
    """A shell on the host, beside the command that receives the bytes. If it does not start or does not answer, nothing
    counts as being on disk."""

    def __init__(self, connection: SshConnection, realpath: str) -> None:
        self._connection = connection
        self._command = _COMMAND.format(name=quote(realpath))
        self._channel: Channel | None = None
        self._requested_bytes = 0
        self._synced_bytes = 0
        self._heard = b""
        self._given_up = False

    def begin(self, end_bytes: int) -> None:
        """Request a sync up to this byte; `look` then returns when it is done."""
        self._requested_bytes = end_bytes
        with suppress(ConnectionLost, Stalled):
            if self._channel is None and not self._given_up:
                self._channel = self._connection.start(self._command)
            if self._channel is not None:
                self._ask(self._channel)

    def look(self) -> int:
        """Return how much is on disk, without waiting."""
        channel = self._channel
        if channel is not None and channel.recv_ready() and self._requested_bytes > self._synced_bytes:
            with suppress(ConnectionLost, Stalled):
                self._hear(channel)
        return self._synced_bytes

    def wait(self, timeout_seconds: float) -> int:
        """Wait until what was requested is on disk; return how much is. A shell that does not answer is given up."""
        deadline = time.monotonic() + timeout_seconds
        with suppress(ConnectionLost, Stalled):
            while self._channel is not None and self._synced_bytes < self._requested_bytes:
                self._channel.settimeout(max(0.01, deadline - time.monotonic()))
                self._hear(self._channel)
        if self._synced_bytes < self._requested_bytes:
            self.close()
            self._channel, self._given_up = None, True
        return self._synced_bytes

    def close(self) -> None:
        if self._channel is not None:
            self._connection.end(self._channel)

    def _hear(self, channel: Channel) -> None:
        """Read the answer. The host may not have received everything yet: then ask again."""
        with self._connection.mapping_errors():
            self._heard += channel.recv(100)
        number, end, self._heard = self._heard.partition(b"\n")
        if not end:
            self._heard = number
        elif number.isdigit() and int(number) >= self._requested_bytes:
            self._synced_bytes = self._requested_bytes
        else:
            self._ask(channel)

    def _ask(self, channel: Channel) -> None:
        with self._connection.mapping_errors():
            channel.sendall(f"{self._requested_bytes}\n".encode())
