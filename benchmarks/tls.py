"""SIP over TLS for a benchmark: a certificate of its own, the settings that use it, and what callers trust."""

from __future__ import annotations

import ipaddress
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from benchmarks.installation import ADDRESS, free_port

VALID = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Secure:
    """Where callvault is reached over TLS, by which settings, and the context of those who call it there."""

    address: tuple[str, int]
    overrides: dict[str, object]
    context: ssl.SSLContext


def secure(folder: Path) -> Secure:
    """A certificate that vouches for itself, on P-256, in `folder`."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "callvault benchmark")])
    now = datetime.now(UTC)
    alternative = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(ADDRESS))])
    builder = x509.CertificateBuilder(
        name, name, key.public_key(), x509.random_serial_number(), now - VALID, now + VALID
    )
    signed = builder.add_extension(alternative, critical=False).sign(key, hashes.SHA256())
    certificate, secret = folder / "sip.pem", folder / "sip.key"
    certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    secret.touch(mode=0o600)
    form = serialization.PrivateFormat.PKCS8
    secret.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    port = free_port()
    settings: dict[str, object] = {"SIP__TRANSPORTS": '["udp", "tcp", "tls"]', "SIP__TLS_PORT": port}
    settings |= {"SIP__TLS__CERTIFICATE": certificate, "SIP__TLS__KEY": secret}
    return Secure((ADDRESS, port), settings, ssl.create_default_context(cafile=str(certificate)))
