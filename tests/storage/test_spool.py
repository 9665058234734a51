"""The spool: what is kept after kill -9, torn writes and full disks, and what never reaches the disk."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.errors import Malformed, Tampered, Unavailable
from storage.model import ArtefactRef, Secret
from storage.spool import UNRELEASED_S, SpoolWriter
from storage.spoolfile import SpoolFile, records_of, scan, spool_files
from storage.spoolformat import FILE_HEADER_BYTES, RecordSeal, RecordType, unpack_lost
from storage.spoolheld import UNRELEASED_BYTES_MAX
from tests.storage.spool_child import ref_of
from tests.storage.spooling import durable, make_key, make_ref, until, write_stream

SMALL = 1 << 20
CHILD = Path(__file__).parent / "spool_child.py"


def read_all(folder: Path, ref: ArtefactRef) -> list[tuple[int, int, bytes]]:
    """All records of an artefact in the spool, opened."""
    with records_of(folder, ref.artefact) as spooled:
        return [(record.start, record.end, spooled.open(record, ref, make_key(ref))) for record in spooled.records]


def lost_by_end(folder: Path, ref: ArtefactRef) -> list[int]:
    """What the end records of an artefact say of losses."""
    counts = []
    for path in spool_files(folder):
        file = SpoolFile(path)
        seal = RecordSeal(ref, make_key(ref), file.header.salt)
        ends = [header for header in file.find(bytes.fromhex(ref.artefact)) if header.type == RecordType.END]
        counts += [unpack_lost(seal.open(file.read(end.offset, end.record_bytes)).data) for end in ends]
        file.close()
    return counts


def begin(writer: SpoolWriter, stream: int, ref: ArtefactRef) -> None:
    writer.open(stream, ref, make_key(ref))
    writer.release(stream)


def test_records_come_back_in_order_with_their_times(tmp_path: Path) -> None:
    ref = make_ref()
    records = [os.urandom(size) for size in (0, 1, 160, 2000, 70_000)]
    write_stream(tmp_path, ref, records)
    assert read_all(tmp_path, ref) == [(n * 250, n * 250 + 250, data) for n, data in enumerate(records)]
    assert lost_by_end(tmp_path, ref) == [0]


def test_many_streams_over_many_files_come_back_whole(tmp_path: Path) -> None:
    refs = [make_ref() for _ in range(10)]
    with SpoolWriter(tmp_path, node="n1", file_bytes=SMALL, commit_s=0.01) as writer:
        for stream, ref in enumerate(refs):
            begin(writer, stream, ref)
        for number in range(300):
            for stream in range(len(refs)):
                writer.append(stream, number, number + 1, b"%d of %d " % (number, stream) + bytes(2000))
        for stream in range(len(refs)):
            writer.close(stream)
        durable(writer, range(len(refs)))
        assert len(spool_files(tmp_path)) > 5
        for stream, ref in enumerate(refs):
            expected = [(n, n + 1, b"%d of %d " % (n, stream) + bytes(2000)) for n in range(300)]
            assert read_all(tmp_path, ref) == expected
    assert sum(1 for path in spool_files(tmp_path) for _ in scan(path)) == 10 * 301


def test_record_is_durable_within_the_commit_interval_without_being_closed(tmp_path: Path) -> None:
    ref = make_ref()
    with SpoolWriter(tmp_path, node="n1", file_bytes=SMALL) as writer:
        begin(writer, 1, ref)
        writer.append(1, 0, 1, b"audio")
        until(lambda: read_all(tmp_path, ref) == [(0, 1, b"audio")])


def test_nothing_of_a_stream_is_visible_before_its_release(tmp_path: Path) -> None:
    ref = make_ref()
    with SpoolWriter(tmp_path, node="n1", file_bytes=SMALL, commit_s=0.01) as writer:
        writer.open(1, ref, make_key(ref))
        for number in range(10):
            writer.append(1, number, number + 1, b"early")
        time.sleep(0.1)
        raw = b"".join(path.read_bytes() for path in spool_files(tmp_path))
        assert bytes.fromhex(ref.artefact) not in raw
        writer.release(1)
        writer.append(1, 10, 11, b"later")
        writer.close(1)
        durable(writer, [1])
    assert [data for *_, data in read_all(tmp_path, ref)] == [b"early"] * 10 + [b"later"]


def test_stream_closed_before_its_release_is_committed_when_released(tmp_path: Path) -> None:
    ref = make_ref()
    with SpoolWriter(tmp_path, node="n1", file_bytes=SMALL, commit_s=0.01) as writer:
        writer.open(1, ref, make_key(ref))
        writer.append(1, 0, 1, b"audio")
        writer.close(1)
        writer.append(1, 1, 2, b"too late")
        time.sleep(0.05)
        assert writer.poll() == []
        writer.release(1)
        durable(writer, [1])
    assert read_all(tmp_path, ref) == [(0, 1, b"audio")]


def test_stream_never_released_is_given_up_and_told_as_lost(tmp_path: Path) -> None:
    ref, now = make_ref(), [0.0]
    with SpoolWriter(tmp_path, node="n1", file_bytes=SMALL, clock=lambda: now[0]) as writer:
        writer.open(1, ref, make_key(ref))
        writer.append(1, 0, 1, b"audio")
        writer.close(1)
        now[0] = UNRELEASED_S - 1
        assert writer.poll() == []
        now[0] = UNRELEASED_S + 1
        assert writer.poll() == [1]
        assert writer.lost(1) == 1
        begin(writer, 1, ref)
        assert writer.lost(1) == 0
    assert read_all(tmp_path, ref) == []


def test_discarded_stream_leaves_nothing(tmp_path: Path) -> None:
    ref = make_ref()
    with SpoolWriter(tmp_path, node="n1", file_bytes=SMALL) as writer:
        writer.open(1, ref, make_key(ref))
        writer.append(1, 0, 1, b"audio")
        writer.discard(1)
        begin(writer, 1, make_ref())
        assert writer.poll() == []
    assert read_all(tmp_path, ref) == []


def test_unreleased_stream_is_bounded_and_what_exceeds_is_counted(tmp_path: Path) -> None:
    ref = make_ref()
    with SpoolWriter(tmp_path, node="n1", file_bytes=2 * SMALL) as writer:
        writer.open(1, ref, make_key(ref))
        piece = bytes(UNRELEASED_BYTES_MAX // 8)
        for number in range(12):
            writer.append(1, number, number + 1, piece)
        lost = writer.lost(1)
        assert lost == 5, "seven with their headers fit into the bound"
        writer.release(1)
        writer.close(1)
        durable(writer, [1])
        assert writer.lost(1) == lost
    assert len(read_all(tmp_path, ref)) == 12 - lost
    assert lost_by_end(tmp_path, ref) == [lost]


def test_full_spool_says_so_holds_in_memory_counts_losses_and_recovers(tmp_path: Path) -> None:
    ref, other = make_ref(), make_ref()
    with SpoolWriter(
        tmp_path, node="n1", file_bytes=SMALL, commit_s=0.01, limit_bytes=2 * SMALL, waiting_bytes_max=SMALL
    ) as writer:
        begin(writer, 1, ref)
        begin(writer, 2, other)
        number = 0
        while not writer.health().full:
            writer.append(1, number, number + 1, bytes(100_000))
            number += 1
            time.sleep(0.01)
        while writer.lost(1) < 3:
            writer.append(1, number, number + 1, bytes(100_000))
            number += 1
        writer.append(2, 0, 1, b"also lost")
        writer.close(1)
        time.sleep(0.05)
        assert writer.poll() == []
        assert writer.health().lag_ms > 40
        kept: set[int] = set()

        def drained() -> bool:
            """Read and delete what is finished, as the uploader does."""
            finished = spool_files(tmp_path)[:-1]
            kept.update(start for start, *_ in read_all(tmp_path, ref))
            for path in finished:
                path.unlink()
            return writer.poll() == [1]

        until(drained)
        assert not writer.health().full
        writer.append(2, 1, 2, b"kept")
        writer.close(2)
        durable(writer, [2])
        assert writer.lost(1) == 3
    kept.update(start for start, *_ in read_all(tmp_path, ref))
    assert len(kept) == number - 3, "all but the three that found no room"
    assert kept < set(range(number))
    assert lost_by_end(tmp_path, ref) == [3]
    assert lost_by_end(tmp_path, other) == [1]


def test_spool_that_is_full_from_the_start_recovers_without_any_stream(tmp_path: Path) -> None:
    ballast = tmp_path / "ballast"
    ballast.write_bytes(os.urandom(2 * SMALL))
    with SpoolWriter(tmp_path, node="n1", file_bytes=SMALL, commit_s=0.01, limit_bytes=2 * SMALL) as writer:
        assert writer.health().full
        ballast.unlink()
        until(lambda: not writer.health().full)


def test_disk_that_refuses_to_grow_a_file_is_full_and_recovers(tmp_path: Path) -> None:
    ref = make_ref()
    ended = subprocess.run(
        [sys.executable, CHILD, "full", tmp_path, ref.artefact], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stdout) == (0, "full\nrecovered\n"), ended.stderr
    (path,) = spool_files(tmp_path)
    assert sum(1 for _ in scan(path)) == 2


def test_folder_that_cannot_be_written_is_unavailable_at_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Unavailable):
        SpoolWriter(tmp_path / "file" / "spool", node="n1").start()


def test_kill_9_loses_at_most_a_second_and_all_that_is_kept_is_readable(tmp_path: Path) -> None:
    ref = ref_of(make_ref().artefact)
    with subprocess.Popen(
        [sys.executable, CHILD, "pace", tmp_path, ref.artefact], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        appended = [int(child.stdout.readline()) for _ in range(75)]
        child.send_signal(signal.SIGKILL)
        appended += [int(line) for line in child.stdout.read().splitlines()]
    kept = []
    with records_of(tmp_path, ref.artefact) as spooled:
        assert not spooled.ended
        for record in spooled.records:
            data = spooled.open(record, ref, make_key(ref))
            assert data == b"frame %d" % record.start
            kept.append(record.start)
    assert kept == list(range(len(kept)))
    assert (appended[-1] + 1 - len(kept)) * 20 <= 1000, "milliseconds of audio lost"
    (path,) = spool_files(tmp_path)
    assert SpoolFile(path).is_finished()


@pytest.mark.parametrize("cut", [1, 15, 60, 91, 92, 100, 1000])
def test_torn_tail_ends_the_file_and_is_no_error(tmp_path: Path, cut: int) -> None:
    ref = make_ref()
    write_stream(tmp_path, ref, [bytes(1000)] * 5)
    (path,) = spool_files(tmp_path)
    headers = list(scan(path))
    raw = path.read_bytes()
    path.write_bytes(raw[: headers[3].offset + cut])
    file = SpoolFile(path)
    assert list(file.scan(resync=True)) == headers[:3]
    assert file.broken == 0
    assert len(read_all(tmp_path, ref)) == 3


def test_every_flipped_bit_costs_at_most_one_record_and_is_noticed(tmp_path: Path) -> None:
    ref = make_ref()
    write_stream(tmp_path, ref, [b"%d" % number * 10 for number in range(4)])
    (path,) = spool_files(tmp_path)
    raw = path.read_bytes()
    second = list(scan(path))[1]
    for at in range(second.offset, second.offset + second.record_bytes):
        path.write_bytes(raw[:at] + bytes([raw[at] ^ (1 << at % 8)]) + raw[at + 1 :])
        file = SpoolFile(path)
        seal = RecordSeal(ref, make_key(ref), file.header.salt)
        opened, refused = [], 0
        for header in file.scan(resync=True):
            try:
                opened.append(seal.open(file.read(header.offset, header.record_bytes)).seq)
            except Tampered:
                refused += 1
        assert opened == [0, 2, 3, 4]
        assert refused + file.broken == 1
        file.close()


def test_scan_without_resync_stops_at_a_place_that_may_be_half_written(tmp_path: Path) -> None:
    ref = make_ref()
    write_stream(tmp_path, ref, [b"audio"] * 4)
    (path,) = spool_files(tmp_path)
    raw = bytearray(path.read_bytes())
    headers = list(scan(path))
    raw[headers[1].offset : headers[1].offset + 50] = bytes(50)
    path.write_bytes(raw)
    file = SpoolFile(path)
    assert list(file.scan(resync=False)) == headers[:1]
    assert list(file.scan(resync=True)) == [headers[0], *headers[2:]]


@pytest.mark.parametrize("half", [0, 1, 2])
def test_file_header_survives_one_broken_copy(tmp_path: Path, half: int) -> None:
    ref = make_ref()
    write_stream(tmp_path, ref, [b"audio"])
    (path,) = spool_files(tmp_path)
    raw = bytearray(path.read_bytes())
    for copy in range(2):
        if half in (copy, 2):
            raw[copy * FILE_HEADER_BYTES // 2 + 40] ^= 1
    path.write_bytes(raw)
    if half == 2:
        with pytest.raises(Malformed):
            SpoolFile(path)
        assert read_all(tmp_path, ref) == []
    else:
        assert read_all(tmp_path, ref) == [(0, 250, b"audio")]


def test_record_moved_within_its_file_is_not_the_one_that_lay_there(tmp_path: Path) -> None:
    ref = make_ref()
    write_stream(tmp_path, ref, [b"first", b"other"])
    with records_of(tmp_path, ref.artefact) as spooled:
        (path,) = spool_files(tmp_path)
        one, two = spooled.records
        raw = path.read_bytes()
        with path.open("r+b") as file:
            file.seek(one.offset)
            file.write(raw[two.offset : two.offset + two.record_bytes])
        with pytest.raises(Tampered):
            spooled.open(one, ref, make_key(ref))


@pytest.mark.parametrize("what", ["key", "participant", "purpose"])
def test_record_opens_only_for_what_it_was_sealed_for(tmp_path: Path, what: str) -> None:
    ref = make_ref()
    write_stream(tmp_path, ref, [b"audio"])
    wrong = {
        "key": (ref, Secret(bytes(32))),
        "participant": (
            ArtefactRef(ref.tenant, ref.call, make_ref().participant, ref.artefact, ref.kind, ref.purpose),
            make_key(ref),
        ),
        "purpose": (
            ArtefactRef(ref.tenant, ref.call, ref.participant, ref.artefact, ref.kind, "other"),
            make_key(ref),
        ),
    }[what]
    with records_of(tmp_path, ref.artefact) as spooled, pytest.raises(Tampered):
        spooled.open(spooled.records[0], *wrong)


def test_records_stay_readable_while_their_file_is_deleted(tmp_path: Path) -> None:
    ref = make_ref()
    write_stream(tmp_path, ref, [b"audio"])
    with records_of(tmp_path, ref.artefact) as spooled:
        for path in spool_files(tmp_path):
            path.unlink()
        assert spooled.open(spooled.records[0], ref, make_key(ref)) == b"audio"


def test_runs_follow_each_other_by_media_time_and_are_continued_each_for_itself(tmp_path: Path) -> None:
    ref = make_ref()
    write_stream(tmp_path, ref, [b"a", b"b", b"c"])
    write_stream(tmp_path, ref, [b"d", b"e"], first=3)
    with records_of(tmp_path, ref.artefact) as spooled:
        assert [spooled.open(record, ref, make_key(ref)) for record in spooled.records] == [
            b"a",
            b"b",
            b"c",
            b"d",
            b"e",
        ]
        first, second = dict.fromkeys(record.run for record in spooled.records)
    with records_of(tmp_path, ref.artefact, {first: 1}) as spooled:
        assert [(record.run, record.seq) for record in spooled.records] == [(first, 2), (second, 0), (second, 1)]
        assert spooled.ended


@settings(max_examples=25, deadline=None)
@given(script=st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["open", "append", "close"])), max_size=40))
def test_no_nonce_comes_twice_under_one_key(script: list[tuple[int, str]]) -> None:
    refs = [make_ref() for _ in range(3)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for _ in range(2):  # two lives: the second one opens the same artefacts again
            with SpoolWriter(folder, node="n1", file_bytes=4096, commit_s=0.001) as writer:
                open_now: set[int] = set()
                for stream, action in script:
                    if action == "open" and stream not in open_now:
                        begin(writer, stream, refs[stream])
                        open_now.add(stream)
                    elif action == "append":
                        writer.append(stream, 0, 1, b"same data")
                    elif action == "close":
                        writer.close(stream)
                        open_now.discard(stream)
        salts: dict[str, bytes] = {}
        used: list[tuple[bytes, bytes, int]] = []
        for path in spool_files(folder):
            file = SpoolFile(path)
            salts[file.header.run] = file.header.salt
            used += [(file.header.salt, header.artefact, header.seq) for header in file.scan(resync=True)]
            file.close()
        assert len(used) == len(set(used))
        assert len(salts) == len(set(salts.values())) == 2


def test_no_plaintext_and_no_key_in_any_spool_file(tmp_path: Path) -> None:
    ref = make_ref()
    phrases = [b"my telephone number is 0612345678", bytes(range(256)) * 8, b"\xd5" * 160]
    write_stream(tmp_path, ref, phrases)
    raw = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert bytes.fromhex(ref.artefact) in raw
    for secret in (make_key(ref).reveal(), phrases[0][:16], phrases[1][:16], phrases[2][:16]):
        assert secret not in raw
    for sealed_only in (bytes.fromhex(ref.participant), ref.purpose.encode(), ref.kind.encode()):
        assert sealed_only not in raw


def test_finished_file_is_told_from_one_that_is_written_to(tmp_path: Path) -> None:
    with SpoolWriter(tmp_path, node="n1", file_bytes=SMALL):
        (path,) = spool_files(tmp_path)
        file = SpoolFile(path)
        assert not file.is_finished()
        assert path.stat().st_size == SMALL
    assert file.is_finished()
    assert path.stat().st_size == FILE_HEADER_BYTES


def test_closing_commits_at_once(tmp_path: Path) -> None:
    ref = make_ref()
    with SpoolWriter(tmp_path, node="n1", file_bytes=SMALL, commit_s=30.0) as writer:
        begin(writer, 1, ref)
        writer.append(1, 0, 1, b"audio")
        writer.close(1)
        durable(writer, [1])
        assert writer.health().lag_ms < 10_000


def test_misuse_is_refused_and_the_thread_ends_with_the_writer(tmp_path: Path) -> None:
    ref = make_ref()
    writer = SpoolWriter(tmp_path, node="n1", file_bytes=SMALL)
    with pytest.raises(ValueError, match="not started"):
        writer.open(1, ref, make_key(ref))
    with writer:
        begin(writer, 1, ref)
        with pytest.raises(ValueError, match="open already"):
            writer.open(1, ref, make_key(ref))
        writer.append(99, 0, 1, b"nobody's")
        writer.close(99)
        writer.release(99)
    assert not [thread for thread in threading.enumerate() if thread.name == "spool"]
    with pytest.raises(ValueError, match="node"):
        SpoolWriter(tmp_path, node="n" * 33)
    with pytest.raises(ValueError, match="two files"):
        SpoolWriter(tmp_path, node="n1", file_bytes=SMALL, limit_bytes=2 * SMALL - 1)
