"""Whether a bucket is open to strangers, by its policy and its access list. Values in, answers out.

Our objects are ciphertext under random names; a public bucket would still show who was recorded how long and when,
and let strangers delete.
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Any
from xml.etree import ElementTree as ET  # bounded, from the operator's own store; expat limits expansion

DOCUMENT_BYTES_MAX = 1 << 16
"""A bucket policy has at most 20 KiB (AWS); a longer document is not one, and counts as open."""

_STRANGERS = ("/groups/global/AllUsers", "/groups/global/AuthenticatedUsers")


class Openness(StrEnum):
    """Who else may do something in the bucket."""

    CLOSED = "closed"
    CONDITIONAL = "conditional"  # everybody who meets conditions that we do not judge
    OPEN = "open"


def policy_openness(document: str) -> Openness:
    """What a bucket's policy allows to everybody. What is no policy counts as open: better refused and looked at."""
    if len(document) > DOCUMENT_BYTES_MAX:
        return Openness.OPEN
    try:
        statements = json.loads(document)["Statement"]
        found = statements if isinstance(statements, list) else [statements]
        open_to_all = [entry for entry in found if entry["Effect"] == "Allow" and _is_everybody(entry)]
        if all(entry.get("Condition") for entry in open_to_all):
            return Openness.CONDITIONAL if open_to_all else Openness.CLOSED
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return Openness.OPEN
    return Openness.OPEN


def is_open_list(document: bytes) -> bool:
    """Whether an access control list grants anything to everybody, or to everybody with an account somewhere."""
    if len(document) > DOCUMENT_BYTES_MAX:
        return True
    try:
        root = ET.fromstring(document)  # noqa: S314  # see the import
    except ET.ParseError:
        return True
    return any((element.text or "").strip().endswith(_STRANGERS) for element in root.iter())


def _is_everybody(statement: dict[str, Any]) -> bool:
    if "NotPrincipal" in statement:  # everybody but those
        return True
    principal = statement["Principal"]
    named = list(principal.values()) if isinstance(principal, dict) else [principal]
    flat = [name for entry in named for name in (entry if isinstance(entry, list) else [entry])]
    return "*" in flat
