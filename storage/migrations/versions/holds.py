"""Calls that are held, restrictions, consents. No store with holds of before was ever released."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"

ID = sa.String(32)


def upgrade() -> None:
    op.drop_table("holds")
    op.create_table(
        "holds",
        sa.Column("serial", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("id", ID, nullable=False, unique=True),
        sa.Column("tenant", ID, nullable=False),
        sa.Column("ground", sa.String(200), nullable=False),
        sa.Column("released", sa.Boolean, nullable=False),
        sa.Column("entry", sa.Integer, nullable=False),
    )
    op.create_table(
        "held_calls",
        sa.Column("call", ID, sa.ForeignKey("calls.id"), primary_key=True),
        sa.Column("hold", ID, sa.ForeignKey("holds.id"), primary_key=True),
    )
    op.create_index("ix_held_calls_hold", "held_calls", ["hold"])
    op.create_table(
        "restrictions",
        sa.Column("serial", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("id", ID, nullable=False, unique=True),
        sa.Column("tenant", ID, nullable=False),
        sa.Column("call", ID, sa.ForeignKey("calls.id"), nullable=False),
        sa.Column("ground", sa.String(200), nullable=False),
        sa.Column("lifted", sa.Boolean, nullable=False),
        sa.Column("entry", sa.Integer, nullable=False),
    )
    op.create_index("ix_restrictions_call", "restrictions", ["call"])
    op.create_table(
        "consents",
        sa.Column("serial", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("id", ID, nullable=False, unique=True),
        sa.Column("tenant", ID, nullable=False),
        sa.Column("call", ID, sa.ForeignKey("calls.id"), nullable=False),
        sa.Column("participant", ID, nullable=False),
        sa.Column("purpose", ID, nullable=False),
        sa.Column("erasure", ID),
    )
    op.create_index("ix_consents_call", "consents", ["call"])
