"""`callvault breach`: cases of personal data breaches, for the operator's tokens."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from gateway.client import ApiError, Client
from gateway.commands.requests import Act, acted, save


def command(arguments: argparse.Namespace) -> int:
    """One act on cases."""
    return acted(arguments, ACTS[arguments.action])


def _open(client: Client, given: argparse.Namespace) -> Any:
    body = {"what": given.what or "", "scope": _scope(given)} | ({"aware": given.aware} if given.aware else {})
    return client.post("/v1/breaches", body)


def _step(client: Client, given: argparse.Namespace) -> Any:
    names = ("what", "causes", "effects", "taken", "contact", "to", "reference", "reason")
    body = {name: text for name in names if (text := getattr(given, name))}
    if given.action == "scope":
        body["scope"] = _scope(given)
    return client.post(f"/v1/breaches/{given.id}/{given.action}", body)


def _scope(given: argparse.Namespace) -> dict[str, Any]:
    found = {"reached": given.reached, "tenants": given.tenant, "calls": given.call}
    found |= {"first": given.first, "last": given.last, "region": given.region, "since": given.since}
    return {name: value for name, value in found.items() if value}


def _report(client: Client, given: argparse.Namespace) -> None:
    """The whole report, or that of the one tenant that is named."""
    if len(given.tenant) > 1:
        raise ApiError(0, "a report is about all tenants or about one")
    query = f"?format={given.format}" + "".join(f"&tenant={quote(name)}" for name in given.tenant)
    path = f"/v1/breaches/{given.id}/report{query}"
    if given.output is not None:
        save(client, path, given.output)
        return
    body = io.BytesIO()
    client.download(path, body)  # counting 10⁶ calls takes longer than other answers may
    sys.stdout.write(body.getvalue().decode())


def _list(client: Client, given: argparse.Namespace) -> None:
    for row in client.json("/v1/breaches")["breaches"]:
        left = "OVERDUE" if row["overdue"] else f"{row['hours_left']} h left" if row["state"] == "open" else ""
        sys.stdout.write(f"{row['id']}  {row['state']:<9}  due {row['due']}  {left}\n")


ACTS: Mapping[str, Act] = {
    "list": _list,
    "open": _open,
    "show": lambda client, given: client.json(f"/v1/breaches/{given.id}"),
    "report": _report,
    **dict.fromkeys(("describe", "scope", "notify", "tell", "people", "close"), _step),
}
