"""`callvault processors` and `callvault destinations`: who else gets or holds data, and what leaves to whom."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from gateway.commands.store import administering, complain
from gateway.config import Settings, from_environment
from gateway.errors import ConfigError
from gateway.outside import Destination
from gateway.policy import Tenant
from gateway.processors import register, shown
from gateway.rights.sample import sample_of
from storage.recordings import Recordings


def processors(arguments: argparse.Namespace) -> int:
    """Show the register of each tenant; exit 1 if a tenant was not told of all of it yet, as before the next start."""

    def run(settings: Settings, recordings: Recordings) -> int:
        tenants: list[dict[str, Any]] = []
        for tenant in _wanted(settings, arguments.tenant):
            told = recordings.register.told(recordings.tenant(tenant.name))
            rows = [shown(entry, told, tenant.destinations) for entry in register(settings, tenant)]
            tenants.append({"tenant": tenant.name, "processors": rows})
        _print(json.dumps({"tenants": tenants}, indent=2) if arguments.json else as_text(tenants))
        return 0 if all(row["told"] for tenant in tenants for row in tenant["processors"]) else 1

    return administering(arguments, run, node="processors")


def destinations(arguments: argparse.Namespace) -> int:
    """List the destinations that are authorised."""

    def run(settings: Settings) -> int:
        for tenant in _wanted(settings, arguments.tenant):
            for one in tenant.destinations:
                until = f" until {one.until}" if one.until else ""
                parts = ", ".join(part.value for part in one.parts)
                authorised = f"authorised by {one.authorised_by} on {one.authorised_on}{until}"
                _print(f"{tenant.name}: {one.name}  {one.to}  {authorised}: {parts}")
                for name in one.entry().fields:
                    _print(f"    {name}")
        return 0

    return _configured(arguments, run)


def sample(arguments: argparse.Namespace) -> int:
    """Print what a copy of a call that never was has in it, for one destination."""

    def run(settings: Settings) -> int:
        found = [
            one
            for tenant in _wanted(settings, arguments.tenant)
            for one in tenant.destinations
            if one.name == arguments.name
        ]
        if len(found) != 1:
            few = "there is no destination of that name" if not found else "several tenants have one: --tenant NAME"
            raise ConfigError([f"{arguments.name}: {few}"])
        _print(sample_text(found[0]))
        return 0

    return _configured(arguments, run)


def sample_text(destination: Destination) -> str:
    """A sample as it is printed, and as golden files have it."""
    return json.dumps(sample_of(destination), indent=1, ensure_ascii=False, sort_keys=True)


def as_text(tenants: Sequence[dict[str, Any]]) -> str:
    """The register for people."""
    lines = []
    for tenant in tenants:
        lines.append(f"{tenant['tenant']}:")
        for row in tenant["processors"]:
            where = f"{row['region']}, {'inside' if row['in_eea'] else 'OUTSIDE'} the EEA"
            told = f"told by ledger entry {row['notice']}, from {row['from']}" if row["told"] else "NOT TOLD YET"
            lines += [f"    {row['name']}  {row['company']}  {where}  {told}", f"        gets {', '.join(row['gets'])}"]
            lines.append(f"        keeps it {row['retention']}; {row['encryption']}; agreement of {row['dpa']}")
        if not tenant["processors"]:
            lines.append("    nobody: everything is on machines of our own")
    return "\n".join(lines)


def _wanted(settings: Settings, name: str | None) -> Sequence[Tenant]:
    found = [tenant for tenant in settings.tenants if name in (None, tenant.name)]
    if not found:
        raise ConfigError([f"tenant {name!r} is not in the configuration"])
    return found


def _configured(arguments: argparse.Namespace, run: Any) -> int:
    try:
        status: int = run(from_environment(arguments.config, {"data": arguments.data}).settings)
    except ConfigError as error:
        return complain(error)
    return status


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
