"""The catalogue's rows of calls, as records."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, exists, select, update

from storage.epochs import ALIVE, artefact_ref
from storage.errors import AlreadyExists, Erased, NotFound
from storage.liveness import alive
from storage.model import ArtefactId, ArtefactState, CallId, CallState, Kind, ParticipantId, TenantId
from storage.records import STREAMS, ArtefactRecord, CallRecord, Change, Day, NewCall
from storage.standing import held_among, restricted_among
from storage.tables import artefacts, calls

_OVER = (CallState.ENDED, CallState.INTERRUPTED, CallState.NOT_RECORDED, CallState.NO_MEDIA)
"""States in which a call without a manifest gets one."""

WITHOUT_STREAMS = (CallState.NOT_RECORDED, CallState.NO_MEDIA)
"""States in which no stream is going to be ended by a spool."""

IS_CALL = calls.c.state != CallState.DOSSIER.value
"""What parts the calls from the dossiers, which have rows among them."""

_STATES = select(calls.c.tenant, calls.c.id, calls.c.state).where(calls.c.id.in_(bindparam("ids", expanding=True)))
_THERE = select(artefacts.c.id).where(
    artefacts.c.id.in_(bindparam("ids", expanding=True)), artefacts.c.state.in_(ALIVE)
)
_MOVE = update(calls).where(calls.c.id == bindparam("of")).values(state=bindparam("to"))
_COMPLETE_ALL = (
    update(artefacts)
    .where(artefacts.c.call == bindparam("of"), artefacts.c.state == ArtefactState.WRITING.value)
    .values(state=ArtefactState.COMPLETE.value)
)
_DUE = (
    select(calls.c.tenant, calls.c.id)
    .where(
        calls.c.closed.is_(False),
        calls.c.state.in_(_OVER),
        ~exists().where(
            artefacts.c.call == calls.c.id,
            artefacts.c.kind.in_(STREAMS),
            artefacts.c.state == ArtefactState.WRITING.value,
        ),
    )
    .order_by(calls.c.serial)
)
_CLOSED = select(calls.c.closed).where(calls.c.id == bindparam("of"))


class Mark(NamedTuple):
    """A call's place among others: by day, and within it by the order in which they were saved."""

    day: Day
    serial: int


def insert_calls(connection: Connection, new_calls: Sequence[NewCall]) -> None:
    """Writes the rows of new calls; one that has its row already moves on, Erased if it was erased meanwhile."""
    rows = [
        {"id": new.call, "tenant": new.tenant, "state": new.state.value, "day": new.day}
        | {"closed": new.state is CallState.DOSSIER}
        for new in new_calls
        if not new.listed
    ]
    if rows:
        connection.execute(calls.insert(), rows)
    for new in new_calls:
        if new.listed and not move_keyless(connection, new.state, "", new.call):
            raise Erased(f"call {new.call} is erased")


def move_keyless(connection: Connection, to: CallState, reason: str, call: CallId | None = None) -> int:
    """Moves a call without keys on, or all there are; gives how many."""
    keyless = update(calls).where(calls.c.state == CallState.KEYLESS.value)
    if call is not None:
        keyless = keyless.where(calls.c.id == call)
    return connection.execute(keyless.values(state=to.value, reason=reason or None)).rowcount


def read_calls(connection: Connection, tenant: TenantId, limit: int, before: CallId | None) -> list[CallRecord]:
    """The newest calls of a tenant first, older than `before` if it is given."""
    query = select(calls).where(calls.c.tenant == tenant, IS_CALL)
    if before is not None:
        mark = connection.scalar(select(calls.c.serial).where(calls.c.id == before, calls.c.tenant == tenant))
        if mark is None:
            raise NotFound(f"no call {before}")
        query = query.where(calls.c.serial < mark)
    return _with_artefacts(connection, connection.execute(query.order_by(calls.c.serial.desc()).limit(limit)).all())


def read_mark(connection: Connection, tenant: TenantId, call: CallId) -> Mark:
    """Where a call stands among its tenant's; NotFound."""
    row = connection.execute(select(calls.c.day, calls.c.serial).where(calls.c.id == call, calls.c.tenant == tenant))
    found = row.first()
    if found is None:
        raise NotFound(f"no call {call}")
    return Mark(Day(found.day), found.serial)


def marks_of(connection: Connection, tenant: TenantId, wanted: Sequence[ArtefactId], now_s: float) -> set[Mark]:
    """The calls of a tenant that have one of these artefacts, as far as it is alive."""
    query = select(calls.c.day, calls.c.serial).join(artefacts, artefacts.c.call == calls.c.id)
    # By the artefacts' tenant: by that of the calls SQLite begins with all that the tenant has.
    query = query.where(artefacts.c.id.in_(alive(connection, wanted, now_s)), artefacts.c.tenant == tenant)
    return {Mark(Day(row.day), row.serial) for row in connection.execute(query)}


def read_marked(connection: Connection, marks: Sequence[Mark]) -> list[CallRecord]:
    """The calls at these marks, the newest first."""
    query = select(calls).where(calls.c.serial.in_([mark.serial for mark in marks]))
    rows = connection.execute(query.order_by(calls.c.day.desc(), calls.c.serial.desc())).all()
    return _with_artefacts(connection, rows)


def read_call(connection: Connection, tenant: TenantId, call: CallId) -> CallRecord:
    """One call; NotFound also for another tenant's."""
    rows = connection.execute(select(calls).where(calls.c.id == call, calls.c.tenant == tenant, IS_CALL)).all()
    if not rows:
        raise NotFound(f"no call {call}")
    return _with_artefacts(connection, rows)[0]


def check_alive(
    connection: Connection, tenant: TenantId, call: CallId, needed: Sequence[ArtefactId], now_s: float
) -> CallState:
    """The call's state; NotFound, or Erased if the call or one of these artefacts of it is not alive at that time."""
    state = connection.scalar(select(calls.c.state).where(calls.c.id == call, calls.c.tenant == tenant))
    if state is None:
        raise NotFound(f"no call {call}")
    if state == CallState.ERASED:
        raise Erased(f"call {call} is erased")
    if needed:
        where = (artefacts.c.id.in_(alive(connection, needed, now_s)), artefacts.c.call == call)
        if set(connection.scalars(select(artefacts.c.id).where(*where))) != set(needed):
            raise Erased(f"an artefact of call {call} is erased, or its time is over")
    return CallState(state)


def outcomes(connection: Connection, changes: Sequence[Change]) -> list[NotFound | Erased | None]:
    """For each change what keeps it from being made: its call, or an artefact that it names, is not there any more."""
    calls_named = [change.call.call for change in changes]
    states = {(row.tenant, row.id): row.state for row in connection.execute(_STATES, {"ids": calls_named})}
    needed = [artefact for change in changes for artefact in change.documents]
    there = set(connection.scalars(_THERE, {"ids": needed})) if needed else set()
    found: list[NotFound | Erased | None] = []
    for change in changes:
        call = change.call.call
        state = states.get((change.call.tenant, call))
        if state is None:
            found.append(NotFound(f"no call {call}"))
        elif state == CallState.ERASED or not there.issuperset(change.documents):
            found.append(Erased(f"call {call} is erased, or an artefact of it"))
        else:
            found.append(None)
    return found


def check_absent(connection: Connection, call: CallId, wanted: Sequence[tuple[ParticipantId, Kind]]) -> None:
    """AlreadyExists if the call has, alive, an artefact of one of these kinds for its participant."""
    where = (artefacts.c.call == call, artefacts.c.state.in_(ALIVE))
    found = {(row.participant, row.kind) for row in connection.execute(select(artefacts).where(*where))}
    for participant, kind in wanted:
        if (participant, kind.value) in found:
            raise AlreadyExists(f"call {call} has a {kind.value} of participant {participant}")


def set_states(connection: Connection, changes: Sequence[Change]) -> None:
    """Moves calls on, and completes what no spool is going to complete."""
    moved = [{"of": change.call.call, "to": change.state.value} for change in changes if change.state is not None]
    if moved:
        connection.execute(_MOVE, moved)
    ended = [{"of": change.call.call} for change in changes if change.state in WITHOUT_STREAMS]
    if ended:
        connection.execute(_COMPLETE_ALL, ended)


def open_calls(connection: Connection, state: CallState) -> list[tuple[TenantId, CallId]]:
    """The calls in a state that are not closed, oldest first."""
    query = select(calls.c.tenant, calls.c.id).where(calls.c.closed.is_(False), calls.c.state == state.value)
    return [(TenantId(tenant), CallId(call)) for tenant, call in connection.execute(query.order_by(calls.c.serial))]


def calls_due(connection: Connection) -> list[tuple[TenantId, CallId]]:
    """Calls that are over, whose streams are all complete, and that have no manifest."""
    return [(TenantId(tenant), CallId(call)) for tenant, call in connection.execute(_DUE)]


def is_closed(connection: Connection, call: CallId) -> bool:
    """Whether nothing is added to the call's streams any more."""
    return connection.scalar(_CLOSED, {"of": call}) is not False


def close_calls(connection: Connection, ended: Collection[CallId], state: CallState) -> None:
    """The last state of calls, some hundreds at once: they have their manifests, or are erased."""
    connection.execute(update(calls).where(calls.c.id.in_(ended)).values(state=state.value, closed=True))


def _with_artefacts(connection: Connection, rows: Sequence[Any]) -> list[CallRecord]:
    of_calls = artefacts.c.call.in_([row.id for row in rows if row.state != CallState.ERASED])
    living = select(artefacts).where(of_calls, artefacts.c.state.in_(ALIVE))
    found: dict[str, list[ArtefactRecord]] = {}
    for row in connection.execute(living.order_by(artefacts.c.serial)):
        found.setdefault(row.call, []).append(ArtefactRecord(artefact_ref(row), ArtefactState(row.state), row.size))
    ids = [CallId(row.id) for row in rows]
    restricted, held = restricted_among(connection, ids), held_among(connection, ids)
    return [
        CallRecord(
            CallId(row.id),
            CallState(row.state),
            Day(row.day),
            tuple(found.get(row.id, ())),
            restricted=row.id in restricted,
            held=row.id in held,
            reason=row.reason or "",
        )
        for row in rows
    ]
