"""Emergency calls: which they are, and why one goes unrecorded. Nothing of ours delays or refuses one.

No announcement, no limit, no wait for a key or a disk, no busy answer; it goes on when the media worker dies or the
store cannot be written. It is recorded only where the tenant says in words why (`record_emergency`), and then only as
far as there is room: a full spool leaves it unrecorded instead of refusing it.
"""

from __future__ import annotations

from collections.abc import Iterable

from gateway.calls.admission import Busy
from gateway.calls.call import Parties
from gateway.calls.media_link import MediaLink
from gateway.calls.numbers import reader_of
from gateway.calls.workers import Workers
from gateway.policy import Tenant
from gateway.tenants import Match

NOT_RECORDED = "emergency call"


def is_emergency(match: Match, parties: Parties, others: Iterable[str] = ()) -> bool:
    """Whether an emergency service was called: by what was dialled, or by whom To names where it was rewritten.

    `others` are addresses of who takes part in a recording session, where both of them name the recorder.
    """
    return any(is_emergency_uri(match, uri) for uri in (parties.request_uri, parties.to_uri, *others))


def is_emergency_uri(match: Match, uri: str) -> bool:
    """The same of one URI, for a request that is no call yet, or a party that signalling names later."""
    return reader_of(match.trunk.numbers).is_emergency(uri, match.tenant.emergency)


def place(policy: Tenant, workers: Workers, now: float) -> tuple[MediaLink | None, str]:
    """Which worker takes an emergency call, None where there is no worker, and why it goes unrecorded.

    "" if the policy wants it recorded and a worker has nothing against it.
    """
    if not policy.record_emergency:
        return workers.least_busy, NOT_RECORDED
    try:
        return workers.choose(policy, now)
    except Busy as busy:
        return workers.least_busy, busy.reason
