"""Anonymous statistics, which outlive what they were counted from."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

ID = sa.String(32)


def upgrade() -> None:
    op.create_table(
        "statistics",
        sa.Column("serial", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("tenant", ID, nullable=False),
        sa.Column("period", sa.String(10), nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant"],
            ["tenants.id"],
        ),
        sa.PrimaryKeyConstraint("serial"),
        sa.UniqueConstraint("tenant", "period"),
    )
    op.create_index("calls_of_day", "calls", ["tenant", "day"], unique=False)
