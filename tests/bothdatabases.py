"""Whether the tests of the recording store run over both databases, or over PostgreSQL only where that matters."""

from __future__ import annotations

import os

SETTING = "CALLVAULT_BOTH_DATABASES"
BOTH = os.environ.get(SETTING) == "1"
IN_EFFECT = (
    f"databases: every test of the store over SQLite and PostgreSQL ({SETTING}=1)"
    if BOTH
    else f"databases: SQLite; PostgreSQL too where a test is marked `postgresql`; {SETTING}=1 for every test over both"
)
