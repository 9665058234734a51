"""Whether a call is a recording session, and what follows: who takes part, and that nothing is ever sent to it."""

from __future__ import annotations

from gateway.calls.roster import Roster
from gateway.calls.streams import lines_of
from gateway.sip.message import Request
from gateway.sip.siprec.fork import forked
from gateway.sip.siprec.session import is_recording, named
from gateway.tenants import Match
from media.sdp import SessionDescription


def recording_of(match: Match, request: Request, offer: SessionDescription | None) -> tuple[Match, Roster | None]:
    """The call's terms and its roster; None for a call like any other. Of a fork the offer is the whole call's.

    A recording client's streams flow one way whatever it writes (Metaswitch leaves `sendonly` out), and it alone can
    tell the parties that they are recorded (RFC 7866 §6.1): as if its trunk were `receive_only`.
    """
    fork = forked(request)
    parties = named(request) if fork is None else fork.parties
    recording = is_recording(request)
    if not recording and not parties and fork is None:
        return match, None
    roster = Roster(lines_of(offer), "siprec" if recording else "cisco")
    if request.metadata or not (parties or fork):
        roster.hear(request.metadata, 0.0)
    else:
        roster.name(parties)
    trunk = match.trunk
    if not trunk.receive_only:
        trunk = trunk.model_copy(update={"receive_only": True})
    return Match(trunk, match.tenant), roster
