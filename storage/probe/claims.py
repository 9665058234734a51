"""What is claimed to be erased, as artefacts and buckets: of a call, of a tenant, or of one erasure by its target.

Which artefacts an erasure meant is read from copies that do not know it yet; what is made later is not its business.
What lives on by another way (a hold, another purpose, a law) is excepted and counted: of that only the claimed ways
must not open.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from storage.erasure.graves import CONTENT
from storage.erasure.targets import Scope, Target
from storage.errors import NotFound
from storage.ledger import target_words
from storage.model import NO_PARTICIPANT, ArtefactState, CallId, CallState, Kind, Root
from storage.probe.remains import CLAIMED, CONTROL, Remains, is_claimed
from storage.probe.sources import State
from storage.records import ROOTS

ALIVE = (ArtefactState.WRITING.value, ArtefactState.COMPLETE.value)
_ALIVE = ", ".join(f"'{state}'" for state in ALIVE)
_CONTENT = ", ".join(f"'{kind}'" for kind in CONTENT)
_LAW = ", ".join(f"'{kind.value}'" for kind in Kind if ROOTS[kind] is Root.STATUTORY)
_CONTROLS_LOOKED_AT = 5_000
"""Living calls, the oldest first, among which one is looked for that a copy from before has."""
_CONTROL_ARTEFACTS = 50
IN_BOTH, LIVES_ON, TODAY_ALONE = "in a copy from before, too", "of what was claimed", "in today's store alone"
"""What a control is."""
_WAYS = "{k} k JOIN {n} l ON l.id = k.leaf JOIN {n} n ON n.id = l.parent JOIN {b} b ON b.id = n.parent"
_SRC: Mapping[str, str] = {
    "k": "src.artefact_keys", "n": "src.nodes", "b": "src.buckets", "a": "src.artefacts",
}  # fmt: skip
_RAW: Mapping[str, str] = {
    "k": "(SELECT one AS artefact, two AS leaf FROM main.pairs WHERE raw)",
    "n": "(SELECT one AS id, two AS parent FROM main.pairs WHERE raw)",
    "b": "main.raw_buckets",
    "a": "main.raw_artefacts",
}
_LIVING_WAY = (
    "NOT EXISTS (SELECT 1 FROM src.epochs e WHERE e.tenant = b.tenant AND e.root = b.root AND e.n > b.epoch)"
    " AND coalesce(b.due, 1) <> 0"
    " AND NOT EXISTS (SELECT 1 FROM src.tombstones t WHERE t.artefact = k.artefact AND t.purpose IN ('', b.purpose))"
)


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be proved: one of a call, a tenant (its name or id), an erasure (its id, or its certificate)."""

    call: str = ""
    tenant: str = ""
    erasure: str = ""
    certificate: Mapping[str, Any] | None = None


@dataclass(slots=True)
class Claim:
    """The same, found."""

    tenant: str
    words: str
    call: CallId | None
    erasure: str
    target: Target
    artefacts: int = 0
    excepted: dict[str, int] = field(default_factory=dict)


def claim_of(asked: Asked, tenant: str, remains: Remains, states: Sequence[State]) -> Claim:
    """Looks the claim up; `tenant` is the id of the one that is asked for by name. NotFound if nobody knows it."""
    if asked.erasure or asked.certificate is not None:
        return _erasure(asked, remains, states)
    if asked.tenant:
        return Claim(tenant, f"tenant {tenant}", None, "", Target.of_tenant())
    for state in states:
        with remains.attached(state.uri) as sql:
            row = sql.execute("SELECT tenant FROM src.calls WHERE id = ?", (asked.call,)).fetchone()
            if row is not None:
                call = CallId(asked.call)
                return Claim(row["tenant"], f"call {call}", call, "", Target.of_call(call))
    row = remains.sql.execute("SELECT tenant FROM raw_artefacts WHERE call = ?", (asked.call,)).fetchone()
    if row is not None:
        return Claim(row["tenant"], f"call {asked.call}", CallId(asked.call), "", Target.of_call(CallId(asked.call)))
    raise NotFound(f"no backup that was named has call {asked.call}: nothing is proved")


def select_claimed(claim: Claim, remains: Remains, states: Sequence[State]) -> None:
    """Notes the artefacts and buckets of a claim. NotFound if no copy is from before: then nothing is proved."""
    remains.sql.executemany("INSERT INTO slots VALUES (?, ?, ?, ?)", _slots(claim.target))
    before = 0
    for state in states:
        with remains.attached(state.uri) as sql:
            if claim.erasure and _knows(sql, claim.erasure):
                continue
            if state.today and (claim.erasure or claim.call is None):
                continue
            before += 1
            _select(sql, claim, _SRC)
    if not before and claim.erasure:
        raise NotFound(f"no copy that was named is from before erasure {claim.erasure}: nothing is proved")
    _select(remains.sql, claim, _RAW)
    claim.artefacts = remains.number("SELECT count(*) FROM wanted")
    if not claim.artefacts:
        raise NotFound(f"no copy that was named has anything of {claim.words}: nothing is proved")


def except_living(claim: Claim, remains: Remains, today: State) -> None:
    """Notes what lives on today by a way that is not claimed, and counts by what."""
    with remains.attached(today.uri) as sql:
        if claim.target.scope is Scope.PERSON:
            _except_held(sql, claim)
        sql.execute(
            "UPDATE main.wanted SET excuse = (SELECT min(b.root || ' ' || b.purpose)"  # noqa: S608  # ours
            f" FROM {_WAYS.format(**_SRC)} JOIN src.artefacts a ON a.id = k.artefact AND a.state IN ({_ALIVE})"
            f" WHERE k.artefact = wanted.id AND {_LIVING_WAY} AND NOT {is_claimed('b')})"
        )
        for row in sql.execute("SELECT excuse, count(*) AS found FROM main.wanted WHERE excuse > '' GROUP BY excuse"):
            root, _, purpose = row["excuse"].partition(" ")
            words = f"under hold {purpose}" if root == Root.HOLD.value else f"for purpose {purpose}"
            claim.excepted[f"artefacts that live on {words}"] = row["found"]
        _except_law(sql, claim)


def select_control(claim: Claim, remains: Remains, before: Sequence[State], today: State) -> tuple[CallId | None, str]:
    """Notes what must open by the same code, or the probe proves nothing; gives its call, and in words what it is.

    A living call that a copy from before has, of the same tenant and day if there is one; else what lives on of what
    was claimed; else a living call of today alone.
    """
    living = _living_calls(claim, remains, today)
    for state in before:
        if (known := _first_known(remains, state, living)) is not None:
            return _control(remains, today, known), IN_BOTH
    with remains.attached(today.uri) as sql:
        sql.execute(
            "INSERT INTO main.wanted SELECT id, ?, NULL FROM main.wanted WHERE excuse > '' LIMIT ?",
            (CONTROL, _CONTROL_ARTEFACTS),
        )
        row = sql.execute(
            "SELECT a.call FROM main.wanted w JOIN src.artefacts a ON a.id = w.id WHERE w.part = ? LIMIT 1", (CONTROL,)
        ).fetchone()
    if row is not None:
        return CallId(row["call"]), LIVES_ON
    return (_control(remains, today, living[0]), TODAY_ALONE) if living else (None, "")


def _living_calls(claim: Claim, remains: Remains, today: State) -> list[str]:
    """Calls with something to open that is not claimed to be dead; of the same tenant and day first."""
    itself = "" if claim.erasure else claim.call or ""  # of a part that was erased the rest is as good as any
    with remains.attached(today.uri) as sql:
        rows = sql.execute(
            f"SELECT c.id FROM src.calls c WHERE c.state NOT IN (?, ?) AND c.id <> ? AND EXISTS (SELECT 1"  # noqa: S608  # ours
            f" FROM src.artefacts a WHERE a.call = c.id AND a.state IN ({_ALIVE}) AND {_NOT_WANTED} AND {_FULL})"
            " ORDER BY c.tenant = ? DESC, c.day = (SELECT day FROM src.calls WHERE id = ?) DESC, c.serial LIMIT ?",
            (CallState.ERASED.value, CallState.DOSSIER.value, itself, claim.tenant, claim.call, _CONTROLS_LOOKED_AT),
        )
        return [row["id"] for row in rows]


def _control(remains: Remains, today: State, call: str) -> CallId:
    with remains.attached(today.uri) as sql:
        sql.execute(
            "INSERT INTO main.wanted SELECT a.id, ?, NULL FROM src.artefacts a"  # noqa: S608  # ours
            f" WHERE a.call = ? AND a.state IN ({_ALIVE}) AND {_NOT_WANTED}",
            (CONTROL, call),
        )
    return CallId(call)


_NOT_WANTED = "NOT EXISTS (SELECT 1 FROM main.wanted w WHERE w.id = a.id)"
_FULL = (
    "(EXISTS (SELECT 1 FROM src.documents d WHERE d.artefact = a.id)"
    " OR EXISTS (SELECT 1 FROM src.slices d WHERE d.artefact = a.id))"
)


def _erasure(asked: Asked, remains: Remains, states: Sequence[State]) -> Claim:
    intent = asked.certificate["entries"][0]["body"] if asked.certificate is not None else {}
    erasure = str(intent.get("erasure", asked.erasure))
    for state in states:
        with remains.attached(state.uri) as sql:
            row = sql.execute("SELECT tenant, target FROM src.erasures WHERE id = ?", (erasure,)).fetchone()
        if row is None:
            continue
        target = Target.parse(row["target"])
        if intent and intent.get("target") != target.facts():
            raise NotFound(f"the certificate's target is not that of erasure {erasure} here: nothing is proved")
        named = target.calls[0] if len(target.calls) == 1 else None
        words = f"{target_words(target.facts())} of tenant {row['tenant']}, erasure {erasure}"
        return Claim(row["tenant"], words, named, erasure, target)
    raise NotFound(f"erasure {erasure} is not known here: nothing is proved")


def _slots(target: Target) -> list[tuple[str, str | None, str | None, str | None]]:
    match target.scope:
        case Scope.EXPIRY:
            return [(drop.root.value, drop.kind.value, drop.purpose, drop.day) for drop in target.drops]
        case Scope.RELEASE:
            return [(Root.HOLD.value, None, target.hold, None)]
        case Scope.PURPOSE:
            return [(Root.CONTENT.value, None, target.purpose, None)]
        case _:
            return [(Root.CONTENT.value, None, None, None)]


def _knows(sql: sqlite3.Connection, erasure: str) -> bool:
    return sql.execute("SELECT 1 FROM src.erasures WHERE id = ?", (erasure,)).fetchone() is not None


def _select(sql: sqlite3.Connection, claim: Claim, names: Mapping[str, str]) -> None:
    target, parameters = claim.target, [CLAIMED, claim.tenant]
    if target.scope in (Scope.PURPOSE, Scope.EXPIRY, Scope.RELEASE):
        query = f"SELECT DISTINCT a.id FROM {_WAYS.format(**names)} JOIN {names['a']} a ON a.id = k.artefact"  # noqa: S608  # ours
        query += f" WHERE a.tenant = ? AND {is_claimed('b')}"
    else:
        query = f"SELECT a.id FROM {names['a']} a WHERE a.tenant = ?"  # noqa: S608  # ours
    if target.calls:
        query += f" AND a.call IN ({', '.join('?' * len(target.calls))})"
        parameters += target.calls
    if target.artefacts:
        query += f" AND a.id IN ({', '.join('?' * len(target.artefacts))})"
        parameters += target.artefacts
    elif target.scope in (Scope.CALL, Scope.PARTICIPANT, Scope.PERSON, Scope.TENANT):
        query += f" AND a.kind IN ({_CONTENT})"
    if target.participant is not None:
        query += " AND a.participant IN (?, ?)"
        others = target.participant if target.scope is Scope.PURPOSE else NO_PARTICIPANT
        parameters += [target.participant, others]
    sql.execute(f"INSERT OR IGNORE INTO main.wanted SELECT id, ?, NULL FROM ({query})", parameters)  # noqa: S608  # ours


def _except_held(sql: sqlite3.Connection, claim: Claim) -> None:
    """What a person's erasure found under a hold was left as it is: it has no tombstone, and lives."""
    left = (
        "SELECT w.id FROM main.wanted w JOIN src.artefacts a ON a.id = w.id"  # noqa: S608  # ours
        f" WHERE a.state IN ({_ALIVE})"
        " AND NOT EXISTS (SELECT 1 FROM src.tombstones t WHERE t.artefact = w.id AND t.erasure = ?)"
    )
    count = sql.execute(f"SELECT count(*) FROM ({left})", (claim.erasure,)).fetchone()[0]  # noqa: S608  # ours
    if count and claim.erasure:
        claim.excepted["artefacts that were held then, and left as they are"] = count
        sql.execute(f"DELETE FROM main.wanted WHERE id IN ({left})", (claim.erasure,))  # noqa: S608  # ours
        claim.artefacts -= count


def _except_law(sql: sqlite3.Connection, claim: Claim) -> None:
    """Records that a law keeps of the same calls, and copies that left: nobody says that these are gone."""
    calls = claim.target.calls
    of = f"call IN ({', '.join('?' * len(calls))})" if calls else "tenant = ?"
    parameters = list(calls) if calls else [claim.tenant]
    if claim.target.scope not in (Scope.CALL, Scope.PERSON, Scope.TENANT):
        return
    query = f"SELECT kind, count(*) FROM src.artefacts WHERE {of} AND state IN ({_ALIVE}) AND kind IN ({_LAW})"  # noqa: S608  # ours
    for kind, count in sql.execute(query + " GROUP BY kind", parameters):
        claim.excepted[f"records that a law keeps: {kind}"] = count
    copies = sql.execute(f"SELECT count(DISTINCT id) FROM src.egress WHERE {of}", parameters).fetchone()[0]  # noqa: S608  # ours
    if copies:
        claim.excepted["copies on record as having left"] = copies


def _first_known(remains: Remains, state: State, calls: Sequence[str]) -> str | None:
    """The first of these calls that a state has."""
    with remains.attached(state.uri) as sql:
        for call in calls:
            if sql.execute("SELECT 1 FROM src.calls WHERE id = ?", (call,)).fetchone() is not None:
                return call
    return None
