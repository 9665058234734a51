"""One call's descriptions: what the peer offers or answers, and what we do (RFC 3264).

Our version number rises exactly when our description changes (§8), so that a peer that refreshes a session sees that
nothing did.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from gateway.calls.offer import OURS, answerable
from gateway.ingest.keying import Keying
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
)


class Negotiation:
    """The state of one call. `ports` are those of its legs, by the index of their m-line; `keying` has its keys."""

    def __init__(
        self,
        ports: Mapping[int, int],
        keying: Keying,
        *,
        origin_id: int,
        address: str,
        receive_only: bool,
        repetition: bool = False,
    ) -> None:
        self.keying = keying
        self._ports = ports
        self._origin_id = origin_id
        self._address = address
        self._receive_only = receive_only
        self._repetition = repetition  # Opus may repeat packets (in-band FEC): not where tones are to be silenced
        self._peers: SessionDescription | None = None
        self._ours: SessionDescription | None = None

    def answer(self, offered: SessionDescription, ports: Mapping[int, int] | None = None) -> bytes:
        """Our answer to the peer's offer, as `Keying.taken` or `read` left it; `ports` where there are legs for other
        m-lines than before."""
        self._peers = offered
        self._ports = self._ports if ports is None else ports
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
        lines = max(len(self._peers.media) if self._peers else 0, *(index + 1 for index in self._ports))
        offered = [self._offered(index, direction) for index in range(lines)]
        described = offer(offered, origin_id=self._origin_id, origin_version=self._version, address=self._address)
        if self._peers is not None:
            described = replace(described, media=tuple(map(_as_before, described.media, self._peers.media)))
        return self._said(described)

    def read(self, body: bytes) -> SessionDescription:
        """A description that the call can go on with. Raises `Malformed`, or `Unsupported` where it cannot."""
        offered = parse(body)
        return self._usable(self.keying.taken(offered))

    def _usable(self, described: SessionDescription) -> SessionDescription:
        if self._peers is not None and len(described.media) < len(self._peers.media):
            raise Unsupported("m-lines are missing")
        if not answerable(described):
            raise Unsupported("no m-line has a codec of ours")
        return described

    def answered(self, body: bytes) -> SessionDescription:
        """The peer's answer to our offer. Raises as `read` does."""
        self._peers = self._usable(self.keying.answered(parse(body)))
        return self._peers

    def _local(self, index: int, media: Media) -> LocalMedia | None:
        port = self._ports.get(index)
        if port is None or not media.port:
            return None
        return LocalMedia(port, self.keying.answer(index, media), self._repetition)

    def _offered(self, index: int, direction: Direction) -> OfferedMedia:
        """One m-line of ours; where keys may be left out it says so by its protocol (RFC 8643)."""
        lines = self.keying.offer(index) if index in self._ports else ()
        protocol = PLAIN_RTP if self.keying.optional or not lines else SECURE_RTP
        if self._peers is not None and index < len(self._peers.media) and lines:
            protocol = self._peers.media[index].protocol
        return OfferedMedia(self._ports.get(index, 0), OURS, direction=direction, protocol=protocol, cryptos=lines)

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
