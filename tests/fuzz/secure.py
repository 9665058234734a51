"""Target: what is opened under SRTP keys, by a library in C; also what a peer that has the keys seals wrongly."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

from media.receive import SLOT_BYTES
from media.rtcp import ReceiverReport, to_bytes
from media.rtp import plain_header
from media.sdp import SUITES
from media.srtp import Protection
from tests.fuzz.target import Target
from tests.media import srtp_reference

NAMES = tuple(SUITES)
REPORTS, SEALED = 0x10, 0x20  # of an input's first octet, whose last two bits are the suite
OURS, THEIRS = bytes(range(44)), bytes(range(100, 144))


@dataclass(frozen=True)
class Arrived:
    """A packet, and the suite that was agreed on."""

    suite: str
    data: bytes
    reports: bool


def _arrived(data: bytes) -> Arrived:
    flags, packet = data[0] if data else 0, data[1:SLOT_BYTES]
    suite = NAMES[flags % len(NAMES)]
    if flags & SEALED and not flags & REPORTS and len(packet) >= srtp_reference.HEADER_BYTES:
        packet = srtp_reference.Sender(suite, THEIRS[: SUITES[suite]]).protect(packet)[:SLOT_BYTES]
    return Arrived(suite, packet, bool(flags & REPORTS))


def _use_arrived(arrived: Arrived) -> None:
    octets = SUITES[arrived.suite]
    keys = {"suite": arrived.suite, "ours": OURS[:octets].hex(), "theirs": THEIRS[:octets].hex()}
    protection = Protection(keys)
    if arrived.reports:
        opened = protection.open_reports(arrived.data)
        assert opened is None or len(opened) < len(arrived.data)
        return
    slot, length = ctypes.create_string_buffer(arrived.data, SLOT_BYTES), ctypes.c_int(len(arrived.data))
    ssrc = int.from_bytes(arrived.data[8:12], "big")
    protection.open(ctypes.c_void_p(ctypes.addressof(slot)), ctypes.c_void_p(ctypes.addressof(length)), ssrc)
    assert 0 <= length.value <= len(arrived.data)


def _packets() -> list[bytes]:
    head = plain_header(0, 1, 160, 7)
    extended = bytes([0x90]) + head[1:] + bytes.fromhex("bede0001") + b"\x10\x80\0\0" + bytes(20)
    beyond = bytes([0x9F]) + head[1:] + b"x"  # more sources, and an extension, than there are octets
    told = to_bytes((ReceiverReport(9),)) + bytes(20)
    packets = (head + bytes(40), extended, beyond, head)
    sealed = [bytes([SEALED | number]) + packet for number in range(len(NAMES)) for packet in packets]
    return [*sealed, b"\0" + head + bytes(20), bytes([REPORTS]) + told, bytes([REPORTS | 1]) + told]


SECURE: tuple[Target[Any], ...] = (Target("srtp", _arrived, _use_arrived, (), _packets),)
