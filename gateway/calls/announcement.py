"""Announcements: the WAV files of the tenants' policies, checked once at the edge and given to media workers in memory.

A media worker gets a prompt's samples as they were checked, in a sealed file without a name: what stands on the disk
may change meanwhile, and nothing in the worker waits for it. Tenants with the same announcement share a prompt.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import wave
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gateway.config import Settings
from gateway.errors import ConfigError
from gateway.policy import Tenant
from media.messages import Load
from media.prompts import PROMPT_S_MAX, PROMPTS_MAX, RATE_HZ
from transcription.audio import resample

RATES_HZ = (8_000, 16_000, 48_000)  # of telephony, of wideband telephony, of studios
SECONDS_MIN = 0.1  # shorter says nothing
PEAK_MIN = 328  # of 32767, -40 dBFS: softer is a file that was exported wrong, and nobody would hear it
WAV_BYTES_MAX = PROMPT_S_MAX * max(RATES_HZ) * 2 + 64 * 1024  # the samples, and what else a recorder writes beside them


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt that workers know, in a sealed file in memory."""

    name: str  # SHA-256 of its samples: what call detail says was played
    language: str
    duration_ms: int
    descriptor: int

    def fileno(self) -> int:
        """For sending it."""
        return self.descriptor


class Announcements:
    """The prompts of a configuration, by tenant. Close it when no worker is going to start with it any more."""

    def __init__(self, prompts: Mapping[str, Prompt]) -> None:
        self.prompts = prompts

    @classmethod
    def load(cls, settings: Settings) -> Announcements:
        """Read every tenant's announcement. Raises ConfigError with everything that is wrong with any of them."""
        problems: list[str] = []
        samples: dict[Path, NDArray[np.int16]] = {}
        for tenant in settings.tenants:
            if tenant.announcement is not None and tenant.announcement not in samples:
                try:
                    samples[tenant.announcement] = read_wav(tenant.announcement)
                except ValueError as error:
                    problems.append(f"tenants.{tenant.name}.announcement: {tenant.announcement}: {error}")
        names = {path: hashlib.sha256(pcm.astype("<i2").tobytes()).hexdigest() for path, pcm in samples.items()}
        if len(set(names.values())) > PROMPTS_MAX:
            problems.append(f"tenants: more than {PROMPTS_MAX} different announcements")
        if problems:
            raise ConfigError(problems)
        files = {names[path]: _sealed(pcm) for path, pcm in samples.items()}
        return cls(
            {
                tenant.name: Prompt(
                    names[path], _language(tenant), len(samples[path]) * 1000 // RATE_HZ, files[names[path]]
                )
                for tenant in settings.tenants
                if (path := tenant.announcement) is not None
            }
        )

    def commands(self) -> list[tuple[Load, tuple[Prompt]]]:
        """What makes them known to a worker, each with the file that goes with it."""
        return [(Load(name), (prompt,)) for name, prompt in {one.name: one for one in self.prompts.values()}.items()]

    def close(self) -> None:
        """Let the samples go; workers have copies."""
        for descriptor in {prompt.descriptor for prompt in self.prompts.values()}:
            os.close(descriptor)
        self.prompts = {}


def read_wav(path: Path) -> NDArray[np.int16]:
    """The samples of an announcement at 8 kHz. Raises ValueError, saying what is wrong and what it should be."""
    try:
        with path.open("rb") as file:
            data = file.read(WAV_BYTES_MAX + 1)
    except OSError as error:
        raise ValueError(error.strerror) from error
    if len(data) > WAV_BYTES_MAX:
        raise ValueError(f"larger than {PROMPT_S_MAX} s of sound can be")
    try:
        with wave.open(io.BytesIO(data)) as clip:
            shape = (clip.getnchannels(), clip.getsampwidth(), clip.getframerate())
            frames = clip.readframes(clip.getnframes())
    except (wave.Error, EOFError) as error:
        raise ValueError(f"not a PCM WAV file ({error})") from error
    channels, width, rate_hz = shape
    if channels != 1 or width != 2 or rate_hz not in RATES_HZ:
        wanted = ", ".join(str(rate) for rate in RATES_HZ)
        found = f"{channels} channels of {8 * width} bits at {rate_hz} Hz"
        raise ValueError(f"{found}; taken is one of 16 bits at {wanted}")
    samples = np.frombuffer(frames[: len(frames) & ~1], "<i2").astype(np.int16)
    if not SECONDS_MIN * rate_hz <= len(samples) <= PROMPT_S_MAX * rate_hz:
        raise ValueError(f"{len(samples) / rate_hz:.2f} s long; {SECONDS_MIN} to {PROMPT_S_MAX} s are taken")
    if int(np.abs(samples.astype(np.int32)).max()) < PEAK_MIN:
        raise ValueError("nothing can be heard in it")
    return resample(samples, rate_hz, RATE_HZ)[: PROMPT_S_MAX * RATE_HZ]


def _language(tenant: Tenant) -> str:
    return tenant.announcement_language or tenant.language


def _sealed(samples: NDArray[np.int16]) -> int:
    """A file in memory that nobody can change."""
    descriptor = os.memfd_create("prompt", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    data = memoryview(samples.tobytes())
    while data:
        data = data[os.write(descriptor, data) :]
    seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    return descriptor
