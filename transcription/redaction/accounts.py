"""Bank accounts: IBANs, national account numbers and sort codes.

The country letters and check digits are as often misheard as not ("in L91, a BNA 0417"), so letters and digits
together, where a bank account is spoken of, are enough.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from stdnum import iban

from transcription.redaction.context import Topic
from transcription.redaction.digits import long_enough
from transcription.redaction.quantities import is_quantity
from transcription.redaction.tokens import Match

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transcription.redaction.dialogue import Dialogue
    from transcription.redaction.runs import Run

CATEGORY: Final = "IBAN"

_SHAPE = re.compile(r"[A-Z]{2}\d{2}[A-Z0-9]{8,30}")
"""ISO 13616; shorter than the standard's shortest, because digits get lost in speech."""


def find(dialogue: Dialogue) -> Iterator[Match]:
    """Runs in the shape of an IBAN anywhere, and any number where an account is spoken of."""
    for index, run in dialogue.all_runs():
        topic = dialogue.topics.at(index, run.first)
        asked = topic is Topic.BANK and long_enough(run, topic)
        if (asked or is_iban(run)) and not is_quantity(dialogue.lines[index], run, topic):
            yield Match(index, run.first, run.last, CATEGORY)


def is_iban(run: Run) -> bool:
    """Whether the run has the check digits of an IBAN, or at least the shape."""
    text = run.text.upper()
    return bool(iban.is_valid(text)) or _SHAPE.search(text) is not None
