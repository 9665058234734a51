"""The short commands of `callvault` that need the library: a test call, what explains, and the administrator's."""

from __future__ import annotations

import argparse
import asyncio
import json
import ssl
from typing import Any
from urllib.parse import quote

from gateway.addresses import parse_address
from gateway.caller import CallFailed, Track, place_call
from gateway.client import Client
from gateway.commands.asking import asking, fail, say
from gateway.commands.closing import told
from gateway.commands.speech import wav_pcm
from gateway.commands.store import administering, complain
from gateway.config import Settings, describe, from_environment
from gateway.errors import ConfigError
from gateway.promises.explained import lines
from gateway.ratings import totals
from gateway.rights.orders import OPERATOR
from storage.model import TenantId
from storage.recordings import Recordings
from storage.tokens import Role


def call(arguments: argparse.Namespace) -> int:
    """Place a test call and report what was sent."""
    try:
        target = parse_address(arguments.target)
        tracks = [Track(wav_pcm(path)) for path in arguments.wav]
        result = asyncio.run(
            place_call(
                target,
                tracks,
                codec=arguments.codec,
                ptime_ms=arguments.ptime,
                from_user=arguments.from_user,
                to_user=arguments.to_user,
                secure=_encryption(arguments) if arguments.tls else None,
                srtp=arguments.srtp,
                mux=arguments.mux,
            )
        )
    except (ValueError, OSError, CallFailed) as error:
        return fail(str(error))
    say(f"answered after {result.setup_ms:.1f} ms, {result.packets} packets sent on {len(tracks)} tracks, ended")
    return 0


def _encryption(arguments: argparse.Namespace) -> ssl.SSLContext:
    """For a call over TLS. Raises OSError for files that cannot be used."""
    context = ssl.create_default_context(cafile=arguments.ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if arguments.certificate is not None:
        context.load_cert_chain(arguments.certificate, arguments.key)
    return context


def explain(arguments: argparse.Namespace) -> int:
    """Show why each artefact of a call is kept, and until when."""

    def run() -> None:
        found = Client.of(arguments.url, arguments.token).json(f"/v1/calls/{arguments.call}/retention")
        for line in [json.dumps(found, indent=2)] if arguments.json else lines(found):
            say(line)

    return asking(run)


def ratings(arguments: argparse.Namespace) -> int:
    """Show a month's totals for billing; of a tenant that nobody has a token of any more, from the store itself."""

    def show(found: Any) -> None:
        if arguments.json:
            say(json.dumps(found, indent=2))
            return
        rows = [(arguments.month, found)]
        rows += [row for part in ("days", "directions", "numbers") for row in found[part].items()]
        for name, row in rows:
            unknown = f"  {row['without_length']} without a length" if row["without_length"] else ""
            say(f"{name:<16}  {row['calls']:>8} calls  {row['seconds']:>10} s{unknown}")

    def read(_settings: Settings, recordings: Recordings) -> int:
        show(totals(arguments.month, recordings.ratings.of_month(TenantId(arguments.of), arguments.month)))
        return 0

    def ask() -> None:
        show(Client.of(arguments.url, arguments.token).json(f"/v1/ratings?month={quote(arguments.month)}"))

    return asking(ask) if arguments.of is None else administering(arguments, read)


def tenant(arguments: argparse.Namespace) -> int:
    """Show the tenants of the configuration."""

    def run(settings: Settings, recordings: Recordings) -> int:
        say(f"ledger fingerprint: {recordings.fingerprint()}")
        for entry in settings.tenants:
            trunks = ", ".join(t.name for t in settings.trunks if entry.name in (t.tenant, *t.dialled.values()))
            say(f"{entry.name}  id {recordings.tenant(entry.name)}  trunks: {trunks or 'none'}")
            if (closing := recordings.closings.of(recordings.tenant(entry.name))) is not None:
                for line in (f"{closing.state.value}", *told(closing, entry.zone)):
                    say(f"    {line}")
            for name, value in sorted(entry.model_dump(mode="json").items()):
                if name != "name":
                    say(f"    {name} = {json.dumps(value)}")
        return 0

    return administering(arguments, run)


def token(arguments: argparse.Namespace) -> int:
    """Create, list or revoke bearer tokens; a token itself is shown once."""

    def run(settings: Settings, recordings: Recordings) -> int:
        tokens = recordings.tokens
        if arguments.role == Role.OPERATOR.value:
            arguments.tenant = OPERATOR
        elif arguments.tenant not in [entry.name for entry in settings.tenants]:
            raise ConfigError([f"tenant {arguments.tenant!r} is not in the configuration"])
        of = recordings.tenant(arguments.tenant)
        if arguments.action == "create":
            say(tokens.create(of, Role(arguments.role), arguments.label))
        elif arguments.action == "list":
            for row in tokens.list(of):
                say(f"{row.id}  {row.role}  {'revoked' if row.revoked else 'valid'}  {row.label}")
        else:
            tokens.revoke(of, arguments.id or "")
            say(f"revoked {arguments.id}")
        return 0

    return administering(arguments, run)


def config(arguments: argparse.Namespace) -> int:
    """Show every setting in effect and its origin; or only say whether they can be used."""
    try:
        loaded = from_environment(arguments.config, {"data": arguments.data})
    except ConfigError as error:
        return complain(error)
    if arguments.check:
        say("the configuration can be used")
        return 0
    rows = describe(loaded)
    width = max(len(key) for key, _, _ in rows)
    for key, value, origin in rows:
        say(f"{key:<{width}}  {value}  # {origin}")
    return 0
