"""Jobs that were given up, kept until somebody retries or drops them."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

ID = sa.String(32)


def upgrade() -> None:
    op.create_table(
        "dead_jobs",
        sa.Column("serial", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("id", ID, nullable=False),
        sa.Column("tenant", ID, nullable=False),
        sa.Column("call", ID, nullable=False),
        sa.Column("subject", ID, nullable=False),
        sa.Column("reason", sa.String(64), nullable=False),
        sa.Column("deliveries", sa.Integer, nullable=False),
        sa.Column("day", sa.String(10), nullable=False),
        sa.PrimaryKeyConstraint("serial"),
        sa.UniqueConstraint("id"),
        sa.UniqueConstraint("call", "subject"),
    )
