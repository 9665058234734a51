"""What calls cost: CPU of all processes by the packets sent, and how many calls a core carries at that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.processes import Use
from benchmarks.signalling import PACKETS_A_SECOND

CORE_SHARE = 0.7


@dataclass(frozen=True, slots=True)
class Stages:
    """CPU before the first INVITE, at both ends of the media, and after the last call was stored."""

    start: Use
    media: Use
    hang_up: Use
    stored: Use


def cost(stages: Stages, packets: int, calls: int, tracks: int) -> dict[str, object]:
    """Figures of so many calls that sent so many packets on so many tracks each."""
    whole = stages.stored.since(stages.start)
    talking = stages.hang_up.since(stages.media)
    us_each = us(sum(whole.values()), packets)
    return {
        "cpu_us_per_packet": us_each,
        "cpu_us_per_packet_by_role": by_role(whole, packets),
        "cpu_us_per_packet_while_talking": us(sum(talking.values()), packets),
        "cpu_us_per_packet_while_talking_by_role": by_role(talking, packets),
        "cpu_ms_per_call_setup": round(1e3 * sum(stages.media.since(stages.start).values()) / calls, 2),
        "cpu_ms_per_call_hang_up": round(1e3 * sum(stages.stored.since(stages.hang_up).values()) / calls, 2),
        "calls_per_core": calls_per_core(us_each, tracks),
        "calls_per_core_while_talking": calls_per_core(us(sum(talking.values()), packets), tracks),
        "calls_per_core_is": "extrapolated, for a core that is 70 % busy",
        "processes_replaced": len(stages.start.pids - stages.stored.pids),
    }


def calls_per_core(us_each: float, tracks: int) -> int:
    """Calls of so many tracks that a core carries which is CORE_SHARE busy; 0 where nothing was measured."""
    return round(CORE_SHARE * 1e6 / (PACKETS_A_SECOND * tracks * us_each)) if us_each > 0 else 0


def us_per_packet(calls: int, tracks: int) -> float:
    """What a packet may cost where a core is to carry so many calls: the inverse."""
    return round(CORE_SHARE * 1e6 / (PACKETS_A_SECOND * tracks * calls), 1)


def us(seconds: float, packets: int) -> float:
    """Microseconds a packet."""
    return round(1e6 * seconds / max(1, packets), 2)


def by_role(spent_s: Mapping[str, float], packets: int) -> dict[str, float]:
    """The same for each role."""
    return {role: us(seconds, packets) for role, seconds in spent_s.items()}
