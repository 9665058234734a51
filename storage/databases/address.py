"""The URL of a catalogue on PostgreSQL: `postgresql://[USER@]HOST[:PORT]/DATABASE`, with options of libpq's names.

    passfile=/file                      a file of mode 0600, lines of host:port:database:user:password
    host=/folder                        the server's Unix socket; then HOST is left out: postgresql:///DATABASE?host=…
    sslmode=, sslrootcert=/file         default, unless the server is on this machine: verify-full by the system's roots
    sslcert=/file, sslkey=/file         a client certificate

A password in the URL is refused: URLs stand in configuration files, process lists and logs. What libpq finds by itself
(PGPASSFILE, PGPASSWORD, ~/.pgpass) it may find.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlsplit

from storage.errors import Malformed

_FORM = "postgresql://[USER@]HOST[:PORT]/DATABASE[?passfile=/file&sslmode=…&sslrootcert=/file]"
_HOST = re.compile(r"[0-9A-Za-z]([0-9A-Za-z.-]{0,251}[0-9A-Za-z])?\Z")
_NAME = re.compile(r"[0-9A-Za-z_][0-9A-Za-z_.-]{0,62}\Z")
"""Of a user or a database: PostgreSQL cuts longer ones off."""
_FILES = frozenset({"passfile", "sslrootcert", "sslcert", "sslkey"})
_SSL_MODES = frozenset({"disable", "allow", "prefer", "require", "verify-ca", "verify-full"})
_URL_CHARACTERS_MAX = 2048


@dataclass(frozen=True, slots=True)
class PostgresAddress:
    """Which database of which server, as whom, and how that is made sure of; `options` are libpq's."""

    host: str  # a name, an address, or the absolute folder of a socket
    port: int
    user: str  # "": libpq's choice
    database: str
    options: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, url: str) -> PostgresAddress:
        """The address that a URL names; Malformed, without repeating the URL, for any other form."""
        if len(url) > _URL_CHARACTERS_MAX:
            raise Malformed("the URL of the catalogue is too long")
        try:
            parts = urlsplit(url)
            port = parts.port or 5432
            options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
        except ValueError:
            raise Malformed(f"a catalogue on a server is written {_FORM}") from None
        if parts.password is not None or "password" in options:
            raise Malformed("no password belongs into the catalogue's URL: name a file of mode 0600 by ?passfile=")
        host = parts.hostname or options.pop("host", "")
        user, database = unquote(parts.username or ""), unquote(parts.path.removeprefix("/"))
        if (
            parts.scheme != "postgresql"
            or parts.fragment
            or not (host.startswith("/") or _is_host(host))
            or not _NAME.match(database)
            or (user and not _NAME.match(user))
            or options.keys() - _FILES - {"sslmode"}
            or any(not options[name].startswith("/") for name in _FILES & options.keys())
            or options.get("sslmode", "prefer") not in _SSL_MODES
        ):
            raise Malformed(f"a catalogue on a server is written {_FORM}")
        return cls(host, port, user, database, tuple(sorted(options.items())))

    def parameters(self) -> dict[str, str | int]:
        """What libpq is told."""
        given: dict[str, str | int] = {"host": self.host, "port": self.port, "dbname": self.database}
        if self.user:
            given["user"] = self.user
        if not self.is_local:
            given["sslmode"] = "verify-full"
        given |= dict(self.options)
        if given.get("sslmode") == "verify-full" and "sslrootcert" not in given:
            given["sslrootcert"] = "system"
        return given

    @property
    def is_local(self) -> bool:
        """Whether what is said stays on this machine."""
        if self.host.startswith("/"):
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def _is_host(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return _HOST.match(host) is not None and ".." not in host
    return True
