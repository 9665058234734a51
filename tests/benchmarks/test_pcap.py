"""Packets counted in a capture file."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from benchmarks.pcap import packets
from media.rtp import Packet


def udp(payload: bytes, protocol: int = 17) -> bytes:
    head = struct.pack("!BBHHHBBHII", 0x45, 0, 28 + len(payload), 0, 0, 64, protocol, 0, 0x7F000001, 0x7F000001)
    return head + struct.pack("!HHHH", 1, 2, 8 + len(payload), 0) + payload


RTP = udp(Packet(8, 1, 160, 77, bytes(160)).to_bytes())
OTHERS = [
    udp(Packet(0, 1, 160, 77, bytes(160)).to_bytes()),
    udp(b"\x80\xc8" + bytes(26)),  # a sender report
    udp(Packet(8, 1, 160, 77, bytes(160)).to_bytes(), protocol=6),
    udp(b"\x80\x08"),
    b"\x60" + bytes(60),
    b"",
]


def capture(records: list[bytes], order: str = "<") -> bytes:
    head = struct.pack(f"{order}IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65_535, 101)
    return head + b"".join(struct.pack(f"{order}IIII", 1, 2, len(data), len(data)) + data for data in records)


@pytest.mark.parametrize("order", ["<", ">"])
def test_rtp_of_one_payload_type_is_counted(tmp_path: Path, order: str) -> None:
    file = tmp_path / "call.pcap"
    file.write_bytes(capture([RTP, *OTHERS, RTP], order))
    assert packets(file, 8) == 2


def test_a_record_that_is_cut_does_not_count(tmp_path: Path) -> None:
    file = tmp_path / "call.pcap"
    whole = capture([RTP, RTP])
    for length in range(24, len(whole)):
        file.write_bytes(whole[:length])
        assert packets(file, 8) == (length - 24) // (16 + len(RTP))


def test_what_is_no_capture_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "call.pcap"
    file.write_bytes(b"RIFF" + bytes(100))
    with pytest.raises(ValueError):
        packets(file, 8)
