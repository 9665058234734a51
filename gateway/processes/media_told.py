"""What a media worker is told when it starts: the few settings that it goes by, none of the others and no library.

A worker that read the whole configuration would load its validation and the catalogue's SQL first, which doubled its
start; and it would hold the secrets of trunks and stores beside what peers send.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class MediaTold:
    """The worker's settings, all of them checked by who read the configuration."""

    log_level: str
    spool_folder: str
    file_mib: int
    limit_mib: int
    held_stream_mib: int
    held_total_mib: int
    native: bool

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """The inverse of `encode`."""
        return cls(**json.loads(data))

    def encode(self) -> bytes:
        """As the channel's first message."""
        return json.dumps(asdict(self)).encode()
