"""List the files of a move, and record the list before the first file is moved."""

from collections.abc import Callable, Iterator
from functools import partial
from posixpath import join

from data_mover.backends.api import Source
from data_mover.domain.errors import Exists, HostUnreachable, IsADirectory, MoveFailure, NoSuchFile, NotAtomic, TooLarge
from data_mover.domain.fault_points import reach
from data_mover.domain.move_spec import MoveSpec
from data_mover.domain.states import FileKind
from data_mover.execution.boundaries import Boundaries
from data_mover.execution.connections import Connections
from data_mover.execution.record import Record
from data_mover.store import file_lists
from data_mover.store.file_lists import ListedFile
from data_mover.transfer import Item, list_source, target_path

#: how many files are recorded in one transaction; no more of them are in memory
AT_A_TIME = 500


class FileList:
    """The files of a move, as its hosts list them now. Read-only."""

    def __init__(
        self,
        spec: MoveSpec,
        connections: Connections,
        boundaries: Boundaries,
        most_files: int,
        alive: Callable[[], None],
    ) -> None:
        """`alive` is called for each entry that a source shows, and may raise to end the listing. Raises NotAllowed if
        the source itself is elsewhere than the caller may read."""
        self._spec = spec
        self._boundaries = boundaries
        self._selection = spec.selection
        self._most_files = most_files
        self._alive = alive
        #: how many entries the sources have shown, whether the move takes them or not
        self._entries = 0
        self._sources = [_opened(connections.source(each.host), each.path) for each in spec.sources]
        self._destination = connections.destination(spec.destination.host)
        self._unseen = set(self._selection.checksums)
        for number, (source, path) in enumerate(self._sources):
            boundaries.require_readable(source, number, path)

    def target(self) -> str:
        """Return the final path of the file or folder, or of the directory that receives several. Raises what
        `target_path` does, and NotAtomic or Exists if an atomic folder cannot be published there."""
        path = target_path(self._sources, self._destination, self._spec.destination.path)
        if self._selection.atomic and self._is_folder():
            if not self._destination.renames_directories:
                raise NotAtomic(self._destination.named(path))
            if self._destination.stat(path) is not None:
                raise Exists(self._destination.named(path))
        return path

    def files(self, path: str) -> Iterator[ListedFile]:
        """Yield every file and directory with its final path; what cannot be moved has a failure.

        A directory comes before what is in it; several sources have one directory above them. Raises the failure of the
        only source, and failures that concern all of them; TooLarge if the sources show more than `most_files`.
        """
        found, several = False, len(self._sources) > 1
        for number, item in self._items():
            if several and not found:
                self._look()
                yield ListedFile(FileKind.DIRECTORY, 0, self._sources[0][1], "", path)
            found = True
            yield self._listed(number, item, path)
        if not found:
            raise NoSuchFile(f"{self._spec.sources[0]} has nothing that options.match takes")
        if self._unseen:
            raise NoSuchFile(f"options.checksums names {min(self._unseen)!r}, which is not among the files")

    def _is_folder(self) -> bool:
        """Whether everything is moved into one directory; a single file is atomic in any case."""
        source, path = self._sources[0]
        file_stat = source.stat(path) if source.has_directories else None
        return len(self._sources) > 1 or (file_stat is not None and file_stat.kind is FileKind.DIRECTORY)

    def _items(self) -> Iterator[tuple[int, Item]]:
        """Yield the items of each source, with its number. If one of several cannot be listed, it is an item with a
        failure, unless a retry may help. A URL that does not answer now is tried when it is moved.
        """
        for number, (source, path) in enumerate(self._sources):
            try:
                enter = partial(self._boundaries.require_readable, source, number)
                for item in list_source(source, path, self._selection, self._look, enter):
                    yield number, item
            except MoveFailure as failure:
                is_for_all = failure.retryable and (source.has_directories or isinstance(failure, HostUnreachable))
                if is_for_all or isinstance(failure, TooLarge) or len(self._sources) == 1:
                    raise
                known = None if failure.retryable else failure
                yield number, Item(FileKind.FILE, path, source.name(path), failure=known)

    def _look(self) -> None:
        """Count an entry. A host may show any number that the move does not take."""
        self._alive()
        self._entries += 1
        if self._entries > self._most_files:
            raise TooLarge(f"{self._spec.sources[0]}: a move looks at {self._most_files} files and directories at most")

    def _listed(self, number: int, item: Item, path: str) -> ListedFile:
        """Return the item with its final path; below the name of its source, if there are several."""
        source, source_path = self._sources[number]
        above = source.name(source_path) if len(self._sources) > 1 else ""
        is_the_source = item.source_path == source_path
        below = "" if is_the_source else item.name
        name = item.name if is_the_source and item.kind is FileKind.FILE else join(above, below).rstrip("/")
        if item.kind is FileKind.DIRECTORY:
            self._require_no_checksum(source.named(item.source_path), name, is_the_source)
        self._unseen.discard(name)
        return ListedFile(
            kind=item.kind,
            source_number=number,
            source_path=item.source_path,
            name=name,
            path=None if item.failure else join(path, above, below).rstrip("/") or "/",
            size_bytes=item.size_bytes if item.kind is FileKind.FILE else None,
            mode=item.mode,
            modified_at=item.modified_at,
            code=item.failure.code if item.failure else None,
            reason=item.failure.reason if item.failure else None,
        )

    def _require_no_checksum(self, directory: str, name: str, is_the_source: bool) -> None:
        if is_the_source and self._spec.checksum is not None:
            raise IsADirectory(f"{directory}; options.checksum is of one file")
        if name in self._selection.checksums:
            raise IsADirectory(f"{directory}; options.checksums is of files")


def record_file_list(record: Record, connections: Connections, boundaries: Boundaries, most_files: int) -> str:
    """Record all files of the job; return their final path. Raises TooLarge if the sources show more than
    `most_files`."""
    claim = record.claim
    listing = FileList(claim, connections, boundaries, most_files, record.lease.listed)
    path = claim.path or _path_before(record) or listing.target()
    while claim.attempt > 1 and record.ask(file_lists.is_listed, claim):
        record.write(file_lists.forget_listed)
    number, batch = 0, list[ListedFile]()
    for listed in listing.files(path):
        if len(batch) == AT_A_TIME:
            record.write(file_lists.record_files, path, number, batch)
            number, batch = number + len(batch), []
            reach("listed")
        batch.append(listed)
    record.write(file_lists.complete_file_list, path, number, batch)
    reach("planned")
    return path


def _path_before(record: Record) -> str | None:
    """Return the final path of the job that this one retries."""
    if record.claim.retry_of is None:
        return None
    return record.ask(file_lists.path_of, record.claim.retry_of, record.claim)


def _opened(source: Source, path: str) -> tuple[Source, str]:
    """Strip the slash at the end of a directory. In a URL it is a part of the name."""
    return source, (path.rstrip("/") or "/") if source.has_directories else path
