"""`callvault inventory`: what is stored of each tenant, every byte under one kind."""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from typing import Any

from gateway.commands.store import administering
from gateway.config import Settings
from storage.inventory import CLASSES, Inventory
from storage.recordings import Recordings

SHOWN_MAX = 20
"""Names printed of what has no kind; `--json` has them all."""


def command(arguments: argparse.Namespace) -> int:
    """Exit 0 if everything has a kind, 1 if something has none or could not be looked at."""

    def run(settings: Settings, recordings: Recordings) -> int:
        found = settled(recordings, arguments.settle)
        names = {recordings.tenant(tenant.name): tenant.name for tenant in settings.tenants}
        report = as_json(found, names)
        sys.stdout.write((json.dumps(report, indent=2) if arguments.json else as_text(report)) + "\n")
        return 1 if found.unclassified else 0

    return administering(arguments, run, node="inventory")


def settled(recordings: Recordings, settle_s: float) -> Inventory:
    """One look; where it finds something of no kind, a second one, since an object is stored before its row."""
    first = recordings.inventory()
    if not first.unclassified:
        return first
    time.sleep(settle_s)
    second = recordings.inventory()
    second.unclassified = {name: size for name, size in second.unclassified.items() if name in first.unclassified}
    return second


def as_json(found: Inventory, names: dict[Any, str]) -> dict[str, Any]:
    """Counts and bytes by tenant and kind; a tenant that is not configured any more by its id."""
    tenants = {
        names.get(tenant, tenant): {
            kind: {"class": CLASSES[kind], **asdict(held)} for kind, held in sorted(kinds.items())
        }
        for tenant, kinds in found.tenants.items()
    }
    return {"tenants": dict(sorted(tenants.items())), "unclassified": dict(sorted(found.unclassified.items()))}


def as_text(report: dict[str, Any]) -> str:
    """The same for people."""
    lines = []
    for tenant, kinds in report["tenants"].items():
        lines.append(f"{tenant}:")
        for kind, held in kinds.items():
            size = held["object_bytes"] + held["row_bytes"] + held["spool_bytes"]
            parts = f"{held['objects']} objects, {held['rows']} rows, {held['spool_records']} spool records"
            lines.append(f"    {held['class']:<10}  {kind:<20}  {held['artefacts']:>8}  {size:>12} bytes: {parts}")
    found = report["unclassified"]
    lines += [f"OF NO KIND: {name!r}, {size} bytes" for name, size in list(found.items())[:SHOWN_MAX]]
    if len(found) > SHOWN_MAX:
        lines.append(f"… and {len(found) - SHOWN_MAX} more")
    lines.append("nothing is of no kind" if not found else f"{len(found)} THINGS ARE OF NO KIND")
    return "\n".join(lines)
