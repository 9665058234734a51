"""What the witness has to get yet."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"

ID = sa.String(32)


def upgrade() -> None:
    op.create_table(
        "unwitnessed",
        sa.Column("serial", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("id", ID, nullable=False),
        sa.Column("tenant", ID, nullable=False),
        sa.Column("kind", ID, nullable=False),
        sa.Column("named", ID, nullable=False),
        sa.PrimaryKeyConstraint("serial"),
        sa.UniqueConstraint("id"),
        sa.UniqueConstraint("tenant", "kind", "named"),
    )
