"""What a move consists of: found out from its hosts, and put on record before the first file is moved."""

from collections.abc import Callable, Iterator
from posixpath import join

from data_mover.backends.api import Source
from data_mover.domain.errors import Exists, HostUnreachable, IsADirectory, MoveFailure, NoSuchFile, NotAtomic
from data_mover.domain.fault_points import reach
from data_mover.domain.move_spec import MoveSpec
from data_mover.domain.states import FileKind
from data_mover.execution.connections import Connections
from data_mover.execution.record import Record
from data_mover.store import file_lists
from data_mover.store.file_lists import PlannedFile
from data_mover.transfer import Item, list_source, target_path

#: how many files are put on record in one transaction; no more of them are in memory
AT_A_TIME = 500


class Plan:
    """What a move consists of, as its hosts tell it now. Nothing is changed by looking."""

    def __init__(self, wanted: MoveSpec, connections: Connections, alive: Callable[[], None]) -> None:
        """`alive` is called for each file that is found, and raises what shall end the search."""
        self._wanted = wanted
        self._selection = wanted.selection
        self._alive = alive
        self._sources = [_opened(connections.source(each.host), each.path) for each in wanted.sources]
        self._destination = connections.destination(wanted.destination.host)
        self._unseen = set(self._selection.checksums)

    def target(self) -> str:
        """Where the file or the folder goes, or the directory that receives several. Raises what `target_path` does,
        and NotAtomic or Exists where a folder cannot appear there at once."""
        path = target_path(self._sources, self._destination, self._wanted.destination.path)
        if self._selection.atomic and self._is_folder():
            if not self._destination.renames_directories:
                raise NotAtomic(self._destination.named(path))
            if self._destination.stat(path) is not None:
                raise Exists(self._destination.named(path))
        return path

    def files(self, path: str) -> Iterator[PlannedFile]:
        """Every file and directory that goes to the path or below it; what cannot be moved comes with its failure.

        A directory comes before what is in it; several sources are received by one. Raises the failure of the only
        source, or of all of them.
        """
        found, several = False, len(self._sources) > 1
        for number, item in self._items():
            self._alive()
            if several and not found:
                yield PlannedFile(FileKind.DIRECTORY, 0, self._sources[0][1], "", path)
            found = True
            yield self._lock_name(number, item, path)
        if not found:
            raise NoSuchFile(f"{self._wanted.sources[0]} has nothing that options.match takes")
        if self._unseen:
            raise NoSuchFile(f"options.checksums names {min(self._unseen)!r}, which is not among the files")

    def _is_folder(self) -> bool:
        """Whether there is a directory that everything goes into; a file appears at once in any case."""
        source, path = self._sources[0]
        file_stat = source.stat(path) if source.has_directories else None
        return len(self._sources) > 1 or (file_stat is not None and file_stat.kind is FileKind.DIRECTORY)

    def _items(self) -> Iterator[tuple[int, Item]]:
        """Those of each source, by its number. Of several, one that cannot be moved keeps no other from it, nor does
        one that can only be a file, and of which nothing can be found out now.
        """
        for number, (source, path) in enumerate(self._sources):
            try:
                for item in list_source(source, path, self._selection):
                    yield number, item
            except MoveFailure as failure:
                is_for_all = failure.retryable and (source.has_directories or isinstance(failure, HostUnreachable))
                if is_for_all or len(self._sources) == 1:
                    raise
                told = None if failure.retryable else failure
                yield number, Item(FileKind.FILE, path, source.name(path), failure=told)

    def _lock_name(self, number: int, item: Item, path: str) -> PlannedFile:
        """The item, with its final path; below what the source is called, if there are several."""
        source, source_path = self._sources[number]
        above = source.name(source_path) if len(self._sources) > 1 else ""
        is_the_source = item.source_path == source_path
        below = "" if is_the_source else item.name
        name = item.name if is_the_source and item.kind is FileKind.FILE else join(above, below).rstrip("/")
        if item.kind is FileKind.DIRECTORY:
            self._require_no_checksum(source.named(item.source_path), name, is_the_source)
        self._unseen.discard(name)
        return PlannedFile(
            kind=FileKind(item.kind.value),
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
        if is_the_source and self._wanted.checksum is not None:
            raise IsADirectory(f"{directory}; options.checksum is of one file")
        if name in self._selection.checksums:
            raise IsADirectory(f"{directory}; options.checksums is of files")


def put_on_record(record: Record, connections: Connections) -> str:
    """Puts all files of the job on record, and returns where they go."""
    held = record.held
    plan = Plan(held, connections, record.lease.alive)
    path = held.path or _path_before(record) or plan.target()
    while held.attempt > 1 and record.ask(file_lists.is_listed, held):
        record.write(file_lists.forget_listed)
    number, batch = 0, list[PlannedFile]()
    for planned in plan.files(path):
        if len(batch) == AT_A_TIME:
            record.write(file_lists.record_planned, path, number, batch)
            number, batch = number + len(batch), []
            reach("listed")
        batch.append(planned)
    record.write(file_lists.record_plan, path, number, batch)
    reach("planned")
    return path


def _path_before(record: Record) -> str | None:
    """Where the job went that this one does again."""
    if record.held.retry_of is None:
        return None
    return record.ask(file_lists.path_of, record.held.retry_of, record.held)


def _opened(source: Source, path: str) -> tuple[Source, str]:
    """A slash at the end says no more than that a directory is meant; in a URL it is a part of the name."""
    return source, (path.rstrip("/") or "/") if source.has_directories else path
