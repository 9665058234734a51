"""An announced call on a real server: the caller hears all of it, and what is kept begins with its end."""

from __future__ import annotations

import asyncio
import re
import secrets
import socket
import time
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from gateway.caller import Track, place_call
from gateway.calls.announcement import read_wav
from media.codecs import PCMA
from media.rtcp import Goodbye, Report, parse
from media.rtp import Packet
from tests.e2e.system import System, call_from, running, until
from tests.e2e.test_call import heard, tone

LOOPBACK = "127.0.0.1"
PATIENCE_S = 30.0
SECONDS = 1.0
PACKET = 160
CONFIG = """
[[tenants]]
name = "announced"
announcement = "{wav}"
announcement_language = "nl"

[[trunks]]
name = "trunk"
tenant = "announced"
sources = ["127.0.0.1/32"]
"""


@pytest.fixture(scope="module")
def greeting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("greeting") / "greeting.wav"
    rate_hz = 48_000
    samples = 9000 * np.sin(2 * np.pi * 440 * np.arange(int(SECONDS * rate_hz)) / rate_hz)
    with wave.open(str(path), "wb") as clip:
        clip.setnchannels(1)
        clip.setsampwidth(2)
        clip.setframerate(rate_hz)
        clip.writeframes(samples.astype("<i2").tobytes())
    return path


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, greeting: Path) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("system")
    (folder / "callvault.toml").write_text(CONFIG.format(wav=greeting))
    with running(folder, CALLVAULT_CONFIG=str(folder / "callvault.toml")) as started:
        yield started


class Phone:
    """A caller of plain sockets: one call, which speaks noise without a pause and keeps what it hears."""

    def __init__(self, system: System, user: str) -> None:
        self.said, self.heard = b"", b""
        self.reports: list[Report] = []
        self._user, self._sip = user, _bound()
        self._rtp, self._rtcp = _pair()
        self._target, self._call, self._tag = system.sip, secrets.token_hex(8), secrets.token_hex(4)
        self._noise = PCMA.encode(tone(60.0, 3))
        self._sip.settimeout(PATIENCE_S)
        answer = self._ask("INVITE", 1, self._offer())
        self._to = re.search(rb"(?im)^To:\s*(.*?)\r", answer).group(1).decode()  # type: ignore[union-attr]  # it is there
        port = int(re.search(rb"m=audio (\d+)", answer).group(1))  # type: ignore[union-attr]  # so is this
        self._remote = (LOOPBACK, port)
        self._send("ACK", 1, b"")
        self._begun = time.monotonic()

    def speak(self, seconds: float) -> None:
        """Talk for so long, at a real pace, and listen."""
        end = len(self.said) + int(seconds * 8000)
        while len(self.said) < end:
            at = len(self.said)
            payload = self._noise[at : at + PACKET]
            assert payload, "the announcement does not end"
            self._rtp.sendto(Packet(8, at // PACKET, at, 0xCA11, payload).to_bytes(), self._remote)
            self.said += payload
            self._listen()
            time.sleep(max(0.0, self._begun + (at + PACKET) / 8000 - time.monotonic()))

    def hang_up(self) -> None:
        self._ask("BYE", 2, b"")
        self._rtcp.settimeout(PATIENCE_S)
        while not any(isinstance(report, Goodbye) for report in self.reports):
            self.reports += parse(self._rtcp.recv(2000))
        self.close()

    def close(self) -> None:
        for sock in (self._sip, self._rtp, self._rtcp):
            sock.close()

    def _listen(self) -> None:
        while True:
            try:
                self.heard += Packet.parse(self._rtp.recv(2000, socket.MSG_DONTWAIT)).payload
            except BlockingIOError:
                return

    def _ask(self, method: str, number: int, body: bytes) -> bytes:
        self._send(method, number, body)
        while True:
            answer = self._sip.recv(4000)
            if answer.startswith(b"SIP/2.0 200"):
                return answer
            assert answer.startswith(b"SIP/2.0 1"), answer

    def _send(self, method: str, number: int, body: bytes) -> None:
        host, port = self._sip.getsockname()
        to = getattr(self, "_to", "<sip:100@example.org>")
        branch = secrets.token_hex(8)
        head = (
            f"{method} sip:100@{self._target[0]}:{self._target[1]} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP {host}:{port};branch=z9hG4bK{branch};rport\r\n"
            f"From: <sip:{self._user}@example.org>;tag={self._tag}\r\nTo: {to}\r\n"
            f"Call-ID: {self._call}\r\nCSeq: {number} {method}\r\nMax-Forwards: 70\r\n"
            f"Contact: <sip:{self._user}@{host}:{port}>\r\nContent-Type: application/sdp\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        self._sip.sendto(head.encode() + body, self._target)

    def _offer(self) -> bytes:
        port = self._rtp.getsockname()[1]
        lines = (
            "v=0",
            f"o=- 1 1 IN IP4 {LOOPBACK}",
            "s=-",
            f"c=IN IP4 {LOOPBACK}",
            "t=0 0",
            f"m=audio {port} RTP/AVP 8",
        )
        return "".join(f"{line}\r\n" for line in lines).encode()


def _bound(port: int = 0) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.bind((LOOPBACK, port))
    except OSError:
        sock.close()
        raise
    return sock


def _pair() -> tuple[socket.socket, socket.socket]:
    """An RTP socket and the RTCP socket above it."""
    while True:
        rtp = _bound()
        try:
            return rtp, _bound(rtp.getsockname()[1] + 1)
        except OSError:
            rtp.close()


def test_sp_02_the_recording_begins_with_the_end_of_the_announcement(system: System, greeting: Path) -> None:
    phone, client = Phone(system, "listener"), system.client("announced")
    wanted = PCMA.encode(read_wav(greeting))
    phone.speak(SECONDS)
    while len(phone.heard) < len(wanted):
        phone.speak(0.1)
    phone.speak(1.0)
    phone.hang_up()
    assert phone.heard == wanted
    call = until(lambda: call_from(client, "listener", "stored"))
    announcement = call["detail"]["announcement"]
    assert (announcement["language"], announcement["complete"]) == ("nl", True)
    (track,) = client.json(f"/v1/calls/{call['id']}")["tracks"]
    facts = track["track"]["facts"]
    start_us, end_us, reason = facts["gaps"][0]
    assert (start_us, reason) == (0, "announcement")
    assert end_us == pytest.approx(announcement["end_ms"] * 1000, abs=1)
    assert end_us >= (SECONDS - 0.02) * 1_000_000
    sound = heard(client, call["id"], 0)
    at = round(facts["map"][0][2] * 8 / 1000)
    assert facts["map"][0][2] >= end_us
    assert not sound[:at].any()
    kept = facts["packets"] * PACKET
    assert np.array_equal(sound[at : at + kept], PCMA.decode(phone.said[len(phone.said) - kept :]))


def test_sp_02_hanging_up_during_the_announcement_leaves_no_recording(system: System) -> None:
    phone, client = Phone(system, "impatient"), system.client("announced")
    phone.speak(SECONDS / 2)
    phone.hang_up()
    assert 0 < len(phone.heard) < SECONDS * 8000
    call = until(lambda: call_from(client, "impatient", "not_recorded"))
    assert call["detail"]["announcement"]["complete"] is False
    assert not call["detail"]["recorded"]


@pytest.fixture(scope="module")
def early(tmp_path_factory: pytest.TempPathFactory, greeting: Path) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("early")
    (folder / "callvault.toml").write_text(CONFIG.format(wav=greeting) + "early_media = true\n")
    with running(folder, CALLVAULT_CONFIG=str(folder / "callvault.toml")) as started:
        yield started


def test_with_early_media_the_call_is_answered_when_the_announcement_is_over(early: System) -> None:
    placed = asyncio.run(place_call(early.sip, [Track(tone(1.0, 5))], from_user="early", to_user="100"))
    assert placed.setup_ms >= 1000 * (SECONDS - 0.02)
    client = early.client("announced")
    call = until(lambda: call_from(client, "early", "stored"))
    assert call["detail"]["announcement"]["complete"] is True
    (track,) = client.json(f"/v1/calls/{call['id']}")["tracks"]
    assert track["track"]["facts"]["packets"] == placed.packets


def test_a_caller_who_gives_up_during_early_media_is_not_recorded(early: System) -> None:
    with _bound() as sock:
        sock.settimeout(PATIENCE_S)
        host, port = sock.getsockname()
        offer = f"v=0\r\no=- 1 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\nm=audio {port} RTP/AVP 8\r\n"

        def send(method: str, body: str = "", to: str = "<sip:100@example.org>") -> None:
            lines = (
                f"{method} sip:100@{early.sip[0]}:{early.sip[1]} SIP/2.0",
                f"Via: SIP/2.0/UDP {host}:{port};branch=z9hG4bKearly;rport",
                "From: <sip:gives-up@example.org>;tag=1",
                f"To: {to}",
                "Call-ID: early",
                f"CSeq: 1 {method}",
                "Max-Forwards: 70",
                f"Contact: <sip:gives-up@{host}:{port}>",
                *(["Content-Type: application/sdp"] if body else []),
                f"Content-Length: {len(body)}",
            )
            sock.sendto("\r\n".join([*lines, "", body]).encode(), early.sip)

        def answer(status: bytes) -> bytes:
            while not (found := sock.recv(4000)).startswith(b"SIP/2.0 " + status):
                assert not found.startswith(b"SIP/2.0 200 OK\r\nVia") or b"CANCEL" in found
            return found

        send("INVITE", offer)
        assert b"m=audio" in answer(b"183")
        send("CANCEL")
        to = re.search(rb"(?im)^To:\s*(.*?)\r", answer(b"487"))
        assert to is not None
        send("ACK", to=to[1].decode())
    client = early.client("announced")
    call = until(lambda: call_from(client, "gives-up", "not_recorded"))
    assert call["detail"]["why"] == "hung up during the announcement"
