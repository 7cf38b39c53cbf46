"""Move all files of a job, then set the attributes of its directories."""

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain

from data_mover.backends.api import Files, Source
from data_mover.config.settings import Settings
from data_mover.domain.errors import (
    ConnectionLost,
    DataMoverError,
    HostUnreachable,
    MoveFailure,
    NoSpace,
    PathBusy,
    PermissionRefused,
    ServiceUnavailable,
    Stalled,
    StateDirFull,
)
from data_mover.domain.locations import IfExists
from data_mover.domain.states import FileKind
from data_mover.execution.boundaries import Boundaries
from data_mover.execution.connections import Connections
from data_mover.execution.file_list import record_file_list
from data_mover.execution.journal import Reserving
from data_mover.execution.record import Record
from data_mover.execution.staging import Atomic, Direct
from data_mover.store import claims, figures, files, list_proofs, temporary_files, transitions
from data_mover.store.files import RecordedFile
from data_mover.store.list_proofs import ProvenRow
from data_mover.store.temporary_files import RecordedTemporaryFile
from data_mover.transfer import Checkpoint, FileTask, Move, Pipeline, Room, TemporaryFile, move_file

log = logging.getLogger(__name__)

_OWNER_WRITES = 0o300
#: how many files are in flight if no host has a limit
MOST_FILES = 64
#: sorts before the attempt and number of every file
_FIRST = (-1, -1)
#: failures that end the attempt, since its other files would fail alike
_OF_ALL_FILES = (ConnectionLost, HostUnreachable, NoSpace, Stalled, StateDirFull)


class Execution:
    """The work of one attempt. A file that fails does not prevent the others."""

    def __init__(self, settings: Settings, record: Record, connections: Connections, boundaries: Boundaries) -> None:
        self._settings = settings
        self._boundaries = boundaries
        self._record = record
        self._claim = record.claim
        self._connections = connections
        #: the temporary files of earlier attempts, by the number of the file
        self._temporary_files: dict[int | None, list[TemporaryFile]] = defaultdict(list)
        #: why a further attempt is needed
        self._setback: MoveFailure | PathBusy | None = None
        self._missing_bytes = 0
        self._room = Room()
        self._is_alone = True
        #: whether its only file is known to be all that it has on record
        self._is_single = False
        self._has_directories = True
        #: by number of the file, the path of an earlier one that a host may take for the same
        self._twins = dict[int, str]()

    def run(self) -> None:
        """Return once all files have their final names. Raises the failure of the attempt, that of the first file that
        needs another attempt, or FilesFailed if no attempt can help."""
        staging = self._staging(self._claim.path if self._claim.planned else None)
        try:
            self._run(staging)
        except DataMoverError:  # whatever it is: the job may be another attempt's meanwhile
            self._record.lease.noticed()
            with suppress(MoveFailure, ServiceUnavailable):
                staging.leave()
            raise
        if not self._is_single:
            self._record_proof()

    def _run(self, staging: Direct) -> None:
        staging.begin()
        self._look_back(staging)
        if self._has_directories and not self._claim.selection.atomic:
            self._find_directories()
        self._move_all(staging)
        if isinstance(self._setback, PathBusy):
            raise self._setback
        failed = self._setback or (None if self._is_single else self._record.ask(files.first_failure, self._claim))
        if self._has_directories:
            self._finish_directories(staging, is_complete=failed is None)
        if failed is not None:
            raise failed
        staging.publish()

    def _staging(self, path: str | None) -> Direct:
        planned = path or record_file_list(
            self._record,
            self._connections,
            self._boundaries,
            self._boundaries.most_files(self._settings.max_files),
        )
        if self._claim.selection.atomic and self._record.ask(files.is_folder, self._claim):
            self._boundaries.require_directory(self._destination, planned)
            return Atomic(self._record, self._boundaries, self._destination, planned)
        return Direct(self._record, self._boundaries)

    def _look_back(self, staging: Direct) -> None:
        """Load what earlier attempts have done."""
        if self._claim.attempt > 1:
            for temporary_file in self._record.ask(temporary_files.left_by_earlier_attempts, self._claim):
                if temporary_file.kind is FileKind.FILE:
                    self._temporary_files[temporary_file.file_number].append(_temporary_file(temporary_file))
        found = self._record.ask(figures.figures, self._claim.job_id)
        self._is_alone = found.files_total == 1
        self._has_directories = found.directories_total > 0
        self._missing_bytes = found.missing_bytes
        staging.progress.settled(-1, found.arrived_bytes)

    def _find_directories(self) -> None:
        """Record which directories stand there before anything is made: they keep their mode and time. Of what is below
        one that is missing nothing can be there."""
        after, absent = -1, ""
        while page := self._record.ask(files.directories_to_find, self._claim, after):
            existing, missing = list[int](), list[int]()
            for directory in page:
                is_below = absent and directory.path.startswith(f"{absent}/")
                if not is_below and self._is_directory(directory.path):
                    existing.append(directory.number)
                else:
                    missing.append(directory.number)
                    absent = absent if is_below else directory.path
            self._record.write(transitions.record_found_directories, existing, missing)
            if len(page) < files.PAGE:
                return
            after = page[-1].number

    def _is_directory(self, path: str) -> bool:
        """Whether a directory stands there, links followed. What is in the way of one shows when it is made."""
        self._record.lease.alive()
        try:
            file_stat = self._destination.stat(path)
        except MoveFailure as failure:
            if failure.retryable:
                raise
            return False
        return file_stat is not None and file_stat.kind is FileKind.DIRECTORY

    def _move_all(self, staging: Direct) -> None:
        unsettled = self._unsettled()
        first = next(unsettled, None)
        if first is not None:
            self._is_single = self._is_alone and first.number == 0
            most_files = _most_files(self._source(first), self._destination)  # connected, so no longer resolving
            self._room = Room(self._missing_bytes)
            staging.journal.put_beside(Reserving(self._room))
            self._twins = {} if self._is_alone else self._record.ask(files.twins, self._claim)
            others = (file for file in chain([first], unsettled) if file.number not in self._twins)
            self._pipeline(staging, most_files).run(self._moves(others, staging))
            if self._twins:
                twins = (file for file in self._unsettled() if file.number in self._twins)
                self._pipeline(staging, 1).run(self._moves(twins, staging))

    def _pipeline(self, staging: Direct, most_files: int) -> Pipeline:
        return Pipeline(self._connections.lines, staging.journal, most_files)

    def _unsettled(self) -> Iterator[RecordedFile]:
        """Yield the files that this attempt is not done with, page by page."""
        last = _FIRST
        while True:
            page = self._record.ask(files.unsettled, self._claim, last)
            yield from page
            if len(page) < files.PAGE:
                return
            last = (page[-1].attempt, page[-1].number)

    def _moves(self, unsettled: Iterable[RecordedFile], staging: Direct) -> Iterator[Move]:
        return (Move(self._move(file, staging), file.size_bytes) for file in unsettled)

    def _source(self, file: RecordedFile) -> Source:
        return self._connections.source(self._claim.sources[file.source_number].host)

    async def _move(self, file: RecordedFile, staging: Direct) -> None:
        source = self._source(file)
        recorder = staging.recorder(file, self._is_alone, self._checkpoint_bytes(file))
        try:
            self._boundaries.require_readable(source, file.source_number, file.source_path)
            self._boundaries.require_writable(self._destination, file.path)
            await move_file(self._task(file, staging), source, self._destination, recorder)
        except (PathBusy, MoveFailure) as failure:
            staging.progress.dropped(file.number)
            self._room.settled(_expected_bytes(file))
            if self._is_alone:
                raise
            self._put_off(file, self._record.lease.cause_of(failure))
        else:
            self._room.settled(_expected_bytes(file))
            staging.progress.settled(file.number, recorder.proof.size_bytes)

    def _put_off(self, file: RecordedFile, failure: DataMoverError) -> None:
        """Record the failure of a file. Raises it if it ends the attempt."""
        match failure:
            case PathBusy():
                self._record.write(transitions.record_busy, [file.number])
                self._setback = self._setback or failure
            case MoveFailure():
                log.warning("file-failed %s file=%d code=%s %s", self._claim, file.number, failure.code, failure.reason)
                self._record.write(transitions.record_failures, {file.number: failure})
                if isinstance(failure, _OF_ALL_FILES):
                    raise failure
                if failure.retryable and not isinstance(self._setback, MoveFailure):
                    self._setback = failure
            case _:
                raise failure

    def _finish_directories(self, staging: Direct, is_complete: bool) -> None:
        """Set the attributes of the directories that the job has made, from the innermost to the outermost, since a new
        entry changes the time of its directory. While files are missing, the owner may write into all of them."""
        before = None
        while page := self._record.ask(files.directories, self._claim, before):
            for directory in page:
                self._boundaries.require_directory(self._destination, directory.path)
                mode = directory.mode if is_complete or directory.mode is None else directory.mode | _OWNER_WRITES
                self._set_directory_attributes(staging.inside(directory.path), mode, directory.modified_at)
            before = page[-1].number
            if self._setback is None:
                self._record.write(transitions.record_directories, [directory.number for directory in page])

    def _record_proof(self) -> None:
        """Record what proves all files together."""

        def page(number: int) -> Sequence[ProvenRow]:
            self._record.lease.alive()
            return self._record.ask(list_proofs.arrived_after, self._claim.job_id, number)

        proof = list_proofs.list_proof(page)
        if proof is not None:
            self._record.write(claims.record_proof, proof.sha256, proof.verified)

    def _set_directory_attributes(self, path: str, mode: int | None, modified_at: float | None) -> None:
        """Set the attributes of a directory, unless it belongs to another user."""
        self._destination.make_directories(path)
        if path != "/":
            with suppress(PermissionRefused):
                self._destination.set_attributes(path, mode, modified_at)
        self._record.lease.alive()

    def _task(self, file: RecordedFile, staging: Direct) -> FileTask:
        source = self._claim.sources[file.source_number]
        return FileTask(
            job_id=self._claim.job_id,
            file_number=file.number,
            attempt=self._claim.attempt,
            source_path=file.source_path,
            path=staging.inside(file.path),
            checksum=self._claim.checksum or self._claim.selection.checksums.get(file.name),
            if_exists=self._if_exists(file),
            twin_path=staging.inside(twin) if (twin := self._twins.get(file.number)) else None,
            keeps_mode=file.source_path.rstrip("/") != source.path.rstrip("/"),
            proof=file.proof if _is_proven(file) else None,
            publishing_sha256=file.proof.sha256 if file.marked and file.proof else None,
            room=self._room,
            checkpoint_bytes=self._settings.checkpoint_bytes,
            state_dir=self._settings.state_dir,
            temporary_files=tuple(self._temporary_files.get(file.number, ())),
        )

    def _if_exists(self, file: RecordedFile) -> IfExists:
        if self._claim.if_exists is IfExists.REPLACE and not self._boundaries.may_replace(self._destination, file.path):
            return IfExists.REFUSE
        return self._claim.if_exists

    def _checkpoint_bytes(self, file: RecordedFile) -> int:
        checkpoints = (each.checkpoint for each in self._temporary_files.get(file.number, ()))
        return max((each.offset_bytes for each in checkpoints if each is not None), default=0)

    @property
    def _destination(self) -> Files:
        return self._connections.destination(self._claim.destination.host)


def _most_files(*ends: Source) -> int:
    """Return how many files may be in flight: one if a host's bandwidth is limited."""
    if any(end.options.bandwidth is not None for end in ends):
        return 1
    return min((most for end in ends if (most := end.most_files) is not None), default=MOST_FILES)


def _is_proven(file: RecordedFile) -> bool:
    """Whether an earlier job has proven the file at its final path."""
    return file.proof is not None and not file.marked


def _expected_bytes(file: RecordedFile) -> int:
    return 0 if _is_proven(file) else file.size_bytes or 0


def _temporary_file(recorded: RecordedTemporaryFile) -> TemporaryFile:
    checkpoint = Checkpoint(**recorded.checkpoint) if recorded.checkpoint else None
    return TemporaryFile(recorded.path, recorded.kind, recorded.restores, checkpoint)
