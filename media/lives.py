"""The lives of a leg: what one media worker receives of it until it dies, and another goes on.

How far a worker that was killed had come is known only from what it wrote, and nobody has the time to read that before
receiving goes on. It need not be read: each life has a range of media timestamps of its own, so that they grow from
life to life, and chunks of several lives are in order by their timestamps alone.
"""

from __future__ import annotations

LIFE_BITS = (
    38  # media timestamps of a life: 66 days at 48 kHz, 397 at 8 kHz, and the first one is any number of 32 bits
)
REACH = 1 << 20  # so far before its beginning a life's timestamps may reach: packets that come before the first one
LIVES_MAX = 16  # times a million they stay below 2**63, where instants are computed; a call of more deaths ends


def life_begins(life: int) -> int:
    """The media timestamp from which a life counts, the first life being 0."""
    return life << LIFE_BITS


def life_of(timestamp: int) -> int:
    """The life that a media timestamp belongs to."""
    return max(0, timestamp + REACH) >> LIFE_BITS
