"""A day's bucket in parts: SQLite changes a constraint by making the table anew."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

ID = sa.String(32)
BEFORE = "serial, id, tenant, root, epoch, kind, purpose, day"


def upgrade() -> None:
    op.rename_table("buckets", "buckets_before")
    op.create_table(
        "buckets",
        sa.Column("serial", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("id", ID, nullable=False),
        sa.Column("tenant", ID, nullable=False),
        sa.Column("root", ID, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("kind", ID, nullable=False),
        sa.Column("purpose", ID, nullable=False),
        sa.Column("day", sa.String(10), nullable=False),
        sa.Column("part", sa.Integer, nullable=False),
        sa.Column("wrapped", sa.LargeBinary, nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant"],
            ["tenants.id"],
        ),
        sa.PrimaryKeyConstraint("serial"),
        sa.UniqueConstraint("id", "epoch"),
        sa.UniqueConstraint("tenant", "root", "epoch", "kind", "purpose", "day", "part"),
    )
    op.execute(
        f"INSERT INTO buckets ({BEFORE}, part, wrapped) SELECT {BEFORE}, 0, wrapped FROM buckets_before ORDER BY serial"  # noqa: S608  # our own words
    )
    op.drop_table("buckets_before")
