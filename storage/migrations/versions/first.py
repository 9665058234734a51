"""The tables of the first release."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

ID = sa.String(32)


def upgrade() -> None:
    _tenants_and_keys()
    _calls()
    _content()
    _erasures()


def _tenants_and_keys() -> None:
    op.create_table(
        "installation",
        sa.Column("name", ID, nullable=False),
        sa.Column("wrapped", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "tenants",
        sa.Column("id", ID, nullable=False),
        sa.Column("tag", sa.LargeBinary, nullable=False),
        sa.Column("fence", sa.Integer, nullable=False),
        sa.Column("turn", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("tag"),
    )
    op.create_table(
        "tokens",
        sa.Column("id", ID, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.Column("tenant", ID, nullable=False),
        sa.Column("role", ID, nullable=False),
        sa.Column("label", sa.LargeBinary, nullable=False),
        sa.Column("revoked", sa.Boolean, nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant"],
            ["tenants.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "epochs",
        sa.Column("serial", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("tenant", ID, nullable=False),
        sa.Column("root", ID, nullable=False),
        sa.Column("n", sa.Integer, nullable=False),
        sa.Column("wrapped", sa.LargeBinary, nullable=False),
        sa.Column("probe", sa.LargeBinary, nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant"],
            ["tenants.id"],
        ),
        sa.PrimaryKeyConstraint("serial"),
        sa.UniqueConstraint("tenant", "root", "n"),
    )
    op.create_table(
        "buckets",
        sa.Column("serial", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("id", ID, nullable=False),
        sa.Column("tenant", ID, nullable=False),
        sa.Column("root", ID, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("kind", ID, nullable=False),
        sa.Column("purpose", ID, nullable=False),
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("wrapped", sa.LargeBinary, nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant"],
            ["tenants.id"],
        ),
        sa.PrimaryKeyConstraint("serial"),
        sa.UniqueConstraint("id", "epoch"),
        sa.UniqueConstraint("tenant", "root", "epoch", "kind", "purpose", "day"),
    )


def _calls() -> None:
    op.create_table(
        "calls",
        sa.Column("serial", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("id", ID, nullable=False),
        sa.Column("tenant", ID, nullable=False),
        sa.Column("state", ID, nullable=False),
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("closed", sa.Boolean, nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant"],
            ["tenants.id"],
        ),
        sa.PrimaryKeyConstraint("serial"),
        sa.UniqueConstraint("id"),
    )
    op.create_index("calls_open", "calls", ["closed", "state"], unique=False)
    op.create_index("calls_of_tenant", "calls", ["tenant", "serial"], unique=False)
    op.create_table(
        "artefacts",
        sa.Column("serial", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("id", ID, nullable=False),
        sa.Column("tenant", ID, nullable=False),
        sa.Column("call", ID, nullable=False),
        sa.Column("participant", ID, nullable=False),
        sa.Column("kind", ID, nullable=False),
        sa.Column("purpose", ID, nullable=False),
        sa.Column("commitment", sa.LargeBinary, nullable=False),
        sa.Column("segment_bytes", sa.Integer, nullable=False),
        sa.Column("state", ID, nullable=False),
        sa.Column("interrupted", sa.Boolean, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(
            ["call"],
            ["calls.id"],
        ),
        sa.PrimaryKeyConstraint("serial"),
        sa.UniqueConstraint("id"),
    )
    op.create_index(op.f("ix_artefacts_call"), "artefacts", ["call"], unique=False)
    op.create_table(
        "artefact_keys",
        sa.Column("serial", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("artefact", ID, nullable=False),
        sa.Column("bucket", ID, nullable=False),
        sa.Column("wrapped", sa.LargeBinary, nullable=False),
        sa.ForeignKeyConstraint(
            ["artefact"],
            ["artefacts.id"],
        ),
        sa.PrimaryKeyConstraint("serial"),
        sa.UniqueConstraint("artefact", "bucket"),
    )
    op.create_index(op.f("ix_artefact_keys_bucket"), "artefact_keys", ["bucket"], unique=False)
    op.create_table(
        "manifests",
        sa.Column("call", ID, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(
            ["call"],
            ["calls.id"],
        ),
        sa.PrimaryKeyConstraint("call"),
    )
    op.create_table(
        "outbox",
        sa.Column("serial", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("id", ID, nullable=False),
        sa.Column("tenant", ID, nullable=False),
        sa.Column("call", ID, nullable=False),
        sa.Column("subject", ID, nullable=False),
        sa.PrimaryKeyConstraint("serial"),
        sa.UniqueConstraint("id"),
    )
    op.create_index(op.f("ix_outbox_call"), "outbox", ["call"], unique=False)


def _content() -> None:
    op.create_table(
        "documents",
        sa.Column("serial", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("artefact", ID, nullable=False),
        sa.Column("stream_id", ID, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.ForeignKeyConstraint(
            ["artefact"],
            ["artefacts.id"],
        ),
        sa.PrimaryKeyConstraint("serial"),
        sa.UniqueConstraint("artefact"),
    )
    op.create_table(
        "slices",
        sa.Column("serial", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("artefact", ID, nullable=False),
        sa.Column("slice_no", sa.Integer, nullable=False),
        sa.Column("stream_id", ID, nullable=False),
        sa.Column("run", ID, nullable=False),
        sa.Column("first_seq", sa.BigInteger, nullable=False),
        sa.Column("last_seq", sa.BigInteger, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("segment_bytes", sa.Integer, nullable=False),
        sa.Column("sealed_index", sa.LargeBinary, nullable=False),
        sa.ForeignKeyConstraint(
            ["artefact"],
            ["artefacts.id"],
        ),
        sa.PrimaryKeyConstraint("serial"),
        sa.UniqueConstraint("artefact", "slice_no"),
        sa.UniqueConstraint("stream_id"),
    )


def _erasures() -> None:
    op.create_table(
        "tombstones",
        sa.Column("artefact", ID, nullable=False),
        sa.Column("tenant", ID, nullable=False),
        sa.Column("call", ID, nullable=False),
        sa.Column("erasure", ID, nullable=False),
        sa.PrimaryKeyConstraint("artefact"),
    )
    op.create_index(op.f("ix_tombstones_call"), "tombstones", ["call"], unique=False)
    op.create_index(op.f("ix_tombstones_erasure"), "tombstones", ["erasure"], unique=False)
    op.create_table(
        "erasures",
        sa.Column("serial", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("id", ID, nullable=False),
        sa.Column("tenant", ID, nullable=False),
        sa.Column("call", ID, nullable=False),
        sa.Column("finished", sa.Boolean, nullable=False),
        sa.Column("certificate", sa.Text, nullable=True),
        sa.PrimaryKeyConstraint("serial"),
        sa.UniqueConstraint("id"),
    )
    op.create_index(op.f("ix_erasures_call"), "erasures", ["call"], unique=False)
    op.create_table(
        "erasure_steps",
        sa.Column("erasure", ID, nullable=False),
        sa.Column("step", ID, nullable=False),
        sa.Column("facts", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(
            ["erasure"],
            ["erasures.id"],
        ),
        sa.PrimaryKeyConstraint("erasure", "step"),
    )
    op.create_table(
        "ledger",
        sa.Column("seq", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("previous", sa.String(length=64), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("signature", sa.String(length=128), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
    )
