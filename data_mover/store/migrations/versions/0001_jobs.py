"""Jobs, their files and lanes, temporary files, hosts."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_UNSETTLED = sa.text("kind = 'file' AND state IN ('pending', 'transferring', 'verified')")


def upgrade() -> None:
    op.create_table(
        "hosts",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("reached_ms", sa.BigInteger(), nullable=True),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("unreachable", sa.Integer(), nullable=False),
        sa.Column("probe_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_hosts"),
    )
    op.create_table(
        "lanes",
        sa.Column("id", _ID, nullable=False),
        sa.Column("caller", sa.Text(), nullable=False),
        sa.Column("hosts", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_lanes"),
        sa.UniqueConstraint("caller", "hosts", name="uq_lanes_caller_hosts"),
    )
    op.create_table(
        "jobs",
        sa.Column("id", _ID, nullable=False),
        sa.Column("caller", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=True),
        sa.Column("source", sa.JSON(), nullable=False),
        sa.Column("destination", sa.JSON(), nullable=False),
        sa.Column("label", sa.Text(), nullable=True),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("checksum", sa.Text(), nullable=True),
        sa.Column("selection", sa.JSON(), nullable=False),
        sa.Column("if_exists", sa.Text(), nullable=False),
        sa.Column("retry_of", _ID, nullable=True),
        sa.Column("submitted_ms", sa.BigInteger(), nullable=False),
        sa.Column("deadline_ms", sa.BigInteger(), nullable=False),
        sa.Column("lane_id", _ID, nullable=False),
        sa.Column("sources", sa.JSON(), nullable=False),
        sa.Column("destination_host", sa.Text(), nullable=False),
        sa.Column("destination_path", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("phase", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("started_ms", sa.BigInteger(), nullable=True),
        sa.Column("ended_ms", sa.BigInteger(), nullable=True),
        sa.Column("path", sa.Text(), nullable=True),
        sa.Column("planned", sa.Boolean(), nullable=False),
        sa.Column("bytes_done", sa.BigInteger(), nullable=False),
        sa.Column("bytes_total", sa.BigInteger(), nullable=True),
        sa.Column("bytes_per_second", sa.BigInteger(), nullable=True),
        sa.Column("files_done", sa.BigInteger(), nullable=False),
        sa.Column("files_total", sa.BigInteger(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("losses", sa.Integer(), nullable=False),
        sa.Column("not_before_ms", sa.BigInteger(), nullable=False),
        sa.Column("lease_until_ms", sa.BigInteger(), nullable=True),
        sa.Column("worker", sa.Text(), nullable=True),
        sa.CheckConstraint("(status = 'IN_PROGRESS') = (lease_until_ms IS NOT NULL)", name="ck_jobs_lease"),
        sa.CheckConstraint("(status IN ('PENDING', 'IN_PROGRESS')) = (ended_ms IS NULL)", name="ck_jobs_ended"),
        sa.CheckConstraint("(status IN ('PENDING', 'IN_PROGRESS')) = (phase IS NOT NULL)", name="ck_jobs_phase"),
        sa.CheckConstraint("status <> 'FAILED' OR (code IS NOT NULL AND reason IS NOT NULL)", name="ck_jobs_reason"),
        sa.CheckConstraint(
            "status IN ('PENDING', 'IN_PROGRESS', 'COMPLETED', 'FAILED', 'CANCELLED')", name="ck_jobs_status"
        ),
        sa.ForeignKeyConstraint(["lane_id"], ["lanes.id"], name="fk_jobs_lane_id_lanes"),
        sa.ForeignKeyConstraint(["retry_of"], ["jobs.id"], name="fk_jobs_retry_of_jobs"),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
        sa.UniqueConstraint("caller", "key", name="uq_jobs_caller_key"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_jobs_deadline", "jobs", ["status", "deadline_ms"], unique=False)
    op.create_index("ix_jobs_lane", "jobs", ["lane_id", "status", "priority", "id"], unique=False)
    op.create_index("ix_jobs_retry_of", "jobs", ["retry_of"], unique=False)
    op.create_index("ix_jobs_status", "jobs", ["status", "not_before_ms"], unique=False)
    op.create_table(
        "job_files",
        sa.Column("job_id", _ID, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("source_number", sa.Integer(), nullable=False),
        sa.Column("source_path", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=True),
        sa.Column("mode", sa.Integer(), nullable=True),
        sa.Column("modified_at", sa.Float(), nullable=True),
        sa.Column("place", sa.Text(), nullable=True),
        sa.Column("held", sa.Boolean(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("sha256", sa.Text(), nullable=True),
        sa.Column("verified", sa.Text(), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "state IN ('pending', 'transferring', 'verified', 'published', 'skipped', 'failed')",
            name="ck_job_files_state",
        ),
        sa.CheckConstraint("kind IN ('file', 'directory')", name="ck_job_files_kind"),
        sa.CheckConstraint(
            "kind <> 'file' OR state NOT IN ('verified', 'published', 'skipped')"
            " OR (sha256 IS NOT NULL AND verified IS NOT NULL)",
            name="ck_job_files_proof",
        ),
        sa.CheckConstraint(
            "state <> 'failed' OR (code IS NOT NULL AND reason IS NOT NULL)", name="ck_job_files_reason"
        ),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_job_files_job_id_jobs"),
        sa.PrimaryKeyConstraint("job_id", "number", name="pk_job_files"),
    )
    op.create_index("ix_job_files_state", "job_files", ["job_id", "state"], unique=False)
    op.create_index(
        "ix_job_files_unsettled",
        "job_files",
        ["job_id", "attempt", "number"],
        unique=False,
        sqlite_where=_UNSETTLED,
        postgresql_where=_UNSETTLED,
    )
    op.create_index("uq_job_files_path", "job_files", ["job_id", "path"], unique=True)
    op.create_index("ix_job_files_place", "job_files", ["place", "job_id"], unique=False)
    op.create_index(
        "uq_job_files_held",
        "job_files",
        ["place"],
        unique=True,
        sqlite_where=sa.text("held"),
        postgresql_where=sa.text("held"),
    )
    op.create_table(
        "temporary_files",
        sa.Column("id", _ID, nullable=False),
        sa.Column("job_id", _ID, nullable=False),
        sa.Column("file_number", sa.BigInteger(), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("restores", sa.Text(), nullable=True),
        sa.Column("checkpoint", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("not_before_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_temporary_files_job_id_jobs"),
        sa.PrimaryKeyConstraint("id", name="pk_temporary_files"),
    )
    op.create_index("ix_temporary_files_job_id", "temporary_files", ["job_id"], unique=False)
    op.create_index("ix_temporary_files_not_before", "temporary_files", ["not_before_ms"], unique=False)
