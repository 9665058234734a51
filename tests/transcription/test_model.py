"""Transcripts as values: turns in order, documents that read back, and redacted text that nobody else can make."""

from __future__ import annotations

import pytest

from storage.model import ArtefactId, ArtefactRef, CallId, Kind, ParticipantId, TenantId
from transcription.errors import Malformed, NotRedacted
from transcription.model import (
    RedactedTranscript,
    Span,
    Track,
    Transcript,
    Word,
    spans_from_json,
    spans_to_json,
)
from transcription.redaction import merged, redact, restore

ONE = ParticipantId("1" * 32)
TWO = ParticipantId("2" * 32)


def words(*said: tuple[str, int, int]) -> tuple[Word, ...]:
    return tuple(Word(text, start_ms, end_ms, 0.9) for text, start_ms, end_ms in said)


TRANSCRIPT = Transcript(
    "en",
    "test",
    (
        Track(
            ONE, words(("My", 0, 200), ("name", 200, 400), ("is", 400, 500), ("Peter.", 500, 900), ("Yes.", 4000, 4200))
        ),
        Track(TWO, words(("Thank", 1500, 1700), ("you,", 1700, 1800), ("Peter.", 1800, 2300))),
    ),
)


def ref(kind: Kind) -> ArtefactRef:
    return ArtefactRef(TenantId("a" * 32), CallId("b" * 32), ONE, ArtefactId("c" * 32), kind, "quality")


def test_turns_are_cut_at_pauses_and_ordered_by_their_beginning() -> None:
    turns = TRANSCRIPT.turns()
    assert [(turn.participant, turn.text) for turn in turns] == [
        (ONE, "My name is Peter."),
        (TWO, "Thank you, Peter."),
        (ONE, "Yes."),
    ]
    assert (turns[1].start_ms, turns[1].end_ms) == (1500, 2300)


def test_transcript_reads_back() -> None:
    assert Transcript.from_json(TRANSCRIPT.to_json()) == TRANSCRIPT


def test_parts_hold_one_track_each() -> None:
    assert [part.tracks for part in TRANSCRIPT.parts()] == [(track,) for track in TRANSCRIPT.tracks]


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"[]",
        b"{",
        b"\xff\xfe",
        b'{"format":"callvault transcript 2"}',
        b'{"format":"callvault transcript 1","language":"en","engine":"x"}',
        b'{"format":"callvault transcript 1","language":1,"engine":"x","tracks":[]}',
        b'{"format":"callvault transcript 1","language":"en","engine":"x","tracks":[1]}',
        b'{"format":"callvault transcript 1","language":"en","engine":"x","tracks":[{"participant":"p","words":[]}]}',
        b'{"format":"callvault transcript 1","language":"en","engine":"x","tracks":[{"participant":"'
        + b"1" * 32
        + b'","words":[["a",1.5,2,1]]}]}',
    ],
)
def test_what_is_no_transcript_is_malformed(document: bytes) -> None:
    with pytest.raises(Malformed):
        Transcript.from_json(document)


def test_nobody_but_redact_makes_redacted_text() -> None:
    with pytest.raises(NotRedacted):
        RedactedTranscript(object(), "en", "test", TRANSCRIPT.tracks)  # type: ignore[arg-type]  # the point


def test_redacted_transcript_is_restored_from_its_own_kind_only() -> None:
    redacted, _spans = redact(TRANSCRIPT)
    assert restore(ref(Kind.REDACTED_TRANSCRIPT), redacted.to_json()) == redacted
    with pytest.raises(NotRedacted):
        restore(ref(Kind.TRANSCRIPT), redacted.to_json())
    with pytest.raises(Malformed):
        restore(ref(Kind.REDACTED_TRANSCRIPT), TRANSCRIPT.to_json())


def test_redacted_parts_merge_to_the_whole() -> None:
    redacted, _spans = redact(TRANSCRIPT)
    assert merged(redacted.parts()) == redacted


def test_nothing_shows_words_in_its_repr() -> None:
    redacted, spans = redact(TRANSCRIPT)
    assert "Peter" not in repr(TRANSCRIPT) + repr(redacted) + repr(spans)


def test_spans_read_back() -> None:
    spans = (Span(ONE, 500, 900, "PERSON", "[PERSON 1]"), Span(TWO, 1800, 2300, "PERSON", "[PERSON 1]"))
    assert spans_from_json(spans_to_json(spans)) == spans
    with pytest.raises(Malformed):
        spans_from_json(TRANSCRIPT.to_json())
