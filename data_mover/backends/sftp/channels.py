"""The channels of a connection on which small files are written: a host syncs the files of one after the other."""

import struct
from concurrent.futures import Future, ThreadPoolExecutor

from paramiko.ssh_exception import SSHException

from data_mover.backends.sftp.messages import Refused
from data_mover.backends.sftp.session import SftpSession
from data_mover.backends.ssh.connection import SshConnection
from data_mover.domain.errors import MoveFailure

#: a host that needs longer than this for the sync of a file gets files on several channels
SLOW_SECONDS = 0.0005
#: over how many files that is judged
FILES = 16
#: how many channels at most: a large file, and commands, need some as well
MOST = 4

#: why a host gives no further channel
_NO_CHANNEL = (MoveFailure, Refused, OSError, EOFError, SSHException, struct.error)


class Channels:
    """Begins with the session's own channel; others are opened in threads while syncs are slow."""

    def __init__(self, connection: SshConnection, session: SftpSession) -> None:
        self.sessions = [session]
        self._connection = connection
        self._most = min(MOST, connection.options.streams)
        self._openers: ThreadPoolExecutor | None = None
        self._opening: list[Future[SftpSession]] = []
        self._files, self._seconds = 0, 0.0

    def least_busy(self) -> SftpSession:
        """Return the session with the fewest requests in flight."""
        if self._opening:
            self._join()
        return min(self.sessions, key=lambda each: each.requests.in_flight)

    def synced(self, seconds: float) -> None:
        """Count a file whose sync took so long."""
        self._files, self._seconds = self._files + 1, self._seconds + seconds
        if self._files == FILES:
            if self._seconds / FILES > SLOW_SECONDS:
                self._grow()
            self._files, self._seconds = 0, 0.0

    def close(self) -> None:
        """Wait for the threads. Called once the connection is closed, which ends them."""
        if self._openers is not None:
            self._openers.shutdown()

    def _grow(self) -> None:
        """Begin to open as many channels as there are."""
        count = min(len(self.sessions), self._most - len(self.sessions))
        if count > 0 and not self._opening:
            self._openers = self._openers or ThreadPoolExecutor(MOST, "channel")
            self._opening = [self._openers.submit(SftpSession, self._connection) for _ in range(count)]

    def _join(self) -> None:
        """Add the channels that have been opened meanwhile."""
        for opening in [each for each in self._opening if each.done()]:
            self._opening.remove(opening)
            try:
                self.sessions.append(opening.result())
            except _NO_CHANNEL:
                self._most = len(self.sessions)
