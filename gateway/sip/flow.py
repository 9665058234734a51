"""By which way a message comes or goes: the transport, our address, the peer's, and the connection if there is one."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from gateway.sip.grammar import DEFAULT_PORT, SECURE_PORT, Address

Transport = Literal["udp", "tcp", "tls"]


@dataclass(frozen=True, slots=True)
class Flow:
    """One way between us and a peer.

    A message goes by `connection` while that stands; else, over a stream, by a new connection to `remote`.
    """

    transport: Transport
    local: Address
    """The address that peers reach us by, which Via and Contact name: where we listen, or what is advertised instead,
    also for a connection that we opened ourselves."""
    remote: Address
    connection: int | None = None
    """A number of the shell's, never used twice; None for datagrams, and for a connection that is yet to be opened."""
    names: tuple[str, ...] = field(default=(), repr=False)
    """Of the peer's certificate, if it showed one that we believe."""

    @property
    def reliable(self) -> bool:
        """Whether the transport itself repeats what is lost, so that transactions need not (RFC 3261 §17)."""
        return self.transport != "udp"

    @property
    def secure(self) -> bool:
        """Whether nobody else can read it on its way."""
        return self.transport == "tls"

    @property
    def default_port(self) -> int:
        """Of a URI or Via that names none (RFC 3261 §18.1.1, §19.1.2)."""
        return SECURE_PORT if self.secure else DEFAULT_PORT

    def to(self, remote: Address) -> Flow:
        """The same way with another address for datagrams and new connections."""
        return self if remote == self.remote else replace(self, remote=remote)
