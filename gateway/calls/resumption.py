"""A call whose media worker died goes on in another, which gets the same sockets: the gateway holds them too.

What waits in the sockets' buffers the other one takes, with the kernel's stamps. What the dead worker had received and
not committed is lost; the track's facts name it, and call detail does (`missing`).
"""

from __future__ import annotations

import logging

from gateway.calls.call import Call
from gateway.calls.media_link import MediaLink
from gateway.errors import Unavailable
from media.framelog import Reason
from media.lives import LIVES_MAX
from media.timeline import TrackFacts

log = logging.getLogger(__name__)

_LOST = Reason.WORKER_LOST.name.lower()


def go_on(call: Call, worker: MediaLink, now: float) -> bool:
    """Open the call's legs again in that worker; False if that cannot be, or is of no use any more."""
    opened = [leg for leg in call.legs if leg.told is not None]
    if call.ending or any(leg.ended.done() or leg.lives >= LIVES_MAX for leg in opened):
        return False
    call.worker = worker
    try:
        for leg in opened:
            assert leg.told is not None
            first, *more = leg.told.again(now)
            worker.send(first, (leg.pair.rtp_socket, leg.pair.rtcp_socket))
            for command in more:
                worker.send(command)
    except Unavailable:
        return False
    for leg in call.former:  # closed, and nobody will say any more what it received: it is read back
        if not leg.ended.done():
            leg.ended.set_result(None)
    log.warning("call goes on in another media worker", extra={"call": call.id, "pid": worker.pid})
    return True


def missing(facts: TrackFacts) -> list[float | None]:
    """What dead workers have cost a track, in ms of the call: where it stops and where it goes on, in turn."""
    return [round(at_us / 1000) for gap in facts.gaps if gap.reason == _LOST for at_us in (gap.start_us, gap.end_us)]
