"""Reading and writing one file over SFTP, with many requests in flight."""

import struct
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from posixpath import dirname

from data_mover.errors import InternalError, MoveFailure, NoSpace, VerifyFailed
from data_mover.protocols.base import Block, Facts, NewFile, Reader, Writer
from data_mover.protocols.sftp_messages import Attributes, Reply, Request, Status
from data_mover.protocols.sftp_requests import Pending
from data_mover.protocols.sftp_session import IN_FLIGHT, Refused, SftpSession

#: how much is asked for before it is read: it may all be in memory at a time
READ_AHEAD_BYTES = 4 * 2**20


@dataclass(frozen=True)
class _Range:
    """Bytes of a file that have been asked for."""

    offset: int
    count: int
    pending: Pending


class SftpReader(Reader):
    def __init__(self, session: SftpSession, path: str, handle: bytes, facts: Facts) -> None:
        self.facts = facts
        self._session = session
        self._path = path
        self._handle: bytes | None = handle

    def blocks(self, offset_bytes: int = 0) -> Iterator[Block]:
        """A host may send less than it was asked for: the rest is asked for again, before all that follows it."""
        asked: deque[_Range] = deque()
        offset = offset_bytes
        while asked or offset < self.facts.size_bytes:
            with self._session.told(self._path):
                offset = self._ask_ahead(asked, offset)
                first = asked.popleft()
                block = self._received(first)
                if 0 < len(block) < first.count:
                    asked.appendleft(self._ask(first.offset + len(block), first.count - len(block)))
            if not block:
                return
            yield block

    def close(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            with suppress(MoveFailure), self._session.told(self._path):
                self._session.close(handle)

    def _ask_ahead(self, asked: deque[_Range], offset: int) -> int:
        """Fills the window; returns the offset that is to be asked for next."""
        ahead = min(IN_FLIGHT, READ_AHEAD_BYTES // self._session.read_bytes)
        while offset < self.facts.size_bytes and len(asked) < ahead:
            asked.append(self._ask(offset, min(self._session.read_bytes, self.facts.size_bytes - offset)))
            offset += asked[-1].count
        return offset

    def _ask(self, offset: int, count: int) -> _Range:
        if self._handle is None:
            raise InternalError("a closed file was read")
        head = self._handle + struct.pack(">QI", offset, count)
        return _Range(offset, count, self._session.requests.ask(Request.READ, head))

    def _received(self, wanted: _Range) -> memoryview:
        """Nothing at the end of the file."""
        reply = self._session.requests.wait(wanted.pending)
        if reply.status == Status.EOF:
            return memoryview(b"")
        if reply.status != Status.OK:
            raise Refused(reply.status)
        return reply.content[4 : 4 + wanted.count]


class SftpWriter(Writer):
    def __init__(self, session: SftpSession, path: str, real: str, handle: bytes, new_file: NewFile) -> None:
        self._session = session
        self._path = path
        self._real = real
        self._handle: bytes | None = handle
        self._new_file = new_file
        self._sent_bytes = 0
        self._refusal: Refused | None = None

    def write(self, block: Block) -> None:
        rest = memoryview(block)
        with self._told():
            while rest:
                piece, rest = rest[: self._session.write_bytes], rest[self._session.write_bytes :]
                self._send(piece)
            self._require_no_refusal()

    def commit(self) -> None:
        """Sends all that ends a file at once; the host does it in this order."""
        requests = self._session.requests
        with self._told():
            handle, self._handle = self._open_handle(), None
            attributes = requests.ask(Request.FSETSTAT, handle + self._attributes().packed())
            ends = [requests.ask(Request.EXTENDED, self._session.sync_request(handle))] if self._session.syncs else []
            size = requests.ask(Request.FSTAT, handle)
            ends += [size, requests.ask(Request.CLOSE, handle)]
            requests.drain()
            self._require_no_refusal()
            for end in ends:
                _require_ok(requests.wait(end))
            self._require_size(Attributes.read(requests.wait(size).content))
            if requests.wait(attributes).status != Status.OK:
                self._session.set_attributes(self._real, self._attributes())

    def close(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            with suppress(MoveFailure), self._session.told(self._path):
                self._session.close(handle)

    def _send(self, piece: memoryview) -> None:
        head = self._open_handle() + struct.pack(">QI", self._sent_bytes, len(piece))
        count = len(piece)

        def answered(reply: Reply) -> None:
            if reply.status == Status.OK:
                self.acknowledged_bytes += count
            else:
                self._refusal = self._refusal or Refused(reply.status)

        self._session.requests.send(Request.WRITE, head, answered, piece)
        self._sent_bytes += count

    def _require_no_refusal(self) -> None:
        if self._refusal is not None:
            raise self._refusal

    def _require_size(self, found: Attributes) -> None:
        if found.size_bytes not in (None, self._new_file.size_bytes):
            raise VerifyFailed(
                f"{self._name}: {self._new_file.size_bytes} bytes were announced, {found.size_bytes} are there"
            )

    def _attributes(self) -> Attributes:
        return Attributes(mode=self._new_file.mode, modified_at=int(self._new_file.modified_at))

    def _open_handle(self) -> bytes:
        if self._handle is None:
            raise InternalError("a closed file was written")
        return self._handle

    @contextmanager
    def _told(self) -> Iterator[None]:
        with self._session.told(self._path):
            try:
                yield
            except Refused as refused:
                if refused.status != Status.FAILURE:
                    raise
                if self._session.is_full(
                    dirname(self._real), max(1, self._new_file.size_bytes - self.acknowledged_bytes)
                ):
                    raise NoSpace(self._session.host) from refused
                raise VerifyFailed(f"{self._name}: the host did not take it") from refused

    @property
    def _name(self) -> str:
        return f"{self._session.host}:{self._path}"


def _require_ok(reply: Reply) -> None:
    if reply.status != Status.OK:
        raise Refused(reply.status)
