"""`callvault serve`: the configuration checked as a whole, then the server, until a signal ends it."""

from __future__ import annotations

import argparse
import asyncio
import socket
import sys

from gateway.addresses import parse_address
from gateway.calls.announcement import Announcements
from gateway.config import Loaded, Settings, from_environment
from gateway.errors import ConfigError
from gateway.ingest.certificates import contexts
from gateway.ingest.listeners import bound_socket
from gateway.ingest.registrars import accounts
from gateway.operations import logs
from gateway.server import Server
from storage.checks import problems
from storage.errors import StoreError
from storage.spoollock import server_of


def command(arguments: argparse.Namespace) -> int:
    """Run until SIGTERM or SIGINT. Exit 2, with every problem, when the configuration cannot be used."""

    def load() -> Loaded:
        overrides = {"data": arguments.data, "media.workers": arguments.media_workers}
        return from_environment(arguments.config, overrides)

    try:
        loaded = load()
        check(loaded)
    except ConfigError as error:
        for problem in error.problems:
            sys.stderr.write(f"callvault: {problem}\n")
        return 2
    logs.start(loaded.settings.log.level)
    try:
        asyncio.run(Server(loaded.settings, load, _announce).run())
    except StoreError as error:  # it could be used when it was checked, and cannot be now
        sys.stderr.write(f"callvault: {error}\n")
        return 1
    return 0


def check(loaded: Loaded) -> None:
    """Find everything that would keep `serve` from working: store, keyring, addresses, and the files it names.

    Raises ConfigError with all of it.
    """
    settings = loaded.settings
    store = (settings.data_folder, settings.keys_url, settings.objects_url)
    found = problems(*store, settings.store.catalogue, settings.tenant_keys, settings.witness_url)
    if taken := server_of(settings.data_folder):
        found.append(taken)
    for name, transport, address in (
        *settings.sip.places(),
        ("http.listen", "tcp", parse_address(settings.http.listen)),
        *((name, "udp", (host, 0)) for name, host in _media_addresses(settings)),
    ):
        try:
            bound_socket(address, socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM).close()
        except OSError as error:
            place = f"{address[0]}:{address[1]}"
            found.append(f"{name}: {place} cannot be used for {transport}: {error.strerror}")
    if settings.sip.secure:
        try:
            contexts(settings.sip.tls)
        except ConfigError as error:
            found += error.problems
    try:
        accounts(settings)
    except ConfigError as error:
        found += error.problems
    try:
        Announcements.load(settings).close()
    except ConfigError as error:
        found += error.problems
    if found:
        raise ConfigError(found)


def _media_addresses(settings: Settings) -> list[tuple[str, str]]:
    """Where media is received, and the setting that says so."""
    named = (("media.address", settings.media.address), ("media.address6", settings.media.address6))
    return [(name, host) for name, host in named if host]


def _announce(url: str) -> None:
    sys.stdout.write(f"callvault is ready: API at {url}\n")
    sys.stdout.flush()
