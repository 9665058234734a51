"""Emergency calls: nothing of ours delays or refuses them, and they are recorded only where the policy says why."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from gateway.calls.admission import Busy
from gateway.calls.call import Call, Parties
from gateway.calls.callbook import Beginning
from gateway.calls.identifiers import Sort, wanted
from gateway.calls.roster import Roster
from gateway.calls.streams import lines_of
from gateway.policy import Tenant
from gateway.sip.siprec.session import Named
from media.messages import Open
from storage.errors import Unavailable
from storage.model import CallState, Kind
from tests.gateway.calls.test_switchboard import PARTIES, Bench, bench, offer, prompted, run, stats

EMERGENCY = replace(PARTIES, request_uri="sip:112@test", from_uri="sip:+31201234567@test", private=True)
SESSION = "hVpd7YQgRW2nD22h7q60JQ=="
METADATA = f"""<recording xmlns="urn:ietf:params:xml:ns:recording:1"><datamode>partial</datamode>
<session session_id="{SESSION}"/></recording>""".encode()
REASON = "Art. 11(1) of the telecommunications act, agreed with the dispatch centre"


def document(b: Bench, call: Call, kind: Kind) -> dict[str, Any]:
    record = b.recordings.call(call.tenant, call.id)
    found: dict[str, Any] = json.loads(b.recordings.document(call.tenant, record.find(kind)[0].ref.artefact))
    return found


async def finished(b: Bench, *calls: Call) -> None:
    for call in calls:
        b.board.end(call, "bye")
    await b.board.settled(5)


def sinks(b: Bench) -> list[dict[str, str]]:
    return [dict(command.sink) for command in b.worker.commands if isinstance(command, Open)]


@pytest.mark.parametrize(
    "parties",
    [
        EMERGENCY,
        replace(EMERGENCY, request_uri="tel:112"),
        replace(EMERGENCY, request_uri="urn:service:sos"),
        replace(EMERGENCY, request_uri="URN:service:SOS.police"),
        replace(EMERGENCY, request_uri="sip:110@test"),
        replace(EMERGENCY, request_uri="sip:recorder@test", to_uri="sip:112@test"),
        replace(EMERGENCY, request_uri="sip:recorder@test", to_uri="urn:service:sos.ambulance"),
    ],
    ids=lambda parties: f"{parties.request_uri} {parties.to_uri}",
)
def test_sp_12_it_is_answered_at_once_and_kept_is_who_called_and_no_sound(tmp_path: Path, parties: Parties) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            prompted(b)
            call = b.board.begin(b.match(emergency=["112", "110"]), offer(), parties)
            assert (call.emergency, call.announcement) == (True, None)
            b.answer(call, offer())
            assert sinks(b) == [{}, {}]
            await finished(b, call)
            record = b.recordings.call(call.tenant, call.id)
            assert (record.state, record.find(Kind.AUDIO)) == (CallState.NOT_RECORDED, ())
            detail = document(b, call, Kind.CALL_DETAIL)
            assert (detail["why"], detail["emergency"], detail["from"]) == ("emergency call", True, None)
            assert document(b, call, Kind.IDENTITY)["from_uri"] == "sip:+31201234567@test"

    run(work())


def test_sp_12_no_limit_of_ours_refuses_it(tmp_path: Path) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            for trouble in (stats(full=True), stats(lag_ms=9000)):
                b.hear(trouble)
                with pytest.raises(Busy):
                    b.board.begin(b.match(), offer(), PARTIES)
                await answered_and_finished(b)
            b.hear(stats())
            ordinary = []
            with pytest.raises(Busy, match="no ports free"):
                while True:
                    ordinary.append(b.board.begin(b.match(), offer(), PARTIES))
            await answered_and_finished(b)
            for call in ordinary:
                b.answer(call, offer())
            await finished(b, *ordinary)

    run(work())


async def answered_and_finished(b: Bench) -> None:
    call = b.board.begin(b.match(), offer(), EMERGENCY)
    b.answer(call, offer())
    assert b.ended == []
    await finished(b, call)
    assert b.recordings.call(call.tenant, call.id).state is CallState.NOT_RECORDED


def test_it_goes_on_without_a_media_worker(tmp_path: Path) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            b.worker.dead = True
            before = b.board.begin(b.match(), offer(), EMERGENCY)
            assert before.worker is None
            b.answer(before, offer())
            b.worker.dead = False
            during = b.board.begin(b.match(), offer(), EMERGENCY)
            b.answer(during, offer())
            b.board.on_media_lost(b.worker, None)
            assert b.ended == []
            await finished(b, before, during)
            for call in (before, during):
                assert b.recordings.call(call.tenant, call.id).state is CallState.NOT_RECORDED

    run(work())


def test_it_goes_on_when_the_store_cannot_be_written(tmp_path: Path) -> None:
    def fail(group: Sequence[Beginning]) -> Sequence[None]:
        raise Unavailable("disk full")

    async def work() -> None:
        async with bench(tmp_path, fail) as b:
            call = b.board.begin(b.match(), offer(), EMERGENCY)
            b.answer(call, offer())
            assert call.saved is not None
            assert await call.saved is False
            assert b.ended == []
            await finished(b, call)

    run(work())


def test_sp_12_it_waits_for_no_key_service(tmp_path: Path) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            (tmp_path / "keys").rename(tmp_path / "away")
            call = b.board.begin(b.match(), offer(), EMERGENCY)
            b.answer(call, offer())
            assert b.worker.kinds() == ["Open", "Open"]
            await finished(b, call)
            (tmp_path / "away").rename(tmp_path / "keys")

    run(work())


def test_it_is_recorded_where_the_policy_says_why_still_without_announcement_or_limit(tmp_path: Path) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            prompted(b)
            match = b.match(record_emergency=REASON)
            call = b.board.begin(match, offer(), EMERGENCY)
            b.answer(call, offer())
            assert call.announcement is None
            assert all(sinks(b))
            await finished(b, call)
            detail = document(b, call, Kind.CALL_DETAIL)
            assert (detail["recorded"], detail["recorded_because"]) == (True, REASON)
            b.hear(stats(full=True))
            full = b.board.begin(match, offer(), EMERGENCY)
            b.answer(full, offer())
            await finished(b, full)
            detail = document(b, full, Kind.CALL_DETAIL)
            assert (detail["recorded"], detail["recorded_because"], detail["why"]) == (False, None, "spool full")

    run(work())


@pytest.mark.parametrize("value", [True, "yes", "true", "x" * 201, "two\nlines that are long enough"])
def test_recording_it_takes_words(value: object) -> None:
    with pytest.raises(ValidationError):
        Tenant.model_validate({"name": "acme", "record_emergency": value})


def test_who_takes_part_in_a_recording_session_says_it_too_and_finds_the_call(tmp_path: Path) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            roster = Roster(lines_of(offer()))
            roster.name([Named("sip:+31201234567@carrier.example", (0,)), Named("sip:112@carrier.example", (1,))])
            recorder = replace(PARTIES, request_uri="sip:recorder@test", to_uri="sip:recorder@test")
            call = b.board.begin(b.match(), offer(), recorder, roster)
            assert call.emergency
            b.answer(call, offer())
            roster.hear([METADATA], 10.0)  # told while the call stands
            await finished(b, call)
            for sort, text in ((Sort.NUMBER, "+31201234567"), (Sort.NUMBER, "112"), (Sort.SIPREC, SESSION)):
                found = b.recordings.find(call.tenant, wanted(sort, text, sees_withheld=False))
                assert [record.id for record in found] == [call.id]

    run(work())
