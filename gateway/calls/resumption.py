"""A call whose media worker died goes on in another, which gets the same sockets: the gateway holds them too.

What waits in the sockets' buffers the other one takes, with the kernel's stamps. What the dead worker had received and
not committed is lost; the track's facts name it, and call detail does (`missing`).
"""

from __future__ import annotations

import logging
import math

from gateway.calls.call import Call
from gateway.calls.media_link import MediaLink
from gateway.errors import Unavailable
from media.framelog import Reason
from media.lives import LIVES_MAX
from media.messages import Close
from media.timeline import TrackFacts

log = logging.getLogger(__name__)

_LOST = Reason.WORKER_LOST.name.lower()


def go_on(call: Call, worker: MediaLink, now: float) -> bool:
    """Open the call's legs again in that worker; False if that cannot be, or is of no use any more.

    A call that is just ending goes on for as long as it takes to receive what waits, and its legs are closed again.
    """
    opened = [leg for leg in call.legs if leg.told is not None and not ((call.ending or leg.over) and leg.ended.done())]
    if not opened or any(leg.ended.done() or leg.lives >= LIVES_MAX for leg in opened):
        return False
    call.worker = worker
    try:
        for leg in opened:
            assert leg.told is not None
            first, *more = leg.told.again(now)
            worker.send(first, (leg.pair.rtp_socket, leg.pair.rtcp_socket))
            for command in more:
                worker.send(command)
            if call.ending or leg.over:
                worker.send(Close(leg.number))
    except Unavailable:
        return False
    for leg in call.former:  # closed, and nobody will say any more what it received: it is read back
        if not leg.ended.done():
            leg.ended.set_result(None)
    log.warning("call goes on in another media worker", extra={"call": call.id, "pid": worker.pid})
    return True


def missing(facts: TrackFacts, until_ms: float | None = None) -> list[float | None]:
    """What dead workers have cost a track, in ms of the call: where it stops and where it goes on, in turn.

    What lies after `until_ms`, the call's end, is none of it.
    """
    last = math.inf if until_ms is None else until_ms
    lost = [(round(gap.start_us / 1000), round(gap.end_us / 1000)) for gap in facts.gaps if gap.reason == _LOST]
    return [at_ms for start, end in lost if start < last for at_ms in (start, min(end, last))]
