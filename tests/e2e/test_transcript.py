"""Speech to redacted text on a real server: nothing personal in what leaves, nothing said in any file, no job lost."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.keytones import dialled, silence
from gateway.caller import Track, place_call
from gateway.client import Client
from gateway.commands import speech
from tests.e2e.handset import Handset
from tests.e2e.system import System, call_from, running, status, until

TRANSCRIPT_S = 150.0


@pytest.fixture(scope="module")
def tracks() -> tuple[speech.Pcm, speech.Pcm]:
    return speech.dialogue(speech.QUICK)


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with running(tmp_path_factory.mktemp("transcripts"), CALLVAULT_TRANSCRIPTION__WORKERS="1") as started:
        yield started


def place(system: System, user: str, tracks: tuple[speech.Pcm, ...]) -> str:
    asyncio.run(place_call(system.sip, [Track(pcm) for pcm in tracks], from_user=user, to_user="100"))
    return str(until(lambda: call_from(system.client(), user))["id"])


def transcript(client: Client, call: str) -> dict[str, Any]:
    path = f"/v1/calls/{call}/transcript"
    until(lambda: status(client, path) == 200, TRANSCRIPT_S)
    found: dict[str, Any] = client.json(path)
    return found


def test_what_is_said_comes_out_redacted_and_stands_in_no_file(
    system: System, tracks: tuple[speech.Pcm, speech.Pcm]
) -> None:
    client = system.client()
    call = place(system, "spoken", tracks)
    found = transcript(client, call)
    text = " ".join(turn["text"] for turn in found["turns"])
    assert "service desk" in text.lower()
    assert "[PERSON 1]" in text
    assert "[PHONE 1]" in text
    original = client.json(f"/v1/calls/{call}/transcript/original")
    said = " ".join(turn["text"] for turn in original["turns"])
    assert "Johnson" in said  # the planted phrases were understood, so their absence below means something
    needles = {word.encode() for word in re.findall(r"[A-Za-z]{7,}", said)} | {b"Johnson", b"6018"}
    assert len(needles) > 3
    ours = json.dumps(client.json("/v1/policy"))  # its words (purposes, say) stand in the catalogue, as they may
    needles = {needle for needle in needles if needle.decode() not in ours}
    assert b"Johnson" in needles and len(needles) > 2
    for path in system.folder.rglob("*"):
        if path.is_file() and path.suffix != ".wav":
            raw = path.read_bytes()
            # Four digits also occur by chance in ciphertext and in logs' times; words of seven letters do not.
            found_here = [needle for needle in needles if len(needle) >= 7 and needle in raw]
            assert not found_here, f"{path.name} holds what was said"
    for turn in found["turns"]:
        assert turn["end_ms"] > turn["start_ms"] >= 0


def test_keys_that_are_pressed_while_one_speaks_reach_no_transcript_and_no_file(
    system: System, tracks: tuple[speech.Pcm, speech.Pcm]
) -> None:
    client, keys = system.client(), "49291100"
    with Handset(system.sip, "presses") as handset:
        handset.say(tracks[1])
        handset.say(np.concatenate((silence(200), dialled(keys, 80, -6), silence(200))))
        for key in keys:
            handset.press(int(key))
        handset.say(tracks[1])
    call = str(until(lambda: call_from(client, "presses"))["id"])
    found = transcript(client, call)
    original = client.json(f"/v1/calls/{call}/transcript/original")
    said = " ".join(turn["text"] for turn in original["turns"])
    assert said.count("Johnson") == 2  # what was said before and behind them was understood
    for text in (said, " ".join(turn["text"] for turn in found["turns"])):
        digits = re.sub(r"\D", "", text)
        assert keys not in digits
        assert keys[:4] not in digits
    facts = client.json(f"/v1/calls/{call}")["tracks"][0]["track"]["facts"]
    assert facts["events"] > 0
    assert [gap[2] for gap in facts["gaps"]].count("masked") == 1
    for path in system.folder.rglob("*"):
        assert not path.is_file() or keys.encode() not in path.read_bytes(), path.name


def test_a_killed_workers_job_is_delivered_again(system: System, tracks: tuple[speech.Pcm, speech.Pcm]) -> None:
    client = system.client()
    worker = system.children()["gateway.processes.worker"]
    os.kill(worker, signal.SIGSTOP)  # it may take the job, and then does nothing with it
    call = place(system, "worker-killed", tracks)
    time.sleep(1.0)
    os.kill(worker, signal.SIGKILL)
    assert status(client, f"/v1/calls/{call}/transcript") == 409
    assert transcript(client, call)["turns"]


def test_a_transcript_of_an_erased_call_is_never_stored(system: System, tracks: tuple[speech.Pcm, speech.Pcm]) -> None:
    client = system.client()
    worker = system.children()["gateway.processes.worker"]
    os.kill(worker, signal.SIGSTOP)
    call = place(system, "erased-before", tracks)
    client.post(f"/v1/calls/{call}/erasure", {})
    os.kill(worker, signal.SIGCONT)
    other = place(system, "after-it", tracks)
    assert transcript(client, other)["turns"]  # the queue has moved on
    assert status(client, f"/v1/calls/{call}/transcript") == 410
    assert client.json(f"/v1/calls/{call}")["state"] == "erased"


def test_without_a_model_jobs_wait_and_say_so_and_the_recording_is_unharmed(tmp_path: Path) -> None:
    environ = {"CALLVAULT_TRANSCRIPTION__WORKERS": "1", "CALLVAULT_TRANSCRIPTION__MODEL": str(tmp_path / "no-model")}
    with running(tmp_path, **environ) as system:
        client = system.client()
        call = place(system, "no-model", (speech.human("beckett", 2),))
        until(lambda: "engine_unavailable" in system.log())
        assert status(client, f"/v1/calls/{call}/audio") == 200
        assert status(client, f"/v1/calls/{call}/transcript") == 409
