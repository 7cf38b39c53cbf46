"""Writing a file on a host by its shell, which opens the file itself and receives the bytes: `scp -t` would open it by
its name once more, and follow a link that was put there meanwhile (decision record 0022)."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from posixpath import basename
from shlex import quote
from typing import cast

from data_mover.backends.api import Block, Files, NewFile, Writer
from data_mover.backends.scp.fsync import ScpSyncs
from data_mover.backends.scp.shell import DONE, NOT_A_FILE, NOT_DONE, failure_of
from data_mover.backends.scp.streams import refusal
from data_mover.backends.ssh.connection import LEAVE_SECONDS, SshConnection
from data_mover.domain.errors import ConnectionLost, HostFailed, VerifyFailed

_LATEST_TIME = 2**31 - 1
#: what the command sends once it is ready for the bytes
_READY = b"\0"

#: `{opening}` opens the file as descriptor 4. If the system has a name for an open file, the command uses that, and the
#: file must be the one that the path names, not one to which a link leads.
_COMMAND = """LC_ALL=C; export LC_ALL; umask 077
{opening} || exit {not_done}
file=/proc/self/fd/4
if [ -e "$file" ]; then
    [ "$(readlink "$file")" = "$(printf %s {realpath})" ] || exit {not_a_file}
else
    file={name}; [ ! -L "$file" ] || exit {not_a_file}
fi
[ -f "$file" ] || exit {not_a_file}
printf '\\000'
cat >&4 || exit
[ "$(stat -L -c %s -- "$file")" = {size} ] || exit {not_done}
chmod {mode:04o} -- "$file" && {touch} || exit
sync "$file" 2>/dev/null
exit {done}"""


class ScpWriter(Writer):
    """A command on the host that receives bytes until there are as many as were announced."""

    def __init__(
        self,
        files: Files,
        connection: SshConnection,
        path: str,
        realpath: str,
        new_file: NewFile,
        opening: str,
        offset_bytes: int = 0,
    ) -> None:
        """`opening` is a shell command that enters the directory and opens the file as descriptor 4."""
        self.acknowledged_bytes = offset_bytes
        self._files = files
        self._connection = connection
        self._path = path
        self._size_bytes = new_file.size_bytes or 0
        self._syncs = ScpSyncs(connection, realpath)
        command = _COMMAND.format(
            opening=opening,
            realpath=quote(realpath),
            name=quote(f"./{basename(realpath)}"),
            size=self._size_bytes,
            mode=new_file.mode,
            touch=touching('"$file"', new_file.modified_at),
            done=DONE,
            not_done=NOT_DONE,
            not_a_file=NOT_A_FILE,
        )
        self._channel = connection.start(command)
        with connection.ending_refused(self._channel), self._heard_out():
            self._require_ready()

    def write(self, block: Block) -> None:
        """Send the bytes. They count as acknowledged when the host's window has accepted them: the shell reports
        nothing before the end."""
        if self.acknowledged_bytes + len(block) > self._size_bytes:
            raise VerifyFailed(f"{self._name}: more than the announced {self._size_bytes} bytes")
        with self._heard_out():
            self._channel.sendall(cast("bytes", memoryview(block)))
        self.acknowledged_bytes += len(block)
        self.synced_bytes = self._syncs.look()

    def sync(self) -> None:
        self._syncs.begin(self.acknowledged_bytes)

    def wait_for_sync(self) -> None:
        self.synced_bytes = self._syncs.wait(self._files.options.patience_seconds(self._size_bytes))

    def commit(self) -> None:
        """End the command, which checks the size and sets mode and time."""
        if self.acknowledged_bytes != self._size_bytes:
            raise VerifyFailed(f"{self._name}: less than the announced {self._size_bytes} bytes")
        with self._heard_out():
            self._channel.shutdown_write()
            status = self._exit_status(self._files.options.patience_seconds(self._size_bytes))
            if status == NOT_DONE:
                raise VerifyFailed(f"{self._name}: the file has not become what was announced")
            if status != DONE:
                raise failure_of(status, self._name) or HostFailed(f"{self._name}: its shell ended with an error")

    def close(self) -> None:
        self._connection.end(self._channel)
        self._syncs.close()

    def _require_ready(self) -> None:
        answer = self._channel.recv(1)
        if answer == _READY:
            return
        if answer:
            raise ConnectionLost(f"{self._name}: the shell says something else than it is asked for")
        status = self._exit_status(self._files.options.idle_timeout_seconds)
        raise failure_of(status, self._name) or HostFailed(f"{self._name}: its shell cannot write a file")

    def _exit_status(self, timeout_seconds: float) -> int:
        if not self._channel.status_event.wait(timeout_seconds):
            raise TimeoutError
        if self._channel.exit_status == -1:  # the connection broke, or the host killed the command
            raise EOFError
        return self._channel.exit_status

    @contextmanager
    def _heard_out(self) -> Iterator[None]:
        """Raise the failure that a command which ended early has reported."""
        try:
            with self._connection.mapping_errors(self._path):
                yield
        except (ConnectionLost, HostFailed) as failure:
            if sentence := self._sentence():
                raise refusal(sentence, self._files.host, self._path) from failure
            raise

    def _sentence(self) -> bytes:
        """Return the error message of the command, which may arrive after its exit status."""
        with suppress(OSError):
            self._channel.settimeout(LEAVE_SECONDS)
            return self._channel.recv_stderr(1000)
        return b""

    @property
    def _name(self) -> str:
        return f"{self._files.host}:{self._path}"


def touching(name: str, modified_at: float) -> str:
    """Return the command that sets the modification time of the quoted name."""
    stamp = time.strftime("%Y%m%d%H%M.%S", time.gmtime(_in_range(modified_at)))
    return f"TZ=UTC0 touch -c -m -t {stamp} -- {name}"


def _in_range(modified_at: float) -> int:
    return min(max(int(modified_at), 0), _LATEST_TIME)
