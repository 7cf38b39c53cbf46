"""Resume a file that scp began: the protocol cannot, so the host's shell takes the bytes."""

from collections.abc import Iterator
from contextlib import contextmanager
from shlex import quote

from data_mover.backends.api import Block, Files, NewFile
from data_mover.backends.scp.streams import ScpUpload, refusal, touching
from data_mover.backends.ssh.connection import SshConnection
from data_mover.domain.errors import ConnectionLost, HostFailed, VerifyFailed

#: Opens the file without cutting anything off, goes to the offset, agrees with a NUL, and takes what comes.
_COMMAND = (
    "LC_ALL=C; export LC_ALL; "
    "{{ dd if=/dev/null bs=1 count=0 seek={offset} conv=notrunc 2>/dev/null && printf '\\000' >&3 && exec cat 3>&-; }} "
    "3>&1 1<>{name}"
)


class ScpContinuation(ScpUpload):
    """`cat` into the file from an offset on; mode and time are set at the end."""

    def __init__(
        self, files: Files, connection: SshConnection, path: str, real: str, new_file: NewFile, offset_bytes: int
    ) -> None:
        command = _COMMAND.format(offset=offset_bytes, name=quote(real))
        super().__init__(files, connection, path, real, new_file, command)
        self.acknowledged_bytes = offset_bytes
        self._require_begun()

    def write(self, block: Block) -> None:
        with self._heard_out():
            super().write(block)

    def commit(self) -> None:
        self._require_all()
        with self._heard_out(), self._connection.mapping_errors(self._path):
            if self._exit_status() != 0:
                raise HostFailed(f"{self._name}: its shell ended with an error")
        self._finish()
        self._bring_to_disk()

    def _require_begun(self) -> None:
        try:
            with self._heard_out(), self._connection.mapping_errors(self._path):
                self._require_consent()
        except ConnectionLost as lost:
            if self._connection.alive:
                raise HostFailed(f"{self._name}: its shell cannot resume a file") from lost
            raise

    def _finish(self) -> None:
        name = quote(self._real)
        output = self._connection.run(
            f"chmod {self._new_file.mode:04o} -- {name} && {touching(name, self._modified_at)} && stat -c %s -- {name}"
        )
        if output.status != 0 or output.text.strip() != str(self._size_bytes).encode():
            raise VerifyFailed(f"{self._name}: the file has not become what was announced")

    @contextmanager
    def _heard_out(self) -> Iterator[None]:
        """A command that ends early has said why."""
        try:
            yield
        except (ConnectionLost, HostFailed) as failure:
            if self._channel.recv_stderr_ready():
                raise refusal(self._channel.recv_stderr(1000), self._files.host, self._path) from failure
            raise
