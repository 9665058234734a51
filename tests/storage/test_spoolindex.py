"""The spool's index finds what a search finds, whatever state a file is in, and reads each byte once."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.model import ArtefactRef
from storage.spool import SpoolWriter
from storage.spoolfile import SpoolFile, records_of, spool_files
from storage.spoolformat import FILE_HEADER_BYTES, RECORD_HEADER_BYTES, FileHeader, RecordSeal, RecordType
from storage.spoolindex import SpoolIndex
from tests.storage.spooling import durable, make_key, make_ref, until, write_stream

SALT = bytes(32)
REFS = [make_ref() for _ in range(3)]
SEALS = [RecordSeal(ref, make_key(ref), SALT) for ref in REFS]
RUN = "ab" * 16


def raw_of(ref: ArtefactRef) -> bytes:
    return bytes.fromhex(ref.artefact)


class Counting(SpoolFile):
    """Says how much was read of it."""

    bytes_read = 0

    def read(self, offset: int, size: int) -> bytes:
        found = super().read(offset, size)
        self.bytes_read += len(found)
        return found


@contextmanager
def opened(path: Path) -> Iterator[Counting]:
    file = Counting(path)
    try:
        file.bytes_read = 0
        yield file
    finally:
        file.close()


def write_many(folder: Path, refs: list[ArtefactRef], records: int, file_bytes: int = 1 << 20) -> None:
    """A life of a writer that has them all at once."""
    with SpoolWriter(folder, node="n1", file_bytes=file_bytes, commit_s=0.01) as writer:
        for stream, ref in enumerate(refs):
            writer.open(stream, ref, make_key(ref))
            writer.release(stream)
        for number in range(records):
            for stream in range(len(refs)):
                writer.append(stream, number, number + 1, bytes(2000))
        for stream in range(len(refs)):
            writer.close(stream)
        durable(writer, range(len(refs)))


def found_by_both(folder: Path, index: SpoolIndex, ref: ArtefactRef) -> int:
    """How many records of it there are; the index must know the same as a search."""
    with index.records_of(ref.artefact) as known, records_of(folder, ref.artefact) as searched:
        places = [[(r.file.path, r.offset, r.seq) for r in found.records] for found in (known, searched)]
        assert places[0] == places[1]
        assert known.ended == searched.ended
        return len(known.records)


@st.composite
def files(draw: st.DrawFn) -> tuple[list[bytes], list[int]]:
    """A file's records, some of them damaged, and how far it has been written at each look."""
    records = []
    for seq in range(draw(st.integers(1, 12))):
        seal = SEALS[draw(st.integers(0, 2))]
        record = bytearray(seal.seal(RecordType.DATA, seq, seq, seq + 1, bytes(draw(st.sampled_from([0, 200, 9000])))))
        match draw(st.sampled_from(["whole", "whole", "zeros", "flipped", "magic"])):
            case "zeros":
                record[:RECORD_HEADER_BYTES] = bytes(RECORD_HEADER_BYTES)
            case "flipped":
                record[draw(st.integers(0, RECORD_HEADER_BYTES - 1))] ^= 1
            case "magic":
                record[20:28] = record[:8]
        records.append(bytes(record))
    size = sum(map(len, records))
    looks = sorted(draw(st.lists(st.integers(0, size), min_size=1, max_size=5)))
    return records, looks


@settings(max_examples=100, deadline=None)
@given(made=files(), ends=st.sampled_from(["whole", "torn", "preallocated"]))
def test_what_is_known_of_a_growing_damaged_file_is_what_a_search_finds(
    made: tuple[list[bytes], list[int]], ends: str
) -> None:
    records, looks = made
    whole = b"".join(records)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / f"{RUN}.00000000.spool"
        writer = os.open(path, os.O_RDWR | os.O_CREAT)
        fcntl.flock(writer, fcntl.LOCK_EX)
        os.ftruncate(writer, FILE_HEADER_BYTES + len(whole) + 5000)
        os.pwrite(writer, FileHeader(RUN, 0, "n1", SALT).to_bytes(), 0)
        index = SpoolIndex(folder)

        def compare(at_s: int) -> None:
            os.utime(path, (at_s, at_s))  # each look sees another time of writing, as four times a second
            for _ in range(2):
                with opened(path) as file:
                    for ref in REFS:
                        assert index.find(file, raw_of(ref)) == file.find(raw_of(ref))

        for at_s, until_byte in enumerate(looks, 1):
            os.pwrite(writer, whole[:until_byte], FILE_HEADER_BYTES)
            compare(at_s)
        if ends == "whole":
            os.pwrite(writer, whole, FILE_HEADER_BYTES)
        if ends != "preallocated":  # it died, or gave back what it had not needed
            os.ftruncate(writer, FILE_HEADER_BYTES + (len(whole) if ends == "whole" else looks[-1]))
        os.close(writer)
        compare(100)


def test_each_byte_is_read_once_whoever_asks_for_which_stream(tmp_path: Path) -> None:
    refs = [make_ref() for _ in range(40)]
    write_many(tmp_path, refs, 10)
    (path,) = spool_files(tmp_path)
    index = SpoolIndex(tmp_path)
    with opened(path) as file:
        assert len(index.find(file, raw_of(refs[0]))) == 11
        assert file.bytes_read >= path.stat().st_size - FILE_HEADER_BYTES
    for ref in refs:
        with opened(path) as file:
            assert len(index.find(file, raw_of(ref))) == 11
            assert file.bytes_read == 11 * RECORD_HEADER_BYTES


def test_of_a_file_that_grows_only_what_is_new_is_read(tmp_path: Path) -> None:
    ref, other = make_ref(), make_ref()
    index = SpoolIndex(tmp_path)
    with SpoolWriter(tmp_path, node="n1", file_bytes=16 << 20, commit_s=0.01) as writer:
        for stream, made in enumerate((ref, other)):
            writer.open(stream, made, make_key(made))
            writer.release(stream)
        for number in range(100):
            writer.append(0, number, number + 1, bytes(100_000))
        until(lambda: writer.health().exposure_ms == 0.0)
        assert found_by_both(tmp_path, index, ref) == 100
        (path,) = spool_files(tmp_path)
        writer.append(1, 0, 1, b"audio")
        writer.close(1)
        durable(writer, [1])
        with opened(path) as file:
            assert len(index.find(file, raw_of(other))) == 2
            assert file.bytes_read < 4_000_000, "of 10 MB: thrice as much as is read at once"


def test_durable_records_are_found_at_once_in_a_file_that_is_written_to(tmp_path: Path) -> None:
    index = SpoolIndex(tmp_path)
    with SpoolWriter(tmp_path, node="n1", file_bytes=1 << 20, commit_s=0.01) as writer:
        for number in range(50):
            ref = make_ref()
            writer.open(number, ref, make_key(ref))
            writer.release(number)
            writer.append(number, 0, 1, bytes(3000))
            writer.close(number)
            durable(writer, [number])
            with index.records_of(ref.artefact) as found:
                assert (len(found.records), found.ended) == (1, True)


def test_what_it_has_no_room_for_is_searched(tmp_path: Path) -> None:
    refs = [make_ref() for _ in range(10)]
    write_many(tmp_path, refs, 150)
    assert len(spool_files(tmp_path)) >= 3
    index = SpoolIndex(tmp_path, bytes_max=4096)
    for _ in range(2):
        for ref in refs:
            assert found_by_both(tmp_path, index, ref) == 150
        assert 4096 <= index.size < 4096 + 300
    for path in spool_files(tmp_path)[:-1]:
        path.unlink()
    last = make_ref()
    write_stream(tmp_path, last, [b"audio"] * 2)
    assert found_by_both(tmp_path, index, last) == 2


def test_files_that_are_gone_are_forgotten(tmp_path: Path) -> None:
    refs = [make_ref() for _ in range(20)]
    write_many(tmp_path, refs, 100)
    index = SpoolIndex(tmp_path)
    assert found_by_both(tmp_path, index, refs[0]) == 100
    before = index.size
    assert before > 20 * 100 * 8
    for path in spool_files(tmp_path):
        path.unlink()
    assert found_by_both(tmp_path, index, refs[0]) == 0
    write_stream(tmp_path, refs[0], [b"audio"])
    assert found_by_both(tmp_path, index, refs[0]) == 1
    assert 0 < index.size < 500


def test_a_file_that_goes_while_it_is_read_is_read_to_its_end(tmp_path: Path) -> None:
    ref = make_ref()
    write_stream(tmp_path, ref, [b"audio"] * 5)
    (path,) = spool_files(tmp_path)
    with opened(path) as file:
        path.unlink()
        assert len(SpoolIndex(tmp_path).find(file, raw_of(ref))) == 6


def test_records_that_failed_to_be_written_and_were_cut_off_are_not_told(tmp_path: Path) -> None:
    ref = make_ref()
    write_stream(tmp_path, ref, [b"audio"] * 5)
    (path,) = spool_files(tmp_path)
    index = SpoolIndex(tmp_path)
    with opened(path) as file:
        known = index.find(file, raw_of(ref))
        os.truncate(path, known[-1].offset)
        assert index.find(file, raw_of(ref)) == known[:-1]


@pytest.mark.parametrize("bytes_max", [1 << 20, 2000])
def test_threads_that_ask_while_it_is_written_find_all_that_was_there(tmp_path: Path, bytes_max: int) -> None:
    refs = [make_ref() for _ in range(4)]
    index = SpoolIndex(tmp_path, bytes_max)

    def asked(ref: ArtefactRef) -> list[int]:
        counts = [0]
        while counts[-1] < 40:
            with index.records_of(ref.artefact) as found:
                assert [record.start for record in found.records] == list(range(len(found.records)))
                counts.append(len(found.records))
        return counts

    with (
        ThreadPoolExecutor(4) as threads,
        SpoolWriter(tmp_path, node="n1", file_bytes=1 << 20, commit_s=0.002) as writer,
    ):
        for stream, ref in enumerate(refs):
            writer.open(stream, ref, make_key(ref))
            writer.release(stream)
        asking = [threads.submit(asked, ref) for ref in refs]
        for number in range(40):
            for stream in range(4):
                writer.append(stream, number, number + 1, bytes(2000))
            until(lambda: writer.health().exposure_ms == 0.0)
        for found in asking:
            counts = found.result(timeout=20)
            assert counts == sorted(counts)
