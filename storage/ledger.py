"""The ledger: what was erased when, hash-chained and signed, and the certificate that anybody can verify offline.

An entry's hash covers the previous entry's hash and the digest of its own body, so a certificate can prove that two
entries stand in one chain and show nothing of what others had erased between them. No personal data: random ids,
key names, counts, times, and a ground and an actor in a few words that may hold neither address nor number.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, func, select

from storage.chain import (
    ENTRY_BYTES_MAX,
    KEY_CHANGE,
    START,
    Entry,
    Keys,
    Walk,
    digest_of,
    key_change_facts,
    link,
    sign_entry,
    verify_entry,
)
from storage.errors import Malformed, NotFound, Tampered, Unavailable, WrongKey
from storage.signing import Signer, canonical, fingerprint_of, parse_json
from storage.tables import ledger
from storage.times import utc
from storage.words import check_words

__all__ = ["CERTIFICATE_BYTES_MAX", "FORMAT", "Ledger", "check_words", "parse_certificate", "verify_certificate"]

FORMAT = "callvault erasure certificate v1"
CERTIFICATE_BYTES_MAX = 1 << 20
"""A certificate is two entries and a few digests; more is not one."""

_DIGEST = re.compile(r"[0-9a-f]{64}\Z")


class Ledger:
    """Appends entries, and proves them."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer
        self.fingerprint = fingerprint_of(signer.public_key)

    @property
    def public_key(self) -> str:
        """The key that signs the next entry."""
        return self._signer.public_key

    def append(self, connection: Connection, kind: str, now_s: float, facts: dict[str, Any]) -> int:
        """Adds an entry within the caller's write transaction; gives its sequence number."""
        newest = self.newest(connection)
        if newest is not None:
            self._check_turn(newest)
        seq, previous = (newest.seq + 1, newest.hash) if newest is not None else (1, START)
        insert_entry(
            connection, sign_entry(self._signer, previous, {**facts, "seq": seq, "type": kind, "at": utc(now_s)})
        )
        return seq

    def bodies(self, connection: Connection, wanted: Collection[int]) -> dict[int, dict[str, Any]]:
        """What these entries say, by their sequence numbers."""
        query = select(ledger.c.seq, ledger.c.body).where(ledger.c.seq.in_(wanted))
        return {row.seq: parse_json(row.body.encode(), ENTRY_BYTES_MAX) for row in connection.execute(query)}

    def change_key(self, connection: Connection, now_s: float, new: Signer, facts: dict[str, Any]) -> int:
        """Adds the entry by which another key takes over, signed by both; call it in a write transaction.

        Whoever has this ledger open, here and elsewhere, can append no more, and says so.
        """
        newest = self.newest(connection)
        seq = 1 if newest is None else newest.seq + 1
        facts = facts | key_change_facts(self._signer.public_key, new, seq)
        return self.append(connection, KEY_CHANGE, now_s, facts)

    def newest(self, connection: Connection) -> Entry | None:
        """The last entry."""
        row = connection.execute(select(ledger).order_by(ledger.c.seq.desc()).limit(1)).first()
        return None if row is None else entry_of(row)

    def key_changes(self, connection: Connection, first: int = 1) -> Sequence[Entry]:
        """The entries by which one key followed the other, from number `first` on."""
        return entries_of(connection, KEY_CHANGE, first)

    def _check_turn(self, newest: Entry) -> None:
        """Unavailable if another key has taken over: an entry signed by the old one would break the chain."""
        mine = self._signer.public_key
        if newest.type == KEY_CHANGE:
            taken_over = newest.body["new_key"] != mine
        else:
            try:
                verify_entry(newest, mine)
                taken_over = False
            except Tampered:
                taken_over = True
        if taken_over:
            raise Unavailable("the ledger's last entry is not of this installation's key: was it changed? Start again")

    def certificate(self, connection: Connection, first: int, last: int) -> dict[str, Any]:
        """The certificate of the erasure whose INTENT and DONE are the entries `first` and `last`."""
        rows = connection.execute(select(ledger).where(ledger.c.seq.between(first, last)).order_by(ledger.c.seq)).all()
        if [row.seq for row in rows] != list(range(first, last + 1)):
            raise NotFound("the ledger lacks an entry of this erasure")
        entries = [
            {"body": parse_json(row.body.encode(), CERTIFICATE_BYTES_MAX), "previous": row.previous, "hash": row.hash}
            | {"signature": row.signature}
            for row in (rows[0], rows[-1])
        ]
        return {
            "format": FORMAT,
            "public_key": self._signer.public_key,
            "entries": entries,
            "between": [digest_of(row.body.encode()) for row in rows[1:-1]],
        }

    def verify(self, connection: Connection, newest: int | None = None) -> int:
        """Checks the chain and every signature, of the `newest` entries or all; gives how many, raises DataError."""
        last = connection.scalar(select(func.max(ledger.c.seq))) or 0
        first = 1 if newest is None else max(last - newest + 1, 1)
        keys = Keys.of(self.key_changes(connection, first), self._signer.public_key)
        if keys.keys[-1] != self._signer.public_key:
            raise Tampered("the changes of the ledger's key do not end with the key of this installation")
        walk = Walk(keys.at(first), first - 1, START if first == 1 else None)
        for entry in read_entries(connection, first):
            walk.follow(entry)
        return walk.seq - first + 1


def entry_of(row: Row[Any]) -> Entry:
    """The entry in a row of the ledger; Malformed."""
    body = parse_json(row.body.encode(), ENTRY_BYTES_MAX)
    return Entry.of({"body": body, "previous": row.previous, "hash": row.hash, "signature": row.signature})


def read_entries(connection: Connection, first: int = 1) -> Iterator[Entry]:
    """Entries in their order, from number `first` on."""
    for row in connection.execute(select(ledger).where(ledger.c.seq >= first).order_by(ledger.c.seq)):
        yield entry_of(row)


def entries_of(connection: Connection, kind: str, first: int = 1) -> list[Entry]:
    """The entries of one type in their order, from number `first` on. Looks at all of them: some 10⁶ a second."""
    said = ledger.c.body.contains(f'"type":"{kind}"', autoescape=True)
    rows = connection.execute(select(ledger).where(ledger.c.seq >= first, said).order_by(ledger.c.seq))
    return [entry for entry in map(entry_of, rows) if entry.type == kind]


def newest_of(connection: Connection, kind: str) -> Entry | None:
    """The last entry of one type. Looks at all behind it: some 10⁶ a second."""
    said = ledger.c.body.contains(f'"type":"{kind}"', autoescape=True)
    for row in connection.execute(select(ledger).where(said).order_by(ledger.c.seq.desc())):
        if (entry := entry_of(row)).type == kind:
            return entry
    return None


def insert_entry(connection: Connection, entry: Entry) -> None:
    """Writes an entry as it was signed; whoever has not signed it himself has verified it."""
    text = {"previous": entry.previous, "hash": entry.hash, "signature": entry.signature}
    connection.execute(ledger.insert(), {"seq": entry.seq, "body": canonical(entry.body).decode()} | text)


def parse_certificate(text: bytes) -> dict[str, Any]:
    """A certificate from its file; Malformed if it is none."""
    document = parse_json(text, CERTIFICATE_BYTES_MAX)
    if not isinstance(document, dict):
        raise Malformed("a certificate is a JSON object")
    return document


def verify_certificate(document: dict[str, Any], fingerprint: str, key_changes: Sequence[Entry] = ()) -> list[str]:
    """Checks a certificate against the pinned fingerprint with nothing but itself; gives what it proves, in words.

    With the ledger's `key_changes` the fingerprint may be that of any key in their chain. Malformed: not a certificate.
    WrongKey: signed by another installation. Tampered: something was changed.
    """
    entries = _check_shape(document)
    keys = Keys.of(key_changes, document["public_key"])
    if not keys.includes(fingerprint_of(document["public_key"])) or not keys.includes(fingerprint.strip().lower()):
        raise WrongKey("the certificate is signed by another key than the pinned one")
    for entry in entries:
        verify_entry(entry, keys.at(entry.seq))
    try:
        return _proved(document, entries)
    except (LookupError, TypeError, AttributeError):  # it is signed, and yet says something else
        raise Malformed("the entries of a certificate say what was erased, why, and how") from None


def _proved(document: dict[str, Any], entries: Sequence[Entry]) -> list[str]:
    intent, done = (entry.body for entry in entries)
    reached = entries[0].hash
    for digest in document["between"]:
        reached = link(reached, digest)
    if reached != entries[1].previous or done["seq"] - intent["seq"] != len(document["between"]) + 1:
        raise Tampered("the two entries do not stand in one chain")
    if (intent["type"], done["type"]) != ("intent", "done"):
        raise Malformed("a certificate joins an INTENT and a DONE")
    if not {"target", "ground", "actor"} <= intent.keys() or not {"keys", "sanitization", "exceptions"} <= done.keys():
        raise Malformed("the entries of a certificate say what was erased, why, and how")
    if any(intent[member] != done[member] for member in ("erasure", "tenant")):
        raise Tampered("the two entries speak of different erasures")
    return _findings(intent, done)


def _findings(intent: Mapping[str, Any], done: Mapping[str, Any]) -> list[str]:
    findings = [
        f"{target_words(intent['target'])} of tenant {done['tenant']}: erasure {done['erasure']}",
        f"asked for at {intent['at']} by {intent['actor']}, ground: {intent['ground']}",
        f"done at {done['at']}; ledger entries {intent['seq']} and {done['seq']} are signed and stand in one chain",
    ]
    findings += [
        f"key {key['name']} destroyed at {key['destroyed_at']}, the provider answered: {key['answer']}; "
        f"a kept probe failed to open at {key['probe_failed_at']}"
        for key in done["keys"]
    ]
    findings += [f"{name}: {words}" for name, words in sorted(done["sanitization"].items())]
    findings += [f"excepted: {exception}" for exception in done["exceptions"]]
    findings.append(f"finality bound of the key provider: {done['finality']}")
    findings.append("no RFC 3161 stamp: the time rests on the operator's word")
    return findings


def target_words(target: dict[str, Any]) -> str:
    """What was erased, in a line."""
    scope, named = target["scope"], target.get("calls", [])
    details = [f"{name} {target[name]}" for name in ("participant", "purpose", "hold") if name in target]
    details += [f"{len(target[name])} {name}" for name in ("artefacts", "buckets") if name in target]
    details += [f"call {named[0]}"] if len(named) == 1 else [f"{len(named)} calls"] if named else []
    return " ".join([scope, *([f"({', '.join(details)})"] if details else [])])


def _check_shape(document: dict[str, Any]) -> tuple[Entry, Entry]:
    if set(document) != {"format", "public_key", "entries", "between"} or document["format"] != FORMAT:
        raise Malformed("not an erasure certificate of a version that is known here")
    entries, between = document["entries"], document["between"]
    if not isinstance(document["public_key"], str) or not isinstance(entries, list) or len(entries) != 2:
        raise Malformed("a certificate has a public key and two entries")
    if not isinstance(between, list) or not all(isinstance(d, str) and _DIGEST.match(d) for d in between):
        raise Malformed("the proof between the entries is a list of digests")
    return Entry.of(entries[0]), Entry.of(entries[1])
