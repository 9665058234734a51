"""Where a tenant's data may be, and where it is or was."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

ID = sa.String(32)


def upgrade() -> None:
    op.create_table(
        "residency",
        sa.Column("tenant", ID, nullable=False),
        sa.Column("rules", sa.String(1000), nullable=False),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"]),
        sa.PrimaryKeyConstraint("tenant"),
    )
    op.create_table(
        "locations",
        sa.Column("serial", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("tenant", ID, nullable=False),
        sa.Column("part", sa.String(32), nullable=False),
        sa.Column("region", sa.String(32), nullable=False),
        sa.Column("place", sa.String(200), nullable=False),
        sa.Column("day", sa.String(10), nullable=False),
        sa.Column("seq", sa.Integer, nullable=False),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"]),
        sa.PrimaryKeyConstraint("serial"),
    )
    op.create_index(op.f("ix_locations_tenant"), "locations", ["tenant"], unique=False)
