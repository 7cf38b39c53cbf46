"""Staging: publish each file by itself, or a folder as a whole."""

from data_mover.backends.api import Files
from data_mover.domain.errors import ConnectionLost, Exists, MoveFailure, NoSuchFile, Stalled, UnknownOutcome
from data_mover.domain.fault_points import reach
from data_mover.domain.states import FileKind
from data_mover.execution.boundaries import Boundaries
from data_mover.execution.journal import Journal
from data_mover.execution.record import Record
from data_mover.execution.recorder import FileRecorder, HiddenFileRecorder, Progress
from data_mover.store import files, temporary_files, transitions
from data_mover.store.files import RecordedFile
from data_mover.store.temporary_files import NewTemporaryFile
from data_mover.store.transitions import PathLock
from data_mover.transfer import TemporaryFile, clear
from data_mover.transfer.names import staged_folder_path


class Direct:
    """Publishes each file by itself."""

    def __init__(self, record: Record, boundaries: Boundaries) -> None:
        self._record = record
        self._boundaries = boundaries
        self._journal = Journal(record)
        self._progress = Progress(record.lease)

    @property
    def journal(self) -> Journal:
        """The journal of the files of this attempt."""
        return self._journal

    @property
    def progress(self) -> Progress:
        return self._progress

    def begin(self) -> None:
        """Prepare for files."""

    def inside(self, path: str) -> str:
        """Return the path at which the file with this final path is published."""
        return path

    def recorder(self, file: RecordedFile, is_alone: bool, checkpoint_bytes: int) -> FileRecorder:
        return FileRecorder(
            self._record, self._boundaries, self._journal, file, is_alone, self._progress, checkpoint_bytes
        )

    def publish(self) -> None:
        """Publish what is not published yet."""

    def leave(self) -> None:
        """Clear up what no other attempt knows of, once this one has ended early."""


class Atomic(Direct):
    """Builds a folder beside its final path. Only one of all attempts can rename it there."""

    def __init__(self, record: Record, boundaries: Boundaries, destination: Files, path: str) -> None:
        super().__init__(record, boundaries)
        self._claim = record.claim
        self._destination = destination
        self._path = path
        self._staged = staged_folder_path(path, record.claim.job_id)
        self._is_published = False

    def begin(self) -> None:
        """Take over the folder of an earlier attempt, which can then no longer publish it, or begin afresh.

        Raises UnknownOutcome if one of them was about to publish, and the final path has something else.
        """
        if self._record.ask(files.is_folder_published, self._claim):
            self._is_published = True
            return
        built = self._record.ask(temporary_files.staged_folders, self._claim)
        folder = NewTemporaryFile(None, FileKind.DIRECTORY, self._staged)
        self._record.write(temporary_files.record_temporary_files, [folder], self._record.lease_seconds)
        reach("tree-recorded")
        is_marked = self._record.ask(files.is_folder_marked, self._claim)
        if any(self._take(folder) for folder in built):
            self._record.write(transitions.unmark_folder, self._record.lease_seconds)
        elif is_marked and self._destination.stat(self._path) is not None:
            self._require_complete()
            self._published()
        else:
            self._record.write(transitions.begin_afresh, self._record.lease_seconds)
            while self._record.ask(files.is_begun, self._claim):
                self._record.write(transitions.begin_afresh, self._record.lease_seconds)
            reach("tree-begun")
            self._destination.make_directories(self._staged)

    def inside(self, path: str) -> str:
        return self._staged + path.removeprefix(self._path)

    def recorder(self, file: RecordedFile, is_alone: bool, checkpoint_bytes: int) -> FileRecorder:
        return HiddenFileRecorder(
            self._record, self._boundaries, self._journal, file, False, self._progress, checkpoint_bytes
        )

    def publish(self) -> None:
        """Rename the folder. Raises Exists if the final path exists by now.

        If the connection fails, it is unknown whether the rename happened: the mark stays, and the next attempt checks.
        """
        if self._is_published:
            return
        self._boundaries.require_unrevoked()
        lock = PathLock(0, self._destination.lock_name(self._path))
        if refused := self._record.change(transitions.lock_paths, self._claim, [lock], self._record.lease_seconds):
            raise refused[0]
        self._record.write(transitions.mark_folder, self._record.lease_seconds)
        reach("tree-marked")
        try:
            self._destination.rename(self._staged, self._path)
            reach("tree-renamed")
        except (ConnectionLost, Stalled):
            raise
        except MoveFailure as failure:
            if self._destination.stat(self._staged) is not None:
                self._record.write(transitions.unmark_folder, self._record.lease_seconds)
                if self._destination.stat(self._path) is not None:
                    raise Exists(self._destination.named(self._path)) from failure
                raise
        self._published()

    def leave(self) -> None:
        """Remove a folder that a suspended attempt made after its own was taken over. One on record stays; one that
        cannot be removed now is on record again, for its connection may have broken while the attempt slept."""
        if self._staged in self._record.ask(temporary_files.staged_folders, self._claim):
            return
        try:
            clear(self._destination, TemporaryFile(self._staged, FileKind.DIRECTORY), self._record.lease.clearing)
        except MoveFailure:
            self._record.change(temporary_files.record_again, self._claim, self._staged)

    def _take(self, folder: str) -> bool:
        """Rename the folder of an earlier attempt; the rename decides between attempts. Returns False if there is
        none."""
        try:
            self._destination.rename(folder, self._staged)
        except NoSuchFile:
            return False
        reach("tree-taken")
        self._record.write(temporary_files.record_folder_taken_over, self._staged, self._record.lease_seconds)
        return True

    def _require_complete(self) -> None:
        """Raise UnknownOutcome unless the final path has the files that were built, by their sizes."""
        after = 0
        while page := self._record.ask(files.arrived, self._claim, after):
            for file in page:
                there = self._destination.stat(file.path)
                self._record.lease.alive()
                if there is None or there.size_bytes != file.size_bytes:
                    raise UnknownOutcome(self._destination.named(self._path))
            after = page[-1].number

    def _published(self) -> None:
        self._is_published = True
        self._record.write(transitions.record_folder_published, self._staged)
        reach("tree-forgotten")
