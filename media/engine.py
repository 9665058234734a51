"""One tick of a media worker: send what is played, drain every socket, take the batch, hear it, flush whose turn it is.

Nothing here waits or gives the GIL away. Time comes in as arguments: `now_ns` is CLOCK_MONOTONIC, `wall_ns`
CLOCK_REALTIME of the same instant, in which the kernel stamps what it receives; only the clock that bounds the speech
detector's time is asked directly.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from media.codecs import codecs_named
from media.codecs.g711 import Samples
from media.ears import Ears
from media.endpoints import UNNAMED
from media.errors import Unavailable, Unsupported
from media.flushing import Flusher
from media.framelog import Reason
from media.intake import Intake, expect, recall
from media.latches import Latches
from media.legs import NEVER, Leg, Table, Turn, former_stream
from media.listen import Listener, told
from media.lives import life_of
from media.masking import Masks
from media.messages import Discard, Ended, Event, Hold, Open, Played, Pressed, Update
from media.muxing import demultiplexed
from media.native import CORE, Core
from media.opening import leg_of, source_of
from media.playout import Playout
from media.prompts import Prompts
from media.quiet import Watch
from media.receive import SLOTS, Arena, Sources
from media.reports import Reports
from media.secure import SecureLegs
from media.sink import Sink
from media.sources import Former, SourceRule
from media.srtp import Protection, protection
from media.tap import untap
from media.timeline import TrackFacts
from media.totals import Totals
from media.vad import Detectors

LEGS_MAX = 4096  # of one worker: twice what a core carries
TICK_NS = 20_000_000  # a packet's time: what arrives together is handled together
REPORT_TICKS = 25  # RTCP, and who is silent, is looked at every 500 ms
TELL_TICKS = 5  # and who is told how it is received, every 100 ms: so few at once that no tick feels it
HEAR_NS = 14_000_000  # into the tick: beyond this the speech detector is shed, to leave time for the audio
PASSES_MAX = 16  # of bursts in one tick, 5 s of a leg's packets; what is left waits in the sockets' buffers
CATCH_UP_NS = 200_000_000  # no pass begins later in a tick: who works off a backlog must not seem to be stuck


class Engine:
    """The legs of one worker. Not thread-safe: everything happens in the tick's thread."""

    def __init__(
        self,
        sink: Sink,
        clock: Callable[[], int],
        *,
        legs_max: int = LEGS_MAX,
        slots: int = SLOTS,
        core: Core | None = CORE,
    ) -> None:
        self._sink = sink
        self._table = Table(legs_max)
        self._legs: list[Leg | None] = [None] * legs_max
        self._rows = list(range(legs_max - 1, -1, -1))
        self._by_number: dict[int, Leg] = {}
        self._sources = Sources()  # of the legs that are read, by row
        # From whom the last leg of each local port took its stream; no more than there are ports.
        self._rules: dict[int, SourceRule] = {}
        self._passed_on: dict[int, Protection] = {}  # of the port closed last, should another leg go on there
        self._taps = np.zeros(legs_max, np.bool_)  # rows whose sockets are ends of a tap
        self._finished: dict[int, tuple[TrackFacts, Former | None]] = {}
        self._clock = clock
        self._detectors = Detectors(legs_max, core)
        self._ears = Ears(self._table, self._detectors)
        self._masks = Masks(self._table, self._legs, self._ears, sink)
        self._listener = Listener(self._table, self._detectors, self._ears, self._masks, clock, core)
        self._arena = Arena(slots, core)
        self._wall_offset_ns = 0
        self.totals = Totals(self._table)
        """Counters since the start, over all legs."""
        self._secure = SecureLegs(self._table, self._legs, self._arena)
        self._flusher = Flusher(self._table, self._legs, self._masks, TICK_NS)
        looks = self._flusher.flush, self._masks.hear_gap
        self._intake = Intake(self._table, self._legs, self._arena, self._detectors, self._ears, *looks, core)
        self._reports = Reports(self._table)
        self._watch = Watch(self._table, self._legs)
        self._latches = Latches(self._table, self._legs)
        self._prompts = Prompts()
        self._playout = Playout(self._table)
        self._events: list[Event] = []  # of commands, for the next tick to tell
        self._ticks = 0

    @property
    def legs(self) -> tuple[int, ...]:
        """The numbers of the open legs."""
        return tuple(self._by_number)

    @property
    def reports_sent(self) -> int:
        """RTCP reports on what was received, sent since the start."""
        return self._reports.sent

    @property
    def playing(self) -> int:
        """Legs that a prompt is being played to."""
        return self._playout.count

    @property
    def idle(self) -> bool:
        """Whether every leg is closed and reported."""
        return not self._by_number and not self._finished

    def open(self, command: Open, rtp: socket.socket, rtcp: socket.socket, now_ns: int) -> None:
        """Take a leg on; the sockets are the engine's from here on.

        Raises Unsupported for a codec, address or key that we do not know, Unavailable when there is no room.
        """
        port = 0 if command.tapped else rtp.getsockname()[1]
        secured = protection(self._passed_on.get(port) if command.continues else None, command.srtp)
        leg = leg_of(command, rtp, rtcp, self._rules.get(port) if command.continues else None)
        if command.leg in self._by_number or command.leg in self._finished:
            raise Unsupported("a leg of this number is open")
        if not self._rows:
            raise Unavailable("the worker has no room for another leg")
        rtp.setblocking(False)
        rtcp.setblocking(False)
        row = leg.row = self._rows.pop()
        self._table.clear(row)
        leg.protection, self._table.secured[row] = secured, secured is not None
        leg.muxed = self._table.muxed[row] = command.mux
        self._taps[row] = command.tapped
        self._detectors.open(row)
        self._table.masking[row] = command.mask
        self._legs[row] = leg
        self._by_number[leg.number] = leg
        self._sink.open(leg.number, command.sink)
        self._reports.open(leg)
        self._table.from_us[row] = command.from_us
        expect(self._table, leg, 0)
        self._latches.know(row, told=not command.continues)
        since_us = max(0, now_ns - command.origin_ns) // 1000 if command.continues and command.origin_ns else 0
        self._watch.expect(row, command.quiet_s, since_us)
        self._table.origin_ns[row] = command.origin_ns
        if command.origin_ns and command.answered:
            self.start(leg.number, command.origin_ns)
        if command.life:
            self._go_on(leg, command, now_ns)

    def start(self, number: int, origin_ns: int) -> None:
        """The call began: read the leg from now on. Its first packets wait in the socket meanwhile."""
        leg = self._by_number.get(number)
        if leg is None or leg.row in self._sources:
            return
        self._table.origin_ns[leg.row] = origin_ns
        self._table.receiving[leg.row] = leg.withheld is None
        self._sources.add(leg.row, leg.rtp.fileno())
        if leg.withheld is not None and not life_of(leg.sequence.head):
            self._flusher.flush(leg.row, closing=True)  # what a crash leaves says that nothing was to be kept yet

    def update(self, command: Update, now_ns: int) -> None:
        """A re-INVITE was answered. Raises Unsupported, and changes nothing, as `open` does."""
        leg = self._by_number.get(command.leg)
        if leg is None:
            return
        codecs = codecs_named(command.codecs)
        remote = UNNAMED if self._taps[leg.row] else source_of(command.remote)
        self._drain(leg, now_ns)
        leg.protection = protection(leg.protection, command.srtp)
        self._table.secured[leg.row] = leg.protection is not None
        leg.muxed = self._table.muxed[leg.row] = command.mux
        leg.codecs, leg.event_pt, leg.red_pt = codecs, command.event_pt, command.red_pt
        leg.rule.update(remote, self._table.call_us(leg.row, now_ns))
        if leg.payload_type not in codecs:
            leg.payload_type = NEVER
        leg.reports = source_of(command.reports)
        leg.held, leg.hears = not command.receiving, command.hears
        self._watch.expect(leg.row, command.quiet_s, self._table.call_us(leg.row, now_ns))
        self._withhold(leg, now_ns)
        if origin_ns := int(self._table.origin_ns[leg.row]):
            self.start(leg.number, origin_ns)  # unless it has
        if leg.withheld is not None and leg.row in self._sources:
            at_us = self._table.call_us(leg.row, now_ns)
            self._flusher.flush(leg.row, closing=True, written_us=at_us)  # as for a pause

    def load(self, prompt: str, samples: Samples) -> None:
        """Know a prompt from now on. Raises Unsupported for none or too long a one."""
        self._prompts.load(prompt, samples)

    def play(self, number: int, prompt: str, now_ns: int) -> None:
        """Play a prompt to a leg, from the next tick on; one that is unknown is over at once, incomplete."""
        leg, found = self._by_number.get(number), self._prompts.find(prompt)
        if leg is None:
            return
        ended = self._playout.stop(leg) if found is None else self._playout.play(leg, found)
        if ended is not None:
            self._events.append(ended)
        if found is None:
            at_us = self._table.call_us(leg.row, now_ns)
            self._events.append(Played(number, at_us, at_us, complete=False))
        else:
            self._reports.sends(leg)

    def pause(self, number: int, now_ns: int) -> int | None:
        """Keep nothing of the leg until `resume`; the call time from which on that holds. None: no such leg."""
        return self._set_paused(number, now_ns, paused=True)

    def resume(self, number: int, now_ns: int) -> int | None:
        """Keep it again; the call time as for `pause`."""
        return self._set_paused(number, now_ns, paused=False)

    def release(self, number: int) -> None:
        """What was received of the leg may become durable."""
        if number in self._by_number or number in self._finished:
            self._sink.release(number)

    def withhold(self, command: Hold | Discard) -> None:
        """It may be long until it may; or it never may, and the leg goes on."""
        if command.leg in self._by_number or command.leg in self._finished:
            act = self._sink.hold if isinstance(command, Hold) else self._sink.discard
            act(command.leg)

    def close(self, number: int, now_ns: int) -> None:
        """Take what has arrived until now and let the leg go; `ended` tells when all of it is durable."""
        leg = self._by_number.pop(number, None)
        if leg is None:
            return
        if (played := self._playout.stop(leg)) is not None:
            self._events.append(played)
        self._drain(leg, now_ns)
        self._intake.settle(leg)
        leg.sequence.end()
        self._flusher.flush(leg.row, closing=True)
        self._masks.finish(leg.row)
        self._masks.close(leg)
        self._finished[number] = leg.timeline.facts(), former_stream(self._table, leg)
        if not self._taps[leg.row]:
            self._rules[leg.rtp.getsockname()[1]] = leg.rule
        self._sink.close(number)
        self._passed_on = {leg.rtp.getsockname()[1]: leg.protection} if leg.protection is not None else {}
        self.totals.close(leg.row)
        self._reports.close(leg, now_ns, self._wall_offset_ns)
        self._detectors.close(leg.row)
        self._ears.close(leg.row)
        self._sources.remove(leg.row)
        self._taps[leg.row] = False
        leg.rtp.close()
        leg.rtcp.close()
        self._table.clear(leg.row)
        self._legs[leg.row] = None
        self._rows.append(leg.row)

    def ended(self) -> list[Ended]:
        """The closed legs that the sink has made durable since the last call, with their facts."""
        found = [(number, self._finished.pop(number, (None, None))) for number in self._sink.poll()]
        return [
            Ended(number, facts.to_json(), former.to_numbers() if former else ())
            for number, (facts, former) in found
            if facts is not None
        ]

    def tick(self, now_ns: int, wall_ns: int) -> list[Event]:
        """Do one tick's work; what happened in it, and in the commands since the last one."""
        self._flusher.now_ns, self._wall_offset_ns = now_ns, wall_ns - now_ns
        events, self._events = self._events, []
        events += self._announced(self._playout.tick(now_ns))
        turns: list[Turn] = []
        for _ in range(PASSES_MAX):
            more = self._receive(self._sources)
            turns += self._listener.listen(now_ns + HEAR_NS)
            if not more or self._clock() > now_ns + CATCH_UP_NS:
                break
        turns += self._listener.silent(now_ns)
        turns, self._intake.turns = self._intake.turns + turns, []
        self._masks.tick()
        self._flusher.tick()
        if self._ticks % REPORT_TICKS == 0:
            self._reports.exchange(now_ns, self._wall_offset_ns)
            events += self._watch.look(now_ns)
            events += self._latches.look()
        if self._ticks % TELL_TICKS == 0:
            self._reports.tell(now_ns, self._wall_offset_ns)
        self._ticks += 1
        return events + self._pressed() + told(turns, self._table, self._legs, self._clock())

    def _pressed(self) -> list[Pressed]:
        """The keys that were pressed since the last time."""
        pressed = self._intake.pressed + self._masks.pressed
        self._intake.pressed, self._masks.pressed = [], []
        return pressed

    def _announced(self, over: list[Played]) -> list[Played]:
        """The prompts that are over; legs that have waited for theirs are kept from now on.

        Now is after the last packet was sent, so that nothing that arrived before it is kept, whenever it is read.
        """
        if not over:
            return over
        now_ns, told = max(self._flusher.now_ns, self._clock()), []
        for played in over:
            leg = self._by_number[played.leg]
            if played.complete and leg.announce:
                end_us = self._table.call_us(leg.row, now_ns)
                # Says how long, should nothing else be said.
                self._flusher.flush(leg.row, closing=True, written_us=end_us)
                leg.announce = False
                self._table.from_us[leg.row] = end_us
                self._withhold(leg, now_ns)
                told.append(replace(played, end_us=end_us))
            else:
                told.append(played)
        return told

    def _receive(self, sources: Sources) -> bool:
        """One pass over these sockets; whether more may wait."""
        batch, levels = self._arena.receive(sources), None
        if batch.ipv6:
            self._table.recognise(batch, self._arena)
        if self._table.muxed.any():
            batch, told = demultiplexed(batch, self._arena.words, self._table.muxed)
            if told is not None:
                self._reports.keep(told, self._arena)
        batch = self._secure.open(batch)
        if self._taps.any():
            batch, levels = untap(batch, self._arena.octets, self._taps)
        self._intake.take(batch, self._flusher.now_ns, self._wall_offset_ns, levels)
        return batch.more

    def _drain(self, leg: Leg, now_ns: int) -> None:
        """Take what has arrived for one leg, under the rules that held until now."""
        self._flusher.now_ns = max(self._flusher.now_ns, now_ns)
        if leg.row in self._sources:
            alone = self._sources.only(leg.row)
            for _ in range(PASSES_MAX):
                if not self._receive(alone):
                    break

    def _set_paused(self, number: int, now_ns: int, *, paused: bool) -> int | None:
        leg = self._by_number.get(number)
        if leg is None:
            return None
        self._drain(leg, now_ns)
        now_ns = max(now_ns, self._clock())  # after the last packet that was still taken
        at_us = self._table.call_us(leg.row, now_ns)
        if leg.paused is not paused:
            leg.paused = paused
            # What waits in a socket that was not emptied came before: it was not to be kept, and is not now.
            self._table.from_us[leg.row] = max(int(self._table.from_us[leg.row]), at_us)
            self._withhold(leg, now_ns)
            self._flusher.flush(leg.row, closing=True, written_us=at_us)  # what a crash leaves says it too
        return at_us

    def _withhold(self, leg: Leg, now_ns: int) -> None:
        """What the leg's flags say of keeping it holds from now on."""
        self._intake.settle(leg)
        recall(self._table, leg)
        if (reason := leg.withheld) is not None:
            # A silence that began in a pause is a paused one, whatever else comes before its end.
            paused = leg.sequence.silence is Reason.PAUSED
            leg.sequence.interrupt(Reason.PAUSED if paused else reason)
            leg.fenced = True
        self._table.receiving[leg.row] = leg.row in self._sources and leg.withheld is None
        expect(self._table, leg, self._table.call_us(leg.row, now_ns))

    def _go_on(self, leg: Leg, command: Open, now_ns: int) -> None:
        """Another worker has received the leg until it died: what is missing until now is its loss, and its silence."""
        now_us = self._table.call_us(leg.row, now_ns)
        if leg.withheld is None:
            leg.sequence.interrupt(Reason.WORKER_LOST)
        leg.timeline.go_on(now_us)
        self._watch.expect(leg.row, command.quiet_s, now_us)
        expect(self._table, leg, now_us)
        self._flusher.flush(leg.row, closing=True, written_us=now_us)  # says from when this life receives
