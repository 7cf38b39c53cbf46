"""Hosts that speak the scp protocol, with a POSIX shell for what it cannot do."""

import re
import stat
from collections.abc import Generator
from posixpath import basename, dirname
from shlex import quote

from data_mover.backends.api import Entry, FileStat, NewFile, Reader, Writer
from data_mover.backends.scp.listing import listed
from data_mover.backends.scp.shell import (
    CANNOT_REPLACE,
    DONE,
    EXISTS,
    IS_A_DIRECTORY,
    MISSING,
    NOT_A_FILE,
    NOT_PERMITTED,
    NOT_WHERE_IT_WAS,
    failure_of,
)
from data_mover.backends.scp.streams import ScpReader, refusal
from data_mover.backends.scp.upload import ScpWriter, touching
from data_mover.backends.ssh.connection import Output, SshConnection
from data_mover.backends.ssh.files import SshFiles
from data_mover.backends.ssh.options import SshOptions
from data_mover.domain.errors import (
    ConnectionLost,
    HostFailed,
    IsADirectory,
    MoveFailure,
    NoRoot,
    NoSuchFile,
    NotAllowed,
    NotARegularFile,
    PermissionRefused,
    SizeUnknown,
)
from data_mover.domain.states import FileKind

#: blocks, used, available and capacity; names before and behind them may have spaces
_DF_COLUMNS = re.compile(rb"\s\d+\s+\d+\s+(\d+)\s+(?:\d+%|-)\s")

#: mode in hexadecimal, size and modification time
_STAT = re.compile(rb"([0-9a-f]+) (\d+) (-?\d+)")
_NOT_UNDERSTOOD = "its shell does not answer what it is asked; a profile that prints something may be in the way"


class ScpFiles(SshFiles):
    """The files of a host, over one connection; each command and each file has a channel of its own."""

    needs_size = True

    def __init__(self, host: str, options: SshOptions, connection: SshConnection) -> None:
        super().__init__(host, options, connection)
        self._root = self._fetch_root()

    def stat(self, path: str) -> FileStat | None:
        found = self._found(path)
        return found[0] if found else None

    def open(self, path: str) -> Reader:
        found = self._found(path)
        if found is None:
            raise NoSuchFile(self._name(path))
        file_stat, realpath = found
        if file_stat.kind is not FileKind.FILE:
            raise (IsADirectory if file_stat.kind is FileKind.DIRECTORY else NotARegularFile)(self._name(path))
        return ScpReader(self, self._connection, path, realpath, file_stat)

    def list(self, path: str) -> Generator[Entry, None, None]:
        found = self._found(path)
        if found is None or found[0].kind is not FileKind.DIRECTORY:
            raise NoSuchFile(f"{self._name(path)} is no directory")
        yield from listed(self._connection, path, _entering(found[1]))

    def realpath(self, path: str) -> str:
        return self._fetch_realpath(path).removeprefix(self._root.rstrip("/")) or "/"

    def create(self, path: str, new_file: NewFile) -> Writer:
        """Create the file exclusively, in the shell. Raises SizeUnknown: the shell checks by the size that the file is
        complete."""
        if new_file.size_bytes is None:
            raise SizeUnknown(f"scp needs it for {self.host}:{path}", host=self.host)
        realpath = self._beside(path)
        name = _in_its_directory(realpath)
        opening = (
            f"{_entering(dirname(realpath))} if [ -e {name} ] || [ -L {name} ]; then exit {EXISTS}; fi; "
            f"[ -w . ] || exit {NOT_PERMITTED}; set -C; exec 4>{name}"
        )
        return self._writer(path, realpath, new_file, opening)

    def resume(self, path: str, new_file: NewFile, offset_bytes: int) -> Writer:
        """Open the file at the offset. `dd` seeks, and does not truncate."""
        realpath = self._beside(path)
        name = _in_its_directory(realpath)
        opening = (
            f"{_entering(dirname(realpath))} [ -e {name} ] || exit {MISSING}; "
            f"[ -f {name} ] && [ ! -L {name} ] || exit {NOT_A_FILE}; "
            f"[ -w {name} ] || exit {NOT_PERMITTED}; exec 4<>{name}; "
            f"dd if=/dev/null bs=1 count=0 seek={offset_bytes} conv=notrunc 2>/dev/null >&4"
        )
        return self._writer(path, realpath, new_file, opening, offset_bytes)

    def set_attributes(self, path: str, mode: int | None, modified_at: float | None) -> None:
        commands = []
        if mode is not None:
            commands.append(f"chmod {mode:04o} -- . || exit")
        if modified_at is not None:
            commands.append(touching(".", modified_at))
        self._shell(f"{_entering(self._beside(path))} {'; '.join(commands or ['true'])}", path)

    def remove_directory(self, path: str) -> None:
        if path == "/":
            raise PermissionRefused(self._name(path))
        self._known.forget(path)
        if self._look(dirname(path)) is not None:
            realpath = self._beside(path)
            name = _in_its_directory(realpath)
            self._shell(
                f"{_entering(dirname(realpath))} if [ -e {name} ] || [ -L {name} ]; then rmdir -- {name}; fi", path
            )

    def lock_name(self, path: str) -> str:
        return self._lock_name(self._beside(path))

    def replace(self, path: str, final_path: str) -> None:
        """Replace the file. `mv` in one file system is rename(2), which is atomic; `-T` keeps it from moving into a
        directory.

        BusyBox's `mv` does not replace a link that leads to a directory.
        """
        self._known.forget(final_path)
        entering, realpath, final = self._names_of_a_move(path, final_path)
        self._shell(
            f"{entering} [ -d {final} ] && [ ! -L {final} ] && exit {IS_A_DIRECTORY}; "
            f"if mv --help 2>&1 | grep -q -e -T; then mv -fT -- {realpath} {final} && exit; "
            f"elif [ ! -d {final} ]; then mv -f -- {realpath} {final} && exit; fi; "
            f"[ ! -d {final} ] || exit {CANNOT_REPLACE}; exit 1",
            final_path,
        )

    def rename(self, path: str, free_path: str) -> None:
        """Make a hard link, which fails if the path exists; rename a directory, or if the file system has no hard
        links."""
        self._known.forget(path, free_path)
        entering, realpath, free = self._names_of_a_move(path, free_path)
        self._shell(
            f"{entering} if [ -e {free} ] || [ -L {free} ]; then exit {EXISTS}; fi; "
            f"if ln -- {realpath} {free} 2>/dev/null; then rm -- {realpath} || exit {MISSING}; "
            f"elif [ -e {free} ]; then exit {EXISTS}; "
            f"elif mv --help 2>&1 | grep -q -e -T; then mv -fT -- {realpath} {free}; "
            f"else mv -f -- {realpath} {free}; fi",
            free_path,
        )

    def remove(self, path: str) -> None:
        self._known.forget(path)
        if self._look(dirname(path)) is not None:
            realpath = self._beside(path)
            self._shell(f"{_entering(dirname(realpath))} rm -f -- {_in_its_directory(realpath)}", path)

    def sha256(self, path: str, first_bytes: int | None = None) -> str | None:
        found = self._found(path)
        return self._connection.sha256(found[1], found[0].size_bytes or 0, first_bytes) if found else None

    def may_write(self, path: str) -> bool | None:
        return self._connection.may_write(self._realpath_of_directory(path))

    def free_bytes(self, path: str) -> int | None:
        output = self._run(f"df -Pk -- {quote(self._beside(path))}")
        columns = _DF_COLUMNS.search(output.text)
        return int(columns[1]) * 1024 if columns else None

    def _writer(self, path: str, realpath: str, new_file: NewFile, opening: str, offset_bytes: int = 0) -> ScpWriter:
        try:
            return ScpWriter(self, self._connection, path, realpath, new_file, opening, offset_bytes)
        except MoveFailure:
            self._known.forget_all()
            raise

    def _found(self, path: str) -> tuple[FileStat, str] | None:
        """Return what `_look` does. Raises NotAllowed if the realpath is outside of the root."""
        found = self._look(path)
        if found is not None:
            self._require_inside(path, found[1])
        return found

    def _look(self, path: str) -> tuple[FileStat, str] | None:
        """Return the stat of the path and its realpath, None if it is missing. A dangling link exists, and is its own
        path."""
        name = quote(f"{self._root.rstrip('/')}{path}")
        output = self._run(
            f"{{ if [ -e {name} ]; then stat -L -c '%f %s %Y' -- {name} && readlink -f -- {name}; "
            f"elif [ -L {name} ]; then echo 0 0 0; cd -P -- {quote(dirname(self._root.rstrip('/') + path))} && pwd -P; "
            f"else echo none; fi; }} 2>&1"
        )
        first, _, rest = output.text.partition(b"\n")
        if output.status != 0:
            raise refusal(output.text, self.host, path)
        if first == b"none":
            return None
        return _stat(first, self.host), _parse_realpath(rest, self.host)

    def _fetch_root(self) -> str:
        output = self._run(f"cd -P -- {quote(self.options.root)} || exit {MISSING}; pwd -P")
        if output.status == MISSING:
            raise NoRoot(self.host)
        if output.status != 0:
            raise HostFailed(f"{self.host}: the root directory of the registry cannot be looked up")
        return _parse_realpath(output.text, self.host).rstrip("/") or "/"

    def _make_directory(self, path: str) -> None:
        realpath = self._beside(path)
        name, mode = _in_its_directory(realpath), f"{self.options.directory_mode:04o}"
        self._shell(f"{_entering(dirname(realpath))} mkdir -m {mode} -- {name} || [ -d {name} ]", path)

    def _fetch_realpath(self, path: str) -> str:
        found = self._found(path)
        if found is None:
            raise NoSuchFile(self._name(path))
        return found[1]

    def _require_inside(self, path: str, realpath: str) -> None:
        if self._root != "/" and realpath != self._root and not realpath.startswith(f"{self._root}/"):
            raise NotAllowed(self._name(path))

    def _names_of_a_move(self, path: str, final_path: str) -> tuple[str, str, str]:
        """Return the start of a command that moves a file, which detects the errors that `mv` reports only in words;
        and the quoted names for the rest of it."""
        realpath, final = self._beside(path), self._beside(final_path)
        same = dirname(realpath) == dirname(final)
        name = _in_its_directory(realpath) if same else quote(realpath)
        entering = f"{_entering(dirname(final))} [ -e {name} ] || exit {MISSING}; [ -w . ] || exit {NOT_PERMITTED};"
        return entering, name, _in_its_directory(final)

    def _shell(self, command: str, path: str) -> None:
        output = self._run(f"( {command}; ) 2>&1 && exit {DONE}")
        if output.status != DONE:
            self._known.forget_all()
        if output.status != DONE:
            raise failure_of(output.status, self._name(path)) or refusal(output.text, self.host, path)

    def _run(self, command: str) -> Output:
        return self._connection.run(f"LC_ALL=C; export LC_ALL; {command}")


def _entering(directory: str) -> str:
    """Return the start of a command that acts in a directory with a cached realpath. It may have been exchanged for a
    link since; once entered, the command stays in the directory itself, whatever has its name."""
    name = quote(directory)
    return (
        f"[ -d {name} ] || exit {MISSING}; cd -P -- {name} || exit {NOT_PERMITTED}; "
        f'[ "$(pwd -P && echo /)" = {quote(f"{directory}{chr(10)}/")} ] || exit {NOT_WHERE_IT_WAS};'
    )


def _in_its_directory(realpath: str) -> str:
    """Return the quoted name of an entry of the directory that a command has entered."""
    return quote(f"./{basename(realpath)}")


def _stat(line: bytes, host: str) -> FileStat:
    """Return the stat from the mode in hexadecimal, the size and the modification time."""
    words = _STAT.fullmatch(line)
    if words is None:
        raise ConnectionLost(f"{host}: {_NOT_UNDERSTOOD}")
    kinds = {stat.S_IFREG: FileKind.FILE, stat.S_IFDIR: FileKind.DIRECTORY}
    mode = int(words[1], 16)
    return FileStat(kinds.get(stat.S_IFMT(mode), FileKind.OTHER), int(words[2]), float(words[3]), mode=mode & 0o777)


def _parse_realpath(text: bytes, host: str) -> str:
    """Return the path that `pwd` or `readlink` has printed. Raises ConnectionLost for any other output, which would be
    taken for a wrong path."""
    if not text.startswith(b"/") or not text.endswith(b"\n"):
        raise ConnectionLost(f"{host}: {_NOT_UNDERSTOOD}")
    return text.removesuffix(b"\n").decode(errors="surrogateescape")
