"""An announcement is checked before the first call: what cannot be played, or not be heard, is said with its reason."""

from __future__ import annotations

import os
import wave
from pathlib import Path

import numpy as np
import pytest

from gateway.calls.announcement import Announcements, read_wav
from gateway.config import Settings
from gateway.errors import ConfigError
from media.messages import Load


def tone(path: Path, rate_hz: int = 8000, seconds: float = 1.0, *, peak: int = 8000, channels: int = 1) -> Path:
    """A WAV file of 440 Hz."""
    wanted = peak * np.sin(2 * np.pi * 440 * np.arange(round(rate_hz * seconds)) / rate_hz)
    with wave.open(str(path), "wb") as clip:
        clip.setnchannels(channels)
        clip.setsampwidth(2)
        clip.setframerate(rate_hz)
        clip.writeframes(np.repeat(wanted.astype("<i2"), channels).tobytes())
    return path


def settings(**tenants: dict[str, object]) -> Settings:
    rows = [{"name": name, **fields} for name, fields in tenants.items()]
    first = rows[0]["name"]
    trunk = {"name": "here", "tenant": first, "sources": ["127.0.0.0/8"]}
    return Settings.model_validate({"tenants": rows, "trunks": [trunk]})


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 48_000])
def test_every_rate_becomes_the_same_sound_at_8_khz(tmp_path: Path, rate_hz: int) -> None:
    samples = read_wav(tone(tmp_path / "a.wav", rate_hz)).astype(np.float64)
    assert len(samples) == 8000
    spectrum = np.abs(np.fft.rfft(samples))
    assert int(spectrum.argmax()) == 440
    assert abs(samples[1000:7000].max() - 8000) < 200


def test_what_cannot_be_an_announcement_is_refused_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_bytes(b"RIFF and nothing else")
    (tmp_path / "large.wav").write_bytes(bytes(6 << 20))
    wrong = {
        "No such file": tmp_path / "missing.wav",
        "not a PCM WAV file": tmp_path / "text.wav",
        "larger than 60 s": tmp_path / "large.wav",
        "11025 Hz": tone(tmp_path / "rate.wav", 11_025),
        "2 channels": tone(tmp_path / "stereo.wav", channels=2),
        "0.05 s long": tone(tmp_path / "short.wav", seconds=0.05),
        "61.00 s long": tone(tmp_path / "long.wav", seconds=61),
        "nothing can be heard": tone(tmp_path / "silent.wav", peak=100),
    }
    for reason, path in wrong.items():
        with pytest.raises(ValueError, match=reason):
            read_wav(path)


def test_all_problems_of_all_tenants_are_told_together(tmp_path: Path) -> None:
    good, bad = tone(tmp_path / "good.wav"), tone(tmp_path / "bad.wav", seconds=61)
    wanted = settings(
        a={"announcement": bad}, b={"announcement": tmp_path / "none.wav"}, c={"announcement": good}, d={}
    )
    with pytest.raises(ConfigError) as raised:
        Announcements.load(wanted)
    assert [problem.split(":")[0] for problem in raised.value.problems] == [
        "tenants.a.announcement",
        "tenants.b.announcement",
    ]


def test_tenants_have_their_own_language_and_share_what_is_the_same(tmp_path: Path) -> None:
    one, two = tone(tmp_path / "one.wav"), tone(tmp_path / "two.wav", seconds=2)
    same = tmp_path / "same.wav"
    same.write_bytes(one.read_bytes())
    wanted = settings(
        a={"announcement": one, "language": "nl"},
        b={"announcement": same, "language": "nl", "announcement_language": "de"},
        c={"announcement": two},
        d={},
    )
    announcements = Announcements.load(wanted)
    prompts = announcements.prompts
    assert {name: (prompt.language, prompt.duration_ms) for name, prompt in prompts.items()} == {
        "a": ("nl", 1000),
        "b": ("de", 1000),
        "c": ("en", 2000),
    }
    assert prompts["a"].name == prompts["b"].name != prompts["c"].name
    told = [(command, os.pread(file.fileno(), 1 << 20, 0)) for command, (file,) in announcements.commands()]
    assert [(command, len(data)) for command, data in told] == [
        (Load(prompts["a"].name), 16_000),
        (Load(prompts["c"].name), 32_000),
    ]
    assert told[0][1] == read_wav(one).tobytes()
    with pytest.raises(PermissionError):
        os.write(prompts["a"].fileno(), b"other")
    announcements.close()
    assert not announcements.prompts


def test_without_announcements_there_is_nothing_to_tell() -> None:
    announcements = Announcements.load(settings(a={}))
    assert not announcements.commands()
    announcements.close()
