"""The URL of an S3 bucket: `s3://HOST[:PORT]/BUCKET[/PREFIX]` by TLS, `s3+http://…` without.

Options: `region=eu-central-1` (default us-east-1) and `credentials=/absolute/file` (default: the environment).
A key or password in the URL is refused: URLs stand in configuration files, process lists and logs.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from storage.errors import Malformed

SCHEMES = {"s3": True, "s3+http": False}
"""Scheme → whether it is encrypted."""

_FORM = "s3://HOST[:PORT]/BUCKET[/PREFIX][?region=…&credentials=/file], or s3+http:// without TLS"
_HOST = re.compile(r"[0-9A-Za-z]([0-9A-Za-z.-]{0,251}[0-9A-Za-z])?\Z")
_BUCKET = re.compile(r"[0-9a-z][0-9a-z.-]{1,61}[0-9a-z]\Z")
_PREFIX = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,63}(/[0-9A-Za-z][0-9A-Za-z._-]{0,63}){0,3}\Z")
"""Four parts of 64 characters: with the longest name of an object still below S3's 1,024 bytes."""
_REGION = re.compile(r"[0-9A-Za-z-]{1,32}\Z")
_OPTIONS = frozenset({"region", "credentials"})
_URL_CHARACTERS_MAX = 2048


@dataclass(frozen=True, slots=True)
class BucketAddress:
    """Where a bucket is, and who says that we may use it."""

    endpoint: str  # host, or host:port
    secure: bool
    bucket: str
    prefix: str  # "" or ending in "/"
    region: str
    credentials: Path | None  # None: from the environment

    @classmethod
    def parse(cls, url: str) -> BucketAddress:
        """The address that a URL names; `Malformed`, without repeating the URL, for any other form."""
        if len(url) > _URL_CHARACTERS_MAX:
            raise Malformed("the URL of the object store is too long")
        try:
            parts = urlsplit(url)
            port = parts.port
            options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
        except ValueError:
            raise Malformed(f"an S3 store is written {_FORM}") from None
        if parts.username is not None or parts.password is not None or options.keys() - _OPTIONS:
            raise Malformed(f"credentials and other options do not belong into the URL; an S3 store is written {_FORM}")
        bucket, _, prefix = parts.path.removeprefix("/").partition("/")
        prefix = prefix.removesuffix("/")
        credentials = options.get("credentials")
        region = options.get("region", "us-east-1")
        if (
            parts.scheme not in SCHEMES
            or parts.fragment
            or not _is_host(parts.hostname or "")
            or not _BUCKET.match(bucket)
            or (prefix and not _PREFIX.match(prefix))
            or not _REGION.match(region)
            or (credentials is not None and not credentials.startswith("/"))
        ):
            raise Malformed(f"an S3 store is written {_FORM}")
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else str(parts.hostname)
        return cls(
            endpoint=host if port is None else f"{host}:{port}",
            secure=SCHEMES[parts.scheme],
            bucket=bucket,
            prefix=f"{prefix}/" if prefix else "",
            region=region,
            credentials=None if credentials is None else Path(credentials),
        )

    @property
    def is_loopback(self) -> bool:
        """Whether requests stay on this machine."""
        host = self.endpoint.rpartition(":")[0] or self.endpoint
        try:
            return ipaddress.ip_address(host.strip("[]")).is_loopback
        except ValueError:
            return host == "localhost"


def _is_host(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return _HOST.match(host) is not None and ".." not in host
    return True
