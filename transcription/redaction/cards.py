"""Payment cards: their numbers, expiry dates and security codes.

A check digit that fits makes a run a card anywhere; one that does not fit is no reason to let it pass where a card
was spoken of, since a digit may be misheard.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from stdnum import luhn

from transcription.redaction.context import Topic
from transcription.redaction.digits import long_enough
from transcription.redaction.quantities import is_quantity
from transcription.redaction.tokens import Match

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transcription.redaction.dialogue import Dialogue

CATEGORY: Final = "CARD"

DIGITS: Final = range(13, 20)
"""Length of a card's number: ISO/IEC 7812-1 in practice."""


def find(dialogue: Dialogue) -> Iterator[Match]:
    """Runs with a card's check digit, and everything numeric where a card is spoken of."""
    for index, run in dialogue.all_runs():
        topic = dialogue.topics.at(index, run.first)
        asked = topic is Topic.CARD and long_enough(run, topic)
        if (asked or is_card(run.digits)) and not is_quantity(dialogue.lines[index], run, topic):
            yield Match(index, run.first, run.last, CATEGORY)


def is_card(digits: str) -> bool:
    """Whether the digits could be a card's whole number."""
    return len(digits) in DIGITS and bool(luhn.is_valid(digits))
