"""Sender reports as they come, made into readings of their senders' clocks.

A CNAME may be a person's (RFC 3550 §6.5.1: user@host). What is kept stands for the name and the host it comes from, and
is made with a secret that this worker forgets: equal within a call where both are, and nothing to anybody else.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence

from media.legs import Leg, Table
from media.readings import READINGS_MAX, Reading
from media.rtcp import Report, SenderReport, SourceDescription

_SECRET_BYTES = 32
_ENDPOINT_BYTES = 8


class Clocks:
    """Reads the reports of all legs."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._secret = secrets.token_bytes(_SECRET_BYTES)

    def read(self, leg: Leg, report: SenderReport, compound: Sequence[Report], source: int, arrived_us: int) -> bool:
        """Take a report of the stream that the leg receives now; its compound has its sender's name (§6.1).

        False of one without a wall clock, or of another stream: it is passed over.
        """
        table, row = self._table, leg.row
        if not report.ntp or report.ssrc != table.ssrc[row]:
            return False
        ahead = (report.timestamp - int(table.next_timestamp[row]) + (1 << 31)) % (1 << 32) - (1 << 31)
        name = next(
            (
                name
                for described in compound
                if isinstance(described, SourceDescription)
                for ssrc, name in described.cnames
                if ssrc == report.ssrc
            ),
            "",
        )
        endpoint = self._endpoint(name, source) if name else 0
        del leg.readings[READINGS_MAX - 1 :]
        leg.readings.append(Reading(arrived_us, int(table.head[row]) + ahead, report.ntp, endpoint))
        return True

    def _endpoint(self, name: str, source: int) -> int:
        told = f"{source >> 16} {name}".encode("utf-8", "surrogateescape")
        digest = hashlib.blake2b(told, digest_size=_ENDPOINT_BYTES, key=self._secret).digest()
        return int.from_bytes(digest, "big")
