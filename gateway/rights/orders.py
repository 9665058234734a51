"""The operator's book of disclosure orders, and what leaves by them.

The operator is a tenant of its own in the store, by a name that no configured tenant can have: its keys, its dossiers
and its tokens (role `operator`) are its own. So no token of any tenant reaches an order, closing a tenant leaves them,
and an operator's token opens no tenant's calls but by an approved order.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from gateway.rights.delivering import Delivery, Ground, deliver
from gateway.rights.export import Plan
from gateway.rights.matching import calls_of
from gateway.rights.order import Order, State, Step
from gateway.rights.parts import Words
from gateway.rights.share import Matched
from storage.errors import Erased, NotFound, NotReady, Refused
from storage.model import CallId, CallState, Kind, TenantId
from storage.recordings import Recordings
from storage.records import CallRecord
from storage.sealedexport import Recipient

OPERATOR = "+operator"
"""No configured tenant's name begins with a plus."""

CALLS_MAX = 2_000
"""That leave at once by an order on a number; of a hotline's number a narrower window has to do."""

_PAGE = 200


@dataclass(frozen=True, slots=True)
class Scope:
    """What an order's calls are by now: those that leave, and those of which it is not established whose they are."""

    matches: tuple[Matched, ...]
    unclear: tuple[CallId, ...]


class Orders:
    """All orders of the installation. What is not allowed raises Refused."""

    def __init__(self, recordings: Recordings) -> None:
        self._recordings = recordings
        self.operator = recordings.tenant(OPERATOR)

    def enter(self, order: Order) -> CallId:
        """An order has come; every call that it names must be there, and within its window."""
        for matched in order.calls:
            record = self._recordings.call(order.tenant, matched.call)
            if record.state is not CallState.ERASED and not self._within(order, record):
                raise Refused(f"call {record.id} is not within the order's window")
        return self._recordings.dossiers.open(self.operator, Kind.DISCLOSURE, order.to_json())

    def read(self, id: CallId) -> Order:
        """One order; NotFound."""
        return Order.parse(self._recordings.dossiers.read(self.operator, id, Kind.DISCLOSURE))

    def all(self) -> Iterator[tuple[CallId, Order]]:
        """All orders, newest first."""
        before = None
        while page := self._recordings.dossiers.list(self.operator, Kind.DISCLOSURE, limit=_PAGE, before=before):
            for record in page:
                try:
                    yield record.id, self.read(record.id)
                except (Erased, NotFound):
                    continue
            before = page[-1].id

    def take(self, id: CallId, step: Step, *, now_s: float, by: str, **facts: Any) -> Order:
        """A step that hands nothing out."""
        body = self._recordings.dossiers.amend(
            self.operator,
            id,
            Kind.DISCLOSURE,
            lambda text: Order.parse(text).take(step, now_s, by, **facts).to_json(),
        )
        return Order.parse(body)

    def execute(self, id: CallId, *, now_s: float, by: str) -> tuple[Iterator[bytes], bool]:
        """What leaves, once it is on record in the order and among the copies; and whether it is sealed."""
        order = self.read(id)
        order.take(Step.EXECUTE, now_s, by)  # Refused before anything is looked for
        scope = self._scope(order)
        about = {
            **{"order": id, "authority": order.authority, "ground": order.ground},
            **{"from": _utc(order.first_s), "until": _utc(order.last_s), "unclear": list(scope.unclear)},
        }
        plan = Plan(order.tenant, scope.matches, about, frozenset(order.parts), Words.ORIGINAL)
        key = None if order.key is None else Recipient.parse(order.key)
        keeper = self.operator if order.gagged else None
        parts = deliver(self._recordings, Delivery(plan, Ground.ORDER, id, order.authority, by, key, keeper=keeper))
        self.take(id, Step.EXECUTE, now_s=now_s, by=by, calls=len({matched.call for matched in scope.matches}))
        return parts, key is not None

    def report(self, year: int) -> dict[str, int]:
        """The transparency report of a year (UTC): numbers, of all tenants together."""
        ends = (State.REJECTED, State.REVOKED)
        counted = dict.fromkeys(("entered", *(state.value for state in ends), "gagged", "carried_out", "calls"), 0)
        tenants = set()
        for _, order in self.all():
            if datetime.fromtimestamp(order.at, UTC).year != year:
                continue
            fetched = [entry["calls"] for entry in order.history if entry["step"] == Step.EXECUTE.value]
            counted["entered"] += 1
            counted["gagged"] += order.gagged
            counted["carried_out"] += bool(fetched)
            counted["calls"] += max(fetched, default=0)
            tenants |= {order.tenant} if fetched else set()
            if order.state in ends:
                counted[order.state.value] += 1
        return {**counted, "tenants": len(tenants)}

    def _scope(self, order: Order) -> Scope:
        if order.number is None:
            return Scope(order.calls, ())
        matches, unclear = list[Matched](), list[CallId]()
        for record, people in calls_of(self._recordings, order.tenant, *order.number):
            if record.state is CallState.LIVE or not self._within(order, record):
                continue
            matches += [Matched(record.id, who) for who in people]
            unclear += [] if people else [record.id]
            if len(matches) + len(unclear) > CALLS_MAX:
                raise Refused(f"more than {CALLS_MAX} calls: orders by narrower windows, please")
        if not matches:
            raise NotReady("no call of that number within the order's window has anything to send")
        return Scope(tuple(matches), tuple(unclear))

    def _within(self, order: Order, record: CallRecord) -> bool:
        """Whether the call began in the window; where only its day is known, whether all of that lies in it."""
        begun = self._begun(order.tenant, record)
        if begun is not None:
            return order.first_s <= begun < order.last_s
        day = datetime.fromisoformat(record.day).replace(tzinfo=UTC)
        return order.first_s <= day.timestamp() and (day + timedelta(days=1)).timestamp() <= order.last_s

    def _begun(self, tenant: TenantId, record: CallRecord) -> float | None:
        for artefact in record.find(Kind.CALL_DETAIL):
            try:
                detail = json.loads(self._recordings.document(tenant, artefact.ref.artefact))
                return datetime.fromisoformat(detail["started"]).timestamp()
            except (Erased, NotReady, KeyError, ValueError, TypeError):
                continue
        return None


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
