"""The ratings of a tenant's calls, erased ones too: read month by month, and finished after their call."""

from __future__ import annotations

import re
from collections.abc import Iterator

from sqlalchemy import Connection, select, update

from storage.catalogue import Catalogue
from storage.content import open_document, put_documents, seal_document
from storage.epochs import ALIVE
from storage.errors import DataError, Erased, Refused
from storage.keytree import KeyTree, Opened
from storage.model import ArtefactId, ArtefactState, Kind, TenantId
from storage.rating import Rating
from storage.records import NewArtefact
from storage.tables import artefacts, calls, documents

AT_ONCE = 500
"""Opened between two looks at the catalogue: below SQLite's oldest limit of 999 values."""

_MONTH = re.compile(r"\d{4}-(0[1-9]|1[0-2])\Z", re.ASCII)


class Ratings:
    """Every method may raise Unavailable."""

    def __init__(self, catalogue: Catalogue, tree: KeyTree) -> None:
        self._catalogue = catalogue
        self._tree = tree

    def of_month(self, tenant: TenantId, month: str) -> Iterator[Rating]:
        """The ratings of calls that began in a month, `YYYY-MM`, UTC; Refused for what is none.

        DataError for one that does not open: a total that leaves it out would be wrong.
        """
        if not _MONTH.match(month):
            raise Refused("a month is written YYYY-MM")
        serial = 0
        while True:
            with self._catalogue.reading() as connection:
                found, serial = self._page(connection, tenant, month, serial)
            yield from found
            if len(found) < AT_ONCE:
                return

    def finish(self, artefact: NewArtefact, rating: Rating) -> None:
        """Writes the last word of a rating whose call was erased while it lived; Erased if it is gone, too."""
        ref = artefact.ref
        sealed = seal_document(ref, artefact.key, artefact.segment_bytes, rating.to_json())
        of_rating = (artefacts.c.id == ref.artefact, artefacts.c.tenant == ref.tenant, artefacts.c.state.in_(ALIVE))
        complete = update(artefacts).where(*of_rating, artefacts.c.kind == Kind.RATING.value)
        with self._catalogue.writing() as connection:
            values = {"state": ArtefactState.COMPLETE.value, "size": len(rating.to_json())}
            if not connection.execute(complete.values(values)).rowcount:
                raise Erased(f"rating {ref.artefact} is erased")
            put_documents(connection, [sealed], replace=True)

    def _page(self, connection: Connection, tenant: TenantId, month: str, serial: int) -> tuple[list[Rating], int]:
        joined = artefacts.join(calls, calls.c.id == artefacts.c.call)
        joined = joined.join(documents, documents.c.artefact == artefacts.c.id)
        query = select(artefacts.c.serial, artefacts.c.id, documents.c.stream_id, documents.c.sealed)
        query = query.select_from(joined).where(
            calls.c.tenant == tenant,
            calls.c.day.between(f"{month}-01", f"{month}-31"),
            artefacts.c.kind == Kind.RATING.value,
            artefacts.c.state.in_(ALIVE),
            artefacts.c.serial > serial,
        )
        rows = connection.execute(query.order_by(artefacts.c.serial).limit(AT_ONCE)).all()
        keys = self._tree.open_each(connection, [ArtefactId(row.id) for row in rows])
        found = []
        for row in rows:
            opened = keys[row.id]
            if not isinstance(opened, Opened):
                raise DataError(f"rating {row.id} does not open") from opened
            found.append(Rating.parse(open_document(opened, row.stream_id, row.sealed)))
        return found, rows[-1].serial if rows else serial
