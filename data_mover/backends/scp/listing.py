"""Listing one directory by the host's shell, with as many entries at a time as fit on the command line of a `stat`.

Each is a line `81a4 12 1700000000 ./name//`. A name may contain any byte but NUL and the slash, so that two slashes can
only be at its end; BusyBox's `stat` cannot write a NUL. The last line is only a status, so that a truncated listing
differs from a complete one.
"""

import re
from collections.abc import Iterator
from shlex import quote

from paramiko import Channel

from data_mover.backends.api import Entry
from data_mover.backends.scp.shell import NOT_PERMITTED, failure_of
from data_mover.backends.ssh.connection import SshConnection
from data_mover.domain.errors import ConnectionLost, HostFailed

_END = b"//\n"
_RECEIVE_BYTES = 64 * 1024
#: the longest line of an entry
_MAX_BYTES = 8192
_ENTRY = re.compile(rb"([0-9a-f]+) (\d+) (-?\d+) \./(.*)", re.DOTALL)

#: If one of several no longer exists, they are requested one by one.
_STAT_ENTRIES = (
    'out=$(stat -c "$0" -- "$@") && printf "%s\\n" "$out" && exit; for name do stat -c "$0" -- "$name" && continue; '
    'if [ -e "$name" ] || [ -L "$name" ]; then exit 1; fi; done'
)
#: It ends when its input is closed, not while another command begins: Dropbear confuses their channels.
_COMMAND = (
    "LC_ALL=C; export LC_ALL; exec 2>/dev/null; ({entering} [ -r . ] || exit {not_permitted}; "
    "find . ! -name . -prune -exec sh -c {stat_entries} '%f %s %Y %n//' {{}} +) </dev/null; "
    "printf '%s//\\n' $?; exec cat >/dev/null"
)


def listed(connection: SshConnection, path: str, entering: str) -> Iterator[Entry]:
    """Yield the entries of our `path`; `entering` is the start of a command that enters that directory.

    Raises NotAllowed if it cannot since the directory has been exchanged for a link, PermissionRefused or HostFailed.
    """
    command = _COMMAND.format(entering=entering, not_permitted=NOT_PERMITTED, stat_entries=quote(_STAT_ENTRIES))
    channel = connection.start(command)
    try:
        for line in _lines(connection, path, channel):
            if line.isdigit():
                return _require_good_end(int(line), f"{connection.host}:{path}")
            yield _entry(line, connection.host)
        raise ConnectionLost(f"{connection.host}:{path}")
    finally:
        connection.end(channel)


def _lines(connection: SshConnection, path: str, channel: Channel) -> Iterator[bytes]:
    """Yield the line of each entry, without its end, and at last the status."""
    rest = b""
    while len(rest) <= _MAX_BYTES:
        with connection.mapping_errors(path):
            piece = channel.recv(_RECEIVE_BYTES)
        if not piece:
            return
        *whole, rest = (rest + piece).split(_END)
        yield from whole


def _require_good_end(status: int, name: str) -> None:
    if status != 0:
        raise failure_of(status, name) or HostFailed(name)


def _entry(line: bytes, host: str) -> Entry:
    found = _ENTRY.fullmatch(line)
    if found is None:
        raise ConnectionLost(f"{host}: stat is not understood")
    mode, size_bytes, modified_at, name = found.groups()
    return Entry.of(name.decode(errors="surrogateescape"), int(mode, 16), int(size_bytes), float(modified_at))
