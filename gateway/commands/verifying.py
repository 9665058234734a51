"""`callvault verify`: needs no server, no store and no configuration."""

from __future__ import annotations

import argparse

from gateway.commands.asking import fail, say
from storage.chain import parse_key_changes
from storage.errors import StoreError
from storage.evidence import EVIDENCE_BYTES_MAX, verify_file


def verify(arguments: argparse.Namespace) -> int:
    """Check a certificate, a report of the probe, or a request to delete, with nothing but itself and a fingerprint."""
    try:
        with arguments.certificate.open("rb") as file:
            text = file.read(EVIDENCE_BYTES_MAX + 1)
        changes = parse_key_changes(arguments.keys.read_bytes()) if arguments.keys else ()
        findings = verify_file(text, arguments.fingerprint, changes)
    except (OSError, StoreError) as error:
        return fail(f"not verified: {error}")
    for finding in findings:
        say(finding)
    say("verified")
    return 0
