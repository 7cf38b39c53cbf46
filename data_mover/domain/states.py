"""The states of a job and of its files. Pure: nothing here touches a database."""

from enum import StrEnum


class Status(StrEnum):
    """What `check` says of a job. Old callers know exactly these words, and REJECTED, which is never recorded."""

    #: waits for a worker, for the first time or again
    PENDING = "PENDING"
    #: a worker runs it
    IN_PROGRESS = "IN_PROGRESS"
    #: the file stands at its destination, and that was proven
    COMPLETED = "COMPLETED"
    #: it did not arrive; the reason says why
    FAILED = "FAILED"
    #: the caller no longer wanted it
    CANCELLED = "CANCELLED"

    @property
    def terminal(self) -> bool:
        return self in TERMINAL


TERMINAL = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED})


class Phase(StrEnum):
    """Where exactly a live job is; a job that has ended is in none."""

    #: PENDING, and runnable
    QUEUED = "queued"
    #: PENDING until `next_attempt_at`
    WAITING_RETRY = "waiting-retry"
    #: PENDING while one of its hosts cannot be reached or is paused; said by the host's row, never by the job's
    BLOCKED = "blocked"
    #: IN_PROGRESS: asks the hosts what is there
    RESOLVING = "resolving"
    #: IN_PROGRESS: bytes move
    TRANSFERRING = "transferring"
    #: IN_PROGRESS: proves that what arrived is what was sent
    VERIFYING = "verifying"
    #: IN_PROGRESS: gives the file its final name; too late to cancel
    PUBLISHING = "publishing"
    #: IN_PROGRESS: the caller no longer wants the file, and the worker is about to stop
    CANCELLING = "cancelling"
    #: has come to its end, and its many files are being settled, some at a time
    ENDING = "ending"


class EventKind(StrEnum):
    """What an entry of a job's log is about."""

    SUBMITTED = "submitted"
    #: a worker begins an attempt
    CLAIMED = "claimed"
    #: the attempt goes from one phase to the next
    PHASE = "phase"
    #: the attempt has failed, and another one will follow
    ATTEMPT_FAILED = "attempt-failed"
    #: the attempt has ended through no fault of the job
    ATTEMPT_POSTPONED = "attempt-postponed"
    #: the worker gave no sign of life in time
    LEASE_LOST = "lease-lost"
    #: some files have arrived, or failed, in one go
    FILES_ARRIVED = "files-arrived"
    FILES_FAILED = "files-failed"
    #: the caller no longer wants the job, and a worker has still to stop
    CANCEL_REQUESTED = "cancel-requested"
    #: the end is decided, and many files have still to be settled
    ENDING = "ending"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class FileState(StrEnum):
    """How far one file of a job is."""

    PENDING = "pending"
    TRANSFERRING = "transferring"
    #: proven right, and about to get its final name
    VERIFIED = "verified"
    #: stands under its final name
    PUBLISHED = "published"
    #: was there already, byte for byte
    SKIPPED = "skipped"
    FAILED = "failed"


class FileKind(StrEnum):
    """What stands at a path of a host. A job has files and directories on record, and nothing else."""

    FILE = "file"
    DIRECTORY = "directory"
    #: only in a listing: a stat follows it
    LINK = "link"
    #: device, socket, pipe or a link that leads nowhere
    OTHER = "other"


#: a file in one of these is done with
SETTLED = (FileState.PUBLISHED, FileState.SKIPPED, FileState.FAILED)
#: and in one of these it has arrived
ARRIVED = (FileState.PUBLISHED, FileState.SKIPPED)


class Priority(StrEnum):
    """What callers may ask for, the first claimed first."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"

    @property
    def rank(self) -> int:
        """The lower goes first; kept as a number so that an index can order by it."""
        return list(Priority).index(self)

    @classmethod
    def of_rank(cls, rank: int) -> "Priority":
        return list(cls)[rank]


class Cause(StrEnum):
    """What keeps a job where it is; stable words, as the codes of failures are."""

    ENDED = "ended"
    RUNNING = "running"
    #: its worker gave no sign of life in time, and the sweeper has not taken it back yet
    WORKER_LOST = "worker-lost"
    #: its end is decided, and its many files are being settled
    SETTLING = "settling"
    HOST_PAUSED = "host-paused"
    HOST_UNREACHABLE = "host-unreachable"
    #: another job writes to the same final path
    PATH_LOCKED = "path-locked"
    WAITING_RETRY = "waiting-retry"
    NO_WORKER = "no-worker"
    #: as many jobs run with a host as may
    HOST_LIMIT = "host-limit"
    #: nothing but the jobs before it
    QUEUED = "queued"


#: what a job is told that waits for a worker, by the cause
REASONS = {
    Cause.WORKER_LOST: "Its worker gave no sign of life; another one takes the move.",
    Cause.NO_WORKER: "No worker is alive to run it; whoever runs the service starts one with `data_mover worker`.",
}
