"""What becomes of every offer of drachtio's test data (tests/vectors/siprec): the table is the specification.

Bodies as they came; what their owners have blanked out is mended in the reading, and said beside it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.calls.offer import answerable
from gateway.calls.roster import Roster
from gateway.config import Settings
from gateway.ingest.keying import Keying
from gateway.ingest.negotiation import Negotiation
from gateway.ingest.recording import recording_of
from gateway.sip.message import Request
from gateway.sip.message import parse as parse_message
from gateway.sip.screening import screen
from gateway.tenants import Directory, Match
from media.sdp import SessionDescription, Terms, choose_codec, parse
from tests.gateway.sip.bench import packet

VECTORS = Path(__file__).parents[2] / "vectors" / "siprec"
SPLIT = b"__split_here__\n"  # between the descriptions of a file that has several

MENDED = {
    "broadworks-offer.txt": (
        (b"X.X.X.X", b"192.0.2.1"),
        (b"Content-Type:application/ +xml", b"Content-Type:application/rs-metadata+xml"),
    )
}
"""Its address, the name of a type, and (left as it is) metadata that has lost all its tags."""


@dataclass(frozen=True)
class Taken:
    """An m-line as we answer it: label, codec, direction; who is heard there, by address; whether they are mixed."""

    label: str | None
    codec: str
    direction: str = "recvonly"
    heard: tuple[str, ...] = ()
    mixed: bool = False


@dataclass(frozen=True)
class Expected:
    """Of one description: what is taken, where it comes from, which session, who takes part, what its metadata are."""

    lines: tuple[Taken, ...]
    sources: tuple[str | None, ...]  # None: it names no address that media could come from
    sessions: tuple[str, ...] = ()
    people: tuple[str, ...] = ()
    metadata: str = "none"


ANN, BOB = "sip:0771121212@52.57.92.239", "sip:0760516936@sip-cust1.connectel.io"
CONNECTEL = Expected(
    (Taken("1", "PCMU"), Taken("2", "PCMA")),  # two lines, and nothing says who sends which: nobody is guessed
    (None, None),  # no c= at all
    ("2+hKdGY+QvCKu8HYTdBouQ==",),
    (ANN, BOB),
    "read",
)
CISCO = ("sip:7301@35.162.237.204", "sip:7300@35.162.237.204")
SONUS = ("2249888500@172.16.198.55", "2249888012@172.16.195.72")
PROCOMM = ("sip:016190200@87.252.209.116", "Extension-016190619@speechpath.ie")
ACME = ("sip:9000@192.168.50.102", "sip:1002@192.168.50.10")
BROADWORKS = ("sip:9878942259@212.188.68.145", "sip:ASBCE@asbce.com")

TABLE: dict[str, tuple[Expected, ...]] = {
    "acme-siprec-offer.txt": (
        Expected(
            (Taken("16777227", "PCMU", heard=ACME[:1]), Taken("16777228", "PCMU", heard=ACME[1:])),
            ("192.168.50.140", "192.168.50.140"),
            ("AavRXwIIQj1Q39eJulTipQ==",),
            ACME,
            "read",
        ),
    ),
    "broadworks-offer-2.txt": (
        Expected(
            (Taken("10", "PCMA", heard=BROADWORKS[:1]), Taken("20", "PCMA", heard=BROADWORKS[1:])),
            ("10.201.1.168", "10.201.1.168"),
            ("00FA0800705D4C5DCAAC41",),
            BROADWORKS,
            "read",
        ),
    ),
    "broadworks-offer.txt": (Expected((Taken("1", "PCMA"),), ("192.0.2.1",), metadata="read"),),
    "cisco-siprec-offer.txt": (
        Expected(
            (Taken("1", "PCMU", heard=CISCO[:1]), Taken("2", "PCMU", heard=CISCO[1:])),
            ("172.31.93.236", "172.31.93.236"),
            ("kQNhKFdEEeeJ9tD/VsPGWA==",),
            CISCO,
            "read",
        ),
    ),
    "connectel-offer.txt": (CONNECTEL,),
    "connectel-offer2.txt": (CONNECTEL,),
    "connectel-offer3.txt": (CONNECTEL,),
    "inactive-sdp-offer.txt": (
        Expected(
            (Taken("1", "PCMU", "inactive"), Taken("2", "PCMU", "inactive")),  # and who sends nothing is heard nowhere
            ("192.168.1.2", "192.168.1.2"),
            ("GZBIusaXEeuxxK1dFIaIyA==",),
            ("sip:0733165805@192.168.40.34", "sip:+972546136443@192.168.10.140"),
            "read",
        ),
    ),
    "non-siprec-payload.txt": (Expected((Taken("1", "PCMU"),), ("172.31.93.236",)),),
    "procomm-siprec-offer.txt": (
        Expected(
            (Taken("a_leg", "PCMA", heard=PROCOMM[:1]), Taken("b_leg", "PCMA", heard=PROCOMM[1:])),
            ("89.185.131.7", "89.185.131.7"),
            ("ho9aUhEQTRS+31th7sHStA==",),
            PROCOMM,
            "read",
        ),
    ),
    "sample-sdp2.txt": (
        Expected((Taken("1", "PCMA"),), ("127.0.0.1",)),
        Expected((Taken("2", "PCMU"),), ("172.16.169.132",)),
    ),
    "sample-sdp3.txt": (
        Expected((Taken(None, "PCMA"),), ("167.99.54.110",)),  # sendrecv, which a recorder answers recvonly
        Expected((Taken(None, "PCMA", "inactive"),), ("167.99.54.110",)),  # recvonly: nothing would ever come
    ),
    "sample-sdps.txt": (
        Expected((Taken("1", "PCMU"),), ("172.16.169.132",)),
        Expected((Taken("2", "PCMU"),), ("172.16.169.132",)),
    ),
    "sonus-siprec-offer.txt": (
        Expected(
            (Taken("1", "PCMU", heard=SONUS[1:]), Taken("2", "PCMU", heard=SONUS[:1])),
            ("172.16.169.132", "172.16.169.132"),
            ("MTQ3YzA3YzEtNjdkNy0xMA==",),
            SONUS,
            "read",
        ),
    ),
}


def invites(name: str) -> list[Request]:
    """A file's bodies, each in an INVITE of its own as its client would send it."""
    data = (VECTORS / name).read_bytes()
    for blank, value in MENDED.get(name, ()):
        assert blank in data
        data = data.replace(blank, value)
    boundary = re.match(rb"\s*--(\S+)\n", data)
    bodies = [data] if boundary else [part.strip() + b"\n" for part in data.split(SPLIT)]
    kind = f"multipart/mixed;boundary={boundary[1].decode()}" if boundary else "application/sdp"
    found = []
    for body in bodies:
        message = parse_message(packet("INVITE", body=body, extra=f"Require: siprec\nContent-Type: {kind}"))
        assert isinstance(message, Request)
        found.append(message)
    return found


def taken(request: Request) -> Expected:
    """What the recording server makes of it."""
    assert screen(request) is None
    trunk = Directory(Settings()).find("127.0.0.1", "200")
    assert trunk is not None
    offer = parse(request.sdp)
    match, roster = recording_of(Match(trunk.trunk, trunk.tenant), request, offer)
    assert answerable(offer) and match.trunk.receive_only and roster is not None
    answer = answered(offer)
    assert [line.label for line in answer.media] == [line.label for line in offer.media]
    addresses = {p["id"]: p["addresses"][0] for p in roster.identity()["participants"]}  # type: ignore[attr-defined]  # JSON
    tracks = [roster.open(index, line.label or str(index)) for index, line in enumerate(offer.media)]
    lines = []
    for ours, track in zip(answer.media, tracks, strict=True):
        codec = choose_codec(ours)
        assert codec is not None and ours.port
        heard = tuple(addresses[presence.person] for presence in track.heard)
        lines.append(Taken(ours.label, codec.name, answer.direction(ours).value, heard, track.mixed))
    return Expected(
        tuple(lines),
        tuple(offer.address(line) for line in offer.media),
        roster.session_ids,
        tuple(addresses.values()),
        str(roster.facts()["metadata"]),
    )


def answered(offer: SessionDescription) -> SessionDescription:
    places = {index: ("192.0.2.9", 30_000 + 2 * index) for index in range(len(offer.media))}
    keying = Keying(Terms(), bytes)
    return parse(Negotiation(places, keying, origin_id=1, receive_only=True).answer(offer))


def test_the_table_has_every_file() -> None:
    assert {path.name for path in VECTORS.iterdir()} == {"LICENSE", *TABLE}


@pytest.mark.parametrize("name", TABLE)
def test_every_offer_is_taken_as_the_table_says(name: str) -> None:
    assert tuple(map(taken, invites(name))) == TABLE[name]


def test_an_m_line_without_a_codec_of_ours_is_refused_with_its_label_and_the_others_are_taken() -> None:
    (request,) = invites("acme-siprec-offer.txt")
    offer = parse(
        request.sdp.replace(b"20110 RTP/AVP 0\na=rtpmap:0 PCMU/8000", b"20110 RTP/AVP 18\na=rtpmap:18 G729/8000")
    )
    answer = answered(offer)
    assert [(line.port, line.label) for line in answer.media] == [(30_000, "16777227"), (0, "16777228")]


def test_a_part_that_is_insisted_on_and_not_known_is_refused_and_an_optional_one_is_left_aside() -> None:
    (request,) = invites("cisco-siprec-offer.txt")
    assert [part.media_type for part in request.parts][2:] == ["application/gtd"]
    insisting = Request.make(
        "INVITE",
        request.uri,
        request.headers,
        request.body.replace(b"signal;handling=optional", b"signal;handling=required"),
    )
    refusal = screen(insisting)
    assert refusal is not None and refusal.status == 415


def test_one_line_of_several_is_one_mixed_track() -> None:
    (request,) = invites("connectel-offer3.txt")
    offer = parse(request.sdp)
    alone = SessionDescription(offer.origin, offer.media[:1], offer.connection)
    _, roster = recording_of(_match(), request, alone)
    assert isinstance(roster, Roster)
    track = roster.open(0, "1")
    assert (track.mixed, len(track.heard)) == (True, 2)
    assert track.participant not in track.present  # the mix is nobody's own


def _match() -> Match:
    match = Directory(Settings()).find("127.0.0.1", "200")
    assert match is not None
    return match
