"""baresip, headless: a softphone that plays a tone, or what it is given, and whose keys are pressed by a test."""

from __future__ import annotations

import shutil
import subprocess
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

LIMIT_S = 60.0
PHONE = """
sip_listen		{host}:0
audio_player		aubridge,heard
audio_source		aufile,{folder}/spoken.wav
audio_alert		aufile,{folder}/alert.wav
module_path		/usr/lib/baresip/modules
module			stdio.so
module			g711.so
module			g722.so
module			opus.so
module			aufile.so
{further}
module_tmp		account.so
module_app		menu.so
"""
HOLD, RESUME = b"x", b"X"
HANG_UP = b"b"

needs_baresip = pytest.mark.skipif(shutil.which("baresip") is None, reason="NO BARESIP: apt-get install baresip-core")


def tone(rate_hz: int) -> NDArray[np.float64]:
    """What it plays, unless it is told."""
    return np.asarray(9000 * np.sin(2 * np.pi * 440 * np.arange(int(LIMIT_S) * rate_hz) / rate_hz), np.float64)


@contextmanager
def phone(
    folder: Path,
    dial: str,
    *,
    spoken: NDArray[np.int16] | None = None,
    account: str = ">",
    further: str = "",
    codec: str = "PCMA/8000/1",
    host: str = "127.0.0.1",
) -> Iterator[subprocess.Popen[bytes]]:
    """A baresip that calls at once; keys are pressed on its standard input.

    `account` is what its address has beside the codec, `further` are lines of its configuration.
    """
    rate_hz, channels = (int(number) for number in codec.split("/")[1:])
    (folder / "config").write_text(PHONE.format(folder=folder, further=further, host=host))
    (folder / "accounts").write_text(f"<sip:softphone@{host}{account};regint=0;audio_codecs={codec}\n")
    (folder / "contacts").touch()
    with wave.open(str(folder / "spoken.wav"), "wb") as clip:
        clip.setnchannels(channels)
        clip.setsampwidth(2)
        clip.setframerate(rate_hz)
        clip.writeframes((tone(rate_hz) if spoken is None else spoken).astype("<i2").repeat(channels).tobytes())
    command = ["baresip", "-4", "-s", "-f", str(folder), "-e", f"d {dial}", "-t", str(int(LIMIT_S))]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, cwd=folder)
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=LIMIT_S)


def press(process: subprocess.Popen[bytes], key: bytes) -> None:
    """One key."""
    assert process.stdin is not None
    process.stdin.write(key)
    process.stdin.flush()
