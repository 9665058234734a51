"""What is clearly a price, a time, a year or a count, and therefore no number of anybody's.

Everything here is an exception to "any run of four or more digits is redacted", so each needs a sign of its own: a
unit, a currency, a colon, a preposition of time. A run in the answer to a question for a number has to show a unit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from transcription.redaction.runs import Form
from transcription.redaction.vocabulary import words

if TYPE_CHECKING:
    from transcription.redaction.context import Topic
    from transcription.redaction.runs import Part, Run
    from transcription.redaction.tokens import Line

NATURAL_DIGITS_MAX = 7
"""Counts and prices of ten million and more are not said on a customer's call; numbers of that length are ids."""

MONEY: Final = words(
    """
    euro euros eur cent cents dollar dollars bucks pound pounds pence quid franken
    """
)

TIME_UNITS: Final = words(
    """
    second seconds minute minutes hour hours day days week weeks weekdays month months year years o'clock am pm a.m
    p.m seconde seconden minuut minuten uur uren dag dagen werkdagen weken maand maanden jaar jaren sekunde sekunden
    stunde stunden uhr tag tage tagen werktage werktagen woche wochen monat monate monaten jahr jahre jahren
    """
)

COUNTED: Final = words(
    """
    people customers users guests employees times percent pieces items units boxes copies calls miles kilometers
    kilometres meters metres feet inches kilos kilograms grams liters litres degrees watts kilowatts megabytes
    gigabytes gigs points words pages steps mensen klanten gebruikers gasten medewerkers keer procent stuks dozen
    kilometer meter kilo gram liter graden watt kilowatt punten woorden pagina's leute menschen kunden personen
    gäste mitarbeiter mal prozent stück kisten kilometern metern grad kilowattstunden punkte seiten gigabyte
    megabyte
    """
)

UNITS: Final = MONEY | TIME_UNITS | COUNTED

ABOUT: Final = words(
    """
    about around roughly approximately nearly almost over ongeveer circa bijna ruim zowat etwa ungefähr rund knapp
    """
)

BEFORE_YEARS: Final = words(
    """
    in since until before after year sinds vanaf jaar seit bis jahr im vor nach
    """
)
BEFORE_TIMES: Final = words(
    """
    at from between until till to by om vanaf tussen tot rond um ab zwischen bis gegen
    """
)


def is_quantity(line: Line, run: Run, topic: Topic | None) -> bool:
    """Whether the run is clearly a price, a time, a year or a count."""
    if not all(_plain(part) for part in run.parts):
        return False
    before, after = line.word(run.first - 1), line.word(run.last + 1)
    whole = len(run.parts) <= 1 + run.conjunctions  # pieces side by side are dictated
    if whole and (after in UNITS or before in MONEY or all(part.quantity for part in run.parts)):
        return True
    if topic is not None:
        return False
    if before in BEFORE_YEARS and _is_year(run):
        return True
    return _is_time(line, run, before) or (whole and _is_count(run, before))


def _is_time(line: Line, run: Run, before: str) -> bool:
    """A time of day, or the span between two: "8:00", "from nine thirty to five"."""
    if {part.form for part in run.parts} == {Form.TIME} and len(run.parts) <= 1 + run.conjunctions:
        return ":" in line.tokens[run.first].bare or before in BEFORE_TIMES or len(run.parts) == 1
    spoken = all(part.form is Form.NATURAL and int(part.digits) < 60 for part in run.parts)
    return spoken and before in BEFORE_TIMES and run.conjunctions == 1 and len(run.parts) <= 4


def _is_count(run: Run, before: str) -> bool:
    """A price with cents, two small numbers with a word between them, or a number after "about"."""
    if all(part.form is Form.DECIMAL for part in run.parts):
        return True
    if run.conjunctions and all(len(part.digits) <= 2 for part in run.parts):
        return True
    return before in ABOUT


def _plain(part: Part) -> bool:
    if part.form in (Form.TIME, Form.DECIMAL, Form.RANGE, Form.ORDINAL):
        return True
    return part.form is Form.NATURAL and len(part.digits) <= NATURAL_DIGITS_MAX


def _is_year(run: Run) -> bool:
    """A year of this century or the last, written or said as two parts."""
    return len(run.digits) == 4 and run.digits[:2] in ("19", "20") and len(run.parts) <= 2
