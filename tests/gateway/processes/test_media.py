"""The sealed spool as the media worker's sink: what it keeps, what it only receives, and what it says of itself."""

from __future__ import annotations

from pathlib import Path

from gateway.processes.media import SpoolSink
from storage.spool import SpoolWriter
from storage.spoolfile import records_of
from tests.storage.spooling import make_key, make_ref, until


def test_leg_with_a_description_is_kept_and_one_without_is_only_received(tmp_path: Path) -> None:
    ref = make_ref()
    description = {"tenant": ref.tenant, "call": ref.call, "participant": ref.participant, "artefact": ref.artefact}
    description |= {"kind": ref.kind.value, "purpose": ref.purpose, "key": make_key(ref).reveal().hex()}
    with SpoolWriter(tmp_path, node="n1", file_bytes=1 << 20, commit_s=0.01) as spool:
        sink = SpoolSink(spool)
        sink.open(1, description)
        sink.open(2, {})
        for leg in (1, 2):
            sink.append(leg, 0, 160, b"chunk")
            sink.release(leg)
            sink.close(leg)
        closed: list[int] = []

        def both_closed() -> bool:
            closed.extend(sink.poll())
            return sorted(closed) == [1, 2]

        until(both_closed)
    with records_of(tmp_path, ref.artefact) as spooled:
        assert [spooled.open(record, ref, make_key(ref)) for record in spooled.records] == [b"chunk"]


def test_legs_whose_keys_never_come_end_and_leave_nothing(tmp_path: Path) -> None:
    refs = [make_ref() for _ in range(2)]
    with SpoolWriter(tmp_path, node="n1", file_bytes=1 << 20, commit_s=0.01) as spool:
        sink = SpoolSink(spool)
        for leg, ref in enumerate(refs):
            spool.open(leg, ref, make_key(ref))
            sink.hold(leg)
            sink.append(leg, 0, 160, bytes(1000))
        health = sink.health()
        assert (health.held_streams, health.held_bytes > 2000, health.dropped) == (2, True, 0)
        sink.close(0)
        for leg in range(2):
            sink.discard(leg)
            sink.append(leg, 160, 320, bytes(1000))
        assert sink.poll() == [0]
        sink.close(1)
        assert sink.poll() == [1]
        health = sink.health()
        assert (health.held_streams, health.held_bytes) == (0, 0)
        sink.discard(7)
        assert sink.poll() == [], "one that it does not know"
    for ref in refs:
        with records_of(tmp_path, ref.artefact) as spooled:
            assert spooled.records == ()


def test_health_tells_what_a_power_cut_would_cost_now_and_would_have_cost_at_worst(tmp_path: Path) -> None:
    ref, now = make_ref(), [50.0]
    with SpoolWriter(tmp_path, node="n1", file_bytes=1 << 20, commit_s=60.0, clock=lambda: now[0]) as spool:
        sink = SpoolSink(spool)
        spool.open(1, ref, make_key(ref))
        spool.append(1, 0, 160, b"not released yet")
        now[0] += 0.7
        health = sink.health()
        assert (round(health.exposure_ms), round(health.exposure_ms_max), health.full) == (700, 700, False)
        spool.discard(1)
        health = sink.health()
        assert (health.exposure_ms, round(health.exposure_ms_max), health.dropped) == (0, 700, 0)
