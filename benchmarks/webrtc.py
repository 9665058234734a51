"""How many WebRTC calls a core carries: `python -m benchmarks.calls --kind webrtc --calls N --seconds S [--json FILE]`.

A whole callvault, transcription off, takes N calls of two WHIP sessions each: real ICE, DTLS and SRTP, Opus with the
audio level beside it as browsers send it, speech detection, sealing, uploads, DELETE. Then every recording is opened by
this process and its frames are counted. The figures mean what they mean there; the senders and their
encryption are this process's, and are not counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import httpx
import numpy as np

from benchmarks import installation, machine, processes, recorded, report, speech
from benchmarks.browsers import CODECS, LEVEL_ID, OPUS, Browser
from benchmarks.installation import Installation
from media.codecs import BY_NAME, PCMA
from media.rtp import Packet
from transcription.audio import resample

KIND = "webrtc"
TRACKS = 2
PACKETS_A_SECOND = 50
PACKET_MS = 20
PACKET_TICKS = 960  # of Opus' clock, 48 kHz
CORE_SHARE = 0.7
SPEECH_S = 60.0  # of the circle; coding it costs some seconds before the run
STRIDE = 47  # packets that one sender's beginning is from the next one's, so that few change at once
SET_UP_PAUSE_S = 0.12  # below the rate that new sessions are taken at
LATE_S = 0.005
KEPT_MIN = 0.995  # of the packets, sent within LATE_S of their instant; below it the run is void
STORED_S = 180.0
ONLY_OPUS = {OPUS: CODECS[OPUS]}  # so that it is taken although keys' tones are silenced, as they are by default
FULL_SCALE = 32_768.0


@dataclass(frozen=True, slots=True)
class Circle:
    """What is said, in packets, and how loud each is (-dBov)."""

    payloads: tuple[bytes, ...]
    levels: tuple[int, ...]

    @property
    def octets(self) -> bytes:
        return b"".join(self.payloads)


@dataclass(frozen=True, slots=True)
class Sent:
    """What the senders did."""

    packets: int
    late: int
    over: int = 0  # sessions that were no more when they were to be hung up

    @property
    def kept(self) -> float:
        return 1 - self.late / max(1, self.packets)


def run_and_tell(calls: int, seconds: float, json: Path | None) -> int:
    """Exit 0 when the run counts and lost nothing."""
    circle = make()
    where = machine.describe()
    print(report.heading("WebRTC calls: WHIP, ICE, DTLS, SRTP, speech detection, sealing, uploads", where))
    figures = run(calls, seconds, circle)
    print("\n".join(f"{name:<34} {value}" for name, value in figures.items()))
    report.write(json, {"machine": where, **figures})
    return 0 if figures["held"] else 1


def make() -> Circle:
    """The benchmarks' speech as Opus, as a browser codes it."""
    octets = speech.make().octets[: int(SPEECH_S * speech.RATE_HZ)]
    samples = PCMA.decode(octets)
    opus = BY_NAME["OPUS"]
    payloads = opus.packets(resample(samples, speech.RATE_HZ, opus.sample_hz), PACKET_MS)
    cells = samples.astype(np.float64).reshape(-1, speech.PACKET_SAMPLES)
    power = np.sqrt((cells**2).mean(axis=1)) / FULL_SCALE
    levels = np.clip(np.round(-20 * np.log10(np.maximum(power, 1e-7))), 0, 127).astype(int)
    return Circle(tuple(payloads[: len(levels)]), tuple(levels.tolist()))


def run(calls: int, seconds: float, circle: Circle) -> dict[str, object]:
    """One run on a fresh installation: its figures."""
    overrides = {"TRANSCRIPTION__WORKERS": 0, "WHIP__SESSIONS_MAX": TRACKS * calls}
    with installation.running(overrides) as running:
        paces_ms = [machine.pace_ms()]
        before, load_before, own_before_s = running.cpu(), machine.load(), time.process_time()
        sent, media, hang_up = asyncio.run(_carry(running, calls, seconds, circle))
        with running.recordings() as recordings:
            tenant = recordings.tenant(installation.TENANT)
            states = recorded.wait_until_stored(recordings, tenant, calls, STORED_S)
            after, load_after = running.cpu(), machine.load()
            paces_ms.append(machine.pace_ms())
            own_s = after.total_s - before.total_s + time.process_time() - own_before_s
            found = recorded.open_all(recordings, tenant, circle.octets)
        complaints = running.complaints()
    shares = machine.disturbance(load_before, load_after, own_s)
    void = [] if sent.kept >= KEPT_MIN else [f"the senders kept only {sent.kept:.2%} of their schedule"]
    void += [f"{sent.over} sessions ended early"] * bool(sent.over)
    lost = sent.packets - found.frames
    return {
        "calls": calls,
        "seconds": seconds,
        "held": not void and lost == 0 and states.get("stored", 0) == calls,
        "packets_sent": sent.packets,
        "packets_lost_by_us": lost,
        **_cost(before, media, hang_up, after, sent.packets, TRACKS * calls),
        "schedule_kept": round(sent.kept, 4),
        "frames": asdict(found),
        "call_states": dict(states),
        "machine_load": shares,
        "machine_pace_ms": paces_ms,
        "remarks": machine.objections(shares, paces_ms),
        "log": complaints,
        "void": void,
    }


async def _carry(
    running: Installation, calls: int, seconds: float, circle: Circle
) -> tuple[Sent, processes.Use, processes.Use]:
    """Set up, talk, hang up; CPU used before and after the talk."""
    headers = {"Authorization": f"Bearer {running.token}", "Content-Type": "application/sdp"}
    async with httpx.AsyncClient(base_url=running.url, headers=headers, timeout=30) as client:
        browsers, sessions = list[Browser](), list[str]()
        for number in range(TRACKS * calls):
            browser = Browser()
            name = f"call-{number // TRACKS}"
            answer = await client.post("/v1/whip", params={"call": name}, content=browser.offer(ONLY_OPUS))
            answer.raise_for_status()
            await browser.connect(answer.content)
            browsers.append(browser)
            sessions.append(answer.headers["location"])
            await asyncio.sleep(SET_UP_PAUSE_S)
        media = running.cpu()
        sent = await _talk(browsers, round(seconds * PACKETS_A_SECOND), circle)
        await asyncio.sleep(0.1)
        hang_up = running.cpu()
        answers = [await client.delete(session) for session in sessions]
        for browser in browsers:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(5):
                    await browser.close()
    return replace(sent, over=sum(answer.status_code != 200 for answer in answers)), media, hang_up


async def _talk(browsers: list[Browser], packets: int, circle: Circle) -> Sent:
    """Every sender's packets in their pace, each sender at its own place within the 20 ms."""
    ssrcs = [secrets.randbits(32) for _ in browsers]
    begin_s = time.monotonic() + 0.1
    late = 0
    for number in range(packets):
        await asyncio.sleep(0)  # however late it is: whoever does not answer ICE's questions is hung up on
        for index, browser in enumerate(browsers):
            due_s = begin_s + (number + index / len(browsers)) * PACKET_MS / 1000
            if (ahead_s := due_s - time.monotonic()) > 0.001:
                await asyncio.sleep(ahead_s)
            late += time.monotonic() - due_s > LATE_S
            at = (number + STRIDE * index) % len(circle.payloads)
            extension = (0xBEDE, bytes([LEVEL_ID << 4, circle.levels[at], 0, 0]))
            header = (OPUS, number & 0xFFFF, number * PACKET_TICKS & 0xFFFFFFFF, ssrcs[index])
            browser.send(Packet(*header, circle.payloads[at], extension=extension).to_bytes())
    return Sent(packets * len(browsers), late)


def _cost(
    before: processes.Use,
    media: processes.Use,
    hang_up: processes.Use,
    after: processes.Use,
    packets: int,
    sessions: int,
) -> dict[str, object]:
    whole, talking = after.since(before), hang_up.since(media)
    us_per_packet = 1e6 * sum(whole.values()) / max(1, packets)
    us_talking = 1e6 * sum(talking.values()) / max(1, packets)

    def calls(us: float) -> int:
        return round(CORE_SHARE * 1e6 / (PACKETS_A_SECOND * TRACKS * us))

    return {
        "cpu_us_per_packet": round(us_per_packet, 2),
        "cpu_us_per_packet_by_role": {role: round(1e6 * spent / packets, 2) for role, spent in whole.items()},
        "cpu_us_per_packet_while_talking": round(us_talking, 2),
        "cpu_us_per_packet_while_talking_by_role": {r: round(1e6 * s / packets, 2) for r, s in talking.items()},
        "cpu_ms_per_session_setup": round(1e3 * sum(media.since(before).values()) / sessions, 2),
        "calls_per_core": calls(us_per_packet),
        "calls_per_core_while_talking": calls(us_talking),
        "calls_per_core_is": "extrapolated, for a core that is 70 % busy",
    }
