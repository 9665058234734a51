"""The chain of the ledger's entries, as values: what an entry is, how one follows the other, and whose key signs it.

    hash(n)      = SHA-256(label ‖ hash(n-1) ‖ SHA-256(body))
    signature(n) = Ed25519(label ‖ 00 ‖ hash(n))

A `key_change` is signed by the key that ends and carries the consent of the key that begins, so the chain of keys can
be followed in both directions; every entry after it is signed by the new one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from storage.errors import Malformed, Tampered
from storage.signing import Signer, canonical, fingerprint_of, parse_json, verify_signature

START = "0" * 64
"""The hash before the first entry."""
ENTRY_BYTES_MAX = 1 << 20
KEY_CHANGE = "key_change"

_LABEL = "callvault ledger v1"
_CONSENT_LABEL = "callvault key change v1"
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")
_MEMBERS = {"body", "previous", "hash", "signature"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry as it was signed. Make one with `parse` or `of`, which check its shape and nothing else."""

    body: Mapping[str, Any]
    previous: str
    hash: str
    signature: str

    @classmethod
    def of(cls, members: object) -> Self:
        """From its JSON object; Malformed."""
        if not isinstance(members, dict) or set(members) != _MEMBERS or not isinstance(members["body"], dict):
            raise Malformed("not an entry of a ledger")
        if not all(isinstance(members[name], str) and _DIGEST.match(members[name]) for name in ("previous", "hash")):
            raise Malformed("not an entry of a ledger")
        body = members["body"]
        seq = body.get("seq")
        if isinstance(seq, bool) or not isinstance(seq, int) or seq < 1 or not isinstance(body.get("type"), str):
            raise Malformed("an entry of a ledger has a number and a type")
        if not isinstance(members["signature"], str):
            raise Malformed("not an entry of a ledger")
        return cls(body, members["previous"], members["hash"], members["signature"])

    @classmethod
    def parse(cls, text: bytes) -> Self:
        """From its file; Malformed."""
        return cls.of(parse_json(text, ENTRY_BYTES_MAX))

    def members(self) -> dict[str, Any]:
        """Its JSON object."""
        return {
            "body": dict(self.body),
            "previous": self.previous,
            "hash": self.hash,
            "signature": self.signature,
        }

    def encode(self) -> bytes:
        """Its file: canonical JSON."""
        return canonical(self.members())

    @property
    def seq(self) -> int:
        """Its number, from 1."""
        found: int = self.body["seq"]
        return found

    @property
    def type(self) -> str:
        """What it says."""
        found: str = self.body["type"]
        return found


def digest_of(body: bytes) -> str:
    """What stands for a body in the chain and in a certificate's proof."""
    return hashlib.sha256(body).hexdigest()


def link(previous: str, digest: str) -> str:
    """The hash of the entry with this body's digest that follows `previous`."""
    return hashlib.sha256(_LABEL.encode() + bytes.fromhex(previous) + bytes.fromhex(digest)).hexdigest()


def sign_entry(signer: Signer, previous: str, body: Mapping[str, Any]) -> Entry:
    """The entry with this body, which has its number in it."""
    hashed = link(previous, digest_of(canonical(body)))
    return Entry(body, previous, hashed, signer.sign(_LABEL, bytes.fromhex(hashed)))


def verify_entry(entry: Entry, public_key: str) -> None:
    """Tampered if body, hash and signature do not belong together under this key."""
    if link(entry.previous, digest_of(canonical(entry.body))) != entry.hash:
        raise Tampered("an entry's content does not match its hash")
    verify_signature(public_key, _LABEL, bytes.fromhex(entry.hash), entry.signature)


class Walk:
    """Follows the chain, entry by entry, from a place where hash and signing key are known."""

    def __init__(self, key: str, seq: int = 0, previous: str | None = START) -> None:
        """`seq` and `previous` are those of the last entry that is taken for granted; None: any hash."""
        self.key = key
        self.seq = seq
        self.hash = previous

    def follow(self, entry: Entry) -> None:
        """The next entry; Tampered unless it is that, signed by the key of its place in the chain."""
        verify_entry(entry, self.key)
        if entry.seq != self.seq + 1 or self.hash not in (None, entry.previous):
            raise Tampered(f"the ledger's chain is broken at entry {self.seq + 1}")
        self.seq, self.hash = entry.seq, entry.hash
        if entry.type == KEY_CHANGE:
            self.key = check_key_change(entry)


def key_change_facts(old: str, new: Signer, seq: int) -> dict[str, Any]:
    """What the entry `seq` of type `key_change` says, but for what the installation adds."""
    consent = new.sign(_CONSENT_LABEL, _consent(old, new.public_key, seq))
    return {"old_key": old, "new_key": new.public_key, "consent": consent}


def check_key_change(entry: Entry) -> str:
    """The key that begins with this entry; Malformed or Tampered unless both keys agree."""
    old, new, consent = (entry.body.get(name) for name in ("old_key", "new_key", "consent"))
    if entry.type != KEY_CHANGE or not isinstance(old, str) or not isinstance(new, str):
        raise Malformed("not a change of the ledger's key")
    verify_entry(entry, old)
    verify_signature(new, _CONSENT_LABEL, _consent(old, new, entry.seq), consent)
    return new


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys that signed the ledger, one after the other: those from `since[n]` + 1 on are `keys[n]`'s."""

    keys: tuple[str, ...]
    since: tuple[int, ...]

    @classmethod
    def of(cls, changes: Iterable[Entry], only: str) -> Self:
        """The keys that these changes tell of, or the `only` one if there are none; Tampered if they are no chain."""
        keys: list[str] = []
        since = [0]
        for entry in sorted(changes, key=lambda change: change.seq):
            new, old = check_key_change(entry), str(entry.body["old_key"])
            if keys and keys[-1] != old:
                raise Tampered("the changes of the ledger's key do not make one chain")
            keys = keys or [old]
            keys.append(new)
            since.append(entry.seq)
        return cls(tuple(keys or [only]), tuple(since))

    def at(self, seq: int) -> str:
        """The key that signs this entry."""
        return next(key for key, since in zip(reversed(self.keys), reversed(self.since), strict=True) if since < seq)

    def includes(self, fingerprint: str) -> bool:
        """Whether one of them has this fingerprint."""
        return any(fingerprint_of(key) == fingerprint for key in self.keys)


def _consent(old: str, new: str, seq: int) -> bytes:
    return canonical({"old_key": old, "new_key": new, "seq": seq})


def parse_key_changes(text: bytes) -> Sequence[Entry]:
    """The entries in a file that `callvault ledger keys` wrote; Malformed."""
    found = parse_json(text, ENTRY_BYTES_MAX)
    if not isinstance(found, list):
        raise Malformed("changes of the ledger's key are a list of entries")
    return [Entry.of(members) for members in found]
