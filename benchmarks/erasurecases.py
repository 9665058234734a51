"""The cases of `benchmarks.erasure`, each with the figures that it gives."""

from __future__ import annotations

import os
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing as ending
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import select

from benchmarks import report
from benchmarks.erasing import ACTOR, GROUND, Moment, counts
from benchmarks.filled import WHOLE, Filled, put_slices
from benchmarks.rigs import Rig, opened
from storage.epochs import artefact_ref
from storage.erasure import Step, Target
from storage.erasure.targets import Drop
from storage.errors import Erased, Expired, Unavailable
from storage.keys import fresh_key, unwrap, wrap
from storage.model import NO_PARTICIPANT, ArtefactRef, CallId, Kind, ParticipantId, Root, TenantId, new_id
from storage.records import Day, Identifier, NewCall, Wanted
from storage.tables import artefacts
from storage.times import day_of

HOTLINE = Identifier("number", "+442079460456")
SOMEBODY = Identifier("number", "+31201234567")
SHORT_S = 1.0
SLICE_S = 60.0  # of the uploader
G711_OCTETS_S = 8_000
SAVED_AT_ONCE = 20
"""Calls saved in one transaction, as at 200 calls a second."""
SAVES_A_SECOND = 10.0
BEFORE_DAYS = 400
"""So long ago began the year that is filled."""
NEVER_S = 4e9

Cases = dict[str, dict[str, Any]]


def with_provider(root: Path, name: str) -> Cases:
    """One call of a second, of ten, with a key provider; skipped, with a word, where there is none."""
    try:
        with opened(root, provider=name) as rig:
            tenant = rig.store.tenant("acme")
            new = [save(rig, tenant) for _ in range(10)]
            return {f"call of 1 s, provider {name}": _erase_call(rig, tenant, new[0].call, SHORT_S)}
    except RuntimeError as error:
        print(f"provider {name} left out: {error}", file=sys.stderr)
        return {}


def setting_up(rig: Rig, count: int) -> Cases:
    """What keys add to a call's set-up, through the store's own door: `begin` before the answer, `save` behind it."""
    tenant = rig.store.tenant("set-up")
    rig.store.prepare(tenant, ["service"])
    asked = _operations(rig)
    bytes_before = sum(rig.key_tables_bytes().values())
    began_ms: list[float] = []
    begin_s = save_s = 0.0
    for _ in range(count // SAVED_AT_ONCE):
        group = []
        for _ in range(SAVED_AT_ONCE):
            start, cpu = time.perf_counter(), time.thread_time()
            group.append(rig.store.begin(tenant, CallId(new_id()), WANTED))
            begin_s += time.thread_time() - cpu
            began_ms.append(1000 * (time.perf_counter() - start))
        cpu = time.thread_time()
        rig.store.save(group)
        save_s += time.thread_time() - cpu
    used = sum(rig.key_tables_bytes().values()) - bytes_before
    ordered = sorted(began_ms)
    return {
        "set-up": {
            "calls": count,
            "begin_cpu_us_a_call": round(1e6 * begin_s / count, 1),
            "begin_wall_ms_p95": round(ordered[int(0.95 * len(ordered))], 4),
            "save_cpu_us_a_call": round(1e6 * save_s / count, 1),
            "provider_operations": _operations(rig) - asked,
            "key_bytes_a_call": round(used / count),
        }
    }


WANTED = [Wanted(NO_PARTICIPANT, kind, "service") for kind in (Kind.IDENTITY, Kind.CALL_DETAIL)] + [
    Wanted(ParticipantId(f"{number:032x}"), Kind.AUDIO, "service") for number in (1, 2)
]


def single_and_person(rig: Rig, calls: int, of_person: int, long_s: float) -> Cases:
    """A year of calls: one of a second, one of hours, and those of somebody, spread over all days."""
    every = calls // of_person

    def found_by(number: int) -> list[Identifier]:
        theirs = number % every == 0 and number < every * of_person
        return [HOTLINE, SOMEBODY if theirs else Identifier("number", f"+3120{number:07d}")]

    before = rig.key_tables_bytes()
    filled, tenant, filling_s = _filled(rig, "year", calls, _days(365), found_by=found_by)
    bytes_a_call = {name: round((size - before[name]) / calls) for name, size in rig.key_tables_bytes().items()}
    short, long = filled.calls[1], filled.calls[every + 1]
    cases = {
        f"keys of {calls} calls": {"bytes_a_call": sum(bytes_a_call.values()), **bytes_a_call},
        "call of 1 s": _erase_call(rig, tenant, short, SHORT_S),
        f"call of {long_s / 3600:g} h": _erase_call(rig, tenant, long, long_s),
    }
    matched = _all_found(rig, tenant, SOMEBODY)
    assert len(matched) == of_person, len(matched)
    target = Target.of_person(matched)
    cases[f"person of {of_person} calls of {calls}"] = _erase(rig, tenant, target) | {"filling_s": filling_s}
    assert not _all_found(rig, tenant, SOMEBODY)
    return cases


def in_a_bucket(rig: Rig, calls: int) -> Cases:
    """One call of very many in one bucket; what finding costs after it; and what else might have been done to erase."""
    number_of = {at: Identifier("number", f"+4930{at:07d}") for at in (1, calls // 2, calls - 1)}

    def found_by(number: int) -> list[Identifier]:
        return [HOTLINE, number_of.get(number, Identifier("number", f"+4940{number:07d}"))]

    filled, tenant, filling_s = _filled(rig, "day", calls, _days(1), (Kind.IDENTITY,), found_by)
    found = _erase_call(rig, tenant, filled.calls[calls // 2], SHORT_S)
    searched: dict[str, Any] = {}
    for name, wanted in zip(("first", "erased", "again"), number_of.values(), strict=True):
        began = time.process_time()
        assert bool(rig.store.find(tenant, [wanted])) is (name != "erased")
        searched[f"find_{name}_cpu_ms"] = round(1000 * (time.process_time() - began), 1)
    searched["find_hotline_page_cpu_ms"] = round(1000 * _cpu(lambda: rig.store.find(tenant, [HOTLINE])), 1)
    cases = {f"call of a bucket of {calls}": found | searched | {"filling_s": filling_s}}
    return cases | {"instead": _instead(rig, calls)}


def expiries(rig: Rig, sizes: Sequence[int], swept: int) -> Cases:
    """A day's expiry of more and more artefacts, four to a call; swept up to a size, since that does grow with them."""
    cases: Cases = {}
    for size in sizes:
        filled, tenant, filling_s = _filled(rig, f"of {size}", size // len(WHOLE), _days(1), due_s=time.time() - 1)
        found = _erase(rig, tenant, _expiry(), sweep=size <= swept)
        cases[f"expiry of {filled.artefacts} artefacts"] = found | {"filling_s": filling_s}
    return cases


def closing(rig: Rig, calls: int) -> Cases:
    """A tenant's content root: so many calls of one artefact each, over a year. Not swept."""
    _, tenant, filling_s = _filled(rig, "closed", calls, _days(365), (Kind.AUDIO,))
    return {f"tenant of {calls} calls": _erase(rig, tenant, Target.of_tenant(), sweep=False) | {"filling_s": filling_s}}


def beside_a_sweep(rig: Rig, size: int, watched_s: float) -> Cases:
    """While the sweep of a day's expiry runs, calls of the same tenant are saved, and one of them is erased."""
    _, tenant, _ = _filled(rig, "busy", size // len(WHOLE), _days(1), due_s=time.time() - 1)
    rig.store.prepare(tenant, ["service"])
    alone_ms = _saves(rig, tenant, watched_s, lambda: False)
    swept = threading.Event()
    begun = threading.Event()
    rig.watch.then[Step.DONE] = begun.set

    def sweep() -> None:
        rig.store.erasures.erase(tenant, _expiry(), GROUND, ACTOR)
        swept.set()

    sweeping = threading.Thread(target=sweep)
    sweeping.start()
    begun.wait(60.0)
    began_s = time.monotonic()
    saved_ms = _saves(rig, tenant, watched_s, swept.is_set)
    call = save(rig, tenant).call
    still = not swept.is_set()
    own = _erase(rig, tenant, Target.of_call(call))
    sweeping.join()
    figures = {
        "sweep_s": round(time.monotonic() - began_s, 1),
        "still_sweeping": still,
        "save_alone_ms": report.percentiles(alone_ms),
        "save_beside_ms": report.percentiles(saved_ms),
    }
    steps = ("intent_s", "refused_s", "key_destroyed_s", "certificate_s")
    return {f"call beside the sweep of {size}": {name: own[name] for name in steps} | figures}


def save(rig: Rig, tenant: TenantId) -> NewCall:
    """A whole call with a number, through the store's door."""
    new = rig.store.begin(tenant, CallId(new_id()), WANTED)
    new = replace(new, identifiers=(HOTLINE, Identifier("number", new_id())))
    rig.store.save([new])
    return new


def _saves(rig: Rig, tenant: TenantId, watched_s: float, over: Callable[[], bool]) -> list[float]:
    """Saves a call ten times a second for a while; how long each took, in milliseconds."""
    taken: list[float] = []
    until = time.monotonic() + watched_s
    while time.monotonic() < until and not over():
        began = time.perf_counter()
        save(rig, tenant)
        taken.append(1000 * (time.perf_counter() - began))
        time.sleep(max(0.0, 1 / SAVES_A_SECOND - taken[-1] / 1000))
    return taken


def _filled(
    rig: Rig,
    name: str,
    calls: int,
    days: Sequence[Day],
    kinds: Sequence[Kind] = WHOLE,
    found_by: Callable[[int], Sequence[Identifier]] = lambda _number: (),
    due_s: float = NEVER_S,
) -> tuple[Filled, TenantId, float]:
    began = time.monotonic()
    filling, tenant = rig.filling(name, due_s)
    with ending(filling):
        filled = filling.fill(calls, days, kinds, found_by)
    return filled, tenant, round(time.monotonic() - began, 1)


def _days(count: int) -> list[Day]:
    return [day_of(time.time() - BEFORE_DAYS * 86_400, ahead) for ahead in range(count)]


def _expiry() -> Target:
    """That first day's buckets."""
    return Target.of_expiry([Drop(Root.CONTENT, kind, "service", _days(1)[0]) for kind in dict.fromkeys(WHOLE)])


def _erase(rig: Rig, tenant: TenantId, target: Target, *, sweep: bool = True) -> dict[str, Any]:
    def leave() -> None:
        raise Unavailable("not to be swept")

    if not sweep:
        rig.watch.then[Step.DONE] = leave
    found = rig.watch.time(lambda: rig.store.erasures.erase(tenant, target, GROUND, ACTOR))
    return found | {name: count for name, count in counts(rig.catalogue).items() if count}


def _erase_call(rig: Rig, tenant: TenantId, call: CallId, seconds: float) -> dict[str, Any]:
    """With objects as a call of that length has, and a look whether reads are refused from INTENT on."""
    rows = rig.rows()
    refs = _artefacts_of(rig, call)
    audio = [ref for ref in refs if ref.kind is Kind.AUDIO]
    with ending(rows):
        objects = put_slices(rows, rig.store.objects, audio, seconds, SLICE_S, G711_OCTETS_S)

    def refused() -> None:
        try:
            rig.store.document(tenant, refs[0].artefact)
        except (Erased, Expired):
            return
        raise AssertionError("a read was not refused")

    rig.watch.then[Step.INTENT] = refused
    return _erase(rig, tenant, Target.of_call(call)) | {"objects": objects}


def _artefacts_of(rig: Rig, call: CallId) -> list[ArtefactRef]:
    with rig.catalogue.reading() as connection:
        return [artefact_ref(row) for row in connection.execute(select(artefacts).where(artefacts.c.call == call))]


def _all_found(rig: Rig, tenant: TenantId, wanted: Identifier) -> list[CallId]:
    found: list[CallId] = []
    while page := rig.store.find(tenant, [wanted], limit=1_000, before=found[-1] if found else None):
        found += [record.id for record in page]
    return found


def _operations(rig: Rig) -> int:
    return sum(operation.count for operation in rig.store.key_operations().values())


def _cpu(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def _instead(rig: Rig, keys: int) -> dict[str, Any]:
    """So many keys wrapped anew, as one flat level of keys would want it; the rows deleted and the file made anew."""
    file = rig.data.parent / "flat.sqlite3"
    old, new, aad = fresh_key(), fresh_key(), os.urandom(200)
    with ending(sqlite3.connect(file, isolation_level=None)) as flat:
        flat.execute("PRAGMA journal_mode=WAL")
        flat.execute("PRAGMA secure_delete=ON")
        flat.execute(
            "CREATE TABLE keys (serial INTEGER PRIMARY KEY, artefact TEXT UNIQUE, epoch INTEGER, wrapped BLOB)"
        )
        insert = "INSERT INTO keys (artefact, epoch, wrapped) VALUES (?, ?, ?)"
        flat.execute("BEGIN")
        flat.executemany(insert, ((new_id(), 0, wrap(old, fresh_key(), aad)) for _ in range(keys)))
        flat.execute("COMMIT")
        began = Moment.now()
        flat.execute("BEGIN")
        rows = flat.execute("SELECT serial, wrapped FROM keys").fetchall()
        anew = [(1, wrap(new, unwrap(old, wrapped, aad), aad), serial) for serial, wrapped in rows]
        flat.executemany("UPDATE keys SET epoch = ?, wrapped = ? WHERE serial = ?", anew)
        flat.execute("COMMIT")
        rewrapped = Moment.now()
        flat.execute("DELETE FROM keys WHERE serial % 1000 = 0")
        flat.execute("VACUUM")
        vacuumed = Moment.now()
    file.unlink()
    return {
        "keys": keys,
        "flat_rewrap_s": round(rewrapped.at_s - began.at_s, 3),
        "flat_rewrap_cpu_s": round(rewrapped.cpu_s - began.cpu_s, 3),
        "delete_and_vacuum_s": round(vacuumed.at_s - rewrapped.at_s, 3),
        "delete_and_vacuum_cpu_s": round(vacuumed.cpu_s - rewrapped.cpu_s, 3),
    }
