"""`callvault trunk-password`: what stands in the configuration instead of a trunk's password."""

from __future__ import annotations

import argparse
import getpass
import re
import sys

from gateway.sip.digest import ha1

PASSWORD_CHARACTERS_MAX = 1024  # nobody's is longer; a file fed by mistake is

_PLAIN = re.compile(r"[^\x00-\x1f\x7f\"\\]{1,128}\Z")


def command(arguments: argparse.Namespace) -> int:
    """Read a password from standard input, print the lines for `[[trunks.users]]`. Exit 2 if it cannot be used."""
    user, realm = arguments.user, arguments.realm
    if not (_PLAIN.match(user) and _PLAIN.match(realm)) or ":" in user:
        return _fail("user and realm have 1 to 128 characters, without quotes or backslashes, the user without colon")
    password = getpass.getpass("password: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")
    if not password or len(password) > PASSWORD_CHARACTERS_MAX:
        return _fail(f"a password has 1 to {PASSWORD_CHARACTERS_MAX} characters")
    lines = ["[[trunks.users]]", f'name = "{user}"', f'realm = "{realm}"']
    lines.append(f'sha256 = "{ha1("SHA-256", user, realm, password)}"')
    lines.append(f'md5 = "{ha1("MD5", user, realm, password)}"    # leave out where the peer knows SHA-256')
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def _fail(text: str) -> int:
    sys.stderr.write(f"callvault: {text}\n")
    return 2
