"""What a command says of a leg, read and checked before anything of the engine is changed."""

from __future__ import annotations

import secrets
import socket
from ipaddress import ip_network

from media.codecs import codecs_named
from media.dtmf import Keys
from media.endpoints import UNNAMED, source_number
from media.errors import Unavailable, Unsupported
from media.legs import Leg
from media.lives import LIVES_MAX, life_begins
from media.messages import Address, Open
from media.outgoing import Outgoing
from media.sequence import Sequence
from media.sources import Former, SourceRule

UNPLACED = -1  # no row: the engine gives it one


def leg_of(command: Open, rtp: socket.socket, rtcp: socket.socket, rule: SourceRule | None) -> Leg:
    """The leg that the command describes, without a row yet; `rule` is that of the leg whose stream it continues.

    Raises Unsupported for a codec, address or network that we do not know, Unavailable for a life too many.
    """
    if not 0 <= command.life < LIVES_MAX:
        raise Unavailable("the leg has lost its worker too often")
    codecs, remote = codecs_named(command.codecs), UNNAMED if command.tapped else source_of(command.remote)
    try:
        networks = tuple(ip_network(network) for network in command.networks)
        former = Former.from_numbers(command.former)
    except (ValueError, TypeError):
        raise Unsupported("a media network is none, or a former stream is none") from None
    if rule is None:
        rule = SourceRule(remote, command.nat, networks, former, command.latched)
    clock_hz = next(iter(codecs.values())).clock_hz
    # RFC 3550 §5.1, §8: at random, so that nobody guesses them and no two streams are taken for one.
    outgoing = Outgoing(secrets.randbits(32), secrets.randbits(16), secrets.randbits(32))
    numbers, sequence = (command.event_pt, command.red_pt), Sequence(clock_hz, head=life_begins(command.life))
    leg = Leg(command.leg, UNPLACED, rtp, rtcp, codecs, *numbers, rule, sequence, outgoing)
    leg.reports = source_of(command.reports)
    leg.held, leg.announce, leg.hears = not command.sending, command.announce, command.hears
    leg.paused, leg.keys = command.paused, Keys(clock_hz) if command.keys else None
    if leg.withheld is not None:
        leg.sequence.interrupt(leg.withheld)
    return leg


def source_of(address: Address | None) -> int | None:
    """An address as sources are numbered; raises Unsupported where it is none."""
    try:
        return None if address is None else source_number(*address)
    except ValueError:
        raise Unsupported("media comes from an address") from None
