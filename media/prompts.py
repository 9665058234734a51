"""The prompts that a worker can play: each coded once in every codec, so that playing one only cuts slices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from media.codecs import CODECS
from media.codecs.g711 import Samples
from media.errors import Unsupported

RATE_HZ = 8000
PROMPT_S_MAX = 60  # nobody listens longer; 1 MiB in memory for both codecs
PROMPTS_MAX = 128  # distinct ones of all tenants: 120 MiB at the longest. Beyond, the one loaded first is forgotten
PACKET_TICKS = 160  # 20 ms, what every peer takes (RFC 3551 §4.2)


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt in whole packets: its octets by codec number, one for each sample."""

    coded: dict[int, bytes]
    ticks: int

    @classmethod
    def of(cls, samples: Samples) -> Prompt:
        """Code samples at 8 kHz; silence fills the last packet. Raises Unsupported for none, or more than a minute."""
        if not 0 < len(samples) <= PROMPT_S_MAX * RATE_HZ:
            raise Unsupported(f"a prompt has up to {PROMPT_S_MAX} s of samples")
        padded = np.pad(samples, (0, -len(samples) % PACKET_TICKS))
        return cls({codec.number: codec.encode(padded) for codec in CODECS}, len(padded))


class Prompts:
    """The prompts by name. Who loads others loads those that stay again: what is forgotten is of a former policy."""

    def __init__(self) -> None:
        self._prompts: dict[str, Prompt] = {}

    def load(self, name: str, samples: Samples) -> None:
        """Know a prompt, or another one under its name; what plays goes on as it was. Raises as `Prompt.of` does."""
        prompt = Prompt.of(samples)
        self._prompts.pop(name, None)
        if len(self._prompts) >= PROMPTS_MAX:
            del self._prompts[next(iter(self._prompts))]
        self._prompts[name] = prompt

    def find(self, name: str) -> Prompt | None:
        """The prompt of this name."""
        return self._prompts.get(name)
