"""A certificate authority for tests: keys on P-256, files as an operator has them."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

DAY = timedelta(days=1)


class Authority:
    """Its own certificate is `ca`; those that it makes lie beside it."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        self.ca = folder / f"{name}.pem"
        constraints = x509.BasicConstraints(ca=True, path_length=0)
        made = _builder(self._name, self._name, self._key.public_key(), datetime.now(UTC) + 30 * DAY)
        signed = made.add_extension(constraints, critical=True).sign(self._key, hashes.SHA256())
        self.ca.write_bytes(signed.public_bytes(serialization.Encoding.PEM))

    def issue(
        self, name: str, *, dns: Sequence[str] = (), uris: Sequence[str] = (), ip: str = "", days: float = 30
    ) -> tuple[Path, Path]:
        """Certificate and key files; without any names in subjectAltName, there is none."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        made = _builder(subject, self._name, key.public_key(), datetime.now(UTC) + days * DAY)
        names: list[x509.GeneralName] = [x509.DNSName(value) for value in dns]
        names += [x509.UniformResourceIdentifier(value) for value in uris]
        names += [x509.IPAddress(ipaddress.ip_address(ip))] if ip else []
        if names:
            made = made.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate, secret = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        certificate.write_bytes(made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        secret.touch(mode=0o600)
        secret.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return certificate, secret

    def settings(self) -> dict[str, str]:
        """`sip.tls` with a certificate for 127.0.0.1, and ourselves to vouch for the trunks'."""
        certificate, key = self.issue("server", ip="127.0.0.1")
        return {"certificate": str(certificate), "key": str(key), "client_ca": str(self.ca)}


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, until: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(until - 60 * DAY)
        .not_valid_after(until)
    )
