"""Certificates of SIP over TLS: ours as files, contexts made of them, and what a peer's certificate says that it is."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509

from gateway.errors import ConfigError
from gateway.sip_settings import SipTls

NAMES_MAX = 64  # of one certificate that are looked at; a carrier's has a dozen
FILE_BYTES_MAX = 1 << 20  # of a certificate's file; a chain has some ten KiB


@dataclass(frozen=True, slots=True)
class Contexts:
    """For connections that we accept, and for those that we open."""

    server: ssl.SSLContext
    client: ssl.SSLContext


def contexts(tls: SipTls) -> Contexts:
    """Read the files. Raises ConfigError that says which of them cannot be used, and why."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False  # peers are dialled by address: `Directory.trusts` says which names are theirs
    problems: list[str] = []
    for context in (server, client):
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET  # what a peer has shown ends with its connection
        problems = _load(context, tls)
    server.num_tickets = 0
    if tls.client_ca is None:
        client.load_default_certs()
    else:
        server.verify_mode = ssl.CERT_OPTIONAL  # who shows none is known by something else, or not at all
    if problems:
        raise ConfigError(problems)
    return Contexts(server, client)


def refuse_expired(tls: SipTls, now: datetime) -> None:
    """Raises ConfigError if our certificate is valid no more: one that replaces another should be better than that."""
    if tls.certificate is not None and (until := expiry(tls.certificate)) <= now:
        raise ConfigError([f"sip.tls.certificate: {tls.certificate} has expired, on {until:%Y-%m-%d}"])


def expiry(path: Path) -> datetime:
    """Until when the file's first certificate is valid, UTC. Raises OSError, ValueError."""
    with path.open("rb") as file:
        return x509.load_pem_x509_certificate(file.read(FILE_BYTES_MAX)).not_valid_after_utc


def names_of(peer: ssl.SSLObject) -> tuple[str, ...]:
    """Whom a peer's certificate, if we believe it, names: SIP domains, hosts and addresses (RFC 5922 §7.1), lower case.

    The subject's common name counts only where there is no subjectAltName.
    """
    told = peer.getpeercert() or {}
    found: list[str] = []
    for kind, value in _pairs(told.get("subjectAltName")):
        if kind in ("DNS", "IP Address"):
            found.append(value.lower())
        elif kind == "URI" and value.lower().startswith("sip:"):
            found.append(value.lower().removeprefix("sip:"))
    if "subjectAltName" not in told:
        subject = told.get("subject")
        for part in subject if isinstance(subject, tuple) else ():
            found += [value.lower() for kind, value in _pairs(part) if kind == "commonName"]
    return tuple(found[:NAMES_MAX])


def _pairs(value: object) -> list[tuple[str, str]]:
    return [pair for pair in value if isinstance(pair, tuple)] if isinstance(value, tuple) else []


def _load(context: ssl.SSLContext, tls: SipTls) -> list[str]:
    problems = []
    if tls.certificate is None or tls.key is None:
        return ["sip.tls: certificate and key are not set"]
    try:
        context.load_cert_chain(tls.certificate, tls.key, password=_no_passphrase)
    except (OSError, ValueError) as error:
        problems.append(f"sip.tls.certificate: {tls.certificate} and {tls.key}: {_reason(error)}")
    if tls.client_ca is not None:
        try:
            context.load_verify_locations(tls.client_ca)
        except (OSError, ValueError) as error:
            problems.append(f"sip.tls.client_ca: {tls.client_ca}: {_reason(error)}")
    return problems


def _no_passphrase() -> str:
    raise ValueError("the key has a passphrase, which nobody could enter at a start")


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "no PEM file of that kind").lower().replace("_", " ")
    return getattr(error, "strerror", None) or str(error)
