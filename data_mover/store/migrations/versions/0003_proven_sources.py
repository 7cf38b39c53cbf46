"""What the source of a proven file was like, so that it can be seen whether it still is."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("job_files", sa.Column("source_modified_at", sa.Float(), nullable=True))
    op.add_column("job_files", sa.Column("source_version", sa.Text(), nullable=True))
