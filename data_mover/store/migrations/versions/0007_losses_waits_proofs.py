"""When a job lost its worker last, and how often it has waited for a path; how often sweeps are made;
what proves all files of a job."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("lost_ms", sa.BigInteger(), nullable=True))
    op.add_column("jobs", sa.Column("path_waits", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("sweeps", sa.Column("every_ms", sa.BigInteger(), nullable=False, server_default="5000"))
    for name in ("sha256", "verified"):
        op.add_column("jobs", sa.Column(name, sa.Text(), nullable=True))
    op.execute("UPDATE jobs SET lost_ms = not_before_ms WHERE losses > 0 AND status IN ('PENDING', 'IN_PROGRESS')")
