"""A media worker's process: the engine with the sealed spool, which workers write side by side, as its sink."""

from __future__ import annotations

import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Iterable
from pathlib import Path

from gateway.operations import logs
from gateway.processes.guarding import lock_memory, protect_memory
from gateway.processes.media_told import MediaTold
from media.messages import MESSAGE_BYTES_MAX
from media.native import CORE
from media.sink import SinkHealth
from media.worker import Worker
from storage.errors import StoreError
from storage.model import ArtefactId, ArtefactRef, CallId, Kind, ParticipantId, Secret, TenantId
from storage.spool import SpoolWriter
from storage.spoolheld import HeldLimits
from storage.spoollock import writing_beside_others

log = logging.getLogger(__name__)


class SpoolSink:
    """`media.sink.Sink` over the spool. A leg with an empty description is received and never stored."""

    def __init__(self, spool: SpoolWriter) -> None:
        self._spool = spool
        self._locked: bool | None = None  # whether this process' memory is kept out of swap; None: not tried yet
        self._unstored: set[int] = set()
        self._closed: list[int] = []

    def open(self, leg: int, description: dict[str, str]) -> None:
        """Expect chunks of the artefact that the description names; it carries the key, and is not kept."""
        if not description:
            self._unstored.add(leg)
            return
        ref = ArtefactRef(
            TenantId(description["tenant"]),
            CallId(description["call"]),
            ParticipantId(description["participant"]),
            ArtefactId(description["artefact"]),
            Kind(description["kind"]),
            description["purpose"],
        )
        self._spool.open(leg, ref, Secret(bytes.fromhex(description["key"])))

    def release(self, leg: int) -> None:
        """The key row is durable."""
        if leg not in self._unstored:
            self._spool.release(leg)

    def hold(self, leg: int) -> None:
        """Its keys are away: from now on this memory may hold it for hours."""
        if self._locked is None:
            self._locked = lock_memory()
            log.info("recordings are held in memory", extra={"locked": self._locked})
        if leg not in self._unstored:
            self._spool.hold(leg)

    def discard(self, leg: int) -> None:
        """Its keys are not going to come."""
        closed = self._spool.discard(leg)
        if closed:
            self._closed.append(leg)
        elif closed is not None:
            self._unstored.add(leg)

    def append(self, leg: int, start: int, end: int, chunk: bytes) -> None:
        """Seal and queue a chunk; of an unstored leg, forget it."""
        if leg not in self._unstored:
            self._spool.append(leg, start, end, chunk)

    def close(self, leg: int) -> None:
        """No chunk follows."""
        if leg in self._unstored:
            self._unstored.discard(leg)
            self._closed.append(leg)
        else:
            self._spool.close(leg)

    def poll(self) -> Iterable[int]:
        """Closed legs of which everything is durable."""
        closed, self._closed = self._closed, []
        return [*closed, *self._spool.poll()]

    def health(self) -> SinkHealth:
        """The spool's health in the engine's words."""
        health = self._spool.health()
        return SinkHealth(
            *(health.lag_ms, health.fsync_ms, health.full, health.exposure_ms, health.exposure_ms_max, health.dropped),
            *(health.held_streams, health.held_bytes, health.held_refused),
        )


def main(fd: int) -> None:
    """Run until the gateway closes the channel; then everything received is committed."""
    logs.start()
    protect_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the gateway drains and closes the channel
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # four descriptors a two-track call
    control = socket.socket(fileno=fd)
    told = MediaTold.parse(control.recv(MESSAGE_BYTES_MAX))
    logs.set_level(told.log_level)
    try:
        with writing_beside_others(Path(told.spool_folder)):
            _work(control, told)
    except StoreError as error:
        log.error("media worker cannot write the spool", extra={"reason": str(error)})
        sys.exit(1)


def _work(control: socket.socket, told: MediaTold) -> None:
    spool = SpoolWriter(
        Path(told.spool_folder),
        node=str(os.getpid()),
        file_bytes=told.file_mib << 20,
        limit_bytes=told.limit_mib << 20,
        held=HeldLimits(told.held_stream_mib << 20, told.held_total_mib << 20),
    )
    spool.start()
    try:
        Worker(control, SpoolSink(spool), CORE if told.native else None).run()
    finally:
        spool.stop()


if __name__ == "__main__":
    main(int(sys.argv[1]))
