"""Copies go nowhere but where the configuration says, by whom it was authorised, since when, and for what."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from pydantic import ValidationError

from gateway.policy import Tenant
from gateway.rights.destinations import authorised
from gateway.rights.parts import Part
from storage.errors import Refused

DAY = date(2026, 3, 1)
CRM: dict[str, Any] = {
    **{"name": "crm", "to": "CRM", "authorised_by": "board", "authorised_on": "2026-03-01", "until": "2026-03-31"},
    **{"company": "CRM Ltd", "region": "NL", "retention": "30 days", "encryption": "TLS 1.3", "dpa": "2026-01-01"},
    **{"parts": ["audio", "detail"], "fields": {"detail": ["started"]}},
}


def tenant(*destinations: dict[str, Any]) -> Tenant:
    return Tenant.model_validate({"name": "acme", "destinations": destinations})


def test_up_09_all_egress_is_denied_by_default() -> None:
    with pytest.raises(Refused, match="no destination crm"):
        authorised(tenant().destinations, "crm", [Part.AUDIO], DAY)


def test_up_09_only_what_is_authorised_from_its_day_to_its_last() -> None:
    known = tenant(CRM).destinations
    assert authorised(known, "crm", [Part.AUDIO], DAY).authorised_by == "board"
    assert authorised(known, "crm", [Part.AUDIO, Part.DETAIL], date(2026, 3, 31)).to == "CRM"
    with pytest.raises(Refused, match="transcript"):
        authorised(known, "crm", [Part.AUDIO, Part.TRANSCRIPT], DAY)
    for day in (date(2026, 2, 28), date(2026, 4, 1)):
        with pytest.raises(Refused, match="that day"):
            authorised(known, "crm", [Part.AUDIO], day)


@pytest.mark.parametrize(
    "wrong", [{"parts": []}, {"parts": ["everything"]}, {"authorised_by": ""}, {"key": "cvx1"}, {"more": 1}]
)
def test_up_09_an_authorisation_says_who_when_and_what(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        tenant({**CRM, **wrong})


def test_a_destination_stands_once() -> None:
    with pytest.raises(ValidationError, match="twice"):
        tenant(CRM, CRM)


@pytest.mark.parametrize("lacks", ["company", "region", "retention", "encryption", "dpa"])
def test_ct_04_a_destination_that_lacks_a_fact_gets_nothing(lacks: str) -> None:
    known = tenant({name: value for name, value in CRM.items() if name != lacks}).destinations
    with pytest.raises(Refused, match=f"gets nothing: nobody has said its {lacks}$"):
        authorised(known, "crm", [Part.AUDIO], DAY)
