"""What is kept of a call beside its audio: these fields, and no others. A new one is argued for here.

Both numbers, date, time and duration (SP-08), and what says how the recording came about: who was told, what is missing
and why. Names, addresses and protocol identifiers stand in `identity`, which has its own retention.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from gateway.calls.call import Call
from gateway.calls.roster import Roster
from gateway.calls.streams import lines_of
from gateway.ingest.parties import parties_of
from gateway.policy import NEVER_KEPT, Trunk
from gateway.sip.message import Request, parse
from media.messages import Played
from storage.model import Kind
from tests.gateway.calls.test_roster import document
from tests.gateway.calls.test_switchboard import PARTIES, Bench, bench, offer, prompted, run

WHO_AND_WHEN = {"from", "to", "private", "emergency", "started", "answered", "ended", "duration_ms", "trunk"}
HOW_SURE = {"version", "numbers", "clock.synchronised", "clock.error_ms"}
"""By which rules numbers were read, and how right the clock was."""
WHAT_BECAME_OF_IT = {"recorded", "why", "recorded_because", "missing_ms[]", "purpose", "language", "keys_away_ms"}
"""The last: until when no key was there, and all of it in memory, where a span may be missing for that reason."""
HOW_IT_CAME = {"signalling", "media", "suites", "suites[]", "encrypted_in_transit"}
WHO_WAS_TOLD = {f"announcement.{name}" for name in ("prompt", "language", "complete", "start_ms", "end_ms", "by")}
PAUSES = {f"pauses[].{name}" for name in ("start_ms", "end_ms", "by", "ended_by")}
"""By which role, never by whom."""
SESSION = {
    "recording_session.by",
    "recording_session.metadata",
    *(f"recording_session.participants[].{name}" for name in ("id", "from_ms", "until_ms", "joined")),
    *(f"recording_session.events[].{name}" for name in ("at_ms", "what", "reason", "line")),
    *(f"recording_session.tracks[].{name}" for name in ("artefact", "label", "line", "mixed", "from_ms", "until_ms")),
    *(f"recording_session.tracks[].participants[].{name}" for name in ("id", "from_ms", "until_ms")),
}
"""Ids, labels and times."""
EMPTY = {"clock", "announcement", "pauses", "recording_session", "missing_ms", "pauses[]", "recording_session.events"}

CALL_DETAIL = WHO_AND_WHEN | HOW_SURE | WHAT_BECAME_OF_IT | HOW_IT_CAME | WHO_WAS_TOLD | PAUSES | SESSION | EMPTY
IDENTITY = {"display", "from_uri", "to_uri", "from_user", "to_user", "request_uri", "source", "sip_call_id"}
IDENTITY |= {"asserted_uri"}

TELLING = {
    "P-Access-Network-Info": "3GPP-E-UTRAN-FDD; utran-cell-id-3gpp=CELLCANARY2620242",
    "Cellular-Network-Info": "3GPP-E-UTRAN-FDD; utran-cell-id-3gpp=CELLCANARY2620243",
    "Geolocation": "<cid:GEOCANARY@example.net>",
    "Geolocation-Routing": "yes",
    "Contact": '<sip:100@127.0.0.1>;+sip.instance="<urn:gsma:imei:35-209900-CANARY-0>"',
}
PIDF_LO = (
    "<presence xmlns='urn:ietf:params:xml:ns:pidf'><gp:geopriv xmlns:gp='urn:ietf:params:xml:ns:pidf:geopriv10'>"
    "<gml:pos xmlns:gml='http://www.opengis.net/gml'>52.37 4.89 POSCANARY</gml:pos></gp:geopriv></presence>"
)
CANARIES = (b"CELLCANARY", b"GEOCANARY", b"CANARY-0", b"POSCANARY", b"52.37")


def paths(value: Any, where: str = "") -> Iterator[str]:
    """Where everything in a document stands: `a.b`, and `a[]` for what is in a list."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from paths(inner, f"{where}.{name}" if where else name)
    elif isinstance(value, list) and value:
        for inner in value:
            yield from paths(inner, f"{where}[]")
    else:
        yield where.replace("[][]", "[]")


async def told(b: Bench, call: Call) -> tuple[Any, Any]:
    """Call detail and identity of a call that has ended."""
    b.answer(call, offer())
    for leg in call.legs:
        b.board.on_media(Played(leg.number, 20_000, 2_020_000, complete=True))
    assert call.saved is not None
    await call.saved
    b.board.end(call, "bye")
    await b.board.settled(15)
    record = b.recordings.call(call.tenant, call.id)
    opened = [
        json.loads(b.recordings.document(call.tenant, record.find(kind)[0].ref.artefact))
        for kind in (Kind.CALL_DETAIL, Kind.IDENTITY)
    ]
    return opened[0], opened[1]


def test_sp_08_call_detail_and_identity_have_these_fields_and_no_others(tmp_path: Path) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            prompted(b)
            plain = b.board.begin(b.match(rating=True), offer(), PARTIES)
            roster = Roster(lines_of(offer()))
            roster.hear([document(("ann", "1"), ("bob", "2")), b"<no metadata"], 0.0)
            session = b.board.begin(b.match(), offer(), PARTIES, roster)
            for call in (plain, session):
                detail, identity = await told(b, call)
                assert set(paths(detail)) <= CALL_DETAIL, set(paths(detail)) - CALL_DETAIL
                assert detail.keys() >= WHO_AND_WHEN
                assert identity.keys() - {"recording_session"} == IDENTITY

    run(work())


def invite(headers: dict[str, str]) -> Request:
    lines = [
        "INVITE sip:200@test SIP/2.0",
        "Via: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bK1",
        "From: <sip:100@test>;tag=1",
        "To: <sip:200@test>",
        "Call-ID: a-call",
        "CSeq: 1 INVITE",
        *(f"{name}: {value}" for name, value in headers.items()),
        "Content-Length: 0",
    ]
    made = parse(("\r\n".join(lines) + "\r\n\r\n").encode())
    assert isinstance(made, Request)
    return made


def test_sp_09_nothing_of_a_callers_cell_device_or_place_is_taken_from_a_request() -> None:
    parties = parties_of(invite(TELLING), "127.0.0.1", trusted=True, found_by="X-Order")
    assert not any(canary.decode() in repr(parties) for canary in CANARIES)
    assert parties == parties_of(invite({}), "127.0.0.1", trusted=True)


@pytest.mark.parametrize("name", NEVER_KEPT)
def test_sp_09_no_trunk_finds_its_calls_by_a_callers_cell_or_device(name: str) -> None:
    with pytest.raises(ValidationError, match="nothing of it is ever kept"):
        Trunk.model_validate({"name": "t", "tenant": "a", "sources": ("127.0.0.1/32",), "found_by": name.title()})


def test_ip_03_a_recording_clients_metadata_is_not_kept_where_it_tells_a_place(tmp_path: Path) -> None:
    located = document(("ann", "1"), ("bob", "2")).replace(b"<session ", f"{PIDF_LO}<session ".encode(), 1)

    async def work() -> None:
        async with bench(tmp_path) as b:
            roster = Roster(lines_of(offer()))
            roster.hear([located, located.decode().encode("utf-16-le")], 0.0)
            call = b.board.begin(b.match(), offer(), replace(PARTIES, private=False), roster)
            detail, identity = await told(b, call)
            session = identity["recording_session"]
            assert (session["metadata"], session["metadata_omitted"]) == ([], 2)
            assert {person["name"] for person in session["participants"]} == {"Name of ann", "Name of bob"}
            events = detail["recording_session"]["events"]
            assert {"at_ms": 0.0, "what": "metadata_not_kept", "reason": "location"} in events
            kept = json.dumps([detail, identity]).encode()
            assert not any(canary in kept for canary in CANARIES)

    run(work())
