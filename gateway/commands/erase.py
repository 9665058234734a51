"""`callvault erase`: a call, a part of it, a person, a purpose; what would go is shown before it goes."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any

from gateway.client import ApiError, Client

SHOWN_MAX = 20
"""Calls of a match set that are printed; the rest is counted."""


def command(arguments: argparse.Namespace) -> int:
    """Erase and print the certificate."""
    try:
        client = Client.of(arguments.url, arguments.token)
        certificate = _asked(arguments)(client, arguments)
        if arguments.form == "vcon":
            certificate = _as_vcon(client, certificate)
    except (ApiError, OSError) as error:
        sys.stderr.write(f"callvault: {error}\n")
        return 1
    sys.stdout.write(json.dumps(certificate, indent=2) + "\n")
    return 0


def _asked(arguments: argparse.Namespace) -> Callable[[Client, argparse.Namespace], Any]:
    named = [arguments.call is not None, arguments.person is not None, arguments.purpose is not None]
    if sum(named) != 1:
        raise ApiError(0, "name a call, or --person, or --purpose, and one of them only")
    if arguments.call is None and (arguments.kind or arguments.participant):
        raise ApiError(0, "--kind and --participant are of a call")
    if arguments.call is None and arguments.form == "vcon":
        raise ApiError(0, "--form vcon is of a call: a vCon is one conversation")
    if arguments.person is not None:
        return _person
    return _purpose if arguments.purpose is not None else _call


def _call(client: Client, arguments: argparse.Namespace) -> Any:
    call, ground = arguments.call, {"ground": arguments.ground}
    if arguments.participant:
        confirm(arguments, f"Erase participant {arguments.participant} of call {call}?")
        body = {"scope": "participant", "call": call, "participant": arguments.participant}
        return client.post("/v1/erasures", body | ground)
    if arguments.kind:
        confirm(arguments, f"Erase {', '.join(arguments.kind)} of call {call}?")
        return client.post("/v1/erasures", {"scope": "artefact", "call": call, "kinds": arguments.kind} | ground)
    confirm(arguments, f"Erase call {call}?")
    return client.post(f"/v1/calls/{call}/erasure", ground)


def _as_vcon(client: Client, certificate: Any) -> Any:
    """The vCon, or else the certificate as it is: what was destroyed is proved in any case."""
    erasure = certificate["entries"][0]["body"]["erasure"]
    try:
        return client.json(f"/v1/erasures/{erasure}/certificate?form=vcon")
    except ApiError as error:
        sys.stderr.write(f"callvault: as it is signed, not as a vCon: {error}\n")
        return certificate


def _purpose(client: Client, arguments: argparse.Namespace) -> Any:
    confirm(arguments, f"Erase all that is kept for the purpose {arguments.purpose!r} only?")
    return client.post("/v1/erasures", {"scope": "purpose", "purpose": arguments.purpose, "ground": arguments.ground})


def _person(client: Client, arguments: argparse.Namespace) -> Any:
    by, _, value = arguments.person.partition(":")
    asked = {"by": by, "value": value}
    found = client.post("/v1/erasures/match", asked)
    _show(found)
    if not found["calls"]:
        raise ApiError(0, "nothing was found, and nothing was erased")
    body = asked | {"scope": "person", "token": found["token"], "ground": arguments.ground}
    if found["shared"]:
        if not (arguments.all or arguments.only):
            raise ApiError(0, "it looks shared: say --all, or --only with the calls that are meant; nothing was erased")
        body["calls"] = arguments.only or found["calls"]
    elif arguments.only:
        body["calls"] = arguments.only
    confirm(arguments, f"Erase {len(body.get('calls', found['calls']))} calls?")
    return client.post("/v1/erasures", body)


def _show(found: dict[str, Any]) -> None:
    for row in found["shown"][:SHOWN_MAX]:
        detail = row.get("detail") or {}
        seconds = (detail.get("duration_ms") or 0) / 1000
        sys.stderr.write(
            f"{row['id']}  {row['state']:<12}  {detail.get('answered') or row['day']:<24}  {seconds:8.1f} s\n"
        )
    if (more := len(found["calls"]) - SHOWN_MAX) > 0:
        sys.stderr.write(f"and {more} more\n")
    for sign in found["shared"]:
        sys.stderr.write(f"shared? {sign}\n")


def confirm(arguments: argparse.Namespace, question: str) -> None:
    """ApiError unless the answer is yes; --yes has given it."""
    if arguments.yes:
        return
    if sys.stdin.isatty():
        sys.stderr.write(f"{question} It cannot be brought back. [y/N] ")
        sys.stderr.flush()
        if sys.stdin.readline().strip().lower() in ("y", "yes"):
            return
    raise ApiError(0, "nothing was destroyed")
