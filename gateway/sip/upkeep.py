"""Our own requests inside a dialog: refreshing the session timer (RFC 4028), probing a silent peer, taking leave.

A refresh is an UPDATE where the peer takes that, else a re-INVITE with our last description. What becomes of it:
2xx settles the timer anew; 422 repeats it with a longer interval; 491 repeats it after a while (RFC 3261 §14.1); an
UPDATE that the peer does not know after all becomes a re-INVITE; 408, 481 and no answer end the call (§12.2.1.2);
anything else is tried again at half of the time that is left. When the session is over, so is the call.
"""

from __future__ import annotations

from contextlib import suppress

from gateway.sip import session_timer
from gateway.sip.dialog import Dialog, Stage
from gateway.sip.endpoint import Endpoint
from gateway.sip.errors import Malformed
from gateway.sip.events import Agreed, Probed
from gateway.sip.message import Response
from gateway.sip.session_timer import MAX_S, Session
from gateway.sip.transaction import Transaction

RETRY_S_MIN = 8.0
"""The shortest wait before a refresh is tried again: some six tries in the half of an interval that is left."""

BUSY_S = 2.0
"""How long a re-INVITE of ours waits for another exchange in the dialog to end (§14.1: one INVITE at a time)."""

GLARE_BYTES = 2
"""Of chance in a back-off."""

EXPIRED = 'SIP;cause=408;text="session timer"'
"""Reason (RFC 3326) of a BYE for want of a refresh."""

UNKNOWN_METHOD = frozenset({405, 501})
"""How a peer says that it does not do UPDATE, whatever its Allow said."""

LOST = frozenset({408, 481})
"""What ends a call (§12.2.1.2)."""


def glare_s(chance: bytes, *, owner: bool) -> float:
    """How long to wait after 491 (§14.1), seconds in steps of 10 ms: whoever made the Call-ID waits longer."""
    number = int.from_bytes(chance, "big")
    return 2.1 + number % 191 / 100 if owner else number % 201 / 100


class Upkeep:
    """Keeps calls alive, and finds out which are dead."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    def probe(self, call: Dialog, now: float) -> bool:
        """Asks whether the peer still knows the call: OPTIONS, or UPDATE where it takes only that.

        False if the call does not stand, or a probe is under way.
        """
        if call.stage is not Stage.CONFIRMED or call.probe is not None:
            return False
        by_update = "UPDATE" in call.allows and "OPTIONS" not in call.allows
        headers = session_timer.asking(call.session, call.min_se) if by_update and call.session else ()
        call.probe = self._endpoint.ask(call, "UPDATE" if by_update else "OPTIONS", now, headers)
        return True

    def session_due(self, call: Dialog, now: float) -> None:
        """The dialog's session timer rings: to refresh, to try that again, or to hang up."""
        session = call.session
        if session is None or call.stage is not Stage.CONFIRMED:
            return
        if now >= session.over_at:
            self._endpoint.hang_up(call, "expired", now, EXPIRED)
        elif not session.ours or call.refresh is not None:
            self._endpoint.sessions.set(call.number, session.over_at)
        else:
            self._refresh(call, session, now)

    def answered(self, transaction: Transaction, response: Response, now: float) -> None:
        """A response to a request of ours."""
        call = self._endpoint.dialogs.get(transaction.user)
        final = response.status >= 200
        if call is None or not final:
            return
        method = response.cseq.method
        if method == "INVITE" and response.status < 300:
            if transaction is call.refresh:
                call.heard(response)
            self._endpoint.acknowledge(call, response.cseq.number)
        if method == "BYE":
            self._endpoint.forget(call, now)
        elif transaction is call.probe:
            self._probed(call, response, now)
        elif transaction is call.refresh:
            call.refresh = None
            if call.stage is Stage.CONFIRMED:
                self._refreshed(call, response, now)

    def gave_up(self, transaction: Transaction, now: float) -> None:
        """A request of ours got no answer at all."""
        call = self._endpoint.dialogs.get(transaction.user)
        if call is None or transaction.request is None:
            return
        if transaction.request.method == "BYE":
            self._endpoint.forget(call, now)
            return
        if transaction is call.probe:
            call.probe = None
            self._endpoint.events.append(Probed(call.number, 408))
        elif transaction is call.refresh:
            call.refresh = None
        if call.stage is Stage.CONFIRMED:
            self._endpoint.hang_up(call, "lost", now)

    def _refresh(self, call: Dialog, session: Session, now: float) -> None:
        by_update = "UPDATE" in call.allows
        if not by_update and (call.invitation or call.answers or call.open_offer):
            self._again_at(call, session, now + BUSY_S)
            return
        method, body = ("UPDATE", b"") if by_update else ("INVITE", call.sdp)
        headers = session_timer.asking(session, call.min_se)
        call.refresh = self._endpoint.ask(call, method, now, headers, body)
        self._endpoint.sessions.set(call.number, session.over_at)

    def _refreshed(self, call: Dialog, response: Response, now: float) -> None:
        """The final answer to a refresh."""
        session, status, by_update = call.session, response.status, response.cseq.method == "UPDATE"
        if status < 300:
            call.heard(response)
            self._endpoint.settle(call, session_timer.settled(response, now))
            if response.body and not by_update:
                self._endpoint.events.append(Agreed(call.number, response.body))
        elif status in LOST:
            self._endpoint.hang_up(call, "lost", now)
        elif session is None:
            pass  # it was ended meanwhile, by a 2xx of ours to the peer
        elif status == 491:
            wait_s = glare_s(self._endpoint.random(GLARE_BYTES), owner=call.placed)
            self._again_at(call, session, now + wait_s)
        elif by_update and status in UNKNOWN_METHOD:
            call.allows -= {"UPDATE"}
            self._refresh(call, session, now)
        elif status == 422 and self._longer(call, response):
            self._refresh(call, session, now)
        else:
            wait_s = (session.over_at - now) / 2
            self._again_at(call, session, now + wait_s if wait_s > RETRY_S_MIN else session.over_at)

    def _longer(self, call: Dialog, response: Response) -> bool:
        """Whether a 422 asks for more than the last one did, and for something bearable."""
        before = call.min_se
        with suppress(Malformed):
            call.min_se = max(before, session_timer.min_se(response.headers))
        if call.min_se > MAX_S:
            call.min_se = before
        return call.min_se > before

    def _again_at(self, call: Dialog, session: Session, at: float) -> None:
        self._endpoint.sessions.set(call.number, min(at, session.over_at))

    def _probed(self, call: Dialog, response: Response, now: float) -> None:
        call.probe = None
        self._endpoint.events.append(Probed(call.number, response.status))
        if call.stage is not Stage.CONFIRMED:
            return
        if response.status in LOST:
            self._endpoint.hang_up(call, "lost", now)
        elif response.cseq.method == "UPDATE" and response.status < 300:
            call.heard(response)
            self._endpoint.settle(call, session_timer.settled(response, now))
