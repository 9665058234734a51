"""A copy leaves: on record first, then piece by piece, sealed where its recipient has a key.

What cannot be recorded does not leave. The record counts also where whoever fetches it hangs up half-way: then a part
has left. Every release has a ground, one of three: a request of the person, an order, or a user's token.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from gateway.rights.export import Plan, exported
from gateway.rights.parts import PARTS_OF
from gateway.rights.share import share_of
from storage.egress import Leaving
from storage.errors import NotReady, Refused
from storage.model import CallId, TenantId
from storage.recordings import Recordings
from storage.sealedexport import Recipient, sealed_for

log = logging.getLogger(__name__)


class Ground(StrEnum):
    """Why something leaves."""

    USER = "user"  # a token of the tenant's heard or read it, by the API: counted
    REQUEST = "request"
    ORDER = "order"


@dataclass(frozen=True, slots=True)
class Delivery:
    """Of what, to whom, and on what ground. `keeper` keeps the record, and is the calls' tenant but for hidden ones."""

    plan: Plan
    ground: Ground
    reference: CallId  # the request or order
    to: str = field(repr=False)
    by: str  # the token that fetches it
    key: Recipient | None = None
    keeper: TenantId | None = None
    authorised: Mapping[str, Any] = field(default_factory=dict, repr=False)  # of a destination: what allows it

    @property
    def suffix(self) -> str:
        """Of a file name."""
        return "zip" if self.key is None else "cvx"


def deliver(recordings: Recordings, delivery: Delivery) -> Iterator[bytes]:
    """The copy, once it is on record. Refused, NotReady where there is nothing to send; nothing is recorded then."""
    leaving = _leaving(recordings, delivery.plan)
    if not leaving:
        raise NotReady("nothing of these calls is there to be sent")
    plan = delivery.plan
    about: Mapping[str, Any] = {
        **{"ground": delivery.ground.value, "reference": delivery.reference, "to": delivery.to, "by": delivery.by},
        **{"parts": sorted(part.value for part in plan.parts), "sealed_for": None},
        **delivery.authorised,
    }
    if delivery.key is not None:
        about = {**about, "sealed_for": delivery.key.fingerprint.hex()}
    hidden = delivery.keeper is not None and delivery.keeper != plan.tenant
    copies = recordings.egress.record(delivery.keeper or plan.tenant, leaving, about, hidden=hidden)
    if not hidden:
        log.info("copy leaves", extra={"tenant": plan.tenant, "ground": delivery.ground.value, "copies": len(copies)})
    parts = exported(recordings, plan)
    return parts if delivery.key is None else sealed_for(delivery.key, parts)


def _leaving(recordings: Recordings, plan: Plan) -> Sequence[Leaving]:
    """The calls of which something is there, with the artefacts that something is taken from."""
    found: dict[CallId, set[Any]] = {}
    for matched in plan.matches:
        try:
            share = share_of(recordings, plan.tenant, matched)
        except Refused:
            continue  # the index says so
        artefacts = [a.ref.artefact for a in share.artefacts() if PARTS_OF.get(a.ref.kind, frozenset()) & plan.parts]
        if artefacts:
            found.setdefault(share.record.id, set()).update(artefacts)
    return [Leaving(call, sorted(artefacts)) for call, artefacts in found.items()]
