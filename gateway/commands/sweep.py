"""`callvault sweep`: destroys what is over now, whatever the hour, beside a running server or without one."""

from __future__ import annotations

import argparse
import json
import sys
import time

from gateway.commands.store import administering
from gateway.config import Settings
from gateway.operations.sweeper import has_ended, sweep
from storage.clocks import alarms
from storage.recordings import Recordings


def command(arguments: argparse.Namespace) -> int:
    """Exit 0 if the clocks allow it and nothing due is left; with --dry-run if nothing would be destroyed."""

    def run(settings: Settings, recordings: Recordings) -> int:
        if arguments.dry_run:
            return _show(settings, recordings, as_object=arguments.json)
        configured = frozenset(recordings.tenant(tenant.name) for tenant in settings.tenants)
        swept = sweep(recordings, lambda: configured, nightly=False)
        left = recordings.expiry.standing()
        found = {"dropped": swept.dropped, "emptied": swept.emptied, "left": left.buckets}
        _tell(found | {"doubts": list(alarms(swept.verdict.doubts))}, as_object=arguments.json)
        return 0 if swept.verdict.may_drop and not left.buckets else 1

    return administering(arguments, run, node="sweep")


def _show(settings: Settings, recordings: Recordings, *, as_object: bool) -> int:
    names = {recordings.tenant(tenant.name): tenant.name for tenant in settings.tenants}
    due = {
        names.get(tenant, tenant): [f"{drop.day} {drop.kind.value} for {drop.purpose}" for drop in drops]
        for tenant, drops in recordings.expiry.due().items()
    }
    now_s = time.time()
    ended = [
        names.get(closing.tenant, closing.tenant)
        for closing in recordings.closings.standing()
        if recordings.closings.is_due(closing, now_s) and has_ended(closing, now_s)
    ]
    _tell({"due": due, "to_be_emptied": ended}, as_object=as_object)
    return 1 if due or ended else 0


def _tell(found: dict[str, object], *, as_object: bool) -> None:
    if as_object:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return
    for name, value in found.items():
        rows = value.items() if isinstance(value, dict) else [(name.replace("_", " "), value)]
        for label, told in rows:
            shown = "; ".join(map(str, told)) or "none" if isinstance(told, list) else told
            sys.stdout.write(f"{label}: {shown}\n")
