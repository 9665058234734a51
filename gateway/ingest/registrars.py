"""What we register, and by which way: the trunks' accounts, their passwords' files, and where their registrars are."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path

from gateway.config import Settings
from gateway.errors import ConfigError
from gateway.policy import Registration, Trunk
from gateway.sip.flow import Flow, Transport
from gateway.sip.grammar import Address
from gateway.sip.registration import Account
from gateway.sip.registrations import Wanted
from gateway.tenants import Answers

PASSWORD_BYTES_MAX = 1024  # nobody's is longer; a file named by mistake is

Accounts = Mapping[str, Account]
"""By the name of the trunk."""

Named = Mapping[str, Mapping[Transport, Address]]
"""What peers call our listeners, by name and transport; "" is `sip.listen`."""


def accounts(settings: Settings) -> Accounts:
    """Reads the passwords. Raises ConfigError with everything that is wrong with any of them; none of it is told."""
    found: dict[str, Account] = {}
    problems: list[str] = []
    for trunk in settings.trunks:
        if (registration := trunk.registration) is None:
            continue
        where, address = f"trunks.{trunk.name}.registration", registration.address
        if address.transport not in _transports(settings, trunk):
            problems.append(f"{where}.registrar: its listener has no {address.transport}, where the answers would come")
        try:
            password = read_password(registration.password_file)
        except ValueError as error:
            problems.append(f"{where}.password_file: {registration.password_file}: {error}")
        else:
            found[trunk.name] = _account(registration, password)
    if problems:
        raise ConfigError(problems)
    return found


def read_password(path: Path) -> str:
    """A file's only line. ValueError says what is wrong with it, without its content."""
    try:
        with path.open("rb") as file:
            if stat.S_IMODE(path.stat().st_mode) & (stat.S_IRWXG | stat.S_IRWXO):
                raise ValueError(f"can be read by others: chmod 600 {path}")
            raw = file.read(PASSWORD_BYTES_MAX + 1)
        password = raw.decode().rstrip("\r\n")
    except OSError as error:
        raise ValueError(error.strerror or "cannot be read") from error
    except UnicodeDecodeError:  # its message quotes the bytes
        raise ValueError("is no text") from None
    if not password or len(raw) > PASSWORD_BYTES_MAX or not password.isprintable():
        raise ValueError(f"must hold one line of up to {PASSWORD_BYTES_MAX} bytes, the password")
    return password


def wanted(settings: Settings, known: Accounts, answers: Answers, named: Named) -> Wanted:
    """Each account with the ways to its registrar; none while DNS has not told where that is."""
    return {
        trunk.name: (known[trunk.name], _ways(trunk, trunk.registration, answers, named))
        for trunk in settings.trunks
        if trunk.registration is not None and trunk.name in known
    }


def _ways(trunk: Trunk, registration: Registration, answers: Answers, named: Named) -> list[Flow]:
    address = registration.address
    local = named.get(trunk.listener, {}).get(address.transport)
    if local is None:
        return []
    told = [(address.host, 0)] if address.name is None else answers.get(address.name, ())
    places = [(host, port or address.default_port) for host, port in told if (":" in host) == (":" in local[0])]
    return [Flow(address.transport, local, place) for place in places]


def _account(registration: Registration, password: str) -> Account:
    address, user = registration.address, registration.user
    login = registration.login or user
    return Account(address.uri, address.domain, user, login, password, registration.expires_s)


def _transports(settings: Settings, trunk: Trunk) -> tuple[Transport, ...]:
    rows = {listener.name: listener.transports for listener in settings.sip.listeners}
    return rows.get(trunk.listener, settings.sip.transports)
