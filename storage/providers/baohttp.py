"""Requests to an OpenBao server: bounded in time and size, and not redirected. The home of HTTP among key providers."""

from __future__ import annotations

import email.utils
import ipaddress
import json
import re
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

import urllib3
from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError

from storage.errors import Malformed, Unavailable
from storage.providers.secretfile import SecretFile

CONNECT_S = 3.0
"""A server that does not take a connection by then is away; SYN is sent again after 1 s."""
ANSWER_S = 5.0
"""Of silence, and for all of an answer's body: an operation takes 2 ms, and no server may hold us by trickling."""
ANSWER_BYTES_MAX = 1 << 16
"""A key's description has a kilobyte, a wrapped key some hundred bytes."""
CONNECTIONS = 8
"""Kept open: key operations are few."""
_CHUNK_BYTES = 4096
_HOST = re.compile(r"[0-9A-Za-z]([0-9A-Za-z.-]{0,251}[0-9A-Za-z])?\Z")
_WORDS = {
    403: "its token may not do that: it is wrong, has expired, or its policy does not allow it",
    429: "it stands by: name the active server, or a balancer in front",
    307: "it stands by: name the active server, or a balancer in front",
    503: "it is sealed, or stops",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, `data`, and what the server calls errors."""

    status: int
    data: Mapping[str, Any]
    errors: Sequence[str]


@dataclass(frozen=True, slots=True)
class _Dated:
    answer: Answer
    date: str


class BaoServer:
    """One server, by one token. Safe to call from several threads."""

    def __init__(self, base: str, token: SecretFile, namespace: str, ca_file: Path | None, answer_s: float) -> None:
        self._base = base
        self._token = token
        self._namespace = {"X-Vault-Namespace": namespace} if namespace else {}
        self._ca_file = ca_file
        self._answer_s = answer_s
        self._pool: urllib3.PoolManager | None = None
        self.is_local = _is_local(urlsplit(base).hostname or "")
        """Whether its clock is that of this machine."""

    def ask(self, method: str, path: str, body: Mapping[str, object] | None = None) -> Answer:
        """One request; Unavailable unless the server answers it, whatever it says: 200, 204, 400 or 404."""
        return self._asked(method, path, body).answer

    def _asked(self, method: str, path: str, body: Mapping[str, object] | None) -> _Dated:
        headers = {"X-Vault-Token": self._token.now(), "X-Vault-Request": "true", **self._namespace}
        data = None if body is None else json.dumps(body).encode()
        deadline = time.monotonic() + CONNECT_S + self._answer_s
        try:
            response = self._connections().request(
                method, self._base + path, body=data, headers=headers, preload_content=False, redirect=False
            )
            try:
                raw = self._read(response, deadline)
            finally:
                response.close()
        except HTTPError as error:
            raise Unavailable(f"OpenBao cannot be reached: {type(error).__name__}") from error
        if response.status not in (200, 204, 400, 404):
            raise Unavailable(f"OpenBao, HTTP status {response.status}: {_WORDS.get(response.status, 'it failed')}")
        return _Dated(read_answer(response.status, raw), response.headers.get("Date", ""))

    def clock(self) -> int:
        """Unix time as its answers say it, to the second; Unavailable if they do not."""
        try:
            told = email.utils.parsedate_to_datetime(self._asked("GET", "config/keys", None).date)
        except ValueError:
            raise Unavailable("OpenBao's answers have no date") from None
        return int(told.timestamp())

    def _connections(self) -> urllib3.PoolManager:
        if self._pool is None:
            try:
                context = ssl.create_default_context(cafile=self._ca_file)
            except (OSError, ssl.SSLError):
                raise Unavailable("the file of OpenBao's authority cannot be used: check ca-file") from None
            self._pool = urllib3.PoolManager(
                timeout=urllib3.Timeout(connect=CONNECT_S, read=self._answer_s),
                maxsize=CONNECTIONS,
                retries=False,
                ssl_context=context,
            )
        return self._pool

    def _read(self, response: BaseHTTPResponse, deadline: float) -> bytes:
        body = bytearray()
        while chunk := response.read1(_CHUNK_BYTES):
            body += chunk
            if len(body) > ANSWER_BYTES_MAX:
                raise Unavailable("OpenBao's answer is too long to be one")
            if time.monotonic() > deadline:
                raise Unavailable("OpenBao's answer takes too long")
        return bytes(body)


def base_url(parts: SplitResult, form: str) -> str:
    """`https://host:port/v1/` of a provider's URL. Without TLS only this machine: answers hold keys in clear."""
    host = parts.hostname or ""
    try:
        port = parts.port
        address = ipaddress.ip_address(host) if ":" in host or host.replace(".", "").isdigit() else None
    except ValueError:
        raise Malformed(f"an OpenBao server is written {form}") from None
    if parts.username is not None or parts.password is not None:
        raise Malformed(f"a token does not belong into the URL but into a file: {form}")
    if address is None and _HOST.match(host) is None:
        raise Malformed(f"an OpenBao server is written {form}")
    plain = parts.scheme.endswith("+http")
    if plain and not (host == "localhost" or (address is not None and address.is_loopback)):
        raise Malformed("without TLS OpenBao may only be on this machine (127.0.0.1, ::1): its answers hold keys")
    shown = f"[{host}]" if ":" in host else host
    return f"http{'' if plain else 's'}://{shown}{'' if port is None else f':{port}'}/v1/"


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def read_answer(status: int, raw: bytes) -> Answer:
    """An answer from its body; Unavailable if that is none."""
    try:
        found = json.loads(raw) if raw else {}
        data, errors = found.get("data") or {}, found.get("errors") or []
        if not isinstance(data, dict) or not isinstance(errors, list):
            raise TypeError
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise Unavailable("OpenBao's answer is not OpenBao's: what else listens there?") from None
    return Answer(status, data, [str(error) for error in errors])
