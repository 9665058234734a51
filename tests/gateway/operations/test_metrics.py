"""The metrics: read back by prometheus' own parser, named after its conventions, and without anything of a call."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from gateway.calls.keyless import Held
from gateway.operations.alarms import Alarm
from gateway.operations.clock import ClockState
from gateway.operations.key_care import KeysAhead
from gateway.operations.metrics import NAMES_MAX, SET_UP_S, Metrics, Snapshot, Sweeping, Uploads
from media.framelog import NOTHING
from media.messages import Stats
from media.timeline import Gap, TrackFacts
from storage.records import KeyOperations

STATS = Stats(
    tick_p50_ms=1.0,
    tick_p99_ms=4.0,
    packets=1000,
    legs=20,
    spool_lag_ms=250.0,
    fsync_ms=12.0,
    shed=3,
    full=True,
    busy=0.25,
    lost=5,
    late=2,
    foreign=1,
    overflowed=7,
    exposure_ms=300.0,
    exposure_ms_max=900.0,
    dropped=8,
    reports_sent=6,
    held_streams=6,
    held_bytes=4096,
    held_refused=2,
)
FULL = Snapshot(
    counters={"calls_answered": 9, "ended_stored": 4, "ended_no_media": 1, "refused_codec": 2, "busy_no_ports": 3}
    | {"sip_retransmissions": 6},
    calls=4,
    stats=STATS,
    restarts={"uploader": 2},
    alarms=["store_away"],
    uploads=Uploads(count=10, failed=1, size=5 << 20, seconds=2.5, oldest_s=30.0, waiting_bytes=4096),
    keys={"wrap": KeyOperations(count=8, failed=1, seconds=0.016)},
    keys_ahead=KeysAhead(tenants_away=1, away_s=90.0, prepared_s=7200.0),
    held=Held(calls=3, ended=2, oldest_s=60.0),
    spool_bytes=1 << 20,
    jobs_waiting=3,
    jobs_dead=1,
    clock=ClockState(True, 0.5, 20.0),
    sweeping=Sweeping(buckets_due=7, oldest_due_s=7200.0, dropped=40, emptied=1, since_s=30.0, may_drop=True),
)


def families(snapshot: Snapshot, metrics: Metrics | None = None) -> dict[str, Metric]:
    text = (metrics or Metrics()).render(snapshot).decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


def values(snapshot: Snapshot) -> dict[str, float]:
    """Samples as `name{label}`."""
    return {
        sample.name + "".join(f"{{{value}}}" for value in sample.labels.values()): sample.value
        for family in families(snapshot).values()
        for sample in family.samples
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("callvault_events_total{calls_answered}", 9),
        ("callvault_calls_ended_total{stored}", 4),
        ("callvault_calls_ended_total{no_media}", 1),
        ("callvault_call_refusals_total{codec}", 2),
        ("callvault_admission_refusals_total{no_ports}", 3),
        ("callvault_sip_events_total{retransmissions}", 6),
        ("callvault_calls_live", 4),
        ("callvault_expiry_buckets_due", 7),
        ("callvault_expiry_oldest_due_seconds", 7200),
        ("callvault_expiry_buckets_dropped_total", 40),
        ("callvault_expiry_last_sweep_seconds", 30),
        ("callvault_expiry_allowed", 1),
        ("callvault_tenants_emptied_total", 1),
        ("callvault_child_restarts_total{uploader}", 2),
        ("callvault_alarm{store_away}", 1),
        ("callvault_alarm{queue_away}", 0),
        ("callvault_media_packets_total", 1000),
        ("callvault_media_packets_missing", 5),
        ("callvault_media_packets_late_total", 2),
        ("callvault_media_packets_foreign_total", 1),
        ("callvault_media_receiver_reports_total", 6),
        ("callvault_media_packets_overflowed_total", 7),
        ("callvault_media_busy_ratio", 0.25),
        ("callvault_media_tick_seconds{0.99}", 0.004),
        ("callvault_spool_lag_seconds", 0.25),
        ("callvault_spool_fsync_seconds", 0.012),
        ("callvault_spool_full", 1),
        ("callvault_spool_exposure_seconds", 0.3),
        ("callvault_spool_exposure_worst_seconds", 0.9),
        ("callvault_spool_chunks_dropped_total", 8),
        ("callvault_spool_bytes", 1 << 20),
        ("callvault_uploads_total{ok}", 10),
        ("callvault_uploads_total{failed}", 1),
        ("callvault_upload_bytes_total", 5 << 20),
        ("callvault_upload_seconds_sum", 2.5),
        ("callvault_upload_oldest_waiting_seconds", 30),
        ("callvault_upload_waiting_bytes", 4096),
        ("callvault_keys_away_tenants", 1),
        ("callvault_keys_away_seconds", 90),
        ("callvault_keys_prepared_seconds", 7200),
        ("callvault_held_calls", 3),
        ("callvault_held_calls_ended", 2),
        ("callvault_held_oldest_seconds", 60),
        ("callvault_held_streams", 6),
        ("callvault_held_bytes", 4096),
        ("callvault_held_chunks_dropped_total", 2),
        ("callvault_queue_jobs_waiting", 3),
        ("callvault_queue_jobs_dead", 1),
        ("callvault_key_operation_seconds_count{wrap}", 8),
        ("callvault_key_operation_failures_total{wrap}", 1),
        ("callvault_clock_synchronised", 1),
        ("callvault_clock_error_seconds", 0.0005),
    ],
)
def test_every_figure_has_its_metric(name: str, value: float) -> None:
    assert values(FULL)[name] == pytest.approx(value)


def test_names_follow_the_conventions() -> None:
    for name, family in families(FULL).items():
        assert re.fullmatch(r"(callvault|process)_[a-z][a-z0-9_]*", name)
        assert family.documentation
        assert not re.search(r"_(ms|us|kib|mib|percent|count)\Z", name), "base units"
        for sample in family.samples:
            assert sample.name.endswith("_total") == (family.type == "counter")


def test_labels_are_a_few_names_of_ours() -> None:
    labels = {label for family in families(FULL).values() for sample in family.samples for label in sample.labels}
    assert labels == {
        "le",
        "quantile",
        "outcome",
        "reason",
        "event",
        "child",
        "alarm",
        "operation",
        "result",
        "version",
    }


def test_what_is_no_name_of_ours_is_no_label_value() -> None:
    counters = {"refused_+31612345678": 1, "sip_" + "x" * 100: 1, 'refused_"\n': 1, "refused_codec": 1}
    found = values(Snapshot(counters=counters))
    assert [name for name in found if "refusals" in name] == ["callvault_call_refusals_total{codec}"]


def test_the_number_of_label_values_is_bounded() -> None:
    counters = {f"sip_{number}": 1 for number in range(10 * NAMES_MAX)}
    assert len([name for name in values(Snapshot(counters=counters)) if "sip_events" in name]) == NAMES_MAX


def test_set_up_is_a_histogram_with_the_promise_as_a_bound() -> None:
    metrics = Metrics()
    for seconds in (0.002, 0.004, 0.02):
        metrics.set_up(seconds)
    metrics.ready(0.7)
    found = families(Snapshot(), metrics)
    buckets = {sample.labels.get("le"): sample.value for sample in found["callvault_call_setup_seconds"].samples}
    assert 0.005 in SET_UP_S
    assert (buckets["0.005"], buckets["0.025"], buckets["+Inf"]) == (2, 3, 3)
    assert found["callvault_call_ready_seconds"].samples


def track(codecs: tuple[str, ...], packets: int, lost: int, jitter_ms: float = 0) -> dict[str, Any]:
    tally = replace(NOTHING, packets=packets, lost=lost, jitter_us=round(1000 * jitter_ms))
    gaps = (Gap(0, 20_000, "lost"),) * lost
    return TrackFacts(codecs, 8000, tally, 0, 0, 0, (), gaps).to_json()


def test_quality_is_shown_by_call_and_by_track_and_codec_and_nothing_else() -> None:
    metrics = Metrics()
    metrics.tracks([track(("PCMA",), 990, 10, 3), track(("PCMA",), 1000, 0, 1)])
    metrics.tracks([track(("PCMA", "G722"), 500, 500, 150), {}, track(("opus",), 0, 0)])
    metrics.tracks([{}])
    found = families(Snapshot(), metrics)
    names = ("call_mos", "track_loss_ratio", "track_jitter_seconds")
    samples = [sample for name in names for sample in found[f"callvault_{name}"].samples]
    shown = {(entry.name.removeprefix("callvault_"), *entry.labels.values()): entry.value for entry in samples}
    assert shown["call_mos_count",] == 2
    # One per cent lost at random costs a call its better track's 4.41; half of everything, all that there is.
    assert (shown["call_mos_bucket", "1.5"], shown["call_mos_bucket", "3.6"], shown["call_mos_bucket", "4.03"]) == (
        1,
        1,
        2,
    )
    assert (shown["track_loss_ratio_bucket", "pcma", "0.0"], shown["track_loss_ratio_bucket", "pcma", "0.01"]) == (1, 2)
    assert (shown["track_loss_ratio_count", "pcma"], shown["track_loss_ratio_sum", "several"]) == (2, 0.5)
    assert shown["track_jitter_seconds_sum", "pcma"] == pytest.approx(0.004)
    assert {label for sample in samples for label in sample.labels} == {"le", "codec"}
    assert {sample.labels["codec"] for sample in samples if "codec" in sample.labels} == {"pcma", "several"}


def test_what_nobody_can_tell_is_left_out() -> None:
    found = values(Snapshot())
    told = [name for name in found if "_alarm{" not in name]
    assert not [name for name in told if "media" in name or "clock" in name or name == "callvault_spool_bytes"]
    assert found[f"callvault_alarm{{{Alarm.STORE_AWAY.value}}}"] == 0


@pytest.mark.parametrize("line", [None, "x", 5, [], {"count": "many", "size": None}])
def test_figures_of_the_uploader_that_are_none_count_as_zero(line: object) -> None:
    assert Uploads.of(line) == Uploads()
