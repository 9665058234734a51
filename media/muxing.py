"""RTP and RTCP on one port (RFC 5761): reports are taken out of a batch before SRTP or anything else.

Both begin with version 2; the second octet tells them apart (§4). An RTP packet with a marker and a payload type of 64
to 95 would be taken for a report, so no leg that shares a port has such types: `media.sdp` does not agree to it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from media.receive import Batch
from media.rtcp import SHARED_TYPES

REPORT_BYTES_MIN = 8  # of RTCP that says anything; what is shorter is no RTP either

_VERSION_2, _VERSION_BITS = 0x8000_0000, 0xC000_0000


def demultiplexed(batch: Batch, words: NDArray[np.uint32], muxed: NDArray[np.bool_]) -> tuple[Batch, Batch | None]:
    """What remains, and the reports. `words` are those of the arena, `muxed` says which keys share their port."""
    heads = words[batch.slots, 0]
    types = heads >> 16 & 0xFF
    told = muxed[batch.keys] & (batch.lengths >= REPORT_BYTES_MIN) & (heads & _VERSION_BITS == _VERSION_2)
    told &= (types >= SHARED_TYPES.start) & (types < SHARED_TYPES.stop)
    return (batch.select(~told), batch.select(told)) if told.any() else (batch, None)
