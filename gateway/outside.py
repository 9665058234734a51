"""Who outside gets or holds tenants' data, as the configuration says it: whose the other machines are, and where copies
may go. What a register of sub-processors needs and no program can know stands here (Art. 28 GDPR).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, field_validator, model_validator

from gateway.rights.fields import DOCUMENTS, known_fields
from gateway.rights.parts import Part
from gateway.section import Region, Section
from storage.errors import Malformed
from storage.policy.term import Term
from storage.processor import DESTINATION, Processor
from storage.words import names_somebody

URL_CHARACTERS_MAX = 1_000

Holding = Literal["objects", "catalogue", "keys", "witness", "queue", "spool", "calls", "transcription"]
"""What of the store somebody outside may hold."""


def _term(text: str) -> str:
    if text:
        try:
            Term.parse(text)
        except Malformed as error:
            raise ValueError(str(error)) from None
    return text


def _nobody(text: str) -> str:
    if names_somebody(text):
        raise ValueError("tenants are told this, for ever: it names no number and no address of a person")
    return text


Told = Annotated[str, AfterValidator(_nobody), Field(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
"""Words that stand in the register."""


class Outside(Section):
    """What is said of anybody outside; who lacks one of these gets nothing."""

    company: Annotated[Told, Field(description="who that is, by its name in the trade register")] = ""
    region: Region = ""
    retention: Annotated[
        str, AfterValidator(_term), Field(description='how long it keeps what it gets: "45 days", "while-in-use"')
    ] = ""
    encryption: Annotated[Told, Field(description="how that is encrypted on the way and there, in words")] = ""
    dpa: Annotated[date | None, Field(description="day of the data processing agreement")] = None


class SubProcessor(Outside):
    """Whose machines hold tenants' data, other than this one."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    hosts: tuple[str, ...] = Field((), max_length=32, description="those of store, witness and queue that are its")
    gets: tuple[Holding, ...] = Field((), description="what it holds beside that, such as who hosts this machine")
    own: bool = Field(False, description="they are our own machines: no sub-processor")

    @field_validator("hosts")
    @classmethod
    def _hosts(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        if not all(re.fullmatch(r"[0-9A-Za-z.:-]{1,253}", value) for value in values):
            raise ValueError("a host is a name or an address, without a port")
        return tuple(value.lower() for value in values)


class Destination(Outside):
    """Where copies of a tenant's calls may go: denied unless it is written here, by whom, since when, and for what."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    to: str = Field(min_length=1, max_length=200, description="who that is, as it stands in the records of copies")
    authorised_by: str = Field(min_length=1, max_length=200)
    authorised_on: date
    until: date | None = Field(None, description="last day")
    parts: tuple[Part, ...] = Field(min_length=1, description="what may go there")
    fields: Mapping[Part, tuple[str, ...]] = Field(
        default_factory=dict, description="of each part that is a document, the fields that leave; no other does"
    )
    key: str = Field("", pattern=r"^(cvx1-public-[0-9a-f]{64})?$", description="public key that copies are sealed for")
    address: str = Field(
        "", max_length=URL_CHARACTERS_MAX, description="https:// URL that requests to delete are sent to; http:// here"
    )
    ca_file: Path | None = Field(None, description="PEM file that vouches for `address`; default: the system's")

    @field_validator("address")
    @classmethod
    def _address(cls, text: str) -> str:
        if not text:
            return text
        parts = urlsplit(text)  # ValueError for what is none
        host, port = parts.hostname or "", parts.port
        plain = parts.scheme == "http" and is_here(host)
        if not (plain or parts.scheme == "https") or not host or parts.username is not None or parts.fragment:
            raise ValueError("say https://HOST[:PORT]/PATH; http:// only on this machine, and no user, no fragment")
        if port == 0 or not re.fullmatch(r"[\x21-\x7e]+", text):
            raise ValueError("an address is visible ASCII, its port 1 to 65535")
        return text

    @model_validator(mode="after")
    def _declared(self) -> Destination:
        for part in self.fields.keys() - set(self.parts):
            raise ValueError(f"fields of {part.value}, which is not among the parts")
        for part in self.parts:
            declared = self.fields.get(part, ())
            if part in DOCUMENTS and not declared:
                raise ValueError(f"{part.value}: say which of its fields leave, as fields.{part.value} = [...]")
            if part not in DOCUMENTS and declared:
                raise ValueError(f"{part.value} leaves as a whole and has no fields")
            if unknown := sorted(set(declared) - known_fields(part)):
                raise ValueError(f"{part.value} has no field {', '.join(unknown)}")
        return self

    @property
    def allowed(self) -> Mapping[Part, frozenset[str]]:
        """What leaves of each part that is a document."""
        return {part: frozenset(names) for part, names in self.fields.items()}

    def entry(self) -> Processor:
        """As it stands in the register."""
        fields = sorted(f"{part.value}.{name}" for part, names in self.fields.items() for name in names)
        return Processor(
            name=DESTINATION + self.name,
            company=self.company,
            region=self.region,
            gets=tuple(sorted(part.value for part in self.parts)),
            fields=tuple(dict.fromkeys(fields)),
            retention=self.retention,
            encryption=self.encryption,
            dpa="" if self.dpa is None else self.dpa.isoformat(),
            place=urlsplit(self.address).hostname or "",
        )


def is_here(host: str) -> bool:
    """Whether a host is this machine, or a socket on it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in ("", "localhost")


def twice(names: Sequence[str]) -> list[str]:
    """Those that stand there more than once."""
    return sorted({name for name in names if names.count(name) > 1})
