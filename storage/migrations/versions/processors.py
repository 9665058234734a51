"""What tenants were told of sub-processors; and of which copies nothing is left to be told to anybody."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"

ID = sa.String(32)


def upgrade() -> None:
    op.create_table(
        "processors",
        sa.Column("serial", sa.BigInteger().with_variant(sa.Integer, "sqlite"), autoincrement=True, nullable=False),
        sa.Column("tenant", ID, nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("from_s", sa.BigInteger, nullable=False),
        sa.Column("day", sa.String(10), nullable=False),
        sa.Column("seq", sa.Integer, nullable=False),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"]),
        sa.PrimaryKeyConstraint("serial"),
    )
    op.create_index(op.f("ix_processors_tenant"), "processors", ["tenant"], unique=False)
    op.add_column("egress", sa.Column("settled", sa.Boolean, nullable=False, server_default=sa.false()))
