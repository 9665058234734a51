"""What trunks need of the network between them and us."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Iterator

from gateway.addresses import parse_address
from gateway.config import Settings
from gateway.errors import ConfigError
from gateway.ingest.names import Names
from gateway.ingest.registrars import accounts
from gateway.operations.doctor.row import Row, State, graded
from gateway.tenants import Answers


def advertised(settings: Settings) -> Iterator[Row]:
    """Whether peers on the Internet are told addresses that exist there."""
    outside = sorted({trunk.name for trunk in settings.trunks if any(map(_is_public, trunk.networks))})
    told = [("media.advertised", settings.media.named)]
    told += [("media.advertised6", settings.media.named6)] if settings.media.named6 else []
    told += [(f"{name.removesuffix('.listen')}.advertised", host) for name, (host, _) in settings.sip.reached_by()]
    private = [f"{name}: {host}" for name, host in told if ipaddress.ip_address(host).is_private]
    found = f"{', '.join(host for _, host in told)}; trunks on the Internet: {', '.join(outside) or 'none'}"
    mend = f"trunks there cannot reach {'; '.join(private)}: give the address that NAT puts in its place"
    yield graded("advertised", found, mend, warn=bool(private and outside))


def _is_public(source: str) -> bool:
    return ipaddress.ip_network(source).is_global


def names(settings: Settings) -> Iterator[Row]:
    """Whether DNS knows the trunks' peers."""
    wanted = dict.fromkeys(name for trunk in settings.trunks for name in trunk.names)
    if not wanted:
        return
    found = asyncio.run(_answers(settings))
    missing = [name.name for name in wanted if not found[name]]
    yield graded(
        "peers' names",
        f"{len(wanted) - len(missing)} of {len(wanted)} have addresses",
        f"nothing comes from {', '.join(missing)} until DNS knows it: correct the name, the zone, or sip.nameservers",
        warn=bool(missing),
    )


async def _answers(settings: Settings) -> Answers:
    asked = Names([parse_address(text) for text in settings.sip.nameservers], lambda: None, lambda failing, now: None)
    asked.want(name for trunk in settings.trunks for name in trunk.names)
    await asked.look()
    return asked.answers


def registrations(settings: Settings) -> Iterator[Row]:
    """Whether our registrations can be asked for; how they fare, the running callvault tells."""
    count = sum(trunk.registration is not None for trunk in settings.trunks)
    if not count:
        return
    try:
        accounts(settings)
    except ConfigError as error:
        yield from (Row("registration", State.FAIL, problem, "correct it, then reload") for problem in error.problems)
    else:
        yield Row("registration", State.OK, f"{count}, with passwords; callvault_registrations says how they fare")
