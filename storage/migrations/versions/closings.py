"""Tenants that leave, and when what of them ends."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"

ID = sa.String(32)


def upgrade() -> None:
    op.create_table(
        "closings",
        sa.Column("serial", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("tenant", ID, nullable=False),
        sa.Column("state", ID, nullable=False),
        sa.Column("closed_s", sa.BigInteger, nullable=False),
        sa.Column("content_s", sa.BigInteger, nullable=True),
        sa.Column("open_s", sa.BigInteger, nullable=False),
        sa.Column("account_s", sa.BigInteger, nullable=False),
        sa.Column("entry", sa.Integer, nullable=False),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"]),
        sa.PrimaryKeyConstraint("serial"),
    )
    op.create_index(op.f("ix_closings_tenant"), "closings", ["tenant"], unique=False)
