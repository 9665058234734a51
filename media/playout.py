"""Plays prompts to legs' peers, one RTP packet for each 20 ms, from the tick and without waiting.

Rules: packets go to the leg's own remote and to no other address. A prompt waits while its peer does not hear us or its
address is not known, and then begins anew, as it does where the address changes: half an announcement is none. It is
complete when the network has taken its last packet. A tick that came late is made up for by a few packets at most;
beyond that the prompt goes on later.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from media.legs import Leg, Table
from media.messages import Played
from media.prompts import PACKET_MS, Prompt
from media.receive import send
from media.rtp import plain_header

PACKET_NS = PACKET_MS * 1_000_000
CATCH_UP_MAX = 3  # packets to one leg in a tick: what a jitter buffer of 60 ms bears
NOWHERE_NS_MAX = 30_000_000_000  # without an address, or refused by the network: then the prompt ends, incomplete


@dataclass(slots=True)
class _Playing:
    """A prompt on its way to a leg."""

    leg: Leg
    prompt: Prompt
    target: int | None = None  # where it goes
    position: int = 0  # packets of it that were sent
    start_us: int = -1  # when its first packet was sent
    end_us: int = -1  # when the last one so far was
    nowhere_ns: int | None = None  # since when it cannot be sent, although its peer hears

    def played(self, *, complete: bool) -> Played:
        return Played(self.leg.number, max(0, self.start_us), max(0, self.end_us), complete)


@dataclass(slots=True)
class Playout:
    """The legs that a prompt is being played to."""

    table: Table
    _playing: dict[int, _Playing] = field(default_factory=dict)  # by leg

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._playing)

    def play(self, leg: Leg, prompt: Prompt) -> Played | None:
        """Begin with the next tick; the end of what was playing to this leg, if anything was."""
        ended = self.stop(leg)
        self._playing[leg.number] = _Playing(leg, prompt)
        return ended

    def stop(self, leg: Leg) -> Played | None:
        """Play nothing more to this leg; the end of what was playing."""
        playing = self._playing.pop(leg.number, None)
        return None if playing is None else playing.played(complete=False)

    def tick(self, now_ns: int) -> list[Played]:
        """Send what is due; the prompts that are over. `now_ns` is CLOCK_MONOTONIC."""
        over: list[Played] = []
        for playing in list(self._playing.values()):
            complete = self._advance(playing, now_ns)
            if complete is not None:
                del self._playing[playing.leg.number]
                over.append(playing.played(complete=complete))
        return over

    def _advance(self, playing: _Playing, now_ns: int) -> bool | None:
        """Send a prompt's packets that are due; whether it is complete, None while it goes on."""
        leg = playing.leg
        origin_ns, target = int(self.table.origin_ns[leg.row]), leg.rule.target
        if not origin_ns or not leg.hears:
            playing.position, playing.nowhere_ns = 0, None
            return None
        if target != playing.target:
            playing.target, playing.position = target, 0
        if target is not None and self._send_due(playing, target, now_ns):
            playing.nowhere_ns = None
            playing.end_us = (now_ns - origin_ns) // 1000
            return True if playing.position >= playing.prompt.packets else None
        if playing.nowhere_ns is None:
            playing.nowhere_ns = now_ns
        return False if now_ns - playing.nowhere_ns > NOWHERE_NS_MAX else None

    def _send_due(self, playing: _Playing, target: int, now_ns: int) -> bool:
        """Whether anything that was due could be sent; nothing being due counts as such."""
        leg, outgoing = playing.leg, playing.leg.outgoing
        number, codec = next(iter(leg.codecs.items()))
        payloads = playing.prompt.coded(codec.number)
        if playing.position == 0:
            outgoing.move_to(now_ns)
            playing.start_us = (now_ns - int(self.table.origin_ns[leg.row])) // 1000
        outgoing.clock_hz = codec.clock_hz
        for _ in range(CATCH_UP_MAX):
            # Ticks are not exact: a packet that is due before the middle of the next one goes now.
            if outgoing.due_ns > now_ns + PACKET_NS // 2 or playing.position >= playing.prompt.packets:
                return True
            payload = payloads[playing.position]
            # RFC 3551 §4.1: the marker begins a talkspurt.
            marker = playing.position == 0
            header = plain_header(number, outgoing.sequence, outgoing.timestamp, outgoing.ssrc, marker=marker)
            packet = header + payload
            if leg.protection is not None:
                packet = leg.protection.protect(packet)
            if not send(leg.rtp.fileno(), packet, target):
                return False
            outgoing.count(len(payload))
            playing.position += 1
        outgoing.due_ns = max(outgoing.due_ns, now_ns + PACKET_NS)
        return True
