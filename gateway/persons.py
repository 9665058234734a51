"""Whose calls they are: the calls that a number or address was found in, and whether it may be several people's.

Nothing is erased by a number alone (IP-10): the match set is shown first, and a number that looks shared (a family's,
a reception's, a line that people call) asks for a decision which of its calls are meant.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gateway.calls.identifiers import Sort, wanted, written
from storage.erasure import CALLS_MAX
from storage.errors import Refused, StoreError
from storage.model import CallId, Kind, TenantId
from storage.recordings import CALLS_AT_ONCE_MAX, Recordings
from storage.records import CallRecord

NAMES_MAX = 1_000
"""Calls whose identities are read to tell whether several people use a number; newest first, some 0.2 ms each."""


@dataclass(frozen=True, slots=True)
class MatchSet:
    """The calls, newest first, and why they may be of several people; personal data is in neither."""

    calls: tuple[CallRecord, ...]
    shared: tuple[str, ...]

    @property
    def ids(self) -> tuple[CallId, ...]:
        """Of all of them."""
        return tuple(record.id for record in self.calls)

    def chosen(self, decision: Sequence[CallId] | None) -> tuple[CallId, ...]:
        """What is erased: what was decided, or else everything; Refused if a shared number waits for a decision."""
        if decision is not None:
            if strange := set(decision).difference(self.ids):
                raise Refused(f"call {min(strange)} is not in the match set")
            return tuple(dict.fromkeys(decision))
        if self.shared:
            raise Refused(f"a decision is needed which calls are meant: {'; '.join(self.shared)}")
        return self.ids


def match(recordings: Recordings, tenant: TenantId, by: Sort, value: str, lines: Sequence[str] = ()) -> MatchSet:
    """All calls that have this identifier; Refused if it is none, or found in more calls than one erasure has.

    `lines` are numbers that the tenant says are shared. Whoever asks may see withheld numbers: an officer.
    """
    found = wanted(by, value, sees_withheld=True)
    if not found:
        raise Refused(f"this is no {by.value}")
    calls: list[CallRecord] = []
    while page := recordings.find(tenant, found, limit=CALLS_AT_ONCE_MAX, before=calls[-1].id if calls else None):
        calls += page
        if len(calls) > CALLS_MAX:
            raise Refused(f"found in more than {CALLS_MAX} calls: a line, rather than a person; choose calls otherwise")
    text = written(by, value)
    return MatchSet(tuple(calls), tuple(_signs(recordings, tenant, by, text, calls, lines)))


def _signs(
    recordings: Recordings, tenant: TenantId, by: Sort, value: str, calls: Sequence[CallRecord], lines: Sequence[str]
) -> Iterator[str]:
    """What speaks for several people."""
    if value in {written(by, line) for line in lines}:
        yield "the tenant's configuration says that it is shared"
    names: set[str] = set()
    called = 0
    for record in calls[:NAMES_MAX]:
        detail, identity = (_read(recordings, tenant, record, kind) for kind in (Kind.CALL_DETAIL, Kind.IDENTITY))
        if value in (detail.get("to"), written(by, str(identity.get("request_uri", "")))):
            called += 1
        elif name := str(identity.get("display", "")).strip().casefold():
            names.add(name)
    if len(names) > 1:
        yield f"callers with {len(names)} different names have used it"
    if called > 1:
        yield f"it was called {called} times: it may be a line that several people answer"


def _read(recordings: Recordings, tenant: TenantId, record: CallRecord, kind: Kind) -> dict[str, object]:
    for artefact in record.find(kind):
        try:
            found = json.loads(recordings.document(tenant, artefact.ref.artefact))
        except StoreError:
            continue
        return found if isinstance(found, dict) else {}
    return {}
