"""The key tree with nodes and leaves, buckets with an end, and tombstones of single purposes.

A store of before that holds keys is not converted: that form was never released.
"""

import sqlalchemy as sa
from alembic import op

from storage.errors import Refused

revision = "0007"
down_revision = "0006"

ID = sa.String(32)


def upgrade() -> None:
    if op.get_bind().scalar(sa.text("SELECT count(*) FROM (SELECT 1 FROM artefact_keys LIMIT 1)")):
        raise Refused("this data folder holds keys in a form of before the first release: begin with an empty folder")
    for table in ("artefact_keys", "buckets", "tags"):  # buckets that were only prepared are made again when needed
        op.drop_table(table)
    _keys()
    _tags()
    _tombstones()


def _keys() -> None:
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
        sa.Column("due", sa.BigInteger, nullable=True),
        sa.Column("wrapped", sa.LargeBinary, nullable=False),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"]),
        sa.PrimaryKeyConstraint("serial"),
        sa.UniqueConstraint("id", "epoch"),
        sa.UniqueConstraint("tenant", "root", "epoch", "kind", "purpose", "day"),
    )
    op.create_table(
        "nodes",
        sa.Column("serial", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("id", ID, nullable=False),
        sa.Column("parent", ID, nullable=False),
        sa.Column("wrapped", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("serial"),
        sa.UniqueConstraint("id", "parent"),
    )
    op.create_index(op.f("ix_nodes_parent"), "nodes", ["parent"], unique=False)
    op.create_table(
        "artefact_keys",
        sa.Column("serial", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("artefact", ID, nullable=False),
        sa.Column("leaf", ID, nullable=False),
        sa.Column("wrapped", sa.LargeBinary, nullable=False),
        sa.ForeignKeyConstraint(["artefact"], ["artefacts.id"]),
        sa.PrimaryKeyConstraint("serial"),
        sa.UniqueConstraint("artefact", "leaf"),
    )
    op.create_index(op.f("ix_artefact_keys_leaf"), "artefact_keys", ["leaf"], unique=False)


def _tags() -> None:
    op.create_table(
        "tags",
        sa.Column("serial", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("leaf", ID, nullable=False),
        sa.Column("artefact", ID, nullable=False),
        sa.Column("tag", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("serial"),
        sa.UniqueConstraint("tag"),
    )
    op.create_index(op.f("ix_tags_leaf"), "tags", ["leaf"], unique=False)


def _tombstones() -> None:
    """Kept: they are for ever, and those of before are of whole artefacts."""
    op.rename_table("tombstones", "tombstones_before")
    for name in ("ix_tombstones_call", "ix_tombstones_erasure"):
        op.drop_index(name, "tombstones_before")
    op.create_table(
        "tombstones",
        sa.Column("artefact", ID, nullable=False),
        sa.Column("purpose", ID, nullable=False),
        sa.Column("tenant", ID, nullable=False),
        sa.Column("call", ID, nullable=False),
        sa.Column("erasure", ID, nullable=False),
        sa.PrimaryKeyConstraint("artefact", "purpose"),
    )
    op.execute(
        "INSERT INTO tombstones (artefact, purpose, tenant, call, erasure)"
        " SELECT artefact, '', tenant, call, erasure FROM tombstones_before"
    )
    op.drop_table("tombstones_before")
    op.create_index(op.f("ix_tombstones_call"), "tombstones", ["call"], unique=False)
    op.create_index(op.f("ix_tombstones_erasure"), "tombstones", ["erasure"], unique=False)
