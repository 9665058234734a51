"""Commands about the rights of people who were recorded, and about copies."""

from __future__ import annotations

import argparse
from pathlib import Path

from gateway.arguments.common import Commands, api, command


def rights_commands(commands: Commands[argparse.ArgumentParser]) -> None:
    requests = command(
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
    requests.add_argument("--purpose", help="answer to a withdrawal: of consent to this purpose only")
    requests.add_argument("--output", type=Path, metavar="FILE", help="export: where the copy goes")
    api(requests)
    copies = command(
        commands, "copies", "gateway.commands.requests:copies", "copies that left, and notices to delete them"
    )
    copies.add_argument("action", nargs="?", choices=("list", "notice", "told"), default="list")
    copies.add_argument("id", nargs="?", default="", help="which copy")
    api(copies)
    key = command(commands, "export-key", "gateway.commands.exports:make_key", "make a key that exports are sealed for")
    key.add_argument("file", type=Path, help="where the private key goes; the public one is printed")
    opened = command(
        commands, "open-export", "gateway.commands.exports:open_export", "open a sealed export, and check it, offline"
    )
    opened.add_argument("file", type=Path)
    opened.add_argument("--key", type=Path, metavar="FILE", help="the private key; without it the file is not sealed")
    opened.add_argument("--output", type=Path, metavar="FILE", help="where the opened ZIP goes")
    opened.add_argument("--fingerprint", help="the installation's: checks every file against the signed index")


def breach_command(commands: Commands[argparse.ArgumentParser]) -> None:
    """Of the operator."""
    text = "breaches of personal data, for tokens of role operator: open (72 hours run), report, notify, close"
    breach = command(commands, "breach", "gateway.commands.breach:command", text)
    acts = "list open show report describe scope notify tell people close"
    breach.add_argument("action", nargs="?", choices=acts.split(), default="list")
    breach.add_argument("id", nargs="?", default="", help="which case")
    reached = "objects catalogue spool backup witness queue keys tenant-keys machine transcription"
    breach.add_argument(
        *("--reached", "-r"), action="append", choices=reached.split(), help="open, scope: what was within reach"
    )
    breach.add_argument("--tenant", action="append", default=[], help="open, scope: whose data; report: for it alone")
    breach.add_argument("--call", action="append", help="open, scope: only these calls")
    breach.add_argument("--first", metavar="DAY", help="open, scope: only calls from that UTC day on")
    breach.add_argument("--last", metavar="DAY", help="open, scope: and until that one")
    breach.add_argument("--region", help="open, scope: only tenants whose data is or was there, as NL-AMS")
    breach.add_argument("--since", metavar="TIME", help="open, scope: when it began, as 2026-03-01T00:00:00Z")
    breach.add_argument("--aware", metavar="TIME", help="open: since when it is known; default: now")
    breach.add_argument("--what", help="open, describe: what happened; sealed, as are the following")
    breach.add_argument("--causes", help="describe: why")
    breach.add_argument("--effects", help="describe: likely consequences")
    breach.add_argument("--taken", help="describe: what was done about it")
    breach.add_argument("--contact", help="describe: who can be asked")
    breach.add_argument("--to", help="notify: which authority; tell: which tenant; people: who was told")
    breach.add_argument("--reference", help="notify: the authority's")
    breach.add_argument("--reason", help="close: how it ended, or why no risk is likely; notify: why late")
    breach.add_argument("--format", choices=("md", "json"), default="md", help="report")
    breach.add_argument("--output", type=Path, metavar="FILE", help="report: default: standard output")
    api(breach)


def operator_commands(commands: Commands[argparse.ArgumentParser]) -> None:
    orders = command(
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
    api(orders)
    breach_command(commands)
