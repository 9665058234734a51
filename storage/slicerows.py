"""The catalogue's rows about streams, many at a time: what is stored of them, whether they may grow, how they grow.

The statements are made once and take lists of ids, so that SQLAlchemy compiles each a single time.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import BindParameter, Connection, and_, bindparam, func, select, update

from storage.epochs import ALIVE
from storage.errors import AlreadyExists, Erased, NotFound, Refused
from storage.model import ArtefactId, ArtefactState
from storage.slices import SliceRow
from storage.tables import artefacts, calls, slices, tombstones

_IDS: BindParameter[list[str]] = bindparam("ids", expanding=True)

_STORED = (
    select(slices.c.artefact, slices.c.run, func.max(slices.c.last_seq), func.max(slices.c.slice_no))
    .where(slices.c.artefact.in_(_IDS))
    .group_by(slices.c.artefact, slices.c.run)
)
_GROWING = (
    select(artefacts.c.id, artefacts.c.state, calls.c.closed, tombstones.c.erasure)
    .select_from(artefacts)
    .outerjoin(calls, calls.c.id == artefacts.c.call)
    .outerjoin(tombstones, and_(tombstones.c.artefact == artefacts.c.id, tombstones.c.purpose == ""))
    .where(artefacts.c.id.in_(_IDS))
)
_BURIED = select(tombstones.c.artefact).where(tombstones.c.artefact.in_(_IDS))
_GROW = (
    update(artefacts)
    .where(artefacts.c.id == bindparam("of"))
    .values(state=ArtefactState.WRITING.value, size=artefacts.c.size + bindparam("more"))
)
_END = (
    update(artefacts)
    .where(artefacts.c.id.in_(_IDS), artefacts.c.state.in_(ALIVE))
    .values(state=ArtefactState.COMPLETE.value)
)
_INTERRUPT = _END.values(interrupted=True)


@dataclass(slots=True)
class Stored:
    """What slices have of one artefact."""

    next_slice: int = 0
    uploaded: dict[str, int] = field(default_factory=dict)
    """Of each spool run, the highest sequence number."""

    def take(self, run: str, last_seq: int, slice_no: int) -> None:
        """There is such a slice as well."""
        self.uploaded[run] = max(last_seq, self.uploaded.get(run, -1))
        self.next_slice = max(self.next_slice, slice_no + 1)


def read_stored(connection: Connection, wanted: Collection[ArtefactId]) -> dict[ArtefactId, Stored]:
    """What slices have of each of these artefacts."""
    stored = {artefact: Stored() for artefact in wanted}
    if stored:
        for artefact, run, last_seq, slice_no in connection.execute(_STORED, {"ids": list(stored)}):
            stored[artefact].take(run, last_seq, slice_no)
    return stored


def refused_growth(connection: Connection, wanted: Collection[ArtefactId]) -> dict[ArtefactId, Refused]:
    """Those of these artefacts that may not grow any more: `Erased`, or `NotFound` if unknown or under a manifest."""
    missing = set(wanted)
    refused: dict[ArtefactId, Refused] = {}
    for artefact, state, closed, erasure in connection.execute(_GROWING, {"ids": list(missing)}):
        missing.discard(artefact)
        if erasure is not None or state not in ALIVE:
            refused[artefact] = Erased(f"artefact {artefact} is erased")
        elif closed is not False:
            refused[artefact] = NotFound(f"the call of artefact {artefact} has its manifest: nothing is added to it")
    if missing:
        buried = set(connection.scalars(_BURIED, {"ids": list(missing)}))
        for artefact in missing:
            absent = f"artefact {artefact} is erased", f"no artefact {artefact}"
            refused[artefact] = Erased(absent[0]) if artefact in buried else NotFound(absent[1])
    return refused


def add_slices(connection: Connection, rows: Sequence[SliceRow]) -> list[Refused | None]:
    """Writes slices in a write transaction, and their artefacts' state and size; each row's outcome.

    A stream that was complete is open again by it.
    """
    if not rows:
        return []
    wanted = {row.artefact for row in rows}
    refused = refused_growth(connection, wanted)
    stored = read_stored(connection, wanted)
    outcomes: list[Refused | None] = []
    added = []
    for row in rows:
        outcome: Refused | None = refused.get(row.artefact)
        known = stored[row.artefact]
        if outcome is None and row.first_seq <= known.uploaded.get(row.run, -1):
            outcome = AlreadyExists(f"records of artefact {row.artefact} stand in a slice already")
        elif outcome is None and row.slice_no < known.next_slice:
            outcome = AlreadyExists(f"artefact {row.artefact} has a slice {row.slice_no} already")
        if outcome is None:
            known.take(row.run, row.last_seq, row.slice_no)
            added.append(row)
        else:
            refused[row.artefact] = outcome  # and what follows it in the same stream: no hole may come about
        outcomes.append(outcome)
    if added:
        insert_slices(connection, added)
        connection.execute(_GROW, [{"of": row.artefact, "more": row.size} for row in added])
    return outcomes


def end_streams(connection: Connection, ends: Mapping[ArtefactId, bool]) -> None:
    """These streams are over, those with True were interrupted; nothing happens to unknown and erased ones."""
    for statement, interrupted in ((_END, False), (_INTERRUPT, True)):
        ids = [artefact for artefact, cut_short in ends.items() if cut_short is interrupted]
        if ids:
            connection.execute(statement, {"ids": ids})


def insert_slices(connection: Connection, rows: Sequence[SliceRow]) -> None:
    """Writes the rows of slices; AlreadyExists if a number is taken."""
    if rows:
        connection.execute(slices.insert(), [_values(row) for row in rows])


def _values(row: SliceRow) -> dict[str, object]:
    return {
        "artefact": row.artefact,
        "slice_no": row.slice_no,
        "stream_id": row.stream_id,
        "run": row.run,
        "first_seq": row.first_seq,
        "last_seq": row.last_seq,
        "size": row.size,
        "digest": row.digest,
        "segment_bytes": row.segment_bytes,
        "sealed_index": row.index,
    }
