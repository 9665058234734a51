"""Commands of who runs the program, on its store."""

from __future__ import annotations

import argparse
from pathlib import Path

from gateway.arguments.common import Commands, command, configuration


def admin_commands(commands: Commands[argparse.ArgumentParser]) -> None:
    tenant_command(commands)
    sweep = command(
        commands, "sweep", "gateway.commands.sweep:command", "destroy what is over now; serve does it every night"
    )
    sweep.add_argument("--dry-run", action="store_true", help="only say what would be destroyed; exit 1 if anything")
    sweep.add_argument("--json", action="store_true", help="the same as JSON")
    configuration(sweep)
    token = command(commands, "token", "gateway.commands.short:token", "create, list or revoke API tokens")
    token.add_argument("action", choices=("create", "list", "revoke"))
    token.add_argument("--tenant", default="default")
    token.add_argument("--role", choices=("agent", "officer", "admin", "whip", "operator"), default="agent")
    token.add_argument("--label", default="", help="what it is for; sealed")
    token.add_argument("--id", help="which token to revoke")
    configuration(token)
    spool = command(commands, "spool", "gateway.commands.spool:command", "what waits in the spool, and for what")
    spool.add_argument(
        "action", nargs="?", choices=("show", "replay"), default="show", help="replay: upload it while no server runs"
    )
    spool.add_argument("--json", action="store_true", help="everything, streams by their ids")
    configuration(spool)
    reconcile = command(
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
    configuration(reconcile)
    inventory = command(
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
    configuration(inventory)
    residency = command(
        commands,
        "residency",
        "gateway.commands.residency:command",
        "where each tenant's data is, was, and may be; exit 1 if some of it is where it may not",
    )
    residency.add_argument("--json", action="store_true", help="the same as JSON")
    configuration(residency)
    processor_commands(commands)
    past_commands(commands)
    jobs = command(
        commands, "jobs", "gateway.commands.jobs:command", "transcription jobs: what waits, and what was given up"
    )
    jobs.add_argument("action", nargs="?", choices=("list", "retry", "drop"), default="list")
    jobs.add_argument("id", nargs="?", default="", help="which to retry or drop, or `all`")
    jobs.add_argument("--json", action="store_true", help="the list as JSON")
    configuration(jobs)
    config = command(
        commands,
        "config",
        "gateway.commands.short:config",
        "the effective configuration, and where each value came from",
    )
    config.add_argument("--check", action="store_true", help="only say whether it can be used; exit 2 and why if not")
    configuration(config)
    password = command(
        commands,
        "trunk-password",
        "gateway.commands.trunk_password:command",
        "read a trunk's password from standard input, print the hashes for the configuration",
    )
    password.add_argument("user", help="whom the trunk signs its requests as")
    password.add_argument("realm", nargs="?", default="callvault", help="`sip.realm` (default: callvault)")
    doctor = command(
        commands,
        "doctor",
        "gateway.operations.doctor.command:command",
        "check what callvault needs here, and how to mend it",
    )
    doctor.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    configuration(doctor)


def processor_commands(commands: Commands[argparse.ArgumentParser]) -> None:
    """Who else gets or holds data."""
    text = "sub-processors of each tenant: where, what they get, how long; exit 1 if a tenant was not told of one yet"
    processors = command(commands, "processors", "gateway.commands.processors:processors", text)
    processors.add_argument("--tenant", metavar="NAME", help="one tenant; default: all")
    processors.add_argument("--json", action="store_true", help="the same as JSON")
    configuration(processors)
    text = "where copies may go, by whose authorisation, and which fields; `sample` shows what leaves"
    destinations = command(commands, "destinations", "gateway.commands.processors:destinations", text)
    destinations.add_argument("--tenant", metavar="NAME", help="one tenant; default: all")
    configuration(destinations)
    actions = destinations.add_subparsers(title="actions", metavar="ACTION")
    text = "what a copy has in it, and the request to delete it, shown on a call that never was"
    sample = command(actions, "sample", "gateway.commands.processors:sample", text)
    sample.add_argument("name")
    sample.add_argument("--tenant", metavar="NAME", default=argparse.SUPPRESS, help="where several have one")
    configuration(sample, argparse.SUPPRESS)


def tenant_command(commands: Commands[argparse.ArgumentParser]) -> None:
    text = "show the configured tenants, their ids and policies; close one that leaves; replace its keys"
    tenant = command(commands, "tenant", "gateway.commands.short:tenant", text)
    configuration(tenant)
    actions = tenant.add_subparsers(title="actions", metavar="ACTION")
    close = command(
        actions, "close", "gateway.commands.closing:close", "no new calls; after its policy's grace it is destroyed"
    )
    close.add_argument("name")
    close.add_argument("--ground", required=True, help="why, in words that stand in the ledger and name nobody")
    close.add_argument("--at", metavar="DATE", help="as of a later day, YYYY-MM-DD, in the tenant's zone; default: now")
    close.add_argument("--reopen", action="store_true", help="take it back, while the grace lasts")
    configuration(close, argparse.SUPPRESS)  # what stands before `close` counts
    text = "replace its keys at the provider, and what they wrap; nothing is erased, no recording sealed again"
    rotate = command(actions, "rotate", "gateway.commands.rotating:rotate", text)
    rotate.add_argument("name")
    configuration(rotate, argparse.SUPPRESS)


def policy_commands(commands: Commands[argparse.ArgumentParser]) -> None:
    policy = commands.add_parser(
        "policy",
        help="what tenants promise: show it, check it, compare it, print the page about it",
        description="What tenants promise about their calls: terms by kind and purpose, deadlines, places, rights.",
    )
    actions = policy.add_subparsers(title="actions", metavar="ACTION", required=True)
    show = command(actions, "show", "gateway.commands.policy:show", "tenants' policies, or the profiles there are")
    show.add_argument("tenant", nargs="?", help="one tenant; default: all")
    show.add_argument("--profiles", action="store_true", help="the profiles that come with callvault, side by side")
    show.add_argument("--json", action="store_true", help="everything, as JSON")
    configuration(show)
    check = command(
        actions, "check", "gateway.commands.policy:check", "say everything that is wrong with a profile or with tenants"
    )
    check.add_argument("file", nargs="?", type=Path, help="a profile; default: the configuration's tenants")
    configuration(check)
    diff = command(
        actions, "diff", "gateway.commands.policy:diff", "what becomes shorter or longer, and what that ends at once"
    )
    diff.add_argument("before", help="a tenant, a profile, or a profile's path")
    diff.add_argument("after", nargs="?", help="the same; default: from what the store has of a tenant to its settings")
    diff.add_argument("--json", action="store_true", help="as JSON")
    configuration(diff)
    page = command(
        actions, "page", "gateway.commands.policy:page", 'the page "what we keep", made of the policy in effect'
    )
    page.add_argument("tenant")
    page.add_argument("--lang", choices=("nl", "de", "en"), default="en")
    page.add_argument("--format", choices=("md", "html"), default="md")
    page.add_argument("--output", type=Path, metavar="FILE", help="default: standard output")
    configuration(page)
    text = "the record of processing (Art. 30 GDPR) and the measures (Art. 32), made of the settings in effect"
    record = command(actions, "record", "gateway.commands.policy:record", text)
    record.add_argument("tenant")
    record.add_argument("--lang", choices=("nl", "de", "en"), default="en")
    record.add_argument("--format", choices=("md", "html", "json"), default="md")
    record.add_argument("--output", type=Path, metavar="FILE", help="default: standard output")
    configuration(record)


def past_commands(commands: Commands[argparse.ArgumentParser]) -> None:
    """What is done about a store's past."""
    backup = command(
        commands, "backup", "gateway.commands.backup:back_up", "make a new version of a backup, while calls go on"
    )
    backup.add_argument("folder", type=Path, metavar="DIR", help="where all versions are; not on the data's disk")
    backup.add_argument("--objects", action="store_true", help="copy the objects of a bucket, too; files always are")
    configuration(backup)
    restore = command(
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
    configuration(restore)
    _prove_command(commands)
    ledger = command(
        commands, "ledger", "gateway.commands.backup:ledger", "show the ledger's head or changes of its key; change it"
    )
    ledger.add_argument("action", choices=("head", "keys", "change-key"))
    configuration(ledger)


def _prove_command(commands: Commands[argparse.ArgumentParser]) -> None:
    prove = command(
        commands,
        "prove-erased",
        "gateway.commands.prove:prove_erased",
        "try to open what was erased from backups and from today's store, by every path; exit 1 if anything opens",
    )
    prove.add_argument("call", nargs="?")
    prove.add_argument("--tenant", default="", metavar="NAME", help="all that a tenant that was closed had; or its id")
    prove.add_argument(
        "--erasure",
        default="",
        metavar="ID",
        help="what one erasure destroyed (a part of a call, a purpose, an expiry, a hold's release, …), by its id or by"
        " the file of its certificate",
    )
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
    prove.add_argument(
        "--pgdata",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="files of a PostgreSQL server, or its archived log, from before or of today: pages, dead rows and log are"
        " searched for key rows",
    )
    prove.add_argument(
        "--files",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="other files that may hold something, as logs, dumps, a queue's folder: searched in the same way, and for"
        " the identifiers in clear",
    )
    prove.add_argument(
        "--objects", action="append", default=[], metavar="URL", help="a further object store, such as a replica"
    )
    prove.add_argument(
        "--json", type=Path, metavar="FILE", help="write the signed report; `callvault verify` checks it"
    )
    configuration(prove)
