"""A reader's permission to go on using an artefact's key: asked again every half second, refused once that is dead."""

from __future__ import annotations

import time
from collections.abc import Callable

from storage.catalogue import Catalogue
from storage.liveness import check_living
from storage.model import ArtefactId, CallId
from storage.standing import check_unrestricted

LEASE_S = 0.5
"""How long a key may be used without asking again; erasure waits as long before it goes on."""


class Lease:
    """Counts from before each question, so it never outlives the answer by more than its length.

    `asked_at_s` is the monotonic time before the key was read; `clock` gives Unix time, by which artefacts expire;
    `call` is the one whose restriction ends the lease, none where a restriction does not matter.
    """

    __slots__ = ("_artefact", "_call", "_catalogue", "_clock", "_until")

    def __init__(
        self,
        catalogue: Catalogue,
        artefact: ArtefactId,
        asked_at_s: float,
        clock: Callable[[], float],
        call: CallId | None = None,
    ) -> None:
        self._catalogue = catalogue
        self._artefact = artefact
        self._call = call
        self._clock = clock
        self._until = asked_at_s + LEASE_S

    def check(self) -> None:
        """Raises Erased if the artefact is not alive any more, Restricted, Unavailable while nobody can say.

        Costs nothing while the lease lasts. Without an answer it is not renewed, so each further check asks again.
        """
        now = time.monotonic()
        if now < self._until:
            return
        with self._catalogue.reading() as connection:
            check_living(connection, self._artefact, self._clock())
            if self._call is not None:
                check_unrestricted(connection, self._call)
        self._until = now + LEASE_S
