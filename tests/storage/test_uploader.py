"""The uploader: each record in exactly one slice, whatever stops, and files deleted when nothing needs them."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping, Sequence
from itertools import count, pairwise
from pathlib import Path

import pytest

from storage.errors import AlreadyExists, Refused, StoreError, Unavailable, WrongKey
from storage.model import ArtefactId, ArtefactRef, Secret, TenantId
from storage.objects.folder import FolderStore
from storage.recordings import Recordings
from storage.records import NewArtefact
from storage.slices import IndexEntry, SliceRow, StreamKey, overlapping
from storage.spool import SpoolWriter
from storage.spoolfile import spool_files
from storage.spoolformat import FILE_HEADER_BYTES, RECORD_HEADER_BYTES
from storage.uploader import BATCH_STREAMS, KEY_S, RETRY_S_MAX, SLICE_BYTES, SLICE_S, Progress, Uploader
from tests.storage.spooling import MemorySlices, durable, make_key, make_ref, until, write_stream
from tests.storage.stores import audio_of, open_at, save_call, sweep_orphans
from tests.storage.stores import spool as spool_into

RECORDS = [bytes([number]) * (1000 + number) for number in range(40)]
EXPECTED = [(number * 250, number * 250 + 250, data) for number, data in enumerate(RECORDS)]


class StoreThatGoesAway(FolderStore):
    """A folder store that is unreachable while `away` is set."""

    away = False

    def put(self, name: str, data: bytes) -> None:
        if self.away:
            raise Unavailable("the object store is away")
        super().put(name, data)


@pytest.fixture
def objects(tmp_path: Path) -> StoreThatGoesAway:
    return StoreThatGoesAway(tmp_path / "objects")


@pytest.fixture
def slices(objects: StoreThatGoesAway) -> MemorySlices:
    return MemorySlices(objects)


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def run_steps(uploader: Uploader, count: int = 3, start_s: float = 0.0) -> list[Progress]:
    return [uploader.step(start_s + number) for number in range(count)]


def test_ended_stream_becomes_slices_and_the_file_goes(
    spool: Path, slices: MemorySlices, objects: StoreThatGoesAway
) -> None:
    ref = make_ref()
    slices.add(ref)
    write_stream(spool, ref, RECORDS)
    with Uploader(spool, slices, objects) as uploader:
        run_steps(uploader)
    assert slices.plaintext(ref) == EXPECTED
    assert slices.completed == {ref.artefact: False}
    assert slices.manifests == [ref.call]
    assert spool_files(spool) == []


def test_stream_that_goes_on_is_cut_at_a_megabyte_and_after_a_minute(
    spool: Path, slices: MemorySlices, objects: StoreThatGoesAway
) -> None:
    ref = make_ref()
    slices.add(ref)
    with SpoolWriter(spool, node="n1") as writer, Uploader(spool, slices, objects) as uploader:
        writer.open(1, ref, make_key(ref))
        writer.release(1)
        big = os.urandom(SLICE_BYTES // 2)
        for number in range(3):
            writer.append(1, number, number + 1, big)
        until(lambda: uploader.step(0.0).slices == 1)
        until(lambda: uploader.step(0.0).waiting_bytes > len(big))
        assert [row.slice_no for row in slices.rows[ref.artefact]] == [0]
        assert uploader.step(SLICE_S - 0.5).slices == 0
        assert uploader.step(SLICE_S + 0.5).slices == 1
        assert [data for *_, data in slices.plaintext(ref)] == [big] * 3
        assert slices.completed == {}
        assert len(spool_files(spool)) == 1, "the file that is being written stays"


@pytest.mark.parametrize("stop_after", range(5))
def test_restart_in_mid_way_gives_each_record_exactly_once(
    spool: Path, slices: MemorySlices, objects: StoreThatGoesAway, stop_after: int
) -> None:
    ref = make_ref()
    slices.add(ref)
    records = [os.urandom(300_000) for _ in range(20)]
    write_stream(spool, ref, records)

    class Stopped(Exception):
        pass

    class DiesInBetween(MemorySlices):
        def commit(self, rows: Sequence[SliceRow], ends: Mapping[ArtefactId, bool]) -> list[Refused | None]:
            if len(self.rows[ref.artefact]) == stop_after:
                raise Stopped
            return super().commit(rows, ends)

    dying = DiesInBetween(objects)
    dying.refs, dying.rows, dying.completed = slices.refs, slices.rows, slices.completed
    with Uploader(spool, dying, objects) as uploader, pytest.raises(Stopped):
        run_steps(uploader)
    with Uploader(spool, slices, objects) as uploader:
        run_steps(uploader)
    assert [data for *_, data in slices.plaintext(ref)] == records
    assert slices.completed == {ref.artefact: False}
    assert spool_files(spool) == []
    orphans = len(list(objects.list())) - len(slices.rows[ref.artefact])
    assert orphans == 1, "the object whose row was never committed waits for the sweep"


def test_stream_completed_before_the_restart_is_not_called_interrupted(
    spool: Path, slices: MemorySlices, objects: StoreThatGoesAway
) -> None:
    ref = make_ref()
    slices.add(ref)
    with SpoolWriter(spool, node="n1") as writer:
        writer.open(1, ref, make_key(ref))
        writer.release(1)
        writer.append(1, 0, 1, b"audio")
        writer.close(1)
        durable(writer, [1])
        for _ in range(2):  # the file is still being written to, so both uploaders read all of it
            with Uploader(spool, slices, objects) as uploader:
                uploader.step(0.0)
            assert slices.completed.pop(ref.artefact) is False
    assert len(slices.rows[ref.artefact]) == 1


@pytest.mark.parametrize("what", ["objects", "catalogue"])
def test_what_is_away_is_waited_for_and_everything_drains_later(
    spool: Path, slices: MemorySlices, objects: StoreThatGoesAway, what: str
) -> None:
    ref = make_ref()
    slices.add(ref)
    write_stream(spool, ref, RECORDS)
    with Uploader(spool, slices, objects) as uploader:
        objects.away, slices.away = what == "objects", what == "catalogue"
        for second in range(100):
            progress = uploader.step(float(second))
            assert progress.held is not None
            assert progress.waiting_bytes > sum(map(len, RECORDS))
        assert len(spool_files(spool)) == 1
        objects.away = slices.away = False
        assert uploader.step(200.0).records == len(RECORDS)
        assert uploader.step(201.0).held is None
    assert slices.plaintext(ref) == EXPECTED
    assert spool_files(spool) == []


def test_back_off_grows_while_the_store_is_away(spool: Path, slices: MemorySlices, objects: StoreThatGoesAway) -> None:
    ref = make_ref()
    slices.add(ref)
    write_stream(spool, ref, RECORDS)
    objects.away = True
    with Uploader(spool, slices, objects) as uploader:
        held = [uploader.step(second / 4).held for second in range(4 * 120)]
    tried = [number / 4 for number, why in enumerate(held) if why == "the object store is away"]
    gaps = [later - earlier for earlier, later in pairwise(tried)]
    assert gaps[0] == 0.5
    assert max(gaps) == 30.0
    assert gaps == sorted(gaps)


def test_records_of_an_erased_artefact_are_skipped_and_the_file_is_deleted(
    spool: Path, slices: MemorySlices, objects: StoreThatGoesAway
) -> None:
    erased, kept = make_ref(), make_ref()
    slices.add(kept)
    slices.add(erased)
    slices.erased.add(erased.artefact)
    with SpoolWriter(spool, node="n1") as writer:
        for stream, ref in enumerate([erased, kept]):
            writer.open(stream, ref, make_key(ref))
            writer.release(stream)
            for start, end, data in EXPECTED:
                writer.append(stream, start, end, data)
            writer.close(stream)
        durable(writer, [0, 1])
    with Uploader(spool, slices, objects) as uploader:
        progress = run_steps(uploader)
    assert sum(step.erased for step in progress) == len(RECORDS)
    assert slices.plaintext(kept) == EXPECTED
    assert slices.completed == {kept.artefact: False}
    assert spool_files(spool) == []
    assert len(list(objects.list())) == len(slices.rows[kept.artefact])


def test_artefact_erased_while_its_slice_is_stored_leaves_no_object(
    spool: Path, slices: MemorySlices, objects: StoreThatGoesAway
) -> None:
    ref = make_ref()
    slices.add(ref)
    write_stream(spool, ref, RECORDS)

    class ErasesMeanwhile(MemorySlices):
        def commit(self, rows: Sequence[SliceRow], ends: Mapping[ArtefactId, bool]) -> list[Refused | None]:
            self.erased.add(ref.artefact)
            return super().commit(rows, ends)

    erasing = ErasesMeanwhile(objects)
    erasing.add(ref)
    with Uploader(spool, erasing, objects) as uploader:
        run_steps(uploader)
    assert list(objects.list()) == []
    assert spool_files(spool) == []


def test_slice_committed_by_another_is_given_up_and_its_object_removed(
    spool: Path, slices: MemorySlices, objects: StoreThatGoesAway
) -> None:
    ref = make_ref()
    slices.add(ref)
    write_stream(spool, ref, RECORDS)

    class Contended(MemorySlices):
        refusals = 1

        def commit(self, rows: Sequence[SliceRow], ends: Mapping[ArtefactId, bool]) -> list[Refused | None]:
            if self.refusals:
                self.refusals -= 1
                return [AlreadyExists("another was first") for _ in rows]
            return super().commit(rows, ends)

    contended = Contended(objects)
    contended.add(ref)
    with Uploader(spool, contended, objects) as uploader:
        run_steps(uploader)
    assert contended.plaintext(ref) == EXPECTED
    assert len(list(objects.list())) == 1


def spool_streams(spool: Path, refs: Sequence[ArtefactRef]) -> None:
    """The same records and an end in a stream of each artefact."""
    with SpoolWriter(spool, node="n1") as writer:
        for stream, ref in enumerate(refs):
            writer.open(stream, ref, make_key(ref))
            writer.release(stream)
            for start, end, data in EXPECTED:
                writer.append(stream, start, end, data)
            writer.close(stream)
        durable(writer, range(len(refs)))


def test_streams_that_end_together_are_stored_and_ended_in_one_transaction(
    spool: Path, slices: MemorySlices, objects: StoreThatGoesAway
) -> None:
    refs = [make_ref() for _ in range(20)]
    for ref in refs:
        slices.add(ref)
    spool_streams(spool, refs)
    with Uploader(spool, slices, objects, clock=lambda: 0.0) as uploader:
        progress = uploader.step(0.0)
    assert (progress.slices, progress.completed, progress.busy) == (20, 20, False)
    assert slices.commits == 1
    assert slices.completed == {ref.artefact: False for ref in refs}
    for ref in refs:
        assert slices.plaintext(ref) == EXPECTED


def test_more_streams_than_one_transaction_takes_are_all_stored_in_one_step(
    spool: Path, slices: MemorySlices, objects: StoreThatGoesAway
) -> None:
    refs = [make_ref() for _ in range(BATCH_STREAMS + 3)]
    for ref in refs:
        slices.add(ref)
    spool_streams(spool, refs)
    with Uploader(spool, slices, objects, clock=lambda: 0.0) as uploader:
        assert uploader.step(0.0).completed == len(refs)
        assert slices.commits == 2
        uploader.step(1.0)
    assert spool_files(spool) == []


def test_no_key_is_used_longer_than_its_lease_allows_however_slow_the_machine_is(
    spool: Path, slices: MemorySlices, objects: StoreThatGoesAway
) -> None:
    refs = [make_ref() for _ in range(3)]
    for ref in refs:
        slices.add(ref)
    spool_streams(spool, refs)
    instants = count(0.0, 2 * KEY_S)
    with Uploader(spool, slices, objects, clock=lambda: next(instants)) as uploader:
        assert uploader.step(0.0).completed == len(refs), "one at least gets on with each answer"
    assert slices.commits == len(refs)


def test_failed_transaction_is_done_again_without_storing_anything_twice(
    spool: Path, slices: MemorySlices, objects: StoreThatGoesAway
) -> None:
    refs = [make_ref() for _ in range(3)]
    spool_streams(spool, refs)

    class FailsAtFirst(MemorySlices):
        attempts = 0

        def commit(self, rows: Sequence[SliceRow], ends: Mapping[ArtefactId, bool]) -> list[Refused | None]:
            self.attempts += 1
            if self.attempts == 1:
                raise Unavailable("nothing was done")
            outcomes = super().commit(rows, ends)
            if self.attempts == 2:
                raise Unavailable("it was done all the same")
            return outcomes

    failing = FailsAtFirst(objects)
    for ref in refs:
        failing.add(ref)
    with Uploader(spool, failing, objects) as uploader:
        held = [uploader.step(float(second * 10)).held for second in range(4)]
    assert held == ["nothing was done", "it was done all the same", None, None]
    for ref in refs:
        assert failing.plaintext(ref) == EXPECTED
        assert len(failing.rows[ref.artefact]) == 1
    assert failing.completed == {ref.artefact: False for ref in refs}, "a fault that passed is no interruption"
    assert spool_files(spool) == []


def test_object_that_could_not_be_stored_holds_up_its_stream_only(spool: Path, tmp_path: Path) -> None:
    refs = [make_ref() for _ in range(3)]
    spool_streams(spool, refs)

    class RefusesOne(FolderStore):
        refused: str | None = refs[1].call

        def put(self, name: str, data: bytes) -> None:
            if self.refused is not None and self.refused in name:
                raise Unavailable("not this one")
            super().put(name, data)

    refusing = RefusesOne(tmp_path / "objects")
    catalogue = MemorySlices(refusing)
    for ref in refs:
        catalogue.add(ref)
    with Uploader(spool, catalogue, refusing) as uploader:
        assert uploader.step(0.0).held == "not this one"
        assert set(catalogue.completed) == {refs[0].artefact, refs[2].artefact}
        refusing.refused = None
        assert uploader.step(10.0).held is None
    assert catalogue.completed == {ref.artefact: False for ref in refs}
    assert catalogue.plaintext(refs[1]) == EXPECTED


def test_key_that_does_not_open_holds_up_its_stream_only(
    spool: Path, slices: MemorySlices, objects: StoreThatGoesAway
) -> None:
    damaged, whole = make_ref(), make_ref()
    spool_streams(spool, [damaged, whole])

    class Damaged(MemorySlices):
        is_damaged = True

        def artefact_keys(self, wanted: Sequence[ArtefactId]) -> dict[ArtefactId, StreamKey | StoreError]:
            keys = super().artefact_keys(wanted)
            if self.is_damaged and damaged.artefact in keys:
                keys[damaged.artefact] = WrongKey("the key does not match its commitment")
            return keys

    catalogue = Damaged(objects)
    for ref in (damaged, whole):
        catalogue.add(ref)
    with Uploader(spool, catalogue, objects) as uploader:
        assert "does not match" in str(uploader.step(0.0).held)
        assert catalogue.completed == {whole.artefact: False}
        assert uploader.step(1.0).held is None, "it is left alone for a while"
        assert len(spool_files(spool)) == 1, "and nothing of it is dropped"
        catalogue.is_damaged = False
        uploader.step(RETRY_S_MAX + 1.0)
    assert catalogue.plaintext(damaged) == EXPECTED
    assert catalogue.completed == {ref.artefact: False for ref in (damaged, whole)}


def test_two_runs_of_one_artefact_follow_each_other(
    spool: Path, slices: MemorySlices, objects: StoreThatGoesAway
) -> None:
    ref = make_ref()
    slices.add(ref)
    write_stream(spool, ref, RECORDS[:3])
    with Uploader(spool, slices, objects) as uploader:
        uploader.step(0.0)
        write_stream(spool, ref, RECORDS[3:6], first=3)
        write_stream(spool, ref, RECORDS[6:], first=6)
        uploader.step(1.0)
    assert sorted(slices.plaintext(ref)) == EXPECTED
    assert [row.slice_no for row in slices.rows[ref.artefact]] == [0, 1, 2]
    assert slices.completed == {ref.artefact: False}


def test_stop_between_object_and_row_leaves_orphans_which_are_swept(tmp_path: Path) -> None:
    with open_at(tmp_path) as store:
        tenant = store.tenant("acme")
        new = save_call(store, tenant)
        spool_into(store, [(artefact, [b"audio"] * 3) for artefact in audio_of(new)])

        class Stopped(Exception):
            pass

        class StopsOnceStored(FolderStore):
            def put(self, name: str, data: bytes) -> None:
                super().put(name, data)
                raise Stopped

        stopping = StopsOnceStored(tmp_path / "data" / "objects")
        with Uploader(store.spool_folder, store.slices, stopping) as uploader, pytest.raises(Stopped):
            uploader.step(0.0)
        assert len(list(store.objects.list(""))) == 2
        with Uploader(store.spool_folder, store.slices, store.objects) as uploader:
            assert (uploader.step(0.0).slices, uploader.step(1.0).slices) == (2, 0)
        assert sweep_orphans(store) == 2
        for artefact in audio_of(new):
            with store.stream(tenant, artefact.ref.artefact) as stream:
                assert (list(stream.read()), stream.ended) == ([b"audio"] * 3, True)


def test_stream_of_a_dead_run_is_completed_as_interrupted(
    spool: Path, slices: MemorySlices, objects: StoreThatGoesAway
) -> None:
    ref = make_ref()
    slices.add(ref)
    writer = SpoolWriter(spool, node="n1")
    with writer:
        writer.open(1, ref, make_key(ref))
        writer.release(1)
        for start, end, data in EXPECTED:
            writer.append(1, start, end, data)
        with Uploader(spool, slices, objects) as uploader:
            run_steps(uploader, 10)
            assert slices.completed == {}, "its writer lives"
    with Uploader(spool, slices, objects) as uploader:
        run_steps(uploader)
    assert slices.plaintext(ref) == EXPECTED
    assert slices.completed == {ref.artefact: True}
    assert spool_files(spool) == []


def test_stream_with_slices_whose_run_left_nothing_is_completed_as_interrupted(
    spool: Path, slices: MemorySlices, objects: StoreThatGoesAway
) -> None:
    ref = make_ref()
    slices.add(ref)
    slices.rows[ref.artefact].append(SliceRow(ref.artefact, 0, "5" * 32, "6" * 32, 0, 9, 100, b"", 4096, b""))
    with Uploader(spool, slices, objects) as uploader:
        uploader.step(0.0)
    assert slices.completed == {ref.artefact: True}


@pytest.mark.parametrize("place", ["body of a record", "header of a record"])
def test_broken_record_is_left_out_counted_and_the_stream_marked_interrupted(
    spool: Path, slices: MemorySlices, objects: StoreThatGoesAway, place: str
) -> None:
    ref = make_ref()
    slices.add(ref)
    write_stream(spool, ref, RECORDS)
    (path,) = spool_files(spool)
    raw = bytearray(path.read_bytes())
    at = raw.index(bytes.fromhex(ref.artefact), len(raw) // 2)
    raw[at + (200 if place == "body of a record" else 20)] ^= 1
    path.write_bytes(raw)
    with Uploader(spool, slices, objects) as uploader:
        progress = run_steps(uploader)
    assert sum(step.broken for step in progress) == 1
    stored = slices.plaintext(ref)
    assert len(stored) == len(EXPECTED) - 1
    assert [record for record in EXPECTED if record not in stored] != []
    assert slices.completed == {ref.artefact: True}
    assert spool_files(spool) == []


def test_broken_record_in_a_file_that_was_left_behind_costs_only_itself(
    spool: Path, slices: MemorySlices, objects: StoreThatGoesAway
) -> None:
    ref = make_ref()
    slices.add(ref)
    piece = 200_000
    with SpoolWriter(spool, node="n1", file_bytes=1 << 20, commit_s=0.01) as writer:
        writer.open(1, ref, make_key(ref))
        writer.release(1)
        for number in range(12):
            writer.append(1, number, number + 1, bytes([number]) * piece)
        until(lambda: len(spool_files(spool)) == 3)
        first = spool_files(spool)[0]
        with first.open("r+b") as file:
            file.seek(FILE_HEADER_BYTES + piece + RECORD_HEADER_BYTES + 16 + 3)
            file.write(b"\0")
        with Uploader(spool, slices, objects) as uploader:
            uploader.step(0.0)
            writer.close(1)
            durable(writer, [1])
            run_steps(uploader)
    assert [start for start, *_ in slices.plaintext(ref)] == [0, *range(2, 12)]
    assert slices.completed == {ref.artefact: True}


def test_losses_told_by_the_end_record_mark_the_stream_interrupted(
    spool: Path, slices: MemorySlices, objects: StoreThatGoesAway
) -> None:
    ref = make_ref()
    slices.add(ref)
    with SpoolWriter(spool, node="n1") as writer:
        writer.open(1, ref, make_key(ref))
        writer.append(1, 0, 1, b"kept")
        writer.append(1, 1, 2, bytes(2 << 20))  # no record is that long
        writer.release(1)
        writer.close(1)
        durable(writer, [1])
        assert writer.lost(1) == 1
    with Uploader(spool, slices, objects) as uploader:
        run_steps(uploader)
    assert slices.plaintext(ref) == [(0, 1, b"kept")]
    assert slices.completed == {ref.artefact: True}


def test_second_uploader_is_held_off(spool: Path, slices: MemorySlices, objects: StoreThatGoesAway) -> None:
    with Uploader(spool, slices, objects) as first, Uploader(spool, slices, objects) as second:
        assert first.step(0.0).held is None
        assert "another uploader" in str(second.step(0.0).held)


def test_streams_of_two_writers_do_not_mix(spool: Path, slices: MemorySlices, objects: StoreThatGoesAway) -> None:
    refs = [make_ref(), make_ref()]
    with SpoolWriter(spool, node="n1") as one, SpoolWriter(spool, node="n1") as two:
        for writer, ref in zip([one, two], refs, strict=True):
            slices.add(ref)
            writer.open(7, ref, make_key(ref))
            writer.release(7)
        for start, end, data in EXPECTED:
            one.append(7, start, end, data)
            two.append(7, start, end, data[::-1] + b"2")
        for writer in (one, two):
            writer.close(7)
            durable(writer, [7])
        with Uploader(spool, slices, objects) as uploader:
            run_steps(uploader)
            assert slices.plaintext(refs[0]) == EXPECTED
            assert slices.plaintext(refs[1]) == [(start, end, data[::-1] + b"2") for start, end, data in EXPECTED]
            assert len(spool_files(spool)) == 2


def test_artefact_opened_again_in_the_same_run_goes_on(
    spool: Path, slices: MemorySlices, objects: StoreThatGoesAway
) -> None:
    ref = make_ref()
    slices.add(ref)
    with SpoolWriter(spool, node="n1") as writer:
        for stream in (1, 2):
            writer.open(stream, ref, make_key(ref))
            writer.release(stream)
            writer.append(stream, stream, stream + 1, b"piece %d" % stream)
            writer.close(stream)
            durable(writer, [stream])
    with Uploader(spool, slices, objects) as uploader:
        run_steps(uploader)
    assert slices.plaintext(ref) == [(1, 2, b"piece 1"), (2, 3, b"piece 2")]
    assert slices.completed == {ref.artefact: False}


def test_file_that_is_no_spool_is_left_alone(spool: Path, slices: MemorySlices, objects: StoreThatGoesAway) -> None:
    spool.mkdir()
    stranger = spool / "0.spool"
    stranger.write_bytes(b"something else")
    ref = make_ref()
    slices.add(ref)
    write_stream(spool, ref, RECORDS)
    with Uploader(spool, slices, objects) as uploader:
        run_steps(uploader)
    assert slices.plaintext(ref) == EXPECTED
    assert spool_files(spool) == [stranger]


def test_object_names_and_rows_show_no_key_and_no_plaintext(
    spool: Path, slices: MemorySlices, objects: StoreThatGoesAway, tmp_path: Path
) -> None:
    ref: ArtefactRef = make_ref()
    slices.add(ref)
    phrase = b"my account number is NL91ABNA0417164300"
    write_stream(spool, ref, [phrase])
    with Uploader(spool, slices, objects) as uploader:
        run_steps(uploader)
    stored = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    key: Secret = make_key(ref)
    for secret in (phrase, phrase[:12], key.reveal()):
        assert secret not in stored + repr(slices.rows).encode()


def test_live_reader_misses_nothing_while_the_uploader_moves_records(tmp_path: Path) -> None:
    with open_at(tmp_path) as store:
        tenant = store.tenant("acme")
        new = save_call(store, tenant)
        artefact = audio_of(new)[0]
        pieces = [b"%05d" % number + bytes(200_000) for number in range(60)]
        stop = threading.Event()

        def upload() -> None:
            with Uploader(store.spool_folder, store.slices, store.objects) as uploader:
                while not stop.is_set():
                    uploader.step(time.monotonic())

        moving = threading.Thread(target=upload)
        moving.start()
        try:
            write_and_read(store, tenant, artefact, pieces)
        finally:
            stop.set()
            moving.join()


def write_and_read(store: Recordings, tenant: TenantId, artefact: NewArtefact, pieces: list[bytes]) -> None:
    """Read the whole stream after each record: without holes, and never less than before."""
    with SpoolWriter(store.spool_folder, node="n1", file_bytes=1 << 20, commit_s=0.001) as writer:
        writer.open(1, artefact.ref, artefact.key)
        writer.release(1)
        seen = 0
        for number, piece in enumerate(pieces):
            writer.append(1, number, number + 1, piece)
            with store.stream(tenant, artefact.ref.artefact) as stream:
                got = [int(data[:5]) for data in stream.read()]
            assert got == list(range(len(got)))
            assert len(got) >= seen
            seen = len(got)
        writer.close(1)
        durable(writer, [1])
        with store.stream(tenant, artefact.ref.artefact) as stream:
            assert list(stream.read()) == pieces


def test_overlapping_entries_are_those_with_something_of_the_range() -> None:
    entries = [IndexEntry(0, 10, 0, 5), IndexEntry(10, 20, 5, 5), IndexEntry(20, 20, 10, 0), IndexEntry(20, 30, 10, 5)]
    assert overlapping(entries, 10, 20) == [entries[1]]
    assert overlapping(entries, 9, 21) == entries
    assert overlapping(entries, 30, 40) == []
