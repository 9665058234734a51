"""The channel to a worker process, over a real one."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.errors import Unavailable
from gateway.processes.channel import Channel

MESSAGE_BYTES = 8192


class Peer:
    """A channel to `peer.py` and what it has said."""

    def __init__(self) -> None:
        self.said: asyncio.Queue[bytes] = asyncio.Queue()
        self.lost = 0
        self.channel = Channel(
            *("peer", "tests.gateway.processes.peer", self._hear, self._lose), message_bytes=MESSAGE_BYTES
        )

    def _hear(self, data: bytes) -> None:
        if data == b"ready":
            self.channel.ready()
        else:
            self.said.put_nowait(data)

    def _lose(self) -> None:
        self.lost += 1

    async def until_lost(self) -> None:
        async with asyncio.timeout(10):
            while not self.lost:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def running() -> AsyncIterator[Peer]:
    peer = Peer()
    await peer.channel.start()
    try:
        yield peer
    finally:
        await peer.channel.stop()


def test_messages_and_duplicates_of_descriptors_arrive_in_order() -> None:
    async def go() -> None:
        async with running() as peer:
            assert peer.channel.is_ready
            with socket.socket() as one, socket.socket() as other:
                peer.channel.send(b"first", (one.fileno(), other.fileno()))
                peer.channel.send_now(b"second")
                assert [await peer.said.get() for _ in range(2)] == [b"first 2", b"second 0"]

    asyncio.run(go())


def test_what_a_busy_process_does_not_take_waits_unless_it_must_not() -> None:
    async def go() -> None:
        async with running() as peer:
            peer.channel.send(b"sleep")
            for _ in range(200):
                peer.channel.send(bytes(1000))
            assert peer.channel.waiting
            with pytest.raises(Unavailable, match="stuck"):
                peer.channel.send_now(b"now")
            assert await peer.said.get() == b"sleep 0"
            for _ in range(200):
                await peer.said.get()
            assert not peer.channel.waiting

    asyncio.run(go())


def test_its_death_is_told_once_and_it_can_be_started_again() -> None:
    async def go() -> None:
        async with running() as peer:
            first = peer.channel.pid
            peer.channel.kill()
            await peer.until_lost()
            assert not peer.channel.open
            with pytest.raises(Unavailable, match="no peer"):
                peer.channel.send(b"x")
            await peer.channel.start()
            assert peer.channel.pid != first
            peer.channel.send(b"again")
            assert await peer.said.get() == b"again 0"
            assert peer.lost == 1

    asyncio.run(go())


def test_one_that_ends_before_it_is_ready_does_not_start() -> None:
    async def go() -> None:
        peer = Peer()
        with pytest.raises(Unavailable, match="ended while starting"):
            await peer.channel.start("broken")
        assert not peer.lost
        await peer.channel.stop()

    asyncio.run(go())


def test_who_works_is_told_from_who_waits_or_is_stopped() -> None:
    async def wanting(peer: Peer, times: int) -> int:
        count = 0
        for _ in range(times):
            count += peer.channel.wants_processor
            await asyncio.sleep(0.02)
        return count

    async def go() -> None:
        async with running() as peer:
            peer.channel.send(b"spin")
            await asyncio.sleep(0.2)
            assert await wanting(peer, 10) == 10
            assert await peer.said.get() == b"spin 0"
            peer.channel.send(b"sleep")
            await asyncio.sleep(0.2)
            assert await wanting(peer, 10) == 0
            assert await peer.said.get() == b"sleep 0"
            assert peer.channel.pid is not None
            peer.channel.send(b"spin")
            await asyncio.sleep(0.2)
            os.kill(peer.channel.pid, signal.SIGSTOP)
            await asyncio.sleep(0.1)
            assert await wanting(peer, 5) == 0
            os.kill(peer.channel.pid, signal.SIGCONT)
        assert not peer.channel.wants_processor

    asyncio.run(go())
