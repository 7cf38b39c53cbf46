"""The tables. Times are milliseconds since the epoch by the database's clock, sizes are bytes."""

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Float,
    ForeignKey,
    Index,
    Integer,
    Text,
    UniqueConstraint,
    case,
    text,
)
from sqlalchemy.orm import Mapped, configure_mappers, mapped_column

from data_mover.domain.states import FileState
from data_mover.store.database import Base

_Id = BigInteger().with_variant(Integer, "sqlite")


class Lane(Base):
    """The jobs of one caller among the same hosts.

    Whoever claims looks at the head of each lane, so that a claim costs the same however many jobs are queued, and a
    host without a free slot hides only its own lanes.
    """

    __tablename__ = "lanes"
    __table_args__ = (UniqueConstraint("caller", "hosts"),)

    id: Mapped[int] = mapped_column(_Id, primary_key=True)
    caller: Mapped[str] = mapped_column(Text)
    #: the names of all hosts that its jobs read from or write to, in order, with a space between two
    hosts: Mapped[str] = mapped_column(Text)

    @property
    def host_names(self) -> frozenset[str]:
        return frozenset(self.hosts.split())


#: jobs whose files are being settled: word for word what an index is about, so that the query can use it
ENDING = text("ending IS NOT NULL")


class Job(Base):
    """One move: what was asked, and how it stands. Status and phase change in `transitions` only."""

    __tablename__ = "jobs"
    __table_args__ = (
        UniqueConstraint("caller", "key"),
        Index("ix_jobs_lane", "lane_id", "phase", "priority", "id"),
        Index("ix_jobs_status", "status", "not_before_ms"),
        Index("ix_jobs_deadline", "status", "deadline_ms"),
        Index("ix_jobs_caller", "caller", "id"),
        Index("ix_jobs_due", "lane_id", "phase", "priority", "not_before_ms"),
        Index("ix_jobs_ending", "ending", sqlite_where=ENDING, postgresql_where=ENDING),
        CheckConstraint("status IN ('PENDING', 'IN_PROGRESS', 'COMPLETED', 'FAILED', 'CANCELLED')", name="status"),
        CheckConstraint("(status = 'IN_PROGRESS') = (lease_until_ms IS NOT NULL)", name="lease"),
        CheckConstraint("(status IN ('PENDING', 'IN_PROGRESS')) = (ended_ms IS NULL)", name="ended"),
        CheckConstraint("(status IN ('PENDING', 'IN_PROGRESS')) = (phase IS NOT NULL)", name="phase"),
        CheckConstraint("status <> 'FAILED' OR (code IS NOT NULL AND reason IS NOT NULL)", name="reason"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(_Id, primary_key=True)

    # what was asked
    caller: Mapped[str] = mapped_column(Text)
    key: Mapped[str | None] = mapped_column(Text)
    #: a struct, or a list of them
    source: Mapped[Any] = mapped_column(JSON)
    destination: Mapped[dict[str, Any]] = mapped_column(JSON)
    label: Mapped[str | None] = mapped_column(Text)
    priority: Mapped[int] = mapped_column(Integer)
    #: the SHA-256 that the caller says the source has
    checksum: Mapped[str | None] = mapped_column(Text)
    #: how the files of folders are chosen and what they must be: `Selection.as_struct`
    selection: Mapped[dict[str, Any]] = mapped_column(JSON)
    if_exists: Mapped[str] = mapped_column(Text)
    #: the job that ended without success, and that the caller asked to do again
    retry_of: Mapped[int | None] = mapped_column(ForeignKey("jobs.id"), index=True)
    submitted_ms: Mapped[int] = mapped_column(BigInteger)
    deadline_ms: Mapped[int] = mapped_column(BigInteger)

    # what that means by the registry of that moment
    lane_id: Mapped[int] = mapped_column(ForeignKey("lanes.id"))
    #: host and path of each source
    sources: Mapped[list[list[str]]] = mapped_column(JSON)
    destination_host: Mapped[str] = mapped_column(Text)
    destination_path: Mapped[str] = mapped_column(Text)

    # how it stands
    status: Mapped[str] = mapped_column(Text)
    phase: Mapped[str | None] = mapped_column(Text)
    #: why it failed, or why the last attempt did
    reason: Mapped[str | None] = mapped_column(Text)
    code: Mapped[str | None] = mapped_column(Text)
    started_ms: Mapped[int | None] = mapped_column(BigInteger)
    ended_ms: Mapped[int | None] = mapped_column(BigInteger)
    #: where the file or the folder goes, or the directory that receives several; once resolved, it stays
    path: Mapped[str | None] = mapped_column(Text)
    #: whether all its files are on record, so that they are never listed again
    planned: Mapped[bool] = mapped_column(default=False)
    bytes_done: Mapped[int] = mapped_column(BigInteger, default=0)
    bytes_total: Mapped[int | None] = mapped_column(BigInteger)
    bytes_per_second: Mapped[int | None] = mapped_column(BigInteger)
    files_done: Mapped[int] = mapped_column(BigInteger, default=0)
    files_total: Mapped[int] = mapped_column(BigInteger, default=1)

    # which attempt runs it
    #: the number of the newest attempt; it is the fence that keeps older ones from changing anything
    attempt: Mapped[int] = mapped_column(Integer, default=0)
    #: how many attempts have failed for a reason of the job's own; this is what `max_attempts` bounds
    failures: Mapped[int] = mapped_column(Integer, default=0)
    #: how many attempts have lost their lease since a file arrived
    losses: Mapped[int] = mapped_column(Integer, default=0)
    not_before_ms: Mapped[int] = mapped_column(BigInteger)
    lease_until_ms: Mapped[int | None] = mapped_column(BigInteger)
    #: how long the lease is that the attempt was given; the sweeper may be set to another length
    lease_ms: Mapped[int] = mapped_column(BigInteger, default=30_000, server_default="30000")
    #: machine and process id of the newest attempt's process, and its row in `workers`
    worker: Mapped[str | None] = mapped_column(Text)
    worker_id: Mapped[int | None] = mapped_column(BigInteger)

    #: the status it will have once its files are settled, if that takes more than one transaction; nobody works on it
    ending: Mapped[str | None] = mapped_column(Text)
    #: how many rows of `events` there are about it
    events: Mapped[int] = mapped_column(Integer, default=0, server_default="0")


class Event(Base):
    """What happened to a job, once. Rows are only added, in the transaction that makes the change."""

    __tablename__ = "events"
    __table_args__ = (UniqueConstraint("job_id", "number"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(_Id, primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    #: from 1 on, without a gap
    number: Mapped[int] = mapped_column(Integer)
    at_ms: Mapped[int] = mapped_column(BigInteger)
    event: Mapped[str] = mapped_column(Text)
    from_status: Mapped[str | None] = mapped_column(Text)
    to_status: Mapped[str] = mapped_column(Text)
    from_phase: Mapped[str | None] = mapped_column(Text)
    to_phase: Mapped[str | None] = mapped_column(Text)
    attempt: Mapped[int] = mapped_column(Integer)
    worker: Mapped[str | None] = mapped_column(Text)
    code: Mapped[str | None] = mapped_column(Text)
    reason: Mapped[str | None] = mapped_column(Text)
    #: how many files it is about, where it is about files
    files: Mapped[int | None] = mapped_column(BigInteger)


#: the files of a job that are not done with: word for word what an index is about, so that the query can use it
UNSETTLED = text("kind = 'file' AND state IN ('pending', 'transferring', 'verified')")


class JobFile(Base):
    """One file of a job, or a directory that comes with its files."""

    __tablename__ = "job_files"
    __table_args__ = (
        CheckConstraint(
            "state IN ('pending', 'transferring', 'verified', 'published', 'skipped', 'failed')", name="state"
        ),
        CheckConstraint("kind IN ('file', 'directory')", name="kind"),
        CheckConstraint(
            "kind <> 'file' OR state NOT IN ('verified', 'published', 'skipped')"
            " OR (sha256 IS NOT NULL AND verified IS NOT NULL)",
            name="proof",
        ),
        CheckConstraint("state <> 'failed' OR (code IS NOT NULL AND reason IS NOT NULL)", name="reason"),
        Index("ix_job_files_state", "job_id", "state"),
        Index(
            "ix_job_files_unsettled",
            "job_id",
            "attempt",
            "number",
            sqlite_where=UNSETTLED,
            postgresql_where=UNSETTLED,
        ),
        Index("ix_job_files_lock_name", "lock_name", "job_id"),
        Index("uq_job_files_path", "job_id", "path", unique=True),
        Index(
            "uq_job_files_locked",
            "lock_name",
            unique=True,
            sqlite_where=text("locked"),
            postgresql_where=text("locked"),
        ),
    )

    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    kind: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Text)
    #: which of the job's sources it comes from, and its path there
    source_number: Mapped[int] = mapped_column(Integer)
    source_path: Mapped[str] = mapped_column(Text)
    #: what the caller knows it by: the path below the source, or the base name of a source that is a file
    name: Mapped[str] = mapped_column(Text)
    #: the final path; None where it cannot have one
    path: Mapped[str | None] = mapped_column(Text)
    #: of a directory, as the source tells them
    mode: Mapped[int | None] = mapped_column(Integer)
    modified_at: Mapped[float | None] = mapped_column(Float)
    #: what the final path is called by whichever name its host is known, and whether nobody else may publish there
    lock_name: Mapped[str | None] = mapped_column(Text)
    locked: Mapped[bool] = mapped_column(default=False)
    size_bytes: Mapped[int | None] = mapped_column(BigInteger)
    sha256: Mapped[str | None] = mapped_column(Text)
    #: how the digest at the destination was proven: sha256-remote, sha256-readback or size
    verified: Mapped[str | None] = mapped_column(Text)
    #: the source's time and version when the file was proven to be its copy
    source_modified_at: Mapped[float | None] = mapped_column(Float)
    source_version: Mapped[str | None] = mapped_column(Text)
    #: the last attempt that was done with it and did not move it; of a folder that is to appear at once, the one
    #: that has begun to build it or taken it over last
    attempt: Mapped[int] = mapped_column(Integer, default=0)
    #: why it failed, or why that attempt did
    code: Mapped[str | None] = mapped_column(Text)
    reason: Mapped[str | None] = mapped_column(Text)


#: what a file of a job brings or has brought to its host, in bytes; None where it is not known. What has failed brings
#: nothing, nor does what an earlier job has brought there, as long as that is not found to be wrong
EXPECTED_BYTES = case(
    (JobFile.state == FileState.FAILED, 0),
    ((JobFile.state == FileState.PENDING) & JobFile.sha256.is_not(None), 0),
    else_=JobFile.size_bytes,
)


class TemporaryFile(Base):
    """What may lie on a host and must not stay: recorded before it is there, forgotten once it is gone."""

    __tablename__ = "temporary_files"
    __table_args__ = (Index("ix_temporary_files_not_before", "not_before_ms"), Index("ix_temporary_files_path", "path"))

    id: Mapped[int] = mapped_column(_Id, primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id"), index=True)
    #: for which file of the job it is; None if it is for all
    file_number: Mapped[int | None] = mapped_column(BigInteger)
    attempt: Mapped[int] = mapped_column(Integer)
    host: Mapped[str] = mapped_column(Text)
    path: Mapped[str] = mapped_column(Text)
    #: a file, or a directory with all that is in it
    kind: Mapped[str] = mapped_column(Text)
    #: the final path to which it goes back, if it is the old file of a swap
    restores: Mapped[str | None] = mapped_column(Text)
    #: how far the copy into it had come at least, for the next attempt to resume
    checkpoint: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    #: when removing it may be tried next, once its attempt is over
    not_before_ms: Mapped[int] = mapped_column(BigInteger)


class PlanRequest(Base):
    """What a caller wants to know of a move before it is asked for, and how far the answer is."""

    __tablename__ = "plan_requests"
    #: no id is given twice: who asked may look for an answer after another call has deleted it
    __table_args__ = (UniqueConstraint("caller", "digest"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(_Id, primary_key=True)
    caller: Mapped[str] = mapped_column(Text)
    #: `MoveSpec.as_struct`, and the SHA-256 of its JSON in hexadecimal, by which it is found
    spec: Mapped[dict[str, Any]] = mapped_column(JSON)
    digest: Mapped[str] = mapped_column(Text)
    #: when the caller has asked last
    asked_ms: Mapped[int] = mapped_column(BigInteger)
    #: how often a worker has claimed it; it is the fence that keeps earlier ones from answering
    claims: Mapped[int] = mapped_column(Integer)
    lease_until_ms: Mapped[int | None] = mapped_column(BigInteger)
    #: a `PlanReport`; complete once the request is answered
    report: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    answered: Mapped[bool]


class WorkerRecord(Base):
    """A process that claims jobs. No id is given twice: a job may outlive the row of the process that lost it."""

    __tablename__ = "workers"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(_Id, primary_key=True)
    machine: Mapped[str] = mapped_column(Text)
    pid: Mapped[int] = mapped_column(Integer)
    #: of Data Mover
    version: Mapped[str] = mapped_column(Text)
    started_ms: Mapped[int] = mapped_column(BigInteger)
    #: its last sign of life
    beat_ms: Mapped[int] = mapped_column(BigInteger)
    #: what it runs, for people: `job 7`, `plan 3`, `probe of hpc`
    runs: Mapped[list[str]] = mapped_column(JSON)


class HostRecord(Base):
    """How a host stands. Claims lock this row before they count what runs there."""

    __tablename__ = "hosts"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    #: when a worker was let in last
    reached_ms: Mapped[int | None] = mapped_column(BigInteger)
    #: the failure to be let in, if that was the last that was tried
    code: Mapped[str | None] = mapped_column(Text)
    reason: Mapped[str | None] = mapped_column(Text)
    #: the last failure of a move for which the host is to blame, until a move has ended well with it
    move_code: Mapped[str | None] = mapped_column(Text)
    move_reason: Mapped[str | None] = mapped_column(Text)
    #: how often in a row the host could not be reached, and when that is tried again; until it is, its jobs wait
    unreachable: Mapped[int] = mapped_column(Integer, default=0)
    probe_at_ms: Mapped[int | None] = mapped_column(BigInteger)
    #: an operator wants its jobs to wait
    paused: Mapped[bool] = mapped_column(default=False)


class SweepRecord(Base):
    """When the last sweep was made: one row."""

    __tablename__ = "sweeps"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    swept_ms: Mapped[int] = mapped_column(BigInteger)


# Now, and not with the first statement: a signal that interrupts that would leave the mappers broken for good.
configure_mappers()
