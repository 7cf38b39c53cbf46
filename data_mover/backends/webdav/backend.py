"""Servers that speak WebDAV: files are their resources, directories their collections.

MOVE with `Overwrite: T` is never sent. By RFC 4918 (9.9.3) the server deletes what is there before it moves, servers do
so, and a directory would be deleted with its content.
"""

from collections.abc import Generator, Iterator
from contextlib import suppress
from posixpath import dirname
from typing import Self

from data_mover.backends.api import (
    BLOCK_BYTES,
    Block,
    Entry,
    Files,
    FileStat,
    NewFile,
    Reader,
    Writer,
    is_segment,
)
from data_mover.backends.directory_cache import KnownDirectories
from data_mover.backends.http.client import HttpConnection
from data_mover.backends.options import HostOptions
from data_mover.backends.webdav.client import WebdavClient
from data_mover.backends.webdav.propfind import DONE, continues, failure_of
from data_mover.domain.errors import (
    CannotReplace,
    ConnectionLost,
    HostFailed,
    IsADirectory,
    MoveFailure,
    NoRoot,
    NoSuchFile,
    NotARegularFile,
    PermissionRefused,
    SizeUnknown,
    SourceChanged,
    VerifyFailed,
)
from data_mover.domain.states import FileKind

#: what servers answer if the resource's directory is missing; Apache answers 400 if a file is on the way
_NO_DIRECTORY = (NoSuchFile, HostFailed)


class WebdavFiles(Files):
    """The resources of a server. It has no `sha256`, so files are read back, and reports no free space."""

    needs_size = True
    replaces = False

    def __init__(self, host: str, options: HostOptions, client: WebdavClient) -> None:
        self.host = host
        self.options = options
        self._client = client
        self._known = KnownDirectories()

    @classmethod
    def connect(cls, host: str, options: HostOptions) -> Self:
        return cls(host, options, WebdavClient.open(host, options))

    def stat(self, path: str) -> FileStat | None:
        try:
            found = self._client.resource(path)
        except _NO_DIRECTORY:
            if path != "/" and not self._is_directory(dirname(path)):
                return None
            raise
        return found.stat if found is not None else None

    def open(self, path: str) -> Reader:
        file_stat = self.stat(path)
        if file_stat is None:
            raise NoSuchFile(self.named(path))
        if file_stat.kind is FileKind.DIRECTORY:
            raise IsADirectory(self.named(path))
        if file_stat.kind is not FileKind.FILE:
            raise NotARegularFile(self.named(path))
        return _WebdavReader(self._client, path, file_stat)

    def list(self, path: str) -> Generator[Entry, None, None]:
        if not self._is_directory(path):
            raise NoSuchFile(f"{self.named(path)} is no directory")
        itself, is_listed = f"{self._client.root}{path}".rstrip("/"), False
        for each in self._client.members(path):
            if each.path.rstrip("/") == itself:
                is_listed = True
            else:
                yield _entry(each.path, f"{itself}/", each.stat)
        if not is_listed:
            raise HostFailed(f"{self.named(path)}: the server lists another directory")

    def create(self, path: str, new_file: NewFile) -> Writer:
        """Create the file. Checks first that its directory exists: a server may report that only after the whole
        file."""
        if new_file.size_bytes is None:
            raise SizeUnknown(self.named(path))
        if not self._is_directory(dirname(path)):
            self._known.forget_all()
            raise NoSuchFile(f"{self.named(path)}: there is no such directory")
        return _WebdavWriter(self._client, path, new_file.size_bytes, new_file.modified_at)

    def resume(self, path: str, new_file: NewFile, offset_bytes: int) -> Writer:
        """Raise NoSuchFile: no request appends to a file."""
        raise NoSuchFile(f"{self.named(path)} cannot be resumed")

    def make_directories(self, path: str) -> None:
        if self._known.is_there(path):
            return
        file_stat = self.stat(path)
        if file_stat is None and path != "/":
            self.make_directories(dirname(path))
            self._make_directory(path)
        elif file_stat is None or file_stat.kind is not FileKind.DIRECTORY:
            raise NoRoot(self.host) if path == "/" else NoSuchFile(f"{self.named(path)} is no directory")
        self._known.remember_there(path)

    def set_attributes(self, path: str, mode: int | None, modified_at: float | None) -> None:
        """Check that the directory exists: WebDAV cannot set mode or time of one."""
        if not self._is_directory(path):
            raise NoSuchFile(f"{self.named(path)} is no directory")

    def remove_directory(self, path: str) -> None:
        """Remove the directory if it is empty: the server would remove it with its content."""
        file_stat = self.stat(path)
        if file_stat is None:
            return
        if path == "/" or file_stat.kind is not FileKind.DIRECTORY:
            raise PermissionRefused(self.named(path))
        if next(self.list(path), None) is not None:
            raise HostFailed(f"{self.named(path)} is not empty")
        self._delete(f"{path}/")
        self._known.forget(path)

    def lock_name(self, path: str) -> str:
        url = self._client.url(path)
        return f"webdav:{url.authority}{url.path}"

    def replace(self, path: str, final_path: str) -> None:
        """Rename the file if the path is free: no server is known to replace a file atomically."""
        there = self.stat(final_path)
        if there is not None:
            raise (IsADirectory if there.kind is FileKind.DIRECTORY else CannotReplace)(self.named(final_path))
        self._move(path, final_path, CannotReplace)

    def rename(self, path: str, free_path: str) -> None:
        self._move(path, free_path, PermissionRefused)
        self._known.forget(path)

    def remove(self, path: str) -> None:
        """Remove the file. Refuses a directory: the server would remove it with its content."""
        file_stat = self.stat(path)
        if file_stat is None:
            return
        if file_stat.kind is FileKind.DIRECTORY:
            raise IsADirectory(self.named(path))
        self._delete(path)

    def abort(self) -> None:
        self._client.abort()

    def close(self) -> None:
        self._client.close()

    def _is_directory(self, path: str) -> bool:
        file_stat = self.stat(path)
        return file_stat is not None and file_stat.kind is FileKind.DIRECTORY

    def _make_directory(self, path: str) -> None:
        """Create the directory. 405 means that there is one already, or a file."""
        status = self._client.do("MKCOL", f"{path}/", {})
        if status not in DONE and not self._is_directory(path):
            raise failure_of(status, self.named(path))

    def _move(self, path: str, free_path: str, taken: type[MoveFailure]) -> None:
        """Rename. Raises NoSuchFile if another attempt has moved it meanwhile, which servers report also as their own
        failure.

        Checks the new path: some servers read some names wrongly in this request only.
        """
        file_stat = self.stat(path)
        if file_stat is None:
            raise NoSuchFile(self.named(path))
        slash = "/" if file_stat.kind is FileKind.DIRECTORY else ""
        headers = {"Destination": self._client.url(f"{free_path}{slash}").full, "Overwrite": "F"}
        patience_seconds = self.options.patience_seconds(file_stat.size_bytes or 0)
        status = self._client.do("MOVE", f"{path}{slash}", headers, patience_seconds)
        there = self.stat(free_path)
        if status in DONE:
            if there is None:
                raise HostFailed(f"{self.named(free_path)} is not where it was moved to")
            return
        if self.stat(path) is None:
            raise NoSuchFile(self.named(path))
        if status == 412 or there is not None:
            raise taken(f"{self.named(free_path)} is there already")
        raise failure_of(status, self.named(free_path))

    def _delete(self, path: str) -> None:
        status = self._client.do("DELETE", path, {})
        if status not in (*DONE, 404):
            raise failure_of(status, self.named(path))


def _entry(path: str, directory: str, file_stat: FileStat) -> Entry:
    """Return the entry. One outside of the directory gets the kind OTHER."""
    name = path.removeprefix(directory).rstrip("/")
    if not path.startswith(directory) or not is_segment(name):
        return Entry(name, FileKind.OTHER, None, None, None)
    return Entry(
        name,
        file_stat.kind,
        file_stat.size_bytes if file_stat.kind is FileKind.FILE else None,
        file_stat.modified_at,
        None,
    )


class _WebdavReader(Reader):
    def __init__(self, client: WebdavClient, path: str, file_stat: FileStat) -> None:
        self.stat = file_stat
        self._client = client
        self._path = path
        self._connection: HttpConnection | None = None

    def blocks(self, offset_bytes: int = 0) -> Iterator[Block]:
        """Yield the bytes; drop those before the offset. Sends no request for an empty file: Apache shows a pipe so,
        and would wait for a writer."""
        if offset_bytes >= (self.stat.size_bytes or 0):
            return
        name = f"{self._client.host}:{self._path}"
        headers = {"Range": f"bytes={offset_bytes}-"} if offset_bytes else {}
        with self._client.asked("GET", self._path, headers) as (connection, response):
            self._connection = connection
            if not continues(response, self.stat, offset_bytes, name):
                raise SourceChanged(name)
            before_bytes = offset_bytes if response.status == 200 else 0
            left_bytes = (self.stat.size_bytes or 0) - offset_bytes
            while block := connection.read(min(before_bytes, BLOCK_BYTES) or BLOCK_BYTES):
                if before_bytes:
                    before_bytes -= len(block)
                    continue
                left_bytes -= len(block)
                if left_bytes < 0:
                    raise HostFailed(f"{name}: more came than the server had announced")
                yield block

    def close(self) -> None:
        if self._connection is not None:
            self._client.release(self._connection)


class _WebdavWriter(Writer):
    """One request, whose body is the file."""

    def __init__(self, client: WebdavClient, path: str, size_bytes: int, modified_at: float) -> None:
        self._client = client
        self._path = path
        self._size_bytes = size_bytes
        headers = {
            "Content-Length": str(size_bytes),
            "Content-Type": "application/octet-stream",
            "If-None-Match": "*",
            "X-OC-MTime": str(max(0, int(modified_at))),
        }
        self._is_complete = False
        self._connection = client.begin("PUT", path, headers)

    def write(self, block: Block) -> None:
        """Send the bytes. They count as acknowledged when the system has accepted them: a server reports nothing before
        the end. If it closes the connection, its answer is read and raised."""
        if self.acknowledged_bytes + len(block) > self._size_bytes:
            raise VerifyFailed(f"{self._name}: more than the announced {self._size_bytes} bytes")
        try:
            self._connection.send(block)
        except ConnectionLost:
            with suppress(ConnectionLost):
                self._require_consent()
            raise
        self.acknowledged_bytes += len(block)

    def sync(self) -> None:
        """Do nothing: a server does not report what it has of an incomplete file."""

    def commit(self) -> None:
        if self.acknowledged_bytes != self._size_bytes:
            raise VerifyFailed(f"{self._name}: less than the announced {self._size_bytes} bytes")
        self._require_consent()

    def close(self) -> None:
        """Close the connection, and wait until the server has noticed: only then is an uncommitted file removed."""
        if not self._is_complete:
            self._connection.hang_up(self._client.options.connect_timeout_seconds)
        self._client.release(self._connection)

    def _require_consent(self) -> None:
        self._is_complete = True
        self._connection.wait_for(self._client.options.patience_seconds(self._size_bytes))
        status = self._connection.answer().status
        if status == 412:
            raise PermissionRefused(f"{self._name} is there already")
        if status not in DONE:
            raise failure_of(status, self._name)

    @property
    def _name(self) -> str:
        return f"{self._client.host}:{self._path}"
