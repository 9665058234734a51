"""A media worker as a process: sockets come by descriptor passing, commands at once, every leg is reported."""

from __future__ import annotations

import multiprocessing
import os
import socket
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.context import SpawnProcess
from typing import IO, TypeVar

import numpy as np
import pytest

from media.codecs import PCMA
from media.datagrams import apart
from media.messages import (
    MESSAGE_BYTES_MAX,
    Close,
    Drain,
    Ended,
    Event,
    Load,
    Message,
    Open,
    OpenFailed,
    Pause,
    Paused,
    Play,
    Played,
    Ready,
    Resume,
    Resumed,
    Speech,
    SpoolFull,
    Start,
    Stats,
    decode,
    encode,
)
from media.rtp import Packet
from media.timeline import Gap, TrackFacts
from media.worker import Worker

from .bench import MemorySink, Sender, noise, udp_socket
from .test_vad import voice

EventT = TypeVar("EventT", bound=Event)

PATIENCE_S = 20  # a busy machine's


def _work(control: socket.socket, full: bool) -> None:
    sink = MemorySink()
    sink.full = full
    Worker(control, sink).run()


class Process:
    """A worker process and our end of its control socket."""

    def __init__(self, *, full: bool = False) -> None:
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.control.settimeout(PATIENCE_S)
        self.process: SpawnProcess = multiprocessing.get_context("spawn").Process(target=_work, args=(theirs, full))
        self.process.start()
        theirs.close()
        self.seen: list[Message] = []
        self._received: deque[Message] = deque()
        self.expect(Ready)

    def tell(self, message: Message, *files: socket.socket | IO[bytes]) -> None:
        socket.send_fds(self.control, [encode(message)], [file.fileno() for file in files])

    def expect(self, kind: type[EventT]) -> EventT:
        """The next event of this kind; others are remembered."""
        while True:
            while not self._received:
                self._received.extend(map(decode, apart(self.control.recv(MESSAGE_BYTES_MAX))))
            message = self._received.popleft()
            self.seen.append(message)
            if isinstance(message, kind):
                return message

    def open(self, leg: int, sender: Sender, **fields: object) -> tuple[str, int]:
        """Open a leg for `sender`; the address of its RTP port, whose sockets are the worker's alone afterwards."""
        rtp, rtcp = udp_socket(), udp_socket()
        address: tuple[str, int] = rtp.getsockname()
        origin_ns = time.monotonic_ns()
        command = Open(leg, {8: "PCMA"}, 101, sender.address, origin_ns=origin_ns)
        self.tell(replace(command, **fields), rtp, rtcp)  # type: ignore[arg-type]  # a test's own fields
        rtp.close()
        rtcp.close()
        return address


@pytest.fixture
def worker() -> Iterator[Process]:
    process = Process()
    yield process
    end(process)


def end(worker: Process) -> None:
    worker.control.close()  # the gateway is gone
    worker.process.join(PATIENCE_S)
    assert worker.process.exitcode == 0
    worker.process.close()


def play(sender: Sender, audio: bytes, address: tuple[str, int]) -> None:
    """Send G.711 in real time."""
    due = time.monotonic()
    for at in range(0, len(audio), 160):
        sender.sock.sendto(sender.packet(audio[at : at + 160]), address)
        due += 0.02
        time.sleep(max(0.0, due - time.monotonic()))


def test_a_leg_is_received_and_reported_with_its_facts(worker: Process) -> None:
    sender = Sender()
    address = worker.open(1, sender)
    play(sender, noise(600), address)
    worker.tell(Close(1))
    ended = worker.expect(Ended)
    facts = TrackFacts.from_json(ended.facts)
    assert (ended.leg, facts.tally.packets, facts.tally.lost) == (1, 30, 0)
    assert 600_000 <= facts.ended_us < PATIENCE_S * 1_000_000
    assert facts.first_us is not None
    assert facts.first_us < 500_000


def test_speech_is_told_within_the_tick_after_the_deciding_packet(worker: Process) -> None:
    sender = Sender()
    address = worker.open(1, sender)
    silence = np.zeros(1600, np.int16)
    play(sender, PCMA.encode(np.concatenate((silence, voice(400)))), address)
    speech = worker.expect(Speech)
    assert (speech.leg, speech.started) == (1, True)
    offset_ns = time.time_ns() - time.monotonic_ns()
    assert 0 <= speech.decided_ns - (speech.stamp_ns - offset_ns) < 1_000_000_000  # no timed test: an order


def test_a_pause_and_its_end_are_confirmed_with_their_order_and_call_time(worker: Process) -> None:
    sender = Sender()
    worker.open(1, sender)
    worker.tell(Pause(1, 7))
    paused = worker.expect(Paused)
    worker.tell(Resume(1, 8))
    resumed = worker.expect(Resumed)
    assert (paused.leg, paused.order, resumed.leg, resumed.order) == (1, 7, 1, 8)
    assert 0 < paused.at_us < resumed.at_us < PATIENCE_S * 1_000_000


def test_a_leg_opened_before_its_call_waits_for_its_start(worker: Process) -> None:
    sender = Sender()
    address = worker.open(1, sender, origin_ns=0)
    worker.tell(Start(1, time.monotonic_ns()))
    play(sender, noise(200), address)
    worker.tell(Close(1))
    assert TrackFacts.from_json(worker.expect(Ended).facts).tally.packets == 10


def test_what_cannot_be_opened_is_said_and_the_worker_lives_on(worker: Process) -> None:
    sender = Sender()
    worker.open(1, sender, codecs={18: "G729"})
    assert worker.expect(OpenFailed).leg == 1
    worker.tell(Open(2, {8: "PCMA"}))
    assert worker.expect(OpenFailed).leg == 2
    worker.control.send(b"not a message")
    worker.tell(Pause(77, 1))
    worker.tell(Close(77))
    worker.open(3, sender)
    worker.tell(Close(3))
    assert worker.expect(Ended).leg == 3


def test_stats_come_every_second(worker: Process) -> None:
    worker.open(1, Sender())
    stats = worker.expect(Stats)
    stats = worker.expect(Stats)
    assert (stats.legs, stats.full) == (1, False)
    assert 0 < stats.tick_p50_ms <= stats.tick_p99_ms
    assert 0 < stats.busy <= 1


def test_a_prompt_comes_by_descriptor_and_is_played_in_real_time(worker: Process) -> None:
    sender, prompt = Sender(), np.random.default_rng(4).normal(0, 3000, 1600).astype(np.int16)
    with os.fdopen(os.memfd_create("prompt"), "wb") as file:
        file.write(prompt.tobytes())
        file.flush()
        worker.tell(Load("greeting"), file)
    worker.tell(Load("nothing"))
    worker.tell(Load("no file"), sender.sock)
    address = worker.open(1, sender, announce=True)
    worker.tell(Play(1, "greeting"))
    sender.sock.settimeout(PATIENCE_S)
    heard = [Packet.parse(sender.sock.recv(2000)) for _ in range(10)]
    assert b"".join(packet.payload for packet in heard) == PCMA.encode(prompt)
    played = worker.expect(Played)
    assert (played.leg, played.complete, played.start_us < played.end_us) == (1, True, True)
    play(sender, noise(200), address)
    worker.tell(Close(1))
    facts = TrackFacts.from_json(worker.expect(Ended).facts)
    assert facts.tally.packets == 10
    assert facts.gaps[0] == Gap(0, played.end_us, "announcement")


def test_drain_closes_every_leg_reports_it_and_ends_the_process(worker: Process) -> None:
    senders = [Sender() for _ in range(5)]
    for leg, sender in enumerate(senders):
        worker.open(leg, sender)
    worker.tell(Drain())
    worker.open(9, senders[0])
    assert {worker.expect(Ended).leg for _ in senders} == set(range(5))
    worker.process.join(PATIENCE_S)
    assert worker.process.exitcode == 0


def test_a_full_sink_is_told_once() -> None:
    worker = Process(full=True)
    worker.open(4, Sender())
    worker.open(5, Sender())
    assert worker.expect(SpoolFull).legs == (4, 5)
    worker.expect(Stats)
    worker.expect(Stats)
    assert sum(isinstance(message, SpoolFull) for message in worker.seen) == 1
    end(worker)
