"""Snapshots and partial documents in sequence, and who is heard on which m-line."""

from __future__ import annotations

from gateway.sip.siprec.metadata import Association, Metadata, Participant, Stream
from gateway.sip.siprec.state import KEPT_MAX, Line, Senders, State

LINES = [Line("1"), Line("2")]


def told(*sends: tuple[str, str], complete: bool = True, **fields: object) -> Metadata:
    """Participants that each send one stream; streams are labelled as they are called."""
    body = {
        "participants": tuple(Participant(who) for who, _ in sends),
        "streams": tuple(Stream(f"s{label}", label) for _, label in sends),
        "associations": tuple(Association(who, frozenset({f"s{label}"})) for who, label in sends),
    }
    return Metadata(complete, **{**body, **fields})  # type: ignore[arg-type]  # a test's shorthand


def heard(state: State, lines: list[Line] = LINES) -> list[set[str]]:
    return [set(senders.participants) for senders in state.senders(lines)]


def test_a_snapshot_replaces_what_was_and_a_partial_document_changes_it() -> None:
    state = State().apply(told(("a", "1"), ("b", "2")))
    assert heard(state) == [{"a"}, {"b"}]
    transferred = state.apply(told(("c", "2"), complete=False, left=frozenset({"b"})))
    assert heard(transferred) == [{"a"}, {"c"}]
    assert set(transferred.participants) == {"a", "c"}
    assert heard(state.apply(told(("d", "1")))) == [{"d"}, set()]


def test_a_conference_mixes_where_two_send_one_stream() -> None:
    state = State().apply(told(("a", "1"), ("b", "2"))).apply(told(("c", "2"), complete=False))
    assert state.senders(LINES) == [
        Senders(frozenset({"a"}), told=True),
        Senders(frozenset({"b", "c"}), True, told=True),
    ]


def test_who_is_said_to_send_nothing_any_more_is_heard_nowhere() -> None:
    state = State().apply(told(("a", "1"), ("b", "2")))
    held = Metadata(complete=False, associations=(Association("b", frozenset()),))
    assert heard(state.apply(held)) == [{"a"}, set()]


def test_on_the_only_line_everybody_is_heard_where_nothing_says_who_sends() -> None:
    people = (Participant("a"), Participant("b"))
    state = State().apply(Metadata(complete=True, participants=people))
    assert state.senders([Line("1")]) == [Senders(frozenset({"a", "b"}), mixed=True)]
    assert state.senders([Line("1"), Line(None, audio=False)])[0].mixed
    assert heard(state) == [set(), set()]  # of two lines nobody knows
    one = State().apply(Metadata(complete=True, participants=people[:1]))
    assert one.senders([Line("1")]) == [Senders(frozenset({"a"}))]


def test_lines_without_labels_come_in_the_streams_order() -> None:
    state = State().apply(told(("a", "1"), ("b", "2")))
    assert heard(state, [Line(None), Line(None)]) == [{"a"}, {"b"}]
    assert heard(state, [Line(None), Line(None), Line(None)]) == [set(), set(), set()]


def test_a_stream_that_calls_itself_mixed_is() -> None:
    state = State().apply(told(("a", "1"), streams=(Stream("s1", "1", mixed=True),)))
    assert state.senders([Line("1")]) == [Senders(frozenset({"a"}), mixed=True, told=True)]


def test_who_sends_is_known_though_nobody_described_it() -> None:
    assert heard(State().apply(told(("a", "1"), participants=()))) == [{"a"}, set()]


def test_what_partial_documents_add_is_bounded() -> None:
    state = State()
    for number in range(KEPT_MAX + 10):
        state = state.apply(told((f"p{number}", str(number)), complete=False))
    assert (len(state.participants), len(state.streams)) == (KEPT_MAX, KEPT_MAX)
