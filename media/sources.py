"""Whose packets a leg takes: its description's address, or where its trunk sits behind NAT, one that latches.

Invariants: a source outside the description and the media networks is never taken. At most one latch follows an
opening or an answered re-INVITE. A stream that the port's former call was receiving is never taken for a new one; a leg
that takes over a stream of its own call takes over the rule, as it stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from media.endpoints import Network, is_within

RELATCH_US = 5_000_000  # after a re-INVITE a moved source is there within round trips; a longer door is an open one
FORMER_TOLERANCE_S = 2  # a stream that goes on is where its clock says, give or take drift and a queue


@dataclass(frozen=True, slots=True)
class Former:
    """The stream that a port received last: who sent it, and where its clock stood when (CLOCK_MONOTONIC)."""

    source: int
    ssrc: int
    timestamp: int
    clock_hz: int
    instant_ns: int

    def to_numbers(self) -> tuple[int, ...]:
        """For a message; `from_numbers` is its inverse."""
        return (self.source, self.ssrc, self.timestamp, self.clock_hz, self.instant_ns)

    @classmethod
    def from_numbers(cls, numbers: Sequence[int]) -> Former | None:
        """What `to_numbers` made, None of none; raises TypeError where it is something else."""
        return cls(*numbers) if numbers else None

    def goes_on(self, source: int, ssrc: int, timestamp: int, instant_ns: int) -> bool:
        """Whether this packet belongs to that stream: a sender that has not noticed the end of its call."""
        if source != self.source or ssrc != self.ssrc:
            return False
        # A device with a constant SSRC starts its next call elsewhere on the clock.
        passed = (instant_ns - self.instant_ns) * self.clock_hz // 1_000_000_000
        off = (timestamp - self.timestamp - passed + (1 << 31)) % (1 << 32) - (1 << 31)
        return abs(off) <= FORMER_TOLERANCE_S * self.clock_hz


@dataclass(slots=True)
class SourceRule:
    """The rule of one leg. Sources are numbers, as in media/endpoints.py."""

    remote: int | None
    nat: bool
    networks: Sequence[Network] = ()
    former: Former | None = None
    latched: int | None = None
    _open_until_us: int | None = None

    def __post_init__(self) -> None:
        if not self.nat:
            self.latched = self.remote

    @property
    def current(self) -> int:
        """The source that is taken now, -1 where there is none yet."""
        return -1 if self.latched is None else self.latched

    @property
    def target(self) -> int | None:
        """Where to send: to the source that is taken, before a latch to the description's address."""
        return self.remote if self.latched is None else self.latched

    def may_latch(self, at_us: int) -> bool:
        """Whether a source other than the current one could be taken at this call time."""
        if not self.nat:
            return False
        return self.latched is None or (self._open_until_us is not None and at_us <= self._open_until_us)

    def update(self, remote: int | None, at_us: int) -> None:
        """A re-INVITE was answered at this call time: its address holds from now on."""
        self.remote = remote
        if not self.nat:
            self.latched = remote
        elif self.latched is not None:
            # The old source stays until the new one is heard, so that nothing is lost between.
            self._open_until_us = at_us + RELATCH_US

    def accepts(self, source: int, ssrc: int, timestamp: int, at_us: int, instant_ns: int) -> bool:
        """Whether this RTP packet is taken; latches its source where that is due."""
        if self.former is not None and self.former.goes_on(source, ssrc, timestamp, instant_ns):
            return False
        if source == self.latched:
            return True
        if not self.may_latch(at_us) or not (source == self.remote or self._within(source)):
            return False
        self.latched = source
        self._open_until_us = None
        return True

    def _within(self, source: int) -> bool:
        return any(is_within(source, network) for network in self.networks)
