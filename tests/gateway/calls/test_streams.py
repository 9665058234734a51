"""Recording sessions on a real switchboard and store: what changes while the streams go on, and that it is kept."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from gateway.calls.call import Call
from gateway.calls.roster import Roster
from gateway.calls.streams import TRACKS_MAX, lines_of
from media.messages import Close, Open, Release, Update
from media.sdp import SessionDescription, parse
from storage.model import CallState, Kind
from tests.gateway.calls.test_roster import document, ids
from tests.gateway.calls.test_switchboard import PARTIES, Bench, bench, offer, run

FIRST = document(("ann", "1"), ("bob", "2"))
TRANSFERRED = document(("ann", "1"), ("carol", "2"))


def begun(b: Bench, described: SessionDescription | None = None, metadata: bytes = FIRST) -> tuple[Call, Roster]:
    described = described or offer()
    roster = Roster(lines_of(described))
    roster.hear([metadata], 0.0)
    call = b.board.begin(b.match(), described, PARTIES, roster)
    b.answer(call, described)
    return call, roster


async def ended(b: Bench, call: Call) -> None:
    b.board.end(call, "bye")
    await b.board.settled(10)


def tracks_of(b: Bench, call: Call) -> list[dict[str, Any]]:
    """The sealed documents of the call's audio, in the order of their artefacts."""
    record = b.recordings.call(call.tenant, call.id)
    return [
        {"participant": found.ref.participant, **json.loads(b.recordings.document(call.tenant, found.ref.artefact))}
        for found in record.find(Kind.AUDIO)
    ]


def sealed(b: Bench, call: Call, kind: Kind) -> Any:
    record = b.recordings.call(call.tenant, call.id)
    return json.loads(b.recordings.document(call.tenant, record.find(kind)[0].ref.artefact))


def test_a_transfer_hands_the_ports_to_another_leg_with_an_artefact_of_its_own(tmp_path: Path) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            call, roster = begun(b)
            assert call.saved is not None
            await call.saved
            before, (anns, bobs) = len(b.worker.commands), list(call.legs)
            b.board.update(call, offer(), [TRANSFERRED])
            carols = call.legs[1]
            await asyncio.gather(*call.changes)
            closed, opened = [c for c in b.worker.commands[before:] if isinstance(c, Close | Open)]
            assert closed == Close(bobs.number)
            assert isinstance(opened, Open)
            assert (opened.leg, opened.continues, opened.origin_ns) == (carols.number, True, call.origin_ns)
            assert (carols.pair, call.legs[0], call.former) == (bobs.pair, anns, [bobs])
            assert opened.sink["participant"] == ids(roster)["carol"]
            assert opened.sink["artefact"] not in {leg.artefact.ref.artefact for leg in (anns, bobs) if leg.artefact}
            assert b.worker.commands[-1] == Release(carols.number)  # its key row is durable
            await ended(b, call)
            known = ids(roster)
            found = tracks_of(b, call)
            assert [track["participant"] for track in found] == [known["ann"], known["bob"], known["carol"]]
            assert [(track["index"], track["line"], track["label"]) for track in found] == [
                (0, 0, "1"),
                (1, 1, "2"),
                (2, 1, "2"),
            ]
            assert found[1]["until_ms"] == found[2]["from_ms"] > 0
            assert [p["id"] for p in found[2]["participants"]] == [known["carol"]]

    run(work())


def test_a_change_that_comes_before_the_call_is_durable_waits_for_it_and_so_does_the_end(tmp_path: Path) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            call, _ = begun(b)
            b.board.streams.told(call, [TRANSFERRED])
            await ended(b, call)
            assert len(tracks_of(b, call)) == 3
            assert b.recordings.call(call.tenant, call.id).state is CallState.NO_MEDIA

    run(work())


def test_metadata_without_a_description_say_who_is_there_and_are_sealed_within_a_second(tmp_path: Path) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            call, roster = begun(b, metadata=document(("ann", "1"), ("bob", "2"), names=False))
            before = len(b.worker.commands)
            b.board.streams.told(call, [FIRST])
            while call.noting is not None:
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.2)
            identity = sealed(b, call, Kind.IDENTITY)["recording_session"]
            assert [found["name"] for found in identity["participants"]] == ["Name of ann", "Name of bob"]
            assert [found["xml"].encode() for found in identity["metadata"]][1] == FIRST
            assert identity["sessions"] == list(roster.session_ids) == ["cs"]
            assert not [c for c in b.worker.commands[before:] if isinstance(c, Open | Close)]  # nobody else is heard
            await ended(b, call)
            detail = json.dumps(sealed(b, call, Kind.CALL_DETAIL)["recording_session"])
            assert "example.test" not in detail and "Name of" not in detail

    run(work())


HELD = "m=audio 40002 RTP/AVP 8\na=inactive\na=label:2\n"
SENT = "m=audio 40002 RTP/AVP 8\na=sendonly\na=label:2\n"


def changed(old: str, new: str) -> SessionDescription:
    """The offer with something else in it, under the same version: OpenSIPS does not raise it."""
    text = offer().to_bytes().decode().replace("\r\n", "\n")
    assert old in text
    return parse(text.replace(old, new).encode())


def test_hold_resume_and_a_new_port_are_timed_facts_of_their_line(tmp_path: Path) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            call, _ = begun(b)
            b.board.update(call, changed(SENT, HELD), [])
            b.board.update(call, offer(), [])
            b.board.update(call, changed("40002", "40040"), [FIRST])  # Metaswitch says everything again
            assert b.worker.kinds().count("Open") == 2
            updates = [c for c in b.worker.commands if isinstance(c, Update) and c.leg == call.legs[1].number]
            assert [(update.receiving, update.remote) for update in updates] == [
                (False, ("127.0.0.1", 40002)),
                (True, ("127.0.0.1", 40002)),
                (True, ("127.0.0.1", 40040)),
            ]
            await ended(b, call)
            events = sealed(b, call, Kind.CALL_DETAIL)["recording_session"]["events"]
            assert [(event["what"], event["line"]) for event in events] == [("held", 1), ("resumed", 1), ("moved", 1)]
            assert [event["at_ms"] for event in events] == sorted(event["at_ms"] for event in events)

    run(work())


def test_a_new_m_line_gets_a_leg_and_its_participant_a_track(tmp_path: Path) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            one = parse(offer().to_bytes().split(b"m=audio 40002")[0])
            call, roster = begun(b, one, document(("ann", "1")))
            b.board.update(call, offer(), [FIRST])
            assert [leg.index for leg in call.legs] == [0, 1]
            opened = [c for c in b.worker.commands if isinstance(c, Open)][-1]
            assert (opened.continues, opened.remote) == (False, ("127.0.0.1", 40002))
            await ended(b, call)
            assert [track["participant"] for track in tracks_of(b, call)] == [ids(roster)["ann"], ids(roster)["bob"]]

    run(work())


def test_a_stream_whose_key_cannot_be_saved_costs_that_track_alone_and_is_said(tmp_path: Path) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            call, _ = begun(b)
            assert call.saved is not None and call.new is not None
            await call.saved
            b.recordings.put_documents(call.new, {}, CallState.ENDED)  # somebody has ended it: it grows no more
            b.board.update(call, offer(), [TRANSFERRED])
            await ended(b, call)
            assert len(tracks_of(b, call)) == 2
            assert sealed(b, call, Kind.CALL_DETAIL)["recording_session"]["events"][-1]["what"] == "not_stored"
            assert b.book.counters["streams_unsaved"] == 1

    run(work())


def test_a_worker_that_dies_leaves_every_track_its_name_and_what_was_told_last(tmp_path: Path) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            call, _ = begun(b)
            b.board.update(call, offer(), [TRANSFERRED])
            await asyncio.gather(*call.changes)
            b.board.on_media_lost(b.worker, None)
            await ended(b, call)
            found = tracks_of(b, call)
            assert [(track["index"], track["label"], track["line"]) for track in found] == [
                (0, "1", 0),
                (1, "2", 1),
                (2, "2", 1),
            ]
            kept = sealed(b, call, Kind.IDENTITY)["recording_session"]["metadata"]
            assert [entry["xml"].encode() for entry in kept] == [FIRST, TRANSFERRED]

    run(work())


def test_a_client_that_changes_participants_for_ever_stays_within_the_limit_and_keeps_its_audio(tmp_path: Path) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            call, _ = begun(b)
            for number in range(TRACKS_MAX + 10):
                b.board.streams.told(call, [document(("ann", "1"), (f"p{number}", "2"))])
            assert len(call.every_leg) == TRACKS_MAX
            assert len(call.legs) == 2
            await ended(b, call)
            assert len(tracks_of(b, call)) == TRACKS_MAX

    run(work())


def test_two_recording_servers_sessions_of_one_call_are_two_calls_that_know_nothing_of_each_other(
    tmp_path: Path,
) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            (one, first), (two, second) = begun(b), begun(b)
            assert first.session_ids == second.session_ids == ("cs",)
            b.board.end(one, "bye")
            b.board.update(two, offer(), [TRANSFERRED])
            await ended(b, two)
            assert (len(tracks_of(b, one)), len(tracks_of(b, two))) == (2, 3)
            people = {track["participant"] for call in (one, two) for track in tracks_of(b, call)}
            assert len(people) == 5

    run(work())
