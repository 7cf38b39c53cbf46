"""The log of each job; the length of a lease in its row; plain names for path locks and plan requests."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("jobs", sa.Column("lease_ms", sa.BigInteger(), nullable=False, server_default="30000"))
    op.add_column("jobs", sa.Column("events", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("ending", sa.Text(), nullable=True))
    _create_job_indexes()
    op.create_index("ix_temporary_files_path", "temporary_files", ["path"], unique=False)
    _create_events()
    _rename_path_locks()
    _create_plan_requests()


def _create_job_indexes() -> None:
    ending = sa.text("ending IS NOT NULL")
    op.drop_index("ix_jobs_lane", "jobs")
    op.create_index("ix_jobs_lane", "jobs", ["lane_id", "phase", "priority", "id"], unique=False)
    op.create_index("ix_jobs_due", "jobs", ["lane_id", "phase", "priority", "not_before_ms"], unique=False)
    op.create_index("ix_jobs_caller", "jobs", ["caller", "id"], unique=False)
    op.create_index("ix_jobs_ending", "jobs", ["ending"], unique=False, sqlite_where=ending, postgresql_where=ending)


def _create_events() -> None:
    op.create_table(
        "events",
        sa.Column("id", _ID, nullable=False),
        sa.Column("job_id", _ID, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("from_status", sa.Text(), nullable=True),
        sa.Column("to_status", sa.Text(), nullable=False),
        sa.Column("from_phase", sa.Text(), nullable=True),
        sa.Column("to_phase", sa.Text(), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=True),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("files", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_events_job_id_jobs", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
        sa.UniqueConstraint("job_id", "number", name="uq_events_job_id_number"),
        sqlite_autoincrement=True,
    )


def _rename_path_locks() -> None:
    op.drop_index("uq_job_files_held", "job_files")
    op.drop_index("ix_job_files_place", "job_files")
    op.execute("ALTER TABLE job_files RENAME COLUMN place TO lock_name")
    op.execute("ALTER TABLE job_files RENAME COLUMN held TO locked")
    op.create_index("ix_job_files_lock_name", "job_files", ["lock_name", "job_id"], unique=False)
    op.create_index(
        "uq_job_files_locked",
        "job_files",
        ["lock_name"],
        unique=True,
        sqlite_where=sa.text("locked"),
        postgresql_where=sa.text("locked"),
    )


def _create_plan_requests() -> None:
    """Requests live for a minute: those of the old table are asked again by whoever still waits for the answer."""
    op.drop_table("questions")
    op.create_table(
        "plan_requests",
        sa.Column("id", _ID, nullable=False),
        sa.Column("caller", sa.Text(), nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("asked_ms", sa.BigInteger(), nullable=False),
        sa.Column("claims", sa.Integer(), nullable=False),
        sa.Column("lease_until_ms", sa.BigInteger(), nullable=True),
        sa.Column("report", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("answered", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_plan_requests"),
        sa.UniqueConstraint("caller", "digest", name="uq_plan_requests_caller_digest"),
        sqlite_autoincrement=True,
    )
