"""Objects of erased calls that the object store's lock keeps: unreadable, and to be deleted when it ends."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

ID = sa.String(32)


def upgrade() -> None:
    op.create_table(
        "leftovers",
        sa.Column("serial", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("erasure", ID, nullable=False),
        sa.Column("tenant", ID, nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("day", sa.String(10), nullable=False),
        sa.PrimaryKeyConstraint("serial"),
        sa.UniqueConstraint("name"),
    )
