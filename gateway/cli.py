"""The `callvault` command: its arguments, and which function carries each command out."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

EPILOG = """\
exit status: 0 done, 1 the answer is no or the check failed, 2 the command or the configuration cannot be used
"""


SUITE = "AES_CM_128_HMAC_SHA1_80"  # the one that every SRTP peer has (RFC 4568 §6.2.1)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit status."""
    arguments = parser().parse_args(argv)
    module, _, function = arguments.run.partition(":")
    status: int = getattr(importlib.import_module(module), function)(arguments)
    return status


def parser() -> argparse.ArgumentParser:
    """The whole command line; `--help` of each command explains it."""
    top = argparse.ArgumentParser(
        prog="callvault",
        description="Real-time call recording, sealed per tenant; erased by destroying keys.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"callvault {version('callvault')}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _server_commands(commands)
    _client_commands(commands)
    _rights_commands(commands)
    _operator_commands(commands)
    _admin_commands(commands)
    _policy_commands(commands)
    _keeping_commands(commands)
    return top


def _server_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    serve = _command(commands, "serve", "gateway.main:command", "take calls: SIP, media, sealing, API, all in one")
    serve.add_argument(
        "--media-workers", type=int, metavar="N", help="processes that receive media (media.workers), one core each"
    )
    _configuration(serve)
    worker = _command(
        commands, "worker", "gateway.processes.worker:command", "transcribe recordings, beside a running serve"
    )
    _configuration(worker)
    demo = _command(
        commands,
        "demo",
        "gateway.commands.demo:command",
        "start everything in a fresh folder and show a call's whole life",
    )
    demo.add_argument("--once", action="store_true", help="end after the steps; exit 0 only if every one was verified")
    demo.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    demo.add_argument("--quick", action="store_true", help="a short call, without transcription")


def _client_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    call = _command(
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
    calls = _command(commands, "calls", "gateway.commands.short:calls", "list a tenant's calls")
    calls.add_argument("--limit", type=int, default=50)
    calls.add_argument(
        "--find",
        metavar="BY:VALUE",
        help="only those with this number, uri, call_id, session_id, ucid, guid, siprec id or header",
    )
    calls.add_argument("--utc", action="store_true", help="show times as they are kept, not in the tenant's time zone")
    _api(calls)
    get = _command(
        commands, "get", "gateway.commands.short:get", "download a call's audio, transcript, detail or manifest"
    )
    get.add_argument("call")
    get.add_argument("what", choices=("audio", "transcript", "detail", "manifest", "certificate"))
    get.add_argument("--track", type=int, help="audio of one track only")
    get.add_argument("--output", type=Path, metavar="FILE", help="default: standard output")
    _api(get)
    explain = _command(
        commands,
        "explain",
        "gateway.commands.short:explain",
        "why each part of a call is kept, until when, by which rule",
    )
    explain.add_argument("call")
    explain.add_argument("--json", action="store_true", help="the same as JSON")
    _api(explain)
    statistics = _command(
        commands,
        "statistics",
        "gateway.commands.short:statistics",
        "a day's or month's anonymous statistics; without one, the periods that there are",
    )
    statistics.add_argument("period", nargs="?", help="YYYY-MM-DD or YYYY-MM, UTC")
    _api(statistics)
    ratings = _command(
        commands, "ratings", "gateway.commands.short:ratings", "totals of a month's calls for billing, erased ones too"
    )
    ratings.add_argument("month", help="YYYY-MM, UTC")
    ratings.add_argument("--json", action="store_true", help="the same as JSON")
    _api(ratings)
    _erase_command(commands)
    verify = _command(commands, "verify", "gateway.commands.short:verify", "check a certificate of erasure, offline")
    verify.add_argument("certificate", type=Path)
    verify.add_argument("--fingerprint", required=True, help="the installation's, obtained by a way you trust")
    verify.add_argument(
        "--keys", type=Path, metavar="FILE", help="changes of the ledger's key since then, from `callvault ledger keys`"
    )


def _rights_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    requests = _command(
        commands,
        "requests",
        "gateway.commands.requests:command",
        "requests of people who were recorded: enter, identify, match, decide, answer, export",
    )
    acts = "list show open identify candidates match decide extend refuse withdraw answer export"
    requests.add_argument("action", nargs="?", choices=acts.split(), default="list")
    requests.add_argument("id", nargs="?", default="", help="which request")
    rights = "access rectification erasure restriction portability objection withdrawal"
    requests.add_argument("--right", choices=rights.split(), help="open: what is asked for")
    requests.add_argument("--received", metavar="DAY", help="open: YYYY-MM-DD, when it came, in the tenant's zone")
    requests.add_argument("--subject", help="open: who asks; sealed")
    requests.add_argument("--how", help="identify: how it was checked who asks")
    requests.add_argument("--number", help="candidates: whose calls are looked for")
    requests.add_argument("--match", action="append", metavar="CALL/WHO", help="match: a call, and who in it")
    requests.add_argument("--words", choices=("original", "redacted"), help="decide: which transcript goes out")
    requests.add_argument("--reason", help="decide, extend, answer: why")
    requests.add_argument("--to", help="decide: who gets it, if not who asks")
    requests.add_argument("--recipient", dest="key", metavar="KEY", help="decide: public key that it is sealed for")
    requests.add_argument("--destination", help="decide: one that the configuration authorises")
    requests.add_argument("--ground", help="refuse: on what ground")
    requests.add_argument("--statement", help="answer: what is right, for rectification")
    requests.add_argument("--upheld", action="store_true", help="answer: the objection is right")
    requests.add_argument("--rejected", action="store_true", help="answer: it is not")
    requests.add_argument("--reference", action="append", metavar="ID", help="answer: what carried it out")
    requests.add_argument("--output", type=Path, metavar="FILE", help="export: where the copy goes")
    _api(requests)
    copies = _command(
        commands, "copies", "gateway.commands.requests:copies", "copies that left, and notices to delete them"
    )
    copies.add_argument("action", nargs="?", choices=("list", "notice", "told"), default="list")
    copies.add_argument("id", nargs="?", default="", help="which copy")
    _api(copies)
    key = _command(
        commands, "export-key", "gateway.commands.exports:make_key", "make a key that exports are sealed for"
    )
    key.add_argument("file", type=Path, help="where the private key goes; the public one is printed")
    opened = _command(
        commands, "open-export", "gateway.commands.exports:open_export", "open a sealed export, and check it, offline"
    )
    opened.add_argument("file", type=Path)
    opened.add_argument("--key", type=Path, metavar="FILE", help="the private key; without it the file is not sealed")
    opened.add_argument("--output", type=Path, metavar="FILE", help="where the opened ZIP goes")
    opened.add_argument("--fingerprint", help="the installation's: checks every file against the signed index")


def _operator_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    orders = _command(
        commands,
        "disclosures",
        "gateway.commands.disclosures:command",
        "disclosure orders of authorities, for tokens of role operator: enter, approve by another token, export",
    )
    acts = "list show enter approve reject revoke export"
    orders.add_argument("action", nargs="?", choices=acts.split(), default="list")
    orders.add_argument("id", nargs="?", default="", help="which order")
    orders.add_argument("--report", type=int, metavar="YEAR", help="the transparency report: numbers only")
    orders.add_argument("--tenant", help="enter: whose calls")
    orders.add_argument("--authority", help="enter: who orders it")
    orders.add_argument("--ground", help="enter: by which law")
    orders.add_argument("--call", action="append", metavar="CALL[/WHO]", help="enter: a call, or one person's share")
    orders.add_argument("--number", help="enter: whose calls instead; that number's own share of each")
    orders.add_argument("--first", metavar="TIME", help="enter: calls from then on, as 2026-03-01T00:00:00Z")
    orders.add_argument("--last", metavar="TIME", help="enter: and before then")
    orders.add_argument("--until", metavar="DAY", help="enter: last day on which it is carried out")
    parts = "audio transcript facts keys identity detail annotations manifest"
    orders.add_argument("--part", action="append", choices=parts.split(), help="enter: what is ordered")
    orders.add_argument("--recipient", dest="key", metavar="KEY", help="enter: public key that it is sealed to")
    orders.add_argument("--gagged", action="store_true", help="enter: the tenant is not to learn of it")
    orders.add_argument("--output", type=Path, metavar="FILE", help="export: where it goes")
    _api(orders)


def _erase_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    erase = _command(
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
    erase.add_argument("--yes", action="store_true", help="do not ask")
    _api(erase)


def _admin_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    _tenant_command(commands)
    sweep = _command(
        commands, "sweep", "gateway.commands.sweep:command", "destroy what is over now; serve does it every night"
    )
    sweep.add_argument("--dry-run", action="store_true", help="only say what would be destroyed; exit 1 if anything")
    sweep.add_argument("--json", action="store_true", help="the same as JSON")
    _configuration(sweep)
    token = _command(commands, "token", "gateway.commands.short:token", "create, list or revoke API tokens")
    token.add_argument("action", choices=("create", "list", "revoke"))
    token.add_argument("--tenant", default="default")
    token.add_argument("--role", choices=("agent", "officer", "admin", "whip", "operator"), default="agent")
    token.add_argument("--label", default="", help="what it is for; sealed")
    token.add_argument("--id", help="which token to revoke")
    _configuration(token)
    spool = _command(commands, "spool", "gateway.commands.spool:command", "what waits in the spool, and for what")
    spool.add_argument(
        "action", nargs="?", choices=("show", "replay"), default="show", help="replay: upload it while no server runs"
    )
    spool.add_argument("--json", action="store_true", help="everything, streams by their ids")
    _configuration(spool)
    reconcile = _command(
        commands,
        "reconcile",
        "gateway.commands.reconcile:command",
        "compare call detail, spool, catalogue and objects; exit 1 if anything is unexplained",
    )
    reconcile.add_argument("--json", action="store_true", help="everything, with all ids")
    reconcile.add_argument("--hashes", action="store_true", help="read every object and compare its hash")
    reconcile.add_argument("--sweep", action="store_true", help="delete objects that no slice names; no server may run")
    reconcile.add_argument(
        "--settle",
        type=float,
        default=60.0,  # longer than an object that is being stored can wait for its row
        metavar="S",
        help="seconds after which what is wrong is looked at again",
    )
    _configuration(reconcile)
    inventory = _command(
        commands,
        "inventory",
        "gateway.commands.inventory:command",
        "what is stored of each tenant, every byte under one kind; exit 1 if something is of none",
    )
    inventory.add_argument("--json", action="store_true", help="everything, with all names")
    inventory.add_argument(
        "--settle",
        type=float,
        default=60.0,
        metavar="S",
        help="seconds until what has no kind is looked for again",
    )
    _configuration(inventory)
    residency = _command(
        commands,
        "residency",
        "gateway.commands.residency:command",
        "where each tenant's data is, was, and may be; exit 1 if some of it is where it may not",
    )
    residency.add_argument("--json", action="store_true", help="the same as JSON")
    _configuration(residency)
    _past_commands(commands)
    jobs = _command(
        commands, "jobs", "gateway.commands.jobs:command", "transcription jobs: what waits, and what was given up"
    )
    jobs.add_argument("action", nargs="?", choices=("list", "retry", "drop"), default="list")
    jobs.add_argument("id", nargs="?", default="", help="which to retry or drop, or `all`")
    jobs.add_argument("--json", action="store_true", help="the list as JSON")
    _configuration(jobs)
    config = _command(
        commands,
        "config",
        "gateway.commands.short:config",
        "the effective configuration, and where each value came from",
    )
    config.add_argument("--check", action="store_true", help="only say whether it can be used; exit 2 and why if not")
    _configuration(config)
    password = _command(
        commands,
        "trunk-password",
        "gateway.commands.trunk_password:command",
        "read a trunk's password from standard input, print the hashes for the configuration",
    )
    password.add_argument("user", help="whom the trunk signs its requests as")
    password.add_argument("realm", nargs="?", default="callvault", help="`sip.realm` (default: callvault)")
    doctor = _command(
        commands,
        "doctor",
        "gateway.operations.doctor.command:command",
        "check what callvault needs here, and how to mend it",
    )
    doctor.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    _configuration(doctor)


def _tenant_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "show the configured tenants, their ids and policies; or close one that leaves"
    tenant = _command(commands, "tenant", "gateway.commands.short:tenant", text)
    _configuration(tenant)
    actions = tenant.add_subparsers(title="actions", metavar="ACTION")
    close = _command(
        actions, "close", "gateway.commands.closing:close", "no new calls; after its policy's grace it is destroyed"
    )
    close.add_argument("name")
    close.add_argument("--ground", required=True, help="why, in words that stand in the ledger and name nobody")
    close.add_argument("--at", metavar="DATE", help="as of a later day, YYYY-MM-DD, in the tenant's zone; default: now")
    close.add_argument("--reopen", action="store_true", help="take it back, while the grace lasts")
    _configuration(close, argparse.SUPPRESS)  # what stands before `close` counts


def _policy_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    policy = commands.add_parser(
        "policy",
        help="what tenants promise: show it, check it, compare it, print the page about it",
        description="What tenants promise about their calls: terms by kind and purpose, deadlines, places, rights.",
    )
    actions = policy.add_subparsers(title="actions", metavar="ACTION", required=True)
    show = _command(actions, "show", "gateway.commands.policy:show", "tenants' policies, or the profiles there are")
    show.add_argument("tenant", nargs="?", help="one tenant; default: all")
    show.add_argument("--profiles", action="store_true", help="the profiles that come with callvault, side by side")
    show.add_argument("--json", action="store_true", help="everything, as JSON")
    _configuration(show)
    check = _command(
        actions, "check", "gateway.commands.policy:check", "say everything that is wrong with a profile or with tenants"
    )
    check.add_argument("file", nargs="?", type=Path, help="a profile; default: the configuration's tenants")
    _configuration(check)
    diff = _command(
        actions, "diff", "gateway.commands.policy:diff", "what becomes shorter or longer, and what that ends at once"
    )
    diff.add_argument("before", help="a tenant, a profile, or a profile's path")
    diff.add_argument("after", nargs="?", help="the same; default: from what the store has of a tenant to its settings")
    diff.add_argument("--json", action="store_true", help="as JSON")
    _configuration(diff)
    page = _command(
        actions, "page", "gateway.commands.policy:page", 'the page "what we keep", made of the policy in effect'
    )
    page.add_argument("tenant")
    page.add_argument("--lang", choices=("nl", "de", "en"), default="en")
    page.add_argument("--format", choices=("md", "html"), default="md")
    page.add_argument("--output", type=Path, metavar="FILE", help="default: standard output")
    _configuration(page)


def _keeping_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    hold = _command(
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
    _api(hold)
    restrict = _command(
        commands, "restrict", "gateway.commands.holds:restrict", "keep a call and let nobody hear or read it (Art. 18)"
    )
    restrict.add_argument("call", nargs="?", help="default: list those that are restricted")
    restrict.add_argument("--lift", action="store_true", help="end the restriction")
    restrict.add_argument("--ground", default="Art. 18(1) GDPR", help="why; kept for ever")
    _api(restrict)
    consent = _command(
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
    _api(consent)


def _past_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """What is done about a store's past."""
    backup = _command(
        commands, "backup", "gateway.commands.backup:back_up", "make a new version of a backup, while calls go on"
    )
    backup.add_argument("folder", type=Path, metavar="DIR", help="where all versions are; not on the data's disk")
    backup.add_argument("--objects", action="store_true", help="copy the objects of a bucket, too; files always are")
    _configuration(backup)
    restore = _command(
        commands,
        "restore",
        "gateway.commands.backup:bring_back",
        "make a store of a backup and the witness, in an empty data folder; erased calls do not come back",
    )
    restore.add_argument("folder", type=Path, metavar="DIR", help="of the backup: its newest version; or one version")
    restore.add_argument(
        "--head",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="what somebody kept of the ledger: a head, or a certificate; refused if they have seen more",
    )
    _configuration(restore)
    prove = _command(
        commands,
        "prove-erased",
        "gateway.commands.backup:prove_erased",
        "try to open a call from backups and from today's store, by every path; exit 1 if anything opens",
    )
    prove.add_argument("call")
    prove.add_argument(
        "--backup",
        type=Path,
        action="append",
        required=True,
        metavar="DIR",
        help="from before the erasure: a backup, or a copy of a data folder; may be repeated",
    )
    prove.add_argument(
        "--database",
        action="append",
        default=[],
        metavar="URL",
        help="a catalogue from before that was brought back on a server, as store.catalogue names one",
    )
    prove.add_argument(
        "--identifier",
        action="append",
        default=[],
        metavar="TYPE:VALUE",
        help="of somebody in the call, as number:+31201234567: whether a tag tells it",
    )
    _configuration(prove)
    ledger = _command(
        commands, "ledger", "gateway.commands.backup:ledger", "show the ledger's head or changes of its key; change it"
    )
    ledger.add_argument("action", choices=("head", "keys", "change-key"))
    _configuration(ledger)


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, run: str, text: str
) -> argparse.ArgumentParser:
    made = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    made.set_defaults(run=run)
    return made


def _configuration(command: argparse.ArgumentParser, default: str | None = None) -> None:
    file = "TOML file (or CALLVAULT_CONFIG)"
    command.add_argument("--config", type=Path, metavar="FILE", help=file, default=default)
    folder = "data folder, default ./callvault-data"
    command.add_argument("--data", type=Path, metavar="DIR", help=folder, default=default)


def _api(command: argparse.ArgumentParser) -> None:
    command.add_argument("--url", help="the API's address (or CALLVAULT_URL), default http://127.0.0.1:8080")
    command.add_argument("--token", help="bearer token (or CALLVAULT_TOKEN, which other users cannot see)")


if __name__ == "__main__":
    sys.exit(main())
