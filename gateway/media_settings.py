"""The section `media` of the configuration: where RTP is received, what descriptions name, by how many processes."""

from __future__ import annotations

import ipaddress

from pydantic import Field, model_validator

from gateway.addresses import AdvertisedIPv4, AdvertisedIPv6, IPv4, IPv6
from gateway.section import Section


class Media(Section):
    address: IPv4 = Field("127.0.0.1", description="IPv4 address that RTP is received on")
    advertised: AdvertisedIPv4 = ""
    address6: IPv6 = Field("", description="IPv6 address that RTP is received on, on the same ports; default: none")
    advertised6: AdvertisedIPv6 = ""
    port_first: int = Field(20000, ge=1024, le=65534)
    port_last: int = Field(39999, ge=1025, le=65535)
    workers: int = Field(1, ge=1, le=64, description="processes that receive media, one core each; one more stands by")
    native: bool = Field(True, description="use the native core where it was built; a matter of speed alone")

    @model_validator(mode="after")
    def _nameable(self) -> Media:
        if not self.advertised and ipaddress.ip_address(self.address).is_unspecified:
            raise ValueError(f"{self.address} is no address that answers can name: set media.advertised")
        if self.advertised6 and not self.address6:
            raise ValueError("advertised6 needs address6: nothing is received over IPv6")
        if self.address6 and not self.advertised6 and ipaddress.ip_address(self.address6).is_unspecified:
            raise ValueError(f"{self.address6} is no address that answers can name: set media.advertised6")
        return self

    @property
    def named(self) -> str:
        """The address that peers send RTP to."""
        return self.advertised or self.address

    @property
    def named6(self) -> str:
        """The same for IPv6; empty where nothing is received over it."""
        return self.advertised6 or self.address6

    def names(self, *, ipv6: bool) -> str:
        """The address of that family."""
        return self.named6 if ipv6 else self.named

    @model_validator(mode="after")
    def _range(self) -> Media:
        if self.port_last - self.port_first < 3:
            raise ValueError("port_last must leave room for at least two port pairs above port_first")
        return self
