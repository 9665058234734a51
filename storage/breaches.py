"""Cases of personal data breaches: sealed dossiers of the operator, each of whose steps is an entry of the ledger.

The entry says which case, which step, when it became known and until when it has to be told, and the digest of a report
that was made; no words, no tenant, nobody. So whoever keeps the ledger's head can show that a case was opened in time,
what became of it (Art. 33(5) GDPR) and that a report is the one that was made then, and learns nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import storage.erasure  # noqa: F401 -- first: it and the dossiers need each other, in this order
from storage.catalogue import Catalogue
from storage.dossiers import Dossiers
from storage.errors import Erased, NotFound, Refused
from storage.exposure import Scope, Touched, survey
from storage.ledger import Ledger
from storage.model import CallId, Kind, TenantId, new_id

ENTRY = "breach"
"""The type of the ledger's entries of this module."""

FACTS = frozenset({"aware", "due", "places", "late", "sha256"})
"""What an entry may say beside the case, the step and the actor: times, names of places from our own code, a digest."""

_WORD = re.compile(r"[a-z0-9:TZ ._-]{0,200}\Z")
_PAGE = 200


class Breaches:
    """All cases of the installation, of the tenant that is its operator; thread-safe. Every method may raise
    Unavailable; NotFound for another kind of dossier."""

    def __init__(self, catalogue: Catalogue, dossiers: Dossiers, ledger: Ledger, clock: Callable[[], float]) -> None:
        self._catalogue = catalogue
        self._dossiers = dossiers
        self._ledger = ledger
        self._clock = clock

    def open(self, operator: TenantId, body: bytes, actor: str, facts: Mapping[str, Any]) -> CallId:
        """Seals a new case, and enters it in the ledger, in one transaction."""
        id, told = CallId(new_id()), _checked(facts)

        def enter(connection: Any) -> None:
            entry = {"breach": id, "step": "open", "actor": actor, **told}
            self._ledger.append(connection, ENTRY, self._clock(), entry)

        return self._dossiers.open(operator, Kind.BREACH, body, id=id, also=enter)

    def read(self, operator: TenantId, id: CallId) -> bytes:
        """A case as it was sealed last; Erased once its time is over."""
        return self._dossiers.read(operator, id, Kind.BREACH)

    def all(self, operator: TenantId) -> Iterator[tuple[CallId, bytes]]:
        """All cases, newest first; those whose time of keeping is over are left out."""
        before = None
        while page := self._dossiers.list(operator, Kind.BREACH, limit=_PAGE, before=before):
            for record in page:
                try:
                    yield record.id, self.read(operator, record.id)
                except (Erased, NotFound):
                    continue
            before = page[-1].id

    def survey(self, scope: Scope) -> list[Touched]:
        """How much of each tenant's data lay within reach, and whether it can be read; see `storage.exposure`."""
        return survey(self._catalogue, scope)

    def amend(self, operator: TenantId, id: CallId, change: Callable[[bytes], bytes]) -> bytes:
        """Replaces a case by what `change` makes of it, and gives that; nobody's change gets lost. Without an entry."""
        return self._dossiers.amend(operator, id, Kind.BREACH, change)

    def enter(self, id: CallId, step: str, actor: str, facts: Mapping[str, Any]) -> int:
        """Enters what was done with a case in the ledger; gives the entry's number."""
        entry = {"breach": id, "step": step, "actor": actor, **_checked(facts)}
        with self._catalogue.writing() as connection:
            return self._ledger.append(connection, ENTRY, self._clock(), entry)


def _checked(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Refused for anything that could say more than an entry may."""
    if facts.keys() - FACTS or not all(isinstance(value, bool) or _WORD.match(str(value)) for value in facts.values()):
        raise Refused("an entry about a breach has times, places and a digest, and no words")
    return dict(facts)
