"""What the ledger says happened after a backup, made to happen again: a row for each type of entry.

Entries are replayed in their order, each in the transaction that appends it to the restored ledger, before anything is
swept or read. A type that is not in the table ends the restore: who adds a type adds its row.

    intent      the graves of its erasure: from here on reads are refused, as they were
    keys        rows of a batch: keys that a change of epoch, or a hold, wrote, and the change stands where it had got
                to; a record with its keys, as it was amended last; statistics. With the first rows of a tenant that
                came after the backup also what entries before them say of it
    done        the erasure is over, and has its certificate
    swept       nothing: the backup brought it back, so the next start sweeps again
    hold        why something must not be erased; its release is an erasure like others
    restriction what is kept and not read; unrestriction: lifted
    revocation  the token lets nobody in
    consent     what rests on somebody's consent; withdrawal: its erasure is an intent of its own
    key_change  the ledger's new key
    policy      a tenant's policy, and the ends of buckets that it made earlier
    closing     a tenant leaves; reopening: it stays; retired: a root's last key is gone; closed: it is forgotten
    regions     where a tenant's data may be; location: where it is or was
    breach      nothing: the case is a dossier, which a backup has or has not; the entry outlives it
    telemetry   nothing: a day's key is gone at the provider, so what a backup has of the day opens nowhere
    processor   what a tenant was told of a sub-processor
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select, update

from storage.chain import KEY_CHANGE, Entry
from storage.consents import ENTRY as CONSENT
from storage.consents import replay as replay_consent
from storage.erasure.change import Step
from storage.erasure.graves import bury_again, close_graves
from storage.erasure.targets import Target
from storage.erasure.ways import buckets_dropped
from storage.errors import Malformed, RolledBack
from storage.holds import ENTRY as HOLD
from storage.holds import replay as replay_hold
from storage.installation import replay_key_change
from storage.leaving import replay_closed, replay_closing, replay_reopening, replay_retired
from storage.ledger import Ledger, read_entries
from storage.model import TenantId
from storage.policies import replay_policy
from storage.processors import replay as replay_processor
from storage.residency import replay_location, replay_rule
from storage.restrictions import replay as replay_restriction
from storage.tables import change_steps, changes, erasures
from storage.tags import batches as cut
from storage.tokens import ENTRY as REVOCATION
from storage.tokens import replay as replay_revocation
from storage.witness import Batch, Batches
from storage.witness.rows import Rows, insert_absent

_AT_ONCE = 500


@dataclass(slots=True)
class Replay:
    """What replaying works with, and what came of it so far."""

    batches: Sequence[Batches]  # where key batches are looked for, one after the other
    ledger: Ledger
    first: int  # the number of the first entry that the backup has not
    entries: int = 0
    kinds: Counter[str] = field(default_factory=Counter)  # of entries
    rows_put: Counter[str] = field(default_factory=Counter)  # by table, from batches
    holds: list[str] = field(default_factory=list)  # that are younger than the backup
    consents: list[str] = field(default_factory=list)
    lost_calls: set[str] = field(default_factory=set)  # that the ledger names and the catalogue lacks
    lost_artefacts: set[str] = field(default_factory=set)  # of which a batch has keys

    def rows(self, batch: Batch) -> list[Rows]:
        """The parts of a batch; RolledBack if it is nowhere, Tampered if one is not what the ledger says."""
        missing: RolledBack | None = None
        for place in self.batches:
            try:
                return list(place.read(batch))
            except RolledBack as error:
                missing = missing or error
        assert missing is not None  # there is at least one place
        raise missing


def replay(connection: Connection, entry: Entry, state: Replay) -> None:
    """Does again what an entry tells of; Malformed for a type that nobody knows here."""
    try:
        act = _REPLAYS[entry.type]
    except KeyError:
        raise Malformed(
            f"entry {entry.seq} of the ledger is of type {entry.type!r}, which this callvault cannot do again: restore"
            " with the release that wrote it"
        ) from None
    act(connection, entry, state)
    state.entries += 1
    state.kinds[entry.type] += 1


def _nothing(_connection: Connection, _entry: Entry, _state: Replay) -> None:
    """It changed nothing that a restore has to change."""


def _intent(connection: Connection, entry: Entry, state: Replay) -> None:
    erasure, tenant = entry.body["erasure"], TenantId(entry.body["tenant"])
    facts = json.dumps(entry.body["target"])
    target = Target.parse(facts)
    row = {"id": erasure, "tenant": tenant, "scope": target.scope.value, "target": facts}
    connection.execute(erasures.insert(), row | {"intent": entry.seq, "change": None, "certificate": None})
    state.lost_calls |= set(bury_again(connection, erasure, tenant, target, _unix(entry)))


def _keys(connection: Connection, entry: Entry, state: Replay) -> None:
    batch = Batch.of(entry)
    parts = state.rows(batch)
    change = entry.body.get("change")
    dropped: set[str] = set()
    if isinstance(change, str):
        if connection.scalar(select(changes.c.id).where(changes.c.id == change)) is None:
            connection.execute(changes.insert(), {"id": change, "tenant": batch.tenant, "finished": False})
        for ids in cut(entry.body["erasures"], _AT_ONCE):
            connection.execute(update(erasures).where(erasures.c.id.in_(ids)).values(change=change))
        dropped = buckets_dropped(connection, change)  # before the next epoch is there: those that it leaves out
    for rows in parts:
        inserted = insert_absent(connection, batch.tenant, rows)
        state.lost_artefacts |= inserted.missing
        state.rows_put += inserted.counts
        if inserted.new_tenant:
            _catch_up(connection, batch.tenant, entry.seq, state)
    if isinstance(change, str):
        _note(connection, change, Step.LAPSE, {})
        _note(connection, change, Step.NEXT_KEY, {"epochs": entry.body["epochs"]})
        _note(connection, change, Step.REWRAP, {"counts": {}, "dropped": sorted(dropped)})
        _note(connection, change, Step.READ_BACK, {"compared": {}})


def _catch_up(connection: Connection, tenant: str, before: int, state: Replay) -> None:
    """What entries told of a tenant before anything of it was there: it came after the backup."""
    for entry in read_entries(connection, state.first):
        if entry.seq >= before:
            return
        if entry.body.get("tenant") == tenant and entry.type in _OF_TENANT:
            _REPLAYS[entry.type](connection, entry, state)


def _hold(connection: Connection, entry: Entry, state: Replay) -> None:
    replay_hold(connection, entry.body)
    state.holds.append(str(entry.body["hold"]))


def _consent(connection: Connection, entry: Entry, state: Replay) -> None:
    replay_consent(connection, entry.body)
    state.consents.append(str(entry.body["consent"]))


def _revocation(connection: Connection, entry: Entry, _state: Replay) -> None:
    replay_revocation(connection, entry.body)


def _done(connection: Connection, entry: Entry, state: Replay) -> None:
    erasure = entry.body["erasure"]
    row = connection.execute(select(erasures).where(erasures.c.id == erasure)).first()
    if row is None or row.change is None:
        raise Malformed(f"entry {entry.seq} of the ledger ends an erasure that none began")
    close_graves(connection, row.change)
    _note(connection, row.change, Step.DESTROY, {"keys": entry.body["keys"]})
    certificate = json.dumps(state.ledger.certificate(connection, row.intent, entry.seq))
    connection.execute(update(erasures).where(erasures.c.id == erasure).values(certificate=certificate))
    without = select(erasures.c.id).where(erasures.c.change == row.change, erasures.c.certificate.is_(None))
    if connection.scalar(without.limit(1)) is None:  # else the witness got a part of them: the next start signs again
        _note(connection, row.change, Step.DONE, {})


def _rotated(connection: Connection, entry: Entry, _state: Replay) -> None:
    change = str(entry.body["change"])
    _note(connection, change, Step.DESTROY, {"keys": entry.body["keys"]})
    _note(connection, change, Step.DONE, {})


def _key_change(connection: Connection, entry: Entry, _state: Replay) -> None:
    replay_key_change(connection, entry)


def _note(connection: Connection, change: str, step: Step, facts: Mapping[str, Any]) -> None:
    """A step of a change, unless the backup has it."""
    there = select(change_steps.c.step).where(change_steps.c.change == change, change_steps.c.step == step.value)
    if connection.scalar(there) is None:
        connection.execute(change_steps.insert(), {"change": change, "step": step.value, "facts": json.dumps(facts)})


def _unix(entry: Entry) -> float:
    try:
        return datetime.fromisoformat(str(entry.body["at"])).timestamp()
    except (KeyError, ValueError):
        raise Malformed(f"entry {entry.seq} of the ledger has no time") from None


_REPLAYS: Mapping[str, Callable[[Connection, Entry, Replay], None]] = {
    "intent": _intent,
    "keys": _keys,
    "done": _done,
    "rotated": _rotated,
    "swept": _nothing,
    "backup": _nothing,
    "restored": _nothing,
    HOLD: _hold,
    "restriction": lambda connection, entry, _state: replay_restriction(connection, entry.body),
    "unrestriction": lambda connection, entry, _state: replay_restriction(connection, entry.body),
    CONSENT: _consent,
    "withdrawal": lambda connection, entry, _state: replay_consent(connection, entry.body),
    KEY_CHANGE: _key_change,
    "policy": lambda connection, entry, _state: replay_policy(connection, entry),
    "closing": lambda connection, entry, _state: replay_closing(connection, entry),
    "reopening": lambda connection, entry, _state: replay_reopening(connection, entry),
    "retired": lambda connection, entry, _state: replay_retired(connection, entry),
    "closed": lambda connection, entry, _state: replay_closed(connection, entry),
    REVOCATION: _revocation,
    "regions": lambda connection, entry, _state: replay_rule(connection, entry),
    "breach": _nothing,
    "telemetry": _nothing,
    "location": lambda connection, entry, _state: replay_location(connection, entry),
    "processor": lambda connection, entry, _state: replay_processor(connection, entry),
}

_OF_TENANT = ("policy", "regions", "location")
"""Types of entries that are passed over for a tenant that the catalogue does not know yet."""

KNOWN = frozenset(_REPLAYS)
"""The types of entries that a restore can do again."""
