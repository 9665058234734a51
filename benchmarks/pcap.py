"""How many packets a capture file holds: pcap of bare IPv4, as rtpengine writes it (`--recording-format=raw`)."""

from __future__ import annotations

import struct
from pathlib import Path

HEADER_BYTES, RECORD_BYTES = 24, 16
MAGIC = {b"\xd4\xc3\xb2\xa1": "<", b"\xa1\xb2\xc3\xd4": ">"}
UDP = 17
UDP_HEADER_BYTES = 8
CAPTURED_MAX = 65_535  # of one packet; a record that claims more ends the file, as one that is cut does


def packets(file: Path, payload_type: int) -> int:
    """RTP packets of this payload type in whole records. Raises ValueError where it is no capture."""
    data = file.read_bytes()
    order = MAGIC.get(data[:4])
    if order is None or len(data) < HEADER_BYTES:
        raise ValueError(f"{file.name} is no capture")
    count, at = 0, HEADER_BYTES
    while at + RECORD_BYTES <= len(data):
        (length,) = struct.unpack_from(f"{order}I", data, at + 8)
        at += RECORD_BYTES
        if length > CAPTURED_MAX or at + length > len(data):
            break
        count += _is_rtp(data[at : at + length], payload_type)
        at += length
    return count


def _is_rtp(packet: bytes, payload_type: int) -> bool:
    """IPv4, UDP, and in it RTP's version and this payload type (RTCP's numbers are others, RFC 5761 §4)."""
    if len(packet) < 20 or packet[0] >> 4 != 4 or packet[9] != UDP:
        return False
    rtp = packet[(packet[0] & 0x0F) * 4 + UDP_HEADER_BYTES :]
    return len(rtp) >= 12 and rtp[0] >> 6 == 2 and rtp[1] & 0x7F == payload_type
