"""How much of a file that is being sent by scp is on the host's disk, which the protocol itself does not tell."""

import time
from contextlib import suppress
from shlex import quote

from paramiko import Channel

from data_mover.backends.ssh.connection import SshConnection
from data_mover.domain.errors import ConnectionLost, Stalled

#: Takes how much there must be, brings it to disk if it is there, and tells how much there is.
_COMMAND = """
while read -r wanted; do
    there=$(stat -c %s -- {name}) || exit
    [ "$there" -lt "$wanted" ] || sync {name} 2>/dev/null
    echo "$there"
done"""


class ScpSyncs:
    """A shell on the host, beside the command that takes the bytes. Where it does not start or does not answer, nothing
    counts as being on disk."""

    def __init__(self, connection: SshConnection, realpath: str) -> None:
        self._connection = connection
        self._command = _COMMAND.format(name=quote(realpath))
        self._channel: Channel | None = None
        self._wanted_bytes = 0
        self._synced_bytes = 0
        self._heard = b""
        self._given_up = False

    def begin(self, end_bytes: int) -> None:
        """From now on `look` says when so much is on disk."""
        self._wanted_bytes = end_bytes
        with suppress(ConnectionLost, Stalled):
            if self._channel is None and not self._given_up:
                self._channel = self._connection.start(self._command)
            if self._channel is not None:
                self._ask(self._channel)

    def look(self) -> int:
        """How much is on disk, without waiting."""
        channel = self._channel
        if channel is not None and channel.recv_ready() and self._wanted_bytes > self._synced_bytes:
            with suppress(ConnectionLost, Stalled):
                self._hear(channel)
        return self._synced_bytes

    def wait(self, timeout_seconds: float) -> int:
        """Return how much is on disk, once that is what was asked for; a shell that does not answer is given up."""
        deadline = time.monotonic() + timeout_seconds
        with suppress(ConnectionLost, Stalled):
            while self._channel is not None and self._synced_bytes < self._wanted_bytes:
                self._channel.settimeout(max(0.01, deadline - time.monotonic()))
                self._hear(self._channel)
        if self._synced_bytes < self._wanted_bytes:
            self.close()
            self._channel, self._given_up = None, True
        return self._synced_bytes

    def close(self) -> None:
        if self._channel is not None:
            self._connection.end(self._channel)

    def _hear(self, channel: Channel) -> None:
        """The host may not have all yet of what the network has taken: then it is asked again."""
        with self._connection.mapping_errors():
            self._heard += channel.recv(100)
        number, end, self._heard = self._heard.partition(b"\n")
        if not end:
            self._heard = number
        elif number.isdigit() and int(number) >= self._wanted_bytes:
            self._synced_bytes = self._wanted_bytes
        else:
            self._ask(channel)

    def _ask(self, channel: Channel) -> None:
        with self._connection.mapping_errors():
            channel.sendall(f"{self._wanted_bytes}\n".encode())
