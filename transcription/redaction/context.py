"""What the talk is about: words that say which number, date or name comes next, in this line or in the one before.

The agent asks for a telephone number and the caller answers with nothing but digits: so a line's topics also hold for
the two lines after it.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from enum import StrEnum
from operator import itemgetter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transcription.redaction.tokens import Line

NEAR_TOKENS = 14
"""How far ahead a topic word reaches inside its line: "my number, in case we get cut off, is …"."""

BEHIND_TOKENS = 2
"""How far behind a number its topic may stand: "0612 … is my number"."""

LINES_BACK = 2
"""How many lines a question reaches ahead: the answer may come after an "uh" or an echo."""


class Topic(StrEnum):
    """What is being asked or told."""

    PHONE = "PHONE"
    CARD = "CARD"
    BANK = "BANK"
    ID = "ID"
    BIRTH = "BIRTH"
    NUMBER = "NUMBER"
    EMAIL = "EMAIL"
    NAME = "NAME"
    ADDRESS = "ADDRESS"


WORDS: Final = {
    # Order matters: the first that matches a word wins, so NUMBER's wide patterns come last.
    Topic.BIRTH: r"born|birth\w*|dob|geboren\w*|geboorte\w*|verjaar\w*|jarig|geburts\w*",
    Topic.EMAIL: r"e-?mail\w*|e-?mail-?adress?e?|mail|mailadres\w*|mailen",
    Topic.PHONE: (
        r"\w*phone\w*|mobile|cell|landline|call|calls|ring|reach|dial|whatsapp|fax|extension|area"
        r"|telefoon\w*|mobiel\w*|bellen|bereiken|bereikbaar|bereik|toestel\w*|06-?nummer"
        r"|telefon\w*|handy\w*|mobil\w*|rufnummer|rückruf\w*|erreich\w*|anrufen|durchwahl|vorwahl"
    ),
    Topic.CARD: (
        r"cards?|visa|mastercard|amex|maestro|credit|debit|cvc|cvv|expir\w*|expiry|security"
        r"|\w*kaart|kaartnummer\w*|creditcard\w*|pasnummer|vervaldatum"
        r"|\w*karte|kartennummer\w*|kreditkarten\w*|prüfziffern?|prüfnummer|ablaufdatum"
    ),
    Topic.BANK: (
        r"iban|bank|account|sort|routing|bic|swift|\w*rekening\w*|konto\w*|bankverbindung|bankleitzahl|blz|bankkonto\w*"
    ),
    Topic.ID: (
        r"passport|insurance|nhs|ssn|social|licen[cs]e|pps|bsn|burgerservice\w*|sofi\w*|paspoort\w*|rijbewijs\w*"
        r"|identiteits\w*|\w*ausweis\w*|steuer\w*|sozialversicherungs\w*|rentenversicherungs\w*|reisepass\w*"
        r"|führerschein\w*|versicherten\w*|krankenversicherungs\w*"
    ),
    Topic.NAME: (
        r"names?|surname|speaking|naam|namen|achternaam|voornaam|heet|spreek|\w*nachname|\w*vorname|heissen|spreche"
    ),
    Topic.ADDRESS: r"address|live|postcodes?|zip|adres|woon|woont|huisnummer|adresse|wohne|wohnt|postleitzahl|plz",
    Topic.NUMBER: (
        r"numbers?|digits|reference|pin|\w*code|codes|plate|registration|policy|ticket|order|serial"
        r"|\w*nummers?|\w*nummern|\w*cijfers?|\w*ziffern?|\w*cijferreeks|\w*zeichen|kenteken|referentie|dossier\w*"
        r"|pincode|geheimzahl|vorgangs\w*|\w*-?nr"
    ),
}

_PATTERNS: Final = {topic: re.compile(rf"(?:{pattern})\Z") for topic, pattern in WORDS.items()}

NUMERIC: Final = frozenset({Topic.PHONE, Topic.CARD, Topic.BANK, Topic.ID, Topic.BIRTH, Topic.NUMBER})
"""Topics that are answered with digits."""


def topic_of(word: str) -> Topic | None:
    """The topic that a lower-case word opens."""
    for topic, pattern in _PATTERNS.items():
        if pattern.match(word):
            return topic
    return None


class Topics:
    """The topics of a dialogue, looked up by place."""

    def __init__(self, lines: Sequence[Line]) -> None:
        self._lines = lines
        self._asked: dict[tuple[int, frozenset[Topic]], Topic | None] = {}
        self._opened = [
            [(index, topic) for index, token in enumerate(line.tokens) if (topic := topic_of(token.word)) is not None]
            for line in lines
        ]

    def at(self, line: int, token: int, among: frozenset[Topic] = NUMERIC) -> Topic | None:
        """The topic that holds at a token: the nearest before it in its line, else what the lines before asked.

        A plain "number" gives way to what says which number: "the number of your card".
        """
        opened = self._opened[line]
        first = bisect_left(opened, token - NEAR_TOKENS, key=itemgetter(0))
        last = bisect_right(opened, token + BEHIND_TOKENS, key=itemgetter(0))
        near = [topic for index, topic in opened[first:last] if topic in among and self._near(line, index, token)]
        return _sharpest(near) if near else self.asked(line, among)

    def _near(self, line: int, topic: int, token: int) -> bool:
        """Whether a topic word reaches a token: before it, or right behind it in the same sentence."""
        return not any(each.ends_sentence for each in self._lines[line].tokens[token:topic])

    def asked(self, line: int, among: frozenset[Topic] = NUMERIC) -> Topic | None:
        """The topic that the lines before opened last."""
        if (line, among) not in self._asked:
            self._asked[line, among] = self._look_back(line, among)
        return self._asked[line, among]

    def _look_back(self, line: int, among: frozenset[Topic]) -> Topic | None:
        for back in range(line - 1, max(line - 1 - LINES_BACK, -1), -1):
            topics = [topic for _index, topic in self._opened[back] if topic in among]
            if topics:
                return _sharpest(topics)
        return None


def _sharpest(topics: Sequence[Topic]) -> Topic:
    sharp = [topic for topic in topics if topic is not Topic.NUMBER]
    return sharp[-1] if sharp else topics[-1]
