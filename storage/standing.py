"""What stands on calls: restrictions, asked for in the snapshot that reads and by each lease, and holds."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection, bindparam, select

from storage.errors import Restricted
from storage.model import CallId
from storage.tables import held_calls, holds, restrictions

_STANDING = select(restrictions.c.call).where(
    restrictions.c.call.in_(bindparam("calls", expanding=True)), restrictions.c.lifted.is_(False)
)


_HELD = (
    select(held_calls.c.call)
    .join(holds, holds.c.id == held_calls.c.hold)
    .where(held_calls.c.call.in_(bindparam("calls", expanding=True)), holds.c.released.is_(False))
)


def held_among(connection: Connection, wanted: Collection[CallId]) -> set[CallId]:
    """Those of these calls, some hundreds at once, that a hold keeps."""
    return set(connection.scalars(_HELD, {"calls": list(wanted)})) if wanted else set()


def restricted_among(connection: Connection, wanted: Collection[CallId]) -> set[CallId]:
    """Those of these calls, some hundreds at once, of which nothing is read now."""
    return set(connection.scalars(_STANDING, {"calls": list(wanted)})) if wanted else set()


def check_unrestricted(connection: Connection, call: CallId) -> None:
    """Restricted if nothing of the call is read now."""
    if restricted_among(connection, [call]):
        raise Restricted(f"call {call} is restricted (Art. 18 GDPR): it is kept, and nothing of it is read")
