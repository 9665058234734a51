"""Whose number is in which calls: proposals that somebody looks at, before anything is done with them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from gateway.calls.identifiers import Sort, wanted, written
from gateway.calls.numbers import reader_of
from gateway.policy import Numbering
from gateway.rights.share import known_as
from storage.errors import Erased, NotReady, Refused
from storage.model import CallId, Kind, TenantId
from storage.recordings import Recordings
from storage.records import CallRecord

_PAGE = 500
_PLAIN = reader_of(Numbering.model_validate({}))


def calls_of(
    recordings: Recordings, tenant: TenantId, sort: Sort, value: str
) -> Iterator[tuple[CallRecord, list[str]]]:
    """Calls that have a number or address, newest first, and who in each has it; nobody where that is not established.

    Withheld numbers count. Refused if the value can be none of its sort.
    """
    identifiers = wanted(sort, value, sees_withheld=True)
    if sort not in (Sort.NUMBER, Sort.URI) or not identifiers:
        raise Refused(f"this is no number or address: {sort.value}")
    before: CallId | None = None
    while page := recordings.find(tenant, identifiers, limit=_PAGE, before=before):
        for record in page:
            yield record, _who(recordings, tenant, record, sort, written(sort, value))
        before = page[-1].id


def _who(recordings: Recordings, tenant: TenantId, record: CallRecord, sort: Sort, value: str) -> list[str]:
    identity, detail = (_opened(recordings, tenant, record, kind) for kind in (Kind.IDENTITY, Kind.CALL_DETAIL))
    read = _number if sort is Sort.NUMBER else (lambda text: written(Sort.URI, text))
    return [who for who, texts in known_as(identity, detail).items() if value in map(read, texts)]


def _number(text: str) -> str:
    """Of an address, or as it is; rules that only the trunk had are not known any more."""
    return _PLAIN.read(text).text if ":" in text else written(Sort.NUMBER, text)


def _opened(recordings: Recordings, tenant: TenantId, record: CallRecord, kind: Kind) -> dict[str, Any]:
    for artefact in record.find(kind):
        try:
            found: dict[str, Any] = json.loads(recordings.document(tenant, artefact.ref.artefact))
        except (Erased, NotReady):
            continue
        return found
    return {}
