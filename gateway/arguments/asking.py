"""Commands that ask a running server about calls, and erase them."""

from __future__ import annotations

import argparse
from pathlib import Path

from gateway.arguments.common import Commands, api, command, configuration

SUITE = "AES_CM_128_HMAC_SHA1_80"  # the one that every SRTP peer has (RFC 4568 §6.2.1)
FORMS = ("signed", "vcon")
FORM_HELP = "the certificate as it is signed, or of one call as a vCon that carries it (default: %(default)s)"


def client_commands(commands: Commands[argparse.ArgumentParser]) -> None:
    call = command(
        commands, "call", "gateway.commands.short:call", "place a test call: WAV files in, one track for each"
    )
    call.add_argument("target", help="where to, as ADDRESS:PORT (SIP over UDP, or over TLS with --tls)")
    call.add_argument("wav", nargs="+", type=Path, help="16-bit PCM WAV; two files make a call with two m-lines")
    call.add_argument("--from", dest="from_user", default="callvault-test", help="user part of From")
    call.add_argument("--to", dest="to_user", default="recorder", help="user part of the request URI")
    call.add_argument("--codec", choices=("PCMA", "PCMU", "G722", "OPUS"), default="PCMA")
    call.add_argument("--ptime", type=int, choices=(10, 20, 30, 40, 60), default=20, help="packet time in ms")
    call.add_argument("--tls", action="store_true", help="SIP over TLS; the target's certificate must name its address")
    call.add_argument("--ca", type=Path, metavar="FILE", help="who vouches for the target; default: the system's")
    call.add_argument("--certificate", type=Path, metavar="FILE", help="ours, for a trunk that is known by its name")
    call.add_argument("--key", type=Path, metavar="FILE", help="of that certificate")
    call.add_argument(
        "--srtp", nargs="?", const=SUITE, default="", metavar="SUITE", help=f"encrypt the media (default: {SUITE})"
    )
    call.add_argument("--mux", action="store_true", help="offer one port for audio and reports (RFC 5761)")
    calls = command(commands, "calls", "gateway.commands.asking:calls", "list a tenant's calls")
    calls.add_argument("--limit", type=int, default=50)
    calls.add_argument(
        "--find",
        metavar="BY:VALUE",
        help="only those with this number, uri, call_id, session_id, ucid, guid, siprec id or header",
    )
    calls.add_argument("--utc", action="store_true", help="show times as they are kept, not in the tenant's time zone")
    api(calls)
    get = command(
        commands, "get", "gateway.commands.asking:get", "download a call's audio, transcript, detail or manifest"
    )
    get.add_argument("call")
    get.add_argument("what", choices=("audio", "transcript", "detail", "manifest", "certificate"))
    get.add_argument("--form", choices=FORMS, default=FORMS[0], help=FORM_HELP)
    get.add_argument("--track", type=int, help="audio of one track only")
    get.add_argument("--output", type=Path, metavar="FILE", help="default: standard output")
    api(get)
    explain = command(
        commands,
        "explain",
        "gateway.commands.short:explain",
        "why each part of a call is kept, until when, by which rule",
    )
    explain.add_argument("call")
    explain.add_argument("--json", action="store_true", help="the same as JSON")
    api(explain)
    statistics = command(
        commands,
        "statistics",
        "gateway.commands.asking:statistics",
        "a day's or month's anonymous statistics; without one, the periods that there are",
    )
    statistics.add_argument("period", nargs="?", help="YYYY-MM-DD or YYYY-MM, UTC")
    api(statistics)
    ratings = command(
        commands, "ratings", "gateway.commands.short:ratings", "totals of a month's calls for billing, erased ones too"
    )
    ratings.add_argument("month", help="YYYY-MM, UTC")
    ratings.add_argument("--json", action="store_true", help="the same as JSON")
    ratings.add_argument(
        "--of",
        metavar="ID",
        help="of a tenant that has left, whose name is forgotten: by its id, from the store itself",
    )
    configuration(ratings)
    api(ratings)
    erase_command(commands)
    text = "check a certificate of erasure, a report of prove-erased, or a request to delete a copy, offline"
    verify = command(commands, "verify", "gateway.commands.verifying:verify", text)
    verify.add_argument("certificate", type=Path)
    verify.add_argument("--fingerprint", required=True, help="the installation's, obtained by a way you trust")
    verify.add_argument(
        "--keys", type=Path, metavar="FILE", help="changes of the ledger's key since then, from `callvault ledger keys`"
    )


def erase_command(commands: Commands[argparse.ArgumentParser]) -> None:
    erase = command(
        commands,
        "erase",
        "gateway.commands.erase:command",
        "destroy the keys of a call, a part of it, a person's calls or a purpose; prints the certificate",
    )
    erase.add_argument("call", nargs="?")
    erase.add_argument("--kind", action="append", help="only this kind of the call, as audio; may be repeated")
    erase.add_argument("--participant", metavar="ID", help="only this participant of the call, and what speaks of all")
    erase.add_argument("--person", metavar="BY:VALUE", help="all calls of number:+31… or uri:sip:…, shown first")
    erase.add_argument("--only", nargs="+", metavar="CALL", help="with --person: those of the calls that are meant")
    erase.add_argument("--all", action="store_true", help="with --person: all of them, though the number looks shared")
    erase.add_argument("--purpose", help="what is kept for this purpose only, of all calls")
    erase.add_argument("--ground", default="Art. 17(1) GDPR", help="legal ground; stands in the certificate")
    erase.add_argument("--form", choices=FORMS, default=FORMS[0], help=FORM_HELP)
    erase.add_argument("--yes", action="store_true", help="do not ask")
    api(erase)


def keeping_commands(commands: Commands[argparse.ArgumentParser]) -> None:
    hold = command(
        commands,
        "hold",
        "gateway.commands.holds:hold",
        "keep calls from being destroyed; list what is held; release it",
    )
    hold.add_argument("action", choices=("place", "list", "release"))
    hold.add_argument("ids", nargs="*", help="place: the calls; release: the hold")
    hold.add_argument("--ground", help="why; stands in certificates for ever")
    hold.add_argument("--all", action="store_true", help="list: released ones, too")
    hold.add_argument("--yes", action="store_true", help="do not ask")
    api(hold)
    restrict = command(
        commands, "restrict", "gateway.commands.holds:restrict", "keep a call and let nobody hear or read it (Art. 18)"
    )
    restrict.add_argument("call", nargs="?", help="default: list those that are restricted")
    restrict.add_argument("--lift", action="store_true", help="end the restriction")
    restrict.add_argument("--ground", default="Art. 18(1) GDPR", help="why; kept for ever")
    api(restrict)
    consent = command(
        commands,
        "consent",
        "gateway.commands.holds:consent",
        "list, record or withdraw consents of a call's participants",
    )
    consent.add_argument("action", choices=("list", "give", "withdraw"))
    consent.add_argument("call")
    consent.add_argument("id", nargs="?", help="withdraw: which consent")
    consent.add_argument("--purpose", help="give: what for")
    consent.add_argument("--text", help="give: the version of the text that was consented to")
    consent.add_argument("--participant", metavar="ID", help="give: whose; default: the call's as a whole")
    consent.add_argument("--at", metavar="TIME", help="when, as 2026-03-01T12:00:00Z; default: now")
    consent.add_argument("--how", default="", help="in words; sealed")
    consent.add_argument("--yes", action="store_true", help="do not ask")
    api(consent)
