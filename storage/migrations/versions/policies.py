"""Policies that tenants have had, and the last look at the clocks."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

ID = sa.String(32)


def upgrade() -> None:
    op.create_table(
        "policies",
        sa.Column("serial", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("tenant", ID, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("entry", sa.Integer, nullable=False),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"]),
        sa.PrimaryKeyConstraint("serial"),
    )
    op.create_index("policies_of_tenant", "policies", ["tenant", "serial"], unique=False)
    op.create_table(
        "heartbeats",
        sa.Column("name", ID, nullable=False),
        sa.Column("host_s", sa.BigInteger, nullable=False),
        sa.Column("uptime_s", sa.BigInteger, nullable=False),
        sa.Column("boot", ID, nullable=False),
        sa.Column("latest_s", sa.BigInteger, nullable=False),
        sa.Column("settled_s", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
