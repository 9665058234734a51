"""What was received and is not stored is named: in the track's facts, in call detail, and in the call's state."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.calls.losses import CORRUPTED, mark, name_losses, subtract
from gateway.commands.reconcile import explain
from gateway.playback import Wav
from storage.audit import Weight
from storage.model import CallState, Kind, TenantId
from storage.recordings import Recordings
from storage.uploader import Uploader
from tests.gateway.spooling import CHUNK_MS, Spooled, damage, ended, spooled, uploaded


def upload(store: Recordings) -> None:
    with Uploader(
        store.spool_folder, store.slices, store.objects, on_closing=lambda due: name_losses(store, due)
    ) as uploader:
        uploaded(uploader)


def gaps(store: Recordings, tenant: TenantId, made: Spooled, track: int = 0) -> list[list[Any]]:
    document = json.loads(store.document(tenant, made.audio[track].ref.artefact))
    found: list[list[Any]] = document["facts"]["gaps"]
    return found


def detail(store: Recordings, tenant: TenantId, made: Spooled) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(store.document(tenant, made.new.find(Kind.CALL_DETAIL).ref.artefact))
    return found


@pytest.mark.parametrize("number", [0, 2, 4])
def test_damaged_record_is_a_gap_of_its_own_reason_and_the_rest_is_heard(
    store: Recordings, tenant: TenantId, number: int
) -> None:
    made = spooled(store, tenant, [5, 5])
    damage(store, made.audio[0], number)
    ended(store, made)
    upload(store)
    assert store.call(tenant, made.new.call).state is CallState.INTERRUPTED
    span = [number * CHUNK_MS, (number + 1) * CHUNK_MS]
    assert gaps(store, tenant, made) == [[span[0] * 1000, span[1] * 1000, "corrupted"]]
    assert gaps(store, tenant, made, 1) == []
    assert detail(store, tenant, made)["unstored_ms"] == [[span], []]
    with Wav.open(store, tenant, made.new.call) as wav:
        samples = np.frombuffer(b"".join(wav.read(0, wav.size))[44:], "<i2").reshape(-1, 2)
    silent = samples[span[0] * 8 : span[1] * 8, 0]
    assert len(silent) == CHUNK_MS * 8
    assert not silent.any()
    assert samples[:, 1].all()
    assert np.count_nonzero(samples[:, 0]) == len(samples) - len(silent)
    audit = store.reconcile(explain, hashes=True)
    assert audit.total(Weight.UNEXPLAINED) == 0


def test_what_found_no_room_is_a_gap_and_is_not_called_damaged(store: Recordings, tenant: TenantId) -> None:
    made = spooled(store, tenant, [330], late=True)
    ended(store, made)
    upload(store)
    assert store.call(tenant, made.new.call).state is CallState.INTERRUPTED
    ((start_us, end_us, reason),) = gaps(store, tenant, made)
    assert (end_us, reason) == (330 * CHUNK_MS * 1000, "dropped")
    assert start_us > 250 * CHUNK_MS * 1000
    assert detail(store, tenant, made)["unstored_ms"] == [[[start_us // 1000, end_us // 1000]]]


def test_what_found_no_room_while_the_call_waited_for_its_keys_is_named_as_that(
    store: Recordings, tenant: TenantId
) -> None:
    made = spooled(store, tenant, [330, 2], keys_away_ms=330 * CHUNK_MS)
    ended(store, made)
    upload(store)
    assert store.call(tenant, made.new.call).state is CallState.INTERRUPTED
    ((start_us, end_us, reason),) = gaps(store, tenant, made)
    assert (end_us, reason) == (330 * CHUNK_MS * 1000, "keys_away")
    assert start_us > 250 * CHUNK_MS * 1000
    assert gaps(store, tenant, made, 1) == []
    assert detail(store, tenant, made)["unstored_ms"] == [[[start_us // 1000, end_us // 1000]], []]
    assert store.reconcile(explain).total(Weight.UNEXPLAINED) == 0


def test_call_of_which_only_the_end_mark_is_damaged_says_that_nothing_is_missing(
    store: Recordings, tenant: TenantId
) -> None:
    made = spooled(store, tenant, [2])
    damage(store, made.audio[0], 2)
    ended(store, made)
    upload(store)
    assert store.call(tenant, made.new.call).state is CallState.INTERRUPTED
    assert gaps(store, tenant, made) == []
    assert detail(store, tenant, made)["unstored_ms"] == [[]]
    assert store.reconcile(explain).total(Weight.UNEXPLAINED) == 0


def resumed(store: Recordings, tenant: TenantId, made: Spooled, missing: list[list[float]]) -> None:
    """The record of a call of which a worker died, as the gateway writes it."""
    account = detail(store, tenant, made) | {"missing_ms": missing}
    store.put_documents(made.new, {made.new.find(Kind.CALL_DETAIL).ref.artefact: json.dumps(account).encode()})
    ended(store, made)


def test_call_whose_dead_worker_had_written_all_that_it_received_is_stored(store: Recordings, tenant: TenantId) -> None:
    made = spooled(store, tenant, [3, 2], end=False)
    resumed(store, tenant, made, [[], []])
    upload(store)
    assert store.call(tenant, made.new.call).state is CallState.STORED
    manifest = store.manifest(tenant, made.new.call)
    assert not any(artefact["interrupted"] for artefact in manifest["artefacts"])
    assert store.reconcile(explain).total(Weight.UNEXPLAINED) == 0


def test_call_whose_dead_worker_has_cost_something_is_interrupted(store: Recordings, tenant: TenantId) -> None:
    made = spooled(store, tenant, [3, 2], end=False)
    resumed(store, tenant, made, [[], [800.0, 1200.0]])
    upload(store)
    assert store.call(tenant, made.new.call).state is CallState.INTERRUPTED


def test_call_of_a_dead_worker_of_which_something_is_damaged_says_what(store: Recordings, tenant: TenantId) -> None:
    made = spooled(store, tenant, [3], end=False)
    damage(store, made.audio[0], 1)
    facts = mark(made.facts[0], [(400_000, 800_000)], CORRUPTED)  # as it is read back
    resumed(store, tenant, replace(made, facts=(facts,)), [[]])
    upload(store)
    assert store.call(tenant, made.new.call).state is CallState.INTERRUPTED
    assert detail(store, tenant, made)["unstored_ms"] == [[[400, 800]]]
    assert store.reconcile(explain).total(Weight.UNEXPLAINED) == 0


def test_naming_again_what_was_named_changes_nothing(store: Recordings, tenant: TenantId) -> None:
    made = spooled(store, tenant, [3])
    damage(store, made.audio[0], 1)
    ended(store, made)
    upload(store)
    before = detail(store, tenant, made), gaps(store, tenant, made)
    name_losses(store, [(tenant, made.new.call)])
    assert (detail(store, tenant, made), gaps(store, tenant, made)) == before


def test_whole_call_is_left_as_it_is(store: Recordings, tenant: TenantId) -> None:
    made = spooled(store, tenant, [3])
    ended(store, made)
    before = store.document(tenant, made.audio[0].ref.artefact)
    upload(store)
    assert store.call(tenant, made.new.call).state is CallState.STORED
    assert store.document(tenant, made.audio[0].ref.artefact) == before
    assert "unstored_ms" not in detail(store, tenant, made)


Spans = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 10)), max_size=8)


@given(spans=Spans, holes=Spans)
def test_subtraction_of_spans_agrees_with_that_of_sets(
    spans: list[tuple[int, int]], holes: list[tuple[int, int]]
) -> None:
    ordered = _apart(spans)
    cut = sorted((start, start + length) for start, length in holes)
    left = list(subtract(ordered, cut))
    points = {at for start, end in ordered for at in range(start, end)}
    points -= {at for start, end in cut for at in range(start, end)}
    assert {at for start, end in left for at in range(start, end)} == points
    assert all(start < end for start, end in left)


def _apart(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """In order and without overlap."""
    found: list[tuple[int, int]] = []
    for start, length in sorted(spans):
        first = max(start, found[-1][1] if found else 0)
        if first < start + length:
            found.append((first, start + length))
    return found
