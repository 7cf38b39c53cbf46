"""Group commit: the files of an attempt wait until one transaction has the entries of all of them."""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy.orm import Session

from data_mover.backends.futures import Future
from data_mover.domain.errors import AttemptEnded, Fenced
from data_mover.domain.fault_points import reach
from data_mover.domain.proof import Proof
from data_mover.domain.states import Phase
from data_mover.execution.record import Record
from data_mover.store import claims, temporary_files, transitions
from data_mover.store.claims import Claim
from data_mover.store.temporary_files import NewTemporaryFile
from data_mover.store.transitions import ArrivedFile, PathLock
from data_mover.transfer import Room

#: a batch is written once one in so many of the files in flight waits for it: the others keep the host busy
SHARE = 2


@dataclass(frozen=True)
class Reserving:
    """The job begins to need room at its destination."""

    room: Room


@dataclass(frozen=True)
class Resized:
    """A file has another size than the list says."""

    number: int
    size_bytes: int | None


@dataclass(frozen=True)
class Locking:
    """Lock a final path, and record the temporary file that is about to be created, if there is one."""

    lock: PathLock
    temporary_file: NewTemporaryFile | None


@dataclass(frozen=True)
class Creating:
    """A temporary file is about to be created."""

    temporary_file: NewTemporaryFile


@dataclass(frozen=True)
class Publishing:
    """A verified file is about to get its final name."""

    number: int
    proof: Proof
    phase: Phase


@dataclass(frozen=True)
class NotPublished:
    """A file certainly did not get its final name."""

    number: int


@dataclass(frozen=True)
class Arrived:
    """A file has its final name."""

    file: ArrivedFile


@dataclass(frozen=True)
class Removed:
    """A temporary file certainly no longer exists. Recorded whoever owns the job."""

    path: str


Entry = Reserving | Resized | Locking | Creating | Publishing | NotPublished | Arrived | Removed


class PendingEntry(Future):
    """An entry that is not committed yet."""

    __slots__ = ("_journal", "entry")

    def __init__(self, journal: "Journal", entry: Entry) -> None:
        super().__init__()
        self.entry = entry
        self._journal = journal

    def wait(self) -> None:
        self._journal.write()


class Journal:
    """Writes the entries of many files in one guarded transaction. Each entry has its own outcome: a path that is
    locked fails one file, a job that is no longer this attempt's ends all."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._waiting: list[PendingEntry] = []
        #: what no file waits for
        self._beside: list[Entry] = []

    def put_beside(self, entry: Entry) -> None:
        """Commit the entry with the next one that a file waits for."""
        self._beside.append(entry)

    def put(self, entry: Entry) -> PendingEntry:
        """Return a future that is done once the entry is committed. It raises Fenced or Cancelled if the job is no
        longer this attempt's; PathBusy, Superseded or NameConflict if a final path cannot be locked."""
        waiting = PendingEntry(self, entry)
        self._waiting.append(waiting)
        return waiting

    def turn(self, under_way: int, is_quiet: bool) -> None:
        """Write the batch if it is large enough, or if nothing else can happen before it is written."""
        if self._waiting and (is_quiet or SHARE * len(self._waiting) >= under_way):
            self.write()

    def write(self) -> None:
        """Write the batch. Raises nothing: an error is the outcome of the entries."""
        batch, self._waiting = self._waiting, []
        try:
            reach("batch")
            entries = self._beside + [each.entry for each in batch]
            errors = self._record.change(_write, self._record.claim, entries, self._record.lease_seconds)
            errors, self._beside = errors[len(self._beside) :], []
            self._record.lease.alive()
        except Exception as error:  # of the database, or of this program
            errors = [error] * len(batch)
        for waiting, outcome in zip(batch, errors, strict=True):
            waiting.done(outcome)


def _write(session: Session, claim: Claim, entries: list[Entry], lease_seconds: float) -> list[Exception | None]:
    """Write the entries, and return the outcome of each. First those that are valid also for a cancelled job."""
    gone = [entry.path for entry in entries if isinstance(entry, Removed)]
    temporary_files.forget_temporary_files(session, claim.destination.host, gone)
    arrived = [entry.file for entry in entries if isinstance(entry, Arrived)]
    is_guarded = any(not isinstance(entry, Arrived | Removed) for entry in entries)
    if arrived and is_guarded:
        claims.renew(session, claim, lease_seconds)  # one look at the job's row does for all
    ended = _write_arrived(session, claim, arrived)
    refused: dict[int, Exception] = {}
    stopped: AttemptEnded | None = ended
    if stopped is None and is_guarded:
        try:
            refused = _write_guarded(session, claim, entries, lease_seconds)
        except AttemptEnded as error:
            stopped = error
    return [_outcome(entry, ended, stopped, refused) for entry in entries]


def _outcome(
    entry: Entry, ended: AttemptEnded | None, stopped: AttemptEnded | None, refused: dict[int, Exception]
) -> Exception | None:
    match entry:
        case Removed():
            return None
        case Arrived():
            return ended
        case Locking(lock):
            return stopped or refused.get(lock.number)
        case _:
            return stopped


def _write_arrived(session: Session, claim: Claim, arrived: list[ArrivedFile]) -> AttemptEnded | None:
    """Return Fenced if they cannot be recorded, else None."""
    return None if not arrived or transitions.record_arrived(session, claim, arrived) else Fenced()


def _write_guarded(session: Session, claim: Claim, entries: list[Entry], lease_seconds: float) -> dict[int, Exception]:
    """Return why final paths cannot be locked, by number of the file. Raises Fenced or Cancelled before any change."""
    for entry in entries:
        if isinstance(entry, Reserving):
            entry.room.others_bytes = transitions.reserve(session, claim, lease_seconds)
    resized = {entry.number: entry.size_bytes for entry in entries if isinstance(entry, Resized)}
    begun = [entry for entry in entries if isinstance(entry, Locking)]
    proven = [entry for entry in entries if isinstance(entry, Publishing)]
    unproven = [entry.number for entry in entries if isinstance(entry, NotPublished)]
    refused = dict[int, Exception]()
    if begun:
        refused |= transitions.lock_paths(session, claim, [entry.lock for entry in begun], lease_seconds)
    if resized:
        _require(session, claim, transitions.correct_sizes(session, claim, resized))
    new = [*_left(entries), *(entry.temporary_file for entry in begun if entry.lock.number not in refused)]
    files = [file for file in new if file is not None]
    if files:
        _require(session, claim, temporary_files.record_temporary_files(session, claim, files, lease_seconds))
    if proven:
        proofs = {entry.number: entry.proof for entry in proven}
        _require(session, claim, transitions.mark_publishing(session, claim, proofs, proven[0].phase, lease_seconds))
    if unproven:
        _require(session, claim, transitions.unmark_publishing(session, claim, unproven, lease_seconds))
    return refused


def _left(entries: Iterable[Entry]) -> list[NewTemporaryFile]:
    return [entry.temporary_file for entry in entries if isinstance(entry, Creating)]


def _require(session: Session, claim: Claim, is_ours: bool) -> None:
    if not is_ours:
        raise claims.why_not(session, claim)
