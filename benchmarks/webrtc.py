"""How many WebRTC calls a core carries: `python -m benchmarks.calls --kind webrtc --calls N --seconds S [--json FILE]`,
and with `--profile SECONDS` what they cost it by, while they talk.

A whole callvault, transcription off, takes N calls of two WHIP sessions each: real ICE, DTLS and SRTP, Opus with the
audio level beside it as browsers send it, speech detection, sealing, uploads, DELETE. Then every recording is opened by
this process and its frames are counted. The figures mean what they mean there. Each sender is set up here, and answers
ICE's questions here; its packets are encrypted and sent by the native generator, from the same socket and under the
keys that DTLS has agreed on: a loop in Python that does both misses its schedule.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
import numpy as np

from benchmarks import installation, machine, native, processes, profiling, recorded, report, speech
from benchmarks.browsers import CODECS, LEVEL_ID, OPUS, Browser
from benchmarks.cost import Stages, by_role, cost, us_per_packet
from benchmarks.installation import Installation
from benchmarks.signalling import PACKETS_A_SECOND
from media.codecs import BY_NAME, PCMA
from media.codecs.libav import encoded
from transcription.audio import resample

KIND = "webrtc"
TRACKS = 2
AIM = 150  # calls a core
PACKET_MS = 20
PACKET_TICKS = 960  # of Opus' clock, 48 kHz
SPEECH_S = 60.0  # of the circle; coding it costs some seconds before the run
STRIDE = 47  # packets that one sender's beginning is from the next one's, so that few change at once
SET_UP_PAUSE_S = 0.12  # below the rate that new sessions are taken at
TAIL_S = 0.1
EXTENSION_OCTETS = 8
STORED_S = 180.0
ONLY_OPUS = {OPUS: CODECS[OPUS]}  # so that it is taken although keys' tones are silenced, as they are by default
FULL_SCALE = 32_768.0


@dataclass(frozen=True, slots=True)
class Circle:
    """What is said, in packets, and how loud each is (-dBov)."""

    payloads: tuple[bytes, ...]
    levels: tuple[int, ...]

    @property
    def frames(self) -> list[bytes]:
        """For the generator: a header extension with the level (RFC 6464, RFC 8285 §4.2), and the payload."""
        head = (0xBEDE0001).to_bytes(4, "big") + bytes([LEVEL_ID << 4])
        pairs = zip(self.levels, self.payloads, strict=True)
        return [head + bytes([level, 0, 0]) + payload for level, payload in pairs]

    @property
    def octets(self) -> bytes:
        return b"".join(self.payloads)


@dataclass(frozen=True, slots=True)
class Carried:
    """What was sent, sessions that were no more when they were to be hung up, and CPU at both ends of the media."""

    sent: native.Sent
    over: int
    suite: str
    media: processes.Use
    hang_up: processes.Use
    profile: dict[str, dict[str, float]]


def run_and_tell(calls: int, seconds: float, json: Path | None, profile_s: float = 0.0) -> int:
    """Exit 0 when the run counts and lost nothing."""
    circle = make()
    where = machine.describe()
    print(report.heading("WebRTC calls: WHIP, ICE, DTLS, SRTP, speech detection, sealing, uploads", where))
    figures = run(calls, seconds, circle, profile_s)
    print("\n".join(f"{name:<40} {_shown(value)}" for name, value in figures.items()))
    report.write(json, {"machine": where, **figures})
    return 0 if figures["held"] or profile_s else 1


def _shown(value: object) -> str:
    if isinstance(value, list) and value and isinstance(value[0], tuple):
        return "\n" + report.table(("process", "work", "µs a packet"), value)
    return str(value)


def make() -> Circle:
    """The benchmarks' speech as Opus, as a browser codes it that is asked not to say anything twice (in-band FEC)."""
    octets = speech.make().octets[: int(SPEECH_S * speech.RATE_HZ)]
    samples = PCMA.decode(octets)
    opus = BY_NAME["OPUS"]
    wide, frame = resample(samples, speech.RATE_HZ, opus.sample_hz), opus.sample_hz * PACKET_MS // 1000
    payloads = encoded("libopus", opus.sample_hz, wide, frame, {"application": "voip", "b": "24000"})
    cells = samples.astype(np.float64).reshape(-1, speech.PACKET_SAMPLES)
    power = np.sqrt((cells**2).mean(axis=1)) / FULL_SCALE
    levels = np.clip(np.round(-20 * np.log10(np.maximum(power, 1e-7))), 0, 127).astype(int)
    return Circle(tuple(payloads[: len(levels)]), tuple(levels.tolist()))


def run(calls: int, seconds: float, circle: Circle, profile_s: float = 0.0) -> dict[str, object]:
    """One run on a fresh installation: its figures."""
    overrides = {"TRANSCRIPTION__WORKERS": 0, "WHIP__SESSIONS_MAX": TRACKS * calls}
    with native.generator(circle.frames, encrypting=True) as generator, installation.running(overrides) as running:
        paces_ms = [machine.pace_ms()]
        before, load_before, own_before_s = running.cpu(), machine.load(), time.process_time()
        carried = asyncio.run(_carry(running, calls, seconds, generator, profile_s))
        sent = carried.sent
        with running.recordings() as recordings:
            tenant = recordings.tenant(installation.TENANT)
            states = recorded.wait_until_stored(recordings, tenant, calls, STORED_S)
            after, load_after = running.cpu(), machine.load()
            paces_ms.append(machine.pace_ms())
            own_s = after.total_s - before.total_s + time.process_time() - own_before_s + sent.user_s + sent.sys_s
            found = recorded.open_all(recordings, tenant, circle.octets)
        complaints = running.complaints()
    shares = machine.disturbance(load_before, load_after, own_s)
    void = [f"the generator kept only {sent.schedule_kept:.2%} of its schedule"] if sent.void else []
    void += [f"{carried.over} sessions ended early"] * bool(carried.over)
    void += ["it was profiled"] * bool(profile_s)
    lost = sent.sent - found.frames
    whole = lost == 0 and found.intact == found.tracks == calls * TRACKS and sent.sent == sent.scheduled
    stages = Stages(before, carried.media, carried.hang_up, after)
    talking = stages.hang_up.since(stages.media)
    return {
        "kind": KIND,
        "calls": calls,
        "seconds": seconds,
        "held": not void and whole and states.get("stored", 0) == calls,
        "packets_sent": sent.sent,
        "packets_lost_by_us": lost,
        "suite": carried.suite,
        **cost(stages, sent.sent, calls, TRACKS),
        "frames": asdict(found),
        "call_states": dict(states),
        "generator": sent.figures(),
        "us_per_packet_at_150_calls_a_core": us_per_packet(AIM, TRACKS),
        "while_talking_by_work": profiling.apportioned(carried.profile, by_role(talking, sent.sent)),
        "machine_load": shares,
        "machine_pace_ms": paces_ms,
        "remarks": machine.objections(shares, paces_ms),
        "log": complaints,
        "void": void,
    }


async def _carry(
    running: Installation, calls: int, seconds: float, generator: native.Generator, profile_s: float
) -> Carried:
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
        sending = generator.start(_legs(browsers, round(seconds * PACKETS_A_SECOND)))
        profile = {}
        if profile_s:
            profile = await asyncio.to_thread(profiling.split, running.process.pid, profile_s)
        # Meanwhile this loop answers ICE's questions; whoever does not is hung up on.
        await asyncio.sleep(max(0.0, (sending.last_ns - time.monotonic_ns()) / 1e9 + TAIL_S))
        hang_up = running.cpu()
        sent = await asyncio.to_thread(sending.wait, time.monotonic_ns())
        answers = [await client.delete(session) for session in sessions]
        suite = browsers[0].keys()[0] if browsers else ""
        for browser in browsers:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(5):
                    await browser.close()
    over = sum(answer.status_code != 200 for answer in answers)
    return Carried(sent, over, suite, media, hang_up, profile)


def _legs(browsers: list[Browser], packets: int) -> list[native.Leg]:
    """Every sender's packets, from its own socket and under its own keys, spread evenly over the 20 ms."""
    first_ns = time.monotonic_ns() + native.LEAD_NS
    legs = []
    for index, browser in enumerate(browsers):
        suite, key = browser.keys()
        leg = native.Leg(
            source=browser.socket.getsockname(),
            destination=browser.path,
            control_port=browser.path[1],
            ssrc=secrets.randbits(32),
            payload_type=OPUS,
            first_ns=first_ns + index * native.PACKET_NS // len(browsers),
            packets=packets,
            frame=STRIDE * index,
            ticks=PACKET_TICKS,
            extension=EXTENSION_OCTETS,
            suite=suite,
            key=key,
            inherited=browser.socket.fileno(),
        )
        legs.append(leg)
    return legs
