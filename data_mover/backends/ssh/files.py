"""What the files of `sftp` and `scp` hosts share: the connection, and the cache of directories."""

from abc import abstractmethod
from posixpath import basename, dirname
from typing import Self

from data_mover.backends.api import Files
from data_mover.backends.directory_cache import KnownDirectories
from data_mover.backends.options import HostOptions
from data_mover.backends.ssh.connection import SshConnection
from data_mover.backends.ssh.options import SshOptions
from data_mover.domain.errors import NoRoot, NoSuchFile
from data_mover.domain.states import FileKind


class SshFiles(Files):
    """The files of a host at the other end of an SSH connection."""

    def __init__(self, host: str, options: SshOptions, connection: SshConnection) -> None:
        self.host = host
        self.options = options
        self._connection = connection
        self._known = KnownDirectories()

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

    def make_directories(self, path: str) -> None:
        missing = []
        while not self._is_there(path):
            missing.append(path)
            path = dirname(path)
        for each in reversed(missing):
            self._make_directory(each)
            self._known.remember_there(each)

    def serves_again(self) -> bool:
        self._known.forget_all()
        return self._connection.alive

    def abort(self) -> None:
        self._connection.abort()

    def close(self) -> None:
        self._connection.close()

    @abstractmethod
    def _make_directory(self, path: str) -> None:
        """Create the directory in an existing one. A directory that exists meanwhile is fine."""

    @abstractmethod
    def _fetch_realpath(self, path: str) -> str:
        """Return the realpath of a directory on the host. Raises NotAllowed if it leads out of the root."""

    def _is_there(self, path: str) -> bool:
        """Whether the directory exists. Raises NoSuchFile if something else is there, NoRoot if there is no root."""
        if self._known.is_there(path):
            return True
        file_stat = self.stat(path)
        if file_stat is None and path != "/":
            return False
        if file_stat is None or file_stat.kind is not FileKind.DIRECTORY:
            raise NoRoot(self.host) if path == "/" else NoSuchFile(f"{self._name(path)} is no directory")
        self._known.remember_there(path)
        return True

    def _realpath_of_directory(self, path: str) -> str:
        """Return the cached realpath of the directory, else fetch it."""
        return self._known.realpath(path) or self._known.remember_realpath(path, self._fetch_realpath(path))

    def _beside(self, path: str) -> str:
        """Return the realpath of the directory, which is cached, with the name itself, not followed if it is a link."""
        return f"{self._realpath_of_directory(dirname(path)).rstrip('/')}/{basename(path)}".rstrip("/") or "/"

    def _lock_name(self, realpath: str) -> str:
        """Return the lock name of a realpath: the same for all hosts with this address and port."""
        return f"{self._connection.options.address}:{self._connection.options.port}{realpath}"

    def _name(self, path: str) -> str:
        return f"{self.host}:{path}"
