"""The prompts that a worker can play: each coded once in a codec, so that playing one only takes the next payload."""

from __future__ import annotations

from dataclasses import dataclass, field

from media.codecs import BY_NUMBER, Plain
from media.codecs.g711 import Samples
from media.errors import Unsupported
from media.resample import upsampled

RATE_HZ = 8000
PROMPT_S_MAX = 60  # nobody listens longer; 1 MiB in memory in G.711
PROMPTS_MAX = 128  # distinct ones of all tenants: 120 MiB at the longest. Beyond, the one loaded first is forgotten
PACKET_MS = 20  # what every peer takes (RFC 3551 §4.2)
PACKET_TICKS = PACKET_MS * RATE_HZ // 1000


@dataclass(slots=True)
class Prompt:
    """One prompt in packets of 20 ms, by codec number. G.711 is coded when it is loaded, others when first wanted."""

    samples: Samples
    packets: int
    _coded: dict[int, list[bytes]] = field(default_factory=dict)

    @classmethod
    def of(cls, samples: Samples) -> Prompt:
        """Code samples at 8 kHz; silence fills the last packet. Raises Unsupported for none, or more than a minute."""
        if not 0 < len(samples) <= PROMPT_S_MAX * RATE_HZ:
            raise Unsupported(f"a prompt has up to {PROMPT_S_MAX} s of samples")
        prompt = cls(samples, -(-len(samples) // PACKET_TICKS))
        for codec in BY_NUMBER.values():
            if isinstance(codec, Plain):
                prompt.coded(codec.number)
        return prompt

    def coded(self, number: int) -> list[bytes]:
        """Its payloads in this codec. The first time costs 5 ms of the tick for a second of G.722, 9 ms of Opus."""
        if number not in self._coded:
            codec = BY_NUMBER[number]
            samples = upsampled(self.samples, codec.sample_hz // RATE_HZ)
            self._coded[number] = codec.packets(samples, PACKET_MS)[: self.packets]
        return self._coded[number]


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
