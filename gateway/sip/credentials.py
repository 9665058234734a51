"""Digest from the other side (RFC 7616, RFC 8760): a challenge that is made to us, and what we answer it with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from gateway.sip.digest import HASHES, MAX_HEADERS, Algorithm, ha1, read_digest


@dataclass(frozen=True, slots=True)
class Challenge:
    """What a server wants to have signed."""

    algorithm: Algorithm
    realm: str = field(repr=False)
    nonce: str = field(repr=False)
    opaque: str | None = field(repr=False)
    quality: bool
    """Whether `qop=auth` is offered; without it (RFC 2069) a nonce's answer is good for every request."""
    stale: bool
    """That the password was right, and only the nonce too old."""

    @classmethod
    def best(cls, headers: Iterable[str]) -> Challenge | None:
        """Of WWW-Authenticate or Proxy-Authenticate headers the one with the best algorithm that is ours too."""
        found = [challenge for text in list(headers)[:MAX_HEADERS] if (challenge := cls._parse(text)) is not None]
        return min(found, key=lambda challenge: list(HASHES).index(challenge.algorithm), default=None)

    @classmethod
    def _parse(cls, text: str) -> Challenge | None:
        values = read_digest(text)
        if values is None or not values.get("nonce") or "realm" not in values:
            return None
        named = values.get("algorithm", "MD5").upper()
        algorithm = next((name for name in HASHES if name == named), None)
        qualities = [word.strip().lower() for word in values.get("qop", "").split(",")]
        if algorithm is None or ("qop" in values and "auth" not in qualities):
            return None
        stale = values.get("stale", "").lower() == "true"
        return cls(algorithm, values["realm"], values["nonce"], values.get("opaque"), "qop" in values, stale)

    def answer(self, method: str, uri: str, user: str, password: str, count: int, cnonce: str) -> str:
        """The value of Authorization or Proxy-Authorization; `count` is how often this nonce has been answered, with
        this time."""
        digest = HASHES[self.algorithm]
        first = ha1(self.algorithm, user, self.realm, password)
        second = digest(f"{method}:{uri}".encode())
        fields = [("username", user), ("realm", self.realm), ("nonce", self.nonce), ("uri", uri)]
        between = f"{count:08x}:{cnonce}:auth:" if self.quality else ""
        response = digest(f"{first}:{self.nonce}:{between}{second}".encode("utf-8", "surrogateescape"))
        fields.append(("response", response))
        if self.quality:
            fields.append(("cnonce", cnonce))
        if self.opaque is not None:
            fields.append(("opaque", self.opaque))
        bare = f", algorithm={self.algorithm}" + (f", qop=auth, nc={count:08x}" if self.quality else "")
        return "Digest " + ", ".join(f'{name}="{_escaped(value)}"' for name, value in fields) + bare


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
