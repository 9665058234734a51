"""Opens the key of everything that lives in a restored catalogue, once: what a restore is judged by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from sqlalchemy import select

from storage.catalogue import Catalogue
from storage.epochs import ALIVE
from storage.errors import DataError, Erased
from storage.keytree import KeyTree, Opened
from storage.model import ArtefactId, CallState
from storage.providers import KeyProvider
from storage.tables import artefacts, calls

_AT_ONCE = 500
_TOLD_EVERY = 10_000


@dataclass(slots=True)
class Reopened:
    """How many artefacts and calls live, and open."""

    artefacts: int = 0
    ended: int = 0  # whose time was over, or whose last bucket was dropped
    calls: int = 0  # whole: all of what lives of them opens. Dossiers are none
    closed: list[str] = field(default_factory=list)  # artefacts that live and do not open


def reopen(
    catalogue: Catalogue, provider: KeyProvider, clock: Callable[[], float], tell: Callable[[str], None]
) -> Reopened:
    """Opens them all. Unavailable if the provider is away; what does not open is told, not raised."""
    found, tree = Reopened(), KeyTree(catalogue, provider, clock)
    whole: Counter[str] = Counter()
    broken: set[str] = set()
    serial = 0
    query = select(artefacts.c.serial, artefacts.c.id, artefacts.c.call, calls.c.state).join(calls)
    query = query.where(artefacts.c.state.in_(ALIVE))
    query = query.order_by(artefacts.c.serial).limit(_AT_ONCE)
    while True:
        with catalogue.reading() as connection:
            rows = connection.execute(query.where(artefacts.c.serial > serial)).all()
            outcomes = tree.open_each(connection, [ArtefactId(row.id) for row in rows]) if rows else {}
        for row in rows:
            outcome = outcomes[ArtefactId(row.id)]
            if isinstance(outcome, Opened):
                found.artefacts += 1
                whole[row.call] += row.state != CallState.DOSSIER
            elif isinstance(outcome, Erased):
                found.ended += 1
            else:
                found.closed.append(row.id)
                broken.add(row.call)
        if len(rows) < _AT_ONCE:
            break
        serial = rows[-1].serial
        if found.artefacts % _TOLD_EVERY < _AT_ONCE:
            tell(f"keys opened: {found.artefacts}")
    found.calls = len({call for call, count in whole.items() if count} - broken)
    return found


def check_reopened(found: Reopened) -> None:
    """DataError if anything that lives does not open: then the key table is not the one that belongs to the ledger."""
    if found.closed:
        raise DataError(
            f"{len(found.closed)} living artefacts do not open, {found.closed[0]} among them: the key table is not the"
            " ledger's; nothing was put in place"
        )


def erased_calls_of(catalogue: Catalogue) -> int:
    """How many calls of the catalogue are erased whole."""
    query = select(calls.c.id).where(calls.c.state == CallState.ERASED.value)
    with catalogue.reading() as connection:
        return len(connection.scalars(query).all())
