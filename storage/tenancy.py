"""Tenants by their names. A name itself is not stored, only a keyed tag of it."""

from __future__ import annotations

import hashlib
import hmac

from sqlalchemy import select

from storage.catalogue import Catalogue
from storage.errors import Refused
from storage.model import Secret, TenantId, new_id
from storage.tables import tenants

_NAME_CHARS_MAX = 200


class Tenancy:
    """Names to ids; thread-safe, since an id never changes."""

    def __init__(self, catalogue: Catalogue, tag_key: Secret) -> None:
        self._catalogue = catalogue
        self._tag_key = tag_key
        self._known: dict[str, TenantId] = {}

    def id_of(self, name: str) -> TenantId:
        """The tenant of that name, made at its first use; Refused for what can be none."""
        if name in self._known:
            return self._known[name]
        if not 0 < len(name) <= _NAME_CHARS_MAX:
            raise Refused(f"a tenant's name has 1 to {_NAME_CHARS_MAX} characters")
        tag = hmac.digest(self._tag_key.reveal(), name.encode(), hashlib.sha256)
        query = select(tenants.c.id).where(tenants.c.tag == tag)
        with self._catalogue.reading() as connection:
            found = connection.scalar(query)
        if found is None:
            with self._catalogue.writing() as connection:
                found = connection.scalar(query)
                if found is None:
                    found = new_id()
                    connection.execute(tenants.insert(), {"id": found, "tag": tag, "fence": 0, "turn": 0})
        self._known[name] = TenantId(found)
        return self._known[name]
