"""What a change of epoch has prepared ahead of its transaction."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"

ID = sa.String(32)


def upgrade() -> None:
    op.create_table(
        "preparations",
        sa.Column("serial", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("change", ID, nullable=False),
        sa.Column("id", ID, nullable=False),
        sa.Column("parent", ID, nullable=False),
        sa.ForeignKeyConstraint(
            ["change"],
            ["changes.id"],
        ),
        sa.PrimaryKeyConstraint("serial"),
    )
    op.create_index(op.f("ix_preparations_change"), "preparations", ["change"], unique=False)
