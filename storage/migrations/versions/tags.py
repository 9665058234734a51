"""Blind tags that calls are found by, and the sealed identifiers that they are computed from."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

ID = sa.String(32)


def upgrade() -> None:
    op.create_table(
        "tags",
        sa.Column("serial", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("bucket", ID, nullable=False),
        sa.Column("artefact", ID, nullable=False),
        sa.Column("tag", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("serial"),
        sa.UniqueConstraint("tag"),
    )
    op.create_index(op.f("ix_tags_bucket"), "tags", ["bucket"], unique=False)
    op.create_table(
        "identifiers",
        sa.Column("serial", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("artefact", ID, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.ForeignKeyConstraint(
            ["artefact"],
            ["artefacts.id"],
        ),
        sa.PrimaryKeyConstraint("serial"),
    )
    op.create_index(op.f("ix_identifiers_artefact"), "identifiers", ["artefact"], unique=False)
