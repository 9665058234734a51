"""Whose packets a leg takes is decided by the description, the media networks, and one latch."""

from __future__ import annotations

import json
from ipaddress import IPv4Network, ip_network

import pytest

from media.endpoints import source_number
from media.sources import RELATCH_US, Former, SourceRule

REMOTE = source_number("192.0.2.1", 4000)
INSIDE = source_number("198.51.100.7", 4000)
MOVED = source_number("198.51.100.8", 6000)
OUTSIDE = source_number("203.0.113.1", 4000)
NETWORKS = (IPv4Network("198.51.100.0/24"),)


def accepts(rule: SourceRule, source: int, at_us: int = 0) -> bool:
    return rule.accepts(source, 1, 1000, at_us, at_us * 1000)


def test_only_the_descriptions_address_and_port_are_taken() -> None:
    rule = SourceRule(REMOTE, nat=False, networks=NETWORKS)
    sources = (REMOTE, REMOTE + 1, INSIDE, OUTSIDE)
    assert [accepts(rule, source) for source in sources] == [True, False, False, False]


def test_an_update_moves_the_address() -> None:
    rule = SourceRule(REMOTE, nat=False)
    rule.update(MOVED, 0)
    assert [accepts(rule, source) for source in (REMOTE, MOVED)] == [False, True]


def test_behind_nat_one_source_of_the_networks_latches() -> None:
    rule = SourceRule(REMOTE, nat=True, networks=NETWORKS)
    sources = (OUTSIDE, INSIDE, MOVED, REMOTE, INSIDE)
    assert [accepts(rule, source) for source in sources] == [False, True, False, False, True]


def test_behind_nat_the_descriptions_own_address_latches_too() -> None:
    rule = SourceRule(REMOTE, nat=True, networks=NETWORKS)
    assert [accepts(rule, source) for source in (REMOTE, INSIDE)] == [True, False]


def test_an_update_opens_for_one_other_source_and_not_for_long() -> None:
    rule = SourceRule(REMOTE, nat=True, networks=NETWORKS)
    assert accepts(rule, INSIDE)
    rule.update(REMOTE, 1_000_000)
    assert accepts(rule, INSIDE, 1_100_000)
    assert not accepts(rule, MOVED, 1_000_001 + RELATCH_US)
    assert accepts(rule, MOVED, 1_200_000)
    assert not accepts(rule, INSIDE, 1_300_000)


@pytest.mark.parametrize(
    ("source", "ssrc", "timestamp", "goes_on"),
    [
        (INSIDE, 9, 80_000 + 8000 * 60, True),
        (INSIDE, 9, 80_000 + 8000 * 61, True),  # drift and a queue
        (INSIDE, 9, 80_000, False),  # a device that begins each call with the same numbers
        (INSIDE, 8, 80_000 + 8000 * 60, False),
        (MOVED, 9, 80_000 + 8000 * 60, False),
    ],
)
def test_a_former_stream_is_known_by_its_clock(source: int, ssrc: int, timestamp: int, *, goes_on: bool) -> None:
    former = Former(INSIDE, 9, 80_000, 8000, 0)
    rule = SourceRule(REMOTE, nat=True, networks=NETWORKS, former=former)
    assert former.goes_on(source, ssrc, timestamp, 60_000_000_000) is goes_on
    assert rule.accepts(source, ssrc, timestamp, 0, 60_000_000_000) is not goes_on


INSIDE6, OUTSIDE6 = source_number("2001:db8::7", 4000), source_number("2001:db9::7", 4000)


def test_behind_nat_networks_of_both_families_count_each_for_its_own() -> None:
    networks = (ip_network("2001:db8::/32"), ip_network("::/96"), *NETWORKS)
    sources = (OUTSIDE6, source_number("::198.51.100.7", 4000), INSIDE6, INSIDE)
    assert [accepts(SourceRule(None, nat=True, networks=networks), source) for source in sources] == [
        False,
        True,
        True,
        True,
    ]
    only6 = SourceRule(None, nat=True, networks=networks[:2])
    assert [accepts(only6, source) for source in (INSIDE, OUTSIDE6, INSIDE6, INSIDE6 + 1)] == [
        False,
        False,
        True,
        False,
    ]


def test_a_former_stream_over_ipv6_is_told_whole() -> None:
    former = Former(INSIDE6, 9, 80_000, 8000, 0)
    assert Former.from_numbers(json.loads(json.dumps(former.to_numbers()))) == former
