"""`callvault hold`, `restrict` and `consent`: what is kept for a reason, kept unread, and kept by leave."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any

from gateway.client import ApiError, Client
from gateway.commands.erase import confirm


def hold(arguments: argparse.Namespace) -> int:
    """Place, list or release holds."""
    return _asking(arguments, {"place": _place, "list": _list, "release": _release}[arguments.action])


def restrict(arguments: argparse.Namespace) -> int:
    """Restrict a call, lift its restriction, or list those that stand."""
    return _asking(arguments, _restrictions if arguments.call is None else _lift if arguments.lift else _restrict)


def consent(arguments: argparse.Namespace) -> int:
    """List, record or withdraw consents."""
    return _asking(arguments, {"list": _consents, "give": _give, "withdraw": _withdraw}[arguments.action])


def _place(client: Client, arguments: argparse.Namespace) -> None:
    if not arguments.ids or not arguments.ground:
        raise ApiError(0, "name the calls, and why they are held: --ground")
    _print(client.post("/v1/holds", {"calls": arguments.ids, "ground": arguments.ground})["id"])


def _list(client: Client, arguments: argparse.Namespace) -> None:
    for found in client.json(f"/v1/holds?released={str(arguments.all).lower()}")["holds"]:
        state = "released" if found["released"] else "stands"
        _print(f"{found['id']}  {found['at']}  {state:<8}  {len(found['calls'])} calls  {found['ground']}")
        for call in found["calls"]:
            _print(f"    {call}")


def _release(client: Client, arguments: argparse.Namespace) -> None:
    if len(arguments.ids) != 1:
        raise ApiError(0, "name the hold")
    confirm(arguments, f"Release hold {arguments.ids[0]}, and destroy what it alone has kept?")
    _print(json.dumps(client.post(f"/v1/holds/{arguments.ids[0]}/release", {}), indent=2))


def _restrict(client: Client, arguments: argparse.Namespace) -> None:
    _print(client.post(f"/v1/calls/{arguments.call}/restriction", {"ground": arguments.ground})["id"])


def _lift(client: Client, arguments: argparse.Namespace) -> None:
    _print(f"lifted: {client.delete(f'/v1/calls/{arguments.call}/restriction')['id']}")


def _restrictions(client: Client, arguments: argparse.Namespace) -> None:
    if arguments.lift:
        raise ApiError(0, "name the call")
    for found in client.json("/v1/restrictions")["restrictions"]:
        _print(f"{found['call']}  {found['at']}  {found['ground']}")


def _consents(client: Client, arguments: argparse.Namespace) -> None:
    for found in client.json(f"/v1/calls/{arguments.call}/consents")["consents"]:
        given, withdrawn = found["given"] or {}, found["withdrawn"] or {}
        state = f"withdrawn {withdrawn.get('withdrawn_at', '')}" if found["erasure"] else "stands"
        text = f"{found['purpose']}, text {given.get('text', '?')}, given {given.get('given_at', '?')}"
        _print(f"{found['id']}  participant {found['participant']}  {text}  {state}")


def _give(client: Client, arguments: argparse.Namespace) -> None:
    if not arguments.purpose or not arguments.text:
        raise ApiError(0, "say what for, and which text: --purpose, --text")
    body = {"purpose": arguments.purpose, "text": arguments.text, "participant": arguments.participant}
    body |= {"at": arguments.at, "how": arguments.how}
    _print(client.post(f"/v1/calls/{arguments.call}/consents", body)["id"])


def _withdraw(client: Client, arguments: argparse.Namespace) -> None:
    if arguments.id is None:
        raise ApiError(0, "name the consent")
    confirm(arguments, f"Withdraw consent {arguments.id}, and destroy what rests on it alone?")
    path = f"/v1/calls/{arguments.call}/consents/{arguments.id}/withdrawal"
    _print(json.dumps(client.post(path, {"at": arguments.at, "how": arguments.how}), indent=2))


def _asking(arguments: argparse.Namespace, act: Callable[[Client, argparse.Namespace], None]) -> int:
    try:
        act(Client.of(arguments.url, arguments.token), arguments)
    except (ApiError, OSError) as error:
        sys.stderr.write(f"callvault: {error}\n")
        return 1
    return 0


def _print(text: Any) -> None:
    sys.stdout.write(f"{text}\n")
