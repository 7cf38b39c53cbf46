"""Where the files of an attempt wait until one transaction has what all of them have to record."""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy.orm import Session

from data_mover.backends.futures import Future
from data_mover.domain.errors import AttemptEnded, Fenced
from data_mover.domain.fault_points import reach
from data_mover.domain.states import Phase
from data_mover.execution.record import Record
from data_mover.store import claims, temporary_files, transitions
from data_mover.store.claims import Claim
from data_mover.store.temporary_files import NewTemporaryFile
from data_mover.store.transitions import ArrivedFile, PathLock, ProvenFile

#: a batch is written when this part of the files under way waits for it: the others keep the host busy meanwhile
SHARE = 2


@dataclass(frozen=True)
class Begun:
    """A file wants its final path for itself, and is about to be created, if there is a temporary file."""

    lock: PathLock
    temporary_file: NewTemporaryFile | None


@dataclass(frozen=True)
class Left:
    """A file is about to be created that must not stay."""

    temporary_file: NewTemporaryFile


@dataclass(frozen=True)
class Proven:
    """A file is proven and about to get its final name."""

    proof: ProvenFile
    phase: Phase


@dataclass(frozen=True)
class Unproven:
    """A file did certainly not get its final name."""

    number: int


@dataclass(frozen=True)
class Arrived:
    """A file is in its place."""

    file: ArrivedFile


@dataclass(frozen=True)
class Gone:
    """A temporary file is certainly not there any more. That is true whoever the job belongs to."""

    path: str


Entry = Begun | Left | Proven | Unproven | Arrived | Gone


class Waiting(Future):
    """An entry that is not on record yet."""

    __slots__ = ("_journal", "entry")

    def __init__(self, journal: "Journal", entry: Entry) -> None:
        super().__init__()
        self.entry = entry
        self._journal = journal

    def wait(self) -> None:
        self._journal.write()


class Journal:
    """The entries of many files in one guarded transaction. Each entry has an outcome of its own: where a final path
    is not to be had, that is the file's failure, and where the job is no longer this attempt's, everybody hears it."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._waiting: list[Waiting] = []

    def put(self, entry: Entry) -> Waiting:
        """Is done once the entry is on record. Fenced or Cancelled where the job is no longer this attempt's; PathBusy,
        Superseded or NameConflict where a final path cannot be locked."""
        waiting = Waiting(self, entry)
        self._waiting.append(waiting)
        return waiting

    def turn(self, under_way: int, is_quiet: bool) -> None:
        """Writes what waits if that is much, or if nothing more is to come before it is written."""
        if self._waiting and (is_quiet or SHARE * len(self._waiting) >= under_way):
            self.write()

    def write(self) -> None:
        """Puts on record what waits. Raises nothing: who waits hears of it."""
        batch, self._waiting = self._waiting, []
        try:
            reach("batch")
            errors = self._record.change(
                _write, self._record.held, [each.entry for each in batch], self._record.lease_ms
            )
            self._record.lease.alive()
        except Exception as error:  # of the database, or of this program: it is that of each file that waits
            errors = [error] * len(batch)
        for waiting, outcome in zip(batch, errors, strict=True):
            waiting.done(outcome)


def _write(session: Session, claim: Claim, entries: list[Entry], lease_ms: int) -> list[Exception | None]:
    """Writes the entries, first what is true whether the job is still wanted or not; what became of each."""
    gone = [entry.path for entry in entries if isinstance(entry, Gone)]
    temporary_files.forget_temporary_files(session, claim.destination.host, gone)
    ended = _write_arrived(session, claim, [entry.file for entry in entries if isinstance(entry, Arrived)])
    refused: dict[int, Exception] = {}
    stopped: AttemptEnded | None = ended
    if stopped is None and any(not isinstance(entry, Arrived | Gone) for entry in entries):
        try:
            refused = _write_wanted(session, claim, entries, lease_ms)
        except AttemptEnded as error:
            stopped = error
    return [_outcome(entry, ended, stopped, refused) for entry in entries]


def _outcome(
    entry: Entry, ended: AttemptEnded | None, stopped: AttemptEnded | None, refused: dict[int, Exception]
) -> Exception | None:
    match entry:
        case Gone():
            return None
        case Arrived():
            return ended
        case Begun(lock):
            return stopped or refused.get(lock.number)
        case _:
            return stopped


def _write_arrived(session: Session, claim: Claim, arrived: list[ArrivedFile]) -> AttemptEnded | None:
    """Why they cannot be recorded, or None."""
    return None if not arrived or transitions.record_arrived(session, claim, arrived) else Fenced()


def _write_wanted(session: Session, claim: Claim, entries: list[Entry], lease_ms: int) -> dict[int, Exception]:
    """By number, why a final path cannot be locked. Raises Fenced or Cancelled, and has then changed nothing."""
    begun = [entry for entry in entries if isinstance(entry, Begun)]
    proven = [entry for entry in entries if isinstance(entry, Proven)]
    unproven = [entry.number for entry in entries if isinstance(entry, Unproven)]
    refused = dict[int, Exception]()
    if begun:
        refused |= transitions.lock_paths(session, claim, [entry.lock for entry in begun], lease_ms)
    new = [*_left(entries), *(entry.temporary_file for entry in begun if entry.lock.number not in refused)]
    files = [file for file in new if file is not None]
    if files:
        _require(session, claim, temporary_files.record_temporary_files(session, claim, files, lease_ms))
    if proven:
        proofs = [entry.proof for entry in proven]
        _require(session, claim, transitions.mark_publishing(session, claim, proofs, proven[0].phase, lease_ms))
    if unproven:
        _require(session, claim, transitions.unmark_publishing(session, claim, unproven, lease_ms))
    return refused


def _left(entries: Iterable[Entry]) -> list[NewTemporaryFile]:
    return [entry.temporary_file for entry in entries if isinstance(entry, Left)]


def _require(session: Session, claim: Claim, is_ours: bool) -> None:
    if not is_ours:
        raise claims.why_not(session, claim)
