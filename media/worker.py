"""The process around the engine: takes commands as they come, ticks every 20 ms, and tells what happens.

Between ticks it waits on the control socket; a command never waits for a tick. Without a leg it ticks less often. If
the control socket ends, because the gateway is gone, the worker closes its legs as on `Drain` and ends: what has been
received is kept.
"""

from __future__ import annotations

import gc
import logging
import os
import select
import socket
import time
from collections import deque
from itertools import islice

import numpy as np

from media.datagrams import fitting, together
from media.engine import TICK_NS, Engine
from media.errors import MediaError, Unsupported
from media.flushing import FLUSH_TICKS
from media.masking import HOLD_TICKS
from media.messages import (
    MESSAGE_BYTES_MAX,
    Close,
    Discard,
    Drain,
    Event,
    Hold,
    Load,
    Message,
    Open,
    OpenFailed,
    Pause,
    Paused,
    Play,
    Ready,
    Release,
    Resume,
    Resumed,
    Speech,
    SpoolFull,
    Start,
    Stats,
    Update,
    decode,
    encode,
)
from media.native import CORE, Core
from media.prompts import PROMPT_S_MAX, RATE_HZ
from media.sink import Sink

STATS_NS = 1_000_000_000
GATHERED_MS = (FLUSH_TICKS + HOLD_TICKS) * TICK_NS / 1e6  # of a leg at most, before the sink has it: at stake too
IDLE_NS = 200_000_000  # between two ticks without a leg: a worker that stands by costs next to nothing
COMMANDS_MAX = 64  # taken between two looks at the clock
UNSENT_MAX = 4096  # events kept for a gateway that does not read; beyond, speech and stats are dropped, ends never
DRAIN_NS_MAX = 10_000_000_000  # then a sink that cannot make its chunks durable is given up
PROMPT_BYTES_MAX = 2 * PROMPT_S_MAX * RATE_HZ
_DESCRIPTORS_MAX = 2  # of one message: RTP and RTCP

_log = logging.getLogger(__name__)


class Worker:
    """One media process: `run` returns when it has been drained."""

    def __init__(self, control: socket.socket, sink: Sink, core: Core | None = CORE) -> None:
        self._control = control
        self._sink = sink
        self._engine = Engine(sink, time.monotonic_ns, core=core)
        self._unsent: deque[bytes] = deque()
        self._durations_ns: list[int] = []
        self._drain_by_ns: int | None = None
        self._gone = False
        self._full = False

    def run(self) -> None:
        """Work until `Drain`, or the end of the control socket, has been carried out."""
        self._control.setblocking(False)
        # What exists now lives as long as the process: the collector need not look at it in a tick.
        gc.collect()
        gc.freeze()
        poller = select.poll()
        poller.register(self._control, select.POLLIN)
        self._send(Ready())
        self._flush_unsent()
        next_ns = stats_ns = time.monotonic_ns()
        while not self._done(now_ns := time.monotonic_ns()):
            if now_ns < next_ns:
                # A millisecond is the finest that poll waits; it rounds up, so that the loop does not spin.
                if poller.poll((next_ns - now_ns) / 1e6):
                    self._take_commands()
                    self._flush_unsent()
                    if self._gone:
                        poller = select.poll()
                    if not self._engine.idle:
                        next_ns = min(next_ns, now_ns + TICK_NS)
                continue
            self._tick(now_ns)
            # A tick that came late is not made up for: the sockets have kept everything.
            next_ns += (max(0, now_ns - next_ns) // TICK_NS + 1) * TICK_NS
            if self._engine.idle:
                next_ns = max(next_ns, now_ns + IDLE_NS)
            if now_ns - stats_ns >= STATS_NS:
                self._tell_stats(now_ns - stats_ns)
                self._flush_unsent()
                stats_ns = now_ns

    def _tick(self, now_ns: int) -> None:
        for event in self._engine.tick(now_ns, time.time_ns()):
            self._send(event)
        for ended in self._engine.ended():
            self._send(ended)
        self._flush_unsent()
        self._durations_ns.append(time.monotonic_ns() - now_ns)

    def _done(self, now_ns: int) -> bool:
        if self._drain_by_ns is None:
            return False
        told = self._engine.idle and (self._gone or not self._unsent)
        return told or now_ns > self._drain_by_ns

    def _take_commands(self) -> None:
        for _ in range(COMMANDS_MAX):
            try:
                data, descriptors, _, _ = socket.recv_fds(self._control, MESSAGE_BYTES_MAX, _DESCRIPTORS_MAX)
            except BlockingIOError:
                return
            except OSError:
                data, descriptors = b"", []
            if not data and not descriptors:
                self._gone = True
                self._drain()
                return
            self._command(data, descriptors)

    def _command(self, data: bytes, descriptors: list[int]) -> None:
        try:
            message = decode(data)
            if isinstance(message, Open):
                self._open(message, descriptors)
                descriptors = []
            elif isinstance(message, Load):
                self._load(message, descriptors)
            else:
                self._obey(message)
        except MediaError:
            _log.warning("control message refused")
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _open(self, command: Open, descriptors: list[int]) -> None:
        """Open a leg, which takes over the descriptors, or say why not."""
        sockets = [socket.socket(fileno=descriptor) for descriptor in descriptors]
        reason = "the leg came without its two sockets"
        if len(sockets) == _DESCRIPTORS_MAX:
            reason = "the worker is draining"
            if self._drain_by_ns is None:
                try:
                    self._engine.open(command, sockets[0], sockets[1], time.monotonic_ns())
                except MediaError as error:
                    reason = str(error)
                else:
                    return
        for sock in sockets:
            sock.close()
        self._send(OpenFailed(command.leg, reason))

    def _load(self, command: Load, descriptors: list[int]) -> None:
        """Learn a prompt; one that cannot be had is unknown to `Play`, and nothing is kept of a leg that needs it."""
        if len(descriptors) != 1:
            raise Unsupported("a prompt comes with one descriptor")
        size = os.fstat(descriptors[0]).st_size
        if size > PROMPT_BYTES_MAX:
            raise Unsupported("a prompt is too long")
        try:
            samples = os.pread(descriptors[0], size, 0)
        except OSError:
            raise Unsupported("a prompt comes in a file") from None
        self._engine.load(command.prompt, np.frombuffer(samples[: size - size % 2], np.int16))

    def _obey(self, command: Message) -> None:
        now_ns = time.monotonic_ns()
        match command:
            case Start():
                self._engine.start(command.leg, command.origin_ns)
            case Update():
                self._engine.update(command, now_ns)
            case Play():
                self._engine.play(command.leg, command.prompt, now_ns)
            case Pause():
                if (at_us := self._engine.pause(command.leg, now_ns)) is not None:
                    self._send(Paused(command.leg, command.order, at_us))
            case Resume():
                if (at_us := self._engine.resume(command.leg, now_ns)) is not None:
                    self._send(Resumed(command.leg, command.order, at_us))
            case Release():
                self._engine.release(command.leg)
            case Hold() | Discard():
                self._engine.withhold(command)
            case Close():
                self._engine.close(command.leg, now_ns)
            case Drain():
                self._drain()
            case _:
                _log.warning("control message is no command")

    def _drain(self) -> None:
        now_ns = time.monotonic_ns()
        if self._drain_by_ns is None:
            self._drain_by_ns = now_ns + DRAIN_NS_MAX
        for leg in self._engine.legs:
            self._engine.close(leg, now_ns)

    def _tell_stats(self, passed_ns: int) -> None:
        durations = sorted(self._durations_ns) or [0]
        self._durations_ns.clear()
        health = self._sink.health()
        self._send(
            Stats(
                tick_p50_ms=durations[len(durations) // 2] / 1e6,
                tick_p99_ms=durations[len(durations) * 99 // 100] / 1e6,
                packets=self._engine.totals.counted("packets"),
                legs=len(self._engine.legs),
                spool_lag_ms=health.lag_ms,
                fsync_ms=health.fsync_ms,
                shed=self._engine.totals.shed,
                full=health.full,
                # The tick that was just measured began within `passed_ns` and may have ended after it.
                busy=min(1.0, sum(durations) / passed_ns),
                lost=self._engine.totals.counted("lost"),
                late=self._engine.totals.counted("late"),
                foreign=self._engine.totals.counted("foreign"),
                overflowed=self._engine.totals.overflowed,
                playing=self._engine.playing,
                exposure_ms=GATHERED_MS + health.exposure_ms if self._engine.legs else health.exposure_ms,
                exposure_ms_max=GATHERED_MS + health.exposure_ms_max if health.exposure_ms_max else 0.0,
                dropped=health.dropped,
                unauthentic=self._engine.totals.unauthentic,
                replayed=self._engine.totals.replayed,
                reports_sent=self._engine.reports_sent,
                held_streams=health.held_streams,
                held_bytes=health.held_bytes,
                held_refused=health.held_refused,
            )
        )
        if health.full and not self._full:
            self._send(SpoolFull(self._engine.legs))
        self._full = health.full

    def _send(self, event: Event) -> None:
        if len(self._unsent) >= UNSENT_MAX and isinstance(event, Speech | Stats):
            return
        self._unsent.append(encode(event))

    def _flush_unsent(self) -> None:
        """Send what the gateway takes, as few datagrams as hold it; the rest waits for the next tick."""
        while self._unsent and not self._gone:
            count = fitting(self._unsent, MESSAGE_BYTES_MAX)
            try:
                self._control.send(together(islice(self._unsent, count)))
            except BlockingIOError:
                return
            except OSError:
                return  # the gateway is gone: reading will tell, and drain
            for _ in range(count):
                self._unsent.popleft()
