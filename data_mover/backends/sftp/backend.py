"""Hosts that speak SFTP, version 3, with OpenSSH's extensions if the host has them."""

import stat
from collections.abc import Callable, Generator, Sequence
from posixpath import dirname
from types import TracebackType
from typing import NamedTuple

from data_mover.backends.api import Entry, FileStat, NewFile, Reader, Writer
from data_mover.backends.directory_cache import KnownDirectories
from data_mover.backends.futures import Line, complete
from data_mover.backends.sftp.channels import Channels
from data_mover.backends.sftp.listing import listed
from data_mover.backends.sftp.messages import Answer, Attributes, OpenFlags, Refused, Request, Status, text
from data_mover.backends.sftp.session import Moved, SftpSession
from data_mover.backends.sftp.streams import SftpReader, SftpWriter, is_small
from data_mover.backends.ssh.connection import SshConnection
from data_mover.backends.ssh.files import SshFiles
from data_mover.backends.ssh.options import SshOptions
from data_mover.domain.errors import (
    CannotReplace,
    HostFailed,
    IsADirectory,
    MoveFailure,
    NoRoot,
    NoSuchFile,
    NotAllowed,
    NotARegularFile,
    PermissionRefused,
)
from data_mover.domain.states import FileKind


class SftpFiles(SshFiles):
    """The files of a host, over one connection: on one channel, and on more for small files that it syncs slowly."""

    def __init__(self, host: str, options: SshOptions, connection: SshConnection) -> None:
        super().__init__(host, options, connection)
        self._session = SftpSession(connection)
        try:
            with self._session.mapping_errors("/"):
                self._root = self._session.realpath(options.root)
        except NoSuchFile as failure:
            raise NoRoot(host) from failure
        self._channels = Channels(connection, self._session)

    @property
    def lines(self) -> Sequence[Line]:
        return [session.requests for session in self._channels.sessions]

    @property
    def most_files(self) -> int:
        return self._session.most_files

    def serves_again(self) -> bool:
        return super().serves_again() and all(session.requests.is_usable for session in self._channels.sessions)

    def close(self) -> None:
        super().close()
        self._channels.close()

    def stat(self, path: str) -> FileStat | None:
        return complete(self.astat(path))

    async def astat(self, path: str) -> FileStat | None:
        found = await self._found(path)
        return found.stat if found else None

    def open(self, path: str) -> Reader:
        return complete(self.aopen(path))

    async def aopen(self, path: str) -> Reader:
        found = await self._found(path)
        if found is None:
            raise NoSuchFile(self._name(path))
        if found.stat.kind is not FileKind.FILE:
            raise (IsADirectory if found.stat.kind is FileKind.DIRECTORY else NotARegularFile)(self._name(path))
        with self._session.mapping_errors(path):
            handle = await self._session.aopen(found.realpath, OpenFlags.READ)
        return SftpReader(self._session, path, handle, found.stat, found.attributes)

    def list(self, path: str) -> Generator[Entry, None, None]:
        with self._session.mapping_errors(path):
            realpath = self._inside(path)
            if _stat(self._session.attributes(realpath)).kind is not FileKind.DIRECTORY:
                raise NoSuchFile(f"{self._name(path)} is no directory")
        yield from listed(self._session, path, realpath)

    def realpath(self, path: str) -> str:
        with self._session.mapping_errors(path):
            return self._inside(path).removeprefix(self._root.rstrip("/")) or "/"

    def create(self, path: str, new_file: NewFile) -> Writer:
        return complete(self.acreate(path, new_file))

    async def acreate(self, path: str, new_file: NewFile) -> Writer:
        """Create the file, readable only for its owner until it is committed."""
        session = self._channels.least_busy() if is_small(new_file) else self._session
        with self._making(path) as realpath:
            handle = await session.acreate(realpath, Attributes(mode=0o600))
        return SftpWriter(session, path, realpath, handle, new_file, on_synced=self._channels.synced)

    async def areopen(self, path: str, size_bytes: int) -> Reader:
        """Open the file without a request for its size: reading to the end and one byte further shows it."""
        with self._session.mapping_errors(path):
            handle = await self._session.aopen(self._beside(path), OpenFlags.READ)
        return SftpReader(self._session, path, handle, FileStat(FileKind.FILE, size_bytes, None))

    def resume(self, path: str, new_file: NewFile, offset_bytes: int) -> Writer:
        with self._session.mapping_errors(path):
            realpath = self._beside(path)
            attributes = self._itself(path, realpath)
            if attributes is None or _stat(attributes).kind is not FileKind.FILE:
                raise NotARegularFile(self._name(path))
            handle = self._session.reopen(realpath, attributes)
        return SftpWriter(self._session, path, realpath, handle, new_file, offset_bytes)

    def set_attributes(self, path: str, mode: int | None, modified_at: float | None) -> None:
        attributes = Attributes(mode=mode, modified_at=None if modified_at is None else int(modified_at))
        with self._session.mapping_errors(path):
            self._session.set_attributes(self._beside(path), attributes)

    def remove_directory(self, path: str) -> None:
        """Check first that it is a directory: some hosts remove a file, or what a link leads to."""
        if path == "/":
            raise PermissionRefused(self._name(path))
        self._known.forget(path)
        with self._session.mapping_errors(path):
            try:
                self._remove_directory(path, self._beside(path))
            except Refused as refused:
                if refused.status != Status.NO_SUCH_FILE:
                    raise

    def lock_name(self, path: str) -> str:
        with self._session.mapping_errors(path):
            return self._lock_name(self._beside(path))

    @property
    def replaces(self) -> bool:
        return self._session.replaces

    def replace(self, path: str, final_path: str) -> None:
        complete(self.areplace(path, final_path))

    async def areplace(self, path: str, final_path: str) -> None:
        self._known.forget(final_path)
        with self._making(final_path) as final:
            try:
                await self._replace(self._beside(path), final)
            except Refused as refused:
                if self._is_directory(final):
                    raise IsADirectory(self._name(final_path)) from refused
                raise

    def rename(self, path: str, free_path: str) -> None:
        complete(self.arename(path, free_path))

    async def arename(self, path: str, free_path: str) -> None:
        """Check first that the path is free: some hosts overwrite."""
        self._known.forget(path, free_path)
        with self._making(free_path) as free:
            if await self._astands(free):
                raise PermissionRefused(f"{self._name(free_path)} is there already")
            await self._session.rename(self._beside(path), free)

    def remove(self, path: str) -> None:
        complete(self.aremove(path))

    async def aremove(self, path: str) -> None:
        self._known.forget(path)
        with self._session.mapping_errors(path):
            try:
                await self._session.remove(self._beside(path))
            except Refused as refused:
                if refused.status != Status.NO_SUCH_FILE:
                    raise

    def sha256(self, path: str, first_bytes: int | None = None) -> str | None:
        with self._session.mapping_errors(path):
            realpath = self._inside(path)
            size_bytes = self._session.attributes(realpath).size_bytes
        return self._connection.sha256(realpath, size_bytes or 0, first_bytes)

    def may_write(self, path: str) -> bool | None:
        with self._session.mapping_errors(path):
            realpath = self._inside(path)
        return self._connection.may_write(realpath)

    def free_bytes(self, path: str) -> int | None:
        with self._session.mapping_errors(path):
            system = self._session.file_system(self._realpath_of_directory(path))
        return system.free_bytes if system else None

    def _making(self, path: str) -> "_Making":
        return _Making(self._session, self._known, path, self._beside)

    async def _replace(self, realpath: str, final: str) -> None:
        """Replace the file. If nothing is there, an ordinary rename is as atomic, and every host has it."""
        if self._session.replaces:
            try:
                return await self._session.replace(realpath, final)
            except Refused as refused:
                if refused.status != Status.UNSUPPORTED:
                    raise
        if not self._stands(final):
            return await self._session.rename(realpath, final)
        if self._is_directory(final):
            raise Refused(Status.FAILURE)
        raise CannotReplace(self.host)

    def _remove_directory(self, path: str, realpath: str) -> None:
        attributes = self._itself(path, realpath)
        if attributes is None or _stat(attributes).kind is not FileKind.DIRECTORY:
            raise NoSuchFile(f"{self._name(path)} is no directory")
        self._session.remove_directory(realpath)

    def _itself(self, path: str, realpath: str) -> Attributes | None:
        """Return the attributes, None for a link: some hosts report the target's all the same."""
        attributes = self._session.link_attributes(realpath)
        return attributes if self._inside(path) == realpath else None

    def _stands(self, realpath: str) -> bool:
        return complete(self._astands(realpath))

    async def _astands(self, realpath: str) -> bool:
        reply = await self._session.acall(Request.LSTAT, text(realpath))
        try:
            reply.answer(Answer.ATTRS)
        except Refused as refused:
            if refused.status != Status.NO_SUCH_FILE:
                raise
            return False
        return True

    def _is_directory(self, realpath: str) -> bool:
        return self._stands(realpath) and _stat(self._session.link_attributes(realpath)).kind is FileKind.DIRECTORY

    def _make_directory(self, path: str) -> None:
        with self._making(path) as realpath:
            try:
                self._session.make_directory(realpath, self.options.directory_mode)
            except Refused:
                file_stat = self.stat(path)
                if file_stat is None or file_stat.kind is not FileKind.DIRECTORY:
                    raise

    async def _found(self, path: str) -> "_Found | None":
        """Return what is at the path, links followed, None if it is missing."""
        try:
            with self._session.mapping_errors(path):
                realpath, reply = await self._session.located(f"{self._root.rstrip('/')}{path}")
                self._require_inside(path, realpath)
                attributes = Attributes.read(reply.answer(Answer.ATTRS))
                return _Found(realpath, attributes, _stat(attributes))
        except NoSuchFile:
            return self._dangling(path)

    def _inside(self, path: str) -> str:
        """Return the realpath. Raises NotAllowed if it leads out of the root."""
        realpath = self._session.realpath(f"{self._root.rstrip('/')}{path}")
        self._require_inside(path, realpath)
        return realpath

    def _require_inside(self, path: str, realpath: str) -> None:
        if realpath != self._root and not realpath.startswith(f"{self._root.rstrip('/')}/"):
            raise NotAllowed(self._name(path))

    def _fetch_realpath(self, path: str) -> str:
        return self._inside(path)

    def _dangling(self, path: str) -> "_Found | None":
        """Return a dangling link itself; None if there is none, or its directory is missing too."""
        try:
            with self._session.mapping_errors(path):
                realpath = self._beside(path)
                attributes = self._session.link_attributes(realpath)
                return _Found(realpath, attributes, _stat(attributes))
        except NoSuchFile:
            return None
        except HostFailed:  # some hosts report nothing else for a path below a file
            above = self.stat(dirname(path)) if path != "/" else None
            if above is None or above.kind is FileKind.DIRECTORY:
                raise
            return None


class _Making:
    """The context of a block that creates or renames something, entered with its realpath. After a failure nothing is
    known of the host's directories any more."""

    __slots__ = ("_beside", "_errors", "_known", "_path", "_session")

    def __init__(self, session: SftpSession, known: KnownDirectories, path: str, beside: Callable[[str], str]) -> None:
        self._session = session
        self._known = known
        self._path = path
        self._beside = beside

    def __enter__(self) -> str:
        with self._session.mapping_errors(self._path):
            realpath = self._beside(self._path)
        self._errors = self._session.mapping_write_errors(self._path, realpath)
        return realpath

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Refused | Moved | MoveFailure):
            self._known.forget_all()
        self._errors.__exit__(kind, error, trace)


class _Found(NamedTuple):
    """What is at a path: its realpath, the attributes that the host reports, and their stat."""

    realpath: str
    attributes: Attributes
    stat: FileStat


def _stat(attributes: Attributes) -> FileStat:
    """Return the stat. Raises Refused for a file whose size the host does not report: it must not count as empty."""
    kinds = {stat.S_IFREG: FileKind.FILE, stat.S_IFDIR: FileKind.DIRECTORY}
    kind = kinds.get(stat.S_IFMT(attributes.mode or 0), FileKind.OTHER)
    if kind is FileKind.FILE and attributes.size_bytes is None:
        raise Refused(Status.FAILURE)
    mode = None if attributes.mode is None else attributes.mode & 0o777
    return FileStat(kind, attributes.size_bytes or 0, float(attributes.modified_at or 0), mode=mode)
