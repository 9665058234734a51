"""Metrics in Prometheus' exposition format; the home of prometheus_client.

Names begin with `callvault_`, units are base units (seconds, bytes), what only grows ends in `_total`. No label ever
holds anything of a call or a tenant: label values are names from our own code, and their number is bounded. What is
counted elsewhere is read when somebody asks; only distributions are kept here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from prometheus_client import CollectorRegistry, Histogram, ProcessCollector, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from gateway.calls.keyless import Held
from gateway.operations.alarms import Alarm
from gateway.operations.clock import UNKNOWN, ClockState
from gateway.operations.key_care import KeysAhead
from media.messages import Stats
from media.quality import quality_told
from storage.records import KeyOperations

CONTENT_TYPE = CONTENT_TYPE_LATEST

SET_UP_S = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
"""INVITE to 200: the promise (5 ms) is a bound, so that the share that kept it can be read exactly."""

READY_S = (0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0)
"""Hang-up to downloadable: so are its promises, 1 s and 5 s."""

MOS = (1.5, 2.0, 2.58, 3.10, 3.60, 4.03, 4.34)
"""The limits of ITU-T G.107 table B.1 (nearly all dissatisfied, many, some, satisfied, very satisfied), and below."""

LOSS_RATIO = (0.0, 0.0001, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25)
"""Nothing lost is what most tracks have to show, and shows apart."""

JITTER_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)

SEVERAL = "several"
"""What a track that changed its codec has for one: combinations are no more series."""

NAMES_MAX = 200
"""Counters that are shown: our code has some sixty. More would mean that a name is made from what a peer sent."""

_NAME = re.compile(r"[a-z0-9_]{1,64}\Z")

_FAMILIES = (
    ("ended_", "calls_ended", "outcome", "Calls that ended, by what became of them"),
    ("refused_", "call_refusals", "reason", "Calls that were refused, by reason"),
    ("busy_", "admission_refusals", "reason", "Calls that were refused for lack of something, by what lacked"),
    ("released_", "releases", "ground", "Times that content was handed out, by ground"),
    ("sip_", "sip_events", "event", "What the SIP user agent met"),
    ("", "events", "event", "Everything else that is counted"),
)
"""Prefix of a counter's name, the metric that it belongs to, its label, and what it means."""

_MEDIA_COUNTS = (
    ("packets", "media_packets", "Media packets received"),
    ("late", "media_packets_late", "Packets that came too late to be put in order"),
    ("reports_sent", "media_receiver_reports", "RTCP reports sent to peers on what they send"),
    ("foreign", "media_packets_foreign", "Packets from addresses that are nobody's"),
    ("unauthentic", "media_packets_unauthentic", "Packets of SRTP calls that their keys did not fit"),
    ("replayed", "media_packets_replayed", "Packets of SRTP calls that came a second time, or too late to tell"),
    ("overflowed", "media_packets_overflowed", "Packets that the kernel dropped because a buffer was full"),
    ("dropped", "spool_chunks_dropped", "Chunks of audio that found no room in the spool"),
    ("held_refused", "held_chunks_dropped", "Those of them that found no room where they waited for keys"),
    ("shed", "media_cells_shed", "20 ms cells without a speech decision, for lack of time"),
)
_MEDIA_GAUGES = (
    ("legs", "media_legs", 1.0, "Streams being received"),
    ("lost", "media_packets_missing", 1.0, "Packets missing since the start; one less where one comes after all"),
    ("busy", "media_busy_ratio", 1.0, "Share of the last second that the busiest media worker spent in ticks"),
    ("spool_lag_ms", "spool_lag_seconds", 1e-3, "Age of the oldest audio that is not durable yet"),
    ("fsync_ms", "spool_fsync_seconds", 1e-3, "The slowest fsync of the last second"),
    ("exposure_ms", "spool_exposure_seconds", 1e-3, "Audio of each track that a power cut would cost now"),
    ("exposure_ms_max", "spool_exposure_worst_seconds", 1e-3, "The most that it would have cost since the start"),
    ("held_streams", "held_streams", 1.0, "Streams that wait in memory for their keys"),
    ("held_bytes", "held_bytes", 1.0, "Bytes of them"),
    ("playing", "media_prompts_playing", 1.0, "Streams that an announcement is being played to"),
    ("full", "spool_full", 1.0, "1 while the spool takes no more"),
)
"""Field of Stats, metric, factor to base units, what it means."""


@dataclass(frozen=True, slots=True)
class Uploads:
    """What the uploader did since its start, and how long the oldest thing waits for it."""

    count: int = 0
    failed: int = 0
    size: int = 0  # bytes
    seconds: float = 0.0
    oldest_s: float = 0.0
    waiting_bytes: int = 0

    @classmethod
    def of(cls, figures: object) -> Uploads:
        """From a line that the uploader printed; what is no number counts as zero."""
        found = figures if isinstance(figures, Mapping) else {}
        numbers = {name: value for name, value in found.items() if isinstance(value, (int, float))}
        return cls(
            int(numbers.get("count", 0)),
            int(numbers.get("failed", 0)),
            int(numbers.get("size", 0)),
            float(numbers.get("seconds", 0.0)),
            float(numbers.get("oldest_s", 0.0)),
            int(numbers.get("waiting_bytes", 0)),
        )


@dataclass(frozen=True, slots=True)
class Sweeping:
    """What the sweeper did since its start, and what it saw last."""

    buckets_due: int = 0
    oldest_due_s: float = 0.0  # its age
    dropped: int = 0
    emptied: int = 0  # tenants
    since_s: float | None = None  # the last sweep that could destroy keys, to its end; None: none yet
    may_drop: bool = False


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything at one moment, as its owners tell it; None is what nobody could tell."""

    counters: Mapping[str, int] = field(default_factory=dict)
    calls: int = 0
    stats: Stats | None = None  # of all media workers together
    media_workers: Mapping[str, int] = field(default_factory=dict)  # how many there are, by state
    registrations: Mapping[str, int] = field(default_factory=dict)  # the same, ours at registrars
    restarts: Mapping[str, int] = field(default_factory=dict)
    alarms: Iterable[str] = ()
    uploads: Uploads = Uploads()
    keys: Mapping[str, KeyOperations] = field(default_factory=dict)
    spool_bytes: int | None = None
    jobs_waiting: int | None = None
    jobs_dead: int | None = None
    clock: ClockState = UNKNOWN
    sweeping: Sweeping | None = None
    keys_ahead: KeysAhead = field(default_factory=KeysAhead)
    held: Held = field(default_factory=Held)
    requests: Mapping[str, int] = field(default_factory=dict)  # of people who were recorded, by state; and overdue ones
    breaches: Mapping[str, int] = field(default_factory=dict)  # cases by state, `overdue`, and `due_s` of the first
    deletions: Mapping[str, int] = field(default_factory=dict)  # requests to recipients of copies, by state


class Metrics:
    """The distributions that are kept from call to call, and the rendering of everything."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a series more for each one, of no use
        self._set_up = Histogram("callvault_call_setup_seconds", "INVITE to 200", buckets=SET_UP_S, registry=None)
        self._ready = Histogram(
            "callvault_call_ready_seconds", "Hang-up to downloadable", buckets=READY_S, registry=None
        )
        self._mos = Histogram("callvault_call_mos", "Opinion score of a call's worst track", buckets=MOS, registry=None)
        self._loss = Histogram(
            *("callvault_track_loss_ratio", "Share of a track's packets that never came, or too late", ["codec"]),
            buckets=LOSS_RATIO,
            registry=None,
        )
        self._jitter = Histogram(
            *("callvault_track_jitter_seconds", "Interarrival jitter at a track's end", ["codec"]),
            buckets=JITTER_S,
            registry=None,
        )
        self._process = ProcessCollector(registry=None)

    def set_up(self, seconds: float) -> None:
        """A call was answered that long after its INVITE came; some 2 µs."""
        self._set_up.observe(seconds)

    def ready(self, seconds: float) -> None:
        """A call could be downloaded that long after its end."""
        self._ready.observe(seconds)

    def tracks(self, facts: Sequence[Mapping[str, Any]]) -> None:
        """A call has ended, of whose tracks this is known; those of which nothing came count for nothing."""
        scores = []
        for track in facts:
            if (found := quality_told(track)) is not None:
                codec = track["codecs"][0].lower() if len(track["codecs"]) == 1 else SEVERAL
                self._loss.labels(codec).observe(found.loss_percent / 100)
                self._jitter.labels(codec).observe(found.jitter_ms / 1000)
                scores.append(found.mos)
        if scores:
            self._mos.observe(min(scores))

    def render(self, now: Snapshot) -> bytes:
        """Everything, as `CONTENT_TYPE` has it: some 3 ms, on any thread."""
        registry = CollectorRegistry()
        kept = (self._set_up, self._ready, self._mos, self._loss, self._jitter)
        for collector in (self._process, *kept, _Shown(now)):
            registry.register(collector)
        return generate_latest(registry)


@dataclass(frozen=True, slots=True, eq=False)  # the registry has it as a key
class _Shown(Collector):
    """A snapshot as the registry wants it."""

    now: Snapshot

    def collect(self) -> Iterator[Metric]:
        now = self.now
        yield InfoMetricFamily("callvault_build", "What is running", {"version": version("callvault")})
        yield from _counters(now.counters)
        yield _gauge("calls_live", "Calls between answer and record", now.calls)
        yield _labelled("child_restarts", "Child processes started again", "child", now.restarts)
        yield _alarms(now.alarms)
        yield from _media(now.stats)
        yield _by_state("media_workers", "Media workers, by what they do", now.media_workers)
        yield _by_state("registrations", "Our registrations at trunks, by how they fare", now.registrations)
        standing = {state: count for state, count in now.requests.items() if state != "overdue"}
        yield _by_state("rights_requests", "Requests of people who were recorded, by where they stand", standing)
        yield _gauge("rights_requests_overdue", "Open ones whose time is over", now.requests.get("overdue", 0))
        yield from _breaches(now.breaches)
        yield _by_state("deletion_requests", "Recipients of copies who are not told yet, by how far", now.deletions)
        yield from _uploads(now.uploads)
        yield from _keys(now.keys)
        yield from _keys_ahead(now.keys_ahead, now.held)
        yield from _sweeping(now.sweeping)
        for name, text, value in (
            ("spool_bytes", "Size of the spool's files", now.spool_bytes),
            ("queue_jobs_waiting", "Jobs not handed to the queue yet", now.jobs_waiting),
            ("queue_jobs_dead", "Jobs that were given up", now.jobs_dead),
        ):
            if value is not None:
                yield _gauge(name, text, value)
        if now.clock.synchronised is not None:
            yield _gauge("clock_synchronised", "1 while something keeps the clock right", now.clock.synchronised)
        if now.clock.error_ms is not None:
            yield _gauge("clock_error_seconds", "The kernel's estimate of the clock's error", now.clock.error_ms / 1e3)


def _breaches(cases: Mapping[str, int]) -> Iterator[Metric]:
    """How long there is to tell the authority of the first open case; below zero: since when it is too late."""
    standing = {state: count for state, count in cases.items() if state not in ("overdue", "due_s")}
    yield _by_state("breaches", "Cases of personal data breaches, by where they stand", standing)
    yield _gauge("breaches_overdue", "Open ones whose time to tell the authority is over", cases.get("overdue", 0))
    if "due_s" in cases:
        yield _gauge("breach_due_seconds", "Time left to tell the authority of the first open one", cases["due_s"])


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"callvault_{name}", text, float(value))


def _labelled(name: str, text: str, label: str, values: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(f"callvault_{name}", text, labels=[label])
    for value, count in sorted(values.items()):
        family.add_metric([value], count)
    return family


def _counters(counters: Mapping[str, int]) -> Iterator[Metric]:
    """Each counter in the first family whose prefix it has."""
    sorted_in: dict[str, dict[str, int]] = {prefix: {} for prefix, *_ in _FAMILIES}
    shown = sorted(name for name in counters if _NAME.match(name))[:NAMES_MAX]
    for name in shown:
        prefix = next(prefix for prefix, *_ in _FAMILIES if name.startswith(prefix))
        sorted_in[prefix][name.removeprefix(prefix)] = counters[name]
    for prefix, metric, label, text in _FAMILIES:
        yield _labelled(metric, text, label, sorted_in[prefix])


def _alarms(standing: Iterable[str]) -> Metric:
    family = GaugeMetricFamily("callvault_alarm", "1 while the alarm stands", labels=["alarm"])
    stand = set(standing)
    for alarm in Alarm:
        family.add_metric([alarm.value], float(alarm.value in stand))
    return family


def _media(stats: Stats | None) -> Iterator[Metric]:
    if stats is None:
        return
    for name, metric, text in _MEDIA_COUNTS:
        yield CounterMetricFamily(f"callvault_{metric}", text, max(0, getattr(stats, name)))
    for name, metric, factor, text in _MEDIA_GAUGES:
        yield _gauge(metric, text, factor * getattr(stats, name))
    tick = GaugeMetricFamily("callvault_media_tick_seconds", "Time of a tick in the last second", labels=["quantile"])
    tick.add_metric(["0.5"], stats.tick_p50_ms / 1e3)
    tick.add_metric(["0.99"], stats.tick_p99_ms / 1e3)
    yield tick


def _by_state(name: str, text: str, states: Mapping[str, int]) -> Metric:
    family = GaugeMetricFamily(f"callvault_{name}", text, labels=["state"])
    for state, count in sorted(states.items()):
        family.add_metric([state], count)
    return family


def _uploads(uploads: Uploads) -> Iterator[Metric]:
    yield _labelled(
        "uploads", "Objects handed to the store, by result", "result", {"ok": uploads.count, "failed": uploads.failed}
    )
    yield CounterMetricFamily("callvault_upload_bytes", "Bytes handed to the store", uploads.size)
    yield SummaryMetricFamily("callvault_upload_seconds", "Time of an upload", uploads.count, uploads.seconds)
    yield _gauge("upload_waiting_bytes", "What the spool holds for the store", uploads.waiting_bytes)
    yield _gauge("upload_oldest_waiting_seconds", "How long the oldest thing waits to be uploaded", uploads.oldest_s)


def _sweeping(sweeping: Sweeping | None) -> Iterator[Metric]:
    if sweeping is None:
        return
    yield _gauge(
        "expiry_buckets_due",
        "Days of a kind and purpose that are over, refused, and not destroyed yet",
        (sweeping.buckets_due),
    )
    yield _gauge("expiry_oldest_due_seconds", "How long the oldest of them is over", sweeping.oldest_due_s)
    yield _gauge("expiry_allowed", "1 while the clocks may be trusted with destroying keys", sweeping.may_drop)
    if sweeping.since_s is not None:
        yield _gauge("expiry_last_sweep_seconds", "How long ago the last whole sweep was", sweeping.since_s)
    yield CounterMetricFamily("callvault_expiry_buckets_dropped", "Buckets whose keys were destroyed", sweeping.dropped)
    yield CounterMetricFamily("callvault_tenants_emptied", "Closed tenants whose content ended", sweeping.emptied)


def _keys_ahead(ahead: KeysAhead, held: Held) -> Iterator[Metric]:
    yield _gauge("keys_away_tenants", "Tenants whose key provider does not answer", ahead.tenants_away)
    yield _gauge("keys_away_seconds", "For how long the first of them does not", ahead.away_s)
    if ahead.prepared_s is not None:
        yield _gauge(
            "keys_prepared_seconds", "How long calls of the worst-off tenant can go on without keys", ahead.prepared_s
        )
    yield _gauge("held_calls", "Calls that wait in memory for their keys", held.calls)
    yield _gauge("held_calls_ended", "Those of them that are over", held.ended)
    yield _gauge("held_oldest_seconds", "How long the first of them has been waiting", held.oldest_s)


def _keys(keys: Mapping[str, KeyOperations]) -> Iterator[Metric]:
    took = SummaryMetricFamily(
        "callvault_key_operation_seconds", "Time of an operation of the key provider", labels=["operation"]
    )
    failed = CounterMetricFamily(
        "callvault_key_operation_failures", "Operations that failed or were answered no", labels=["operation"]
    )
    for operation, figures in sorted(keys.items()):
        took.add_metric([operation], figures.count, figures.seconds)
        failed.add_metric([operation], figures.failed)
    yield took
    yield failed
