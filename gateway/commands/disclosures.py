"""`callvault disclosures`: disclosure orders, for the operator's tokens."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import Any

from gateway.client import ApiError, Client
from gateway.commands.requests import Act, acted, save


def command(arguments: argparse.Namespace) -> int:
    """One act on orders, or the transparency report."""
    return acted(arguments, _report if arguments.report else ACTS[arguments.action])


def _report(client: Client, given: argparse.Namespace) -> None:
    found = client.json(f"/v1/disclosures/report?year={given.report}")
    for name, count in found.items():
        sys.stdout.write(f"{name:<12}  {count}\n")


def _enter(client: Client, given: argparse.Namespace) -> Any:
    names = ("tenant", "authority", "ground", "first", "last", "until", "number", "key", "gagged")
    body = {name: getattr(given, name) for name in names} | {"parts": given.part, "calls": given.call}
    return client.post("/v1/disclosures", {name: value for name, value in body.items() if value is not None})


def _export(client: Client, given: argparse.Namespace) -> None:
    if given.output is None:
        raise ApiError(0, "say where the copy goes: --output FILE")
    save(client, f"/v1/disclosures/{given.id}/export", given.output)


def _list(client: Client, given: argparse.Namespace) -> None:
    for row in client.json("/v1/disclosures")["orders"]:
        gag = "  gagged" if row["gagged"] else ""
        sys.stdout.write(f"{row['id']}  {row['state']:<9}  until {row['until']}{gag}\n")


ACTS: Mapping[str, Act] = {
    "list": _list,
    "show": lambda client, given: client.json(f"/v1/disclosures/{given.id}"),
    "enter": _enter,
    "approve": lambda client, given: client.post(f"/v1/disclosures/{given.id}/approval", {}),
    "reject": lambda client, given: client.post(f"/v1/disclosures/{given.id}/rejection", {}),
    "revoke": lambda client, given: client.post(f"/v1/disclosures/{given.id}/revocation", {}),
    "export": _export,
}
