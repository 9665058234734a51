"""How the configuration names a trunk's peers where it gives no network: by host, by service, by registrar.

A name stands for the addresses that DNS gives for it, each of them alone; one that has no answer stands for none.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Literal

from gateway.sip.errors import Malformed
from gateway.sip.flow import Transport
from gateway.sip.grammar import DEFAULT_PORT, SECURE_PORT, Uri

NAME_CHARACTERS_MAX = 253  # RFC 1035 §2.3.4, as text

_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?\Z")
_SERVICE = re.compile(rf"_sips?\._(?:udp|tcp|tls)\.{_LABEL}(?:\.{_LABEL})*\.?\Z")
_PREFIXES: dict[Transport, str] = {"udp": "_sip._udp.", "tcp": "_sip._tcp.", "tls": "_sips._tcp."}  # RFC 3263 §4.1


@dataclass(frozen=True, slots=True)
class PeerName:
    """What DNS is asked: a `host` for its addresses, a service (`srv`) for its hosts' addresses and ports, or for those
    where it exists and else the host that it is said of (`either`)."""

    kind: Literal["host", "srv", "either"]
    name: str

    @property
    def host(self) -> str:
        """The name without the service."""
        return self.name if self.kind == "host" else self.name.split(".", 2)[2]


def parse_source(text: str) -> PeerName | None:
    """`host:NAME` or `srv:_sip._udp.NAME`; None for anything else. ValueError for one of these that is no name."""
    kind, _, name = text.partition(":")
    if kind not in ("host", "srv"):
        return None
    if len(name) > NAME_CHARACTERS_MAX or not (_SERVICE if kind == "srv" else _NAME).match(name):
        raise ValueError(f"{text!r}: say host:NAME, or srv:_sip._udp.NAME (_tcp, _sips._tcp)")
    if kind == "host" and not any(letter.isalpha() for letter in name):
        raise ValueError(f"{text!r}: an address is written as a network, without host:")
    return PeerName("host" if kind == "host" else "srv", name.rstrip(".").lower())


@dataclass(frozen=True, slots=True)
class RegistrarAddress:
    """Where a registrar is, and by which transport it is asked; `port` 0: what DNS says, or the usual one."""

    host: str
    port: int
    transport: Transport

    @classmethod
    def parse(cls, text: str) -> RegistrarAddress:
        """`sip:HOST[:PORT][;transport=tcp]`, `tls` for encryption. ValueError for anything else."""
        try:
            uri = Uri.parse(text)
        except Malformed as error:
            raise ValueError(f"{text!r} is no SIP URI: {error.reason}") from error
        host, transport = uri.host.strip("[]"), uri.transport or "udp"
        if uri.scheme != "sip" or uri.user or "?" in text or "@" in text or set(dict(uri.parameters)) - {"transport"}:
            raise ValueError(f"{text!r}: say sip:HOST, sip:HOST:PORT or sip:HOST;transport=tcp")
        if transport not in _PREFIXES:
            raise ValueError(f"{text!r}: the transport is udp, tcp or tls")
        if not _is_address(host) and (len(host) > NAME_CHARACTERS_MAX or not _NAME.match(host)):
            raise ValueError(f"{text!r} has no valid host")
        known: Transport = "tls" if transport == "tls" else "tcp" if transport == "tcp" else "udp"
        return cls(host, uri.port or 0, known)

    @property
    def name(self) -> PeerName | None:
        """What DNS is to be asked (RFC 3263 §4.2: a port says that there is no service to look for); None: nothing."""
        if _is_address(self.host):
            return None
        return PeerName("host", self.host) if self.port else PeerName("either", _PREFIXES[self.transport] + self.host)

    @property
    def default_port(self) -> int:
        """Where neither the URI nor DNS has one."""
        return self.port or (SECURE_PORT if self.transport == "tls" else DEFAULT_PORT)

    @property
    def domain(self) -> str:
        """As it stands in URIs."""
        return f"[{self.host}]" if ":" in self.host else self.host

    @property
    def uri(self) -> str:
        """The Request-URI of what is asked there."""
        return f"sip:{self.domain}" + (f":{self.port}" if self.port else "")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
