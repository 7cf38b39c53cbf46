"""Find out what a move would do, without changing anything."""

from collections.abc import Callable
from posixpath import dirname

from data_mover.domain.errors import (
    CannotReplace,
    Exists,
    IsADirectory,
    MoveFailure,
    NameConflict,
    NoRoot,
    NoSpace,
    NoSuchFile,
    NotADirectory,
    NotAllowed,
    PermissionRefused,
)
from data_mover.domain.locations import IfExists
from data_mover.domain.move_spec import MoveSpec
from data_mover.domain.states import FileKind
from data_mover.execution.boundaries import Boundaries
from data_mover.execution.connections import Connections
from data_mover.execution.file_list import FileList
from data_mover.store.file_lists import ListedFile
from data_mover.store.plan_requests import ExpectedFailure, PlanReport

#: so many of the files that would fail are reported one by one
MOST_FAILURES = 100


class DryRun:
    """Runs a move up to its first change, and fills in the report.

    Opens each source that is a file; trusts the listing for the files of a folder.
    """

    def __init__(
        self,
        spec: MoveSpec,
        connections: Connections,
        boundaries: Boundaries,
        report: PlanReport,
        most_files: int,
        alive: Callable[[], None],
    ) -> None:
        """`alive` is called for each entry that a source shows and between steps, and may raise to end the dry run."""
        self._spec = spec
        self._connections = connections
        self._destination = connections.destination(spec.destination.host)
        self._boundaries = boundaries
        self._report = report
        self._most_files = most_files
        self._alive = alive
        #: directories that do not exist, without those below them
        self._absent = set[str]()
        #: the final paths of the sources themselves
        self._taken = set[str]()

    def look(self) -> None:
        """Fill in the report. Raises the MoveFailure that would end the whole move."""
        listing = FileList(
            self._spec,
            self._connections,
            self._boundaries,
            self._boundaries.most_files(self._most_files),
            self._alive,
        )
        path = self._report.path = listing.target()
        self._alive()
        directory = self._receiving(path)
        self._alive()
        self._report.bytes_free = self._destination.free_bytes(directory)
        self._report.writable = self._destination.may_write(directory)
        if self._report.writable is False:
            self._expect(PermissionRefused(self._destination.named(directory)))
        for listed in listing.files(path):
            self._require_name_of_its_own(listed)
            if listed.kind is FileKind.FILE:
                self._report.files_total += 1
            if listed.code is not None:
                self._expect_of_file(listed.name, listed.code, listed.reason or "")
            elif listed.kind is FileKind.FILE:
                self._look_at_file(listed)
            else:
                self._look_at_directory(listed)
        self._require_room()

    def _receiving(self, path: str) -> str:
        """Return the closest directory that exists, at the path or above it."""
        file_stat = self._destination.stat(path)
        if file_stat is None or file_stat.kind is not FileKind.DIRECTORY:
            path = dirname(path)
            while (file_stat := self._destination.stat(path)) is None and path != "/":
                path = dirname(path)
        if file_stat is not None and file_stat.kind is FileKind.DIRECTORY:
            return path
        if path == "/":
            raise NoRoot(self._destination.host)
        raise NoSuchFile(f"{self._destination.named(path)} is no directory")

    def _require_name_of_its_own(self, listed: ListedFile) -> None:
        if listed.path is None or not self._is_source(listed):
            return
        if listed.path in self._taken:
            raise NameConflict(self._destination.named(listed.path))
        self._taken.add(listed.path)

    def _is_source(self, listed: ListedFile) -> bool:
        """Whether this is a source itself, not a file within one."""
        asked = self._spec.sources[listed.source_number]
        return listed.source_path.rstrip("/") == asked.path.rstrip("/")

    def _look_at_directory(self, listed: ListedFile) -> None:
        path = listed.path or "/"
        try:
            self._boundaries.require_directory(self._destination, path)
        except NotAllowed as failure:
            self._expect(failure)
            return
        if self._is_absent(path):
            return
        file_stat = self._destination.stat(path)
        if file_stat is None:
            self._absent.add(path)
        elif file_stat.kind is not FileKind.DIRECTORY:
            self._absent.add(path)
            self._expect(NotADirectory(self._destination.named(path)))
        elif self._destination.may_write(path) is False:
            self._expect(PermissionRefused(self._destination.named(path)))

    def _look_at_file(self, listed: ListedFile) -> None:
        try:
            self._require_rights(listed)
            size_bytes = self._size_bytes(listed)
            self._count(size_bytes)
            self._require_replaceable(listed.path or "/", size_bytes)
        except MoveFailure as failure:
            if failure.retryable:
                raise
            self._expect_of_file(listed.name, failure.code, failure.reason)

    def _require_rights(self, listed: ListedFile) -> None:
        source = self._connections.source(self._spec.sources[listed.source_number].host)
        self._boundaries.require_readable(source, listed.source_number, listed.source_path)
        self._boundaries.require_writable(self._destination, listed.path or "/")

    def _size_bytes(self, listed: ListedFile) -> int | None:
        if not self._is_source(listed):
            return listed.size_bytes
        source = self._connections.source(self._spec.sources[listed.source_number].host)
        with source.open(listed.source_path) as reader:
            return reader.stat.size_bytes

    def _count(self, size_bytes: int | None) -> None:
        total = self._report.bytes_total
        self._report.bytes_total = None if total is None or size_bytes is None else total + size_bytes

    def _require_replaceable(self, path: str, size_bytes: int | None) -> None:
        there = None if self._is_absent(path) else self._destination.stat(path)
        if there is None:
            return
        self._report.files_existing += 1
        if there.kind is FileKind.DIRECTORY:
            raise IsADirectory(self._destination.named(path))
        may_replace = self._boundaries.may_replace(self._destination, path)
        if self._spec.if_exists is IfExists.REPLACE and may_replace and not self._can_replace():
            raise CannotReplace(self._destination.named(path))
        differs = size_bytes not in (None, there.size_bytes)
        if (
            not may_replace
            or self._spec.if_exists is IfExists.REFUSE
            or (self._spec.if_exists is IfExists.VERIFY and differs)
        ):
            raise Exists(self._destination.named(path))

    def _can_replace(self) -> bool:
        return self._destination.replaces or self._destination.options.replace == "swap"

    def _is_absent(self, path: str) -> bool:
        """Whether a directory above the path is known not to exist."""
        above = dirname(path)
        while above != "/" and above not in self._absent:
            above = dirname(above)
        return above in self._absent

    def _require_room(self) -> None:
        free, total, reserved = self._report.bytes_free, self._report.bytes_total, self._report.bytes_reserved
        if free is not None and total is not None and free < total + reserved:
            others = f", and {reserved} more are on their way there" if reserved else ""
            host = self._spec.destination.host
            self._expect(NoSpace(f"{host} has {free} bytes free, the move has {total}{others}"))

    def _expect_of_file(self, name: str, code: str, reason: str) -> None:
        self._report.files_failed += 1
        if len(self._report.failures) < MOST_FAILURES:
            self._report.failures.append(ExpectedFailure(name, code, reason))
        if self._report.code is None:
            self._report.expect(code, reason)

    def _expect(self, failure: MoveFailure) -> None:
        """Report the failure, unless an earlier one would end the move."""
        if self._report.code is None:
            self._report.expect(failure.code, failure.reason)
