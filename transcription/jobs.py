"""A job and what can become of it. A job names a call and nothing else."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final, Self

from storage.model import CallId, TenantId, is_id
from transcription.errors import Malformed

JOB_BYTES_MAX: Final = 1024
"""Two ids and their names are a hundred; what is longer is no job, and is not read."""


@dataclass(frozen=True, slots=True)
class Job:
    """Something to be done about one call; `delivery` counts from 1."""

    tenant: TenantId
    call: CallId
    delivery: int = 1

    def to_json(self) -> bytes:
        return json.dumps({"tenant": self.tenant, "call": self.call}, separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, body: bytes, delivery: int = 1) -> Self:
        """The inverse of `to_json`; raises Malformed."""
        try:
            value = json.loads(body) if len(body) <= JOB_BYTES_MAX else None
        except ValueError:
            value = None
        match value:
            case {"tenant": str(tenant), "call": str(call)} if is_id(tenant) and is_id(call):
                return cls(TenantId(tenant), CallId(call), delivery)
            case _:
                raise Malformed(f"a job of {len(body)} bytes names no tenant and call")


@dataclass(frozen=True, slots=True)
class Done:
    """The job needs no further work: done, no longer wanted, or on the dead list."""


@dataclass(frozen=True, slots=True)
class Again:
    """The job is to be delivered again after this time."""

    after_s: float
