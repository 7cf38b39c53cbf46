"""An SFTP server that breaks or lies at one point: OpenSSH's own, behind a proxy that tampers with the messages.

It runs in a thread of the test's process, and the fault may be changed between connections.
"""

import asyncio
import getpass
import os
import stat
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import asyncssh

from data_mover.backends.sftp.messages import Attributes, Named, names, string
from tests.servers.openssh import SshServer, make_keys
from tests.servers.processes import LOOPBACK, program

_REQUESTS = {
    1: "init",
    3: "open",
    4: "close",
    5: "read",
    6: "write",
    7: "lstat",
    8: "fstat",
    9: "setstat",
    10: "fsetstat",
    11: "opendir",
    12: "readdir",
    13: "remove",
    14: "mkdir",
    15: "rmdir",
    16: "realpath",
    17: "stat",
    18: "rename",
}
_EXTENDED, _VERSION = 200, 2
_STATUS, _HANDLE, _DATA, _NAME, _ATTRS = 101, 102, 103, 104, 105
_OK, _DENIED, _FAILURE, _UNSUPPORTED = 0, 3, 4, 8

#: how long a slow answer takes
SLOW_SECONDS = 0.8

#: how the proxy changes a packet: None stands for none at all
Change = Callable[["_Session", bytes], bytes | None]


@dataclass(frozen=True)
class Fault:
    """What happens to requests, named as in `_REQUESTS`, or by their extension without `@openssh.com`, or `exec`."""

    #: one name or several, with spaces between them
    requests: str = ""
    #: one of `REQUEST_DEEDS` or `ANSWER_DEEDS`, or for `exec` one of `EXEC_DEEDS`
    deed: str = ""
    #: which request of that name in a connection; 0 is each of them
    number: int = 0

    def strikes(self, name: str, count: int) -> bool:
        return name in self.requests.split() and self.number in (0, count)


@dataclass
class FaultyServer:
    """Where the server is, and what it does wrong."""

    server: SshServer
    fault: Fault = field(default_factory=Fault)
    #: whether it announces OpenSSH's extensions
    announces: bool = True
    #: a path, and the other one that commands see instead
    view: tuple[str, str] = ("", "")
    connections: set[asyncssh.SSHServerConnection] = field(default_factory=set)
    #: the tasks of the channels: the event loop keeps no reference to them
    tasks: set[asyncio.Task[None]] = field(default_factory=set)


class _Connection(asyncssh.SSHServer):
    def __init__(self, faulty: FaultyServer) -> None:
        self._faulty = faulty

    def connection_made(self, connection: asyncssh.SSHServerConnection) -> None:
        self._connection = connection
        self._faulty.connections.add(connection)

    def connection_lost(self, error: Exception | None) -> None:
        self._faulty.connections.discard(self._connection)

    def session_requested(self) -> "_Channel":
        return _Channel(self._faulty)


class _Channel(asyncssh.SSHServerSession[bytes]):
    """A command, or the SFTP subsystem."""

    def __init__(self, faulty: FaultyServer) -> None:
        self.received = asyncio.StreamReader()
        self.command: str | None = None
        self._faulty = faulty

    def connection_made(self, channel: "asyncssh.SSHServerChannel[bytes]") -> None:
        self.channel = channel

    def subsystem_requested(self, subsystem: str) -> bool:
        return subsystem == "sftp"

    def exec_requested(self, command: str) -> bool:
        self.command = command
        return True

    def session_started(self) -> None:
        faulty = self._faulty
        work = _sftp(self, faulty) if self.command is None else _execute(self, faulty.fault, faulty.view)
        task = asyncio.create_task(work)
        faulty.tasks.add(task)
        task.add_done_callback(faulty.tasks.discard)

    def data_received(self, data: bytes, datatype: int | None) -> None:
        self.received.feed_data(data)

    def eof_received(self) -> bool:
        self.received.feed_eof()
        return True

    def connection_lost(self, error: Exception | None) -> None:
        self.received.feed_eof()

    def cut(self) -> None:
        self.channel.get_connection().abort()


@contextmanager
def faulty_server(directory: Path) -> Iterator[FaultyServer]:
    """A server without a fault at first; it lets in who has the key in the directory."""
    host_key = make_keys(directory)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="faulty sftp", daemon=True)
    thread.start()
    faulty = FaultyServer(SshServer(0, getpass.getuser(), directory / "user_key", host_key, os.getpid()))
    try:
        acceptor = asyncio.run_coroutine_threadsafe(_listen(directory, faulty), loop).result(timeout=30)
        faulty.server = replace(faulty.server, port=acceptor.get_port())
        yield faulty
        asyncio.run_coroutine_threadsafe(_end(acceptor, faulty), loop).result(timeout=30)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=30)
        loop.close()


async def _listen(directory: Path, faulty: FaultyServer) -> asyncssh.SSHAcceptor:
    return await asyncssh.listen(
        LOOPBACK,
        0,
        server_host_keys=[str(directory / "host_key")],
        authorized_client_keys=str(directory / "user_key.pub"),
        server_factory=lambda: _Connection(faulty),
        encoding=None,
    )


async def _end(acceptor: asyncssh.SSHAcceptor, faulty: FaultyServer) -> None:
    acceptor.close()
    for connection in list(faulty.connections):
        connection.abort()
    for task in list(faulty.tasks):
        task.cancel()
    while faulty.connections or faulty.tasks:
        await asyncio.sleep(0.01)


class _Session:
    """One SFTP channel: requests go to OpenSSH's server and answers come back, unless the fault happens to them."""

    def __init__(self, channel: _Channel, child: asyncio.subprocess.Process, faulty: FaultyServer):
        self.held: list[bytes] = []
        #: how many answers a listing without end has had
        self.told = 0
        self._channel = channel
        self._child = child
        self._fault = faulty.fault
        self._announces = faulty.announces
        self._counts: Counter[str] = Counter()
        self._changes: dict[int, Change] = {}

    async def requests(self) -> None:
        while packet := await _packet(self._channel.received):
            kind, number = struct.unpack_from(">BI", packet)
            name = _name(kind, packet)
            self._counts[name] += 1
            if self._fault.strikes(name, self._counts[name]):
                if self._fault.deed in ANSWER_DEEDS:
                    self._changes[number] = ANSWER_DEEDS[self._fault.deed]
                else:
                    packet = REQUEST_DEEDS[self._fault.deed](self, packet)
            if packet:
                self._child.stdin.write(struct.pack(">I", len(packet)) + packet)
                await self._child.stdin.drain()

    async def answers(self) -> None:
        while packet := await _packet(self._child.stdout):
            change = self._changes.pop(struct.unpack_from(">BI", packet)[1], None)
            if packet[0] == _VERSION and not self._announces:
                packet = _bare(self, packet)
            if change:
                packet = change(self, packet)
            if packet:
                self.answer(packet)
                self._release()

    def answer(self, packet: bytes) -> None:
        self._channel.channel.write(struct.pack(">I", len(packet)) + packet)

    def say(self, raw: bytes) -> None:
        self._channel.channel.write(raw)

    def cut(self) -> None:
        self._channel.cut()

    def _release(self) -> None:
        held, self.held = self.held, []
        for packet in held:
            self.answer(packet)


def _name(kind: int, packet: bytes) -> str:
    if kind != _EXTENDED:
        return _REQUESTS.get(kind, "another")
    (length,) = struct.unpack_from(">I", packet, 5)
    name = packet[9 : 9 + length].decode().removesuffix("@openssh.com")
    return "rename" if name == "posix-rename" else name


def _status(packet: bytes, code: int) -> bytes:
    """A status answer of that code, to the given request or instead of the given answer."""
    return struct.pack(">B4sIII", _STATUS, packet[1:5], code, 0, 0)


def _answering(code: int) -> Change:
    def answer(session: _Session, packet: bytes) -> None:
        session.answer(_status(packet, code))

    return answer


def _cut(session: _Session, packet: bytes) -> None:
    session.cut()


def _drop(session: _Session, packet: bytes) -> None:
    """Nothing comes of it."""


def _without_end(session: _Session, packet: bytes) -> None:
    """A listing tells directories, and further ones whenever it is asked."""
    told = [string(b"%d %d" % (session.told, number)) + string(b"") for number in range(100)]
    session.told += 1
    attributes = Attributes(mode=stat.S_IFDIR | 0o755).packed()
    body = b"".join(name + attributes for name in told)
    session.answer(struct.pack(">B4sI", _NAME, packet[1:5], len(told)) + body)


def _alter(session: _Session, packet: bytes) -> bytes:
    """The last byte of what is written becomes another."""
    return packet[:-1] + bytes([packet[-1] ^ 0xFF])


def _misplace(session: _Session, packet: bytes) -> bytes:
    """What is written goes to the beginning of the file."""
    (length,) = struct.unpack_from(">I", packet, 5)
    return packet[: 9 + length] + struct.pack(">Q", 0) + packet[17 + length :]


def _unasked(session: _Session, packet: bytes) -> bytes:
    session.answer(struct.pack(">BIIII", _STATUS, 2**31, _OK, 0, 0))
    return packet


def _garble(session: _Session, packet: bytes) -> None:
    session.say(b"Welcome to the host!\n" * 50)


def _hold(session: _Session, packet: bytes) -> None:
    """The answer comes after the next one."""
    session.held.append(packet)


def _shorten(session: _Session, packet: bytes) -> bytes:
    (length,) = struct.unpack_from(">I", packet, 5) if packet[0] == _DATA else (0,)
    if length < 2:
        return packet
    return packet[:5] + struct.pack(">I", length // 2) + packet[9 : 9 + length // 2]


def _overstate(session: _Session, packet: bytes) -> bytes:
    """Announces more bytes than there are."""
    return packet[:5] + struct.pack(">I", 2**20) + packet[9:]


def _delay(session: _Session, packet: bytes) -> None:
    asyncio.get_running_loop().call_later(SLOW_SECONDS, session.answer, packet)


def _problem(session: _Session, packet: bytes) -> bytes:
    """An answer of a kind that nobody asked for."""
    return struct.pack(">B4sI", _HANDLE if packet[0] != _HANDLE else _ATTRS, packet[1:5], 0)


def _sized(change: Callable[[int], int]) -> Change:
    def answer(session: _Session, packet: bytes) -> bytes:
        if packet[0] != _ATTRS or not struct.unpack_from(">I", packet, 5)[0] & 1:
            return packet
        (size,) = struct.unpack_from(">Q", packet, 9)
        return packet[:9] + struct.pack(">Q", change(size)) + packet[17:]

    return answer


def _sizeless(session: _Session, packet: bytes) -> bytes:
    if packet[0] != _ATTRS:
        return packet
    (flags,) = struct.unpack_from(">I", packet, 5)
    return packet[:5] + struct.pack(">I", flags & ~1) + packet[17:] if flags & 1 else packet


def _named(change: Callable[[Named], tuple[bytes, Attributes]]) -> Change:
    def answer(session: _Session, packet: bytes) -> bytes:
        if packet[0] != _NAME:
            return packet
        reported = [change(each) for each in names(memoryview(packet)[5:])]
        body = b"".join(string(name) + string(b"") + attributes.packed() for name, attributes in reported)
        return packet[:5] + struct.pack(">I", len(reported)) + body

    return answer


def _bare(session: _Session, packet: bytes) -> bytes:
    """A version without extensions."""
    return packet[:5]


#: what may happen to a request before the server has it
REQUEST_DEEDS: dict[str, Change] = {
    "fails": _answering(_FAILURE),
    "is denied": _answering(_DENIED),
    "is unsupported": _answering(_UNSUPPORTED),
    "is pretended": _answering(_OK),
    "is dropped": _drop,
    "cuts": _cut,
    "is without end": _without_end,
    "is altered": _alter,
    "is misplaced": _misplace,
}
#: what may happen to the answer after the server has done it
ANSWER_DEEDS: dict[str, Change] = {
    "fails though done": lambda session, packet: _status(packet, _FAILURE),
    "is done and not answered": _drop,
    "is done and cuts": _cut,
    "is answered late": _hold,
    "is answered slowly": _delay,
    "is answered twice": _unasked,
    "is answered with garbage": _garble,
    "is answered with another kind": _problem,
    "is answered short": _shorten,
    "is answered with too great a length": _overstate,
    "reports less": _sized(lambda size: size // 2),
    "reports more": _sized(lambda size: size + 1),
    "reports no size": _sizeless,
    "reports no attributes": _named(lambda reported: (reported.name, Attributes())),
    "reports another path": _named(lambda reported: (b"../" + reported.name, reported.attributes)),
    "announces nothing": _bare,
}
EXEC_DEEDS = ("runs elsewhere", "runs slowly", "fails", "hangs", "lies", "cuts")


async def _sftp(channel: _Channel, faulty: FaultyServer) -> None:
    command = program("sftp-server", "/usr/lib/openssh", "/usr/libexec/openssh", "/usr/lib/ssh")
    child = await asyncio.create_subprocess_exec(command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
    session = _Session(channel, child, faulty)
    ways = [asyncio.create_task(session.requests()), asyncio.create_task(session.answers())]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        child.stdin.close()
        await child.stdout.read()
        await child.wait()
        channel.channel.exit(0)


async def _execute(channel: _Channel, fault: Fault, view: tuple[str, str]) -> None:
    deed = fault.deed if fault.requests == "exec" else ""
    if deed == "hangs":
        await channel.received.read()
        await asyncio.sleep(60)
    elif deed == "cuts":
        channel.cut()
    else:
        output, status = await _output(channel.command or "", deed, view)
        channel.channel.write(output)
        channel.channel.exit(status)


async def _output(command: str, deed: str, view: tuple[str, str]) -> tuple[bytes, int]:
    if deed == "lies":
        return b"0" * 64 + b" *stdin\n", 0
    if deed == "fails":
        return b"", 127
    if deed == "runs slowly":
        await asyncio.sleep(SLOW_SECONDS)
    if deed == "runs elsewhere":
        command = command.replace(*view)
    quiet, pipe = asyncio.subprocess.DEVNULL, asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_shell(command, stdin=quiet, stdout=pipe)
    output, _ = await child.communicate()
    return output, child.returncode or 0


async def _packet(stream: asyncio.StreamReader) -> bytes:
    """The next packet without its length; nothing at the end."""
    try:
        (length,) = struct.unpack(">I", await stream.readexactly(4))
        return await stream.readexactly(length)
    except (asyncio.IncompleteReadError, OSError):
        return b""
