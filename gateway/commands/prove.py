"""`callvault prove-erased`: what an officer shows, and what a court can verify, of something that was erased."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from gateway.commands.store import complain
from gateway.config import Settings, from_environment
from gateway.errors import ConfigError
from storage.errors import Malformed, StoreError
from storage.ledger import CERTIFICATE_BYTES_MAX, parse_certificate, verify_certificate
from storage.model import is_id
from storage.probe import Asked, Proof, Today, prove
from storage.records import Identifier
from storage.signing import fingerprint_of

_TELL_S = 0.2


def prove_erased(arguments: argparse.Namespace) -> int:
    """Try to open what was erased from everything of before and today. Exit 0 only if nothing of it opens."""
    try:
        settings = from_environment(arguments.config, {"data": arguments.data}).settings
        proof = prove(
            _asked(arguments),
            [path.absolute() for path in arguments.backup],
            _today(settings),
            identifiers=[_identifier(text) for text in arguments.identifier],
            databases=arguments.database,
            files=[path.absolute() for path in (*arguments.pgdata, *arguments.files)],
            objects=arguments.objects,
            tell=_progress(),
        )
        _write(proof, arguments.json)
    except ConfigError as error:
        return complain(error)
    except (StoreError, OSError) as error:
        sys.stderr.write(f"callvault: {error}\n")
        return 1
    for line in proof.lines():
        sys.stdout.write(line + "\n")
    return 0 if proof.holds else 1


def _asked(arguments: argparse.Namespace) -> Asked:
    """One of a call, a tenant, an erasure; Malformed."""
    named = [name for name in ("call", "tenant", "erasure") if getattr(arguments, name)]
    if len(named) != 1:
        raise Malformed("name one thing: a CALL, --tenant NAME, or --erasure ID or CERTIFICATE")
    if arguments.erasure and not is_id(arguments.erasure):
        with Path(arguments.erasure).open("rb") as file:
            certificate = parse_certificate(file.read(CERTIFICATE_BYTES_MAX + 1))
        verify_certificate(certificate, fingerprint_of(str(certificate.get("public_key"))))
        return Asked(certificate=certificate)
    return Asked(call=arguments.call or "", tenant=arguments.tenant, erasure=arguments.erasure)


def _today(settings: Settings) -> Today:
    return Today(
        settings.data_folder,
        settings.keys_url,
        settings.objects_url,
        settings.witness_url,
        settings.store.catalogue,
        tuple(settings.tenant_keys.values()),
    )


def _identifier(text: str) -> Identifier:
    type_, colon, value = text.partition(":")
    if not (type_ and colon and value):
        raise Malformed("an identifier is written TYPE:VALUE, as number:+31201234567")
    return Identifier(type_, value)


def _write(proof: Proof, path: Path | None) -> None:
    if path is not None:
        path.write_text(json.dumps(proof.report, indent=2) + "\n")


def _progress() -> Callable[[str], None]:
    """On a terminal only, a few times a second."""
    last = 0.0

    def tell(line: str) -> None:
        nonlocal last
        if time.monotonic() - last >= _TELL_S:
            last = time.monotonic()
            sys.stderr.write(f"\r\x1b[K{line}")
            sys.stderr.flush()

    return tell if sys.stderr.isatty() else lambda _line: None
