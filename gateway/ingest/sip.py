"""SIP calls: the user agent, its listeners and its timer, and what each of its events means for a call."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from gateway.calls.admission import Busy, Closed
from gateway.calls.call import Call
from gateway.calls.offer import answerable, reachable
from gateway.calls.switchboard import RETRY_AFTER_S, Switchboard
from gateway.calls.terms import media_terms
from gateway.config import Settings
from gateway.ingest.certificates import Contexts
from gateway.ingest.identity import Identity
from gateway.ingest.info import InfoService
from gateway.ingest.keying import Keying
from gateway.ingest.listeners import Listeners
from gateway.ingest.pairs import Dialog, Pairs, Seat
from gateway.ingest.parties import parties_of, user_of
from gateway.ingest.recording import recording_of
from gateway.ingest.registrars import Named
from gateway.ingest.warmup import warm_up
from gateway.sip.events import (
    Acknowledged,
    Agreed,
    Cancelled,
    Ended,
    Event,
    Informed,
    Invited,
    Probed,
    Reinvited,
    Told,
    Updated,
)
from gateway.sip.events import Settings as AgentSettings
from gateway.sip.flow import Flow
from gateway.sip.grammar import Address
from gateway.sip.registration import Standing
from gateway.sip.registrations import Registrations, Wanted
from gateway.sip.uas import UserAgent
from gateway.sip.upkeep import LOST
from gateway.tenants import Directory
from media.errors import Malformed, MediaError
from media.sdp import SessionDescription, parse
from storage.model import CallId

log = logging.getLogger(__name__)


class SipIngest:
    """All SIP calls. Everything runs on the event loop, one message at a time."""

    def __init__(self, settings: Settings, directory: Directory, switchboard: Switchboard) -> None:
        self._settings = settings
        self._switchboard = switchboard
        self._counted: Counter[str] = Counter()
        self._identity = Identity(settings, directory, secrets.token_bytes)
        limits = AgentSettings(max_dialogs=settings.sip.calls_max, session_s=settings.sip.session_s)
        self._agent = UserAgent(limits, secrets.token_bytes, self._identity)
        self._listeners = Listeners(settings, self._identity, self.receive, self._counted)
        self._dialogs: dict[int, Dialog] = {}
        self._of_call: dict[CallId, list[int]] = {}
        self._pairs = Pairs()
        self._early: dict[CallId, bytes] = {}  # our descriptions for calls that hear an announcement unanswered
        self._infos = InfoService(switchboard.pauses, switchboard.tasks, self._inform, self._counted)
        self.unregistered = asyncio.Event()
        """Set while no registration is being given up."""
        self._timer: asyncio.TimerHandle | None = None
        self._received = 0.0  # when the message came that is being worked on
        self.on_set_up: Callable[[float], None] = lambda seconds: None
        switchboard.hang_up = self.hang_up
        switchboard.probe = self.probe
        switchboard.announced = self.announced

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Address]:
        """Take calls until the end of the context; gives the address of `sip.listen`. Raises OSError."""
        async with self._listeners.open():
            yield self._listeners.address

    @property
    def directory(self) -> Directory:
        """Trunks and tenants in effect."""
        return self._identity.directory

    @directory.setter
    def directory(self, directory: Directory) -> None:
        """Others, from the next request on; calls that stand keep theirs."""
        self._identity.directory = directory

    def secure(self, contexts: Contexts | None) -> None:
        """Certificates of connections over TLS, from the next one on."""
        self._listeners.secure(contexts)

    @property
    def named(self) -> Named:
        """What peers call our listeners, once they are open."""
        return self._listeners.named

    @property
    def registrations(self) -> Registrations:
        """Ours, at registrars."""
        return self._agent.registrations

    def register(self, wanted: Wanted) -> None:
        """These accounts and no others, from now on."""
        self._agent.registrations.want(wanted, time.monotonic())
        self._pump()

    def receive(self, data: bytes, flow: Flow) -> None:
        """One message."""
        self._received = time.monotonic()
        self._agent.receive(data, flow, self._received)
        self._pump()

    @property
    def counters(self) -> Counter[str]:
        """What happened since the start: here, and in the user agent (its names begin with `sip_`)."""
        agent = Counter({f"sip_{name}": count for name, count in self._agent.counts.items()})
        return self._counted + self._identity.counters + agent

    def warm_up(self) -> None:
        """Take a call that nobody sees, so that the first real one does not pay for what is done once."""
        warm_up(self.directory, self._settings.media.named)

    def drain(self) -> None:
        """From now on new calls get 503, OPTIONS says so, and registrars are told that we go."""
        self.unregistered.clear()
        self._agent.draining = True
        self._agent.registrations.leave(time.monotonic())
        self._pump()
        self._switchboard.draining = True

    def hang_up(self, call: CallId) -> None:
        """Send BYE for a live call; its record follows."""
        self._each(call, self._agent.bye)

    def probe(self, call: CallId) -> None:
        """Ask the peers of a silent call whether it still stands; a dialog that is gone ends by it."""
        self._each(call, self._agent.probe)

    def _each(self, call: CallId, act: Callable[[int, float], object]) -> None:
        if dialogs := self._of_call.get(call):
            for dialog in list(dialogs):
                act(dialog, time.monotonic())
            self._pump()

    def hang_up_all(self) -> None:
        """BYE to every call."""
        for call in list(self._of_call):
            self.hang_up(call)

    def _pump(self) -> None:
        """Work off what the agent has to say, then set its timer."""
        while events := self._agent.take_events():
            for event in events:
                self._handle(event)
        self._flush()
        for changed in self._agent.registrations.changes(time.monotonic()):
            level = logging.INFO if changed.standing is Standing.REGISTERED else logging.WARNING
            told = {"trunk": changed.name, "standing": changed.standing.value, "status": changed.status}
            log.log(level, "registration", extra=told)
        if not self._agent.registrations.leaving:
            self.unregistered.set()
        deadline = self._agent.next_deadline()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if deadline is not None:
            delay = max(0.0, deadline - time.monotonic())
            self._timer = asyncio.get_running_loop().call_later(delay, self._on_timer)

    def _flush(self) -> None:
        for data, flow in self._agent.take_outgoing():
            self._listeners.send(data, flow)

    def _on_timer(self) -> None:
        self._timer = None
        self._agent.timers(time.monotonic())
        self._pump()

    def _handle(self, event: Event) -> None:
        """The outermost line of what an event brings about: a fault of ours ends its call and no other."""
        try:
            self._on_event(event)
        except Exception:
            self._counted["events_failed"] += 1
            log.exception("what a peer sent could not be handled, its call ends", extra={"dialog": event.dialog})
            self._agent.bye(event.dialog, time.monotonic())

    def _on_event(self, event: Event) -> None:
        match event:
            case Invited():
                self._on_invited(event)
            case Reinvited():
                self._on_reinvited(event)
            case Updated():
                self._on_updated(event)
            case Told():
                self._switchboard.streams.told(self._dialogs[event.dialog].call, event.request.metadata)
            case Acknowledged() | Agreed():
                self._on_answered(event)
            case Informed():
                dialog = self._dialogs[event.dialog]
                self._infos.serve(dialog.call, event, dialog.legs[0])
            case Probed():
                self._on_probed(event)
            case Ended():
                self._on_ended(event)
            case Cancelled():
                pass

    def _on_invited(self, event: Invited) -> None:
        now = time.monotonic()
        match = self.directory.within(event.granted.trunk, user_of(event.request.uri))
        if match is None:  # a trunk that went while its request was on the way
            self._counted["refused_unknown_source"] += 1
            self._agent.reject(event.dialog, 403, "Forbidden", now)
            return
        keying = Keying(media_terms(match, event.request.uri, secure=event.flow.secure), secrets.token_bytes)
        media = self._settings.media
        try:
            taken = keying.taken(parse(event.body)) if event.body else None
        except Malformed as error:
            self._counted["refused_sdp"] += 1
            self._agent.reject(event.dialog, 400, f"Bad SDP: {error}", now)
            return
        offer = None if taken is None else reachable(taken, ipv6=bool(media.address6))
        if not (keying.possible if offer is None else answerable(offer)):
            elsewhere = taken is not None and answerable(taken)
            self._counted["refused_family" if elsewhere else "refused_codec"] += 1
            warning = [("Warning", _NO_FAMILY if elsewhere else _NO_MEDIA)]
            self._agent.reject(event.dialog, 488, "Not Acceptable Here", now, headers=warning)
            return
        trusted, transport, found_by = match.trunk.trusted, event.flow.transport, match.trunk.found_by
        parties = parties_of(
            event.request, event.granted.source, trusted=trusted, transport=transport, found_by=found_by
        )
        seat = self._pairs.seat(match, event.request, offer, now)
        try:
            if seat is not None and seat.pair.call is not None:
                dialog, whole = self._join(seat.pair.call, seat, offer, keying), None
                dialog.call.joined.append(parties)
            else:
                whole = offer if seat is None else seat.put(offer)
                match, roster = recording_of(match, event.request, whole)
                ipv6 = bool(media.address6) and ":" in event.flow.remote[0]
                call = self._switchboard.begin(match, whole, parties, roster, ipv6=ipv6)
                dialog = Dialog(call, keying, self._settings.media, seat)
        except Busy as busy:
            if seat is not None:
                self._pairs.refused(seat)
            self._counted["refused_busy"] += 1
            self._counted[f"busy_{busy.reason.replace(' ', '_')}"] += 1
            log.warning("call refused", extra={"reason": busy.reason})
            if isinstance(busy, Closed):  # no other of ours would take it, so nobody is to try
                self._agent.reject(event.dialog, 403, "Forbidden", now)
                return
            retry = [("Retry-After", str(RETRY_AFTER_S))]
            self._agent.reject(event.dialog, 503, "Service Unavailable", now, headers=retry)
            return
        if seat is not None:
            seat.pair.call = dialog.call
        self._take(event, dialog, offer, whole)

    def _join(self, call: Call, seat: Seat, offer: SessionDescription | None, keying: Keying) -> Dialog:
        """The other end of a call that stands comes in a dialog of its own. Raises Busy."""
        dialog = Dialog(call, keying, self._settings.media, seat)
        if offer is None:
            keying.offer(seat.line)  # so that nothing plain is taken before we know
        else:
            keying.settle(offer)
        dialog.agree()
        self._switchboard.update(call, seat.put(offer), (), ())
        if not dialog.legs:
            raise Busy("no ports free")
        self._counted["dialogs_joined"] += 1
        dialog.negotiate()
        return dialog

    def _take(
        self, event: Invited, dialog: Dialog, offer: SessionDescription | None, whole: SessionDescription | None
    ) -> None:
        """Answer a dialog; a call begins with its first one, whose description is that of the `whole` call then."""
        call, begins = dialog.call, dialog.call.id not in self._of_call
        self._dialogs[event.dialog] = dialog
        self._of_call.setdefault(call.id, []).append(event.dialog)
        described = dialog.negotiation.offer() if offer is None else dialog.negotiation.answer(offer)
        dialog.agree()
        if begins:
            self._switchboard.answering(call)
        if begins and call.trunk.early_media and call.announcement is not None and offer is not None:
            self._early[call.id] = described
            self._agent.ring(event.dialog, time.monotonic(), described)
        else:
            self._agent.accept(event.dialog, described, time.monotonic())
        self._flush()
        self.on_set_up(time.monotonic() - self._received)
        if begins:
            self._switchboard.answered(call, whole)

    def announced(self, call: CallId) -> None:
        """The announcement is over, or cannot be played: a call that heard it in early media is answered now."""
        described = self._early.pop(call, None)
        if described is not None:
            self._agent.accept(self._of_call[call][0], described, time.monotonic())
            self._pump()

    def _on_reinvited(self, event: Reinvited) -> None:
        dialog = self._dialogs[event.dialog]
        now = time.monotonic()
        if not event.body:
            self._switchboard.streams.told(dialog.call, event.request.metadata)
            self._agent.accept(event.dialog, dialog.negotiation.offer(), now)
            return
        try:
            offer = dialog.negotiation.read(event.body)
        except Malformed as error:
            self._agent.reject(event.dialog, 400, f"Bad SDP: {error}", now)
        except MediaError as error:
            warning = [("Warning", f'399 callvault "{error}"')]
            self._agent.reject(event.dialog, 488, "Not Acceptable Here", now, headers=warning)
        else:
            self._agent.accept(event.dialog, self._taken(dialog, offer, event), now)

    def _on_updated(self, event: Updated) -> None:
        dialog = self._dialogs[event.dialog]
        try:
            offer = dialog.negotiation.read(event.body)
        except MediaError:
            self._agent.update(event.dialog, None, time.monotonic())
        else:
            described = self._taken(dialog, offer, event)
            self._agent.update(event.dialog, described, time.monotonic())

    def _taken(self, dialog: Dialog, offer: SessionDescription, event: Reinvited | Updated) -> bytes:
        """Our answer to an offer within the call, which holds from now on; its keys first, for legs that are new."""
        dialog.negotiation.keying.settle(offer)
        dialog.agree()
        self._switchboard.update(dialog.call, dialog.whole(offer), event.request.metadata, dialog.concerns)
        return dialog.negotiation.answer(offer, dialog.places())

    def _on_answered(self, event: Acknowledged | Agreed) -> None:
        """The peer's answer to our offer; one that cannot be used ends the call (RFC 3261 §14.1, §13.3.1)."""
        dialog = self._dialogs.get(event.dialog)
        if dialog is None or not event.body:
            return
        try:
            described = dialog.negotiation.answered(event.body)
            dialog.agree()
            self._switchboard.update(dialog.call, dialog.whole(described), (), dialog.concerns)
        except MediaError:
            self._counted["refused_answer"] += 1
            self._agent.bye(event.dialog, time.monotonic(), _BAD_ANSWER)

    def _inform(self, event: Informed, status: int) -> None:
        """Answer an INFO, at once or later; one whose dialog has ended meanwhile is answered."""
        self._agent.inform(event.dialog, event.seq, status, time.monotonic())
        self._pump()

    def _on_probed(self, event: Probed) -> None:
        dialog = self._dialogs.get(event.dialog)
        if dialog is not None and event.status not in LOST:
            self._switchboard.alive(dialog.call.id)

    def _on_ended(self, event: Ended) -> None:
        dialog = self._dialogs.pop(event.dialog, None)
        if dialog is None:
            return
        call, seat = dialog.call, dialog.seat
        left = self._of_call[call.id]
        left.remove(event.dialog)
        if left and seat is not None:
            seat.pair.leave(seat.end)
            self._switchboard.left(call, seat.end)
            return
        del self._of_call[call.id]
        self._early.pop(call.id, None)
        if seat is not None:
            self._pairs.forget(seat.pair)
            if seat.end.other not in seat.pair.taken:
                self._counted["partners_missing"] += 1
                self._switchboard.streams.missed(call, seat.end.other)
        self._switchboard.end(call, event.why)


_NO_MEDIA = '305 callvault "Incompatible media format: no codec that is taken, or not encrypted as it must be"'

_NO_FAMILY = '301 callvault "Incompatible network address format: media is not received over IPv6 here"'

_BAD_ANSWER = 'SIP;cause=488;text="the answer to the offer cannot be used"'
