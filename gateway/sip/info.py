"""INFO inside a dialog (RFC 6086): what it asks of the recording, keys that were pressed; held until it is answered.

Phones and PBXs send it as RFC 2976 had it, without an Info-Package, and so it is taken here; packages are refused by
the RFC's 469. What is asked of the recording:

    Record: on | off           a header, the body is empty: Yealink's and Snom's record key, as Asterisk takes it
    message/sipfrag            the same header as the body: what a B2BUA sends that keeps headers to itself

Keys: application/dtmf-relay (`Signal=5`, `Duration=160`) and application/dtmf (`5`, or the event's number).
An INFO that says nothing of all this is a sign of life, and answered at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.sip.dialog import Dialog, Question
from gateway.sip.endpoint import Endpoint
from gateway.sip.errors import Malformed
from gateway.sip.events import Informed
from gateway.sip.machines import GIVE_UP_S
from gateway.sip.message import Request
from gateway.sip.reply import Incoming
from gateway.sip.screening import Refusal
from gateway.sip.transaction import Transaction

BODY_BYTES_MAX = 1024  # a digit has some thirty; a larger body is no such thing: 413
DURATION_MS_MAX = 60_000  # a key that is held longer, or a number that is none, counts as this
OPEN_MAX = 4  # INFOs of one dialog that wait for the gateway: nobody presses faster; a further one gets 503
ANSWER_S_MAX = (
    GIVE_UP_S / 2
)  # one that the gateway leaves unanswered is answered 500: the peer's transaction still lives
SYMBOLS = "0123456789*#ABCD"  # by event number (RFC 4733 §3.2)
FLASH = frozenset({"16", "!", "F"})  # a hook flash is no digit

RECORD = {"on": True, "off": False}


@dataclass(frozen=True, slots=True, repr=False)
class Info:
    """What an INFO says. Its digit does not show in `repr`."""

    record: bool | None = None  # that the recording go on, or stand still; None: nothing of it
    digit: str = ""
    duration_ms: int = 0


def read(request: Request) -> Info | Refusal:
    """What the request says, or why it is refused."""
    if request.headers.first("Info-Package") is not None:
        return Refusal(469, (("Recv-Info", ""),))  # §4.2.2: we are willing to receive none
    if len(request.body) > BODY_BYTES_MAX:
        return Refusal(413)
    if request.body and any(coding != "identity" for coding in request.tokens("Content-Encoding")):
        return Refusal(415, (ACCEPT,))
    try:
        return _content(request)
    except Malformed as error:
        return Refusal(400, reason=f"Bad Request: {error.reason}")


def _content(request: Request) -> Info | Refusal:
    word = request.headers.first("Record")
    if word is not None:
        return Info(_record(word))
    if not request.body:
        return Info()
    reader = BODIES.get(request.media_type)
    return Refusal(415, (ACCEPT,)) if reader is None else reader(request.body)


class Infos:
    """Takes INFOs, and keeps those that the gateway must answer."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    def take(self, call: Dialog, request: Request, incoming: Incoming, transaction: Transaction, now: float) -> None:
        """One that is new and in order."""
        found = read(request)
        if isinstance(found, Refusal):
            self._endpoint.refuse(incoming, found, transaction, now)
        elif found.record is None and not found.digit:
            self._endpoint.respond(incoming, transaction, 200, now)
        elif len(call.questions) >= OPEN_MAX:
            self._endpoint.refuse(incoming, Refusal(503, (("Retry-After", "1"),)), transaction, now)
        else:
            seq = request.cseq.number
            call.questions[seq] = Question(incoming, transaction)
            self._endpoint.deadlines.set(now + ANSWER_S_MAX, ("info", call.number, seq))
            self._endpoint.events.append(Informed(call.number, seq, found.record, found.digit, found.duration_ms))

    def answer(self, call: Dialog, seq: int, status: int, now: float) -> bool:
        """The gateway's answer; False if it comes too late."""
        question = call.questions.pop(seq, None)
        if question is None:
            return False
        if status < 300:
            self._endpoint.respond(question.incoming, question.transaction, status, now)
        else:
            self._endpoint.refuse(question.incoming, Refusal(status), question.transaction, now)
        return True


def _record(word: str) -> bool:
    wish = RECORD.get(word.strip().lower())
    if wish is None:
        raise Malformed("Record is neither on nor off")
    return wish


def _fragment(body: bytes) -> Info:
    """One header line (RFC 3420)."""
    name, colon, word = body.decode("ascii", "replace").strip().partition(":")
    if not colon or name.strip().lower() != "record":
        raise Malformed("no Record in the fragment")
    return Info(_record(word))


def _relay(body: bytes) -> Info:
    """`name=value` lines."""
    lines = (line.partition("=") for line in body.decode("ascii", "replace").splitlines())
    fields = {name.strip().lower(): value.strip() for name, _, value in lines}
    duration = fields.get("duration", "")
    known = duration.isdecimal() and duration.isascii() and len(duration) <= 5
    duration_ms = min(int(duration), DURATION_MS_MAX) if known else (DURATION_MS_MAX if duration else 0)
    return Info(digit=_symbol(fields.get("signal", "")), duration_ms=duration_ms)


def _plain(body: bytes) -> Info:
    return Info(digit=_symbol(body.decode("ascii", "replace").strip()))


def _symbol(text: str) -> str:
    """The key; empty for a flash."""
    if text.upper() in FLASH:
        return ""
    if text.isdecimal() and text.isascii() and len(text) == 2 and int(text) < len(SYMBOLS):
        return SYMBOLS[int(text)]
    if len(text) != 1 or text.upper() not in SYMBOLS:
        raise Malformed("no key in the body")
    return text.upper()


BODIES: dict[str, Callable[[bytes], Info]] = {
    "application/dtmf-relay": _relay,
    "application/dtmf": _plain,
    "message/sipfrag": _fragment,
}
ACCEPT = ("Accept", ", ".join(BODIES))
