"""Some calls at once, watched as a customer would watch them: what each of them waited for.

Events come by the API's live stream; what follows the end of a call is asked for when `call_ended` says so.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from benchmarks import native, speech
from benchmarks.installation import Installation
from benchmarks.onsets import Spoken, match
from benchmarks.signalling import PACKETS_A_SECOND, TRACKS, Call, Callers, legs_of
from benchmarks.speech import Speech
from gateway.client import ApiError, Client

KIND = "siprec"
SETTLE_S = 1.0  # between the last packet and the BYE: what is measured is the hang-up, not the last speech event
RATE = 100.0  # calls set up and hung up in a second, as the promise for set-up says
WAIT_S = 30.0
APART_NS = 4_000_000_000  # about the time from one onset of a leg to its next
GOLDEN = 0.618034
PAGE = 500  # calls in one answer of the API, its most
TRANSCRIPT_S = 300.0
TRANSCRIPT_POLL_S = 0.25  # ten callers who ask more often keep the API busy, and measure themselves
MEASURES = ("setup", "speech", "onset", "ready", "transcript")


@dataclass(slots=True)
class Samples:
    """Every single measurement of one load, in milliseconds."""

    ms: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in MEASURES})
    calls: int = 0  # that were up
    onsets: int = 0  # labelled
    false_starts: int = 0
    missed_onsets: int = 0
    audio_s: float = 0.0
    failures: list[str] = field(default_factory=list)
    schedule_kept: float = 1.0


@dataclass(frozen=True, slots=True)
class Event:
    """An event and when it was read: CLOCK_REALTIME as the kernel's stamps, CLOCK_MONOTONIC as everything else (ns)."""

    name: str
    fields: dict[str, Any]
    real_ns: int
    heard_ns: int


@dataclass(slots=True)
class Heard:
    """What a subscriber has read so far; `on_ended` is told the id of each call that ends."""

    events: list[Event] = field(default_factory=list)
    on_ended: Callable[[str], None] = field(default=lambda call_id: None)

    def read(self, client: Client) -> None:
        """Read until the connection ends; for a thread."""
        with contextlib.suppress(ApiError, OSError):
            for name, fields in client.events(timeout_s=WAIT_S + TRANSCRIPT_S):
                self.events.append(Event(name, fields, time.time_ns(), time.monotonic_ns()))
                if name == "call_ended":
                    self.on_ended(fields["call"])


class Round:
    """Some calls at once, from their INVITEs to their transcripts."""

    def __init__(
        self,
        running: Installation,
        callers: Callers,
        heard: Heard,
        circle: Speech,
        calls: list[Call],
        samples: Samples,
        transcribed: bool,
    ) -> None:
        self._running = running
        self._client = running.client
        self._callers = callers
        self._heard = heard
        self._circle = circle
        self._calls = calls
        self._samples = samples
        self._transcribed = transcribed

    def measure(self, generator: native.Generator, seconds: float) -> None:
        """Run it and add to the samples what was measured."""
        up, names = self._talk(generator, seconds)
        self._end(up, names)
        self._samples.failures += [call.failure for call in self._calls if call.failure]

    def measure_speech(self, generator: native.Generator, seconds: float) -> None:
        """The same as far as the calls talk; then they are only hung up."""
        up, _ = self._talk(generator, seconds, apart=True)
        self._callers.hang_up(up, RATE)
        self._callers.run(lambda: all(call.state in ("over", "failed") for call in up), len(up) / RATE + WAIT_S)
        self._samples.failures += [call.failure for call in self._calls if call.failure]

    def _talk(
        self, generator: native.Generator, seconds: float, apart: bool = False
    ) -> tuple[list[Call], dict[str, str]]:
        """Set up, talk, and take what speech events there were; the calls that were up, and their ids by number.

        Every leg begins in a pause of the speech, half a second before an onset; where legs are `apart`, not all at
        one instant.
        """
        samples = self._samples
        first_event = len(self._heard.events)
        self._callers.call(self._calls, RATE)
        setting_up_s = len(self._calls) / RATE + WAIT_S
        self._callers.run(lambda: all(call.state in ("up", "failed") for call in self._calls), setting_up_s)
        up = [call for call in self._calls if call.state == "up"]
        samples.ms["setup"] += [call.setup_ms for call in up]
        samples.calls += len(up)
        packets = round(seconds * PACKETS_A_SECOND)
        legs = legs_of(up, self._running.sip[0], time.monotonic_ns() + native.LEAD_NS, packets, self._circle.pause)
        if apart:
            legs = _apart(legs)
        sending = generator.start(legs)
        self._callers.run(lambda: time.monotonic_ns() > sending.last_ns, seconds + APART_NS / 1e9 + WAIT_S)
        sent = sending.wait(time.monotonic_ns())
        names = self._names()
        samples.schedule_kept = min(samples.schedule_kept, sent.schedule_kept)
        self._callers.run(lambda: False, SETTLE_S)
        self._speech(self._heard.events[first_event:], names, legs)
        return up, names

    def _names(self) -> dict[str, str]:
        """Whom each of our calls is to callvault: its id by the number that was dialled."""
        names: dict[str, str] = {}
        before = ""
        while listed := self._client.json(f"/v1/calls?limit={PAGE}{before}")["calls"]:
            names |= {call["detail"]["to"]: call["id"] for call in listed if call.get("detail")}
            if all(call.to_user in names for call in self._calls if call.state == "up"):
                break
            before = f"&before={listed[-1]['id']}"
        return names

    def _speech(self, events: list[Event], names: dict[str, str], legs: list[native.Leg]) -> None:
        """Speech events against the stamps that they carry, and against the labels of what was sent."""
        samples = self._samples
        tracks: dict[int, list[Spoken]] = {call.number: [] for call in self._calls}
        for leg in legs:
            # A packet leaves when its last sample has been spoken.
            spoken_ns = leg.first_ns - native.PACKET_NS
            places = self._circle.onsets(leg.frame * native.PACKET_SAMPLES, leg.packets * native.PACKET_SAMPLES)
            at_ns = [spoken_ns + place * 1_000_000_000 // speech.RATE_HZ for place in places]
            spoken = Spoken(tuple(at_ns), spoken_ns + leg.packets * native.PACKET_NS)
            tracks[leg.ssrc // TRACKS[KIND]].append(spoken)
        heard: dict[str, dict[str, list[int]]] = {}
        known = {names[call.to_user] for call in self._calls if call.to_user in names}
        for event in events:
            call_id, participant = str(event.fields["call"]), str(event.fields.get("participant"))
            if event.name == "speech_started" and call_id in known:
                samples.ms["speech"].append((event.real_ns - event.fields["stamp_ns"]) / 1e6)
                heard.setdefault(call_id, {}).setdefault(participant, []).append(event.heard_ns)
        for call in self._calls:
            if call.to_user in names and tracks[call.number]:
                found = match(tracks[call.number], heard.get(names[call.to_user], {}))
                samples.ms["onset"] += [delay_ns / 1e6 for delay_ns in found.delays_ns]
                samples.false_starts += found.false
                samples.missed_onsets += found.missed
                samples.onsets += sum(len(track.due) for track in tracks[call.number])
        samples.audio_s += sum(leg.packets for leg in legs) / PACKETS_A_SECOND

    def _end(self, up: list[Call], names: dict[str, str]) -> None:
        """Hang up, and ask for everything as soon as it is announced."""
        samples = self._samples
        by_id = {names[call.to_user]: call for call in up if call.to_user in names}
        samples.failures += ["a call is not listed"] * (len(up) - len(by_id))
        ended = {call_id: threading.Event() for call_id in by_id}
        self._heard.on_ended = lambda call_id: ended[call_id].set() if call_id in ended else None
        with ThreadPoolExecutor(max_workers=2 * len(up) + 1) as pool:
            ready = {call_id: pool.submit(self._when_ready, call_id, ended[call_id]) for call_id in by_id}
            transcribed = by_id if self._transcribed else ()
            transcript = {
                call_id: pool.submit(self._when_transcribed, call_id, ended[call_id]) for call_id in transcribed
            }
            self._callers.hang_up(up, RATE)
            self._callers.run(lambda: all(call.state in ("over", "failed") for call in up), WAIT_S)
            for name, futures in (("ready", ready), ("transcript", transcript)):
                for call_id, future in futures.items():
                    at_ns = future.result()
                    if at_ns is None:
                        samples.failures.append(f"no {name}")
                    else:
                        samples.ms[name].append((at_ns - by_id[call_id].left_ns) / 1e6)

    def _when_ready(self, call_id: str, ended: threading.Event) -> int | None:
        """When the first byte of the WAV had come, of a call that is no longer live."""
        if not ended.wait(WAIT_S):
            return None
        try:
            self._client.get(f"/v1/calls/{call_id}/audio", {"Range": "bytes=0-0"})
            at_ns = time.monotonic_ns()
            state = self._client.json(f"/v1/calls/{call_id}")["state"]
        except ApiError:
            return None
        return at_ns if state in ("ended", "stored") else None

    def _when_transcribed(self, call_id: str, ended: threading.Event) -> int | None:
        """When the redacted transcript had come."""
        deadline = time.monotonic() + TRANSCRIPT_S
        ended.wait(WAIT_S)
        time.sleep(TRANSCRIPT_POLL_S)  # nothing is transcribed in no time; let `ready` be measured undisturbed
        while time.monotonic() < deadline:
            try:
                self._client.get(f"/v1/calls/{call_id}/transcript")
            except ApiError:
                time.sleep(TRANSCRIPT_POLL_S)
            else:
                return time.monotonic_ns()
        return None


def _apart(legs: Sequence[native.Leg]) -> list[native.Leg]:
    """The same, beginning all over APART_NS, those of one call far from each other (multiples of the golden ratio)."""
    return [
        replace(leg, first_ns=leg.first_ns + round(index * GOLDEN % 1 * APART_NS)) for index, leg in enumerate(legs)
    ]
