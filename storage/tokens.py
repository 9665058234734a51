"""Access tokens: who may do what for which tenant. Only hashes are stored, so the catalogue opens no door."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from sqlalchemy import select, update

from storage.catalogue import Catalogue
from storage.errors import NotFound, Refused
from storage.keys import unwrap, wrap
from storage.model import Secret, TenantId, new_id
from storage.tables import tokens

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

    def __init__(self, catalogue: Catalogue, label_key: Secret) -> None:
        self._catalogue = catalogue
        self._label_key = label_key

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
        """Ends a token by its id, at once; NotFound for another tenant's."""
        where = (tokens.c.id == token, tokens.c.tenant == tenant)
        with self._catalogue.writing() as connection:
            if connection.execute(update(tokens).where(*where).values(revoked=True)).rowcount == 0:
                raise NotFound(f"no token {token}")

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


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _aad(token: str) -> bytes:
    return b"callvault token label v1 " + token.encode()
