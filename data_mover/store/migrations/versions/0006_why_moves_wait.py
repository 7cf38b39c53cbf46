"""Why a host cannot be reached, what its moves fail of, and when the last sweep was."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("reason", "move_code", "move_reason"):
        op.add_column("hosts", sa.Column(name, sa.Text(), nullable=True))
    op.create_table(
        "sweeps",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("swept_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_sweeps"),
    )
