"""The states of a job and of its files. Pure: no database."""

from enum import StrEnum


class Status(StrEnum):
    """The status of a job in `check`. Old callers know exactly these words, and REJECTED, which is never recorded."""

    #: waits for a worker, for the first time or again
    PENDING = "PENDING"
    #: a worker runs it
    IN_PROGRESS = "IN_PROGRESS"
    #: the file is at its destination, and verified
    COMPLETED = "COMPLETED"
    #: it has not arrived; the reason says why
    FAILED = "FAILED"
    #: the caller has cancelled it
    CANCELLED = "CANCELLED"

    @property
    def terminal(self) -> bool:
        return self in TERMINAL


TERMINAL = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED})


class Phase(StrEnum):
    """The phase of a live job; a job that has ended has none."""

    #: PENDING, and runnable
    QUEUED = "queued"
    #: PENDING until `next_attempt_at`
    WAITING_RETRY = "waiting-retry"
    #: PENDING while one of its hosts cannot be reached or is paused; derived from the host's row, never in the job's
    BLOCKED = "blocked"
    #: IN_PROGRESS: connects, and lists the files
    RESOLVING = "resolving"
    #: IN_PROGRESS: copies bytes
    TRANSFERRING = "transferring"
    #: IN_PROGRESS: verifies that what arrived is what was sent
    VERIFYING = "verifying"
    #: IN_PROGRESS: gives the file its final name; too late to cancel
    PUBLISHING = "publishing"
    #: IN_PROGRESS: the caller has cancelled it, and the worker is about to stop
    CANCELLING = "cancelling"
    #: its end is decided, and its many files are being settled, in batches
    ENDING = "ending"


class EventKind(StrEnum):
    """The kind of an event in a job's log."""

    #: the job is on record
    SUBMITTED = "submitted"
    #: a worker begins an attempt
    CLAIMED = "claimed"
    #: the attempt enters another phase
    PHASE = "phase"
    #: the attempt has failed, and another one will follow
    ATTEMPT_FAILED = "attempt-failed"
    #: the attempt has ended through no fault of the job
    ATTEMPT_POSTPONED = "attempt-postponed"
    #: the lease expired: its worker did not renew it in time
    LEASE_LOST = "lease-lost"
    #: so many `files` have arrived
    FILES_ARRIVED = "files-arrived"
    #: so many `files` have failed; `reason` is the first one's
    FILES_FAILED = "files-failed"
    #: the caller has cancelled the job, and its worker has still to stop
    CANCEL_REQUESTED = "cancel-requested"
    #: the end is decided, and many files have still to be settled
    ENDING = "ending"
    #: the end: every file has arrived, and is proven
    COMPLETED = "completed"
    #: the end: the job has failed; `reason` says why
    FAILED = "failed"
    #: the end: the caller has cancelled the job
    CANCELLED = "cancelled"


class FileState(StrEnum):
    """The state of one file of a job."""

    #: waits
    PENDING = "pending"
    #: is being copied, or was, when an attempt ended
    TRANSFERRING = "transferring"
    #: proven, and about to appear under its final name
    VERIFIED = "verified"
    #: at its final path
    PUBLISHED = "published"
    #: was at its final path already, and was proven to be the same; a directory existed before, and keeps its mode
    SKIPPED = "skipped"
    #: will not arrive
    FAILED = "failed"


class FileKind(StrEnum):
    """The kind of an entry on a host. Jobs record only files and directories."""

    FILE = "file"
    DIRECTORY = "directory"
    #: only in a listing: a stat follows it
    LINK = "link"
    #: device, socket, pipe or a dangling link
    OTHER = "other"


#: a file in one of these states is settled
SETTLED = (FileState.PUBLISHED, FileState.SKIPPED, FileState.FAILED)
#: a file in one of these states has arrived
ARRIVED = (FileState.PUBLISHED, FileState.SKIPPED)


class Priority(StrEnum):
    """The priority of a job, the first is claimed first."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"

    @property
    def rank(self) -> int:
        """Jobs of a lower rank are claimed first; a number, so that an index can order by it."""
        return list(Priority).index(self)

    @classmethod
    def of_rank(cls, rank: int) -> "Priority":
        return list(cls)[rank]


class Cause(StrEnum):
    """What a job waits for; stable words, as the codes of failures are."""

    #: it has ended; the sentence has the reason
    ENDED = "ended"
    #: `worker` runs it
    RUNNING = "running"
    #: its lease has expired; the sweeper, if one runs, hands the job to another worker
    WORKER_LOST = "worker-lost"
    #: its end is decided, and its many files are being settled
    SETTLING = "settling"
    #: an operator paused `host`
    HOST_PAUSED = "host-paused"
    #: `host` does not answer; it is tried again at `until`
    HOST_UNREACHABLE = "host-unreachable"
    #: another move writes to the same final path
    PATH_LOCKED = "path-locked"
    #: the last attempt failed, or was put off for another move; the next one is at `until`
    WAITING_RETRY = "waiting-retry"
    #: no worker has sent a heartbeat in the last minute
    NO_WORKER = "no-worker"
    #: no sweep was made in the last minute: nobody takes the job back from a lost worker, or wakes one for it
    NO_SWEEPER = "no-sweeper"
    #: Redis does not answer, so that no worker wakes
    NO_REDIS = "no-redis"
    #: as many moves run with `host` as may
    HOST_LIMIT = "host-limit"
    #: `host` was not reached in the last minute; one move tries it, and the others wait for what it finds
    HOST_UNPROVEN = "host-unproven"
    #: as many of your moves run as may ([quotas](callers.md#quotas))
    QUOTA = "quota"
    #: it waits for a worker, or for a slot of `host`, and so do moves of other callers that come first: of a higher
    #: priority, or of a caller with fewer running moves
    OTHERS_FIRST = "others-first"
    #: only the jobs before it delay it
    QUEUED = "queued"


#: the sentences for callers and operators where a process is missing, by cause
REASONS = {
    Cause.WORKER_LOST: "Its worker gave no sign of life; another one takes the move.",
    Cause.NO_WORKER: "No worker is alive to run it; whoever runs the service starts one with `data_mover worker`.",
    Cause.NO_SWEEPER: "No sweeper is alive: moves that lost their worker, or whose turn comes later, wait; whoever "
    "runs the service starts one with `data_mover sweep`.",
    Cause.NO_REDIS: "Redis does not answer, so that no worker wakes; whoever runs the service starts it, or corrects "
    "redis.url.",
}
