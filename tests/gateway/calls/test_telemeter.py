"""Telemetry of a call's end: classes and a network's prefix, for tenants that keep it, never in the call's way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.calls.telemeter import WAITING_MAX, Telemeter
from gateway.config import Settings
from tests.gateway.calls.test_switchboard import PARTIES, bench, offer, run
from tests.media.test_quality import track


def told() -> dict[str, Any]:
    return track().to_json()


def test_ct_09_what_is_noted_of_a_call_are_classes_and_a_prefix(tmp_path: Path) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            parties = replace(PARTIES, source="192.0.2.33")
            kept = b.board.begin(b.match(telemetry_days=7), offer(), parties)
            silent = b.board.begin(b.match(), offer(), parties)
            telemeter = Telemeter(b.recordings.telemetry)
            for call in (kept, silent):
                telemeter.hear(call, [told(), {}])
            assert telemeter.flush() == 1 and telemeter.flush() == 0
            (noted,) = b.recordings.telemetry.of_call(kept.tenant, kept.id)
            assert noted.values.keys() == {"codec", "mos", "loss_percent", "jitter_ms", "network"}
            assert noted.values["network"] == ("192.0.2.0/24" if kept.trunk.placed else "none")
            assert b.recordings.telemetry.of_call(silent.tenant, silent.id) == []
            for _ in range(WAITING_MAX + 5):
                telemeter.hear(kept, [told()])
            assert len(telemeter._waiting) == WAITING_MAX
            for call in (kept, silent):
                b.board.end(call, "bye")
            await b.board.settled(15)

    run(work())


def test_ct_09_nothing_is_noted_by_default_and_never_where_nothing_is_stored() -> None:
    assert Settings().tenants[0].telemetry_days == 0
    with pytest.raises(ValueError, match="nothing is stored"):
        Settings.model_validate({"tenants": [{"name": "a", "record": "events", "telemetry_days": 7}], "trunks": []})
