"""The ledger: what was erased when, hash-chained and signed, and the certificate that anybody can verify offline.

An entry's hash covers the previous entry's hash and the digest of its own body, so a certificate can prove that two
entries stand in one chain and show nothing of what others had erased between them. No personal data: random ids,
key names, counts, times, and a ground and an actor in a few words that may hold neither address nor number.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, func, select

from storage.errors import Malformed, NotFound, Tampered, WrongKey
from storage.signing import Signer, canonical, fingerprint_of, parse_json, verify_signature
from storage.tables import ledger
from storage.times import utc
from storage.words import check_words

__all__ = ["CERTIFICATE_BYTES_MAX", "FORMAT", "Ledger", "check_words", "parse_certificate", "verify_certificate"]

FORMAT = "callvault erasure certificate v1"
CERTIFICATE_BYTES_MAX = 1 << 20
"""A certificate is two entries and a few digests; more is not one."""

_LABEL = "callvault ledger v1"
_START = "0" * 64
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")
_ENTRY_MEMBERS = {"body", "previous", "hash", "signature"}


class Ledger:
    """Appends entries, and proves them."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer
        self.fingerprint = fingerprint_of(signer.public_key)

    def append(self, connection: Connection, kind: str, now_s: float, facts: dict[str, Any]) -> int:
        """Adds an entry within the caller's write transaction; gives its sequence number."""
        newest = connection.execute(select(ledger.c.seq, ledger.c.hash).order_by(ledger.c.seq.desc()).limit(1)).first()
        seq, previous = (newest.seq + 1, newest.hash) if newest else (1, _START)
        body = canonical({**facts, "seq": seq, "type": kind, "at": utc(now_s)})
        digest = _chain(previous, hashlib.sha256(body).hexdigest())
        signature = self._signer.sign(_LABEL, bytes.fromhex(digest))
        row = {"seq": seq, "body": body.decode(), "previous": previous, "hash": digest, "signature": signature}
        connection.execute(ledger.insert(), row)
        return seq

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
            "between": [hashlib.sha256(row.body.encode()).hexdigest() for row in rows[1:-1]],
        }

    def verify(self, connection: Connection, newest: int | None = None) -> int:
        """Checks the chain and every signature, of the `newest` entries or all; gives how many, raises DataError."""
        last = connection.scalar(select(func.max(ledger.c.seq))) or 0
        first = 1 if newest is None else max(last - newest + 1, 1)
        expected, previous = first, _START if first == 1 else None
        for entry in self._entries(connection, first):
            body = _verify_entry(entry, self._signer.public_key)
            if previous not in (None, entry["previous"]) or body.get("seq") != expected:
                raise Tampered(f"the ledger's chain is broken at entry {expected}")
            expected, previous = expected + 1, entry["hash"]
        return expected - first

    def _entries(self, connection: Connection, first: int) -> Iterator[dict[str, Any]]:
        for row in connection.execute(select(ledger).where(ledger.c.seq >= first).order_by(ledger.c.seq)):
            body = parse_json(row.body.encode(), CERTIFICATE_BYTES_MAX)
            entry = {"body": body, "previous": row.previous, "hash": row.hash, "signature": row.signature}
            _check_entry(entry)
            yield entry


def parse_certificate(text: bytes) -> dict[str, Any]:
    """A certificate from its file; Malformed if it is none."""
    document = parse_json(text, CERTIFICATE_BYTES_MAX)
    if not isinstance(document, dict):
        raise Malformed("a certificate is a JSON object")
    return document


def verify_certificate(document: dict[str, Any], fingerprint: str) -> list[str]:
    """Checks a certificate against the pinned fingerprint with nothing but itself; gives what it proves, in words.

    Malformed: not a certificate. WrongKey: signed by another installation. Tampered: something was changed.
    """
    _check_shape(document)
    if fingerprint_of(document["public_key"]) != fingerprint.strip().lower():
        raise WrongKey("the certificate is signed by another key than the pinned one")
    intent, done = (_verify_entry(entry, document["public_key"]) for entry in document["entries"])
    try:
        return _proved(document, intent, done)
    except (LookupError, TypeError, AttributeError):  # it is signed, and yet says something else
        raise Malformed("the entries of a certificate say what was erased, why, and how") from None


def _proved(document: dict[str, Any], intent: dict[str, Any], done: dict[str, Any]) -> list[str]:
    reached = document["entries"][0]["hash"]
    for digest in document["between"]:
        reached = _chain(reached, digest)
    if reached != document["entries"][1]["previous"] or done["seq"] - intent["seq"] != len(document["between"]) + 1:
        raise Tampered("the two entries do not stand in one chain")
    if (intent["type"], done["type"]) != ("intent", "done"):
        raise Malformed("a certificate joins an INTENT and a DONE")
    if not {"target", "ground", "actor"} <= intent.keys() or not {"keys", "sanitization", "exceptions"} <= done.keys():
        raise Malformed("the entries of a certificate say what was erased, why, and how")
    if any(intent[member] != done[member] for member in ("erasure", "tenant")):
        raise Tampered("the two entries speak of different erasures")
    return _findings(intent, done)


def _findings(intent: dict[str, Any], done: dict[str, Any]) -> list[str]:
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


def _check_shape(document: dict[str, Any]) -> None:
    if set(document) != {"format", "public_key", "entries", "between"} or document["format"] != FORMAT:
        raise Malformed("not an erasure certificate of a version that is known here")
    entries, between = document["entries"], document["between"]
    if not isinstance(document["public_key"], str) or not isinstance(entries, list) or len(entries) != 2:
        raise Malformed("a certificate has a public key and two entries")
    if not isinstance(between, list) or not all(isinstance(d, str) and _DIGEST.match(d) for d in between):
        raise Malformed("the proof between the entries is a list of digests")
    for entry in entries:
        _check_entry(entry)


def _check_entry(entry: object) -> None:
    if not isinstance(entry, dict) or set(entry) != _ENTRY_MEMBERS or not isinstance(entry["body"], dict):
        raise Malformed("not an entry of a ledger")
    if not all(isinstance(entry[name], str) and _DIGEST.match(entry[name]) for name in ("previous", "hash")):
        raise Malformed("not an entry of a ledger")


def _verify_entry(entry: dict[str, Any], public_key: str) -> dict[str, Any]:
    body: dict[str, Any] = entry["body"]
    if _chain(entry["previous"], hashlib.sha256(canonical(body)).hexdigest()) != entry["hash"]:
        raise Tampered("an entry's content does not match its hash")
    verify_signature(public_key, _LABEL, bytes.fromhex(entry["hash"]), entry["signature"])
    return body


def _chain(previous: str, digest: str) -> str:
    return hashlib.sha256(_LABEL.encode() + bytes.fromhex(previous) + bytes.fromhex(digest)).hexdigest()
