"""National identity numbers, by their check digits (python-stdnum) or because one was asked for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from stdnum.be import nn as belgian_national
from stdnum.de import idnr as german_tax
from stdnum.gb import nhs as british_nhs
from stdnum.ie import pps as irish_pps
from stdnum.nl import bsn as dutch_bsn
from stdnum.us import ssn as american_ssn

from transcription.redaction.context import Topic
from transcription.redaction.digits import long_enough
from transcription.redaction.tokens import Match, languages_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transcription.redaction.dialogue import Dialogue

CATEGORY: Final = "ID"

CHECKS: Final[dict[str, tuple[Any, ...]]] = {
    "en": (british_nhs, irish_pps, american_ssn),
    "nl": (dutch_bsn, belgian_national),
    "de": (german_tax,),
}
"""Modules of stdnum with `is_valid`, for each language."""

LENGTHS: Final = range(8, 13)
"""From a Dutch number without its leading zero to the German pension insurance's."""

_SHAPES = re.compile(r"[A-Z]{2}\d{6}[A-D]|\d{2}\d{6}[A-Z]\d{3}")
"""British National Insurance number; German pension insurance number: letters make them unmistakable."""


def find(dialogue: Dialogue) -> Iterator[Match]:
    """Identity numbers said or written in any grouping."""
    for index, run in dialogue.all_runs():
        topic = dialogue.topics.at(index, run.first)
        if (topic is Topic.ID and long_enough(run, topic)) or is_identity(run.text.upper(), dialogue.language):
            yield Match(index, run.first, run.last, CATEGORY)


def is_identity(text: str, language: str) -> bool:
    """Whether letters and digits pass the check of a national number of the language's countries."""
    if len(text) not in LENGTHS:
        return False  # stdnum fills up with zeros what is too short
    if _SHAPES.fullmatch(text):
        return True
    return any(check.is_valid(text) for each in languages_of(language) for check in CHECKS[each])
