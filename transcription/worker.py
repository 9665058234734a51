"""The transcription worker: takes a job, reads the call's tracks, and stores transcript, redacted transcript and spans.

Rules: audio and text are in memory only. A job may come twice: what is already there is not made again. What is
derived is stored in the one transaction that finds its sources alive, so nothing outlives an erased call.

What becomes of a job:

    done                          transcribed, already there, or the call is erased
    the store is away             again, ever later; after DELIVERIES_MAX on the dead list
    not committed yet             the same
    what is stored is damaged     on the dead list at once: reading it again gives the same
    language unknown to engine    the same
    the call is restricted        set aside, untouched; comes back when the restriction is lifted (`storage.jobs`)
    its worker dies of it         delivered to the next one; after DELIVERIES_MAX on the dead list, untouched
    may not be here (residency)   again: another worker may be elsewhere; after DELIVERIES_MAX on the dead list
    no speech model               waits: nothing is taken (`transcription.serving`)
"""

from __future__ import annotations

import json
import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import media.errors
from media.framelog import decode
from media.render import media_span, render_pcm, total_samples
from media.timeline import TrackFacts
from storage.errors import AlreadyExists, DataError, Erased, NotFound, NotReady, Restricted, StoreError
from storage.model import CallState, Kind, ParticipantId
from storage.records import Derived
from transcription.audio import quiet_cut, to_engine
from transcription.errors import EngineUnavailable, Malformed, ModelUnavailable, Unsupported
from transcription.jobs import Again, Done
from transcription.model import Track, Transcript, Word, spans_to_json
from transcription.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from storage.recordings import Recordings
    from storage.records import ArtefactRecord, CallRecord
    from storage.streams import StreamReader
    from transcription.engines import Engine
    from transcription.jobs import Job
    from transcription.redaction.rampart import NamesModel

log = logging.getLogger(__name__)

JOB: Final = "transcribe"
"""The kind of job that this worker takes."""

DEFAULT_LANGUAGE: Final = "en"

WINDOW_S = 600
"""Audio held at once: 10 min are 57 MB of samples, and a call of three hours needs no more."""

CUT_WITHIN_S = 30
"""A window ends at the quietest place of its last part: within half a minute everybody draws breath."""

ENGINE_RETRY_S = 60.0
"""Jobs that wait for a model look for it this often."""

RETRY_S_MAX = 600.0
"""Longest pause before a failed job is tried again; the pauses double from a second."""

DELIVERIES_MAX = 20
"""A job that was delivered this often, over some two hours, is broken by itself: it goes to the dead list."""

REASON_DELIVERIES: Final = "Deliveries"
"""Why a job is dead whose worker never gave an answer: it dies of it, or is killed again and again."""

PERMANENT: Final = (DataError, media.errors.MediaError, Malformed, Unsupported)
"""Errors that the same job gives again, whenever it is tried."""


class _Stopped(Exception):
    """The worker was told to stop in mid-work."""


@dataclass(frozen=True, slots=True)
class _Source:
    """One recorded track: its audio artefact, and what is known of it."""

    audio: ArtefactRecord
    facts: TrackFacts | None  # None: nothing is known to have been received


class Worker:
    """Does jobs with one engine. `work` is for one job at a time."""

    def __init__(
        self,
        recordings: Recordings,
        engine: Callable[[], Engine],
        names: Callable[[], NamesModel | None] = lambda: None,
        tell: Callable[[Mapping[str, object]], None] = lambda _event: None,
    ) -> None:
        """`engine` and `names` open the models; `tell` is given what happens to jobs and models, in ids and words."""
        self._recordings = recordings
        self._open_engine = engine
        self._open_names = names
        self._tell = tell
        self._engine: Engine | None = None
        self._names: NamesModel | None = None
        self._names_sought = False
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Makes the job under work end at the next word; it counts as not done."""
        self._stopping.set()

    def ready(self) -> bool:
        """Loads the models; False, with how to mend it in the log, while there is no speech model."""
        if not self._names_sought:
            self._names_sought = True
            try:
                self._names = self._open_names()
            except ModelUnavailable as error:
                log.error("names_model_missing", extra={"mend": str(error)})
                self._tell({"names_model": "missing", "mend": str(error)})
            else:
                self._tell({"names_model": self._names.name if self._names else "off"})
        try:
            self._loaded()
        except EngineUnavailable as error:
            log.warning("engine_unavailable", extra={"mend": str(error)})
            self._tell({"speech_model": "missing", "mend": str(error)})
            return False
        return True

    def work(self, job: Job) -> Done | Again:
        """Does a job and says what is to become of it; raises nothing."""
        ids = {"tenant_id": job.tenant, "call_id": job.call}
        try:
            worn_out = job.delivery > DELIVERIES_MAX
            return self._give_up(job, REASON_DELIVERIES) if worn_out else self._transcribe(job)
        except (Erased, NotFound, AlreadyExists) as error:  # the last: another worker had the same job and was first
            log.info("transcription_dropped", extra={**ids, "reason": type(error).__name__})
            return Done()
        except _Stopped:
            return Again(0.0)
        except EngineUnavailable as error:
            log.warning("engine_unavailable", extra={**ids, "mend": str(error)})
            return Again(ENGINE_RETRY_S)
        except PERMANENT as error:
            return self._give_up(job, type(error).__name__)
        except Exception as error:  # an engine may fail in any way, and only this call is to suffer
            return self._failed(job, error)

    def _failed(self, job: Job, error: Exception) -> Done | Again:
        """What becomes of a job that failed: again, ever later, until it is given up; or set aside."""
        if isinstance(error, Restricted):
            return self._set_aside(job)
        reason = type(error).__name__
        if job.delivery >= DELIVERIES_MAX:
            return self._give_up(job, reason)
        if not isinstance(error, NotReady):
            ids = {"tenant_id": job.tenant, "call_id": job.call}
            log.warning("transcription_failed", extra={**ids, "error": reason, "delivery": job.delivery})
        return Again(min(2.0 ** (job.delivery - 1), RETRY_S_MAX))

    def _set_aside(self, job: Job) -> Done | Again:
        """Out of the queue, until the restriction is lifted."""
        try:
            aside = self._recordings.jobs.set_aside(job.tenant, job.call, JOB, job.delivery)
        except StoreError as error:
            log.warning("job_not_set_aside", extra={"call_id": job.call, "error": type(error).__name__})
            return Again(RETRY_S_MAX)
        if not aside:  # it was lifted meanwhile
            return Again(0.0)
        log.info("transcription_set_aside", extra={"tenant_id": job.tenant, "call_id": job.call})
        return Done()

    def _give_up(self, job: Job, reason: str) -> Done | Again:
        """On the dead list, and only then out of the queue."""
        ids = {"tenant_id": job.tenant, "call_id": job.call}
        try:
            self._recordings.jobs.bury(job.tenant, job.call, JOB, reason, job.delivery)
        except StoreError as error:
            log.warning("dead_job_not_written", extra={**ids, "error": type(error).__name__})
            return Again(RETRY_S_MAX)
        log.error("transcription_given_up", extra={**ids, "reason": reason, "delivery": job.delivery})
        self._tell({"job_dead": [job.tenant, job.call], "reason": reason})
        return Done()

    def _transcribe(self, job: Job) -> Done | Again:
        self._recordings.residency.enter(job.tenant)
        record = self._recordings.call(job.tenant, job.call)
        if record.state is CallState.ERASED or not missing(record):
            return Done()
        if record.restricted:
            raise Restricted(f"call {job.call} is restricted")
        if record.state is CallState.LIVE:
            raise NotReady(f"call {job.call} is live")
        language, sources = self._sources(record)
        engine = self._loaded()
        tracks = tuple(self._track(engine, source, language) for source in sources)
        transcript = Transcript(language, engine.name, tracks)
        if missing(self._recordings.call(job.tenant, job.call)):  # another worker may have been as far
            self._store(record, sources, transcript)
            log.info("transcribed", extra={"tenant_id": job.tenant, "call_id": job.call, "tracks": len(tracks)})
            self._tell({"transcript_ready": [job.tenant, job.call]})
        return Done()

    def _loaded(self) -> Engine:
        if self._engine is None:
            self._engine = self._open_engine()
            self._tell({"speech_model": self._engine.name})
        return self._engine

    def _sources(self, record: CallRecord) -> tuple[str, list[_Source]]:
        """The call's language, from its call detail, and its tracks with the facts that are sealed beside them."""
        details = record.find(Kind.CALL_DETAIL)
        if not details:
            raise NotReady(f"call {record.id} has no call detail")
        language = parse_language(self._document(details[0]))
        return language, [_Source(audio, parse_facts(self._document(audio))) for audio in record.find(Kind.AUDIO)]

    def _document(self, artefact: ArtefactRecord) -> bytes:
        return self._recordings.document(artefact.ref.tenant, artefact.ref.artefact)

    def _track(self, engine: Engine, source: _Source, language: str) -> Track:
        ref = source.audio.ref
        words: list[Word] = []
        if source.facts is None:
            return Track(ref.participant, ())
        with self._recordings.stream(ref.tenant, ref.artefact) as stream:
            for first_ms, pcm in windows(stream, source.facts):
                for word in engine.transcribe(to_engine(pcm, source.facts.sample_hz), language) if pcm.any() else ():
                    if self._stopping.is_set():
                        raise _Stopped
                    words.append(Word(word.text, first_ms + word.start_ms, first_ms + word.end_ms, word.probability))
        return Track(ref.participant, tuple(words))

    def _store(self, record: CallRecord, sources: list[_Source], transcript: Transcript) -> None:
        """Seals everything that was derived, each track's under its own participant."""
        redacted, spans = redact(transcript, names_model=self._names)
        purposes = {source.audio.ref.participant: source.audio.ref.purpose for source in sources}
        items: list[Derived] = []
        for part, redacted_part in zip(transcript.parts(), redacted.parts(), strict=True):
            participant: ParticipantId = part.tracks[0].participant
            own = [span for span in spans if span.participant == participant]
            for kind, data in (
                (Kind.TRANSCRIPT, part.to_json()),
                (Kind.REDACTED_TRANSCRIPT, redacted_part.to_json()),
                (Kind.SPANS, spans_to_json(own)),
            ):
                items.append(Derived(participant, kind, purposes[participant], data))
        ref = sources[0].audio.ref
        self._recordings.add_derived(ref.tenant, ref.call, [source.audio.ref.artefact for source in sources], items)


def parse_language(document: bytes) -> str:
    """The language of a call, from its call detail; raises Malformed."""
    try:
        return str(json.loads(document).get("language") or DEFAULT_LANGUAGE)
    except (ValueError, AttributeError):
        raise Malformed("a call detail is no JSON object") from None


def parse_facts(document: bytes) -> TrackFacts | None:
    """The facts of a track, from the document sealed beside its audio; None if it has none. Raises Malformed."""
    try:
        facts: Any = json.loads(document)["facts"]
        return TrackFacts.from_json(facts) if facts else None
    except (ValueError, LookupError, TypeError, media.errors.Malformed):
        raise Malformed("a track's document has no facts") from None


def missing(record: CallRecord) -> bool:
    """Whether a recorded track has no redacted transcript yet."""
    done = {artefact.ref.participant for artefact in record.find(Kind.REDACTED_TRANSCRIPT)}
    return any(artefact.ref.participant not in done for artefact in record.find(Kind.AUDIO))


def windows(stream: StreamReader, facts: TrackFacts) -> Iterator[tuple[int, NDArray[np.int16]]]:
    """A track on the call's clock, in pieces of bounded length cut in silence: (call time of the first sample, PCM)."""
    rate_hz, total, first = facts.sample_hz, total_samples(facts), 0
    while first < total:
        last = min(first + WINDOW_S * rate_hz, total)
        spans = media_span(facts, first, last)
        chunks = (decode(entry) for start, end in spans for entry in stream.read(start, end))
        pcm = render_pcm(chunks, facts, first, last)
        if last < total:
            pcm = pcm[: quiet_cut(pcm, rate_hz, CUT_WITHIN_S)]
        yield first * 1000 // rate_hz, pcm
        first += len(pcm)
