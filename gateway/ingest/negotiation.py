"""One call's descriptions: what the peer offers or answers, and what we do (RFC 3264).

Our version number rises exactly when our description changes (§8), so that a peer that refreshes a session sees that
nothing did.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from gateway.calls.offer import OURS, answerable, maskable, parts_from, reachable
from gateway.ingest.keying import Keying
from gateway.sip.grammar import Address
from media.errors import Unsupported
from media.sdp import (
    PLAIN_RTP,
    SECURE_RTP,
    Direction,
    LocalMedia,
    Media,
    OfferedMedia,
    SessionDescription,
    answer,
    offer,
    parse,
    shares_port,
    taken_up,
)


class Negotiation:
    """The state of one call. `places` are our address and RTP port of its legs, by the index of their m-line; `keying`
    has its keys, and `ipv6` says whether there are places of IPv6 for further ones.
    """

    def __init__(
        self,
        places: Mapping[int, Address],
        keying: Keying,
        *,
        origin_id: int,
        receive_only: bool,
        masked: bool = True,
        ipv6: bool = False,
    ) -> None:
        self.keying = keying
        self._places = places
        self._origin_id = origin_id
        self._address = places[min(places)][0]
        self._receive_only = receive_only
        self._ipv6 = ipv6
        self._masked = masked  # keys' tones are to be silenced
        self._peers: SessionDescription | None = None
        self._ours: SessionDescription | None = None

    def answer(self, offered: SessionDescription, places: Mapping[int, Address] | None = None) -> bytes:
        """Our answer to the peer's offer, as `Keying.taken` or `read` left it; `places` where there are legs for other
        m-lines than before."""
        self._peers = offered
        self._places = self._places if places is None else places
        described = answer(
            offered,
            [self._local(index, media) for index, media in enumerate(offered.media)],
            origin_id=self._origin_id,
            origin_version=self._version,
            address=self._address,
            receive_only=self._receive_only,
        )
        return self._said(described)

    def offer(self) -> bytes:
        """Our offer, to a peer that leaves it to us: as many m-lines as there were, at first one for audio."""
        direction = Direction.RECVONLY if self._receive_only else Direction.SENDRECV
        lines = max(len(self._peers.media) if self._peers else 0, *(index + 1 for index in self._places))
        offered = [self._offered(index, direction) for index in range(lines)]
        described = offer(offered, origin_id=self._origin_id, origin_version=self._version, address=self._address)
        if self._peers is not None:
            described = replace(described, media=tuple(map(_as_before, described.media, self._peers.media)))
        return self._said(described)

    def read(self, body: bytes) -> SessionDescription:
        """A description that the call can go on with. Raises `Malformed`, or `Unsupported` where it cannot."""
        offered = parse(body)
        taken = reachable(self.keying.taken(maskable(offered) if self._masked else offered), ipv6=self._ipv6)
        return self._usable(taken)

    def _usable(self, described: SessionDescription) -> SessionDescription:
        if self._peers is not None and len(described.media) < len(self._peers.media):
            raise Unsupported("m-lines are missing")
        for index, (host, _) in self._places.items():
            if index < len(described.media) and parts_from(described, index, ipv6=":" in host):
                raise Unsupported("media cannot move between IPv4 and IPv6 within a call")
        if not answerable(described):
            raise Unsupported("no m-line has a codec of ours")
        return described

    def answered(self, body: bytes) -> SessionDescription:
        """The peer's answer to our offer. Raises as `read` does."""
        theirs = parse(body)
        taken = theirs if self._ours is None else taken_up(theirs, self._ours)
        self._peers = self._usable(self.keying.answered(taken))
        return self._peers

    def _local(self, index: int, media: Media) -> LocalMedia | None:
        place = self._places.get(index)
        if place is None or not media.port:
            return None
        return LocalMedia(place[1], self.keying.answer(index, media), place[0])

    def _offered(self, index: int, direction: Direction) -> OfferedMedia:
        """One m-line of ours; where keys may be left out it says so by its protocol (RFC 8643)."""
        lines = self.keying.offer(index) if index in self._places else ()
        protocol = PLAIN_RTP if self.keying.optional or not lines else SECURE_RTP
        before = self._peers.media[index] if self._peers is not None and index < len(self._peers.media) else None
        if before is not None and lines:
            protocol = before.protocol
        host, port = self._places.get(index, ("", 0))
        mux = before is not None and shares_port(before)
        return OfferedMedia(port, OURS, direction=direction, protocol=protocol, cryptos=lines, mux=mux, address=host)

    @property
    def _version(self) -> int:
        return 1 if self._ours is None else int(self._ours.origin.version)

    def _said(self, described: SessionDescription) -> bytes:
        if self._ours is not None and described != self._ours:
            origin = replace(described.origin, version=str(self._version + 1))
            described = replace(described, origin=origin)
        self._ours = described
        return described.to_bytes()


def _as_before(ours: Media, peers: Media) -> Media:
    """An m-line of an offer in a running call: a refused one stays what it was, a labelled one keeps its name."""
    if ours.port == 0:
        return Media(peers.kind, 0, peers.protocol, peers.formats)
    names = tuple(a for a in peers.attributes if a.name in {"label", "mid"} and a.value is not None)
    return replace(ours, attributes=(*names, *ours.attributes))
