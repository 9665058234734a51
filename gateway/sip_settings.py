"""The section `sip` of the configuration: where signalling is taken, over what, and what strangers get."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from gateway.addresses import Advertised, Listening, parse_address, reached_by
from gateway.section import Section
from gateway.sip.grammar import SECURE_PORT

SipTransport = Literal["udp", "tcp", "tls"]


class Listener(Section):
    """A further SIP listener; a trunk that names it is known by it."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    address: Listening = Field(description="address and port")
    advertised: Advertised = ""
    transports: tuple[SipTransport, ...] = Field(("udp", "tcp"), min_length=1)
    tls_port: int = Field(SECURE_PORT, ge=0, le=65535, description="of `tls` where it is not the only transport")


class SipTls(Section):
    certificate: Path | None = Field(None, description="PEM file: our certificate, then those between it and its root")
    key: Path | None = Field(None, description="PEM file of its key, without a passphrase, readable by nobody else")
    client_ca: Path | None = Field(None, description="PEM file that vouches for the certificates of trunks")


class Sip(Section):
    listen: Listening = Field("127.0.0.1:5060", description="address and port of the SIP listener")
    advertised: Advertised = ""
    transports: tuple[SipTransport, ...] = Field(("udp", "tcp"), min_length=1, description="of `listen`")
    tls_port: int = Field(SECURE_PORT, ge=0, le=65535, description="of `tls` where it is not the only transport")
    tls: SipTls = SipTls.model_validate({})
    listeners: tuple[Listener, ...] = Field((), description="further listeners")
    unknown: Literal["refuse", "drop"] = Field("refuse", description="what strangers get: 403, or no answer at all")
    proxies: tuple[str, ...] = Field((), description="networks of proxies in front, whose `proxy_header` counts")
    proxy_header: str = Field(
        "X-Source-Address", pattern=r"^[A-Za-z][A-Za-z0-9-]{0,63}$", description="where a proxy says who called it"
    )
    realm: str = Field("callvault", pattern=r"^[A-Za-z0-9.\-]{1,64}$", description="of digest challenges")
    calls_max: int = Field(2000, ge=1, le=100_000, description="dialogs at once; beyond it 503 with Retry-After")
    drain_s: float = Field(30.0, ge=0, le=3600, description="how long running calls may go on after SIGTERM")
    nameservers: tuple[Listening, ...] = Field(
        (), description="DNS servers, address and port, for the names of trunks; default: the system's"
    )
    session_s: int = Field(
        1800, ge=90, le=86_400, description="session timer proposed to peers that know timers and name none"
    )

    @model_validator(mode="after")
    def _certificate(self) -> Sip:
        if self.secure and not (self.tls.certificate and self.tls.key):
            raise ValueError("the transport tls needs tls.certificate and tls.key")
        return self

    @property
    def secure(self) -> bool:
        """Whether anything is listened on over TLS."""
        return "tls" in self.transports or any("tls" in row.transports for row in self.listeners)

    def reached_by(self) -> list[tuple[str, tuple[str, int]]]:
        """The address and port that peers know each listener by, and the setting that has it; port 0: any."""
        rows = [("sip.listen", self.listen, self.advertised)]
        rows += [(f"sip.listeners.{one.name}", one.address, one.advertised) for one in self.listeners]
        return [(name, reached_by(listen, advertised)) for name, listen, advertised in rows]

    def places(self) -> list[tuple[str, SipTransport, tuple[str, int]]]:
        """Everything that is listened on: the setting that says so, the transport, address and port."""
        rows = [("sip.listen", self.listen, self.transports, self.tls_port)]
        rows += [(f"sip.listeners.{one.name}", one.address, one.transports, one.tls_port) for one in self.listeners]
        found: list[tuple[str, SipTransport, tuple[str, int]]] = []
        for name, address, transports, tls_port in rows:
            host, port = parse_address(address)
            beside = len(transports) > 1
            found += [(name, way, (host, tls_port if way == "tls" and beside else port)) for way in transports]
        return found

    @field_validator("proxies")
    @classmethod
    def _networks(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(str(ipaddress.ip_network(value)) for value in values)
