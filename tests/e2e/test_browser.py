"""Chromium itself, by WHIP: what is said into its microphone is recorded at the same time and in the same words."""

from __future__ import annotations

import io
import re
import wave
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from gateway.client import Client
from gateway.commands import speech
from tests.e2e import browser
from tests.e2e.system import System, running, status, until
from tests.transcription.test_engines import TWO_CITIES, plain, word_errors
from transcription.audio import resample

pytestmark = [
    pytest.mark.alone,  # its microphone stutters on a machine that is busy otherwise
    pytest.mark.skipif(browser.CHROMIUM is None, reason="chromium is not installed; tests/tools.sh installs it"),
]

SAID_S = 10.0
WINDOW_S, REACH_S = 2.0, 1.5  # what is looked for, and how far
AGREE_MS = 20.0
WER_MAX = 0.1
TRANSCRIPT_S = 120.0

Samples = NDArray[np.float64]


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("browser")
    (folder / "callvault.toml").write_text('[[tenants]]\nname = "default"\ndtmf_inband = "keep"\n')
    environ = {"CALLVAULT_WHIP__SESSIONS_MAX": "2", "CALLVAULT_TRANSCRIPTION__WORKERS": "1"}
    with running(folder, CALLVAULT_CONFIG=str(folder / "callvault.toml"), **environ) as started:
        yield started


def track(client: Client, call: str) -> Samples:
    """The recorded track at 8 kHz."""
    with wave.open(io.BytesIO(client.get(f"/v1/calls/{call}/audio?track=0"))) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")[:: file.getnchannels()]
        return resample(samples, file.getframerate(), speech.RATE_HZ).astype(np.float64)


def found_at(wanted: Samples, among: Samples) -> tuple[int, float]:
    """Where a piece of sound lies in a longer one, and how alike it is there (1: the same but for its loudness)."""
    size = 1 << int(np.ceil(np.log2(len(among) + len(wanted))))
    products = np.fft.irfft(np.fft.rfft(among, size) * np.conj(np.fft.rfft(wanted, size)), size)
    at = int(np.argmax(products[: len(among) - len(wanted) + 1]))
    there = among[at : at + len(wanted)]
    return at, float(products[at] / np.sqrt((wanted**2).sum() * (there**2).sum()))


def test_what_is_said_into_a_browser_is_recorded_in_time_and_in_words(system: System) -> None:
    said = speech.human("two_cities", SAID_S)
    client = system.client()
    token = system.client(role="whip").token
    samples = resample(said, speech.RATE_HZ, browser.MICROPHONE_HZ)
    seen = browser.send(f"{client.url}/v1/whip", token, samples, SAID_S + 1)
    assert (seen["status"], seen.get("deleted")) == (201, 200), seen.get("text")
    assert set(seen["patched"]) == {204}
    call = seen["call"]
    until(lambda: status(client, f"/v1/calls/{call}/audio") == 200)

    facts = client.json(f"/v1/calls/{call}")["tracks"][0]["track"]["facts"]
    assert facts["codecs"] == ["opus"]
    assert (facts["lost"], facts["foreign"], facts["discarded"]) == (0, 0, 0)
    reports = facts["sender_reports"]
    assert (reports["taken"] > 0, reports["stray"], reports["refused"]) == (True, 0, 0), reports
    assert client.get(f"/v1/calls/{call}/audio/opus")[:4] == b"OggS"
    recorded, window = track(client, call), int(WINDOW_S * speech.RATE_HZ)
    lags_ms = []
    for start in range(0, len(said) - window + 1, window):
        reach = recorded[start : start + window + int(REACH_S * speech.RATE_HZ)]
        at, likeness = found_at(said[start : start + window].astype(np.float64), reach)
        assert likeness > 0.8
        lags_ms.append(1000 * at / speech.RATE_HZ)
    assert max(lags_ms) - min(lags_ms) <= AGREE_MS, lags_ms

    path = f"/v1/calls/{call}/transcript/original"
    until(lambda: status(client, path) == 200, TRANSCRIPT_S)
    heard = plain(re.sub(r"\s+", " ", " ".join(turn["text"] for turn in client.json(path)["turns"])))
    expected = plain(TWO_CITIES)[: len(heard)]
    assert len(heard) > 20
    assert word_errors(expected, heard) <= WER_MAX * len(heard), heard
