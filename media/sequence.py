"""Puts a leg's packets on one media timeline of 64-bit timestamps, and counts what is missing, twice there or late.

Rules, after RFC 3550 §A.1 but for a recorder, which may wait and must not guess:

- The next packet in sequence and time is kept. So is a later one whose timestamp agrees with the time that has passed:
  what lies between is lost (sequence numbers are missing) or was silence (none is).
- An earlier one is kept if it is missing and at most a second of media has passed it; else it is late, or a duplicate.
- Another SSRC, another clock (RFC 7160: the codec has changed), a timestamp that does not agree with the time that has
  passed, or a second of standstill is a doubt: the packet is set aside, and believed when the next one continues it.
  Then a new piece of the timeline begins.

Timestamps only grow from piece to piece, by the time that has passed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from media.codecs import CLOCK_HZ_PLAIN
from media.framelog import NEW_PIECE, Reason, silence_flags

LATE_S = 1  # older packets are dropped: by then their surroundings are sealed, and a live listener is past them
JUMP_US = 1_000_000  # farther off than any jitter buffer bears: the sender's clock has another meaning now
MISORDER_MAX = 256  # packets; more than a second of 10 ms packets. Older numbers mean a restart
PREDECESSORS = 8  # packets before the first that we saw which may yet arrive; not lost if they do not

_SEQUENCE_MASK = 0xFFFF
_TIMESTAMP_MASK = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Arrived:
    """One audio packet: its RTP header's fields, RTP ticks of its payload, and when it came (call time)."""

    ssrc: int
    sequence: int
    timestamp: int
    duration: int
    arrival_us: int
    codec: int
    payload: bytes
    clock_hz: int = CLOCK_HZ_PLAIN  # in which `timestamp` and `duration` count
    voiced: bool | None = None  # whether there is a voice in it, where that is known without decoding (RFC 6464)


@dataclass(frozen=True, slots=True)
class Placed:
    """A packet that is kept: its 64-bit timestamp and its frame's flags. `ahead` where nothing later is kept yet."""

    timestamp: int
    flags: int
    ahead: bool
    packet: Arrived


@dataclass(slots=True)
class Sequence:
    """The ordering of one leg. The first five fields tell what the next packet in order must match."""

    clock_hz: int
    ssrc: int | None = None
    next_sequence: int = 0  # extended: not reduced to 16 bits
    next_timestamp: int = 0  # as on the wire
    head: int = 0  # the same as a 64-bit timestamp; before the first packet, where its life begins (`media.lives`)
    transit_us: int = 0  # arrival minus media time of the last packet in order
    lost: int = 0
    duplicate: int = 0
    late: int = 0
    out_of_order: int = 0
    discarded: int = 0
    silence: Reason | None = None  # why the next packet may come after a while
    noise: int = 0  # the level of that silence, as a chunk keeps it
    _resumed: bool = False
    _first: int = 0  # extended number of the first packet of the piece: those before it are not lost
    _missing: set[int] = field(default_factory=set)
    _doubt: Arrived | None = None

    @property
    def expecting(self) -> bool:
        """Whether a packet that matches the first five fields is simply the next one."""
        return self.ssrc is not None and self._doubt is None and self.silence is None and not self._resumed

    def receive(self, packet: Arrived) -> tuple[Placed, ...]:
        """The packets that are kept now: none, this one, or the one set aside and this one."""
        if self.ssrc is None:
            placed = self._begin(packet, self.head + packet.timestamp, Reason.NO_MEDIA)
            self._missing = {self._first - i for i in range(1, PREDECESSORS + 1)}
            return (placed,)
        step = _signed(packet.sequence - self.next_sequence, 16)
        ticks = _signed(packet.timestamp - self.next_timestamp, 32)
        ours = packet.ssrc == self.ssrc
        if packet.clock_hz != self.clock_hz:
            return self._of_another_clock(packet, step)
        if ours and not self._resumed and -MISORDER_MAX <= step < 0 and ticks < 0:
            return self._earlier(packet, step, ticks)
        if not ours or ticks < 0 or not self._steady(packet, ticks):
            return self._doubted(packet)
        if kept := self.settle():
            return (*kept, *self.receive(packet))  # a stalled network catches up: the one set aside was simply late
        if self._resumed:
            self._resumed = False
            self.next_sequence, step = packet.sequence, 0
        # The timestamp agrees; after an outage of minutes the sequence may have gone round, but never back.
        return (self._advance(packet, step & _SEQUENCE_MASK, ticks),)

    def skip(self, ssrc: int, sequence: int) -> None:
        """A packet of this stream that carries no audio (an event, comfort noise) took a sequence number."""
        if ssrc != self.ssrc or self._resumed:
            return
        step = _signed(sequence - self.next_sequence, 16)
        if step >= 0:
            self._lose(step)
            self.next_sequence += step + 1
        elif self.next_sequence + step in self._missing:
            self._found(self.next_sequence + step)

    def misses(self, ssrc: int, sequence: int) -> bool:
        """Whether a packet of this number has not come, and could still be kept."""
        if ssrc != self.ssrc or not self.expecting:
            return False
        step = _signed(sequence - self.next_sequence, 16)
        return 0 <= step < MISORDER_MAX or self.next_sequence + step in self._missing

    def rest(self, ssrc: int, noise: int) -> None:
        """The sender is silent from now on, and this is what its silence sounds like (RFC 3389)."""
        if ssrc == self.ssrc and self.silence in {None, Reason.DTX}:
            self.silence, self.noise = Reason.DTX, noise

    def interrupt(self, reason: Reason) -> None:
        """From now on packets are withheld, for this reason; sequence numbers until the next one mean nothing."""
        self.silence, self.noise = reason, 0
        self._resumed = self.ssrc is not None
        self._forget_doubt()
        self._missing.clear()

    def end(self) -> None:
        """No packet is taken any more; what would come is not lost."""
        if self.silence is None:
            self.silence = Reason.NO_MEDIA

    def settle(self) -> tuple[Placed, ...]:
        """The packet set aside, if it is exactly the next one and so certainly ours; any other is given up.

        For the end of the stream, and wherever nothing can confirm it any more.
        """
        first = self._doubt
        if first is None or not self._is_next(first):
            self._forget_doubt()
            return ()
        self._doubt = None
        return (self._advance(first, 0, 0),)

    def _is_next(self, packet: Arrived) -> bool:
        in_step = packet.sequence == self.next_sequence & _SEQUENCE_MASK and packet.timestamp == self.next_timestamp
        ours = packet.ssrc == self.ssrc and packet.clock_hz == self.clock_hz
        return ours and in_step and not self._resumed

    def _earlier(self, packet: Arrived, step: int, ticks: int) -> tuple[Placed, ...]:
        number = self.next_sequence + step
        if number not in self._missing:
            self.duplicate += 1
            return ()
        if -ticks > LATE_S * self.clock_hz:
            self.late += 1
            return ()
        self._found(number)
        self.out_of_order += 1
        return (Placed(self.head + ticks, 0, ahead=False, packet=packet),)

    def _of_another_clock(self, packet: Arrived, step: int) -> tuple[Placed, ...]:
        """Nothing can be told from its timestamp: it begins another piece, unless it is from before the last one."""
        if packet.ssrc == self.ssrc and not self._resumed and -MISORDER_MAX <= step < 0:
            self.late += 1
            return ()
        return self._doubted(packet)

    def _doubted(self, packet: Arrived) -> tuple[Placed, ...]:
        """Set `packet` aside, or believe the one set aside if this one continues it."""
        first = self._doubt
        if first is None or not _continues(first, packet):
            if kept := self.settle():
                return (*kept, *self.receive(packet))
            self._doubt = packet
            return ()
        self._doubt = None
        queued = packet.arrival_us - first.arrival_us < first.duration * 1_000_000 // first.clock_hz // 2
        if self._is_next(first) and queued:
            # The network stood still and now delivers what it held; the sender's clock never stopped.
            return (self._advance(first, 0, 0), *self.receive(packet))
        passed = (first.arrival_us - self.transit_us) * self.clock_hz // 1_000_000
        return (self._begin(first, max(self.head, passed), Reason.NO_MEDIA), *self.receive(packet))

    def _begin(self, packet: Arrived, head: int, reason: Reason) -> Placed:
        """Start a piece of the timeline with `packet` at the 64-bit timestamp `head`."""
        self.silence = self.silence if self.silence is not None else reason
        self.ssrc, self.clock_hz = packet.ssrc, packet.clock_hz
        self.next_sequence = self._first = packet.sequence
        self.head = head
        self._resumed = False
        self._missing.clear()
        placed = self._advance(packet, 0, 0)
        return Placed(placed.timestamp, NEW_PIECE | placed.flags, ahead=True, packet=packet)

    def _advance(self, packet: Arrived, step: int, ticks: int) -> Placed:
        """Keep `packet`, `step` numbers and `ticks` after the one expected."""
        self._forget_doubt()
        self._lose(step)
        reason = self.silence if self.silence is not None else Reason.LOST if step or not ticks else Reason.DTX
        placed = Placed(self.head + ticks, silence_flags(reason, self.noise), ahead=True, packet=packet)
        self.silence, self.noise = None, 0
        self.next_sequence += step + 1
        self.next_timestamp = (packet.timestamp + packet.duration) & _TIMESTAMP_MASK
        self.head += ticks + packet.duration
        self.transit_us = packet.arrival_us - self._us(placed.timestamp)
        return placed

    def _lose(self, count: int) -> None:
        self.lost += count
        if count:
            oldest = self.next_sequence + count - MISORDER_MAX
            self._missing = {number for number in self._missing if number >= oldest}
            self._missing.update(range(max(self.next_sequence, oldest), self.next_sequence + count))

    def _found(self, number: int) -> None:
        self._missing.discard(number)
        if number >= self._first:
            self.lost -= 1

    def _steady(self, packet: Arrived, ticks: int) -> bool:
        """Whether `packet` came when its timestamp says that it was sent, give or take what a network does."""
        transit_us = packet.arrival_us - self._us(self.head + ticks)
        return abs(transit_us - self.transit_us) < JUMP_US

    def _forget_doubt(self) -> None:
        self.discarded += self._doubt is not None
        self._doubt = None

    def _us(self, ticks: int) -> int:
        return ticks * 1_000_000 // self.clock_hz


def _continues(first: Arrived, second: Arrived) -> bool:
    ticks = _signed(second.timestamp - first.timestamp, 32)
    follows = second.sequence == (first.sequence + 1) & _SEQUENCE_MASK
    same = second.ssrc == first.ssrc and second.clock_hz == first.clock_hz
    return same and follows and 0 < ticks <= first.clock_hz


def _signed(difference: int, bits: int) -> int:
    """The smallest number that is congruent to `difference`: how far ahead (or, negative, behind) on the circle."""
    half = 1 << (bits - 1)
    return ((difference + half) & ((1 << bits) - 1)) - half
