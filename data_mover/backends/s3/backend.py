"""Object stores that speak S3: files are the objects of one bucket, directories the prefixes of their keys.

An object store has no rename. An object appears atomically when a multipart upload is completed, and an upload is
either completed or aborted, for good. Publishing is based on that, see `S3Files._move`.
"""

import hashlib
import json
import secrets
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from posixpath import dirname
from typing import Any, NamedTuple, Self

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
from data_mover.backends.options import HostOptions
from data_mover.backends.s3.client import Changed, S3Client
from data_mover.domain.errors import (
    ConnectionLost,
    HostFailed,
    IsADirectory,
    MoveFailure,
    NoSuchFile,
    NotAtomic,
    PermissionRefused,
    SourceChanged,
    Stalled,
    VerifyFailed,
)
from data_mover.domain.states import FileKind

#: the size of a GET range
RANGE_BYTES = 8 * 2**20
#: the size of a part, which is in memory while it is sent; stores accept no smaller parts, and so many at most
PART_BYTES = 5 * 2**20
MOST_PARTS = 10_000
#: a part that was sent within this time lets one more be sent at the same time: a slow line brings one after the other,
#: so that each is acknowledged in time
QUICK_SECONDS = 1.0
#: how much is in memory while it is sent, unless one part is larger
MOST_SENDING_BYTES = 20 * 2**20
#: the size of a part that the store copies
COPY_BYTES = 128 * 2**20

#: the metadata key of the modification time, as rclone writes it: seconds since the epoch
MODIFIED_AT = "mtime"
#: the name prefix of marks: objects that record where another object is being moved to
MARK_PREFIX = ".data_mover-to-"


class S3Files(Files):
    """The objects of a bucket. It has no `sha256`: a store reports at most the digests of parts, so files are read
    back."""

    renames_directories = False

    def __init__(self, host: str, options: HostOptions, client: S3Client) -> None:
        self.host = host
        self.options = options
        self._client = client
        self._root = options.root.strip("/")
        self._directories: set[str] = set()

    @classmethod
    def connect(cls, host: str, options: HostOptions) -> Self:
        return cls(host, options, S3Client.open(host, options))

    def settling_seconds(self, file_stat: FileStat) -> float:
        """The version of an object is made of its bytes."""
        return 0.0

    def stat(self, path: str) -> FileStat | None:
        found = self._object(path)
        if found is not None:
            return found.stat
        return FileStat(FileKind.DIRECTORY, 0, 0) if self._is_directory(path) else None

    def open(self, path: str) -> Reader:
        found = self._object(path)
        if found is not None:
            return _S3Reader(self._client, path, self._key(path), found)
        if self._is_directory(path):
            raise IsADirectory(self.named(path))
        raise NoSuchFile(self.named(path))

    def list(self, path: str) -> Generator[Entry, None, None]:
        """Yield the entries. Files have no time: a listing has only that of the upload. A key may be a file and a
        prefix of others; both are yielded."""
        prefix = f"{self._key(path)}/".lstrip("/")
        is_empty = True
        for answer in self._client.level(path, prefix):
            for entry in _entries(answer, prefix):
                is_empty = False
                yield entry
        if is_empty and not self._is_directory(path):
            raise NoSuchFile(f"{self.named(path)} is no directory")

    def create(self, path: str, new_file: NewFile) -> Writer:
        """Create the file, which is not visible until it is committed."""
        return _S3Writer(self._client, path, self._key(path), new_file, self.options.streams)

    def resume(self, path: str, new_file: NewFile, offset_bytes: int) -> Writer:
        """Raise NoSuchFile: objects cannot be appended to, and an incomplete upload cannot be read back."""
        raise NoSuchFile(f"{self.named(path)} cannot be resumed")

    def make_directories(self, path: str) -> None:
        """Check that no file is in the way; a store has no directories."""
        if path in self._directories:
            return
        file_stat = self.stat(path)
        if file_stat is None and path != "/":
            self.make_directories(dirname(path))
        elif file_stat is None or file_stat.kind is not FileKind.DIRECTORY:
            raise NoSuchFile(f"{self.named(path)} is no directory")
        self._directories.add(path)

    def set_attributes(self, path: str, mode: int | None, modified_at: float | None) -> None:
        """Do nothing: a store has no directories."""

    def remove_directory(self, path: str) -> None:
        """Do nothing: a store has no directories."""

    def lock_name(self, path: str) -> str:
        key = self._key(path)
        self._client.require_name(path, key)
        return f"s3:{self._client.address}/{self._client.bucket}/{key}"

    def replace(self, path: str, final_path: str) -> None:
        if self._is_directory(final_path):
            raise IsADirectory(self.named(final_path))
        self._move(path, final_path)

    def rename(self, path: str, free_path: str) -> None:
        """Check first whether the path is free: most stores support no condition for copies."""
        if self.stat(free_path) is not None:
            raise PermissionRefused(f"{self.named(free_path)} is there already")
        self._move(path, free_path)

    def remove(self, path: str) -> None:
        """Remove the object, and abort uploads to the path or from it."""
        for upload in self._client.uploads(path, self._key(path)):
            self._client.abort_upload(path, self._key(path), upload)
        self._delete(path)

    def abort(self) -> None:
        self._client.abort()

    def close(self) -> None:
        self._client.close()

    def _move(self, path: str, target: str) -> None:
        """Copy the object within the store, by a multipart upload, and remove it at its old path.

        At most one of several concurrent attempts succeeds, whatever happens to the others. Each puts a mark beside the
        object, then looks for the marks of others and aborts their uploads, which can no longer be completed. If one is
        completed already, the object counts as moved.
        """
        found = self._object(path)
        if found is None:
            self._delete(path)
            raise (NotAtomic if self._is_directory(path) else NoSuchFile)(self.named(path))
        key = self._key(target)
        mark = _Mark(
            f"{self._mark_prefix(path)}{secrets.token_hex(8)}", key, self._client.begin(target, key, found.own)
        )
        try:
            self._client.put(path, mark.name, mark.text(), {})
            self._stop_others(path, mark)
            parts = self._copied_parts(path, target, mark, found)
            self._client.complete(target, key, mark.upload, parts)
        except (ConnectionLost, Stalled):
            raise
        except MoveFailure:
            with suppress(MoveFailure):
                self._give_up(path, mark)
                self._client.delete(path, mark.name)
            raise
        self._forget(path, mark)

    def _stop_others(self, path: str, mine: "_Mark") -> None:
        """Abort the uploads of other attempts. Raises NoSuchFile if one of them has moved the object."""
        for mark in self._marks(path):
            if mark.name == mine.name:
                continue
            if not self._give_up(path, mark):
                self._delete(path)
                raise NoSuchFile(self.named(path))
            self._client.delete(path, mark.name)

    def _copied_parts(self, path: str, target: str, mark: "_Mark", found: "_Object") -> Sequence[dict[str, Any]]:
        """Copy the object in parts. Raises NoSuchFile if it no longer exists."""
        key, source, size = self._key(target), self._key(path), found.stat.size_bytes or 0
        if size == 0:
            return [self._client.send_part(target, key, mark.upload, 1, b"")]
        step = _part_bytes(size, COPY_BYTES)
        ranges = [(start, min(start + step, size)) for start in range(0, size, step)]
        try:
            return [
                self._client.copy_part(
                    target, key, mark.upload, number, source, found.etag, each if ranges[1:] else None
                )
                for number, each in enumerate(ranges, start=1)
            ]
        except Changed as changed:
            raise NoSuchFile(self.named(path)) from changed

    def _forget(self, path: str, mark: "_Mark") -> None:
        """Remove the object that was moved, then its mark. If that fails, the next attempt finds out by the mark."""
        try:
            self._client.delete(path, self._key(path))
            self._client.delete(path, mark.name)
        except MoveFailure as failure:
            raise ConnectionLost(self.named(path)) from failure

    def _delete(self, path: str) -> None:
        """Remove the object, then all its marks, and abort their uploads unless they are completed."""
        self._client.delete(path, self._key(path))
        for mark in self._marks(path):
            self._give_up(path, mark)
            self._client.delete(path, mark.name)

    def _give_up(self, path: str, mark: "_Mark") -> bool:
        """Abort the upload of the mark. Returns False if it has been completed."""
        return self._client.abort_upload(path, mark.target, mark.upload)

    def _marks(self, path: str) -> Sequence["_Mark"]:
        names = self._client.keys(path, self._mark_prefix(path))
        texts = [(name, self._client.text(path, name)) for name in names]
        return [_Mark(name, **json.loads(text)) for name, text in texts if text is not None]

    def _mark_prefix(self, path: str) -> str:
        digest = hashlib.sha256(self._key(path).encode()).hexdigest()[:16]
        return self._key(f"{dirname(path)}/{MARK_PREFIX}{digest}-")

    def _object(self, path: str) -> "_Object | None":
        if path == "/":
            return None
        head = self._client.head(path, self._key(path))
        return _Object.of(head) if head is not None else None

    def _is_directory(self, path: str) -> bool:
        """Whether the path is a directory; the root is one if the bucket exists."""
        if path == "/":
            return self._client.has_bucket()
        return self._client.has_keys(path, f"{self._key(path)}/")

    def _key(self, path: str) -> str:
        return f"{self._root}/{path.strip('/')}".strip("/")


@dataclass(frozen=True)
class _Object:
    """An object of the store."""

    stat: FileStat
    etag: str
    #: the metadata of the object, in the form in which a new one gets it
    own: dict[str, Any]

    @classmethod
    def of(cls, head: dict[str, Any]) -> "_Object":
        metadata = head.get("Metadata", {})
        modified_at = head["LastModified"].timestamp()
        with suppress(KeyError, ValueError):
            modified_at = float(metadata[MODIFIED_AT])
        file_stat = FileStat(FileKind.FILE, head["ContentLength"], modified_at, version=head["ETag"])
        return cls(file_stat, head["ETag"], metadata)


def _entries(answer: dict[str, Any], prefix: str) -> Iterator[Entry]:
    """Yield the entries, without the object that some programs create as the directory itself."""
    for each in answer.get("Contents", []):
        if each["Key"] != prefix:
            yield _entry(each["Key"].removeprefix(prefix), FileKind.FILE, each["Size"])
    for each in answer.get("CommonPrefixes", []):
        yield _entry(each["Prefix"].removeprefix(prefix).removesuffix("/"), FileKind.DIRECTORY, None)


def _entry(name: str, kind: FileKind, size_bytes: int | None) -> Entry:
    if not is_segment(name):
        return Entry(name, FileKind.OTHER, None, None, None)
    return Entry(name, kind, size_bytes, None, None)


@dataclass(frozen=True)
class _Mark:
    """A mark: the object beside a temporary one that records which upload moves it to which key."""

    name: str
    target: str
    upload: str

    def text(self) -> bytes:
        return json.dumps({"target": self.target, "upload": self.upload}).encode()


class _S3Reader(Reader):
    def __init__(self, client: S3Client, path: str, key: str, found: _Object) -> None:
        self.stat = found.stat
        self._client = client
        self._path = path
        self._key = key
        self._etag = found.etag

    def blocks(self, offset_bytes: int = 0) -> Iterator[Block]:
        """Yield the bytes, range by range: for each the store checks that it is still the same object."""
        size_bytes = self.stat.size_bytes or 0
        for start in range(offset_bytes, size_bytes, RANGE_BYTES):
            yield from self._range(start, min(start + RANGE_BYTES, size_bytes))

    def close(self) -> None:
        """Do nothing: no resources are kept between ranges."""

    def _range(self, start: int, end: int) -> Iterator[Block]:
        try:
            body = self._client.get_range(self._path, self._key, start, end, self._etag)
        except (Changed, NoSuchFile) as changed:
            raise SourceChanged(f"{self._client.host}:{self._path}") from changed
        left_bytes = end - start
        with closing(body):
            while block := self._client.read(self._path, body, BLOCK_BYTES):
                left_bytes -= len(block)
                if left_bytes < 0:
                    raise HostFailed(f"{self._client.host}:{self._path}: more came than was asked for")
                yield block


class _Sent(NamedTuple):
    """A part that the store has, and how long that took."""

    part: dict[str, Any]
    seconds: float


class _S3Writer(Writer):
    """A small file is sent whole, others in parts: several at a time, one more whenever a part was sent quickly."""

    def __init__(self, client: S3Client, path: str, key: str, new_file: NewFile, most_at_a_time: int) -> None:
        self._client = client
        self._path = path
        self._key = key
        self._new_file = new_file
        self._waiting = bytearray()
        self._upload: str | None = None
        self._parts: list[dict[str, Any]] = []
        self._part_count = 0
        self._most_at_a_time = most_at_a_time
        self._at_a_time = 1
        self._senders: ThreadPoolExecutor | None = None
        self._sending = deque[tuple[Future[_Sent], int]]()

    def write(self, block: Block) -> None:
        rest = memoryview(block)
        while rest:
            if len(self._waiting) == self._part_bytes:
                self._send_part()
            fitting = self._part_bytes - len(self._waiting)
            self._waiting += rest[:fitting]
            rest = rest[fitting:]

    def sync(self) -> None:
        """Do nothing: a store does not report what it has of an incomplete file."""

    def commit(self) -> None:
        self._require_size()
        if self._upload is None:
            self._client.put(self._path, self._key, self._waiting, self._metadata)
            self.acknowledged_bytes = len(self._waiting)
            self._waiting.clear()
        else:
            self._send_part()
            while self._sending:
                self._take_sent()
            self._client.complete(self._path, self._key, self._upload, self._parts)

    def close(self) -> None:
        """Drop what was not sent, and wait for what is being sent. Parts that were sent stay in the store until
        `remove`."""
        if self._senders is not None:
            self._senders.shutdown(cancel_futures=True)
        self._waiting.clear()

    def _send_part(self) -> None:
        """Begin to send what waits, once fewer parts are under way than may be."""
        if self._upload is None:
            self._upload = self._client.begin(self._path, self._key, self._metadata)
            self._senders = ThreadPoolExecutor(self._most_at_a_time, "part")
        while len(self._sending) >= self._at_a_time:
            self._take_sent()
        part, self._waiting = self._waiting, bytearray()
        self._part_count += 1
        if self._senders is not None:
            self._sending.append((self._senders.submit(self._sent, self._upload, self._part_count, part), len(part)))

    def _sent(self, upload: str, number: int, part: bytearray) -> "_Sent":
        began_at = time.monotonic()
        sent = self._client.send_part(self._path, self._key, upload, number, part)
        return _Sent(sent, time.monotonic() - began_at)

    def _take_sent(self) -> None:
        """Wait for the oldest part, and raise its failure."""
        sending, count = self._sending.popleft()
        sent = sending.result()
        self._parts.append(sent.part)
        self.acknowledged_bytes += count
        if sent.seconds < QUICK_SECONDS and (self._at_a_time + 1) * self._part_bytes <= MOST_SENDING_BYTES:
            self._at_a_time = min(self._at_a_time + 1, self._most_at_a_time)

    def _require_size(self) -> None:
        sending = sum(count for _, count in self._sending)
        written, announced = self.acknowledged_bytes + sending + len(self._waiting), self._new_file.size_bytes
        if announced not in (None, written):
            raise VerifyFailed(
                f"{self._client.host}:{self._path}: {announced} bytes were announced, {written} were written"
            )

    @property
    def _part_bytes(self) -> int:
        """Return the part size, which grows with a file of unknown size, so that the most parts have 5 TB."""
        if self._new_file.size_bytes is None:
            return PART_BYTES << (self._part_count // 1000)
        return _part_bytes(self._new_file.size_bytes, PART_BYTES)

    @property
    def _metadata(self) -> dict[str, str]:
        return {MODIFIED_AT: f"{self._new_file.modified_at:.9f}".rstrip("0").rstrip(".")}


def _part_bytes(size_bytes: int, usual_bytes: int) -> int:
    """Return a part size with which a store accepts the number of parts."""
    return max(usual_bytes, -(-size_bytes // MOST_PARTS))
