"""An S3 access key and its secret: from the environment, or from a file that only its owner reads.

The environment's names and the file's form are those of the AWS tools: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`
and, for temporary ones, `AWS_SESSION_TOKEN`; the file has them in lower case under `[default]`.
"""

from __future__ import annotations

import configparser
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from storage.errors import Unavailable

_FILE_BYTES_MAX = 1 << 16
"""Two or three lines are expected; anything longer is another file."""
_NAMES = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")


@dataclass(frozen=True, slots=True)
class Credentials:
    """What requests are signed with. Shows nothing of itself."""

    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


class CredentialSource:
    """Credentials as they are now: a file is read again when it changes, so a new secret needs no restart."""

    def __init__(self, path: Path | None, environ: Mapping[str, str]) -> None:
        self._path = path
        self._environ = environ
        self._read: tuple[tuple[int, int], Credentials] | None = None

    def now(self) -> Credentials:
        """The credentials; Unavailable, with what mends it, if there are none."""
        if self._path is None:
            named = {name: self._environ.get(name.upper(), "") for name in _NAMES}
            return _checked(named, "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a file by ?credentials=")
        try:
            found = self._path.stat()
            state = (found.st_mtime_ns, found.st_ino)
            if self._read is None or self._read[0] != state:
                self._read = (state, _read_file(self._path))
        except OSError as error:
            raise Unavailable(f"the file of S3 credentials cannot be read: {error.strerror}") from None
        return self._read[1]


def _read_file(path: Path) -> Credentials:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode) or mode & 0o077:
            raise Unavailable("the file of S3 credentials is open to others; chmod 600 mends it")
        raw = file.read(_FILE_BYTES_MAX)
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(raw.decode())
        section = dict(parser.items("default"))
    except (configparser.Error, UnicodeDecodeError):  # whose messages quote the line
        section = {}
    return _checked(section, "the file needs [default] with aws_access_key_id and aws_secret_access_key")


def _checked(named: Mapping[str, str], mend: str) -> Credentials:
    access, secret, token = (named.get(name, "").strip() for name in _NAMES)
    if not access or not secret:
        raise Unavailable(f"no S3 credentials: {mend}")
    return Credentials(access, secret, token or None)
