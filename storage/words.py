"""Words that are kept in clear for ever, in ledger and policies: grounds, actors, reasons. They name nobody."""

from __future__ import annotations

import re

from storage.errors import Refused

_WORDS = re.compile(r"[ -~]{1,200}\Z")
_PERSONAL = re.compile(r"@|sips?:|tel:|\d(?:[ ./-]?\d){5,}")
"""An address, or six digits in a row however they are spaced: nothing that a ground needs."""
_INNOCENT = re.compile(r"[0-9a-f]{32}|\b\d{4}-\d\d-\d\d\b")
"""Random identifiers and days are digits, too."""


def names_somebody(words: str) -> bool:
    """Whether words hold what could be a person's address or number."""
    return _PERSONAL.search(_INNOCENT.sub("", words)) is not None


def check_words(ground: str, actor: str) -> None:
    """Refused if ground or actor could not stand in a ledger for ever."""
    if names_somebody(ground) or names_somebody(actor):
        raise Refused("ground and actor are kept for ever: name no number, address or person in them")
    if not _WORDS.match(ground) or not _WORDS.match(actor):
        raise Refused("ground and actor are 1 to 200 printable ASCII characters")
