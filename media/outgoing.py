"""The RTP stream that we send to a leg's peer: its numbers (RFC 3550 §5.1) and what its reports say (§6.4.1)."""

from __future__ import annotations

from dataclasses import dataclass

from media.codecs import CLOCK_HZ_PLAIN
from media.prompts import PACKET_MS
from media.rtcp import ReportBlock, SenderReport

SENDER_NS = 10_000_000_000  # RFC 3550 §6.2.1: who sent nothing for two report intervals is no sender any more
_NTP_EPOCH_S = 2_208_988_800  # from 1900 to 1970
_PACKET_NS = PACKET_MS * 1_000_000


@dataclass(slots=True)
class Outgoing:
    """One stream. The next packet has these numbers and is due at `due_ns` (CLOCK_MONOTONIC)."""

    ssrc: int
    sequence: int
    timestamp: int
    due_ns: int = 0
    packets: int = 0
    octets: int = 0
    clock_hz: int = CLOCK_HZ_PLAIN  # of the codec

    def move_to(self, now_ns: int) -> None:
        """The next packet goes out now, whatever was due: the clock ran on while nothing was sent."""
        self.timestamp = self.timestamp_at(max(now_ns, self.due_ns))
        self.due_ns = now_ns

    def count(self, octets: int) -> None:
        """A packet of 20 ms was sent."""
        self.sequence = (self.sequence + 1) & 0xFFFF
        self.timestamp = (self.timestamp + PACKET_MS * self.clock_hz // 1000) & 0xFFFFFFFF
        self.due_ns += _PACKET_NS
        self.packets += 1
        self.octets += octets

    def sending(self, now_ns: int) -> bool:
        """Whether we count as a sender now."""
        return self.packets > 0 and now_ns - self.due_ns < SENDER_NS

    def timestamp_at(self, now_ns: int) -> int:
        """Where the stream's clock stands."""
        passed_ns = now_ns - self.due_ns if self.packets else 0
        return (self.timestamp + passed_ns * self.clock_hz // 1_000_000_000) & 0xFFFFFFFF

    def report(self, now_ns: int, wall_ns: int, blocks: tuple[ReportBlock, ...] = ()) -> SenderReport:
        """A sender report as of now; `wall_ns` is CLOCK_REALTIME of the same instant."""
        seconds, rest_ns = divmod(wall_ns, 1_000_000_000)
        ntp = (seconds + _NTP_EPOCH_S << 32 | (rest_ns << 32) // 1_000_000_000) & 0xFFFFFFFFFFFFFFFF
        counts = (self.packets & 0xFFFFFFFF, self.octets & 0xFFFFFFFF)
        return SenderReport(self.ssrc, ntp, self.timestamp_at(now_ns), *counts, blocks)
