"""The policies that tenants have had: the newest is in effect, and each change is an entry of the signed ledger.

A shorter term applies to what is stored, a longer one only to what is new: people were promised the shorter one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Row, select, update

from storage.chain import Entry
from storage.errors import Malformed, Tampered
from storage.ledger import Ledger, entries_of
from storage.model import Kind, Root, TenantId
from storage.policy.library import parse_policy, profile
from storage.policy.model import Policy
from storage.policy.overrides import Difference, changed_lines, differences
from storage.policy.reading import as_json
from storage.records import Day
from storage.retention import Keep, due
from storage.signing import canonical
from storage.tables import buckets, policies, tenants
from storage.tables import ledger as entries
from storage.tags import ROWS_AT_ONCE, batches
from storage.words import check_words

ENTRY = "policy"
"""The type of the ledger's entries of this module."""
DROPPED = 0
"""What stands as the due second of a bucket whose key is gone."""


@dataclass(frozen=True, slots=True)
class Adopted:
    """What adopting a policy came to: nothing, if `changed` is false. `ended_earlier` counts stored buckets that end
    earlier than they were to."""

    changed: bool
    lowered: tuple[Difference, ...] = ()
    raised: tuple[Difference, ...] = ()
    ended_earlier: int = 0


def adopt(connection: Connection, ledger: Ledger, tenant: TenantId, policy: Policy, now_s: float) -> Adopted:
    """Puts a policy into effect in a write transaction, unless it is in effect already.

    Refused if a reason in it could not stand in the ledger for ever.
    """
    body = canonical(as_json(policy)).decode()
    digest = hashlib.sha256(body.encode()).hexdigest()
    newest = _newest_row(connection, tenant)
    before = _intact(connection, tenant) if newest is not None else None
    if newest is not None and before is not None and newest.digest == digest:
        return Adopted(changed=False)
    found = differences(before, policy) if before is not None else []
    lowered, raised = tuple(one for one in found if one.shorter), tuple(one for one in found if one.longer)
    reasons = list(dict.fromkeys(rule.reason for rule in policy.retention if rule.reason))
    for reason in reasons:
        check_words(reason, "tenant")
    facts: dict[str, Any] = {"tenant": tenant, "policy": digest, "profile": policy.name, "zone": policy.zone}
    facts |= {"lowered": [str(one) for one in lowered], "raised": [str(one) for one in raised], "reasons": reasons}
    facts["lines"] = changed_lines(before, policy) if before is not None else []
    facts["body"] = body  # whole, for a restore: a backup from before has only the one that it followed
    entry = ledger.append(connection, ENTRY, now_s, facts)
    connection.execute(policies.insert(), {"tenant": tenant, "body": body, "digest": digest, "entry": entry})
    return Adopted(True, lowered, raised, apply_lowered(connection, tenant))


def replay_policy(connection: Connection, entry: Entry) -> None:
    """What an entry of type `policy` did, done again after a restore; Malformed."""
    tenant, body, digest = (entry.body.get(name) for name in ("tenant", "body", "policy"))
    if not isinstance(tenant, str) or not isinstance(body, str):
        raise Malformed(f"entry {entry.seq} of the ledger changes a policy and does not hold it")
    if connection.scalar(select(tenants.c.id).where(tenants.c.id == tenant)) is None:
        return  # of a tenant that came after the backup: nothing of it is here
    connection.execute(policies.insert(), {"tenant": tenant, "body": body, "digest": digest, "entry": entry.seq})
    apply_lowered(connection, TenantId(tenant))


def missing_rows(connection: Connection) -> list[Entry]:
    """The newest change of each tenant's policy whose row is gone. Goes through the ledger: 1 s for 10⁶ entries."""
    newest = {entry.body["tenant"]: entry for entry in entries_of(connection, ENTRY)}
    there: set[int] = set()
    for seqs in batches([entry.seq for entry in newest.values()], ROWS_AT_ONCE):
        there |= set(connection.scalars(select(policies.c.entry).where(policies.c.entry.in_(seqs))))
    known = set(connection.scalars(select(tenants.c.id)))
    return [entry for entry in newest.values() if entry.seq not in there and entry.body["tenant"] in known]


def mend(connection: Connection) -> list[TenantId]:
    """Puts rows that are gone back from the signed ledger, in a write transaction; gives whose. Buckets that were made
    meanwhile end as early as the policy says, none later."""
    mended = missing_rows(connection)
    for entry in mended:
        replay_policy(connection, entry)
    return [TenantId(entry.body["tenant"]) for entry in mended]


def policy_of(connection: Connection, tenant: TenantId) -> Policy:
    """The policy in effect; the default one before the first was adopted. Tampered if the ledger names another."""
    row = _newest_row(connection, tenant)
    if row is None:
        return profile("default")
    entry = connection.scalar(select(entries.c.body).where(entries.c.seq == row.entry)) or ""
    return _parsed(row.body, row.digest, entry, tenant)


def _intact(connection: Connection, tenant: TenantId) -> Policy | None:
    """None where the row is not what was adopted: then nobody knows what the next one changes, and it can mend it."""
    try:
        return policy_of(connection, tenant)
    except Tampered:
        return None


def due_of(connection: Connection, tenant: TenantId, kind: Kind, purpose: str, day: Day) -> int | None:
    """The Unix second at which a new bucket ends, by the policy that is in effect in this transaction; None: no end."""
    return due_under(policy_of(connection, tenant), kind, purpose, day)


def due_under(policy: Policy, kind: Kind, purpose: str, day: Day) -> int | None:
    """The same under a policy that is at hand."""
    keep = Keep.AT_LEAST if policy.holds_least(kind) else Keep.AT_MOST
    return due(day, policy.rule(kind, purpose).term, policy.zone, keep)


def apply_lowered(connection: Connection, tenant: TenantId) -> int:
    """Ends living buckets as early as the policy in effect says, and none later; gives how many got another end."""
    policy, count = policy_of(connection, tenant), 0
    for row, ends_s in _living(connection, tenant):
        new_s = due_under(policy, Kind(row.kind), row.purpose, Day(row.day))
        if new_s is not None and (ends_s is None or new_s < ends_s):
            connection.execute(update(buckets).where(buckets.c.serial == row.serial).values({"due": new_s}))
            count += 1
    return count


def due_at_once(connection: Connection, tenant: TenantId, policy: Policy, now_s: float) -> int:
    """How many living buckets would be due now under a policy, and are not by their own end."""
    count = 0
    for row, ends_s in _living(connection, tenant):
        new_s = due_under(policy, Kind(row.kind), row.purpose, Day(row.day))
        count += new_s is not None and new_s <= now_s and (ends_s is None or ends_s > now_s)
    return count


def _living(connection: Connection, tenant: TenantId) -> Iterator[tuple[Row[Any], int | None]]:
    """Buckets that are not dropped, with their ends; a hold has its own."""
    query = select(buckets).where(buckets.c.tenant == tenant, buckets.c.root != Root.HOLD.value)
    for row in connection.execute(query).all():
        if row.due != DROPPED:
            yield row, row.due


def _newest_row(connection: Connection, tenant: TenantId) -> Row[Any] | None:
    query = select(policies).where(policies.c.tenant == tenant).order_by(policies.c.serial.desc()).limit(1)
    return connection.execute(query).first()


@lru_cache(maxsize=256)  # asked for each bucket that is made; a policy is parsed in a millisecond
def _parsed(body: str, digest: str, entry: str, tenant: TenantId) -> Policy:
    if hashlib.sha256(body.encode()).hexdigest() != digest or not _says(entry, tenant, digest):
        raise Tampered(f"the policy of tenant {tenant} is not the one that the ledger names: adopt it anew")
    return parse_policy(body)


def _says(entry: str, tenant: TenantId, digest: str) -> bool:
    """Whether an entry of the ledger puts this policy into effect. That it is signed is checked with the chain."""
    try:
        said = json.loads(entry)
    except ValueError:
        return False
    return (said.get("type"), said.get("tenant"), said.get("policy")) == (ENTRY, tenant, digest)
