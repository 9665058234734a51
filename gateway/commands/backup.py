"""`callvault backup`, `restore` and `ledger`: what is done about a store's past, and shown of it."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping

from gateway.commands.store import administering, complain
from gateway.config import Settings, from_environment
from gateway.errors import ConfigError
from storage.backup.restore import Place, Restored, heads_of, restore
from storage.errors import StoreError, Unavailable
from storage.recordings import Recordings
from storage.spoollock import has_writer


def back_up(arguments: argparse.Namespace) -> int:
    """Make a new version of a backup, while a server runs or not. Exit 1 if it could not be made."""

    def run(_settings: Settings, recordings: Recordings) -> int:
        began = time.monotonic()
        taken = recordings.safekeeping.back_up(
            arguments.folder.absolute(), with_objects=True if arguments.objects else None, tell=_progress
        )
        manifest, objects = taken.version.manifest, taken.objects
        _say(f"{taken.version.folder}: ledger up to entry {manifest.seq}, in {time.monotonic() - began:.1f} s")
        if manifest.objects_kept:
            mib = objects.copied_bytes / (1 << 20)
            _say(f"objects: {objects.named} named, {objects.copied} new ({mib:.1f} MiB), {objects.missing} missing")
        else:
            _say("objects: listed with their hashes, not copied (--objects copies them)")
        if taken.forgotten or taken.forgotten_batches or taken.pruned:
            _say(
                f"swept: {taken.forgotten} objects and {taken.forgotten_batches} batches of no version any more,"
                f" {taken.pruned} batches of the witness"
            )
        if objects.missing:
            _say("missing objects were erased meanwhile, or are lost: `callvault reconcile` tells")
        return 0

    return administering(arguments, run, node="backup")


def bring_back(arguments: argparse.Namespace) -> int:
    """Make a store of a backup and the witness, in an empty folder. Exit 1, and no store, if anything is wrong."""
    try:
        settings = from_environment(arguments.config, {"data": arguments.data}).settings
        heads = [head for path in arguments.head for head in heads_of(path.read_bytes())]
        place = Place(
            settings.data_folder,
            settings.keys_url,
            settings.objects_url,
            settings.witness_url,
            settings.store.catalogue,
            settings.tenant_keys,
            time.time,
            tell=_progress,
        )
        restored = restore(arguments.folder.absolute(), place, heads)
    except ConfigError as error:
        return complain(error)
    except (StoreError, OSError) as error:
        sys.stderr.write(f"callvault: {error}\n")
        return 1
    _report(restored)
    return 0


def ledger(arguments: argparse.Namespace) -> int:
    """Show the ledger's head or its changes of key, or change its key."""

    def run(_settings: Settings, recordings: Recordings) -> int:
        if arguments.action == "change-key":
            if has_writer(recordings.spool_folder):
                raise Unavailable("a server runs, and signs with the old key: stop it first")
            _say(f"the ledger's new fingerprint is {recordings.safekeeping.change_ledger_key()}")
            return 0
        keeping = recordings.safekeeping
        found = keeping.ledger_head() if arguments.action == "head" else keeping.ledger_key_changes()
        _say(json.dumps(found, indent=2))
        return 0

    return administering(arguments, run, node="ledger")


def _report(restored: Restored) -> None:
    _say(f"backup of {restored.made_at}, ledger entry {restored.head_of_backup}; {restored.replayed} entries since")
    _say(f"calls whole: {restored.calls_whole} ({restored.artefacts} artefacts, every key opened once)")
    _say(
        f"calls erased since the backup: {restored.calls_erased};"
        f" artefacts whose time is over: {restored.artefacts_ended}"
    )
    _say(
        "recorded after the backup and lost: no row tells of them; the ledger knows of"
        f" {restored.calls_lost} erased calls and {restored.artefacts_lost} artefacts among them"
    )
    _say(f"done again: {_counted(restored.done_again, _DONE_AGAIN)}")
    _say(f"put back from the witness: {_counted(restored.put_back, _PUT_BACK)}")
    if restored.completed:
        _say(f"holds and consents whose keys the witness had not got, wrapped anew: {restored.completed}")
    _say(f"objects put back: {restored.objects_put}; nowhere: {restored.objects_missing}")
    _say("erasures that were under way are finished by the next start")


_DONE_AGAIN = {
    "intent": "erasures",
    "done": "certificates",
    "keys": "batches of rows",
    "revocation": "tokens revoked",
    "consent": "consents",
    "withdrawal": "withdrawals",
    "hold": "holds",
    "restriction": "restrictions",
    "unrestriction": "restrictions lifted",
    "policy": "policies",
    "rotated": "rotations",
}
"""Entries of the ledger in words; others by their type."""

_PUT_BACK = {
    "calls": "dossiers",
    "documents": "sealed documents",
    "egress": "calls in copies that left",
    "statistics": "published periods",
    "artefact_keys": "wrapped keys",
}
"""Rows that the witness had in words; what is only between them is not told."""


def _counted(counts: Mapping[str, int], words: Mapping[str, str]) -> str:
    """Counts in words; `_PUT_BACK` names all that is told of rows."""
    told = [
        f"{counts[name]} {words.get(name, name)}"
        for name in [*words, *(counts.keys() - words.keys() if words is _DONE_AGAIN else ())]
        if counts.get(name)
    ]
    return ", ".join(told) or "nothing"


def _progress(line: str) -> None:
    """On a terminal only: a log of every percent helps nobody."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{line}")
        sys.stderr.flush()


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
