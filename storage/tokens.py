"""Access tokens: who may do what for which tenant. Only hashes are stored, so the catalogue opens no door."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy import Connection, select, update

from storage.catalogue import Catalogue
from storage.errors import NotFound, Refused
from storage.keys import unwrap, wrap
from storage.ledger import Ledger
from storage.model import Secret, TenantId, new_id
from storage.tables import tokens

ENTRY = "revocation"
"""The type of the ledger's entries of this module."""

_TOKEN = re.compile(r"cv_([0-9a-f]{32})_([A-Za-z0-9_-]{43})\Z")
_LABEL_CHARS_MAX = 200
_ABSENT = bytes(32)


class Role(StrEnum):
    """What a token's bearer may do, for one tenant."""

    AGENT = "agent"  # list, redacted transcript, speech events, audio
    OFFICER = "officer"  # also originals, and erase
    ADMIN = "admin"  # all of the tenant
    OPERATOR = "operator"  # no tenant's: disclosure orders, breach cases, and nothing else
    WHIP = "whip"  # send a call's audio, and nothing else: for pages that anybody may open


class Bearer(NamedTuple):
    """Whom a token stands for."""

    tenant: TenantId
    role: Role
    token: str


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """A token as it is listed: everything but the token."""

    id: str
    tenant: TenantId
    role: Role
    label: str
    revoked: bool


class Tokens:
    """Makes, finds and revokes tokens. Labels are sealed, as people write names into them."""

    def __init__(
        self,
        catalogue: Catalogue,
        label_key: Secret,
        ledger: Ledger,
        keep: Callable[[], object],
        clock: Callable[[], float],
    ) -> None:
        """`keep` copies the ledger to the witness; `clock` gives Unix time."""
        self._catalogue = catalogue
        self._label_key = label_key
        self._ledger = ledger
        self._keep = keep
        self._clock = clock

    def create(self, tenant: TenantId, role: Role, label: str) -> str:
        """The token's text, which cannot be shown a second time."""
        if len(label) > _LABEL_CHARS_MAX:
            raise Refused(f"a label has at most {_LABEL_CHARS_MAX} characters")
        token, secret = new_id(), secrets.token_urlsafe(32)
        row = {
            "id": token,
            "hash": _hash(secret),
            "tenant": tenant,
            "role": role.value,
            "label": wrap(self._label_key.reveal(), label.encode(), _aad(token)),
            "revoked": False,
        }
        with self._catalogue.writing() as connection:
            connection.execute(tokens.insert(), row)
        return f"cv_{token}_{secret}"

    def lookup(self, text: str) -> Bearer | None:
        """Whom a token stands for; None for anything else. Secrets are compared in constant time."""
        match = _TOKEN.match(text)
        if match is None:
            return None
        with self._catalogue.reading() as connection:
            row = connection.execute(select(tokens).where(tokens.c.id == match[1])).first()
        known = hmac.compare_digest(_hash(match[2]), row.hash if row is not None else _ABSENT)
        if row is None or not known or row.revoked:
            return None
        return Bearer(TenantId(row.tenant), Role(row.role), row.id)

    def revoke(self, tenant: TenantId, token: str) -> None:
        """Ends a token by its id, at once and for good: the ledger's entry does it again after a restore.

        NotFound for another tenant's.
        """
        facts = {"tenant": tenant, "token": token}
        with self._catalogue.writing() as connection:
            if not replay(connection, facts):
                raise NotFound(f"no token {token}")
            self._ledger.append(connection, ENTRY, self._clock(), facts)
        self._keep()

    def list(self, tenant: TenantId) -> list[TokenRecord]:
        """All tokens of a tenant, revoked ones too."""
        with self._catalogue.reading() as connection:
            rows = connection.execute(select(tokens).where(tokens.c.tenant == tenant)).all()
        return [
            TokenRecord(
                id=row.id,
                tenant=TenantId(row.tenant),
                role=Role(row.role),
                label=unwrap(self._label_key.reveal(), row.label, _aad(row.id)).decode(),
                revoked=row.revoked,
            )
            for row in rows
        ]


def replay(connection: Connection, facts: Mapping[str, Any]) -> bool:
    """Does what an entry of this module tells, in a write transaction; False if there is no such token."""
    where = (tokens.c.id == facts["token"], tokens.c.tenant == facts["tenant"])
    return bool(connection.execute(update(tokens).where(*where).values(revoked=True)).rowcount)


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _aad(token: str) -> bytes:
    return b"callvault token label v1 " + token.encode()
