"""Live events: each tenant sees its own, and nobody waits for a slow reader."""

from __future__ import annotations

import asyncio

import pytest

from gateway.events import QUEUE_EVENTS_MAX, SUBSCRIBERS_MAX, Hub, LiveEvent, TooMany
from storage.model import CallId, TenantId

ACME, BETA = TenantId("a" * 32), TenantId("b" * 32)


def event(tenant: TenantId, name: str = "call_started") -> LiveEvent:
    return LiveEvent(name, tenant, CallId("c" * 32))


def test_a_tenant_gets_its_own_events_only() -> None:
    async def run() -> None:
        hub = Hub()
        with hub.subscribe(ACME) as acme, hub.subscribe(BETA) as beta:
            hub.publish(event(ACME))
            assert acme.qsize() == 1
            assert beta.qsize() == 0

    asyncio.run(run())


def test_a_slow_reader_loses_the_oldest_and_sees_it_by_the_numbers() -> None:
    async def run() -> None:
        hub = Hub()
        with hub.subscribe(ACME) as queue:
            for _ in range(QUEUE_EVENTS_MAX + 3):
                hub.publish(event(ACME))
            numbers = [queue.get_nowait()[0] for _ in range(queue.qsize())]
        assert numbers == list(range(4, QUEUE_EVENTS_MAX + 4))

    asyncio.run(run())


def test_one_subscriber_too_many_is_refused_and_a_leaver_makes_room() -> None:
    async def run() -> None:
        hub = Hub()
        held = [hub.subscribe(ACME) for _ in range(SUBSCRIBERS_MAX)]
        for context in held:
            context.__enter__()
        with pytest.raises(TooMany), hub.subscribe(ACME):
            pass
        held[0].__exit__(None, None, None)
        with hub.subscribe(ACME):
            pass

    asyncio.run(run())


def test_what_subscribers_get_holds_ids_and_times_only() -> None:
    fields = LiveEvent("speech_started", ACME, CallId("c" * 32), at_ms=12.345).fields()
    assert fields == {"call": "c" * 32, "at_ms": 12.3}
