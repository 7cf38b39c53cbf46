"""List every file and directory of a move's sources."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from posixpath import join
from typing import Self

from data_mover.backends.api import Entry, Files, FileStat, Source
from data_mover.domain.errors import BadName, IsADirectory, MoveFailure, NoSuchFile, NotADirectory, NotARegularFile
from data_mover.domain.locations import MAX_PATH_BYTES, MAX_SEGMENT_BYTES
from data_mover.domain.selection import Links, Selection
from data_mover.domain.states import FileKind
from data_mover.transfer.names import is_temporary


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


def list_source(source: Source, path: str, selection: Selection) -> Iterator[Item]:
    """Yield the file, or the directory and all that the selection takes; a directory comes before what is in it.

    What cannot be moved is an item with a failure. Raises the failure of the source itself.
    """
    file_stat = _stat(source, path)
    if file_stat.kind is FileKind.DIRECTORY:
        yield from _walk(source, path, file_stat, selection)
    elif selection.takes(name := source.name(path)):
        yield Item.of(path, name, file_stat)


@dataclass
class _Directory:
    """A directory to list."""

    item: Item
    above: "_Directory | None"
    #: the realpaths of the directory and of all above it, where links are followed
    realpaths: frozenset[str] = frozenset()
    is_yielded: bool = field(default=False)

    def yield_once(self) -> Iterator[Item]:
        """Yield the directories above that have not been yielded, the uppermost first, and this one."""
        if not self.is_yielded:
            if self.above is not None:
                yield from self.above.yield_once()
            self.is_yielded = True
            yield self.item


def _require_same_kind(source: Source, source_path: str, destination: Files, path: str, there: FileStat) -> None:
    is_folder = _stat(source, source_path).kind is FileKind.DIRECTORY
    if is_folder and there.kind is not FileKind.DIRECTORY:
        raise NotADirectory(destination.named(path))
    if not is_folder and there.kind is FileKind.DIRECTORY:
        raise IsADirectory(destination.named(path))


def _walk(source: Source, path: str, file_stat: FileStat, selection: Selection) -> Iterator[Item]:
    """Yield every directory if there are no patterns, else those with a file that a pattern matches."""
    top = _Directory(Item.of(path, "", file_stat), None, _realpaths(source, path, selection, frozenset()))
    waiting = [top]
    while waiting:
        directory = waiting.pop()
        try:
            for item, realpaths in _children(source, directory, selection):
                if item.kind is FileKind.DIRECTORY and item.failure is None:
                    waiting.append(_Directory(item, directory, realpaths))
                elif selection.takes(item.name):
                    yield from directory.yield_once()
                    yield item
        except MoveFailure as failure:
            if directory is top or failure.retryable:
                raise
            directory.item, directory.is_yielded = replace(directory.item, failure=failure), False
            yield from directory.yield_once()
        else:
            if not selection.match:
                yield from directory.yield_once()


def _children(source: Source, directory: _Directory, selection: Selection) -> Iterator[tuple[Item, frozenset[str]]]:
    """Yield the entries of a directory, without temporary files; directories with their realpaths."""
    for entry in source.list(directory.item.source_path):
        if is_temporary(entry.name):
            continue
        name, path = join(directory.item.name, entry.name), join(directory.item.source_path, entry.name)
        if entry.kind is FileKind.LINK and selection.links is Links.SKIP:
            continue
        try:
            _require_usable(source, entry.name, path)
            found = _followed(source, path, selection) if entry.kind is FileKind.LINK else entry
            if found.kind not in (FileKind.FILE, FileKind.DIRECTORY):
                raise NotARegularFile(source.named(path))
            realpaths = frozenset[str]()
            if found.kind is FileKind.DIRECTORY:
                realpaths = _realpaths(source, path, selection, directory.realpaths)
        except MoveFailure as failure:
            if failure.retryable:
                raise
            yield Item(FileKind.FILE, _readable(path), _readable(name), failure=failure), frozenset()
        else:
            yield Item.of(path, name, found), realpaths


def _followed(source: Source, path: str, selection: Selection) -> FileStat:
    if selection.links is Links.REFUSE:
        raise NotARegularFile(f"{source.named(path)} is a link")
    return _stat(source, path)


def _realpaths(source: Source, path: str, selection: Selection, above: frozenset[str]) -> frozenset[str]:
    """Raise NotARegularFile if a link leads back to a directory above it."""
    if selection.links is not Links.FOLLOW:
        return frozenset()
    realpath = source.realpath(path)
    if realpath in above:
        raise NotARegularFile(f"{source.named(path)} is a link that leads back to a directory above it")
    return above | {realpath}


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
