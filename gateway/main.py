"""`callvault serve`: the configuration checked as a whole, then the server, until a signal ends it."""

from __future__ import annotations

import argparse
import asyncio
import socket
import sys

from gateway.calls.announcement import Announcements
from gateway.config import Loaded, from_environment, parse_address
from gateway.errors import ConfigError
from gateway.ingest.listeners import bound_socket
from gateway.operations import logs
from gateway.server import Server
from storage.checks import problems
from storage.spoollock import server_of

KINDS = {"udp": socket.SOCK_DGRAM, "tcp": socket.SOCK_STREAM}


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
    asyncio.run(Server(loaded.settings, load, _announce).run())
    return 0


def check(loaded: Loaded) -> None:
    """Find everything that would keep `serve` from working: store, keyring, addresses, announcements.

    Raises ConfigError with all of it.
    """
    settings = loaded.settings
    found = problems(settings.data_folder, settings.keys_url, settings.objects_url)
    if taken := server_of(settings.data_folder):
        found.append(taken)
    sip = [("sip.listen", settings.sip.listen, transport) for transport in settings.sip.transports]
    for listener in settings.sip.listeners:
        sip += [(f"sip.listeners.{listener.name}", listener.address, transport) for transport in listener.transports]
    for name, listen, transport in (
        *sip,
        ("http.listen", settings.http.listen, "tcp"),
        ("media.address", f"{settings.media.address}:0", "udp"),
    ):
        try:
            bound_socket(parse_address(listen), KINDS[transport]).close()
        except OSError as error:
            found.append(f"{name}: {listen} cannot be used for {transport}: {error.strerror}")
    try:
        Announcements.load(settings).close()
    except ConfigError as error:
        found += error.problems
    if found:
        raise ConfigError(found)


def _announce(url: str) -> None:
    sys.stdout.write(f"callvault is ready: API at {url}\n")
    sys.stdout.flush()
