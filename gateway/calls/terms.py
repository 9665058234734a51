"""What a media worker is told of a leg: where its media comes from, in which codecs, how long it may be silent."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.calls.call import Call, Leg, Tap
from gateway.calls.keypresses import kept
from gateway.calls.numbers import reader_of
from gateway.calls.offer import OFFERED, OFFERED_EVENT_PT, codecs, hears, remote, reports, sends
from gateway.policy import Trunk
from gateway.tenants import Match, media_networks, within
from media.messages import Address, Open, Update
from media.sdp import SessionDescription, Terms, event_payload_type, redundancy_payload_type, shares_port


def terms(leg: Leg, trunk: Trunk, offer: SessionDescription | None) -> Update:
    """What the leg's m-line of the peer's description says of it; without a description nothing is taken yet.

    An address outside the trunk's media networks is nobody's: nothing is taken from it, and nothing sent there. Nor is
    one of another family than the leg's ports.
    """
    if offer is None:
        return Update(leg.number, OFFERED, None, True, OFFERED_EVENT_PT, False, trunk.quiet_s, leg.srtp)
    media = offer.media[leg.index]
    receiving = sends(offer, media)
    source, told, networks = remote(offer, media), reports(offer, media), _networks(leg, trunk)
    return Update(
        leg.number,
        codecs(media),
        remote=_within(source, networks),
        receiving=receiving,
        event_pt=event_payload_type(media),
        hears=hears(offer, media, receive_only=trunk.receive_only),
        quiet_s=trunk.quiet_s if receiving else trunk.quiet_held_s,
        red_pt=redundancy_payload_type(media),
        reports=_within(told, networks),
        srtp=leg.srtp,
        mux=shares_port(media),
    )


def media_terms(match: Match, dialled: str, *, secure: bool) -> Terms:
    """Whether keys and plain media are taken in a call to a Request-URI, that came over TLS or not.

    An emergency call is answered however its media comes.
    """
    emergency = reader_of(match.trunk.numbers).is_emergency(dialled, match.tenant.emergency)
    keys = secure or match.trunk.srtp_keys_over == "any"
    return Terms(keys=keys, plain=match.tenant.media_security == "any" or emergency)


def tapped(number: int, trunk: Trunk, tap: Tap) -> Update:
    """The same of a leg whose media a process of ours takes from the network: nobody else can send to it."""
    return Update(number, dict(tap.codecs), hears=False, quiet_s=trunk.quiet_s)


def opening(call: Call, leg: Leg, agreed: Update, *, answered: bool = True, continues: bool = False) -> Open:
    """The command that begins a leg on these terms; what is recorded has a sink, with the key it is sealed with.

    Unless `answered`, nobody has said yet where media comes from. `continues`: it takes over the stream, and the ports,
    of another leg of the call.
    """
    sink: dict[str, str] = {}
    if leg.artefact is not None:
        ref = leg.artefact.ref
        sink = {"tenant": ref.tenant, "call": ref.call, "participant": ref.participant, "artefact": ref.artefact}
        sink |= {"kind": ref.kind.value, "purpose": ref.purpose, "key": leg.artefact.key.reveal().hex()}
    return Open(
        leg=leg.number,
        codecs=agreed.codecs,
        event_pt=agreed.event_pt,
        remote=agreed.remote,
        reports=agreed.reports,
        nat=call.trunk.nat,
        networks=_networks(leg, call.trunk),
        origin_ns=call.origin_ns,
        sending=agreed.receiving,
        sink=sink,
        announce=call.announcement is not None,
        hears=agreed.hears,
        quiet_s=agreed.quiet_s,
        tapped=leg.tap is not None,
        red_pt=agreed.red_pt,
        srtp=agreed.srtp,
        mux=agreed.mux,
        answered=answered,
        continues=continues,
        paused=call.paused,
        keys=kept(call),
        mask=leg.artefact is not None and call.policy.dtmf_inband == "mask",
    )


def _within(place: Address | None, networks: Sequence[str]) -> Address | None:
    """A place that is within these networks, and not on one link alone."""
    return place if place is not None and "%" not in place[0] and within(place[0], networks) else None


def _networks(leg: Leg, trunk: Trunk) -> tuple[str, ...]:
    """Where the leg's media may come from, as far as its ports are of that family."""
    return tuple(network for network in media_networks(trunk) if (":" in network) is leg.pair.ipv6)
