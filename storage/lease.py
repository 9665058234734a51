"""A reader's permission to go on using an artefact's key: asked again every half second, refused once it is erased."""

from __future__ import annotations

import time

from sqlalchemy import select

from storage.catalogue import Catalogue
from storage.epochs import ALIVE
from storage.errors import Erased
from storage.model import ArtefactId
from storage.tables import artefacts

LEASE_S = 0.5
"""How long a key may be used without asking again; erasure waits as long before it goes on."""


class Lease:
    """Counts from before each question, so it never outlives the answer by more than its length.

    `asked_at_s` is the monotonic time before the key was read.
    """

    __slots__ = ("_artefact", "_catalogue", "_until")

    def __init__(self, catalogue: Catalogue, artefact: ArtefactId, asked_at_s: float) -> None:
        self._catalogue = catalogue
        self._artefact = artefact
        self._until = asked_at_s + LEASE_S

    def check(self) -> None:
        """Raises Erased if the artefact is not alive any more; costs nothing while the lease lasts."""
        now = time.monotonic()
        if now < self._until:
            return
        with self._catalogue.reading() as connection:
            state = connection.scalar(select(artefacts.c.state).where(artefacts.c.id == self._artefact))
        if state not in ALIVE:
            raise Erased(f"artefact {self._artefact} is erased")
        self._until = now + LEASE_S
