"""List every file and directory of a move's sources."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import takewhile
from posixpath import join
from typing import Self

from data_mover.backends.api import Entry, Files, FileStat, Source
from data_mover.domain.errors import (
    BadName,
    IsADirectory,
    MoveFailure,
    NoSuchFile,
    NotADirectory,
    NotARegularFile,
    TooLarge,
)
from data_mover.domain.locations import MAX_PATH_BYTES, MAX_SEGMENT_BYTES
from data_mover.domain.selection import Links, Selection
from data_mover.domain.states import FileKind
from data_mover.transfer.names import is_temporary

#: so many directories may stand within each other below a source
MOST_LEVELS = 200


@dataclass(frozen=True)
class Item:
    """A file to move or a directory to make, or the failure that prevents it."""

    kind: FileKind
    source_path: str
    #: the path below the source, or the base name of a source that is a file
    name: str
    size_bytes: int | None = None
    mode: int | None = None
    modified_at: float | None = None
    failure: MoveFailure | None = None

    @classmethod
    def of(cls, path: str, name: str, found: FileStat | Entry) -> Self:
        return cls(found.kind, path, name, found.size_bytes, found.mode, found.modified_at)


def target_path(sources: Sequence[tuple[Source, str]], destination: Files, asked_path: str) -> str:
    """Return the final path of the file or folder, or of the directory that receives several.

    A directory, or a path that ends in a slash, receives the source under its own name; else it is the exact name.
    Raises NotADirectory if several sources have one name, or a folder that of a file; IsADirectory if a file has the
    name of a directory.
    """
    path = asked_path.rstrip("/") or "/"
    there = destination.stat(path)
    receives = asked_path.endswith("/") or (there is not None and there.kind is FileKind.DIRECTORY)
    if len(sources) > 1:
        if not receives:
            raise NotADirectory(destination.named(path))
        return path
    [(source, source_path)] = sources
    if receives:
        path = join(path, source.name(source_path)).rstrip("/") or "/"
        there = destination.stat(path)
    if there is not None:
        _require_same_kind(source, source_path, destination, path, there)
    return path


def list_source(
    source: Source, path: str, selection: Selection, look: Callable[[], None], enter: Callable[[str], None]
) -> Iterator[Item]:
    """Yield the file, or the directory and all that the selection takes; a directory comes before what is in it.

    `look` is called for the source and for each entry that the host lists, whether it is taken or not, and may raise to
    end the listing; `enter` before each directory is listed, with its path, and may raise why it must not. What cannot
    be moved is an item with a failure. Raises the failure of the source itself, and
    TooLarge beyond MOST_LEVELS directories.
    """
    look()
    file_stat = _stat(source, path)
    if file_stat.kind is FileKind.DIRECTORY:
        yield from _walk(source, path, file_stat, selection, look, enter)
    elif selection.takes(name := source.name(path)):
        yield Item.of(path, name, file_stat)


@dataclass(slots=True)
class _Directory:
    """A directory to list. Many may wait for that: only its own name is in memory, not its path."""

    #: the path of the source; of all others the last name
    name: str
    above: "_Directory | None"
    mode: int | None
    modified_at: float | None
    #: its realpath, where links are followed
    realpath: str | None
    is_yielded: bool = False

    @property
    def item(self) -> Item:
        *below, top = self.and_above()
        name = "/".join(each.name for each in reversed(below))
        path = join(top.name, name) if name else top.name
        return Item(FileKind.DIRECTORY, path, name, None, self.mode, self.modified_at)

    def and_above(self) -> Iterator["_Directory"]:
        """Yield this directory and all above it, the source last."""
        directory: _Directory | None = self
        while directory is not None:
            yield directory
            directory = directory.above

    def yield_once(self) -> Iterator[Item]:
        """Yield the directories above that have not been yielded, the uppermost first, and this one."""
        new = list(takewhile(lambda directory: not directory.is_yielded, self.and_above()))
        for directory in reversed(new):
            directory.is_yielded = True
            yield directory.item


def _require_same_kind(source: Source, source_path: str, destination: Files, path: str, there: FileStat) -> None:
    is_folder = _stat(source, source_path).kind is FileKind.DIRECTORY
    if is_folder and there.kind is not FileKind.DIRECTORY:
        raise NotADirectory(destination.named(path))
    if not is_folder and there.kind is FileKind.DIRECTORY:
        raise IsADirectory(destination.named(path))


def _walk(
    source: Source,
    path: str,
    file_stat: FileStat,
    selection: Selection,
    look: Callable[[], None],
    enter: Callable[[str], None],
) -> Iterator[Item]:
    """Yield every directory if there are no patterns, else those with a file that a pattern matches."""
    realpath = _realpath(source, path, selection, None)
    top = _Directory(path, None, file_stat.mode, file_stat.modified_at, realpath)
    waiting = [top]
    while waiting:
        directory = waiting.pop()
        try:
            enter(directory.item.source_path)
            for found in _children(source, directory, selection, look):
                if isinstance(found, _Directory):
                    waiting.append(found)
                elif selection.takes(found.name):
                    yield from directory.yield_once()
                    yield found
        except MoveFailure as failure:
            if directory is top or failure.retryable or isinstance(failure, TooLarge):
                raise
            if directory.above is not None:
                yield from directory.above.yield_once()
            yield replace(directory.item, failure=failure)
        else:
            if not selection.match:
                yield from directory.yield_once()


def _children(
    source: Source, directory: _Directory, selection: Selection, look: Callable[[], None]
) -> Iterator[Item | _Directory]:
    """Yield the entries of a directory, without temporary files."""
    above = directory.item
    if sum(1 for _ in directory.and_above()) > MOST_LEVELS + 1:
        raise TooLarge(f"{source.named(above.source_path)}: a move has {MOST_LEVELS} levels of directories at most")
    with closing(source.list(above.source_path)) as entries:
        for entry in entries:
            look()
            if is_temporary(entry.name) or (entry.kind is FileKind.LINK and selection.links is Links.SKIP):
                continue
            name, path = join(above.name, entry.name), join(above.source_path, entry.name)
            try:
                yield _child(source, directory, entry, name, path, selection)
            except MoveFailure as failure:
                if failure.retryable:
                    raise
                yield Item(FileKind.FILE, _readable(path), _readable(name), failure=failure)


def _child(
    source: Source, directory: _Directory, entry: Entry, name: str, path: str, selection: Selection
) -> Item | _Directory:
    _require_usable(source, entry.name, path)
    found = _followed(source, path, selection) if entry.kind is FileKind.LINK else entry
    if found.kind is FileKind.DIRECTORY:
        realpath = _realpath(source, path, selection, directory)
        return _Directory(entry.name, directory, found.mode, found.modified_at, realpath)
    if found.kind is not FileKind.FILE:
        raise NotARegularFile(source.named(path))
    return Item.of(path, name, found)


def _followed(source: Source, path: str, selection: Selection) -> FileStat:
    if selection.links is Links.REFUSE:
        raise NotARegularFile(f"{source.named(path)} is a link")
    return _stat(source, path)


def _realpath(source: Source, path: str, selection: Selection, directory: _Directory | None) -> str | None:
    """Return the realpath of a directory within the given one, or None where no links are followed. Raise
    NotARegularFile if a link leads back to a directory above it."""
    if selection.links is not Links.FOLLOW:
        return None
    realpath = source.realpath(path)
    if directory is not None and any(each.realpath == realpath for each in directory.and_above()):
        raise NotARegularFile(f"{source.named(path)} is a link that leads back to a directory above it")
    return realpath


def _stat(source: Source, path: str) -> FileStat:
    """Return the stat. Raises NoSuchFile or NotARegularFile. Sends no request to a source without directories."""
    if not source.has_directories:
        return FileStat(FileKind.FILE, None, None)
    file_stat = source.stat(path)
    if file_stat is None:
        raise NoSuchFile(source.named(path))
    if file_stat.kind not in (FileKind.FILE, FileKind.DIRECTORY):
        raise NotARegularFile(source.named(path))
    return file_stat


def _require_usable(source: Source, name: str, path: str) -> None:
    """Raise BadName if a name that a server has sent could lead out of its directory, or cannot be recorded."""
    try:
        too_long = len(name.encode()) > MAX_SEGMENT_BYTES or len(path.encode()) > MAX_PATH_BYTES
    except UnicodeEncodeError:
        raise BadName(source.named(_readable(path))) from None
    if too_long or name in ("", ".", "..") or "/" in name or "\0" in name:
        raise BadName(source.named(path))


def _readable(text: str) -> str:
    """Replace what is not UTF-8, so that the text can be shown and recorded."""
    return text.encode(errors="surrogateescape").decode(errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
