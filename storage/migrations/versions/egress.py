"""Copies that left: which call, when, and the sealed record that says to whom."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

ID = sa.String(32)


def upgrade() -> None:
    op.create_table(
        "egress",
        sa.Column("serial", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("id", ID, nullable=False),
        sa.Column("tenant", ID, nullable=False),
        sa.Column("call", ID, nullable=False),
        sa.Column("day", sa.String(10), nullable=False),
        sa.PrimaryKeyConstraint("serial"),
        sa.UniqueConstraint("id", "call"),
    )
    op.create_index("ix_egress_call", "egress", ["call"], unique=False)
