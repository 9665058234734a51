"""A request goes by its table, waits for who asks to be established, and is reminded of in time, each share once."""

from __future__ import annotations

import io
import json
import zipfile
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.rights.annotations import entries_of
from gateway.rights.answers import ANSWERS
from gateway.rights.deadlines import Deadlines
from gateway.rights.delivering import deliver
from gateway.rights.request import EXPORTING, OPEN, TABLE, Request, Right, State, Step
from gateway.rights.requests import ALL, Requests
from gateway.rights.share import Matched
from storage.errors import Malformed, NotFound, NotReady, Refused
from storage.model import CallId, TenantId, new_id
from storage.recordings import Recordings
from tests.gateway.rights.corpus import ALICE, BERT, Kept, session
from tests.storage.stores import files_below

RECEIVED = date(2026, 3, 2)
ZONE = "Europe/Amsterdam"
NOW = datetime(2026, 3, 2, 12, tzinfo=UTC).timestamp()
DAY = 86_400.0
THIRTY = Deadlines(days=30, months=0)
SUBJECT = "Alice Anneveld, asks for herself, letter of 1 March"
OFFICER = new_id()


class Desk:
    """An officer at the book, at a time of the test's."""

    def __init__(self, recordings: Recordings, tenant: TenantId) -> None:
        self.book, self.tenant = Requests(recordings), tenant

    def open(self, right: Right = Right.ACCESS, deadlines: Deadlines = THIRTY) -> CallId:
        return self.book.open(self.tenant, right, SUBJECT, received=RECEIVED, deadlines=deadlines, zone=ZONE, now_s=NOW)

    def take(self, id: CallId, step: Step, now_s: float = NOW, **facts: Any) -> Request:
        return self.book.take(self.tenant, id, step, now_s=now_s, by=OFFICER, **facts)

    def identify(self, id: CallId) -> Request:
        return self.take(id, Step.IDENTIFY, how="passport seen at the desk, copy in the safe")

    def match(self, id: CallId, *matches: tuple[CallId, str]) -> list[CallId]:
        named = [Matched(call, who) for call, who in matches]
        return self.book.match(self.tenant, id, named, now_s=NOW, by=OFFICER)[1]

    def decide(self, id: CallId, words: str = "original") -> Request:
        return self.take(id, Step.DECIDE, words=words, reason="own track, own words; names said are the person's")

    def answer(self, id: CallId, **given: Any) -> Any:
        return self.book.answer(self.tenant, id, given, now_s=NOW, by=OFFICER)[1]

    def read(self, id: CallId) -> Request:
        return self.book.read(self.tenant, id)


@pytest.fixture
def desk(store: Recordings, tenant: TenantId) -> Desk:
    return Desk(store, tenant)


@pytest.fixture
def kept(tmp_path: Path, store: Recordings, tenant: TenantId) -> Kept:
    return session(tmp_path, store, tenant)


def test_up_17_there_is_an_answer_for_every_right() -> None:
    assert set(ANSWERS) == set(Right)


def test_sp_17_nothing_goes_out_before_it_is_established_who_asks(desk: Desk, kept: Kept) -> None:
    request = desk.open()
    desk.match(request, (kept.call, kept.id_of(ALICE)))
    with pytest.raises(Refused, match="established"):
        desk.book.plan(desk.tenant, request)
    with pytest.raises(Refused):
        desk.answer(request)
    identified = desk.identify(request)
    assert identified.identified == {
        "by": OFFICER,
        "at": int(NOW),
        "how": "passport seen at the desk, copy in the safe",
    }
    with pytest.raises(NotReady):  # others' data were not weighed yet
        desk.book.plan(desk.tenant, request)
    desk.decide(request)
    assert desk.book.plan(desk.tenant, request).matches == (Matched(kept.call, kept.id_of(ALICE)),)


def test_cl_09_the_decision_on_others_data_is_recorded_and_in_the_index(
    desk: Desk, kept: Kept, store: Recordings
) -> None:
    request = desk.open()
    desk.match(request, (kept.call, kept.id_of(ALICE)))
    desk.identify(request)
    with pytest.raises(Refused):
        desk.take(request, Step.DECIDE, words="original", reason=" ")
    decided = desk.decide(request, "redacted").decision
    assert decided is not None and decided["words"] == "redacted"
    archive = b"".join(deliver(store, desk.book.delivery(desk.tenant, request, by=OFFICER)))
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        index = json.loads(opened.read("index.json"))
    assert index["others_data"] == {"words": "redacted", "reason": decided["reason"]}
    assert not any(canary in archive for canary in BERT.canaries())
    desk.match(request, (kept.call, kept.id_of(BERT)))  # other calls: decided anew
    with pytest.raises(NotReady):
        desk.book.plan(desk.tenant, request)


def test_up_17_rectification_stands_beside_what_was_recorded(
    desk: Desk, kept: Kept, store: Recordings, tenant: TenantId
) -> None:
    request = desk.open(Right.RECTIFICATION)
    desk.identify(request)
    with pytest.raises(NotReady):
        desk.answer(request, statement="it is Annevelt")
    desk.match(request, (kept.call, kept.id_of(ALICE)))
    assert desk.answer(request, statement="it is Annevelt") == {"annotated": 1, "erased": 0}
    (entry,) = entries_of(store, tenant, store.call(tenant, kept.call))
    assert (entry["statement"], entry["who"], entry["request"]) == ("it is Annevelt", kept.id_of(ALICE), request)
    again = desk.open(Right.RECTIFICATION)
    desk.identify(again)
    desk.match(again, (kept.call, kept.id_of(ALICE)))
    desk.answer(again, statement="and the street is wrong too")
    assert len(entries_of(store, tenant, store.call(tenant, kept.call))) == 2


def test_up_17_an_objection_is_decided_with_a_reason(desk: Desk) -> None:
    request = desk.open(Right.OBJECTION)
    desk.identify(request)
    wrongs: list[dict[str, Any]] = [{}, {"upheld": "yes", "reason": "x"}, {"upheld": True, "reason": ""}]
    for wrong in wrongs:
        with pytest.raises(Refused):
            desk.answer(request, **wrong)
    assert desk.answer(request, upheld=True, reason="no ground of ours outweighs it")["upheld"] is True
    assert desk.read(request).state is State.ANSWERED


@pytest.mark.parametrize("right", [Right.ERASURE, Right.RESTRICTION, Right.WITHDRAWAL])
def test_up_17_what_others_carry_out_is_closed_by_its_ids_alone(desk: Desk, right: Right) -> None:
    request = desk.open(right)
    desk.identify(request)
    wrongs: list[dict[str, Any]] = [{}, {"references": []}, {"references": ["done"]}, {"references": "0" * 32}]
    for wrong in wrongs:
        with pytest.raises(Refused):
            desk.answer(request, **wrong)
    assert desk.answer(request, references=[new_id()])


@pytest.mark.parametrize("right", [right for right in Right if right not in EXPORTING])
def test_only_access_and_portability_have_an_export(desk: Desk, right: Right) -> None:
    request = desk.open(right)
    desk.identify(request)
    with pytest.raises(Refused):
        desk.book.plan(desk.tenant, request)


def test_a_refusal_names_its_ground(desk: Desk) -> None:
    request = desk.open()
    with pytest.raises(Refused):
        desk.take(request, Step.REFUSE, ground="")
    refused = desk.take(request, Step.REFUSE, ground="identity not established, Art. 12(2)")
    assert refused.history[-1]["ground"] == "identity not established, Art. 12(2)"


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("step", list(Step))
def test_what_the_table_does_not_name_is_refused(state: State, step: Step) -> None:
    request = Request(
        Right.OBJECTION, RECEIVED, ZONE, SUBJECT, THIRTY, state=state, matches=(Matched(CallId("0" * 32), "caller"),)
    )
    facts = {
        "how": "x",
        "reason": "x",
        "ground": "x",
        "words": "original",
        "matches": [{"call": "1" * 32, "who": "caller"}],
    }
    if step in TABLE[state]:
        assert request.take(step, NOW, OFFICER, **facts).state is TABLE[state][step]
    else:
        with pytest.raises(Refused):
            request.take(step, NOW, OFFICER, **facts)


def test_ends_are_ends() -> None:
    assert all(not TABLE[state] for state in State if state not in OPEN)


def test_ip_09_an_extension_comes_in_time_once_and_with_a_reason(desk: Desk) -> None:
    request = desk.open(deadlines=Deadlines())
    first = desk.read(request).due_s
    with pytest.raises(Refused, match="reason"):
        desk.take(request, Step.EXTEND, reason="")
    with pytest.raises(Refused, match="run out"):
        desk.take(request, Step.EXTEND, first, reason="many calls")
    extended = desk.take(request, Step.EXTEND, first - 1, reason="many calls")
    assert datetime.fromtimestamp(extended.due_s, UTC).date() == date(2026, 6, 2)
    with pytest.raises(Refused, match="before"):
        desk.take(request, Step.EXTEND, first - 1, reason="still many")


def test_cl_08_a_policy_without_extension_grants_none(desk: Desk) -> None:
    request = desk.open(deadlines=Deadlines(days=14, months=0, extension_months=0))
    with pytest.raises(Refused, match="no extension"):
        desk.take(request, Step.EXTEND, reason="many calls")


def test_up_18_half_four_fifths_and_the_end_are_told_once_each(desk: Desk) -> None:
    request = desk.open()
    told = [
        [reminder.share for reminder in desk.book.remind(desk.tenant, NOW + days * DAY)]
        for days in (1, 14, 16, 17, 25, 30, 31, 32)
    ]
    assert told == [[], [], [0.5], [], [0.8], [], [ALL], []]
    counted = desk.book.counts(desk.tenant, NOW + 32 * DAY)
    assert (counted["received"], counted["overdue"]) == (1, 1)
    desk.take(request, Step.REFUSE, NOW + 33 * DAY, ground="identity not established")
    assert desk.book.counts(desk.tenant, NOW + 34 * DAY)["overdue"] == 0
    assert desk.book.remind(desk.tenant, NOW + 99 * DAY) == []


def test_up_18_the_clock_goes_on_while_the_server_was_down(desk: Desk) -> None:
    desk.open()
    assert [r.share for r in desk.book.remind(desk.tenant, NOW + 60 * DAY)] == [0.5, 0.8, ALL]


def test_a_request_is_its_tenants_alone_and_sealed(desk: Desk, store: Recordings, tmp_path: Path) -> None:
    request = desk.open()
    with pytest.raises(NotFound):
        desk.book.read(store.tenant("beta"), request)
    assert list(desk.book.all(store.tenant("beta"))) == []
    assert [id for id, _ in desk.book.all(desk.tenant)] == [request]
    assert b"Anneveld" not in files_below(tmp_path)


def test_an_erased_call_is_told_when_it_is_named(desk: Desk, kept: Kept, store: Recordings) -> None:
    request = desk.open()
    store.erase_call(desk.tenant, kept.call, ground="Art. 17(1)", actor="test")
    assert desk.match(request, (kept.call, kept.id_of(ALICE))) == [kept.call]
    with pytest.raises(NotFound):
        desk.match(request, (CallId(new_id()), "caller"))


def test_a_request_comes_today_or_came_in_the_last_year(desk: Desk) -> None:
    for days in (-1, 400):
        with pytest.raises(Refused):
            desk.book.open(
                *(desk.tenant, Right.ACCESS, SUBJECT),
                received=date.fromordinal(RECEIVED.toordinal() - days),
                deadlines=THIRTY,
                zone=ZONE,
                now_s=NOW,
            )


def test_a_record_comes_back_as_it_was(desk: Desk, kept: Kept) -> None:
    request = desk.open()
    desk.match(request, (kept.call, kept.id_of(ALICE)))
    desk.identify(request)
    desk.decide(request)
    found = desk.read(request)
    assert Request.parse(found.to_json()) == found


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b'{"format": "callvault request v1"}', b'{"format": "x"}'])
def test_what_is_no_request_is_malformed(text: bytes) -> None:
    with pytest.raises(Malformed):
        Request.parse(text)
