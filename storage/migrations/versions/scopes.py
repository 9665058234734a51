"""Erasures of more than calls, which share changes of epoch. No store with erasures of before was ever released."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

ID = sa.String(32)


def upgrade() -> None:
    op.drop_table("erasure_steps")
    op.drop_table("erasures")
    _changes()
    _erasures()
    _graves()


def _changes() -> None:
    op.create_table(
        "changes",
        sa.Column("serial", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("id", ID, nullable=False, unique=True),
        sa.Column("tenant", ID, nullable=False),
        sa.Column("finished", sa.Boolean, nullable=False),
    )
    op.create_index("changes_of_tenant", "changes", ["tenant", "finished"])
    op.create_table(
        "change_steps",
        sa.Column("change", ID, sa.ForeignKey("changes.id"), primary_key=True),
        sa.Column("step", ID, primary_key=True),
        sa.Column("facts", sa.Text, nullable=False),
    )


def _erasures() -> None:
    op.create_table(
        "erasures",
        sa.Column("serial", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("id", ID, nullable=False, unique=True),
        sa.Column("tenant", ID, nullable=False),
        sa.Column("scope", ID, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("intent", sa.Integer, nullable=False),
        sa.Column("change", ID, sa.ForeignKey("changes.id")),
        sa.Column("certificate", sa.Text),
    )
    op.create_index("ix_erasures_tenant", "erasures", ["tenant"])
    op.create_index("ix_erasures_change", "erasures", ["change"])
    op.create_table(
        "erased_calls",
        sa.Column("call", ID, primary_key=True),
        sa.Column("erasure", ID, sa.ForeignKey("erasures.id"), primary_key=True),
    )


def _graves() -> None:
    op.create_table(
        "drops",
        sa.Column("serial", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("tenant", ID, nullable=False),
        sa.Column("root", ID, nullable=False),
        sa.Column("kind", ID, nullable=False),
        sa.Column("purpose", ID, nullable=False),
        sa.Column("day", sa.String(10), nullable=False),
        sa.Column("erasure", ID, nullable=False),
        sa.UniqueConstraint("tenant", "root", "kind", "purpose", "day", "erasure"),
    )
    op.create_index("ix_drops_erasure", "drops", ["erasure"])
    op.create_table(
        "holds",
        sa.Column("serial", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("id", ID, nullable=False, unique=True),
        sa.Column("tenant", ID, nullable=False),
        sa.Column("ground", sa.String(200), nullable=False),
        sa.Column("released", sa.Boolean, nullable=False),
    )
