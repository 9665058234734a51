"""The process around the peers: takes commands as they come, drains all peers' sockets every 10 ms, tells what happens.

If the control socket ends, because the gateway is gone, every peer is let go, and the worker ends.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket

from media.errors import MediaError
from media.receive import SLOT_BYTES, Arena, Sources
from media.webrtc.messages import (
    DESCRIPTORS,
    MESSAGE_BYTES_MAX,
    Accept,
    Accepted,
    Connected,
    HangUp,
    Message,
    Over,
    Ready,
    Stats,
    decode,
    encode,
)
from media.webrtc.peer import Counts, Peer

TICK_S = 0.01  # what it may add to the way of a packet; the engine's tick of 20 ms comes after
SLOTS = 1024  # datagrams of one pass: two seconds of ten peers, or a tick of a thousand
PASSES_MAX = 4  # then the loop does something else; what is left waits in the sockets' buffers
STATS_TICKS = 100

_log = logging.getLogger(__name__)


class Worker:
    """One WebRTC process: `run` returns when the gateway has gone."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._arena = Arena(SLOTS)
        self._peers: dict[int, Peer] = {}
        self._sources = Sources()  # of the peers, by session
        self._counts = Counts()
        self._gone = asyncio.Event()
        self._busy = asyncio.Event()  # whether there is any peer

    async def run(self) -> None:
        """Work until the control socket ends."""
        self._control.setblocking(False)
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            loop.add_reader(self._control, self._take_commands)
            self._tell(Ready())
            draining = tasks.create_task(self._drain())
            await self._gone.wait()
            loop.remove_reader(self._control)
            for peer in self._peers.values():
                peer.end("the gateway is gone")
            draining.cancel()

    async def _drain(self) -> None:
        ticks = 0
        while True:
            await self._busy.wait()
            for _ in range(PASSES_MAX):
                if not self._pass():
                    break
            ticks += 1
            if ticks % STATS_TICKS == 0:
                self._tell_stats()
            await asyncio.sleep(TICK_S)

    def _pass(self) -> bool:
        """Take what waits; whether more may."""
        batch = self._arena.receive(self._sources)
        octets = self._arena.octets
        columns = (batch.keys, batch.lengths, batch.sources, batch.stamps_ns)
        for slot, (number, length, source, stamp_ns) in enumerate(
            zip(*(column.tolist() for column in columns), strict=True)
        ):
            start = slot * SLOT_BYTES
            peer = self._peers[number]
            try:
                peer.receive(octets[start : start + length].tobytes(), self._arena.source(source), stamp_ns)
            except Exception:  # the outermost line of a datagram: what a stranger sends ends this session and no other
                _log.exception("a datagram could not be taken", extra={"session": number})
                peer.end("a fault of ours")
        return batch.more

    def _take_commands(self) -> None:
        while True:
            try:
                data, descriptors, _, _ = socket.recv_fds(self._control, MESSAGE_BYTES_MAX, DESCRIPTORS)
            except BlockingIOError:
                return
            except OSError:
                data, descriptors = b"", []
            if not data:
                self._gone.set()
                return
            self._command(data, descriptors)

    def _command(self, data: bytes, descriptors: list[int]) -> None:
        try:
            message = decode(data)
            if isinstance(message, Accept) and len(descriptors) == DESCRIPTORS and message.session not in self._peers:
                sockets = [socket.socket(fileno=descriptor) for descriptor in descriptors]
                descriptors = []
                peer = Peer(message, sockets[0], sockets[1], sockets[2], self._counts)
                self._peers[message.session] = peer
                self._sources.add(message.session, sockets[0].fileno())
                self._busy.set()
                self._tasks.create_task(self._serve(message.session, peer))
                self._tell(Accepted(message.session, *peer.parameters))
            elif isinstance(message, HangUp) and message.session in self._peers:
                self._peers[message.session].end("hung up")
        except MediaError:
            _log.warning("control message refused")
        except Exception:  # the outermost line of a command: the gateway hears no `Accepted`, and says 503
            _log.exception("a command could not be carried out")
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    async def _serve(self, number: int, peer: Peer) -> None:
        """A session from its first check to its end, whatever that is."""
        why = "a fault of ours"
        try:
            try:
                why = await peer.run(lambda: self._tell(Connected(number)))
            finally:
                self._sources.remove(number)  # before its descriptor is another socket's
                del self._peers[number]
                await peer.close()
        except Exception:  # the outermost line of a session
            _log.exception("a session failed", extra={"session": number})
        finally:
            if not self._peers:
                self._busy.clear()
            self._tell_stats()
            self._tell(Over(number, why))

    def _tell_stats(self) -> None:
        self._tell(Stats(self._counts.packets, self._counts.refused, self._counts.overflowed))

    def _tell(self, message: Message) -> None:
        """A gateway that does not read loses statistics first of all; its end will be told by reading."""
        try:
            self._control.send(encode(message))
        except OSError:
            _log.warning("the gateway did not take a message")
