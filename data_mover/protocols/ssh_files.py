"""What the files of `sftp` and `scp` hosts share: how they are connected to and let go."""

from typing import Self

from data_mover.protocols.base import Files
from data_mover.protocols.options import HostOptions, SshOptions
from data_mover.protocols.ssh import SshConnection


class SshFiles(Files):
    """The files of a host at the other end of an SSH connection."""

    def __init__(self, host: str, options: SshOptions, connection: SshConnection) -> None:
        self.host = host
        self.options = options
        self._connection = connection

    @classmethod
    def connect(cls, host: str, options: HostOptions) -> Self:
        if not isinstance(options, SshOptions):
            raise TypeError(f"{host} has no SSH options")
        connection = SshConnection.open(host, options)
        try:
            return cls(host, options, connection)
        except BaseException:
            connection.close()
            raise

    def _placed(self, real: str) -> str:
        """The name of a real path for all who reach the same port of the same address."""
        return f"{self._connection.options.address}:{self._connection.options.port}{real}"

    def abort(self) -> None:
        self._connection.abort()

    def close(self) -> None:
        self._connection.close()
