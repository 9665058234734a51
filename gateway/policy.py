"""Whose calls come in and what becomes of them: trunks, how they are known, and the tenants' policies."""

from __future__ import annotations

import ipaddress
import re
import zoneinfo
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator

from gateway.outside import Destination
from gateway.peers import PeerName, RegistrarAddress, parse_source
from gateway.section import RegionRule, Section
from storage.regions import RULES_MAX

MASK = "**********"  # what a secret's dump shows; a child process that is given one has no use for the secret


NEVER_KEPT = ("p-access-network-info", "geolocation", "geolocation-routing", "cellular-network-info", "contact", "m")
"""Headers of a caller's place or device (RFC 7315, 6442, 5626): no policy makes them something to find calls by."""


class Numbering(Section):
    """How a trunk writes telephone numbers; see gateway/calls/numbers.py for the order of the rules."""

    country: str = Field("", pattern=r"^([A-Z]{2})?$", description='country of national numbers, ISO 3166; "": none')
    international: tuple[str, ...] = Field(("00",), description="prefixes dialled before a country code")
    national: str = Field("", pattern=r"^[0-9]{0,4}$", description="trunk prefix, where not the country's own")
    strip: tuple[str, ...] = Field((), description="prefixes removed first: an outside line's digit, a carrier code")
    prepend: str = Field("", pattern=r"^\+?[0-9]{0,8}$", description="put before every number that has no +")
    extension_digits_max: int = Field(5, ge=0, le=12, description="numbers of so few digits are left alone")

    @field_validator("international", "strip")
    @classmethod
    def _prefixes(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for value in values:
            if not value.isdecimal() or not value.isascii() or len(value) > 8:
                raise ValueError("a prefix has one to eight digits")
        return values


class Organisation(Section):
    """Who somebody is, as the record of processing names them (Art. 30(1)(a), (2)(a) GDPR); the record says what is
    missing."""

    name: str = Field("", max_length=200)
    contact: str = Field("", max_length=200, description="address, mail or telephone of the organisation")
    representative: str = Field("", max_length=200, description="in the Union, where it has to have one (Art. 27)")
    officer: str = Field("", max_length=200, description="data protection officer, where it has one (Art. 37)")


class Retention(Section):
    """How long a tenant keeps a kind for a purpose, where that is not what its profile says."""

    kind: str = Field("*", description="audio, transcript, call_detail, ... ; *: all content, never what a law keeps")
    purpose: str = Field("*", description="one of the profile's; *: all")
    term: str = Field(description='"90 days", "4 months", "2 years", "while-in-use", "account-life", "for ever"')
    reason: str = Field("", description="in words, where it is longer than the profile allows; stands in the ledger")


class Tenant(Section):
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    record: Literal["all", "events"] = Field("all", description="`events`: live speech events only, nothing is stored")
    media_security: Literal["any", "srtp"] = Field(
        "any", description="`srtp`: calls whose media is not encrypted are refused, but for emergency calls"
    )
    when_full: Literal["refuse", "unrecorded"] = Field(
        "refuse", description="when the spool is full: refuse new calls with 503, or answer them unrecorded"
    )
    keys: str = Field("", description="key provider of its own; default: store.keys. Once it has keys, they stay there")
    when_keys_away: Literal["refuse", "hold"] = Field(
        "refuse",
        description="when its key provider is away for longer than keys were prepared (48 h): refuse new calls with"
        " 503, or hold recordings in memory (store.held_stream_mib, held_total_mib) until it is back",
    )
    purpose: str = Field("quality", pattern=r"^[a-z][a-z0-9_]{0,31}$", description="declared purpose of its recordings")
    language: str = Field("en", pattern=r"^[a-z]{2}$", description="language spoken, for transcription")
    transcribe: bool = True
    emergency: tuple[str, ...] = Field(
        ("112",), description="dialled numbers whose calls nothing delays or refuses; urn:service:sos always is one"
    )
    record_emergency: str = Field(
        "", pattern=r"^(.{20,200})?$", description='why emergency calls are recorded, in words; "": they are not'
    )
    announcement: Path | None = Field(
        None, description="WAV (16-bit mono, 8, 16 or 48 kHz, up to 60 s) played before anything is recorded"
    )
    announcement_language: str = Field(
        "", pattern=r"^([a-z]{2})?$", description="language of the announcement, kept in call detail; default: language"
    )
    pause_limit_s: float = Field(
        300.0, gt=0, le=3600, description="a pause of a recording that nobody ends is ended after so long"
    )
    dtmf: Literal["drop", "keep"] = Field(
        "drop", description="keys that callers press (telephone-events, INFO): dropped, or kept sealed for officers"
    )
    dtmf_inband: Literal["mask", "keep"] = Field(
        "mask",
        description="keys' tones in the audio: silenced before anything is kept, or kept as they are; "
        "with mask, Opus is asked to come without in-band FEC, which repeats what was silenced",
    )
    rating: bool = Field(False, description="keep what calls are billed by; it outlives their erasure")
    rating_numbers: tuple[str, ...] = Field(
        (), max_length=1000, description="own numbers, E.164, that ratings may name; others never stand in one"
    )
    profile: str = Field(
        "default", description="policy: default, upcall, speakup, circleloop, cloudtalk, ipcallme, or a file's path"
    )
    retention: tuple[Retention, ...] = Field((), max_length=64, description="its own terms, before the profile's")
    statistics: Literal["day", "month"] = Field(
        "day",
        description="periods that its anonymous statistics are published by; `month` where few days have enough calls",
    )
    telemetry_days: int = Field(
        0,
        ge=0,
        le=90,
        description="how long each track's quality (classes, no number, no address) is kept under an id that can be"
        " made again from the call's; then that id's secret is destroyed and only counts stay; 0: none is kept",
    )
    organisation: Organisation = Field(
        default=Organisation.model_validate({}), description="who the tenant is, for the record of processing"
    )
    destinations: tuple[Destination, ...] = Field((), max_length=100, description="where copies may go")
    notice_days: int = Field(
        0, ge=0, le=365, description="days after a destination was told to the tenant before anything goes there"
    )
    regions: tuple[RegionRule, ...] = Field(
        (), max_length=RULES_MAX, description="where its data may be, such as NL, NL-AMS, EEA; empty: anywhere"
    )
    zone: str = Field(
        "UTC", description="time zone, IANA: its times are shown and its terms counted in it; times are kept in UTC"
    )

    @field_validator("destinations")
    @classmethod
    def _destinations(cls, values: tuple[Destination, ...]) -> tuple[Destination, ...]:
        if len({value.name for value in values}) != len(values):
            raise ValueError("a destination is defined twice")
        return values

    @property
    def stores(self) -> bool:
        """Whether anything of its calls is stored at all."""
        return self.record != "events"

    @field_validator("rating_numbers")
    @classmethod
    def _own(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for value in values:
            if not re.fullmatch(r"\+[1-9][0-9]{4,14}", value):
                raise ValueError("own numbers are written as E.164: + and 5 to 15 digits")
        return values

    @model_validator(mode="after")
    def _rated(self) -> Tenant:
        if self.rating and not self.stores:
            raise ValueError("rating: of a tenant of live events only nothing is stored, ratings neither")
        if self.telemetry_days and not self.stores:
            raise ValueError("telemetry_days: of a tenant of live events only nothing is stored")
        if self.rating_numbers and not self.rating:
            raise ValueError("rating_numbers are for a tenant with rating")
        return self

    @field_validator("zone")
    @classmethod
    def _zone(cls, text: str) -> str:
        try:
            zoneinfo.ZoneInfo(text)
        except (ValueError, OSError, KeyError) as error:
            raise ValueError(f"{text!r} is no time zone known here; correct it or install tzdata") from error
        return text


class TrunkUser(Section):
    """Whom a trunk's requests are signed by; `callvault trunk-password` makes the hashes. They are never shown."""

    name: str = Field(min_length=1, max_length=128)
    realm: str = Field("callvault", description="the realm that the hashes were made for")
    sha256: SecretStr = SecretStr("")
    md5: SecretStr = Field(SecretStr(""), description="for peers that know no SHA-256")

    @field_validator("sha256", "md5")
    @classmethod
    def _hash(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        text, digits = value.get_secret_value(), 64 if info.field_name == "sha256" else 32
        if text and text != MASK and not re.fullmatch(f"[0-9a-f]{{{digits}}}", text):
            raise ValueError(f"a hash has {digits} hexadecimal digits; `callvault trunk-password` prints it")
        return value


class Registration(Section):
    """Our own registration at a trunk, which then sends its calls to where we are registered."""

    registrar: str = Field(description="sip:HOST, sip:HOST:PORT; ;transport=tcp or tls behind it")
    user: str = Field(pattern=r"^[A-Za-z0-9+._*!~-]{1,128}$", description="the number or name that is registered")
    login: str = Field("", pattern=r'^[^\x00-\x1f\x7f"\\:]{0,128}$', description="whose password it is; default: user")
    password_file: Path = Field(description="file of mode 0600 with the password as its only line")
    expires_s: int = Field(3600, ge=60, le=86_400, description="asked for; the registrar decides")

    @field_validator("registrar")
    @classmethod
    def _registrar(cls, text: str) -> str:
        RegistrarAddress.parse(text)
        return text

    @property
    def address(self) -> RegistrarAddress:
        """Where it registers."""
        return RegistrarAddress.parse(self.registrar)


class Trunk(Section):
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    tenant: str
    listener: str = Field("", description="name of the listener that it calls")
    sources: tuple[str, ...] = Field(
        (), description="where SIP may come from: networks as CIDR, and names as host:NAME or srv:_sip._udp.NAME"
    )
    registration: Registration | None = Field(None, description="our own at its registrar: calls then come by it")
    tls_names: tuple[str, ...] = Field(
        (), description="it must show a client certificate with one of these names (subjectAltName)"
    )
    users: tuple[TrunkUser, ...] = Field((), description="it must sign its requests as one of these (digest)")
    trusted: bool = Field(False, description="its P-Asserted-Identity says who calls")
    dialled: Mapping[str, str] = Field(default_factory=dict, description="dialled number prefix to tenant")
    media_networks: tuple[str, ...] = Field((), description="networks that RTP may come from; default: sources")
    nat: bool = Field(False, description="take RTP from another address than the SDP's, within media_networks")
    receive_only: bool = Field(False, description="answer recvonly even to sendrecv: the peer is a recording client")
    quiet_s: float = Field(
        300.0, ge=0, le=86_400, description="without RTP or RTCP for so long, the peer is asked whether the call stands"
    )
    quiet_held_s: float = Field(
        14_400.0, ge=0, le=604_800, description="the same while the peer may not send; 0, here and there: never"
    )
    found_by: str = Field(
        "",
        pattern=r"^[A-Za-z0-9!%*_+`'~.-]{0,64}$",
        description="header of INVITEs that calls are found by as well",
    )
    early_media: bool = Field(
        False,
        description="play the announcement before the answer (183 with SDP), where the peer made an offer",
    )
    srtp_keys_over: Literal["tls", "any"] = Field(
        "tls",
        description="transports over which it may send SRTP keys: `any` where a network of yours carries them, as"
        " behind a TLS proxy",
    )
    pause_by_info: bool = Field(
        False, description="its peers may pause and resume their call's recording by SIP INFO (`Record: off`, `on`)"
    )
    numbers: Numbering = Numbering.model_validate({})

    @field_validator("found_by")
    @classmethod
    def _telling(cls, text: str) -> str:
        if text.lower() in NEVER_KEPT:
            raise ValueError(f"{text} tells where a caller is, or with which device: nothing of it is ever kept")
        return text

    @field_validator("tls_names")
    @classmethod
    def _names(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(value.lower() for value in values)

    @field_validator("media_networks")
    @classmethod
    def _networks(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(str(ipaddress.ip_network(value)) for value in values)

    @field_validator("sources")
    @classmethod
    def _sources(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(value if parse_source(value) else str(ipaddress.ip_network(value)) for value in values)

    @property
    def names(self) -> tuple[PeerName, ...]:
        """What DNS is asked for its addresses: names among its sources, and its registrar's."""
        found = [name for source in self.sources if (name := parse_source(source))]
        if self.registration is not None and (name := self.registration.address.name) is not None:
            found.append(name)
        return tuple(dict.fromkeys(found))

    @property
    def networks(self) -> tuple[str, ...]:
        """Those of its sources that are written as networks."""
        return tuple(source for source in self.sources if not parse_source(source))

    @property
    def placed(self) -> bool:
        """Whether it says where it is."""
        return bool(self.sources or self.names)


def trunk_problems(listeners: Sequence[str], realm: str, trunks: Sequence[Trunk]) -> list[str]:
    """What keeps requests from being told apart."""
    problems = [f"listener {name!r} is defined twice" for name in set(listeners) if listeners.count(name) > 1]
    users = [user.name for trunk in trunks for user in trunk.users]
    problems += [f"user {name!r} is defined twice" for name in set(users) if users.count(name) > 1]
    names = [name for trunk in trunks for name in trunk.tls_names]
    problems += [f"tls name {name!r} is defined twice" for name in set(names) if names.count(name) > 1]
    for trunk in trunks:
        if trunk.tls_names and trunk.users:
            problems.append(f"trunk {trunk.name!r} has tls_names and users: one of them is what it is known by")
        if trunk.listener and trunk.listener not in listeners:
            problems.append(f"trunk {trunk.name!r} names listener {trunk.listener!r}, which is not defined")
        if not (trunk.listener or trunk.placed or trunk.users or trunk.tls_names):
            problems.append(f"trunk {trunk.name!r} needs sources, users, tls_names or a listener to be known by")
        if not (trunk.placed or trunk.media_networks):
            problems.append(f"trunk {trunk.name!r} needs media_networks, as it has no sources")
        if trunk.registration is not None and not _holds_registrar(trunk, trunk.registration):
            problems.append(f"trunk {trunk.name!r}: its registrar is not within its sources")
        for user in trunk.users:
            if not (user.sha256.get_secret_value() or user.md5.get_secret_value()):
                problems.append(f"user {user.name!r} of trunk {trunk.name!r} has no hash")
            if user.realm != realm:
                problems.append(f"user {user.name!r} of trunk {trunk.name!r} has hashes of another realm")
    return problems


def _holds_registrar(trunk: Trunk, registration: Registration) -> bool:
    """A registrar that is a name brings its addresses with it."""
    host = registration.address.host
    return registration.address.name is not None or any(
        ipaddress.ip_address(host) in ipaddress.ip_network(network) for network in trunk.networks
    )
