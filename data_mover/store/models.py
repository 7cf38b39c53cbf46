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

    A claim looks at the first job of each lane, so that it costs the same however many jobs are queued, and a host
    without a free slot hides only its own lanes.
    """

    __tablename__ = "lanes"
    __table_args__ = (UniqueConstraint("caller", "hosts"),)

    id: Mapped[int] = mapped_column(_Id, primary_key=True)
    caller: Mapped[str] = mapped_column(Text)
    #: the names of all hosts that its jobs read from or write to, sorted, separated by spaces
    hosts: Mapped[str] = mapped_column(Text)

    @property
    def host_names(self) -> frozenset[str]:
        return frozenset(self.hosts.split())


#: jobs whose files are being settled: the very condition of an index, so that queries can use it
ENDING = text("ending IS NOT NULL")


class Job(Base):
    """One move: the request and its state. Status and phase change in `transitions` only."""

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

    # the request
    caller: Mapped[str] = mapped_column(Text)
    #: of a caller of OpenID Connect, the scopes that granted its rights
    scopes: Mapped[str | None] = mapped_column(Text)
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
    #: the failed or cancelled job that this one retries
    retry_of: Mapped[int | None] = mapped_column(ForeignKey("jobs.id"), index=True)
    submitted_ms: Mapped[int] = mapped_column(BigInteger)
    deadline_ms: Mapped[int] = mapped_column(BigInteger)

    # the request, resolved by the registry of that moment
    lane_id: Mapped[int] = mapped_column(ForeignKey("lanes.id"))
    #: host and path of each source
    sources: Mapped[list[list[str]]] = mapped_column(JSON)
    destination_host: Mapped[str] = mapped_column(Text)
    destination_path: Mapped[str] = mapped_column(Text)

    # its state
    status: Mapped[str] = mapped_column(Text)
    phase: Mapped[str | None] = mapped_column(Text)
    #: why it failed, or why the last attempt did
    reason: Mapped[str | None] = mapped_column(Text)
    code: Mapped[str | None] = mapped_column(Text)
    started_ms: Mapped[int | None] = mapped_column(BigInteger)
    ended_ms: Mapped[int | None] = mapped_column(BigInteger)
    #: the final path of the file or folder, or of the directory that receives several; once resolved, it stays
    path: Mapped[str | None] = mapped_column(Text)
    #: whether all its files are recorded, so that they are never listed again
    planned: Mapped[bool] = mapped_column(default=False)
    bytes_done: Mapped[int] = mapped_column(BigInteger, default=0)
    bytes_total: Mapped[int | None] = mapped_column(BigInteger)
    bytes_per_second: Mapped[int | None] = mapped_column(BigInteger)
    files_done: Mapped[int] = mapped_column(BigInteger, default=0)
    files_total: Mapped[int] = mapped_column(BigInteger, default=1)
    #: `ListProof`, of a completed job; None where its only file has it
    sha256: Mapped[str | None] = mapped_column(Text)
    verified: Mapped[str | None] = mapped_column(Text)

    # which attempt runs it
    #: the number of the newest attempt; it is the fence that keeps older ones from changing anything
    attempt: Mapped[int] = mapped_column(Integer, default=0)
    #: how many attempts have failed for a reason of the job's own; `max_attempts` bounds it
    failures: Mapped[int] = mapped_column(Integer, default=0)
    #: how many attempts have lost their lease since a file arrived
    losses: Mapped[int] = mapped_column(Integer, default=0)
    #: when the last of them did
    lost_ms: Mapped[int | None] = mapped_column(BigInteger)
    #: how many attempts found that another job writes to one of its paths, since a file arrived
    path_waits: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    not_before_ms: Mapped[int] = mapped_column(BigInteger)
    lease_until_ms: Mapped[int | None] = mapped_column(BigInteger)
    #: the length of the attempt's lease; the sweeper may be configured with another length
    lease_ms: Mapped[int] = mapped_column(BigInteger, default=30_000, server_default="30000")
    #: machine and process id of the newest attempt's process, and its row in `workers`
    worker: Mapped[str | None] = mapped_column(Text)
    worker_id: Mapped[int | None] = mapped_column(BigInteger)

    #: the status that it gets once its files are settled, if that takes more than one transaction; no worker runs it
    ending: Mapped[str | None] = mapped_column(Text)
    #: how many rows of `events` it has
    events: Mapped[int] = mapped_column(Integer, default=0, server_default="0")


class Event(Base):
    """An event in a job's log. Rows are only added, in the transaction that makes the change."""

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
    #: the number of files, if the event is about files
    files: Mapped[int | None] = mapped_column(BigInteger)


#: the unsettled files of a job: the very condition of an index, so that queries can use it
UNSETTLED = text("kind = 'file' AND state IN ('pending', 'transferring', 'verified')")


class JobFile(Base):
    """One file of a job, or a directory."""

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
    #: the name that callers see: the path below the source, or the base name of a source that is a file
    name: Mapped[str] = mapped_column(Text)
    #: the final path; None where it cannot have one
    path: Mapped[str | None] = mapped_column(Text)
    #: of a directory, as the source reports them
    mode: Mapped[int | None] = mapped_column(Integer)
    modified_at: Mapped[float | None] = mapped_column(Float)
    #: the final path's name for every alias of its host, and whether it is locked for this job
    lock_name: Mapped[str | None] = mapped_column(Text)
    locked: Mapped[bool] = mapped_column(default=False)
    size_bytes: Mapped[int | None] = mapped_column(BigInteger)
    sha256: Mapped[str | None] = mapped_column(Text)
    #: how the file was verified: sha256-remote, sha256-readback or size
    verified: Mapped[str | None] = mapped_column(Text)
    #: the source's time and version when the file was proven to be its copy
    source_modified_at: Mapped[float | None] = mapped_column(Float)
    source_version: Mapped[str | None] = mapped_column(Text)
    #: the last attempt that tried the file and did not move it; of an atomic folder, the attempt that began it or took
    #: it over last; of any other directory, the attempt that found it missing
    attempt: Mapped[int] = mapped_column(Integer, default=0)
    #: why it failed, or why that attempt did
    code: Mapped[str | None] = mapped_column(Text)
    reason: Mapped[str | None] = mapped_column(Text)


#: how many bytes a file of a job adds to its host; None if that is unknown. A failed file adds nothing, nor does one
#: that an earlier job has published, unless that proof turns out wrong
EXPECTED_BYTES = case(
    (JobFile.state == FileState.FAILED, 0),
    ((JobFile.state == FileState.PENDING) & JobFile.sha256.is_not(None), 0),
    else_=JobFile.size_bytes,
)


class TemporaryFile(Base):
    """A file or folder that may be left on a host: recorded before it is created, deleted here once it is gone."""

    __tablename__ = "temporary_files"
    __table_args__ = (Index("ix_temporary_files_not_before", "not_before_ms"), Index("ix_temporary_files_path", "path"))

    id: Mapped[int] = mapped_column(_Id, primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id"), index=True)
    #: the number of the job's file, None if it is for all
    file_number: Mapped[int | None] = mapped_column(BigInteger)
    attempt: Mapped[int] = mapped_column(Integer)
    host: Mapped[str] = mapped_column(Text)
    path: Mapped[str] = mapped_column(Text)
    #: a file, or a directory with all that is in it
    kind: Mapped[str] = mapped_column(Text)
    #: the final path to which it is renamed back, if it is the old file of a swap
    restores: Mapped[str | None] = mapped_column(Text)
    #: the last checkpoint of the copy, from which the next attempt resumes
    checkpoint: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    #: when removing it may be tried next, once its job has ended
    not_before_ms: Mapped[int] = mapped_column(BigInteger)


class PlanRequest(Base):
    """A caller's request for the dry run of a move, and the answer so far."""

    __tablename__ = "plan_requests"
    #: no id is reused: a caller may look for its answer after another call has deleted the row
    __table_args__ = (UniqueConstraint("caller", "digest"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(_Id, primary_key=True)
    caller: Mapped[str] = mapped_column(Text)
    #: `MoveSpec.as_struct`, and the key: the SHA-256 of its JSON in hexadecimal
    spec: Mapped[dict[str, Any]] = mapped_column(JSON)
    digest: Mapped[str] = mapped_column(Text)
    #: when the caller has asked last
    asked_ms: Mapped[int] = mapped_column(BigInteger)
    #: how often it was claimed; this number is the fence against earlier workers
    claims: Mapped[int] = mapped_column(Integer)
    lease_until_ms: Mapped[int | None] = mapped_column(BigInteger)
    #: a `PlanReport`; complete once the request is answered
    report: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    answered: Mapped[bool]


class WorkerRecord(Base):
    """A process that claims jobs. No id is reused: a job may outlive the row of the process that lost it."""

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
    #: what it runs, for display: `job 7`, `plan 3`, `probe of hpc`
    runs: Mapped[list[str]] = mapped_column(JSON)


class HostRecord(Base):
    """The state of a host. Claims lock this row before they count what runs there."""

    __tablename__ = "hosts"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    #: when a worker logged in last
    reached_ms: Mapped[int | None] = mapped_column(BigInteger)
    #: the failure of the last login, None if it succeeded
    code: Mapped[str | None] = mapped_column(Text)
    reason: Mapped[str | None] = mapped_column(Text)
    #: the last failure of a move that the host's owner has to fix, until a move succeeds
    move_code: Mapped[str | None] = mapped_column(Text)
    move_reason: Mapped[str | None] = mapped_column(Text)
    #: how often in a row the host was unreachable, and when it is probed next; until then its jobs wait
    unreachable: Mapped[int] = mapped_column(Integer, default=0)
    probe_at_ms: Mapped[int | None] = mapped_column(BigInteger)
    #: whether an operator has paused it
    paused: Mapped[bool] = mapped_column(default=False)


class SweepRecord(Base):
    """The time of the last sweep: one row."""

    __tablename__ = "sweeps"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    swept_ms: Mapped[int] = mapped_column(BigInteger)
    #: how long after it the next one was to be made
    every_ms: Mapped[int] = mapped_column(BigInteger, server_default="5000")


class TokenUse(Base):
    """The last use of a caller's token."""

    __tablename__ = "token_uses"

    sha256: Mapped[str] = mapped_column(Text, primary_key=True)
    caller: Mapped[str] = mapped_column(Text)
    used_ms: Mapped[int] = mapped_column(BigInteger)
    address: Mapped[str | None] = mapped_column(Text)


class BytesMoved(Base):
    """What the moves of a caller with a quota of bytes brought in an hour, counted from the epoch."""

    __tablename__ = "bytes_moved"

    caller: Mapped[str] = mapped_column(Text, primary_key=True)
    hour: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    bytes: Mapped[int] = mapped_column(BigInteger)


# Now, not with the first statement: a signal during that would leave the mappers broken for good.
configure_mappers()

#: the tables themselves: a statement that changes one needs no objects, and costs a third
JOBS, JOB_FILES, EVENTS = (Base.metadata.tables[each.__tablename__] for each in (Job, JobFile, Event))
TEMPORARY_FILES, HOSTS = (Base.metadata.tables[each.__tablename__] for each in (TemporaryFile, HostRecord))
WORKERS, LANES = (Base.metadata.tables[each.__tablename__] for each in (WorkerRecord, Lane))
