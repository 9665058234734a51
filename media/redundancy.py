"""Redundant audio (RFC 2198): a packet that repeats what the packets before it carried.

The primary is the packet's own audio; an older block stands in for a packet that never came. The RFC gives a block's
timestamp as an offset but no sequence number: senders repeat consecutive packets, oldest first.
"""

from __future__ import annotations

from dataclasses import dataclass

from media.errors import Malformed

NAME = "red"  # the encoding name of its rtpmap
BLOCKS_MAX = 8  # of one packet, the primary included; nobody repeats more than a few


@dataclass(frozen=True, slots=True)
class Block:
    """The audio of one packet: its payload type, and how many ticks and packets before the primary it was."""

    payload_type: int
    ticks_before: int
    packets_before: int
    payload: bytes


def parse(payload: bytes) -> tuple[Block, ...]:
    """The blocks of a payload, the oldest first and the primary last (RFC 2198 §3); raises Malformed."""
    headers: list[tuple[int, int, int]] = []
    position = 0
    while position < len(payload) and payload[position] & 0x80:
        word = int.from_bytes(payload[position : position + 4], "big")
        headers.append((word >> 24 & 0x7F, word >> 10 & 0x3FFF, word & 0x3FF))
        position += 4
        if position >= len(payload) or len(headers) >= BLOCKS_MAX:
            raise Malformed("redundant audio has no end of headers")
    if position >= len(payload):
        raise Malformed("redundant audio has no primary")
    primary = payload[position] & 0x7F
    position += 1
    blocks: list[Block] = []
    for index, (number, ticks, length) in enumerate(headers):
        if position + length > len(payload):
            raise Malformed("redundant audio is cut short")
        blocks.append(Block(number, ticks, len(headers) - index, payload[position : position + length]))
        position += length
    return (*blocks, Block(primary, 0, 0, payload[position:]))
