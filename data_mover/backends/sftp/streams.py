"""Reading and writing one file over SFTP, with many requests in flight."""

import struct
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from data_mover.backends.api import Block, FileStat, NewFile, Reader, Writer
from data_mover.backends.futures import complete
from data_mover.backends.sftp.lanes import Lane, Lanes
from data_mover.backends.sftp.messages import Answer, Attributes, Refused, Reply, Request, Status, first_string
from data_mover.backends.sftp.requests import Flight, Pending
from data_mover.backends.sftp.session import IN_FLIGHT, Moved, SftpSession, WriteErrorMapping, is_same
from data_mover.domain.errors import InternalError, MoveFailure, SourceChanged, VerifyFailed

#: so much must be left to send for a file to have several lanes
LANED_BYTES = 32 * 2**20
#: a file up to this size shares the send window with others
SMALL_BYTES = 2**20


@dataclass(frozen=True)
class _Range:
    """Bytes of a file that have been requested."""

    offset: int
    count: int
    flight: Flight
    pending: Pending


class SftpReader(Reader):
    def __init__(
        self, session: SftpSession, path: str, handle: bytes, file_stat: FileStat, looked_up: Attributes | None = None
    ) -> None:
        """`looked_up` is the attributes of the name before it was opened; the opened file must have the same."""
        self.stat = file_stat
        self._looked_up = looked_up
        self._opened: Pending | None = None
        self._size_bytes = file_stat.size_bytes or 0
        self._session = session
        self._path = path
        self._handle: bytes | None = handle

    def blocks(self, offset_bytes: int = 0) -> Iterator[Block]:
        blocks = self.ablocks(offset_bytes)
        with suppress(StopAsyncIteration):
            while True:
                yield complete(anext(blocks))

    async def ablocks(self, offset_bytes: int = 0) -> AsyncGenerator[Block, None]:
        """Yield the blocks in order. What a short answer lacks is requested again first."""
        asked: deque[_Range] = deque()
        offset = offset_bytes
        while asked or offset <= self._size_bytes:
            with self._session.mapping_errors(self._path):
                offset = self._ask_ahead(asked, offset)
                first = asked.popleft()
                await first.flight
                self._require_what_was_looked_up()
                if first.offset == self._size_bytes:
                    self._require_end(first)
                    return
                block = self._received(first)
                if 0 < len(block) < min(first.count, self._size_bytes - first.offset):
                    asked.appendleft(self._ask(first.offset + len(block), first.count - len(block)))
            if not block:
                return
            yield block

    def close(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            with suppress(MoveFailure), self._session.mapping_errors(self._path):
                self._session.let_go(handle)

    def _ask_ahead(self, asked: deque[_Range], offset: int) -> int:
        """Fill the window, at last with one byte behind the end; return the next offset to request."""
        ahead = min(IN_FLIGHT, self._session.read_ahead_bytes // self._session.read_bytes)
        while offset <= self._size_bytes and len(asked) < ahead:
            asked.append(self._ask(offset, min(self._session.read_bytes, self._size_bytes + 1 - offset)))
            offset += asked[-1].count
        return offset

    def _ask(self, offset: int, count: int) -> _Range:
        if self._handle is None:
            raise InternalError("a closed file was read")
        flight = self._session.requests.flight()
        head = self._handle + struct.pack(">QI", offset, count)
        if self._looked_up is not None and self._opened is None:
            self._opened = flight.ask(Request.FSTAT, self._handle)
        return _Range(offset, count, flight, flight.ask(Request.READ, head))

    def _require_what_was_looked_up(self) -> None:
        """Raise SourceChanged if something else was opened. The first range has brought the answer."""
        if self._looked_up is None or self._opened is None:
            return
        reply = self._opened.answer
        if not reply.is_unsupported and not Attributes.read(reply.answer(Answer.ATTRS)).may_be(self._looked_up):
            raise SourceChanged(f"{self._session.host}:{self._path}")
        self._looked_up = None

    def _received(self, requested: _Range) -> memoryview:
        """Return the bytes of the range; none at the end of the file. Raises SourceChanged if there is one behind it:
        some files report no size, as in `/proc`."""
        reply = requested.pending.answer
        if reply.kind == Answer.STATUS and reply.status == Status.EOF:
            return memoryview(b"")
        block = first_string(reply.answer(Answer.DATA))[: requested.count]
        if requested.offset + len(block) > self._size_bytes:
            raise SourceChanged(f"{self._session.host}:{self._path}")
        return block

    def _require_end(self, behind: _Range) -> None:
        """Raise SourceChanged if there is a byte behind the end. Hosts answer a request for that alone in several
        ways."""
        reply = behind.pending.answer
        if reply.kind == Answer.DATA and first_string(reply.content):
            raise SourceChanged(f"{self._session.host}:{self._path}")


def is_small(new_file: NewFile) -> bool:
    return new_file.size_bytes is not None and new_file.size_bytes <= SMALL_BYTES


class SftpWriter(Writer):
    def __init__(
        self,
        session: SftpSession,
        path: str,
        realpath: str,
        handle: bytes,
        new_file: NewFile,
        offset_bytes: int = 0,
        on_synced: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        """`on_synced` is called with the time that the host took to sync the file, if it is a small one."""
        self.acknowledged_bytes = offset_bytes
        self._on_synced = on_synced
        self._session = session
        self._path = path
        self._realpath = realpath
        self._handle: bytes | None = handle
        self._new_file = new_file
        self._lanes = Lanes(session, realpath, handle, self._most_lanes(offset_bytes))
        self._sent_bytes = offset_bytes
        #: the offsets of the writes in flight, which a host may answer in any order
        self._in_flight: set[int] = set()
        #: the end of what is to be synced, until the host is asked to
        self._to_sync_bytes: int | None = None
        #: the end of what `sync` was last asked for
        self._asked_bytes = 0
        self._refusal: Refused | None = None
        #: the flight that ends the file, once it has been sent
        self._ending: Flight | None = None
        self._unanswered = 0
        #: whether the file has its bytes of the send window
        self._has_window = False

    def write(self, block: Block) -> None:
        rest = memoryview(block)
        with self._mapping_errors():
            while rest:
                piece, rest = rest[: self._session.write_bytes], rest[self._session.write_bytes :]
                self._send(piece)
                self._continue_sync()
            self._require_no_refusal()

    async def awrite(self, block: Block) -> None:
        """Write the block. A small file waits for room in the send window; a large one fills the channel by itself."""
        if not is_small(self._new_file):
            self.write(block)
            return
        with self._mapping_errors():
            if not self._has_window:
                await self._session.window.take(self._new_file.size_bytes or 0)
                self._has_window = True
            for start in range(0, len(block), self._session.write_bytes):
                self._put(memoryview(block)[start : start + self._session.write_bytes])
            self._require_no_refusal()

    def sync(self) -> None:
        """Request a sync once all bytes so far are acknowledged. Does not wait."""
        self._to_sync_bytes = self._asked_bytes = self._sent_bytes
        with self._mapping_errors():
            self._continue_sync()

    def wait_for_sync(self) -> None:
        patience_seconds = self._session.options.patience_seconds(self._sent_bytes)
        with self._mapping_errors(), self._lanes.patient(patience_seconds):
            while self.synced_bytes < self._asked_bytes and self._unanswered:
                self._lanes.receive()
                self._continue_sync()
            self._require_no_refusal()

    def commit(self) -> None:
        complete(self.acommit())

    async def acommit(self) -> None:
        """Send all requests that end a file at once; the host handles them in order, on each lane."""
        requests = self._session.requests
        with self._mapping_errors():
            handle, self._handle = self._open_handle(), None
            with self._lanes.patient(self._session.options.patience_seconds(self._sent_bytes)):
                self._lanes.close_others()
            ending = requests.flight()
            attributes = ending.ask(Request.FSETSTAT, handle + self._attributes().packed())
            synced = ending.ask(Request.EXTENDED, self._session.sync_request(handle)) if self._session.syncs else None
            size = ending.ask(Request.FSTAT, handle)
            closed = ending.ask(Request.CLOSE, handle)
            ending.expect(self._unanswered)
            self._ending = ending
            with requests.patient(self._session.options.patience_seconds(self._sent_bytes)):
                await ending
            self._give_window()
            self._require_no_refusal()
            if synced is not None and not synced.answer.is_unsupported:
                synced.answer.require_ok()
                if is_small(self._new_file):  # the host has answered the request before it a moment before it began
                    self._on_synced(synced.answered_at - attributes.answered_at)
            closed.answer.require_ok()
            self._require_size(size.answer)
            if attributes.answer.status != Status.OK:
                self._set_attributes_by_name()

    def close(self) -> None:
        self._give_window()
        self._lanes.close()
        handle, self._handle = self._handle, None
        if handle is not None:
            with suppress(MoveFailure), self._session.mapping_errors(self._path):
                self._session.let_go(handle)

    def _give_window(self) -> None:
        if self._has_window:
            self._has_window = False
            self._session.window.give(self._new_file.size_bytes or 0)

    def _send(self, piece: memoryview) -> None:
        lane = self._lanes.free(len(piece))
        head, answered = self._writing(lane, len(piece))
        lane.requests.send(Request.WRITE, head, answered, piece)
        lane.sent(len(piece))

    def _put(self, piece: memoryview) -> None:
        """Send a piece that has room in the window."""
        lane = self._lanes.first
        head, answered = self._writing(lane, len(piece))
        lane.requests.put(Request.WRITE, head, answered, piece)
        lane.sent(len(piece))

    def _writing(self, lane: Lane, count: int) -> tuple[bytes, Callable[[Reply], None]]:
        """Return the head of a WRITE of the next bytes, and the function that takes its reply."""
        offset = self._sent_bytes
        self._sent_bytes += count
        self._in_flight.add(offset)

        def answered(reply: Reply) -> None:
            lane.acknowledged(count)
            if self._accepted(reply):
                self._in_flight.discard(offset)
                self.acknowledged_bytes += count

        return lane.handle + struct.pack(">QI", offset, count), self._counted(answered)

    def _counted(self, answered: Callable[[Reply], None]) -> Callable[[Reply], None]:
        """Wrap the function, so that `acommit` knows how many replies are missing."""
        self._unanswered += 1

        def counted(reply: Reply) -> None:
            self._unanswered -= 1
            answered(reply)
            if self._ending is not None:
                self._ending.answered()

        return counted

    def _continue_sync(self) -> None:
        """Request the sync once the host has acknowledged all bytes before it, without a gap."""
        end = self._to_sync_bytes
        if end is None or min(self._in_flight, default=end) < end:
            return
        self._to_sync_bytes = None

        def answered(reply: Reply) -> None:
            if reply.is_unsupported or self._accepted(reply):
                self.synced_bytes = end

        if self._session.syncs:
            head = self._session.sync_request(self._open_handle())
            self._session.requests.send(Request.EXTENDED, head, self._counted(answered))
        else:
            self.synced_bytes = end

    def _accepted(self, reply: Reply) -> bool:
        if reply.status != Status.OK:
            self._refusal = self._refusal or Refused(reply.status)
        return reply.status == Status.OK

    def _require_no_refusal(self) -> None:
        if self._refusal is not None:
            raise self._refusal

    def _require_size(self, reply: Reply) -> None:
        """Raise VerifyFailed if the size is wrong. A host that reports no size by handle is asked by name later."""
        found = Attributes() if reply.is_unsupported else Attributes.read(reply.answer(Answer.ATTRS))
        expected = self._sent_bytes if self._new_file.size_bytes is None else self._new_file.size_bytes
        if found.size_bytes not in (None, expected):
            raise VerifyFailed(f"{self._name}: {expected} bytes were expected, {found.size_bytes} are there")

    def _set_attributes_by_name(self) -> None:
        """Set the attributes by path. A host that supports none must at least give the mode's permissions."""
        if not is_same(self._session.realpath(self._realpath), self._realpath):
            raise Moved(self._realpath)
        try:
            self._session.setstat(self._realpath, self._attributes())
        except Refused as refused:
            mode = self._session.attributes(self._realpath).mode
            if refused.status != Status.UNSUPPORTED or mode is None or self._new_file.mode & ~mode:
                raise

    def _most_lanes(self, offset_bytes: int) -> int:
        size_bytes = self._new_file.size_bytes
        is_large = size_bytes is None or size_bytes - offset_bytes >= LANED_BYTES
        return self._session.options.streams if is_large else 1

    def _attributes(self) -> Attributes:
        return Attributes(mode=self._new_file.mode, modified_at=int(self._new_file.modified_at))

    def _open_handle(self) -> bytes:
        if self._handle is None:
            raise InternalError("a closed file was written")
        return self._handle

    def _mapping_errors(self) -> WriteErrorMapping:
        missing = max(1, (self._new_file.size_bytes or 0) - self.acknowledged_bytes)
        return self._session.mapping_write_errors(self._path, self._realpath, missing)

    @property
    def _name(self) -> str:
        return f"{self._session.host}:{self._path}"
