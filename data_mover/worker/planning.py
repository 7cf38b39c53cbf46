"""Putting on record what a job consists of, before its first file is moved."""

from collections.abc import Iterator
from posixpath import join

from data_mover.errors import Exists, IsADirectory, MoveFailure, NoSuchFile, NotAtomic
from data_mover.fault_points import reach
from data_mover.jobs import plans
from data_mover.jobs.plans import PlannedFile
from data_mover.jobs.states import FileKind
from data_mover.protocols.base import Kind, Source
from data_mover.transfer import Item, list_source, target_path
from data_mover.worker.connections import Connections
from data_mover.worker.record import Record

#: how many files are put on record in one transaction; no more of them are in memory
AT_A_TIME = 500


class Plan:
    """What one attempt finds out about a job that no earlier one has put on record as a whole."""

    def __init__(self, record: Record, connections: Connections) -> None:
        self._record = record
        self._held = record.held
        self._selection = record.held.selection
        self._sources = [_opened(connections.source(each.host), each.path) for each in self._held.sources]
        self._destination = connections.destination(self._held.destination.host)
        self._unseen = set(self._selection.checksums)

    def make(self) -> str:
        """Puts all files on record, and returns where they go. Raises what befell the only source, or all of them."""
        path = self._held.path or self._path_before() or self._target()
        number, batch = 0, list[PlannedFile]()
        for planned in self._planned(path):
            if len(batch) == AT_A_TIME:
                self._record.write(plans.record_planned, path, number, batch)
                number, batch = number + len(batch), []
                reach("listed")
            batch.append(planned)
        self._require_what_was_named(found=number + len(batch) > 0)
        self._record.write(plans.record_plan, path, number, batch)
        reach("planned")
        return path

    def _path_before(self) -> str | None:
        """Where the job went that this one does again."""
        if self._held.retry_of is None:
            return None
        return self._record.ask(plans.path_of, self._held.retry_of, self._held)

    def _target(self) -> str:
        path = target_path(self._sources, self._destination, self._held.destination.path)
        if self._selection.atomic and self._is_folder():
            if not self._destination.renames_directories:
                raise NotAtomic(self._destination.named(path))
            if self._destination.facts(path) is not None:
                raise Exists(self._destination.named(path))
        return path

    def _is_folder(self) -> bool:
        """Whether there is a directory that everything goes into; a file appears at once in any case."""
        source, path = self._sources[0]
        facts = source.facts(path) if source.has_directories else None
        return len(self._sources) > 1 or (facts is not None and facts.kind is Kind.DIRECTORY)

    def _planned(self, path: str) -> Iterator[PlannedFile]:
        """Several sources are received by a directory, which comes first; a folder comes with its own."""
        several = len(self._sources) > 1
        if several:
            yield PlannedFile(FileKind.DIRECTORY, 0, self._sources[0][1], "", path)
        for number, (source, source_path) in enumerate(self._sources):
            above = source.name(source_path) if several else ""
            for item in self._items(source, source_path):
                self._record.lease.alive()
                yield self._placed(number, item, path, above)

    def _items(self, source: Source, path: str) -> Iterator[Item]:
        """Those of one source. Of several, one that cannot be moved keeps no other from it."""
        try:
            yield from list_source(source, path, self._selection)
        except MoveFailure as failure:
            if failure.retryable or len(self._sources) == 1:
                raise
            yield Item(Kind.FILE, path, source.name(path), failure=failure)

    def _placed(self, number: int, item: Item, path: str, above: str) -> PlannedFile:
        """The item, with its final path; `above` is what the source itself is called, if it has a name there."""
        is_the_source = item.source_path == self._sources[number][1]
        if is_the_source and item.kind is Kind.DIRECTORY and self._held.checksum is not None:
            raise IsADirectory(f"{self._held.sources[number]}; options.checksum is of one file")
        below = "" if is_the_source else item.name
        name = item.name if is_the_source and item.kind is Kind.FILE else join(above, below).rstrip("/")
        self._unseen.discard(name)
        return PlannedFile(
            kind=FileKind(item.kind.value),
            source_number=number,
            source_path=item.source_path,
            name=name,
            path=None if item.failure else join(path, above, below).rstrip("/") or "/",
            size_bytes=item.size_bytes if item.kind is Kind.FILE else None,
            mode=item.mode,
            modified_at=item.modified_at,
            code=item.failure.code if item.failure else None,
            reason=item.failure.reason if item.failure else None,
        )

    def _require_what_was_named(self, found: bool) -> None:
        if not found:
            raise NoSuchFile(f"{self._held.sources[0]} has nothing that options.match takes")
        if self._unseen:
            raise NoSuchFile(f"options.checksums names {min(self._unseen)!r}, which is not among the files")


def _opened(source: Source, path: str) -> tuple[Source, str]:
    """A slash at the end says no more than that a directory is meant; in a URL it is a part of the name."""
    return source, (path.rstrip("/") or "/") if source.has_directories else path
