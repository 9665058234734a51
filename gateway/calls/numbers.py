"""Telephone numbers as a trunk writes them, to E.164: country, prefixes, outside lines, tel URIs (RFC 3966).

Rules, in this order: the emergency list is asked first, about the number as it was dialled; a number in global form
(`+`) is read as it is; the longest fitting `strip` prefix goes, `prepend` comes before what is left; what is short is
an extension and left alone; an international prefix makes a global number; all else is read as the country's own, or
as that of its `phone-context`. What is no possible number is left as it was: nothing is ever lost or guessed.

Reading costs some 50 µs a number. A rule set has a version, a digest of its rules and of the numbering plans'
release, which call detail keeps: a number that was read by other rules can be told apart.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from urllib.parse import unquote

import phonenumbers

from gateway.policy import Numbering

RULES_VERSION = 1
"""Of the order above; goes up when it changes."""

CHARACTERS_MAX = 64
"""In a user part that is read as a number: E.164 has 15 digits, separators and escapes may treble that."""

DIGITS_MAX = 32
"""In a number with its prefixes; what is longer is left alone."""

READERS_MAX = 256  # rule sets at once: more trunks than that write numbers in the same few ways

SOS = "urn:service:sos"
"""RFC 5031 §4.2; its sub-services (`urn:service:sos.police`) count as well."""

_SEPARATORS = re.compile(r"[-.() ]")  # RFC 3966 §3, visual-separator; blanks are the field's addition
_NUMBER = re.compile(r"\+?[0-9*#]+\Z")
_DIGITS = re.compile(r"[0-9]+\Z")


class Form(StrEnum):
    """What a number turned out to be."""

    E164 = "e164"
    EXTENSION = "extension"  # short, of a private plan, or a service number
    OTHER = "other"  # a name, an anonymous caller, or nothing that the rules could read


@dataclass(frozen=True, slots=True)
class Number:
    """A number as it came and as it was read; `text` is E.164 where `form` says so, else the user part as it came."""

    original: str
    text: str
    form: Form


@dataclass(frozen=True, slots=True)
class _Written:
    """The parts of a URI that numbers are read from."""

    user: str
    digits: str  # without visual separators; empty where the user part is no number
    context: str  # phone-context: a global prefix, a domain, or nothing


class Reader:
    """Reads the numbers of one trunk by its rules. `version` names rules and numbering plans."""

    def __init__(self, rules: Numbering) -> None:
        self._rules = rules
        self._strip = tuple(sorted(rules.strip, key=len, reverse=True))
        self._international = tuple(sorted(rules.international, key=len, reverse=True))
        facts = {"order": RULES_VERSION, "plans": phonenumbers.__version__, "rules": rules.model_dump(mode="json")}
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
        self.version = f"{RULES_VERSION}-{digest[:12]}"
        if rules.country:
            _possible("1", rules.country)  # reads the country's plan now, not during the first call

    def read(self, uri: str) -> Number:
        """The number in a `tel:`, `sip:` or `sips:` URI. Never raises; other URIs are `OTHER`."""
        written = _written(uri)
        if not written.digits:
            return Number(written.user, written.user, Form.OTHER)
        found = self._e164(written)
        if found:
            return Number(written.user, found, Form.E164)
        digits = self._stripped(written.digits)
        short = _DIGITS.match(digits) is not None and len(digits) <= self._rules.extension_digits_max
        return Number(written.user, written.user, Form.EXTENSION if short else Form.OTHER)

    def is_emergency(self, uri: str, listed: Sequence[str]) -> bool:
        """Whether an emergency service was called: by URN, or by a listed number as dialled, an outside line apart."""
        if uri[: len(SOS)].lower() == SOS and uri[len(SOS) :][:1] in ("", ".", ";"):
            return True
        digits = _written(uri).digits
        return digits in listed or self._stripped(digits) in listed

    def _stripped(self, digits: str) -> str:
        """Without the longest prefix of an outside line or carrier; never down to nothing."""
        if digits.startswith("+"):
            return digits
        return next((digits[len(p) :] for p in self._strip if digits.startswith(p) and len(digits) > len(p)), digits)

    def _e164(self, written: _Written) -> str:
        """E.164, or nothing where the number is none, is short, or belongs to a private plan."""
        rules = self._rules
        if written.digits.startswith("+"):
            return _possible(written.digits, None)
        if written.context.startswith("+"):
            return _in_context(written.digits, written.context)
        if written.context:
            return ""  # a domain's own numbering plan (RFC 3966 §5.1.5)
        digits = self._stripped(written.digits)
        return "" if len(digits) <= rules.extension_digits_max else self._dialled(rules.prepend + digits)

    def _dialled(self, digits: str) -> str:
        """E.164 of what a subscriber of the trunk's country would dial, or nothing."""
        rules = self._rules
        if digits.startswith("+"):
            return _possible(digits, None)
        for prefix in self._international:
            if digits.startswith(prefix):
                return _possible("+" + digits[len(prefix) :], None)
        if rules.national and digits.startswith(rules.national):
            digits = digits[len(rules.national) :]
        return _possible(digits, rules.country) if rules.country else ""


@lru_cache(maxsize=READERS_MAX)
def reader_of(rules: Numbering) -> Reader:
    """The reader of a trunk's rules; made once for equal rules."""
    return Reader(rules)


def _written(uri: str) -> _Written:
    scheme, _, rest = uri.partition(":")
    scheme = scheme.lower()
    if scheme == "tel":
        user, _, tail = rest.partition(";")
    elif scheme in ("sip", "sips"):
        # The user part of a telephone number carries that number's parameters (RFC 3261 §19.1.6).
        userinfo, at, host = rest.rpartition("@")
        user, _, tail = userinfo.partition(";") if at else ("", "", "")
        user = user.partition(":")[0]
        tail = tail or host.partition(";")[2].partition("?")[0]  # the field puts phone-context behind the host too
    else:
        return _Written("", "", "")
    user = unquote(user[: 3 * CHARACTERS_MAX])
    bare = _SEPARATORS.sub("", user) if len(user) <= CHARACTERS_MAX else ""
    digits = bare if _NUMBER.match(bare) and len(bare) <= DIGITS_MAX else ""
    return _Written(user, digits, _context(tail))


def _context(parameters: str) -> str:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "phone-context":
            value = unquote(value.strip())[:CHARACTERS_MAX]
            return _SEPARATORS.sub("", value) if value.startswith("+") else value
    return ""


def _in_context(digits: str, context: str) -> str:
    """A local number within a global prefix: in that country's writing, else as what follows the prefix.

    RFC 3966 §5.1.5 does not say that the two are to be joined: `863-1234;phone-context=+1-914-555` is no longer a
    number when they are, `7042;phone-context=+1-914-555` is one.
    """
    joined = _possible(context + digits, None)
    if joined:
        return joined
    try:
        code = phonenumbers.parse(context + "0000000", None).country_code or 0
    except phonenumbers.NumberParseException:
        return ""
    return _possible(digits, phonenumbers.region_code_for_country_code(code))


def _possible(digits: str, region: str | None) -> str:
    """E.164 if a number of that length can exist there. Possible, not valid: plans change faster than releases."""
    if not _DIGITS.match(digits.removeprefix("+")):
        return ""
    try:
        number = phonenumbers.parse(digits, region)
    except phonenumbers.NumberParseException:
        return ""
    if phonenumbers.is_possible_number_with_reason(number) != phonenumbers.ValidationResult.IS_POSSIBLE:
        return ""
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
