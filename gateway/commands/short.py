"""The short commands of `callvault`: those that ask a running server, and those of its administrator."""

from __future__ import annotations

import argparse
import asyncio
import json
import ssl
import sys
import zoneinfo
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

from gateway.addresses import parse_address
from gateway.caller import CallFailed, Track, place_call
from gateway.client import ApiError, Client
from gateway.commands.closing import told
from gateway.commands.speech import wav_pcm
from gateway.commands.store import administering, complain
from gateway.config import Settings, describe, from_environment
from gateway.errors import ConfigError
from gateway.promises.explained import lines
from gateway.rights.orders import OPERATOR
from storage.chain import parse_key_changes
from storage.egress import NOTICE_FORMAT, verify_notice
from storage.errors import StoreError
from storage.ledger import CERTIFICATE_BYTES_MAX, parse_certificate, verify_certificate
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
        return _fail(str(error))
    _print(f"answered after {result.setup_ms:.1f} ms, {result.packets} packets sent on {len(tracks)} tracks, ended")
    return 0


def _encryption(arguments: argparse.Namespace) -> ssl.SSLContext:
    """For a call over TLS. Raises OSError for files that cannot be used."""
    context = ssl.create_default_context(cafile=arguments.ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if arguments.certificate is not None:
        context.load_cert_chain(arguments.certificate, arguments.key)
    return context


def calls(arguments: argparse.Namespace) -> int:
    """List calls, newest first."""

    def run() -> None:
        client = Client.of(arguments.url, arguments.token)
        if arguments.find is None:
            found = client.json(f"/v1/calls?limit={arguments.limit}")
        else:
            by, _, value = arguments.find.partition(":")
            found = client.post("/v1/calls/search", {"by": by, "value": value, "limit": arguments.limit})
        zone = "UTC" if arguments.utc else found["zone"]
        for row in found["calls"]:
            detail = row.get("detail") or {}
            seconds = (detail.get("duration_ms") or 0) / 1000
            when = shown(detail["answered"], zone) if detail.get("answered") else row["day"]
            _print(f"{row['id']}  {row['state']:<12}  {when:<29}  {seconds:8.1f} s")

    return _asking(run)


def get(arguments: argparse.Namespace) -> int:
    """Download one thing of a call."""
    path = {
        "audio": "/audio" + (f"?track={arguments.track}" if arguments.track is not None else ""),
        "detail": "",
    }.get(arguments.what, f"/{arguments.what}")

    def run() -> None:
        raw = Client.of(arguments.url, arguments.token).get(f"/v1/calls/{arguments.call}{path}")
        if arguments.what != "audio":
            raw = (json.dumps(json.loads(raw), indent=2, ensure_ascii=False) + "\n").encode()
        if arguments.output is not None:
            arguments.output.write_bytes(raw)
        else:
            sys.stdout.buffer.write(raw)

    return _asking(run)


def explain(arguments: argparse.Namespace) -> int:
    """Show why each artefact of a call is kept, and until when."""

    def run() -> None:
        found = Client.of(arguments.url, arguments.token).json(f"/v1/calls/{arguments.call}/retention")
        for line in [json.dumps(found, indent=2)] if arguments.json else lines(found):
            _print(line)

    return _asking(run)


def statistics(arguments: argparse.Namespace) -> int:
    """Show a period's statistics, or which periods have some."""

    def run() -> None:
        client = Client.of(arguments.url, arguments.token)
        if arguments.period is None:
            for period in client.json("/v1/statistics")["periods"]:
                _print(period)
            return
        found = client.json(f"/v1/statistics?period={quote(arguments.period)}")
        few = f"under {found['count_min']}"
        _print(f"{'calls':<14}  {'':<13}  {found['calls'] or few:>10}")
        for table, cells in found["tables"].items():
            for cell, calls in cells.items():
                _print(f"{table:<14}  {cell:<13}  {calls or few:>10}")

    return _asking(run)


def ratings(arguments: argparse.Namespace) -> int:
    """Show a month's totals for billing."""

    def run() -> None:
        found = Client.of(arguments.url, arguments.token).json(f"/v1/ratings?month={quote(arguments.month)}")
        if arguments.json:
            _print(json.dumps(found, indent=2))
            return
        rows = [(arguments.month, found)]
        rows += [row for part in ("days", "directions", "numbers") for row in found[part].items()]
        for name, row in rows:
            unknown = f"  {row['without_length']} without a length" if row["without_length"] else ""
            _print(f"{name:<16}  {row['calls']:>8} calls  {row['seconds']:>10} s{unknown}")

    return _asking(run)


def verify(arguments: argparse.Namespace) -> int:
    """Check a certificate, or a request to delete, with nothing but itself and a fingerprint that is trusted."""
    try:
        with arguments.certificate.open("rb") as file:
            text = file.read(CERTIFICATE_BYTES_MAX + 1)
        document = parse_certificate(text)
        if document.get("format") == NOTICE_FORMAT:
            return _verify_notice(verify_notice(text, arguments.fingerprint))
        changes = parse_key_changes(arguments.keys.read_bytes()) if arguments.keys else ()
        findings = verify_certificate(document, arguments.fingerprint, changes)
    except (OSError, StoreError) as error:
        return _fail(f"not verified: {error}")
    for finding in findings:
        _print(finding)
    _print("verified")
    return 0


def _verify_notice(notice: Mapping[str, Any]) -> int:
    _print(f"request to delete copy {notice['copy']} of tenant {notice['tenant']}, which left at {notice['left_at']}")
    for call, artefacts in sorted(notice["calls"].items()):
        _print(f"call {call} is erased: {len(artefacts)} artefacts in the copy")
    _print(notice["asks"])
    _print("verified")
    return 0


def tenant(arguments: argparse.Namespace) -> int:
    """Show the tenants of the configuration."""

    def run(settings: Settings, recordings: Recordings) -> int:
        _print(f"ledger fingerprint: {recordings.fingerprint()}")
        for entry in settings.tenants:
            trunks = ", ".join(t.name for t in settings.trunks if entry.name in (t.tenant, *t.dialled.values()))
            _print(f"{entry.name}  id {recordings.tenant(entry.name)}  trunks: {trunks or 'none'}")
            if (closing := recordings.closings.of(recordings.tenant(entry.name))) is not None:
                for line in (f"{closing.state.value}", *told(closing, entry.zone)):
                    _print(f"    {line}")
            for name, value in sorted(entry.model_dump(mode="json").items()):
                if name != "name":
                    _print(f"    {name} = {json.dumps(value)}")
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
            _print(tokens.create(of, Role(arguments.role), arguments.label))
        elif arguments.action == "list":
            for row in tokens.list(of):
                _print(f"{row.id}  {row.role}  {'revoked' if row.revoked else 'valid'}  {row.label}")
        else:
            tokens.revoke(of, arguments.id or "")
            _print(f"revoked {arguments.id}")
        return 0

    return administering(arguments, run)


def config(arguments: argparse.Namespace) -> int:
    """Show every setting in effect and its origin; or only say whether they can be used."""
    try:
        loaded = from_environment(arguments.config, {"data": arguments.data})
    except ConfigError as error:
        return complain(error)
    if arguments.check:
        _print("the configuration can be used")
        return 0
    rows = describe(loaded)
    width = max(len(key) for key, _, _ in rows)
    for key, value, origin in rows:
        _print(f"{key:<{width}}  {value}  # {origin}")
    return 0


def shown(utc: str, zone: str) -> str:
    """A kept time (UTC) in a time zone, with its distance from UTC; as it is where the zone is not known here."""
    try:
        local = datetime.fromisoformat(utc).astimezone(zoneinfo.ZoneInfo(zone))
    except (ValueError, OSError, KeyError):
        return utc
    return local.isoformat(sep=" ", timespec="milliseconds")


def _asking(run: Callable[[], None]) -> int:
    try:
        run()
    except (ApiError, OSError) as error:
        return _fail(str(error))
    return 0


def _fail(text: str) -> int:
    sys.stderr.write(f"callvault: {text}\n")
    return 1


def _print(text: Any) -> None:
    sys.stdout.write(f"{text}\n")
