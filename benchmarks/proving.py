"""What the probe takes: `python -m benchmarks.proving --calls 100000`. A tenant's year, its backup, and three claims.

One call that was erased, and then the tenant as a whole, which was closed: every key row of the backup is tried. Either
reads every byte of the backup's catalogue and of today's. Each claim is proved in a process of its own, whose peak of
memory is told.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.erasing import ACTOR, GROUND
from benchmarks.filled import PURPOSE
from benchmarks.machine import describe
from benchmarks.rigs import Rig, opened
from storage.erasure import Target
from storage.model import NO_PARTICIPANT, CallId, CallState, Kind, TenantId, new_id
from storage.probe import Asked, Today, prove
from storage.recordings import Recordings
from storage.records import Day, Identifier, Wanted
from storage.times import day_of

BEFORE_DAYS = 400
NEVER_S = 4e9
SOMEBODY = Identifier("number", "+31201234567")


def days(count: int) -> list[Day]:
    """So many, long ago."""
    return [day_of(time.time() - BEFORE_DAYS * 86_400, ahead) for ahead in range(count)]


def measured(root: Path, calls: int, over: int) -> dict[str, Any]:
    """The figures of a tenant with so many calls, over so many days."""
    found: dict[str, Any] = {}
    with opened(root) as rig:
        began = time.monotonic()
        filling, tenant = rig.filling("acme", NEVER_S)
        with closing(filling):
            number = [Identifier("number", f"+3120{at:07d}") for at in range(calls)]
            filled = filling.fill(calls, days(over), found_by=lambda at: [number[at]])
        living = [_living(rig.store, named) for named in (tenant, rig.store.tenant("another"))]
        found["filling_s"] = round(time.monotonic() - began, 1)
        began = time.monotonic()
        rig.store.safekeeping.back_up(root / "backup")
        found["backup_s"] = round(time.monotonic() - began, 1)
        found["catalogue_mib"] = round((rig.data / "catalogue.sqlite3").stat().st_size / (1 << 20))
        gone = filled.calls[calls // 2]
        rig.store.erase_call(tenant, gone, ground=GROUND, actor=ACTOR)
        found["one call"] = _apart(rig, root, Asked(call=gone))
        rig.store.erasures.erase(tenant, Target.of_tenant(), GROUND, ACTOR)
        found["tenant"] = _apart(rig, root, Asked(tenant="acme"))
        assert found["one call"]["control"] == living[0] and found["tenant"]["control"] == living[1]
    return found


def _living(store: Recordings, tenant: TenantId) -> CallId:
    """A call with something to open: a control."""
    new = store.begin(tenant, CallId(new_id()), [Wanted(NO_PARTICIPANT, Kind.IDENTITY, PURPOSE)])
    store.save([new])
    store.put_documents(new, {new.artefacts[0].ref.artefact: b"identity"}, CallState.ENDED)
    return new.call


def _apart(rig: Rig, root: Path, asked: Asked) -> dict[str, Any]:
    """One proof in a process of its own, so that its memory is its own."""
    data = rig.data
    today = Today(data, rig.provider_url, f"file:{data}/objects", f"file:{data}-witness")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as apart:
        return apart.submit(_proved, root, today, asked).result()


def _proved(root: Path, today: Today, asked: Asked) -> dict[str, Any]:
    base_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    began, cpu = time.monotonic(), time.process_time()
    proof = prove(asked, [root / "backup"], today, identifiers=[SOMEBODY])
    return {
        "s": round(time.monotonic() - began, 1),
        "cpu_s": round(time.process_time() - cpu, 1),
        "memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
        "memory_before_mib": base_mib,
        "artefacts": proof.artefacts,
        "tries": sum(proof.tried.values()),
        "raw_mib": proof.found.get("MiB of raw bytes", 0),
        "opened": len(proof.opened),
        "control": proof.control or "",
        "control_opened": len(proof.control_opened),
    }


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.proving", description=__doc__)
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser.parse_args(argv)


def main() -> int:
    """Prints a table."""
    arguments = parse(sys.argv[1:])
    with tempfile.TemporaryDirectory(prefix="callvault-proving-") as folder:
        found = measured(Path(folder), arguments.calls, arguments.days)
    print(report.heading(f"proving, {arguments.calls} calls in {arguments.days} days", describe()))
    names = ("s", "cpu_s", "memory_mib", "artefacts", "tries", "raw_mib", "opened", "control_opened")
    rows = [[claim, *(found[claim][name] for name in names)] for claim in ("one call", "tenant")]
    print(report.table(["claim", *names], rows))
    report.write(arguments.json, found)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
