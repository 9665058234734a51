"""Confirmations: what was shown is what is carried out. Nothing is kept of one; the token is its own proof.

A token says until when it counts, and authenticates that and the exact set of calls under a secret of the installation.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Callable, Collection

from storage.envelope import length_prefixed
from storage.errors import Refused
from storage.model import CallId, Secret, TenantId

VALID_S = 900
"""Long enough to look at a list of calls, too short to lie about."""

_LABEL = b"callvault confirmation v1"
_FORM = struct.Struct(">Q32s")


class Confirmations:
    """Makes and checks them."""

    def __init__(self, secret: Secret, clock: Callable[[], float]) -> None:
        self._secret = secret
        self._clock = clock

    def token(self, tenant: TenantId, calls: Collection[CallId]) -> str:
        """For exactly these calls, for a quarter of an hour; 80 hexadecimal digits."""
        until = int(self._clock()) + VALID_S
        return _FORM.pack(until, self._tag(tenant, calls, until)).hex()

    def check(self, token: str, tenant: TenantId, calls: Collection[CallId]) -> None:
        """Refused if it is of another set, too old, or not ours."""
        try:
            until, tag = _FORM.unpack(bytes.fromhex(token))
        except (ValueError, struct.error):
            raise Refused(
                "this is no confirmation: ask for the match set, and send the token that comes with it"
            ) from None
        if not hmac.compare_digest(tag, self._tag(tenant, calls, until)):
            raise Refused("the confirmation is of another set of calls: look at the match set again")
        if until < self._clock():
            raise Refused(f"the confirmation is older than {VALID_S} s: look at the match set again")

    def _tag(self, tenant: TenantId, calls: Collection[CallId], until: int) -> bytes:
        digest = hashlib.sha256("".join(sorted(calls)).encode()).digest()
        message = length_prefixed(_LABEL, tenant.encode(), digest, struct.pack(">Q", until))
        return hmac.digest(self._secret.reveal(), message, "sha256")
