"""Digest authentication of requests (RFC 3261 §22, RFC 7616, RFC 8760): our challenges, and what answers them.

Stateless until a password has been shown: a nonce is the time, chance and a MAC over both, so a challenge costs one
hash and nothing is kept for who cannot answer it. Then the nonce's used counts are kept, in a bounded table, so that a
request seen on the way is worth nothing to who saw it.

The digest's `uri` is not compared with the Request-URI: proxies rewrite that, and a nonce count is used once anyway.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from gateway.sip.grammar import split_list

Algorithm = Literal["SHA-256", "MD5"]

NONCE_S = 300.0
"""How long a nonce may be used; a peer that calls more seldom is challenged each time."""

CHANCE_BYTES = 8
"""In a nonce: each is challenged with one of its own, or two peers' counts would meet."""

MAC_BYTES = 16

WINDOW = 64
"""Counts of one nonce that may come out of order; older ones are taken for replayed."""

NONCES_MAX = 4096
"""Nonces whose used counts are kept: a new one for each call at 13 calls a second. Of more, the oldest is forgotten,
and with it every nonce up to its time is stale: the peer is challenged again."""

MAX_HEADERS = 4
"""Authorization headers that are looked at: a peer has one for each realm on its way, seldom more than two."""

MAX_PARAMETERS = 20
"""In one of them; RFC 7616 names thirteen."""

_COUNT = re.compile(r"[0-9a-fA-F]{8}\Z")
_TIME_BYTES = 8


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()  # what many trunks still speak; we offer it last


HASHES: Mapping[Algorithm, Callable[[bytes], str]] = {"SHA-256": _sha256, "MD5": _md5}
"""In the order that they are offered: the best first (RFC 8760 §2.4)."""


def ha1(algorithm: Algorithm, user: str, realm: str, password: str) -> str:
    """What is kept instead of a password. It opens the same doors: in this realm only, but keep it as secret."""
    return HASHES[algorithm](f"{user}:{realm}:{password}".encode())


def read_digest(text: str) -> dict[str, str] | None:
    """The parameters of a challenge or its answer, by lower-case name; None for another scheme, or what is not well
    formed."""
    scheme, _, rest = text.strip().partition(" ")
    if scheme.lower() != "digest":
        return None
    values: dict[str, str] = {}
    for part in split_list(rest)[:MAX_PARAMETERS]:
        name, equals, value = part.partition("=")
        name, value = name.strip().lower(), value.strip()
        if not equals or name in values:
            return None
        if value.startswith('"'):
            value = re.sub(r"\\(.)", r"\1", value[1:].removesuffix('"'))
        values[name] = value
    return values


@dataclass(frozen=True, slots=True)
class Verified:
    """The request knows the password of `user`."""

    user: str


@dataclass(frozen=True, slots=True)
class Denied:
    """It does not; or, if `stale`, it does, by a nonce that cannot be used (any more)."""

    stale: bool


@dataclass(slots=True)
class _Used:
    """Counts of one nonce: the highest, and a bit for each of the WINDOW up to it."""

    highest: int = 0
    seen: int = 0

    def take(self, count: int) -> bool:
        """Whether the count is new."""
        if count > self.highest:
            self.seen = (self.seen << min(count - self.highest, WINDOW)) & ((1 << WINDOW) - 1)
            self.highest = count
        behind = self.highest - count
        if behind >= WINDOW or self.seen >> behind & 1:
            return False
        self.seen |= 1 << behind
        return True


@dataclass(frozen=True, slots=True, repr=False)
class _Answer:
    """The parameters of an Authorization header."""

    values: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> _Answer | None:
        """None for another scheme, or for what is not well formed."""
        values = read_digest(text)
        return None if values is None else cls(values)

    def __getitem__(self, name: str) -> str:
        return self.values.get(name, "")


class Challenger:
    """One realm. `hashes(user, algorithm)` gives a user's HA1, or None; `random(n)` unpredictable bytes."""

    def __init__(
        self, realm: str, hashes: Callable[[str, Algorithm], str | None], random: Callable[[int], bytes]
    ) -> None:
        self._realm = realm
        self._hashes = hashes
        self._random = random
        self._key = random(32)
        self._decoy = random(32).hex()  # an unknown user costs as much time as a known one
        self._used: OrderedDict[bytes, _Used] = OrderedDict()
        self._floor = -1  # nonces up to this time are stale unless their counts are known

    def challenge(
        self, now: float, algorithms: Iterable[Algorithm] = tuple(HASHES), *, stale: bool = False
    ) -> tuple[tuple[str, str], ...]:
        """The headers of a 401, in the order of `algorithms`. `now` is any clock that only rises."""
        time = int(now * 1000).to_bytes(_TIME_BYTES, "big")
        body = time + self._random(CHANCE_BYTES)
        nonce = base64.b64encode(body + self._mac(body)).decode()
        rest = ", stale=true" if stale else ""
        return tuple(
            ("WWW-Authenticate", f'Digest realm="{self._realm}", nonce="{nonce}", qop="auth", algorithm={name}{rest}')
            for name in algorithms
        )

    def verify(self, headers: Iterable[str], method: str, now: float) -> Verified | Denied | None:
        """What the Authorization headers of a request are worth; None if none of them is for this realm."""
        for text in list(headers)[:MAX_HEADERS]:
            answer = _Answer.parse(text)
            if answer is not None and answer["realm"] == self._realm:
                return self._judge(answer, method, now)
        return None

    def _judge(self, answer: _Answer, method: str, now: float) -> Verified | Denied:
        algorithm = next((name for name in HASHES if name == (answer["algorithm"] or "MD5").upper()), None)
        if algorithm is None or answer["qop"].lower() != "auth" or not _COUNT.match(answer["nc"]):
            return Denied(stale=False)
        known = self._hashes(answer["username"], algorithm)
        digest, text = HASHES[algorithm], answer.values
        request = digest(f"{method}:{answer['uri']}".encode("utf-8", "surrogateescape"))
        parts = (known or self._decoy, answer["nonce"], answer["nc"], answer["cnonce"], text["qop"], request)
        expected = digest(":".join(parts).encode("utf-8", "surrogateescape"))
        right = hmac.compare_digest(expected.encode(), answer["response"].lower().encode("utf-8", "surrogateescape"))
        if known is None or not right:
            return Denied(stale=False)
        fresh = self._take(answer["nonce"], int(answer["nc"], 16), now)
        return Verified(answer["username"]) if fresh else Denied(stale=True)

    def _take(self, nonce: str, count: int, now: float) -> bool:
        """Whether the nonce is one of ours, in time, and the count not used yet; it is then."""
        try:
            raw = base64.b64decode(nonce, validate=True)
        except (binascii.Error, ValueError):
            return False
        body, mac = raw[: _TIME_BYTES + CHANCE_BYTES], raw[_TIME_BYTES + CHANCE_BYTES :]
        if not hmac.compare_digest(mac, self._mac(body)):
            return False
        time = int.from_bytes(body[:_TIME_BYTES], "big")
        if not 0 <= now * 1000 - time <= NONCE_S * 1000:
            return False
        used = self._used.get(body)
        if used is None:
            if time <= self._floor:
                return False
            used = self._used[body] = _Used()
            self._forget(now)
        return used.take(count)

    def _forget(self, now: float) -> None:
        """Drops nonces that are out of time, and the oldest beyond NONCES_MAX."""
        while self._used:
            body = next(iter(self._used))
            time = int.from_bytes(body[:_TIME_BYTES], "big")
            if len(self._used) <= NONCES_MAX and now * 1000 - time <= NONCE_S * 1000:
                return
            del self._used[body]
            self._floor = max(self._floor, time)

    def _mac(self, body: bytes) -> bytes:
        return hmac.digest(self._key, body, "sha256")[:MAC_BYTES]
