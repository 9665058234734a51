"""A stream of several runs: its writer died, another goes on, and a call is closed only with what all of them wrote."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from storage.model import ArtefactRef, CallId, CallState, Kind, ParticipantId, TenantId, new_id
from storage.objects.folder import FolderStore
from storage.recordings import Recordings
from storage.records import Wanted
from storage.spool import SpoolWriter
from storage.spoolfile import records_of, spool_files
from storage.uploader import Uploader
from tests.storage.spooling import MemorySlices, make_key, make_ref, until, write_stream

FIRST = [b"of the writer that died", b"the last that it wrote"]
SECOND = [b"of the one that went on", b"to the end"]


def test_call_is_not_closed_while_another_run_goes_on_with_its_stream(tmp_path: Path) -> None:
    ref, slices = make_ref(), MemorySlices(FolderStore(tmp_path / "objects"))
    slices.add(ref)
    spool = tmp_path / "spool"
    dying = SpoolWriter(spool, node="n1", file_bytes=1 << 20)
    dying.start()
    _write(dying, FIRST, ref=ref, first=0)
    dying.stop()  # without an end
    with (
        SpoolWriter(spool, node="n2", file_bytes=1 << 20) as writer,
        Uploader(spool, slices, slices.objects) as uploader,
    ):
        _write(writer, SECOND, ref=ref, first=100)
        until(lambda: len(records_of(spool, ref.artefact).records) == 4)  # durable, as when a call ends
        for now_s in (0.0, 1.0, 2.0):
            uploader.step(now_s)
        assert slices.completed == {ref.artefact: True}
        assert slices.manifests == []
        writer.close(1)
        until(lambda: writer.poll() == [1])
        uploader.step(3.0)
    assert [data for *_, data in slices.plaintext(ref)] == FIRST + SECOND
    assert slices.completed == {ref.artefact: True}, "that a run had no end stays known"
    assert slices.manifests == [ref.call]


def test_what_another_run_wrote_since_the_spool_was_read_is_not_left_out(tmp_path: Path) -> None:
    ref, spool = make_ref(), tmp_path / "spool"

    class EndsMeanwhile(MemorySlices):
        """The call ends, and with it its second run, when the uploader has read the spool and asks what is over."""

        asked = 0

        def ended_calls(self) -> Iterable[tuple[TenantId, CallId]]:
            self.asked += 1
            if self.asked == 1:
                write_stream(spool, ref, SECOND, first=100)
            return super().ended_calls()

    slices = EndsMeanwhile(FolderStore(tmp_path / "objects"))
    slices.add(ref)
    dying = SpoolWriter(spool, node="n1", file_bytes=1 << 20)
    dying.start()
    _write(dying, FIRST, ref=ref, first=0)
    dying.stop()
    with Uploader(spool, slices, slices.objects) as uploader:
        assert uploader.step(0.0).stored == []
        assert uploader.step(1.0).stored == [(ref.tenant, ref.call)]
        uploader.step(2.0)
    assert [data for *_, data in slices.plaintext(ref)] == FIRST + SECOND
    assert spool_files(spool) == []


@pytest.mark.parametrize("sliced", ["both", "later", "none"])
def test_runs_are_read_in_the_order_of_their_media_time_whichever_was_sliced_first(
    store: Recordings, tenant: TenantId, sliced: str
) -> None:
    store.prepare(tenant, ["quality"])
    new = store.begin(tenant, CallId(new_id()), [Wanted(ParticipantId(new_id()), Kind.AUDIO, "quality")])
    store.save([new])
    audio = new.find(Kind.AUDIO, new.artefacts[0].ref.participant)
    for first, records in ((100, SECOND), (0, FIRST)):
        with SpoolWriter(store.spool_folder, node="n1", file_bytes=1 << 20, commit_s=0.01) as writer:
            writer.open(1, audio.ref, audio.key)
            writer.release(1)
            for number, data in enumerate(records, first):
                writer.append(1, number, number + 1, data)
        if sliced == "both" or (sliced == "later" and first):
            with Uploader(store.spool_folder, store.slices, store.objects) as uploader:
                uploader.step(0.0)
    with store.stream(tenant, audio.ref.artefact) as stream:
        assert list(stream.read()) == FIRST + SECOND
        assert list(stream.read(100, 101)) == SECOND[:1]
    assert store.call(tenant, new.call).state is CallState.LIVE


def _write(writer: SpoolWriter, records: list[bytes], *, ref: ArtefactRef, first: int) -> None:
    writer.open(1, ref, make_key(ref))
    writer.release(1)
    for number, data in enumerate(records, first):
        writer.append(1, number, number + 1, data)
