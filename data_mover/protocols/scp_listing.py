"""Listing one directory by the host's shell, as many entries at a time as fit on the command line of a `stat`.

Each is told as `81a4 12 1700000000 ./name//` and a line feed. A name may hold any byte but NUL and the slash, so that
two slashes can be nowhere but at its end; a NUL is what the `stat` of BusyBox cannot write.
"""

import re
from collections.abc import Iterator
from shlex import quote

from paramiko import Channel

from data_mover.errors import ConnectionLost, HostFailed, PermissionRefused
from data_mover.protocols.base import Entry
from data_mover.protocols.ssh import SshConnection

_END = b"//\n"
_RECEIVE_BYTES = 64 * 1024
#: of one entry
_MAX_BYTES = 8192
_ENTRY = re.compile(rb"([0-9a-f]+) (\d+) (-?\d+) \./(.*)", re.DOTALL)

_NOT_PERMITTED = 82
#: Where one of several is gone meanwhile, they are asked for one by one.
_TELL = (
    'told=$(stat -c "$0" -- "$@") && printf "%s\\n" "$told" && exit; for name do stat -c "$0" -- "$name" && continue; '
    'if [ -e "$name" ] || [ -L "$name" ]; then exit 1; fi; done'
)
_COMMAND = (
    "LC_ALL=C; export LC_ALL; exec 2>/dev/null; cd -P -- {directory} && [ -r . ] || exit {not_permitted}; "
    "find . ! -name . -prune -exec sh -c {tell} '%f %s %Y %n//' {{}} +"
)


def listed(connection: SshConnection, path: str, real: str) -> Iterator[Entry]:
    """What our `path` holds, the host's directory `real`. PermissionRefused, HostFailed."""
    command = _COMMAND.format(directory=quote(real), not_permitted=_NOT_PERMITTED, tell=quote(_TELL))
    channel = connection.start(command)
    try:
        for told in _told(connection, path, channel):
            yield _entry(told, connection.host)
        _require_good_end(connection, path, channel)
    finally:
        connection.end(channel)


def _told(connection: SshConnection, path: str, channel: Channel) -> Iterator[bytes]:
    """What is told of each entry, without its end."""
    rest = b""
    while True:
        with connection.told(path):
            piece = channel.recv(_RECEIVE_BYTES)
        if not piece:
            break
        *whole, rest = (rest + piece).split(_END)
        yield from whole
        if len(rest) > _MAX_BYTES:
            break
    if rest:
        raise ConnectionLost(f"{connection.host}: stat is not understood")


def _require_good_end(connection: SshConnection, path: str, channel: Channel) -> None:
    """A listing that broke off looks like a whole one until its status is there."""
    name = f"{connection.host}:{path}"
    with connection.told(path):
        if not channel.status_event.wait(connection.options.idle_timeout_seconds):
            raise TimeoutError
    status = channel.recv_exit_status()
    if status == -1:
        raise ConnectionLost(name)
    if status != 0:
        raise (PermissionRefused if status == _NOT_PERMITTED else HostFailed)(name)


def _entry(told: bytes, host: str) -> Entry:
    found = _ENTRY.fullmatch(told)
    if found is None:
        raise ConnectionLost(f"{host}: stat is not understood")
    mode, size_bytes, modified_at, name = found.groups()
    return Entry.of(name.decode(errors="surrogateescape"), int(mode, 16), int(size_bytes), float(modified_at))
