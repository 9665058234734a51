"""Calls whose two ends come in dialogs of their own (Cisco's near and far end): which dialogs belong together.

To everything behind, such a call has one description with an m-line for each end, of which one may be missing. Either
end may come first, and the call is there from then on. Its partner joins it, on a track of its own and on the same
clock, if it comes within `PARTNER_S` and while the call stands; later it is a call of its own. An end that hangs up
leaves the call to the other one; the last one ends it. No end is taken twice: a dialog that names one that has been
there is a new call, for which the next partner is.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from gateway.calls.call import Call, Leg
from gateway.calls.offer import DISCARD_PORT, OFFERED, OFFERED_EVENT_PT, labels_of
from gateway.ingest.keying import Keying
from gateway.ingest.negotiation import Negotiation
from gateway.media_settings import Media as MediaSettings
from gateway.sip.grammar import Address
from gateway.sip.message import Request
from gateway.sip.siprec.fork import End, forked
from gateway.tenants import Match
from media.sdp import PLAIN_RTP, Attribute, Media, Origin, SessionDescription

PARTNER_S = 64.0
"""Twice as long as an INVITE waits for an answer (RFC 3261 timer B): the client may have tried elsewhere first."""

Key = tuple[str, ...]

_ABSENT = Media("audio", 0, PLAIN_RTP, (str(min(OFFERED)),))
_NOBODY = Origin("-", "0", "0", "IP4", "0.0.0.0")  # noqa: S104  # an address in no socket


class Pair:
    """One call of two ends. `call` is set as soon as it is taken."""

    def __init__(self, key: Key, began: float) -> None:
        self.key = key
        self.began = began
        self.call: Call | None = None
        self.taken: set[End] = set()  # those that have been there
        self._media = {end: _labelled(end, _ABSENT) for end in End}

    def put(self, end: End, description: SessionDescription | None, line: int) -> SessionDescription:
        """An end's description, or that its client leaves the offer to us; gives the call's."""
        self.taken.add(end)
        self._media[end] = _labelled(end, _UNTOLD if description is None else _by_itself(description, line))
        return SessionDescription(_NOBODY, tuple(self._media[end] for end in End))

    def leave(self, end: End) -> None:
        """An end has hung up."""
        self._media[end] = replace(self._media[end], port=0)


@dataclass(frozen=True, slots=True)
class Seat:
    """A dialog's place in its call: which end it carries, by which m-line of its descriptions."""

    pair: Pair
    end: End
    line: int

    def put(self, description: SessionDescription | None) -> SessionDescription:
        """The call's description, now that this is the dialog's."""
        return self.pair.put(self.end, description, self.line)


class Pairs:
    """The pairs that stand, of each key the newest."""

    def __init__(self) -> None:
        self._newest: dict[Key, Pair] = {}

    def seat(self, match: Match, request: Request, offer: SessionDescription | None, now: float) -> Seat | None:
        """The place of a dialog that is a fork, None for others; a pair that has no `call` is a new one.

        Of an offer, that m-line is the end's which has a codec of ours; in the field there is one only.
        """
        fork = forked(request)
        if fork is None:
            return None
        key = (match.trunk.name, match.tenant.name, *fork.call)
        pair = self._newest.get(key)
        if pair is None or fork.end in pair.taken or now > pair.began + PARTNER_S or _is_over(pair):
            pair = self._newest[key] = Pair(key, now)
        return Seat(pair, fork.end, 0 if offer is None else next(iter(labels_of(offer)), 0))

    def refused(self, seat: Seat) -> None:
        """The dialog could not be taken: it may come again."""
        seat.pair.taken.discard(seat.end)
        seat.pair.leave(seat.end)
        if seat.pair.call is None:
            self.forget(seat.pair)

    def forget(self, pair: Pair) -> None:
        """The call is over."""
        if self._newest.get(pair.key) is pair:
            del self._newest[pair.key]

    def __len__(self) -> int:
        return len(self._newest)


class Dialog:
    """A SIP dialog and its call: all of it, or one end of a pair, which an m-line of the dialog's carries."""

    negotiation: Negotiation

    def __init__(self, call: Call, keying: Keying, media: MediaSettings, seat: Seat | None) -> None:
        self.call = call
        self.keying = keying
        self.seat = seat
        self._settings = media
        if self.legs:
            self.negotiate()

    def negotiate(self) -> None:
        """Begin with the places that the call has now."""
        self.negotiation = Negotiation(
            self.places(),
            self.keying,
            origin_id=int(self.call.id[:12], 16),
            receive_only=self.call.trunk.receive_only,
            repetition=self.call.policy.dtmf_inband == "keep",
            ipv6=bool(self._settings.address6),
        )

    @property
    def concerns(self) -> Collection[int] | None:
        """The call's m-lines that it says something of; None: all."""
        return None if self.seat is None else (self.seat.end,)

    @property
    def legs(self) -> list[Leg]:
        """Those that it brought."""
        return [leg for leg in self.call.legs if self.seat is None or leg.index == self.seat.end]

    def whole(self, description: SessionDescription) -> SessionDescription:
        """The call's description, now that this is the dialog's."""
        return description if self.seat is None else self.seat.put(description)

    def agree(self) -> None:
        """The keys that were agreed on in the dialog are those of its m-lines from now on."""
        agreed, seat = self.keying.agreed, self.seat
        self.call.srtp = agreed if seat is None else self.call.srtp | {int(seat.end): agreed.get(seat.line, {})}

    def places(self) -> dict[int, Address]:
        """What our descriptions name of its legs, by its m-lines."""
        names = self._settings.names
        return {
            leg.index if self.seat is None else self.seat.line: (names(ipv6=leg.pair.ipv6), leg.pair.port)
            for leg in self.legs
        }


def _is_over(pair: Pair) -> bool:
    return pair.call is None or pair.call.ending


def _by_itself(description: SessionDescription, line: int) -> Media:
    """An m-line with what holds for it and stands at the session."""
    media = description.media[line]
    direction = Attribute(description.direction(media).value)
    connection = media.connection or description.connection
    return replace(media, connection=connection, attributes=(*media.attributes, direction))


def _labelled(end: End, media: Media) -> Media:
    rest = tuple(attribute for attribute in media.attributes if attribute.name != "label")
    return replace(media, attributes=(Attribute("label", end.label), *rest))


_UNTOLD = Media(
    "audio",
    DISCARD_PORT,
    PLAIN_RTP,
    (*map(str, OFFERED), str(OFFERED_EVENT_PT)),
    attributes=(Attribute("rtpmap", f"{OFFERED_EVENT_PT} telephone-event/8000"),),
)
"""Of a client that answers our offer: what it may send until it has."""
