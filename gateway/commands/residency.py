"""`callvault residency`: every location that holds or ever held data of each tenant, since when, and by which rule."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from gateway.commands.store import administering
from gateway.config import Settings
from storage.places import misplaced
from storage.recordings import Recordings


def command(arguments: argparse.Namespace) -> int:
    """Exit 0 if every location is where its tenant's data may be, 1 otherwise: of former ones too."""

    def run(settings: Settings, recordings: Recordings) -> int:
        report = survey(settings, recordings)
        sys.stdout.write((json.dumps(report, indent=2) if arguments.json else as_text(report)) + "\n")
        within = all(row["allowed"] for tenant in report["tenants"] for row in tenant["locations"])
        return 0 if within else 1

    return administering(arguments, run, node="residency")


def survey(settings: Settings, recordings: Recordings) -> dict[str, Any]:
    """For each configured tenant its rule, and its locations in the order in which they came to be.

    A location is `current` while this configuration names it; what was once held there may still be in a copy.
    """
    tenants = []
    for tenant in settings.tenants:
        of = recordings.tenant(tenant.name)
        rows = [
            {
                "part": location.place.part.value,
                "region": location.place.region or "unknown",
                "place": location.place.name,
                "since": location.day,
                "ledger_entry": location.seq,
                "current": location.place in recordings.residency.places,
                "allowed": not misplaced(tenant.regions, [location.place]),
            }
            for location in recordings.residency.locations(of)
        ]
        tenants.append({"tenant": tenant.name, "id": of, "regions": list(tenant.regions), "locations": rows})
    return {"tenants": tenants}


def as_text(report: dict[str, Any]) -> str:
    """The same for people."""
    lines = []
    for tenant in report["tenants"]:
        lines.append(f"{tenant['tenant']}: may be in {', '.join(tenant['regions']) or 'any region'}")
        for row in tenant["locations"]:
            standing = "current" if row["current"] else "former"
            outside = "" if row["allowed"] else "  NOT ALLOWED"
            entry = f"since {row['since']}, ledger entry {row['ledger_entry']}"
            lines.append(f"    {row['part']:<13}  {row['region']:<9}  {row['place']}  {standing}, {entry}{outside}")
        if not tenant["locations"]:
            lines.append("    no location yet")
    return "\n".join(lines)
