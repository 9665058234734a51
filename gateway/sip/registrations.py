"""All our registrations: whose turn it is to ask, and which of them an answer is for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from gateway.sip.flow import Flow
from gateway.sip.message import Response
from gateway.sip.registration import Account, Registration, Standing
from gateway.sip.transaction import Outgoing, Transactions


@dataclass(frozen=True, slots=True)
class Changed:
    """A registration fares otherwise than before; `status` is that of the failure, or 0."""

    name: str
    standing: Standing
    status: int


Wanted = Mapping[str, tuple[Account, Sequence[Flow]]]
"""By a name of the gateway's: an account, and the ways to its registrar, the best first."""


class Registrations:
    """Keeps them. `outgoing` takes their requests, which have transactions of their own: no call waits for them."""

    def __init__(self, outgoing: list[Outgoing], random: Callable[[int], bytes]) -> None:
        self._random = random
        self._transactions = Transactions(outgoing)
        self._kept: dict[str, Registration] = {}
        self._leaving: list[Registration] = []
        self._told: dict[str, tuple[Standing, int]] = {}
        self._closed = False
        self._touched = False

    @property
    def leaving(self) -> bool:
        """Whether any is still being given up."""
        return bool(self._leaving)

    def want(self, wanted: Wanted, now: float) -> None:
        """From now on these and no others: what stands and stays is not touched, what is no more wanted is given up."""
        if self._closed:
            return
        for name, registration in list(self._kept.items()):
            account = wanted[name][0] if name in wanted else None
            if account is None or not _same(account, registration.account):
                self._give_up(name, now)
        for name, (account, flows) in wanted.items():
            if name in self._kept:
                self._kept[name].change(account, flows, now)
            else:
                self._kept[name] = Registration(account, flows, self._random, now)
        self.timers(now)

    def leave(self, now: float) -> None:
        """Give all of them up, for good."""
        self._closed = True
        for name in list(self._kept):
            self._give_up(name, now)
        self.timers(now)

    def answered(self, response: Response, now: float) -> bool:
        """Whether the response is to a request of ours; then it has been dealt with."""
        transaction = self._transactions.receive(response, now)
        if transaction is None:
            return False
        found = next((one for one in self._all() if one.asking is transaction), None)
        if found is not None and response.status >= 200:
            found.answered(response, now)
            self._touched = True
            self.timers(now)
        return True

    def next_deadline(self) -> float | None:
        """When `timers` is due."""
        times = [one.due for one in self._all() if one.asking is None]
        return min((at for at in (*times, self._transactions.next_deadline()) if at is not None), default=None)

    def timers(self, now: float) -> None:
        """Does what is due."""
        for transaction in self._transactions.timers(now):
            for one in self._all():
                if one.asking is transaction:
                    one.unanswered(now)
                    self._touched = True
        for one in self._all():
            if one.asking is None and one.due is not None and one.due <= now and (asked := one.ask(now)):
                one.asking = self._transactions.request(*asked, 0, now)
        self._leaving = [one for one in self._leaving if not one.over]

    def changes(self, now: float) -> list[Changed]:
        """What fares otherwise than when this was asked last; a binding whose time ran out counts by its next try."""
        if not self._touched:
            return []
        self._touched = False
        found = {name: (one.standing(now), one.status) for name, one in self._kept.items()}
        changed = [Changed(name, *fares) for name, fares in found.items() if self._told.get(name) != fares]
        self._told = found
        return changed

    def standings(self, now: float) -> Counter[str]:
        """How many fare how, by the values of `Standing`."""
        return Counter(one.standing(now).value for one in self._kept.values())

    def _all(self) -> list[Registration]:
        return [*self._kept.values(), *self._leaving]

    def _give_up(self, name: str, now: float) -> None:
        registration = self._kept.pop(name)
        registration.leave(now)
        self._leaving.append(registration)


def _same(one: Account, other: Account) -> bool:
    """Whether both are the same address at the same registrar, whatever else is different."""
    return (one.registrar, one.domain, one.user) == (other.registrar, other.domain, other.user)
