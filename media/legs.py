"""The legs of a worker in arrays, a row each, so that a tick handles all of them at once.

What a packet in order must match and what it changes lies in the table's columns; what is rare lies in `Leg`.
Payload is gathered in the row's region of one pool, contiguous in media time, until it is flushed as a chunk.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from media.codecs import CLOCK_HZ_PLAIN, Codec
from media.dtmf import Keys
from media.endpoints import IPV6, UNNAMED
from media.framelog import TALLY, Reason
from media.outgoing import Outgoing
from media.readings import Reading
from media.receive import IPV6_FIRST, Arena, Batch, Words, name_of
from media.sequence import Placed, Sequence
from media.sources import Former, SourceRule
from media.srtp import Protection
from media.timeline import Timeline
from media.vad import CELL_SAMPLES

Int64s: TypeAlias = NDArray[np.int64]
Voids: TypeAlias = NDArray[np.void]

FRAMES = 64  # frames of a row between flushes: twice what 10 ms packets bring; a full row is flushed early
PAYLOAD_BYTES_MAX = 1500  # of one packet: an Ethernet MTU
REGION_BYTES = 16 * 1024 + 192  # 2 s of 64 kbit/s; no power of two, whose rows would share cache sets
CELL_US = 20_000  # of the speech detector
US_PER_TICK = 125  # at 8 kHz, the clock of every codec that is taken in batches
NEVER = -1  # no source, SSRC or payload type: matches no packet
NAMED = 1 << 48  # from here on, what stands for an IPv6 source in the column `source`


@dataclass(frozen=True, slots=True)
class Turn:
    """Speech of a row began or ended at this call time."""

    row: int
    started: bool
    at_us: int


@dataclass(slots=True)
class Leg:
    """What a leg has beside its row in the table."""

    number: int
    row: int
    rtp: socket.socket
    rtcp: socket.socket
    codecs: dict[int, Codec]
    event_pt: int | None
    red_pt: int | None  # RFC 2198: packets of this type repeat earlier ones
    rule: SourceRule
    sequence: Sequence
    outgoing: Outgoing
    timeline: Timeline = field(default_factory=Timeline)
    payload_type: int = NEVER  # of the last packet kept
    held: bool = False
    paused: bool = False
    announce: bool = False  # nothing is kept before a prompt has been played
    hears: bool = True  # the peer takes what we send
    keys: Keys | None = None  # None: keys are not told
    fenced: bool = False  # the next packet may repeat (in-band FEC) what was not to be kept
    reports: int | None = None  # where its description wants RTCP, if it says so
    late: list[Placed] = field(default_factory=list)  # kept, but behind what the pool has
    protection: Protection | None = None  # None: plain RTP
    readings: list[Reading] = field(default_factory=list)  # of its sender's clock, since the last chunk
    muxed: bool = False  # its reports come and go on the RTP port

    @property
    def withheld(self) -> Reason | None:
        """Why nothing of it is kept now, None where it is."""
        if self.announce:
            return Reason.ANNOUNCEMENT
        return Reason.PAUSED if self.paused else Reason.HOLD if self.held else None

    @property
    def pending(self) -> Reason:
        """Why nothing would come just now, for the frame log."""
        return self.sequence.silence if self.sequence.silence is not None else Reason.LOST


class Table:
    """The columns. Every one has an entry for each row."""

    def __init__(self, rows: int) -> None:
        def column() -> Int64s:
            return np.zeros(rows, np.int64)

        self.rows = rows
        self.shed = 0  # cells that were never heard, for lack of time
        self.origin_ns = column()
        self.from_us = column()  # what arrived before it is not kept
        # When the row's peer was last heard, beside the packets kept; how long it may be silent (0: for ever); when its
        # silence was last told.
        self.life_us, self.quiet_us, self.told_us = column(), column(), column()
        self.receiving = np.zeros(rows, np.bool_)
        self.latching = np.zeros(rows, np.bool_)  # another source than `source` might be taken
        self.secured = np.zeros(rows, np.bool_)  # what it receives is SRTP
        self.muxed = np.zeros(rows, np.bool_)  # reports are among what it receives (RFC 5761)
        self.unauthentic, self.replayed = column(), column()  # packets of it that were not taken for that
        # What the next packet in order has. A payload type of NEVER sends all packets of the row the slow way.
        self.source, self.ssrc, self.payload_type = column(), column(), column()
        self.numbers, self._named = [NEVER] * rows, 0  # of the sources; how many of IPv6 there have been
        self.names: Words = np.zeros((rows, 4), np.uint64)  # of those of IPv6
        self.next_sequence, self.next_timestamp, self.head = column(), column(), column()
        self.codec, self.clock_hz = np.zeros(rows, np.uint8), column()
        # What it changes.
        self.transit_us, self.arrival_us, self.stamp_ns = column(), column(), column()
        self.jitter_us: NDArray[np.float64] = np.zeros(rows)
        # The counters of `Tally`; the jitter's is kept up to date in `jitter_us`, and those of `Sequence` there.
        self.tally: Int64s = np.zeros((rows, len(TALLY)), np.int64)
        self.packets, self.octets = self._counter("packets"), self._counter("octets")
        self.foreign, self.withheld = self._counter("foreign"), self._counter("withheld")
        self.events, self.comfort = self._counter("events"), self._counter("comfort")
        self.discarded = self._counter("discarded")
        self.overflowed = column()  # datagrams that the socket's full buffer has cost
        # Whether keys' tones are silenced, and for how many octets to come.
        self.masking, self.masked = np.zeros(rows, np.bool_), column()
        # Frames that are not yet flushed, and whether they all continue each other and what went before.
        self.count = column()
        self.in_order = np.ones(rows, np.bool_)
        self.settled = np.zeros(rows, np.bool_)  # the row's `Timeline` needs no more than `extend_in_order`
        self.timestamps: Int64s = np.zeros((rows, FRAMES), np.int64)
        self.arrivals_us: Int64s = np.zeros((rows, FRAMES), np.int64)
        self.lengths: Int64s = np.zeros((rows, FRAMES), np.int64)
        self.codecs = np.zeros((rows, FRAMES), np.uint8)
        self.flags = np.zeros((rows, FRAMES), np.uint8)
        # Offsets into the row's region: unflushed payload begins, ends; up to where the speech detector has heard it.
        self.begin, self.fill, self.heard = column(), column(), column()
        self.pool = np.zeros(rows * REGION_BYTES, np.uint8)

    def _counter(self, name: str) -> Int64s:
        return self.tally[:, TALLY[name]]

    def clear(self, row: int) -> None:
        """Make the row as new."""
        for column in vars(self).values():
            if isinstance(column, np.ndarray) and column is not self.pool:
                column[row] = 0
        self.in_order[row] = True
        self.clock_hz[row] = CLOCK_HZ_PLAIN
        self.source[row] = self.numbers[row] = self.ssrc[row] = self.payload_type[row] = NEVER

    def call_us(self, row: int, now_ns: int) -> int:
        """The call time of an instant; 0 before the row's call has begun."""
        origin_ns = int(self.origin_ns[row])
        return max(0, now_ns - origin_ns) // 1000 if origin_ns else 0

    def heard_us(self, row: int) -> int:
        """The call time of the sample that the speech detector hears next."""
        unheard = self.fill[row] - self.heard[row]
        # What has payload of its own length is heard apart, and counts as heard here.
        return int((self.head[row] - unheard) * 1_000_000 // self.clock_hz[row] + self.transit_us[row])

    def expect_from(self, row: int, number: int) -> None:
        """The row takes this source and no other, or none (`NEVER`).

        An IPv6 one has a place in `names`, and what stands for it in `source` has never stood for another.
        """
        if number == self.numbers[row]:
            return
        self.numbers[row] = number
        if number < IPV6:
            self.source[row] = number
        else:
            self._named += 1
            self.names[row], self.source[row] = name_of(number), NAMED + self._named

    def number(self, row: int, key: int, arena: Arena) -> int:
        """The number of a source of the row as it stands in a batch of this arena, recognised or not."""
        if 0 <= key < NAMED:
            return key
        return arena.source(key) if key < 0 else self.numbers[row]

    def recognise(self, batch: Batch, arena: Arena) -> None:
        """Put what stands for a row's own IPv6 source into the batch, wherever address and port are that one's."""
        which = np.flatnonzero(batch.sources <= IPV6_FIRST)
        rows = batch.keys[which]
        same = (self.names[rows] == arena.names(batch.sources[which])).all(axis=1) & (self.source[rows] >= NAMED)
        batch.sources[which[same]] = self.source[rows[same]]

    def takes(self, number: int) -> bool:
        """Whether any row takes this source."""
        if number < IPV6:
            return bool((self.source == number).any())
        named = np.flatnonzero(self.source >= NAMED)
        return bool((self.names[named] == name_of(number)).all(axis=1).any())

    def frames_flushed(self, row: int) -> None:
        """The row's frames were taken: keep only the beginning of a cell that has not been heard.

        Whole cells wait only where a backlog is being worked off; they are shed.
        """
        base = row * REGION_BYTES
        heard, fill = int(self.heard[row]), int(self.fill[row])
        self.shed += (fill - heard) // CELL_SAMPLES
        heard = fill - (fill - heard) % CELL_SAMPLES
        self.pool[base : base + fill - heard] = self.pool[base + heard : base + fill].copy()
        self.begin[row] = self.fill[row] = fill - heard
        self.heard[row] = self.count[row] = 0
        self.in_order[row] = True

    def rows_flushed(self, rows: Int64s) -> None:
        """The same for many rows."""
        for row in rows[self.heard[rows] != self.fill[rows]].tolist():
            self.frames_flushed(row)
        whole = rows[self.heard[rows] == self.fill[rows]]
        self.begin[whole] = self.fill[whole] = self.heard[whole] = self.count[whole] = 0


def former_stream(table: Table, leg: Leg) -> Former | None:
    """Knows the leg's stream again, should its sender go on into the port's next call; a tap has no next one."""
    row = leg.row
    source, timestamp = table.numbers[row], int(table.next_timestamp[row])
    if source <= UNNAMED or leg.sequence.ssrc is None:
        return None
    instant_ns = int(table.origin_ns[row] + table.arrival_us[row] * 1000)
    return Former(source, leg.sequence.ssrc, timestamp, leg.sequence.clock_hz, instant_ns)


class Windows:
    """A byte array seen as overlapping items of any one length, so that numpy moves whole payloads at once."""

    def __init__(self, octets: NDArray[np.uint8]) -> None:
        self._octets = octets
        self._views: dict[int, Voids] = {}

    def of(self, length: int) -> Voids:
        """Item i is the octets [i, i + length). Lengths are bounded by `PAYLOAD_BYTES_MAX`, so are the views."""
        view = self._views.get(length)
        if view is None:
            shape = (len(self._octets) - length + 1,)
            view = np.ndarray(shape, np.dtype(f"V{length}"), self._octets.data, strides=(1,))
            self._views[length] = view
        return view
