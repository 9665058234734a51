"""Recording sessions against the whole server: the table's offers over TCP and in UDP fragments, and what changes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import sleep as wait
from typing import Any

import numpy as np
import pytest

from gateway.client import Client as Api
from tests.e2e.judge import HOST, Verdict, needs_sipp
from tests.e2e.siprec import PLAIN, Client, Step, enter, network, reassembled, small_network
from tests.e2e.system import System, running, status, until
from tests.gateway.calls.test_roster import document
from tests.gateway.ingest.test_siprec_vectors import TABLE, invites
from tests.gateway.sip.siprec.test_fork import FAR, NEAR

pytestmark = needs_sipp

CONFIG = """
[[tenants]]
name = "default"

[[trunks]]
name = "clients"
tenant = "default"
sources = ["127.0.0.0/8"]
nat = true                # Connectel's offers name no address at all
"""
TCP, UDP = ("-t", "t1"), ("-t", "u1")
ONE = Verdict(1, 0, 0)
AT_ONCE = 4
OFFERS = [
    (name, number)
    for name, described in TABLE.items()
    for number, expected in enumerate(described)
    if all(line.direction == "recvonly" for line in expected.lines)  # nothing is sent where nothing may be
]
TYPE = "multipart/mixed;boundary=parts"
FIRST = document(("ann", "1"), ("bob", "2"))
TRANSFERRED = document(("ann", "1"), ("carol", "2"))
CONFERENCE = document(("ann", "1"), ("bob", "2"), ("carol", "2"))


@pytest.fixture(scope="module")
def apart() -> Iterator[bool]:
    with small_network() as found:
        yield found


@pytest.fixture(scope="module")
def system(apart: bool, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("siprec")
    (folder / "callvault.toml").write_text(CONFIG)
    with running(folder, CALLVAULT_CONFIG=str(folder / "callvault.toml")) as started:
        yield started


def done(verdict: Verdict) -> Verdict:
    """Without what sipp had to send again on a slow machine."""
    return Verdict(verdict.successful, verdict.failed, 0)


def call_of(client: Api, user: str) -> dict[str, Any]:
    """The call of that user once it is over, with its tracks."""

    def ask() -> dict[str, Any] | None:
        for row in client.json("/v1/calls?limit=100")["calls"]:
            if (row.get("detail") or {}).get("from") == user and row["state"] != "live":
                found: dict[str, Any] = client.json(f"/v1/calls/{row['id']}")
                return found
        return None

    return until(ask)


def heard(client: Api, call: dict[str, Any], track: int) -> tuple[int, Any]:
    """Packets kept of a track, and what they sound like."""
    facts = call["tracks"][track]["track"]["facts"]
    ((_, _, at_us),) = facts["map"]
    wav = client.get(f"/v1/calls/{call['id']}/audio?track={track}")
    begins = round(at_us * 8 / 1000)
    return facts["packets"], np.frombuffer(wav[44:], "<i2")[begins : begins + 160 * facts["packets"]]


def said(recorder: Client, line: int) -> Any:
    return PLAIN[recorder.lines[line].codec].decode(recorder.lines[line].coded())


def offered(name: str, number: int, recorder: Client) -> Step:
    """An offer of the table with our own address and ports in it."""
    request = invites(name)[number]
    body = request.body.decode()
    ports = iter([line.port for line in recorder.lines])
    body = re.sub(r"(?m)^m=audio \d+", lambda _: f"m=audio {next(ports)}", body)
    body = re.sub(r"(?m)^c=IN IP4 \S+", f"c=IN IP4 {HOST}", body)
    return Step("INVITE", request.headers.first("Content-Type") or "", body)


def record(system: System, folder: Path, name: str, number: int, way: tuple[str, ...]) -> tuple[Client, Verdict]:
    user = f"{way[1]}-{name.removesuffix('.txt')}-{number}"
    recorder = Client(folder / user, user, [line.codec for line in TABLE[name][number].lines])
    return recorder, done(recorder.run(system.sip[1], [offered(name, number, recorder)], *way))


@pytest.mark.parametrize("way", [TCP, UDP], ids=["tcp", "udp"])
def test_every_offer_is_recorded_as_the_table_says(
    system: System, apart: bool, way: tuple[str, ...], tmp_path: Path
) -> None:
    client, before = system.client(), reassembled()
    with ThreadPoolExecutor(AT_ONCE, initializer=enter, initargs=(network(),)) as threads:
        runs = [threads.submit(record, system, tmp_path, name, number, way) for name, number in OFFERS]
    for (name, number), run in zip(OFFERS, runs, strict=True):
        recorder, verdict = run.result()
        assert verdict == ONE, name
        expected = TABLE[name][number]
        assert re.findall(r"a=label:(\S+)", recorder.answers[0]) == [ln.label for ln in expected.lines if ln.label], (
            name
        )
        assert recorder.answers[0].count("a=recvonly") == len(expected.lines), name
        call = call_of(client, recorder.user)
        assert call["state"] in ("ended", "stored")
        session = call["detail"]["recording_session"]
        assert (session["metadata"], len(session["participants"])) == (expected.metadata, len(expected.people)), name
        assert call["detail"]["announcement"] == {"by": "recording client"}
        for index, line in enumerate(expected.lines):
            track = call["tracks"][index]["track"]
            assert (track["label"], track["mixed"]) == (line.label or str(index), line.mixed)
            assert len(track["participants"]) == len(line.heard)
            packets, sound = heard(client, call, index)
            assert packets > 10, name
            assert (sound == said(recorder, index)[: 160 * packets]).all(), name
    if way == UDP:
        if not apart:
            pytest.skip("NO FRAGMENTS SEEN: a network with a small MTU needs root (CAP_SYS_ADMIN)")
        assert reassembled() - before >= sum("-offer" in name for name, _ in OFFERS) / 2  # those beyond an MTU


def multipart(recorder: Client, xml: bytes = b"", direction: str = "sendonly") -> tuple[str, str]:
    """Type and body: two m-lines on the client's ports, and metadata behind them."""
    sdp = f"v=0\no=- 1 1 IN IP4 {HOST}\ns=-\nc=IN IP4 {HOST}\nt=0 0\n"  # OpenSIPS leaves the version as it was
    for label, line in enumerate(recorder.lines, 1):
        sdp += f"m=audio {line.port} RTP/AVP 8\na=label:{label}\na={direction}\n"
    if not xml:
        return "application/sdp", sdp
    body = f"--parts\nContent-Type: application/sdp\n\n{sdp}\n--parts\nContent-Type: application/rs-metadata+xml\n"
    return TYPE, f"{body}Content-Disposition: recording-session\n\n{xml.decode()}\n--parts--\n"


@pytest.mark.parametrize(
    ("by", "change", "names"),
    [
        ("INVITE", TRANSFERRED, ["carol"]),
        ("UPDATE", TRANSFERRED, ["carol"]),  # metadata alone: no offer
        ("INVITE", CONFERENCE, ["bob", "carol"]),
    ],
    ids=["transfer", "transfer-by-update", "conference"],
)
def test_who_begins_to_be_heard_gets_a_track_and_no_packet_is_lost_or_kept_twice(
    system: System, by: str, change: bytes, names: list[str], tmp_path: Path
) -> None:
    recorder = Client(tmp_path, f"changing-{by}-{len(names)}", ["PCMA", "PCMA"])
    told = ("application/rs-metadata+xml", change.decode()) if by == "UPDATE" else multipart(recorder, change)
    steps = [Step("INVITE", *multipart(recorder, FIRST), 1000), Step(by, *told, 1000)]
    assert done(recorder.run(system.sip[1], steps, *TCP)) == ONE
    client = system.client()
    call = call_of(client, recorder.user)
    tracks = [found["track"] for found in call["tracks"]]
    assert [(t["index"], t["line"], t["label"]) for t in tracks] == [(0, 0, "1"), (1, 1, "2"), (2, 1, "2")]
    assert [t["mixed"] for t in tracks] == [False, False, len(names) > 1]
    assert tracks[1]["until_ms"] == tracks[2]["from_ms"]
    (before, first), (after, second) = heard(client, call, 1), heard(client, call, 2)
    everything = said(recorder, 1)
    assert min(before, after) > 20
    assert (first == everything[: 160 * before]).all()
    assert (second == everything[160 * before : 160 * (before + after)]).all()
    assert all(t["facts"][name] == 0 for t in tracks for name in ("lost", "foreign", "late"))
    assert len({found["participant"] for found in call["tracks"]}) == 3
    path = f"/v1/calls/{call['id']}/participants"
    people = {row["id"]: row["name"] for row in system.client(role="officer").json(path)["participants"]}
    heard_on = [sorted(people[presence["id"]] for presence in t["participants"]) for t in tracks]
    assert heard_on == [["Name of ann"], ["Name of bob"], [f"Name of {name}" for name in names]]
    assert status(system.client(role="agent"), path) == 403


def test_hold_and_resume_by_description_alone_are_timed_and_the_gap_says_hold(system: System, tmp_path: Path) -> None:
    recorder = Client(tmp_path, "hold", ["PCMA", "PCMA"])
    steps = [
        Step("INVITE", *multipart(recorder, FIRST)),
        Step("INVITE", *multipart(recorder, direction="inactive")),
        Step("INVITE", *multipart(recorder)),
    ]
    assert done(recorder.run(system.sip[1], steps, *TCP)) == ONE
    assert [re.findall("a=(recvonly|inactive)", answer) for answer in recorder.answers] == [
        ["recvonly"] * 2,
        ["inactive"] * 2,
        ["recvonly"] * 2,
    ]
    call = call_of(system.client(), recorder.user)
    events = call["detail"]["recording_session"]["events"]
    assert [event["what"] for event in events] == ["held"] * 2 + ["resumed"] * 2
    assert events[0]["at_ms"] > 400
    for found in call["tracks"]:
        assert "hold" in [gap[2] for gap in found["track"]["facts"]["gaps"]]


@pytest.mark.parametrize("first", ["near", "far"])
def test_a_phones_two_forks_are_the_tracks_of_one_call(system: System, first: str, tmp_path: Path) -> None:
    """Unified CM's, each a plain INVITE of its own: the second comes a second later, and goes a second later."""
    user = f"forked-{first}"
    forks = {"near": NEAR, "far": FAR}
    names = sorted(forks, key=lambda name: name != first)
    recorders = [
        Client(tmp_path / name, user, ["PCMA"], ";" + forks[name].replace("27298698", f"1{names.index('far')}"))
        for name in names
    ]

    def record(recorder: Client) -> Verdict:
        wait(1.0 * recorders.index(recorder))
        steps = [Step("INVITE", *multipart(recorder), pause_ms=2000)]
        return done(recorder.run(system.sip[1], steps, *TCP, headers=""))

    with ThreadPoolExecutor(2, initializer=enter, initargs=(network(),)) as threads:
        assert list(threads.map(record, recorders)) == [ONE, ONE]
    client = system.client()
    call = call_of(client, user)
    assert call["state"] in ("ended", "stored")
    session = call["detail"]["recording_session"]
    assert (session["by"], len(session["participants"])) == ("cisco", 2)
    assert [event["what"] for event in session["events"]] == ["hung_up"]
    tracks = [found["track"] for found in call["tracks"]]
    assert [track["label"] for track in tracks] == names
    assert len({presence["id"] for track in tracks for presence in track["participants"]}) == 2
    begun = [track["facts"]["first_us"] / 1e6 for track in tracks]
    assert begun[1] - begun[0] == pytest.approx(1.0, abs=0.8)  # on one clock
    for number, recorder in enumerate(recorders):
        packets, sound = heard(client, call, number)
        assert packets > 60
        assert (sound == said(recorder, 0)[: 160 * packets]).all()


def test_metadata_that_are_no_xml_and_a_plain_invite_of_ciscos_are_recorded_and_no_name_is_logged(
    system: System, tmp_path: Path
) -> None:
    client = system.client()
    broken = FIRST.replace(b"Name of", b"Smith & Sons")
    recorder = Client(tmp_path / "opensips", "opensips", ["PCMA", "PCMA"])
    assert done(recorder.run(system.sip[1], [Step("INVITE", *multipart(recorder, broken))], *TCP)) == ONE
    call = call_of(client, recorder.user)
    session = call["detail"]["recording_session"]
    assert (session["by"], session["metadata"], session["participants"]) == ("siprec", "unreadable", [])
    assert all(found["track"]["facts"]["packets"] > 10 for found in call["tracks"])

    recorder = Client(tmp_path / "cisco", "cisco", ["PCMA", "PCMA"])
    named = "".join(
        f'X-Cisco-Recording-Participant: sip:{who}@example.test;media-index="{line}"\n'
        for line, who in enumerate(("708090", "10000"))
    )
    steps = [Step("INVITE", *multipart(recorder))]
    assert done(recorder.run(system.sip[1], steps, *TCP, headers=named)) == ONE
    call = call_of(client, recorder.user)
    session = call["detail"]["recording_session"]
    assert (session["by"], len(session["participants"])) == ("cisco", 2)
    assert [len(found["track"]["participants"]) for found in call["tracks"]] == [1, 1]

    shown = system.log() + str(client.json("/v1/calls?limit=100"))
    for secret in ("Sons", "Name of", "example.test", "708090"):
        assert secret not in shown
