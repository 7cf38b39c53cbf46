"""Hosts that are reached by SFTP, version 3, with OpenSSH's extensions where the host has them."""

import stat
from posixpath import basename, dirname

from data_mover.errors import CannotReplace, IsADirectory, NoSuchFile, NotAllowed, NotARegularFile
from data_mover.protocols.base import Facts, Kind, NewFile, Reader, Writer
from data_mover.protocols.options import SshOptions
from data_mover.protocols.sftp_messages import Attributes, OpenFlags, Status
from data_mover.protocols.sftp_session import Refused, SftpSession
from data_mover.protocols.sftp_streams import SftpReader, SftpWriter
from data_mover.protocols.ssh import SshConnection
from data_mover.protocols.ssh_files import SshFiles


class SftpFiles(SshFiles):
    """The files of a host, over one channel of one connection."""

    def __init__(self, host: str, options: SshOptions, connection: SshConnection) -> None:
        super().__init__(host, options, connection)
        self._session = SftpSession(connection)
        self._real_directories: dict[str, str] = {}
        with self._session.told("/"):
            self._root = self._session.real_path(options.root)

    def facts(self, path: str) -> Facts | None:
        try:
            with self._session.told(path):
                return _facts(self._session.attributes(self._inside(path)))
        except NoSuchFile:
            return self._dangling(path)

    def open(self, path: str) -> Reader:
        facts = self.facts(path)
        if facts is None:
            raise NoSuchFile(self._name(path))
        if facts.kind is not Kind.FILE:
            raise (IsADirectory if facts.kind is Kind.DIRECTORY else NotARegularFile)(self._name(path))
        with self._session.told(path):
            handle = self._session.open(self._inside(path), OpenFlags.READ)
        return SftpReader(self._session, path, handle, facts)

    def create(self, path: str, new_file: NewFile) -> Writer:
        """Nobody else may read the file before it is committed."""
        with self._session.told(path):
            real = self._beside(path)
            flags = OpenFlags.WRITE | OpenFlags.CREATE | OpenFlags.EXCLUSIVE
            handle = self._session.open(real, flags, Attributes(mode=0o600))
        return SftpWriter(self._session, path, real, handle, new_file)

    def make_directories(self, path: str) -> None:
        facts = self.facts(path)
        if facts is not None and facts.kind is Kind.DIRECTORY:
            return
        if facts is not None or path == "/":
            raise NoSuchFile(f"{self._name(path)} is no directory")
        self.make_directories(dirname(path))
        with self._session.told(path):
            self._make_directory(path)

    def replace(self, path: str, final_path: str) -> None:
        with self._session.told(final_path):
            real, final = self._beside(path), self._beside(final_path)
            try:
                self._replace(real, final)
            except Refused as refused:
                if self._is_directory(final):
                    raise IsADirectory(self._name(final_path)) from refused
                raise

    def rename(self, path: str, free_path: str) -> None:
        with self._session.told(free_path):
            self._session.rename(self._beside(path), self._beside(free_path))

    def remove(self, path: str) -> None:
        with self._session.told(path):
            try:
                self._session.remove(self._beside(path))
            except Refused as refused:
                if refused.status != Status.NO_SUCH_FILE:
                    raise

    def sha256(self, path: str) -> str | None:
        with self._session.told(path):
            real = self._inside(path)
        return self._connection.sha256(real)

    def free_bytes(self, path: str) -> int | None:
        with self._session.told(path):
            return self._session.free_bytes(self._inside(path))

    def _replace(self, real: str, final: str) -> None:
        """Where nothing stands an ordinary rename is as atomic, and every host has it."""
        if self._session.replaces:
            try:
                return self._session.replace(real, final)
            except Refused as refused:
                if refused.status != Status.UNSUPPORTED:
                    raise
        if not self._stands(final):
            return self._session.rename(real, final)
        if self._is_directory(final):
            raise Refused(Status.FAILURE)
        raise CannotReplace(self.host)

    def _stands(self, real: str) -> bool:
        try:
            self._session.link_attributes(real)
        except Refused as refused:
            if refused.status != Status.NO_SUCH_FILE:
                raise
            return False
        return True

    def _is_directory(self, real: str) -> bool:
        return self._stands(real) and _facts(self._session.link_attributes(real)).kind is Kind.DIRECTORY

    def _make_directory(self, path: str) -> None:
        """One that somebody else has made meanwhile is fine."""
        try:
            self._session.make_directory(self._beside(path), self.options.directory_mode)
        except Refused:
            facts = self.facts(path)
            if facts is None or facts.kind is not Kind.DIRECTORY:
                raise

    def _inside(self, path: str) -> str:
        """The real path, links followed. NotAllowed where it leads out of the root."""
        real = self._session.real_path(f"{self._root.rstrip('/')}{path}")
        if real != self._root and not real.startswith(f"{self._root.rstrip('/')}/"):
            raise NotAllowed(self._name(path))
        return real

    def _beside(self, path: str) -> str:
        """The real path of the directory, asked once, and the name itself, not followed if it is a link."""
        directory = dirname(path)
        if directory not in self._real_directories:
            self._real_directories[directory] = self._inside(directory)
        return f"{self._real_directories[directory].rstrip('/')}/{basename(path)}"

    def _dangling(self, path: str) -> Facts | None:
        """A link that leads nowhere is something; where the directory is missing too, there is nothing."""
        try:
            with self._session.told(path):
                return _facts(self._session.link_attributes(self._beside(path)))
        except NoSuchFile:
            return None

    def _name(self, path: str) -> str:
        return f"{self.host}:{path}"


def _facts(attributes: Attributes) -> Facts:
    kinds = {stat.S_IFREG: Kind.FILE, stat.S_IFDIR: Kind.DIRECTORY}
    kind = kinds.get(stat.S_IFMT(attributes.mode or 0), Kind.OTHER)
    return Facts(kind, attributes.size_bytes or 0, float(attributes.modified_at or 0))
