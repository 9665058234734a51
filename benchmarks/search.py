"""What finding calls by blind tags costs: a search over a year of days, saving tagged calls, erasing one of many.

    python -m benchmarks.search --days 365 --purposes 3 --calls 10000 --json FILE

Three stores in a fresh folder: one with a call on each day and purpose, one whose every call has the same called number
in one bucket, and that one again without tags, which is what the erasure is compared with. CPU time of this process; an
erasure also waits half a second for leases. All of it takes 30 to 60 s, most of it waiting for the disk.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks import machine, report
from storage.erasure import Step
from storage.model import NO_PARTICIPANT, CallId, Kind, TenantId, new_id
from storage.recordings import Recordings
from storage.records import Identifier, NewCall, Wanted

HOTLINE = Identifier("number", "+442079460456")
DAY_S = 86_400
BEGAN_S = 1_700_000_000.0
GROUP = 20
"""Calls saved in one transaction, as at 200 calls a second."""
SEARCHES = 20

Figures = dict[str, float]


def main(argv: Sequence[str] | None = None) -> None:
    """Run all parts, print them, and write them as JSON if asked to."""
    arguments = parse(argv)
    with tempfile.TemporaryDirectory(prefix="callvault-bench-") as folder:
        root = Path(folder)
        figures = over_days(root / "days", arguments.days, arguments.purposes)
        figures |= in_one_bucket(root / "tagged", arguments.calls, tagged=True)
        figures |= in_one_bucket(root / "bare", arguments.calls, tagged=False)
    described = machine.describe()
    print(report.heading("Finding calls by blind tags, CPU time of this process", described))
    print(report.table(("figure", "value"), list(figures.items())))
    report.write(arguments.json, {"machine": described, **figures})


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--purposes", type=int, default=3)
    parser.add_argument("--calls", type=int, default=10_000, help="in the one bucket of the second and third store")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")
    return parser.parse_args(argv)


def over_days(root: Path, days: int, purposes: int) -> Figures:
    """A search over all buckets of a tenant: the first of a process, which opens their keys, and those after it."""
    now = [BEGAN_S]
    with opened(root, lambda: now[0]) as store:
        tenant = store.tenant("acme")
        for _ in range(days):
            store.save([new_call(store, tenant, f"purpose{number}") for number in range(purposes)])
            now[0] += DAY_S
    with opened(root, lambda: now[0]) as store:
        wanted = [Identifier("number", "+31201234567")]
        first = seconds(lambda: store.find(tenant, wanted))
        nothing = statistics.median(seconds(lambda: store.find(tenant, wanted)) for _ in range(SEARCHES))
        page = statistics.median(seconds(lambda: store.find(tenant, [HOTLINE])) for _ in range(SEARCHES))
    return {
        "buckets": days * purposes,
        "search_first_ms": 1000 * first,
        "search_nothing_found_ms": 1000 * nothing,
        "search_page_of_100_ms": 1000 * page,
    }


def in_one_bucket(root: Path, count: int, *, tagged: bool) -> Figures:
    """Calls of one day and purpose, seven identifiers each, and the erasure of one of them."""
    steps: dict[Step, float] = {}

    def note(step: Step) -> None:
        steps[step] = time.process_time()

    with opened(root, lambda: BEGAN_S, note) as store:
        tenant = store.tenant("acme")
        saving = 0.0
        for _ in range(count // GROUP):
            group = [new_call(store, tenant, "service", tagged=tagged) for _ in range(GROUP)]
            saving += seconds(partial(store.save, group))
        name = "tagged" if tagged else "bare"
        figures: Figures = {f"save_{name}_ms_a_call": 1000 * saving / count}
        if tagged:
            figures["search_hotline_page_ms"] = 1000 * seconds(lambda: store.find(tenant, [HOTLINE]))
        erased = store.calls(tenant, limit=1)[0]
        whole = seconds(lambda: store.erase_call(tenant, erased.id, ground="Art. 17(1) GDPR", actor="bench"))
    between = {step: steps[step] - steps[before] for before, step in zip(list(Step), list(Step)[1:], strict=False)}
    return figures | {
        f"erase_{name}_s": whole,
        f"rewrap_{name}_s": between[Step.REWRAP],
        f"read_back_{name}_s": between[Step.READ_BACK],
        f"sweep_{name}_s": between[Step.SWEEP],
    }


def opened(root: Path, clock: Callable[[], float], on_step: Callable[[Step], None] = lambda _step: None) -> Recordings:
    """A store with everything in one folder."""
    data = root / "data"
    return Recordings.open(
        data, f"file:{root}/keys", f"file:{data}/objects", node="n1", clock=clock, on_erasure_step=on_step
    )


def new_call(store: Recordings, tenant: TenantId, purpose: str, *, tagged: bool = True) -> NewCall:
    """A call with identity and detail; its number and ids are its own, the called number is everybody's."""
    wanted = [Wanted(NO_PARTICIPANT, kind, purpose) for kind in (Kind.IDENTITY, Kind.CALL_DETAIL)]
    new = store.begin(tenant, CallId(new_id()), wanted)
    own = [Identifier(sort, new_id()) for sort in ("number", "uri", "call_id", "session_id", "session_id")]
    return replace(new, identifiers=(HOTLINE, Identifier("uri", "sip:service@example.com"), *own)) if tagged else new


def seconds(work: Callable[[], object]) -> float:
    """CPU time of this process that something takes."""
    began = time.process_time()
    work()
    return time.process_time() - began


if __name__ == "__main__":
    main()
