"""The consent ledger: who consented to what, in which words, when and how, who recorded it, and when it was withdrawn.

The evidence is sealed: an artefact of kind `consent` under the statutory root for each consent and each withdrawal,
written once, which no erasure of the call or of the tenant's content reaches. In clear stand a row of `consents`
(random ids, the purpose) and the entries of the signed ledger.

A consent is a participant's, to one purpose, or the call's as a whole. To another purpose than that of the artefacts
it is a further wrap of their keys, in buckets with that purpose's own term; so withdrawing it destroys exactly what
rested on it, and what has another ground lives on. To the artefacts' own purpose, they die of its withdrawal.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, select, update

from storage.calls import check_alive
from storage.catalogue import Catalogue
from storage.content import open_document, put_documents, seal_document, sealed_document
from storage.epochs import ALIVE
from storage.erasure import Eraser, Target
from storage.errors import AlreadyExists, Erased, NotFound, NotReady, Refused, StoreError
from storage.keeping import Keeper, Stored, for_purpose, stored
from storage.keys import fresh_key
from storage.keytree import KeyTree
from storage.ledger import Ledger
from storage.model import (
    NO_PARTICIPANT,
    ArtefactId,
    ArtefactRef,
    ArtefactState,
    CallId,
    CallState,
    Kind,
    ParticipantId,
    Root,
    Secret,
    TenantId,
    new_id,
)
from storage.placing import Placing
from storage.policies import policy_of
from storage.records import STREAMS, NewArtefact
from storage.residency import Residency
from storage.tables import artefacts, calls, consents
from storage.times import day_of, utc
from storage.witness.pending import Kept, note
from storage.words import check_words, names_somebody

FORMAT = "callvault consent v1"
ENTRY, WITHDRAWN = "consent", "withdrawal"
"""The types of the ledger's entries of this module."""

WITHDRAWAL = "consent withdrawn, Art. 7(3) and 17(1)(b) GDPR"
"""The ground of the erasure that a withdrawal is."""

HOW_CHARACTERS_MAX = 1_000
"""How somebody consented is told in a few sentences; the words that were read out have a version."""

TEXT_CHARACTERS_MAX = 64
_NOTHING = "-"
SKEW_S = 300
"""A consent was not given later than now, whatever clock says so."""


@dataclass(frozen=True, slots=True)
class Consent:
    """What somebody consents to: the purpose, the version of the text, when (Unix seconds; now), and how, in words."""

    purpose: str
    text: str
    at_s: float | None = None
    participant: ParticipantId = NO_PARTICIPANT
    how: str = ""


@dataclass(frozen=True, slots=True)
class ConsentRecord:
    """One consent with its evidence; None of both where its time is over, or it was lost."""

    id: str
    participant: ParticipantId
    purpose: str
    erasure: str | None  # that its withdrawal brought about
    given: Mapping[str, Any] | None
    withdrawn: Mapping[str, Any] | None


class Consents:
    """All tenants' consents; thread-safe. Every method may raise Unavailable."""

    def __init__(
        self,
        catalogue: Catalogue,
        tree: KeyTree,
        keeper: Keeper,
        eraser: Eraser,
        ledger: Ledger,
        residency: Residency,
        keep: Callable[[str], object],
        clock: Callable[[], float],
    ) -> None:
        """`keep` puts evidence, and what a consent has placed, into the witness."""
        self._catalogue = catalogue
        self._tree = tree
        self._keeper = keeper
        self._eraser = eraser
        self._ledger = ledger
        self._residency = residency
        self._keep = keep
        self._clock = clock

    def record(self, tenant: TenantId, call: CallId, given: Consent, actor: str) -> str:
        """Records a consent, seals its evidence, and keeps the participant's artefacts for its purpose as well.

        Gives its id. NotFound, Erased; Refused for a purpose that the tenant's policy does not allow; AlreadyExists
        while a consent to the purpose stands that covers this one, or that this one would cover.
        """
        check_words(_NOTHING, actor)
        at_s = self._checked(given.text, given.how, given.at_s)
        body = _recorded(given.how, actor, self._clock()) | {"type": ENTRY, "purpose": given.purpose}
        body |= {"text": given.text, "participant": given.participant, "given_at": utc(at_s)}
        item = self._evidence(tenant, call, given.participant, body)
        id = item.ref.artefact

        def find(connection: Connection) -> dict[ArtefactId, Stored]:
            self._check(connection, tenant, call, given)
            return stored(connection, [call], self._clock(), for_purpose(given.participant, given.purpose))

        def write(connection: Connection) -> None:
            self._seal(connection, item, body)
            facts = {"consent": id, "tenant": tenant, "call": call, "participant": given.participant}
            facts |= {"purpose": given.purpose, "text": given.text, "actor": actor}
            self._ledger.append(connection, ENTRY, self._clock(), facts)
            _insert(connection, facts)

        self._residency.enter(tenant)
        self._keeper.keep(find, (Root.CONTENT, given.purpose), write, [item])
        self._keep(id)
        return id

    def withdraw(
        self, tenant: TenantId, call: CallId, consent: str, *, how: str, at_s: float | None = None, actor: str
    ) -> dict[str, Any]:
        """Withdraws a consent and destroys what rested on it and on nothing else; gives the certificate.

        Of one that is withdrawn already its own. NotFound; NotReady while the call is live and what would die is still
        being recorded: end the call first. Unavailable if a step failed: the rest is done at the next start.
        """
        return self._eraser.finish(tenant, self.request(tenant, call, consent, how=how, at_s=at_s, actor=actor))

    def request(
        self, tenant: TenantId, call: CallId, consent: str, *, how: str, at_s: float | None = None, actor: str
    ) -> str:
        """The withdrawal alone, durable and with reads refused; gives the erasure that remains to be run."""
        check_words(_NOTHING, actor)
        at_s = self._checked(_NOTHING, how, at_s)
        with self._catalogue.reading() as connection:
            row = _row(connection, tenant, call, consent)
        if row.erasure is not None:
            return str(row.erasure)
        who = ParticipantId(row.participant)
        body = _recorded(how, actor, self._clock()) | {"type": WITHDRAWN, "consent": consent}
        body["withdrawn_at"] = utc(at_s)
        item = self._evidence(tenant, call, who, body)
        target = Target.of_purpose(row.purpose, [call], None if who == NO_PARTICIPANT else who)
        done: list[str] = []

        def find(connection: Connection) -> dict[ArtefactId, Stored]:
            """Nothing is to be kept for anything."""
            return {}

        def write(connection: Connection) -> None:
            done.clear()
            now = _row(connection, tenant, call, consent)
            if now.erasure is not None:  # somebody else was first
                raise _Done(now.erasure)
            _check_over(connection, call, target)
            self._seal(connection, item, body)
            erasure = self._eraser.intend(connection, tenant, target, WITHDRAWAL, actor)
            facts = {"consent": consent, "tenant": tenant, "call": call, "participant": who}
            facts |= {"purpose": row.purpose, "erasure": erasure, "actor": actor}
            self._ledger.append(connection, WITHDRAWN, self._clock(), facts)
            connection.execute(update(consents).where(consents.c.id == consent).values(erasure=erasure))
            done.append(erasure)

        self._residency.enter(tenant)
        try:
            self._keeper.keep(find, (Root.CONTENT, row.purpose), write, [item])
        except _Done as earlier:
            return earlier.erasure
        self._keep(item.ref.artefact)
        return done[0]

    def of_call(self, tenant: TenantId, call: CallId) -> list[ConsentRecord]:
        """The call's consents with their evidence, oldest first, erased calls' too; NotFound."""
        with self._catalogue.reading() as connection:
            if connection.scalar(select(calls.c.id).where(calls.c.id == call, calls.c.tenant == tenant)) is None:
                raise NotFound(f"no call {call}")
            rows = connection.execute(select(consents).where(consents.c.call == call).order_by(consents.c.serial)).all()
            evidence = self._read(connection, call)
        given = {id: body for id, body in evidence.items() if body["type"] == ENTRY}
        withdrawn = {body["consent"]: body for body in evidence.values() if body["type"] == WITHDRAWN}
        return [
            ConsentRecord(
                row.id,
                ParticipantId(row.participant),
                row.purpose,
                row.erasure,
                given.get(row.id),
                withdrawn.get(row.id),
            )
            for row in rows
        ]

    def _check(self, connection: Connection, tenant: TenantId, call: CallId, given: Consent) -> None:
        """What refuses a consent."""
        if check_alive(connection, tenant, call, (), self._clock()) is CallState.DOSSIER:
            raise NotFound(f"no call {call}")
        allowed = policy_of(connection, tenant).purposes.allowed
        if given.purpose not in allowed:
            raise Refused(f"purpose {given.purpose!r} is none that the tenant's policy allows: {', '.join(allowed)}")
        who = select(artefacts.c.id).where(artefacts.c.call == call, artefacts.c.participant == given.participant)
        if given.participant != NO_PARTICIPANT and connection.scalar(who.limit(1)) is None:
            raise NotFound(f"call {call} has no participant {given.participant}")
        standing = select(consents.c.participant).where(consents.c.call == call, consents.c.purpose == given.purpose)
        others = set(connection.scalars(standing.where(consents.c.erasure.is_(None))))
        if {given.participant, NO_PARTICIPANT} & others or (given.participant == NO_PARTICIPANT and others):
            raise AlreadyExists(f"a consent to {given.purpose} stands: it is withdrawn before another is recorded")

    def _checked(self, text: str, how: str, at_s: float | None) -> float:
        """The time that is meant."""
        if not 0 < len(text) <= TEXT_CHARACTERS_MAX or len(how) > HOW_CHARACTERS_MAX:
            raise Refused(f"up to {TEXT_CHARACTERS_MAX} characters name a text, up to {HOW_CHARACTERS_MAX} say how")
        if names_somebody(text) or not text.isascii() or not text.isprintable():
            raise Refused("a text's version is kept for ever: a few words or a day, and no number, address or person")
        now_s = self._clock()
        if at_s is not None and not 0 <= at_s <= now_s + SKEW_S:
            raise Refused("nobody has consented, or withdrawn, at a time to come")
        return now_s if at_s is None else at_s

    def _evidence(self, tenant: TenantId, call: CallId, who: ParticipantId, body: Mapping[str, Any]) -> Placing:
        ref = ArtefactRef(tenant, call, who, ArtefactId(new_id()), Kind.CONSENT, Kind.CONSENT.value)
        made = NewArtefact(ref, Secret(fresh_key()))
        return Placing(made, day_of(self._clock()), ArtefactState.COMPLETE, len(_text(body)))

    def _seal(self, connection: Connection, item: Placing, body: Mapping[str, Any]) -> None:
        self._residency.check(connection, [item.ref.tenant])
        sealed = seal_document(item.ref, item.key, item.artefact.segment_bytes, _text(body))
        put_documents(connection, [sealed], replace=False)
        note(connection, item.ref.tenant, Kept.RECORD, item.ref.artefact)

    def _read(self, connection: Connection, call: CallId) -> dict[str, dict[str, Any]]:
        query = select(artefacts.c.id).where(artefacts.c.call == call, artefacts.c.kind == Kind.CONSENT.value)
        query = query.where(artefacts.c.state.in_(ALIVE)).order_by(artefacts.c.serial)
        found: dict[str, dict[str, Any]] = {}
        for id, opened in self._tree.open_each(connection, list(map(ArtefactId, connection.scalars(query)))).items():
            if isinstance(opened, Erased):  # its time is over
                continue
            if isinstance(opened, StoreError):
                raise opened
            document = sealed_document(connection, id)
            if document is not None:
                found[id] = json.loads(open_document(opened, *document))
        return found


class _Done(Exception):
    """A consent was withdrawn by somebody else meanwhile."""

    def __init__(self, erasure: str) -> None:
        super().__init__(erasure)
        self.erasure = erasure


def complete(catalogue: Catalogue, keeper: Keeper, clock: Callable[[], float], consent: str) -> int:
    """Wraps what a consent should keep and does not, after a restore: what it placed was not in the witness.

    Gives how many keys that were; 0 if it is withdrawn.
    """
    with catalogue.reading() as connection:
        row = connection.execute(select(consents).where(consents.c.id == consent)).first()
    if row is None or row.erasure is not None:
        return 0

    def find(connection: Connection) -> dict[ArtefactId, Stored]:
        where = for_purpose(ParticipantId(row.participant), row.purpose)
        return stored(connection, [CallId(row.call)], clock(), where)

    wrapped = keeper.keep(find, (Root.CONTENT, row.purpose), lambda _connection: None)
    if wrapped:
        with catalogue.writing() as connection:
            note(connection, row.tenant, Kept.RECORD, consent)
    return wrapped


def replay(connection: Connection, facts: Mapping[str, Any]) -> None:
    """Does again what an entry of this module tells, in a write transaction after a restore; once, however often.

    The evidence comes from the witness, with the wraps that the consent placed; where it had not got them the evidence
    is lost, and `complete` places the wraps anew. What a withdrawal erased is its erasure's business, whose `intent` is
    an entry of its own.
    """
    of_id = consents.c.id == facts["consent"]
    if facts["type"] == WITHDRAWN:
        connection.execute(update(consents).where(of_id).values(erasure=facts["erasure"]))
        return
    here = select(calls.c.id).where(calls.c.id == facts["call"], calls.c.tenant == facts["tenant"])
    if connection.scalar(select(consents.c.id).where(of_id)) is None and connection.scalar(here) is not None:
        _insert(connection, facts)


def _insert(connection: Connection, facts: Mapping[str, Any]) -> None:
    row = {name: facts[name] for name in ("tenant", "call", "participant", "purpose")}
    connection.execute(consents.insert(), row | {"id": facts["consent"], "erasure": None})


def _row(connection: Connection, tenant: TenantId, call: CallId, consent: str) -> Row[Any]:
    query = select(consents).where(consents.c.id == consent, consents.c.call == call, consents.c.tenant == tenant)
    row = connection.execute(query).first()
    if row is None:
        raise NotFound(f"call {call} has no consent {consent}")
    return row


def _check_over(connection: Connection, call: CallId, target: Target) -> None:
    """NotReady while streams are being recorded for the very purpose: their call ends first, as of any part of it."""
    if connection.scalar(select(calls.c.state).where(calls.c.id == call)) != CallState.LIVE:
        return
    dying = (artefacts.c.call == call, artefacts.c.purpose == target.purpose, artefacts.c.kind.in_(STREAMS))
    query = select(artefacts.c.id).where(*dying, artefacts.c.state.in_(ALIVE))
    if target.participant is not None:
        query = query.where(artefacts.c.participant == target.participant)
    if connection.scalar(query.limit(1)) is not None:
        raise NotReady(f"call {call} is live: end it, and withdraw the consent to its recording then")


def _recorded(how: str, actor: str, now_s: float) -> dict[str, Any]:
    return {"format": FORMAT, "how": how, "recorded_at": utc(now_s), "recorded_by": actor}


def _text(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()
