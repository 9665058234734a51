"""Why a call that never got keys is not recorded: a word in clear."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0016"


def upgrade() -> None:
    op.add_column("calls", sa.Column("reason", sa.String(32), nullable=True))
