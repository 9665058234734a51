"""What artefacts are kept for beside what they were made for: holds on their calls, and purposes with consent.

Each is a further wrap of the artefact's key. Those of what is stored are written when the hold is placed or the consent
recorded; what is made of the call later gets its own in the transaction that makes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, and_, exists, select
from sqlalchemy.sql.elements import ColumnElement

from storage.catalogue import Catalogue
from storage.epochs import ALIVE, artefact_ref
from storage.erasure.graves import CONTENT
from storage.erasure.ways import OPEN_WAY, WAYS, open_at
from storage.errors import Erased, StoreError, Unavailable
from storage.keytree import KeyTree
from storage.liveness import expired
from storage.model import NO_PARTICIPANT, ArtefactId, ArtefactRef, CallId, Kind, ParticipantId, Root, Secret
from storage.placing import Held, Keeping, Placing
from storage.records import ROOTS, Day
from storage.tables import artefacts, buckets, consents, held_calls, holds, tombstones
from storage.tags import ROWS_AT_ONCE, batches

Way = tuple[Root, str]
"""A root, and the purpose of its buckets."""

_ATTEMPTS = 8
"""How often an operation follows artefacts and holds that come while it is at work: they come minutes apart."""

_NOT_BY_HOLD = buckets.c.root != Root.HOLD.value


class MovedError(Exception):
    """What was looked at before the transaction is not what it found: look again."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A living artefact with content, and its creation day."""

    ref: ArtefactRef
    day: Day


@dataclass(frozen=True, slots=True)
class Further:
    """What else the artefacts of a call are kept for; consents in their order: participant, purpose, whether given."""

    holds: tuple[str, ...]
    consents: tuple[tuple[ParticipantId, str, bool], ...]

    def ways(self, ref: ArtefactRef) -> list[Way]:
        """The further ways of an artefact that is new. What the law keeps has none."""
        if ROOTS[ref.kind] is not Root.CONTENT:
            return []
        given = [(Root.CONTENT, purpose) for purpose, stands in self._of(ref.participant).items() if stands]
        return [*((Root.HOLD, hold) for hold in self.holds), *(way for way in given if way[1] != ref.purpose)]

    def withdrawn(self, participant: ParticipantId, purpose: str) -> bool:
        """Whether the participant's consent to a purpose was given and then withdrawn."""
        return self._of(participant).get(purpose) is False

    def _of(self, participant: ParticipantId) -> dict[str, bool]:
        """Their own consents and those of the call as a whole: of each purpose the latest counts."""
        return {purpose: given for who, purpose, given in self.consents if who in (participant, NO_PARTICIPANT)}


def further_of(connection: Connection, call: CallId) -> Further:
    """What the artefacts of a call are kept for now, beside what they were made for."""
    standing = select(held_calls.c.hold).join(holds, holds.c.id == held_calls.c.hold)
    standing = standing.where(held_calls.c.call == call, holds.c.released.is_(False)).order_by(holds.c.serial)
    given = select(consents).where(consents.c.call == call).order_by(consents.c.serial)
    return Further(
        tuple(connection.scalars(standing)),
        tuple((row.participant, row.purpose, row.erasure is None) for row in connection.execute(given)),
    )


def stored(
    connection: Connection, of: Iterable[CallId], now_s: float, where: ColumnElement[bool] | None = None
) -> dict[ArtefactId, Stored]:
    """The living artefacts of calls that have content, those for which some way fulfils `where`."""
    query = select(artefacts, buckets.c.day).select_from(WAYS).where(OPEN_WAY, open_at(now_s))
    query = query.where(artefacts.c.state.in_(ALIVE), artefacts.c.kind.in_(CONTENT))
    if where is not None:
        query = query.where(where)
    return {
        ArtefactId(row.id): Stored(artefact_ref(row), Day(row.day))
        for batch in batches(of, ROWS_AT_ONCE)
        for row in connection.execute(query.where(artefacts.c.call.in_(batch)))
    }


def for_purpose(participant: ParticipantId, purpose: str) -> ColumnElement[bool]:
    """Of an artefact and a way: it can be kept for a purpose as well to which this participant consents.

    Not if it was erased for that purpose before, and not if only a hold keeps it.
    """
    buried = exists().where(tombstones.c.artefact == artefacts.c.id, tombstones.c.purpose.in_(("", purpose)))
    found = and_(_NOT_BY_HOLD, artefacts.c.purpose != purpose, ~buried)
    return found if participant == NO_PARTICIPANT else and_(found, artefacts.c.participant == participant)


def held_alone(connection: Connection, call: CallId, now_s: float) -> dict[ArtefactId, Kind]:
    """The artefacts of a call that nothing keeps but a hold: their time is over for everybody else."""
    if connection.scalar(select(held_calls.c.hold).where(held_calls.c.call == call).limit(1)) is None:
        return {}
    otherwise = stored(connection, [call], now_s, _NOT_BY_HOLD)
    every = stored(connection, [call], now_s)
    return {id: found.ref.kind for id, found in every.items() if id not in otherwise}


def check_sources(
    connection: Connection, call: CallId, sources: Sequence[ArtefactId], purposes: Iterable[str], now_s: float
) -> None:
    """Refuses what is derived from artefacts that nothing keeps but a hold (Expired), and what is derived for a purpose
    to which somebody's consent was withdrawn (Erased)."""
    alone = held_alone(connection, call, now_s)
    for source in sources:
        if source in alone:
            raise expired(source)
    further = further_of(connection, call)
    if not any(not given for _, _, given in further.consents):
        return
    speakers = set(connection.scalars(select(artefacts.c.participant).where(artefacts.c.id.in_(sources))))
    for purpose in purposes:
        if any(further.withdrawn(ParticipantId(speaker), purpose) for speaker in speakers):
            raise Erased(f"call {call}: the consent to {purpose} is withdrawn")


class Keeper:
    """Writes further wraps; thread-safe."""

    def __init__(self, catalogue: Catalogue, tree: KeyTree) -> None:
        self._catalogue = catalogue
        self._tree = tree

    def keep(
        self,
        find: Callable[[Connection], Mapping[ArtefactId, Stored]],
        way: Way,
        act: Callable[[Connection], None],
        new: Sequence[Placing] = (),
    ) -> int:
        """Wraps the keys of what `find` finds for one more way, places `new` artefacts, and acts: in one transaction.

        Gives how many keys had no such wrap yet. What `find` raises in it ends it. Keys are opened before; what comes
        meanwhile is seen, and all of it repeated.
        """
        root, purpose = way
        wrapped = 0
        for _ in range(_ATTEMPTS):
            with self._catalogue.reading() as connection:
                found = find(connection)
                keys = self._open(connection, found)
            items = [Keeping(one.ref, keys[id], purpose, one.day, root) for id, one in found.items()]

            def write(connection: Connection, held: Held, items: Sequence[Keeping] = items) -> None:
                nonlocal wrapped
                now = find(connection)
                if now.keys() - {item.ref.artefact for item in items}:
                    raise MovedError
                self._tree.place(connection, new, held)
                wrapped = self._tree.keep(connection, [item for item in items if item.ref.artefact in now], held)
                act(connection)

            try:
                self._tree.write([*new, *items], write)
            except MovedError:
                continue
            return wrapped
        raise Unavailable("the call does not come to rest; try again")

    def place(self, call: CallId, items: Sequence[Placing], write: Callable[[Connection, Held], None]) -> None:
        """Writes new artefacts of a saved call, by `write`, with a wrap for each further way that they have."""
        for _ in range(_ATTEMPTS):
            with self._catalogue.reading() as connection:
                further = further_of(connection, call)
            more = [
                Keeping(item.ref, item.key, purpose, item.day, root)
                for item in items
                for root, purpose in further.ways(item.ref)
            ]

            def both(
                connection: Connection, held: Held, further: Further = further, more: Sequence[Keeping] = more
            ) -> None:
                if further_of(connection, call) != further:
                    raise MovedError
                write(connection, held)
                if more:
                    self._tree.keep(connection, more, held)

            try:
                self._tree.write([*items, *more], both)
            except MovedError:
                continue
            return
        raise Unavailable("the call does not come to rest; try again")

    def _open(self, connection: Connection, found: Mapping[ArtefactId, Stored]) -> dict[ArtefactId, Secret]:
        keys: dict[ArtefactId, Secret] = {}
        for batch in batches(found, ROWS_AT_ONCE):
            for id, opened in self._tree.open_each(connection, batch).items():
                if isinstance(opened, StoreError):
                    raise opened
                keys[id] = opened.key
        return keys
