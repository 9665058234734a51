"""Wideband over SIP on a real server, from our own caller and from a softphone; what we cannot decode is refused."""

from __future__ import annotations

import asyncio
import io
import socket
import time
import wave
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from gateway.caller import Track, place_call
from gateway.client import ApiError
from tests.e2e.softphone import HANG_UP, LIMIT_S, needs_baresip, phone, press
from tests.e2e.system import System, call_from, running, until
from tests.e2e.test_dialog import CONFIG

TONE_HZ = 440.0
G729 = """INVITE sip:service@{host}:{port} SIP/2.0\r
Via: SIP/2.0/UDP {ours};branch=z9hG4bK-g729\r
From: <sip:narrow@{ours}>;tag=1\r
To: <sip:service@{host}>\r
Call-ID: g729@{ours}\r
CSeq: 1 INVITE\r
Contact: <sip:narrow@{ours}>\r
Max-Forwards: 70\r
Content-Type: application/sdp\r
Content-Length: {length}\r
\r
"""
G729_OFFER = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 18\r\n"


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("system")
    (folder / "callvault.toml").write_text(CONFIG)
    with running(folder, CALLVAULT_CONFIG=str(folder / "callvault.toml")) as started:
        yield started


def samples_of(data: bytes) -> tuple[NDArray[np.int16], int]:
    with wave.open(io.BytesIO(data)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2"), file.getframerate()


def sounds(samples: NDArray[np.int16], rate_hz: int, hz: float = TONE_HZ) -> float:
    """How much of the loudest second of samples is the tone, 0 to 1."""
    seconds = samples[: len(samples) // rate_hz * rate_hz].reshape(-1, rate_hz).astype(np.float64)
    loudest = seconds[np.square(seconds).sum(axis=1).argmax()]
    spectrum = np.square(np.abs(np.fft.rfft(loudest)))
    return float(spectrum[int(hz) - 5 : int(hz) + 6].sum() / spectrum.sum())


@pytest.mark.parametrize(("codec", "rate_hz"), [("G722", 16_000), ("OPUS", 48_000)])
def test_our_own_caller_is_recorded_at_the_codecs_rate(system: System, codec: str, rate_hz: int) -> None:
    client = system.client("acme")
    pcm = (9000 * np.sin(2 * np.pi * TONE_HZ * np.arange(24_000) / 8000)).astype(np.int16)
    asyncio.run(place_call(system.sip, [Track(pcm), Track(pcm)], codec=codec, from_user=f"own-{codec}"))
    call = until(lambda: call_from(client, f"own-{codec}", "stored"))["id"]
    samples, rate = samples_of(client.get(f"/v1/calls/{call}/audio?track=1"))
    assert rate == rate_hz
    assert sounds(samples, rate) > 0.95


@needs_baresip
@pytest.mark.parametrize(("codec", "rate_hz"), [("G722", 16_000), ("opus", 48_000)])
def test_a_softphone_is_recorded_and_opus_is_there_as_it_came(
    system: System, codec: str, rate_hz: int, tmp_path: Path
) -> None:
    client = system.client("acme")
    before = {row["id"] for row in client.json("/v1/calls?limit=50")["calls"]}
    offered = f"{codec}/{rate_hz}/{2 if codec == 'opus' else 1}"
    with phone(tmp_path, f"sip:service@{system.sip[0]}:{system.sip[1]}", codec=offered) as process:
        until(lambda: [row for row in client.json("/v1/calls?limit=50")["calls"] if row["id"] not in before])
        time.sleep(3)  # of the tone
        press(process, HANG_UP)
        ended = until(
            lambda: [
                row
                for row in client.json("/v1/calls?limit=50")["calls"]
                if row["id"] not in before and row["state"] == "stored"
            ],
            LIMIT_S,
        )
    call = ended[0]["id"]
    assert client.json(f"/v1/calls/{call}")["tracks"][0]["track"]["facts"]["codecs"] == [codec]
    samples, rate = samples_of(client.get(f"/v1/calls/{call}/audio"))
    assert rate == rate_hz
    assert sounds(samples, rate) > 0.95
    if codec == "opus":
        with av.open(io.BytesIO(client.get(f"/v1/calls/{call}/audio/opus")), "r", format="ogg") as file:
            same = np.concatenate([frame.to_ndarray()[0] for frame in file.decode(audio=0)])
        assert abs(len(same) - len(samples)) < 48_000
        assert sounds((same * 32_767).astype(np.int16), 48_000) > 0.95
    else:
        with pytest.raises(ApiError) as refused:
            client.get(f"/v1/calls/{call}/audio/opus")
        assert refused.value.status == 406


@pytest.mark.parametrize(
    ("described", "warning"),
    [
        (G729_OFFER, b"Warning: 305 callvault"),
        (G729_OFFER.replace("AVP 18", "AVP 8").replace("IP4 127.0.0.1", "IP6 ::1"), b"Warning: 301 callvault"),
    ],
)
def test_an_offer_of_g729_alone_or_over_ipv6_is_refused(system: System, described: str, warning: bytes) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(10)
        ours = f"127.0.0.1:{sock.getsockname()[1]}"
        host, port = system.sip
        head = G729.format(host=host, port=port, ours=ours, length=len(described))
        sock.sendto((head + described).encode(), system.sip)
        answer = sock.recv(4096)
    assert answer.startswith(b"SIP/2.0 488 ")
    assert warning in answer
