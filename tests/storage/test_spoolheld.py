"""Streams whose keys are away: held in memory within bounds, on no disk before their keys come, whole afterwards."""

from __future__ import annotations

import os
from pathlib import Path

from storage.spool import DRAIN_BYTES, UNRELEASED_S, SpoolWriter
from storage.spoolheld import UNRELEASED_BYTES_MAX, HeldLimits
from tests.storage.spooling import durable, make_key, make_ref, until
from tests.storage.test_spool import SMALL, begin, lost_by_end, read_all

PIECE = 50_000


def test_held_stream_outlasts_the_usual_bound_and_its_close_and_comes_back_bit_exact(tmp_path: Path) -> None:
    ref, now = make_ref(), [0.0]
    records = [os.urandom(PIECE) for _ in range(60)]
    assert len(records) * PIECE > 2 * UNRELEASED_BYTES_MAX
    with SpoolWriter(tmp_path, node="n1", file_bytes=SMALL, commit_s=0.01, clock=lambda: now[0]) as writer:
        writer.open(1, ref, make_key(ref))
        writer.append(1, 0, 1, records[0])
        writer.hold(1)
        for number, data in enumerate(records[1:], 1):
            writer.append(1, number, number + 1, data)
        writer.close(1)
        now[0] = 100 * UNRELEASED_S
        assert writer.poll() == []
        assert read_all(tmp_path, ref) == [], "nothing on the disk before its keys"
        assert (writer.health().held_streams, writer.health().held_bytes > len(records) * PIECE) == (1, True)
        assert writer.health().exposure_ms == 0.0, "what is held is told apart"
        writer.release(1)
        durable(writer, [1])
        assert (writer.health().held_streams, writer.health().held_bytes) == (0, 0)
        assert writer.lost(1) == 0
    assert read_all(tmp_path, ref) == [(n, n + 1, data) for n, data in enumerate(records)]
    assert lost_by_end(tmp_path, ref) == [0]


def test_what_comes_while_held_records_go_out_stands_behind_them(tmp_path: Path) -> None:
    ref, beside = make_ref(), make_ref()
    count = 2 * DRAIN_BYTES // PIECE
    with SpoolWriter(tmp_path, node="n1", file_bytes=8 * SMALL, commit_s=60.0) as writer:
        writer.open(1, ref, make_key(ref))
        writer.hold(1)
        for number in range(count):
            writer.append(1, number, number + 1, b"%d " % number + bytes(PIECE))
        begin(writer, 2, beside)
        writer.release(1)
        writer.poll()
        writer.poll()
        assert 0 < writer.health().held_bytes < count * PIECE, "a portion goes with a commit, the rest with the next"
        writer.append(1, count, count + 1, b"last")
        writer.append(2, 0, 1, b"beside")
        writer.close(1)
        writer.close(2)
        done: list[int] = []

        def all_done() -> bool:
            writer._wake.set()
            done.extend(writer.poll())
            return sorted(done) == [1, 2]

        until(all_done)
        assert done[0] == 2, "others do not wait for what was held"
    found = read_all(tmp_path, ref)
    assert [start for start, *_ in found] == list(range(count + 1))
    assert found[-1][2] == b"last"
    assert lost_by_end(tmp_path, ref) == [0]


def test_beyond_its_bound_a_stream_lacks_one_span_until_its_keys_come(tmp_path: Path) -> None:
    ref = make_ref()
    limits = HeldLimits(stream_bytes=4 * PIECE)
    with SpoolWriter(tmp_path, node="n1", file_bytes=SMALL, commit_s=0.01, held=limits) as writer:
        writer.open(1, ref, make_key(ref))
        writer.hold(1)
        for number, size in enumerate((PIECE, PIECE, PIECE, PIECE, 10, 10)):  # smaller ones would fit
            writer.append(1, number, number + 1, bytes(size))
        assert (writer.lost(1), writer.health().held_refused) == (3, 3)
        writer.release(1)
        until(lambda: writer.poll() == [] and writer.health().held_bytes == 0)
        writer.append(1, 6, 7, b"again")
        writer.close(1)
        durable(writer, [1])
    assert [start for start, *_ in read_all(tmp_path, ref)] == [0, 1, 2, 6]
    assert lost_by_end(tmp_path, ref) == [3]


def test_all_held_streams_together_have_a_bound_and_others_are_not_concerned(tmp_path: Path) -> None:
    refs = [make_ref() for _ in range(3)]
    limits = HeldLimits(stream_bytes=4 * PIECE, total_bytes=5 * PIECE)
    with SpoolWriter(tmp_path, node="n1", file_bytes=SMALL, commit_s=0.01, held=limits) as writer:
        for stream, ref in enumerate(refs):
            writer.open(stream, ref, make_key(ref))
        writer.hold(0)
        writer.hold(1)
        writer.release(2)
        for number in range(3):
            for stream in range(3):
                writer.append(stream, number, number + 1, bytes(PIECE))
        assert [writer.lost(stream) for stream in range(3)] == [1, 1, 0]
        assert writer.health().held_bytes <= 5 * PIECE
        assert not writer.discard(0), "it was open"
        writer.append(1, 3, 4, bytes(PIECE))
        assert writer.lost(1) == 2, "once it had no room, until its keys come"
        assert writer.health().held_bytes < 3 * PIECE
    assert [len(read_all(tmp_path, ref)) for ref in refs] == [0, 0, 3]


def test_a_stop_writes_what_has_its_keys_and_nothing_that_waits_for_them(tmp_path: Path) -> None:
    refs = [make_ref() for _ in range(2)]
    count = 2 * DRAIN_BYTES // PIECE
    with SpoolWriter(tmp_path, node="n1", file_bytes=8 * SMALL, commit_s=60.0) as writer:
        for stream, ref in enumerate(refs):
            writer.open(stream, ref, make_key(ref))
            writer.hold(stream)
            for number in range(count):
                writer.append(stream, number, number + 1, bytes(PIECE))
        writer.release(0)
    assert [len(read_all(tmp_path, ref)) for ref in refs] == [count, 0]
