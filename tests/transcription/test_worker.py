"""The worker on a real store: what it derives, when it waits, and what it drops."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from storage.consents import Consent
from storage.model import ArtefactState, CallId, CallState, Kind, TenantId, new_id
from storage.places import Part, Place
from storage.recordings import Recordings
from tests.transcription.stage import RATE_HZ, begin_call, end_call, opened_store, recorded_call
from transcription.engines import Engine
from transcription.errors import EngineUnavailable, Malformed, Unsupported
from transcription.model import Transcript, Word, spans_from_json
from transcription.queue import Again, Done, Job, Queue, Relay
from transcription.queue_server import QueueServer
from transcription.redaction import merged, restore
from transcription.redaction.rampart import open_names
from transcription.serving import serve
from transcription.worker import DELIVERIES_MAX, ENGINE_RETRY_S, WINDOW_S, Worker, parse_facts, parse_language

SAID = "My name is Peter Johnson, call me on 0612345678."

BUSY = """
import sys, time
from pathlib import Path
from storage.recordings import Recordings
from transcription.queue import QueueAddress
from transcription.serving import run
from transcription.worker import Worker

class Busy:
    name = "busy"
    def transcribe(self, samples, language):
        print("hearing", flush=True)
        time.sleep(60)
        return []

folder = Path(sys.argv[1])
store = Recordings.open(
    folder / "data", f"file:{folder / 'keys'}", f"file:{folder / 'data' / 'objects'}", node="worker"
)
run(Worker(store, Busy), store, lambda: QueueAddress.read(folder / "queue"))
"""


class Script:
    """An engine that hears the same sentence in whatever is not silent, at a word each 300 ms from a second on."""

    name = "script 1"

    def __init__(self, said: str = SAID, *, meanwhile: Callable[[], object] = lambda: None) -> None:
        self._said = said
        self._meanwhile = meanwhile
        self.heard: list[int] = []

    def transcribe(self, samples: NDArray[np.float32], language: str) -> Sequence[Word]:
        assert language == "en"
        self.heard.append(len(samples))
        self._meanwhile()
        return [Word(word, 1000 + 300 * i, 1250 + 300 * i, 0.8) for i, word in enumerate(self._said.split())]


def noise(seconds: float) -> NDArray[np.int16]:
    return np.random.default_rng(1).integers(-3000, 3000, int(seconds * RATE_HZ)).astype(np.int16)


def worker_with(store: Recordings, engine: Engine) -> Worker:
    return Worker(store, lambda: engine)


def job_of(ids: tuple[TenantId, CallId], delivery: int = 1) -> Job:
    return Job(*ids, delivery)


def test_each_track_gets_transcript_redacted_transcript_and_spans(tmp_path: Path) -> None:
    with opened_store(tmp_path) as store:
        ids = recorded_call(store, [noise(5), noise(5)], start_s=2.0)
        assert worker_with(store, Script()).work(job_of(ids)) == Done()
        record = store.call(*ids)
        for kind in (Kind.TRANSCRIPT, Kind.REDACTED_TRANSCRIPT, Kind.SPANS):
            assert [artefact.state for artefact in record.find(kind)] == [ArtefactState.COMPLETE] * 2
        document = store.document(ids[0], record.find(Kind.TRANSCRIPT)[0].ref.artefact)
        transcript = Transcript.from_json(document)
        assert transcript.turns()[0].text == SAID
        assert transcript.engine == "script 1"
        parts = [
            restore(found.ref, store.document(ids[0], found.ref.artefact))
            for found in record.find(Kind.REDACTED_TRANSCRIPT)
        ]
        assert {part.tracks[0].participant for part in parts} == {
            found.ref.participant for found in record.find(Kind.AUDIO)
        }
        texts = {turn.text for turn in merged(parts).turns()}
        assert texts == {"My name is [PERSON 1], call me on [PHONE 1]."}
        spans = spans_from_json(store.document(ids[0], record.find(Kind.SPANS)[0].ref.artefact))
        assert [(span.category, span.start_ms) for span in spans] == [("PERSON", 1900), ("PHONE", 3400)]


def test_a_job_that_comes_twice_is_done_once(tmp_path: Path) -> None:
    with opened_store(tmp_path) as store:
        ids = recorded_call(store, [noise(3)])
        engine = Script()
        worker = worker_with(store, engine)
        assert [worker.work(job_of(ids, delivery)) for delivery in (1, 2)] == [Done(), Done()]
        assert len(engine.heard) == 1
        assert len(store.call(*ids).find(Kind.TRANSCRIPT)) == 1


def test_what_another_worker_stored_meanwhile_is_not_stored_again(tmp_path: Path) -> None:
    with opened_store(tmp_path) as store:
        ids = recorded_call(store, [noise(3)])
        first = worker_with(store, Script())
        slow = worker_with(store, Script(meanwhile=lambda: first.work(job_of(ids))))
        assert slow.work(job_of(ids, 2)) == Done()
        assert len(store.call(*ids).find(Kind.TRANSCRIPT)) == 1


def test_a_track_that_received_nothing_has_no_words(tmp_path: Path) -> None:
    with opened_store(tmp_path) as store:
        ids = recorded_call(store, [noise(0), noise(2)])
        engine = Script()
        assert worker_with(store, engine).work(job_of(ids)) == Done()
        assert len(engine.heard) == 1
        assert len(store.call(*ids).find(Kind.REDACTED_TRANSCRIPT)) == 2


def test_a_long_track_is_read_in_windows_and_its_words_stay_on_the_calls_clock(tmp_path: Path) -> None:
    with opened_store(tmp_path) as store:
        pcm = noise(WINDOW_S + 60)
        pcm[(WINDOW_S - 10) * RATE_HZ : (WINDOW_S - 9) * RATE_HZ] = 0
        ids = recorded_call(store, [pcm])
        engine = Script("one")
        assert worker_with(store, engine).work(job_of(ids)) == Done()
        document = store.document(ids[0], store.call(*ids).find(Kind.TRANSCRIPT)[0].ref.artefact)
        starts = [word.start_ms for word in Transcript.from_json(document).tracks[0].words]
        assert len(starts) == len(engine.heard) == 2
        assert starts[0] == 1000
        assert (WINDOW_S - 9) * 1000 > starts[1] - 1000 > (WINDOW_S - 10) * 1000


def test_a_call_erased_before_or_during_the_work_leaves_nothing(tmp_path: Path) -> None:
    with opened_store(tmp_path) as store:
        before = recorded_call(store, [noise(2)])
        store.erase_call(*before, ground="request", actor="test")
        assert worker_with(store, Script()).work(job_of(before)) == Done()
        during = recorded_call(store, [noise(2)])
        erasing = Script(meanwhile=lambda: store.erase_call(*during, ground="request", actor="test"))
        assert worker_with(store, erasing).work(job_of(during)) == Done()
        for ids in (before, during):
            record = store.call(*ids)
            assert record.state is CallState.ERASED
            assert not record.find(Kind.TRANSCRIPT)


def test_up_17_a_restricted_call_is_not_transcribed_until_the_restriction_is_lifted(tmp_path: Path) -> None:
    with opened_store(tmp_path) as store:
        before, during = recorded_call(store, [noise(2)]), recorded_call(store, [noise(2)])
        store.restrictions.place(*before, "Art. 18(1)", "test")
        engine = Script()
        assert worker_with(store, engine).work(job_of(before)) == Done()
        assert engine.heard == []
        restricting = Script(meanwhile=lambda: store.restrictions.place(*during, "Art. 18(1)", "test"))
        assert worker_with(store, restricting).work(job_of(during, DELIVERIES_MAX)) == Done()
        assert {job.call for job in store.jobs.dead()} == {before[1], during[1]}
        assert store.jobs.dead_count() == 0
        store.outbox_sent([row.id for row in store.outbox_pending()])
        for ids in (before, during):
            assert not store.call(*ids).find(Kind.TRANSCRIPT)
            store.restrictions.lift(*ids, "test")
            assert worker_with(store, Script()).work(job_of(ids)) == Done()
            assert store.call(*ids).find(Kind.TRANSCRIPT)
        assert store.jobs.waiting() == 2


def test_a_consent_withdrawn_during_the_work_leaves_no_transcript(tmp_path: Path) -> None:
    with opened_store(tmp_path) as store:
        ids = recorded_call(store, [noise(2)])
        consent = store.consents.record(*ids, Consent("quality", "version 3"), "test")
        withdrawing = Script(meanwhile=lambda: store.consents.withdraw(*ids, consent, how="", actor="test"))
        assert worker_with(store, withdrawing).work(job_of(ids)) == Done()
        assert store.call(*ids).state is CallState.ERASED
        assert not store.call(*ids).find(Kind.TRANSCRIPT)


def test_a_call_of_another_tenant_or_none_is_dropped(tmp_path: Path) -> None:
    with opened_store(tmp_path) as store:
        _tenant, call = recorded_call(store, [noise(1)])
        other = store.tenant("other")
        worker = worker_with(store, Script())
        assert worker.work(Job(other, call)) == Done()
        assert worker.work(Job(other, CallId(new_id()))) == Done()


def test_up_08_a_worker_where_a_tenants_data_may_not_be_leaves_its_jobs_to_others_and_opens_nothing(
    tmp_path: Path,
) -> None:
    with opened_store(tmp_path, [Place(Part.TRANSCRIPTION, "NL")]) as store:
        ids = recorded_call(store, [noise(2)])
        store.residency.settle(ids[0], ["NL"])
        engine = Script()
        with opened_store(tmp_path, [Place(Part.TRANSCRIPTION, "US")]) as elsewhere:
            assert isinstance(worker_with(elsewhere, engine).work(job_of(ids)), Again)
        assert engine.heard == []
        assert worker_with(store, engine).work(job_of(ids, 2)) == Done()


def test_a_job_that_outruns_its_call_waits(tmp_path: Path) -> None:
    with opened_store(tmp_path) as store:
        new = begin_call(store, 1)
        worker = worker_with(store, Script())
        assert isinstance(worker.work(Job(new.tenant, new.call)), Again)
        end_call(store, new, [noise(1)])
        assert worker.work(Job(new.tenant, new.call, 2)) == Done()


def test_without_a_model_no_job_is_taken_and_the_log_says_how_to_mend_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with opened_store(tmp_path) as store:
        ids = recorded_call(store, [noise(1)])
        models: list[Engine] = []
        told: list[Mapping[str, object]] = []

        def engine() -> Engine:
            if not models:
                raise EngineUnavailable("install the model")
            return models[0]

        worker = Worker(store, engine, tell=told.append)
        with caplog.at_level(logging.INFO):
            assert not worker.ready()
        assert [(entry.message, entry.__dict__["mend"]) for entry in caplog.records] == [
            ("engine_unavailable", "install the model")
        ]
        assert worker.work(job_of(ids)) == Again(ENGINE_RETRY_S)
        models.append(Script())
        assert worker.ready()
        assert worker.work(job_of(ids, 2)) == Done()
        assert told == [
            {"names_model": "off"},
            {"speech_model": "missing", "mend": "install the model"},
            {"speech_model": "script 1"},
            {"transcript_ready": list(ids)},
        ]


def test_a_missing_model_for_names_is_told_and_the_rules_do_their_part(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with opened_store(tmp_path) as store:
        ids = recorded_call(store, [noise(5)])
        told: list[Mapping[str, object]] = []
        worker = Worker(store, Script, lambda: open_names("/nowhere"), told.append)
        assert worker.ready()
        assert [entry.message for entry in caplog.records] == ["names_model_missing"]
        assert told[0]["names_model"] == "missing"
        assert worker.work(job_of(ids)) == Done()
        found = store.call(*ids).find(Kind.REDACTED_TRANSCRIPT)[0]
        redacted = restore(found.ref, store.document(ids[0], found.ref.artefact))
        assert (redacted.engine, redacted.turns()[0].text) == (
            "script 1",
            "My name is [PERSON 1], call me on [PHONE 1].",
        )


def test_the_second_layer_hides_what_the_rules_do_not_know_and_is_named_in_the_result(tmp_path: Path) -> None:
    with opened_store(tmp_path) as store:
        ids = recorded_call(store, [noise(5)])
        worker = Worker(store, lambda: Script("I gave the keys to Oluwaseun Adeyemi on Monday."), open_names)
        assert worker.ready()
        assert worker.work(job_of(ids)) == Done()
        found = store.call(*ids).find(Kind.REDACTED_TRANSCRIPT)[0]
        redacted = restore(found.ref, store.document(ids[0], found.ref.artefact))
        assert redacted.turns()[0].text == "I gave the keys to [PERSON 1] on Monday."
        assert redacted.engine.startswith("script 1, rampart ")


def test_a_job_that_fails_is_tried_ever_later_and_then_put_on_the_dead_list(tmp_path: Path) -> None:
    class Failing(Script):
        def transcribe(self, samples: NDArray[np.float32], language: str) -> Sequence[Word]:
            raise RuntimeError("a library's own words")

    with opened_store(tmp_path) as store:
        ids = recorded_call(store, [noise(1)])
        told: list[Mapping[str, object]] = []
        worker = Worker(store, Failing, tell=told.append)
        verdicts = [worker.work(job_of(ids, delivery)) for delivery in (1, 2, 5, DELIVERIES_MAX - 1)]
        assert verdicts == [Again(1.0), Again(2.0), Again(16.0), Again(600.0)]
        assert store.jobs.dead() == []
        assert worker.work(job_of(ids, DELIVERIES_MAX)) == Done()
        (dead,) = store.jobs.dead()
        assert (dead.tenant, dead.call, dead.subject) == (*ids, "transcribe")
        assert (dead.reason, dead.deliveries) == ("RuntimeError", DELIVERIES_MAX)
        assert told[-1] == {"job_dead": list(ids), "reason": "RuntimeError"}


def test_what_is_damaged_or_not_supported_is_given_up_at_once(tmp_path: Path) -> None:
    class Monolingual(Script):
        def transcribe(self, samples: NDArray[np.float32], language: str) -> Sequence[Word]:
            raise Unsupported("English only")

    with opened_store(tmp_path) as store:
        new = begin_call(store, 1)
        detail, audio = new.find(Kind.CALL_DETAIL).ref.artefact, new.artefacts[0].ref.artefact
        store.put_documents(new, {detail: b"{}", audio: b"no facts"}, CallState.ENDED)
        assert worker_with(store, Script()).work(Job(new.tenant, new.call)) == Done()
        ids = recorded_call(store, [noise(1)])
        assert worker_with(store, Monolingual()).work(job_of(ids)) == Done()
        assert [(dead.call, dead.reason) for dead in store.jobs.dead()] == [
            (new.call, "Malformed"),
            (ids[1], "Unsupported"),
        ]


def test_a_job_that_its_workers_die_of_is_not_tried_for_ever(tmp_path: Path) -> None:
    with opened_store(tmp_path) as store:
        ids = recorded_call(store, [noise(1)])
        engine = Script()
        assert worker_with(store, engine).work(job_of(ids, DELIVERIES_MAX + 1)) == Done()
        assert engine.heard == []
        assert [dead.reason for dead in store.jobs.dead()] == ["Deliveries"]


def test_a_dead_job_that_is_retried_comes_as_a_new_one(tmp_path: Path) -> None:
    with opened_store(tmp_path) as store:
        ids = recorded_call(store, [noise(2)])
        first = store.outbox_pending()[0]
        store.outbox_sent([first.id])
        worker = worker_with(store, Script())
        worker.work(job_of(ids, DELIVERIES_MAX + 1))
        store.jobs.retry(store.jobs.dead()[0].id)
        (row,) = store.outbox_pending()
        assert (row.id != first.id, row.subject, row.body) == (True, first.subject, first.body)
        assert worker.work(Job.from_json(row.body)) == Done()
        assert store.jobs.dead() == []
        assert store.call(*ids).find(Kind.REDACTED_TRANSCRIPT)


def test_a_stopped_worker_hands_its_job_back(tmp_path: Path) -> None:
    with opened_store(tmp_path) as store:
        ids = recorded_call(store, [noise(1)])
        worker = worker_with(store, Script())
        worker.stop()
        assert worker.work(job_of(ids)) == Again(0.0)
        assert not store.call(*ids).find(Kind.TRANSCRIPT)


@pytest.mark.parametrize("document", [b"", b"[]", b"{}", b'{"facts":1}', b'{"facts":{"map":[]}}'])
def test_a_track_without_facts_is_malformed(document: bytes) -> None:
    with pytest.raises(Malformed):
        parse_facts(document)


def test_a_call_speaks_english_unless_its_detail_says_otherwise() -> None:
    assert parse_language(b"{}") == "en"
    assert parse_language(b'{"language":"nl"}') == "nl"
    with pytest.raises(Malformed):
        parse_language(b"[]")


def test_nothing_that_was_said_is_in_log_or_files(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), opened_store(tmp_path) as store:
        ids = recorded_call(store, [noise(2)])
        worker_with(store, Script()).work(job_of(ids))
    logged = "".join(str(record.__dict__) for record in caplog.records)
    files = b"".join(path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file())
    for planted in ("Peter", "Johnson", "0612345678", "My name is"):
        assert planted not in logged
        assert planted.encode() not in files


def test_from_the_outbox_to_the_transcript(tmp_path: Path) -> None:
    async def scenario(store: Recordings) -> None:
        server = QueueServer(tmp_path / "queue")
        address = await server.start()
        try:
            ids = recorded_call(store, [noise(2)])
            async with await Queue.connect(address) as queue:
                assert await Relay(store, queue).step() == 1
                assert store.outbox_pending() == []
            serving = asyncio.create_task(serve(worker_with(store, Script()), lambda: address))
            for _look in range(500):
                if store.call(*ids).find(Kind.REDACTED_TRANSCRIPT):
                    break
                await asyncio.sleep(0.02)
            assert store.call(*ids).find(Kind.REDACTED_TRANSCRIPT)
            serving.cancel()
            with suppress(asyncio.CancelledError):
                await serving
        finally:
            await server.stop()

    with opened_store(tmp_path) as store:
        asyncio.run(scenario(store))


def test_a_terminated_worker_process_ends_at_once_though_its_engine_is_busy(tmp_path: Path) -> None:
    async def scenario(store: Recordings) -> None:
        server = QueueServer(tmp_path / "queue")
        address = await server.start()
        try:
            ids = recorded_call(store, [noise(2)])
            async with await Queue.connect(address) as queue:
                await Relay(store, queue).step()
            worker = await asyncio.create_subprocess_exec(
                sys.executable, "-c", BUSY, str(tmp_path), stdout=asyncio.subprocess.PIPE
            )
            assert worker.stdout is not None
            assert await worker.stdout.readline() == b"hearing\n"
            worker.terminate()
            async with asyncio.timeout(5):
                assert await worker.wait() == 0
            serving = asyncio.create_task(serve(worker_with(store, Script()), lambda: address))
            for _look in range(500):  # handed back, so taken at once by the next worker
                if store.call(*ids).find(Kind.REDACTED_TRANSCRIPT):
                    break
                await asyncio.sleep(0.02)
            serving.cancel()
            with suppress(asyncio.CancelledError):
                await serving
            assert store.call(*ids).find(Kind.REDACTED_TRANSCRIPT)
        finally:
            await server.stop()

    with opened_store(tmp_path) as store:
        asyncio.run(scenario(store))
