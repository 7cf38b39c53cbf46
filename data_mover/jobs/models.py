"""The tables. Times are milliseconds since the epoch by the database's clock, sizes are bytes."""

from typing import Any

from sqlalchemy import JSON, BigInteger, CheckConstraint, ForeignKey, Index, Integer, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from data_mover.db import Base

_Id = BigInteger().with_variant(Integer, "sqlite")


class Lane(Base):
    """The jobs of one caller between two hosts.

    Whoever claims looks at the head of each lane, so that a claim costs the same however many jobs are queued, and a
    host without a free place hides only its own lanes.
    """

    __tablename__ = "lanes"
    __table_args__ = (UniqueConstraint("caller", "source_host", "destination_host"),)

    id: Mapped[int] = mapped_column(_Id, primary_key=True)
    caller: Mapped[str] = mapped_column(Text)
    source_host: Mapped[str] = mapped_column(Text)
    destination_host: Mapped[str] = mapped_column(Text)


class Job(Base):
    """One move: what was asked, and how it stands. Only the modules of `jobs` change a row, by guarded updates."""

    __tablename__ = "jobs"
    __table_args__ = (
        UniqueConstraint("caller", "key"),
        Index("ix_jobs_lane", "lane_id", "status", "priority", "id"),
        Index("ix_jobs_status", "status", "not_before_ms"),
        Index("ix_jobs_deadline", "status", "deadline_ms"),
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
    source: Mapped[dict[str, Any]] = mapped_column(JSON)
    destination: Mapped[dict[str, Any]] = mapped_column(JSON)
    label: Mapped[str | None] = mapped_column(Text)
    priority: Mapped[int] = mapped_column(Integer)
    #: the SHA-256 that the caller says the source has
    checksum: Mapped[str | None] = mapped_column(Text)
    if_exists: Mapped[str] = mapped_column(Text)
    #: the job that ended without success, and that the caller asked to do again
    retry_of: Mapped[int | None] = mapped_column(ForeignKey("jobs.id"), index=True)
    submitted_ms: Mapped[int] = mapped_column(BigInteger)
    deadline_ms: Mapped[int] = mapped_column(BigInteger)

    # what that means by the registry of that moment
    lane_id: Mapped[int] = mapped_column(ForeignKey("lanes.id"))
    source_host: Mapped[str] = mapped_column(Text)
    source_path: Mapped[str] = mapped_column(Text)
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
    bytes_done: Mapped[int] = mapped_column(BigInteger, default=0)
    bytes_total: Mapped[int | None] = mapped_column(BigInteger)
    bytes_per_second: Mapped[int | None] = mapped_column(BigInteger)
    files_done: Mapped[int] = mapped_column(BigInteger, default=0)
    files_total: Mapped[int] = mapped_column(BigInteger, default=1)

    # who is at it
    #: the number of the newest attempt; it is the fence that keeps older ones from changing anything
    attempt: Mapped[int] = mapped_column(Integer, default=0)
    #: how many attempts have failed for a reason of the job's own; this is what `max_attempts` bounds
    failures: Mapped[int] = mapped_column(Integer, default=0)
    #: how many attempts have lost their lease
    losses: Mapped[int] = mapped_column(Integer, default=0)
    not_before_ms: Mapped[int] = mapped_column(BigInteger)
    lease_until_ms: Mapped[int | None] = mapped_column(BigInteger)
    worker: Mapped[str | None] = mapped_column(Text)


class JobFile(Base):
    """One file of a job."""

    __tablename__ = "job_files"
    __table_args__ = (
        CheckConstraint("state IN ('pending', 'transferring', 'verified', 'published', 'failed')", name="state"),
        CheckConstraint(
            "state NOT IN ('verified', 'published') OR (sha256 IS NOT NULL AND verified IS NOT NULL)", name="proof"
        ),
        Index("ix_job_files_place", "place", "job_id"),
        Index("uq_job_files_held", "place", unique=True, sqlite_where=text("held"), postgresql_where=text("held")),
    )

    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    state: Mapped[str] = mapped_column(Text)
    #: the final path, once it is resolved; it is never resolved twice
    path: Mapped[str | None] = mapped_column(Text)
    #: what the final path is called by whichever name its host is known, and whether nobody else may publish there
    place: Mapped[str | None] = mapped_column(Text)
    held: Mapped[bool] = mapped_column(default=False)
    size_bytes: Mapped[int | None] = mapped_column(BigInteger)
    sha256: Mapped[str | None] = mapped_column(Text)
    #: how the digest at the destination was proven: sha256-remote, sha256-readback or size
    verified: Mapped[str | None] = mapped_column(Text)


class TemporaryFile(Base):
    """A file that may lie on a host and must not stay: recorded before it is there, forgotten once it is gone."""

    __tablename__ = "temporary_files"
    __table_args__ = (Index("ix_temporary_files_not_before", "not_before_ms"),)

    id: Mapped[int] = mapped_column(_Id, primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id"), index=True)
    attempt: Mapped[int] = mapped_column(Integer)
    host: Mapped[str] = mapped_column(Text)
    path: Mapped[str] = mapped_column(Text)
    #: the final path to which it goes back, if it is the old file of a swap
    restores: Mapped[str | None] = mapped_column(Text)
    #: how far the copy into it had come at least, for the next attempt to go on from
    checkpoint: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    #: when removing it may be tried next, once its attempt is over
    not_before_ms: Mapped[int] = mapped_column(BigInteger)


class HostRecord(Base):
    """How a host stands. Claims lock this row before they count what runs there."""

    __tablename__ = "hosts"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    #: when a worker was let in last
    reached_ms: Mapped[int | None] = mapped_column(BigInteger)
    #: the code of the failure to be let in, if that was the last that was tried
    code: Mapped[str | None] = mapped_column(Text)
    #: how often in a row the host could not be reached, and when that is tried again; until it is, its jobs wait
    unreachable: Mapped[int] = mapped_column(Integer, default=0)
    probe_at_ms: Mapped[int | None] = mapped_column(BigInteger)
    #: an operator wants its jobs to wait
    paused: Mapped[bool] = mapped_column(default=False)
