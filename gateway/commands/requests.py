"""`callvault requests` and `callvault copies`: requests of people who were recorded, and what left, for officers."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gateway.client import ApiError, Client

Act = Callable[[Client, argparse.Namespace], Any]


def command(arguments: argparse.Namespace) -> int:
    """One act on requests."""
    return acted(arguments, ACTS[arguments.action])


def copies(arguments: argparse.Namespace) -> int:
    """List copies that left, or fetch the notice to a recipient."""
    acts: Mapping[str, Act] = {
        "list": lambda client, given: client.json("/v1/egress"),
        "notice": lambda client, given: client.json(f"/v1/egress/{given.id}/notice"),
        "told": lambda client, given: client.post(f"/v1/egress/{given.id}/told", {}),
    }
    return acted(arguments, acts[arguments.action])


def _list(client: Client, given: argparse.Namespace) -> None:
    for row in client.json("/v1/requests")["requests"]:
        late = "  OVERDUE" if row["overdue"] else ""
        sys.stdout.write(f"{row['id']}  {row['right']:<13}  {row['state']:<10}  until {row['last_day']}{late}\n")


def _export(client: Client, given: argparse.Namespace) -> None:
    if given.output is None:
        raise ApiError(0, "say where the copy goes: --output FILE")
    save(client, f"/v1/requests/{given.id}/export", given.output)


def _answer(client: Client, given: argparse.Namespace) -> Any:
    body: dict[str, Any] = {"statement": given.statement, "reason": given.reason, "purpose": given.purpose}
    if given.upheld or given.rejected:
        body["upheld"] = given.upheld
    return _post(client, given, "answer", {name: value for name, value in body.items() if value is not None})


def _decide(client: Client, given: argparse.Namespace) -> Any:
    body = {"words": given.words, "reason": given.reason, "to": given.to, "key": given.key}
    body["destination"] = given.destination
    return _post(client, given, "decision", {name: value for name, value in body.items() if value is not None})


def _post(client: Client, given: argparse.Namespace, act: str, body: Mapping[str, Any]) -> Any:
    return client.post(f"/v1/requests/{given.id}/{act}", body)


ACTS: Mapping[str, Act] = {
    "list": _list,
    "show": lambda client, given: client.json(f"/v1/requests/{given.id}"),
    "open": lambda client, given: client.post(
        "/v1/requests", {"right": given.right, "received": given.received, "subject": given.subject}
    ),
    "identify": lambda client, given: _post(client, given, "identity", {"how": given.how}),
    "candidates": lambda client, given: _post(client, given, "candidates", {"value": given.number}),
    "match": lambda client, given: _post(client, given, "matches", {"matches": given.match}),
    "decide": _decide,
    "extend": lambda client, given: _post(client, given, "extension", {"reason": given.reason}),
    "refuse": lambda client, given: _post(client, given, "refusal", {"ground": given.ground}),
    "withdraw": lambda client, given: _post(client, given, "withdrawal", {}),
    "answer": _answer,
    "export": _export,
}


def save(client: Client, path: str, output: Path) -> None:
    """Downloads a copy where the user says; what breaks off is not left there as if it were whole."""
    part = output.with_name(output.name + ".part")
    try:
        with part.open("xb") as file:
            part.chmod(0o600)
            size = client.download(path, file)
        part.replace(output)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sys.stdout.write(f"{output}: {size} bytes\n")


def acted(arguments: argparse.Namespace, act: Act) -> int:
    """An act with the API: what it gives as JSON; an error in words, and 1."""
    try:
        found = act(Client.of(arguments.url, arguments.token), arguments)
    except (ApiError, OSError) as error:
        sys.stderr.write(f"callvault: {error}\n")
        return 1
    if found is not None:
        sys.stdout.write(json.dumps(found, indent=2, ensure_ascii=False) + "\n")
    return 0
