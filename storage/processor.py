"""An entry of the register of sub-processors, and what a tenant is told of one: values, which whoever reads the
configuration needs without a database. The register is `storage.processors`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from storage.errors import Malformed
from storage.records import Day
from storage.regions import EEA
from storage.times import utc

DESTINATION = "destination:"
"""Begins the names of destinations."""

_DEMANDED = ("company", "region", "retention", "encryption", "dpa")


@dataclass(frozen=True, slots=True)
class Processor:
    """An outside party. Empty is what nobody has said; `gets` are parts of the store, or of copies."""

    name: str
    """`destination:NAME` of one that copies go to; else the name of who has the machines."""
    company: str = ""
    region: str = ""
    gets: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    """Of a destination: which fields of the parts leave, as `detail.started`."""
    retention: str = ""
    """How long it keeps what it gets: a term (`storage.policy.term`)."""
    encryption: str = ""
    dpa: str = ""
    """Day of the data processing agreement, YYYY-MM-DD."""
    place: str = ""
    """Hosts, in the configuration's words."""

    def missing(self) -> list[str]:
        """What has to be said before anything goes there (CT-04), and is not."""
        return [name for name in _DEMANDED if not getattr(self, name)]

    @property
    def is_destination(self) -> bool:
        """Whether copies go there; else it has a part of the store."""
        return self.name.startswith(DESTINATION)

    @property
    def in_eea(self) -> bool:
        """Whether it is inside the European Economic Area; not where nobody says where it is."""
        return self.region[:2] in EEA

    def to_json(self) -> dict[str, Any]:
        """The inverse of `parse`."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def parse(cls, value: object) -> Self:
        """Raises Malformed."""
        names = {field.name for field in fields(cls)}
        if not isinstance(value, dict) or set(value) != names:
            raise Malformed("not an entry of a register of sub-processors")
        told: dict[str, Any] = {name: tuple(one) if isinstance(one, list) else one for name, one in value.items()}
        return cls(**told)


@dataclass(frozen=True, slots=True)
class Told:
    """An entry as the tenant was told of it: the ledger's entry, its day, and from when on data may go there."""

    processor: Processor
    seq: int
    day: Day
    from_s: int

    @property
    def since(self) -> str:
        """From when on, in UTC."""
        return utc(self.from_s)


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that a tenant is told; `seq` is the ledger's entry, and names it. No personal data."""

    seq: int
    event: str  # processor_announced, processor_changed, processor_ended, location_changed
    at: str
    facts: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """As the tenant gets it."""
        return {"notice": self.seq, "event": self.event, "at": self.at, **self.facts}
