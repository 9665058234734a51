"""How good a track sounds as we received it: the E-model of ITU-T G.107 over the track's facts.

R = 93.2 - Idd - Ie,eff, which is left of G.107's formula where all other parameters have their defaults (table 2), and
the MOS that it stands for (annex B). What is assumed:

- It is the listening quality of what is stored, played as it is by default: silence where packets are missing. It is
  not that of the conversation, whose delay and echo nobody tells us, nor that of what our peers heard of each other.
- Of the delay only the part is known that a jitter buffer at our place would add (`BUFFER_JITTERS`), so that a track
  pays nothing for delay (Idd) before its jitter reaches some 25 ms.
- Lost is what was missing at the end, with what came too late to be kept: silence, hold and pauses are no losses.
- How losses cluster (BurstR) is estimated by Gilbert's model of two states, from the number of gaps that the losses
  make. G.107 has proved its formula for a BurstR up to 2, or losses under 2 %; beyond that it is an order of magnitude.
- The scale is that of narrowband, which ends at a MOS of 4.41: wideband is rated as if it were no better.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from media.codecs import G722, OPUS, PCMA, PCMU
from media.framelog import Reason
from media.timeline import TrackFacts

R_DEFAULT = 93.2  # Ro - Is of the defaults (G.107 table 2), less the 0.15 that their listener's echo costs
BUFFER_JITTERS = 4  # that a buffer waits: they are mean deviations, and where those fall off as e^-x, 2 % exceed it
DELAY_MS_FREE = 100  # Ta up to which delay costs nothing (G.107 §3.4)

_R_OF_NO_USE, _R_MAX = 0.0, 100.0
_LOST = Reason.LOST.name.lower()


@dataclass(frozen=True, slots=True)
class Equipment:
    """What a codec costs (Ie), and how well it bears losses (Bpl, per cent)."""

    ie: float
    bpl: float


_SILENCE_BPL = 4.3  # G.113 appendix I: G.711 without concealment. With it 25.1; but we play silence unless asked to
EQUIPMENT = {
    PCMU.name: Equipment(0, _SILENCE_BPL),  # G.113 appendix I: the codec that others are measured by
    PCMA.name: Equipment(0, _SILENCE_BPL),
    # G.113 appendix IV has 13 for 64 kbit/s, of the 129 of wideband's scale: more is left than this one has.
    G722.name: Equipment(0, _SILENCE_BPL),
    # Not in G.113: an assumption. At a browser's 32 kbit/s it is wideband, and no worse than G.722.
    OPUS.name: Equipment(0, _SILENCE_BPL),
}
"""By codec. For the losses of all of them there is silence, so that all bear them as G.711 does."""


@dataclass(frozen=True, slots=True)
class Quality:
    """A track's quality: `mos` from 1 to 4.41, `r` from 0 to 93.2, and what they were made of."""

    mos: float
    r: float
    loss_percent: float
    jitter_ms: float  # RFC 3550's estimate at the track's end
    late: int  # packets that came too late to be kept; they are among the lost
    out_of_order: int
    burst_ratio: float  # 1: losses at random

    def to_json(self) -> dict[str, Any]:
        """As JSON values, rounded to what they are worth."""
        return {name: round(value, 2) for name, value in asdict(self).items()}


def quality(facts: TrackFacts) -> Quality | None:
    """The quality of a track; None where nothing of it was received, or is there to tell how it was coded.

    A track of several codecs is rated as the one that bears its losses worst, for how long it had each is not known.
    """
    tally = facts.tally
    if not (tally.packets and facts.codecs):
        return None
    loss_percent = 100 * tally.lost / (tally.packets + tally.lost)
    bursts = burst_ratio(tally.packets, tally.lost, _bursts(facts))
    impairment = max(effective_impairment(EQUIPMENT[name], loss_percent, bursts) for name in facts.codecs)
    r = rating(impairment, BUFFER_JITTERS * facts.jitter_ms)
    return Quality(mos(r), r, loss_percent, facts.jitter_ms, tally.late, tally.out_of_order, bursts)


def quality_told(facts: Mapping[str, Any]) -> Quality | None:
    """The same of facts as JSON; None also of those that nobody could tell. Raises Malformed as `from_json` does."""
    return quality(TrackFacts.from_json(dict(facts))) if facts else None


def rating(impairment: float, delay_ms: float) -> float:
    """R, for an effective equipment impairment and an absolute one-way delay."""
    return max(_R_OF_NO_USE, R_DEFAULT - delay_impairment(delay_ms) - impairment)


def effective_impairment(equipment: Equipment, loss_percent: float, bursts: float) -> float:
    """Ie,eff (G.107 §3.5) at a packet loss probability and a burst ratio."""
    lost = 0.0 if loss_percent <= 0 else loss_percent / (loss_percent / bursts + equipment.bpl)
    return equipment.ie + (95 - equipment.ie) * lost


def delay_impairment(delay_ms: float) -> float:
    """Idd (G.107 §3.4): what an absolute one-way delay costs even without echo."""
    if delay_ms <= DELAY_MS_FREE:
        return 0.0
    x = math.log2(delay_ms / DELAY_MS_FREE)
    return 25 * (math.pow(1 + x**6, 1 / 6) - 3 * math.pow(1 + (x / 3) ** 6, 1 / 6) + 2)


def burst_ratio(packets: int, lost: int, bursts: int) -> float:
    """BurstR (G.107 §3.5): the mean length of `bursts` of losses, over that of as many losses at random.

    By Gilbert's model, in which a kept packet is followed by a lost one with probability p and a lost one by a kept one
    with q: 1 / (p + q). Losses that are spread more evenly than at random count as random, as do those of no burst.
    """
    if not (bursts and lost and packets):
        return 1.0
    p, q = bursts / packets, bursts / lost
    return max(1.0, 1 / (p + q))


def mos(r: float) -> float:
    """The mean opinion score, MOS-CQE, that a rating stands for (G.107 annex B)."""
    if not _R_OF_NO_USE < r < _R_MAX:
        return 1.0 if r <= _R_OF_NO_USE else 4.5
    # Below an R of 6.5 the polynomial dips under the worst opinion that there is.
    return max(1.0, 1 + 0.035 * r + r * (r - 60) * (100 - r) * 7e-6)


def _bursts(facts: TrackFacts) -> int:
    """How many gaps the losses make; those that found no room in the map are taken to be like the others."""
    named = len(facts.gaps)
    lost = sum(gap.reason == _LOST for gap in facts.gaps)
    return round(lost * (1 + facts.gaps_omitted / named)) if named else 0
