"""`callvault reconcile`: every call, object and spool record accounted for, or named."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

from gateway.commands.store import administering
from gateway.config import Settings
from storage.audit import ORPHAN, Audit, Weight, both
from storage.errors import Unavailable
from storage.model import CallState
from storage.recordings import Recordings
from storage.spoollock import has_uploader, has_writer, writing

SHOWN_MAX = 20
"""Names printed of each sort; `--json` has them all."""


def command(arguments: argparse.Namespace) -> int:
    """Exit 0 if everything is accounted for, 1 if something is unexplained or could not be looked at."""

    def run(settings: Settings, recordings: Recordings) -> int:
        audit = audited(recordings, hashes=arguments.hashes, settle_s=arguments.settle)
        swept = sweep(recordings, audit) if arguments.sweep else 0
        report = as_json(audit, serving=has_writer(recordings.spool_folder), swept=swept)
        sys.stdout.write((json.dumps(report, indent=2) if arguments.json else as_text(report)) + "\n")
        return 1 if audit.total(Weight.UNEXPLAINED) else 0

    return administering(arguments, run, node="reconcile")


def audited(recordings: Recordings, *, hashes: bool, settle_s: float) -> Audit:
    """What is found wrong twice, `settle_s` apart; when the first look finds nothing wrong, what that one found."""
    first = recordings.reconcile(explain, hashes=hashes)
    if not first.total(Weight.UNEXPLAINED) and not first.counts[Weight.LEFTOVER, ORPHAN]:
        return first
    time.sleep(settle_s)
    return both(first, recordings.reconcile(explain, hashes=hashes))


def sweep(recordings: Recordings, audit: Audit) -> int:
    """Delete the objects that no slice names; gives how many. Unavailable while a server runs, which may need them."""
    with writing(recordings.spool_folder, wait_s=0.0):
        if has_uploader(recordings.spool_folder):
            raise Unavailable("an uploader is at work; objects are swept only while none is")
        orphans = audit.findings.pop((Weight.LEFTOVER, ORPHAN), set())
        audit.counts.pop((Weight.LEFTOVER, ORPHAN), None)
        return recordings.sweep_objects(sorted(orphans))


def explain(state: CallState, detail: bytes) -> str:
    """What call detail should say of a call that is not stored whole, and does not."""
    account: dict[str, Any] = json.loads(detail)
    if state is CallState.INTERRUPTED and not account.get("missing_ms") and "unstored_ms" not in account:
        return "interrupted call that does not say what is missing"
    if state is CallState.NOT_RECORDED and not account.get("why"):
        return "call that was not recorded and does not say why"
    return ""


def as_json(audit: Audit, *, serving: bool, swept: int) -> dict[str, Any]:
    """The report: ids, counts and constant text."""
    return {
        "serving": serving,
        "calls": dict(sorted(audit.outcomes.items())),
        "slices": audit.slices,
        "objects": audit.objects,
        "object_bytes": audit.object_bytes,
        "hashes_compared": audit.hashes,
        "jobs_waiting": audit.jobs,
        "objects_swept": swept,
        **{weight.value: _of(audit, weight) for weight in Weight},
        "unexplained_total": audit.total(Weight.UNEXPLAINED),
    }


def as_text(report: dict[str, Any]) -> str:
    """The same for people."""
    calls = ", ".join(f"{count} {state}" for state, count in report["calls"].items()) or "none"
    lines = [
        f"calls: {calls}",
        f"slices: {report['slices']}, objects: {report['objects']} of {report['object_bytes']} bytes"
        + (f", {report['hashes_compared']} hashes compared" if report["hashes_compared"] else ""),
    ]
    if report["objects_swept"]:
        lines.append(f"swept: {report['objects_swept']} objects")
    for weight in Weight:
        for found in report[weight.value]:
            lines.append(f"{weight.value}: {found['count']} × {found['what']}")
            if weight is not Weight.PENDING:
                lines += [f"    {name}" for name in found["names"][:SHOWN_MAX]]
                if found["count"] > SHOWN_MAX:
                    lines.append(f"    … and {found['count'] - SHOWN_MAX} more")
    lines.append("nothing unexplained" if not report["unexplained_total"] else "NOT EVERYTHING IS EXPLAINED")
    return "\n".join(lines)


def _of(audit: Audit, weight: Weight) -> list[dict[str, Any]]:
    return [
        {"what": what, "count": audit.counts[of, what], "names": sorted(names)}
        for (of, what), names in sorted(audit.findings.items())
        if of is weight and audit.counts[of, what]
    ]
