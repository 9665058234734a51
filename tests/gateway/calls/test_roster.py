"""Who is heard on which track from when to when, while participants come and go and streams go on."""

from __future__ import annotations

import json
from typing import Any

from gateway.calls.roster import EVENTS_MAX, IDENTITY_BYTES_MAX, PEOPLE_MAX, PRESENCES_MAX, Roster
from gateway.sip.siprec.session import Named
from gateway.sip.siprec.state import Line

LINES = [Line("1"), Line("2")]


def document(*people: tuple[str, str], mode: str = "complete", gone: str = "", names: bool = True) -> bytes:
    """Participants, each on the stream of a label ("": none)."""
    body = f"<dataMode>{mode}</dataMode><session session_id='cs'/>"
    for who, label in people:
        aor = f"<nameID aor='sip:{who}@example.test'><name>Name of {who}</name></nameID>" if names else ""
        sends = f"<send>s{label}</send>" if label else ""
        body += f"<participant participant_id='{who}'>{aor}</participant>"
        body += f"<participantstreamassoc participant_id='{who}'>{sends}</participantstreamassoc>"
    body += "".join(f"<stream stream_id='s{n}'><label>{n}</label></stream>" for n in (1, 2))
    if gone:
        over = "<disassociate-time>x</disassociate-time>"
        body += f"<participantsessionassoc participant_id='{gone}'>{over}</participantsessionassoc>"
    return f"<recording xmlns='urn:ietf:params:xml:ns:recording:1'>{body}</recording>".encode()


def opened(*documents: bytes, lines: list[Line] = LINES) -> Roster:
    roster = Roster(lines)
    roster.hear(documents, 0.0)
    for index, line in enumerate(lines):
        roster.open(index, line.label or str(index))
    return roster


def ids(roster: Roster) -> dict[str, Any]:
    people: Any = roster.identity()["participants"]
    return {person["addresses"][0].removeprefix("sip:").partition("@")[0]: person["id"] for person in people}


def test_each_participants_track_is_its_own() -> None:
    roster = opened(document(("ann", "1"), ("bob", "2")))
    known = ids(roster)
    assert [track.participant for track in roster.tracks] == [known["ann"], known["bob"]]
    assert roster.session_ids == ("cs",)


def test_a_transfer_ends_a_track_and_begins_another_one_and_the_other_party_does_not_notice() -> None:
    roster = opened(document(("ann", "1"), ("bob", "2")))
    roster.hear([document(("carol", "2"), mode="partial", gone="bob")], 5000.0)
    assert roster.changed(5000.0) == [1]
    carols = roster.open(1, "2", 5000.0)
    known = ids(roster)
    assert (carols.number, carols.participant, carols.from_ms) == (2, known["carol"], 5000.0)
    anns, bobs = roster.tracks[:2]
    assert (anns.until_ms, bobs.until_ms) == (None, 5000.0)
    people: Any = roster.facts()["participants"]
    assert [(p["from_ms"], p["until_ms"]) for p in people] == [(0.0, None), (0.0, 5000.0), (5000.0, None)]


def test_a_conference_turns_a_stream_of_one_into_a_mixed_track_of_several_and_back() -> None:
    roster = opened(document(("ann", "1"), ("bob", "2")))
    roster.hear([document(("carol", "2"), mode="partial")], 1000.0)
    assert roster.changed(1000.0) == [1]
    mixed = roster.open(1, "2", 1000.0)
    known = ids(roster)
    assert mixed.mixed and mixed.present == {known["bob"], known["carol"]}
    assert mixed.participant not in known.values()
    roster.hear([document(("dave", "2"), mode="partial")], 2000.0)
    assert roster.changed(2000.0) == []  # one mix or another: it stays one track, and says when who came
    assert len(mixed.present) == 3
    roster.hear([document(("ann", "1"), ("carol", "2"))], 3000.0)
    assert roster.changed(3000.0) == [1]
    carols = roster.open(1, "2", 3000.0)
    assert (carols.mixed, carols.participant) == (False, known["carol"])


def test_hold_is_no_change_of_participant() -> None:
    roster = opened(document(("ann", "1"), ("bob", "2")))
    for at_ms, who in enumerate(["", "2"]):
        roster.hear([document(("bob", who), mode="partial")], float(at_ms))
        assert roster.changed(float(at_ms)) == []


def test_who_sends_may_be_said_later_and_then_the_track_that_runs_is_theirs() -> None:
    roster = opened(document(("ann", ""), ("bob", "")))
    assert [track.present for track in roster.tracks] == [frozenset(), frozenset()]
    roster.hear([document(("ann", "1"), ("bob", "2"))], 700.0)
    assert roster.changed(700.0) == []
    assert [track.present for track in roster.tracks] == [{ids(roster)["ann"]}, {ids(roster)["bob"]}]


def test_who_comes_back_gets_a_track_that_does_not_mix_with_the_former_one() -> None:
    roster = opened(document(("ann", "1"), ("bob", "2")))
    for at_ms, who in ((1000.0, "carol"), (2000.0, "bob")):
        roster.hear([document(("ann", "1"), (who, "2"))], at_ms)
        assert roster.changed(at_ms) == [1]
        roster.open(1, "2", at_ms)
    bob = ids(roster)["bob"]
    assert [track.present for track in roster.tracks[1:]] == [frozenset(), frozenset(), {bob}]
    assert len({track.participant for track in roster.tracks}) == 4  # an artefact's participant is one artefact's


def test_a_client_that_numbers_everybody_anew_changes_nobody() -> None:
    roster = opened(document(("ann", "1"), ("bob", "2")))
    before = ids(roster)
    again = document(("ann", "1"), ("bob", "2")).replace(b"participant_id='", b"participant_id='new-")
    roster.hear([again], 1000.0)
    assert (roster.changed(1000.0), ids(roster)) == ([], before)


def test_metadata_that_cannot_be_read_are_kept_and_said_and_the_rest_goes_on() -> None:
    broken = document(("ann", "1")).replace(b"Name of", b"Smith & Sons <")
    roster = opened(broken)
    facts: Any = roster.facts()
    assert facts["metadata"] == "unreadable"
    assert facts["events"] == [{"at_ms": 0.0, "what": "metadata_unreadable", "reason": "XML is not well-formed"}]
    kept: Any = roster.identity()["metadata"]
    assert kept[0]["xml"].encode() == broken
    roster.hear([document(("ann", "1"))], 10.0)
    assert roster.changed(10.0) == []
    assert roster.tracks[0].present == {ids(roster)["ann"]}


def test_facts_have_no_names_and_no_addresses() -> None:
    roster = opened(document(("ann", "1"), ("bob", "2")))
    shown = json.dumps([roster.facts(), *(track.facts() for track in roster.tracks)])
    assert "ann" not in shown and "example.test" not in shown and "Name of" not in shown
    assert "example.test" not in repr(roster._people)


def test_what_a_client_may_say_is_bounded_and_what_is_beyond_is_counted() -> None:
    roster = opened(document(("ann", "1"), ("bob", "2")))
    padding = b"<!--" + b"\xff" * 20_000 + b"-->"
    for number in range(PRESENCES_MAX + 50):
        people = [(f"p{number}", "1"), ("bob", "2"), ("cat", "2" if number % 2 else "")]
        said = document(*people).replace(b"Name of", b"Name" + b"e" * 400)
        roster.hear([said if number % 50 else padding], float(number))
        for line in roster.changed(float(number)):
            roster.open(line, str(line), float(number))
        roster.note(float(number), "held", 0)
    facts: Any = roster.facts()
    identity: Any = roster.identity()
    assert (len(facts["participants"]), len(facts["events"])) == (PEOPLE_MAX, EVENTS_MAX)
    assert facts["events_omitted"] > 0 and identity["metadata_omitted"] > 0 and identity["participants_omitted"] > 0
    for room_bytes in (IDENTITY_BYTES_MAX, 10_000, 0):
        assert len(json.dumps(roster.identity(room_bytes))) < room_bytes + 200
    assert sum(len(track.heard) for track in roster.tracks) <= PRESENCES_MAX


def test_ciscos_parties_are_heard_on_the_lines_that_name_them() -> None:
    roster = Roster([Line(None), Line(None)], "cisco")
    roster.name([Named("sip:near@example.test", (0,)), Named("sip:far@example.test", (1,))])
    tracks = [roster.open(0, "0"), roster.open(1, "1")]
    known = ids(roster)
    assert [track.participant for track in tracks] == [known["near"], known["far"]]
    one = Roster([Line(None)], "cisco")
    one.name([Named("sip:near@example.test", (0,)), Named("sip:far@example.test", (0,))])
    assert one.open(0, "0").mixed
