"""Whether a caller wants the own number kept from the called party: RFC 3323, RFC 3325, and what came before them."""

from __future__ import annotations

import re

from gateway.sip.errors import Malformed
from gateway.sip.grammar import NameAddr, Uri
from gateway.sip.message import Request

WITHHOLDING = frozenset({"id", "header", "user", "full"})
"""Values of Privacy that are about who calls (RFC 3323 §4.2, RFC 3325 §9.3; `full` is the field's). `session` is about
media addresses, `history` (RFC 7044) about diversions, `none` and `critical` withhold nothing."""

ANONYMOUS_USERS = frozenset({"anonymous", "restricted", "private", "unavailable", "unknown"})
"""User parts of From behind which nobody is to be sought: RFC 3323 §4.1.1.3 has the first, gateways the others."""

ANONYMOUS_HOST = "anonymous.invalid"

_RESTRICTED = re.compile(r";\s*privacy\s*=\s*\"?(?!off\b)[a-z]", re.IGNORECASE)
"""Of Remote-Party-ID, which gateways of before RFC 3325 still send."""


def is_private(request: Request) -> bool:
    """Whether the caller's number is withheld."""
    words = {
        word.strip().lower()
        for line in request.headers.all("Privacy")
        for value in line.split(",")
        for word in value.split(";")
    }
    if words & WITHHOLDING:
        return True
    if any(_RESTRICTED.search(line) for line in request.headers.all("Remote-Party-ID")):
        return True
    return is_anonymous(request.from_)


def is_anonymous(caller: NameAddr) -> bool:
    """Whether a From names nobody on purpose."""
    try:
        uri = Uri.parse(caller.uri)
    except Malformed:
        return False
    return uri.user.lower() in ANONYMOUS_USERS or uri.host.lower() == ANONYMOUS_HOST
