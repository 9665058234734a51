"""Targets: what media and its descriptions are read from, the peers' and our own processes'."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from media import framelog, messages, redundancy, rtcp, sdp
from media.codecs import OPUS, opus
from media.dtmf import DURATION_MS_MAX, SYMBOLS, Keys, Press
from media.errors import Malformed
from media.readings import READINGS_MAX, Reading
from media.rtp import Packet, plain_header
from media.sdp import description
from tests.fuzz.signalling import offers
from tests.fuzz.target import Target
from tests.gateway.sip.bench import OFFER

TERMS = sdp.Terms(keys=True, plain=True)
KEY = sdp.MasterKey(bytes(44))
EVENT = struct.Struct("!I")  # the timestamp before each event of a DTMF input
PAYLOADS_MAX = 20  # of an input: a decoder's work is counted by them
EVENTS_BYTES = EVENT.size + 4


def _use_description(described: sdp.SessionDescription) -> None:
    for media in described.media:
        _ = (described.direction(media), described.address(media), media.payload_types, media.rtpmaps, media.fmtp)
        _ = (media.label, media.mid, sdp.shares_port(media), sdp.codecs_of(media), sdp.event_payload_type(media))
        assert media.ptime_ms is None or 0 < media.ptime_ms <= description.PTIME_MS_MAX
        assert media.rtcp is None or 0 <= media.rtcp[0] <= 65_535
    taken = sdp.narrowed(described, TERMS)
    ours = [_local(media) for media in taken.media]
    answer = sdp.answer(taken, ours, origin_id=1, origin_version=1, address="192.0.2.1", receive_only=True)
    assert sdp.parse(answer.to_bytes()) == answer
    written = described.to_bytes()
    if written.count(b"\n") <= description.LINES_MAX:  # s= and t= are added where they are left out
        assert sdp.parse(written) == described


def _local(media: sdp.Media) -> sdp.LocalMedia:
    theirs = sdp.crypto_of(media)
    if theirs is None:
        return sdp.LocalMedia(40_000)
    key = sdp.MasterKey(KEY.reveal()[: sdp.SUITES[theirs.suite]])
    return sdp.LocalMedia(40_000, sdp.Crypto(theirs.tag, theirs.suite, key))


def _descriptions() -> list[bytes]:
    parts = [b"v=0" + part for body in offers() for part in body.split(b"v=0")[1:]]
    key = b"WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz"
    line = b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + key + b"|2^20|1:4\r\n"
    secure = OFFER.replace(b"RTP/AVP", b"RTP/SAVP") + line
    lines = b"a=rtpmap:96 telephone-event/8000\r\na=ptime:20\r\na=rtcp:6001 IN IP4 h\r\na=mid:0\r\na=fmtp:96 0-15\r\n"
    return [*parts, OFFER, OFFER + lines, secure, secure.replace(b"|1:4", b"")]


def _use_packet(packet: Packet) -> None:
    assert Packet.parse(packet.to_bytes()) == packet


def _packets() -> list[bytes]:
    head = plain_header(0, 1, 160, 7)
    extended = bytes([0x90]) + head[1:] + bytes.fromhex("bede0001") + b"\x10\x80\0\0"
    padded = bytes([0xA0]) + head[1:] + bytes(8) + b"\0\0\0\4"
    sources = bytes([0x82]) + head[1:] + bytes(8)
    return [head, head + bytes(160), extended + bytes(20), padded, sources + b"x"]


def _use_reports(reports: tuple[rtcp.Report, ...]) -> None:
    if reports:  # else it held only what is passed over, and nothing is no compound
        assert rtcp.parse(rtcp.to_bytes(reports)) == reports


def _compounds() -> list[bytes]:
    block = rtcp.ReportBlock(1, 2, -3, 4, 5, 6, 7)
    described = rtcp.SourceDescription(((1, "a@h"), (2, "")))
    reports = (rtcp.SenderReport(1, 2 << 32, 3, 4, 5, (block,)), described, rtcp.Goodbye((1, 2)))
    unknown = bytes.fromhex("80cc0002") + bytes(8)
    odd = bytes.fromhex("81ca0042") + bytes(4) + b"\x01\xff" + b"\xff" * 255 + bytes(3)  # a name that is no UTF-8
    many = bytes.fromhex("81ca0029") + bytes(4) + b"\x01\x01a" * 52 + bytes(4)
    return [
        rtcp.to_bytes(reports),
        rtcp.to_bytes((rtcp.ReceiverReport(9, (block, block)), described)) + unknown,
        odd,
        many,
    ]


def _presses(data: bytes) -> list[Press]:
    """The presses of events that are told one after the other, a second apart."""
    keys, found = Keys(8000), list[Press]()
    for number, at in enumerate(range(0, len(data), EVENTS_BYTES)):
        timestamp = int.from_bytes(data[at : at + EVENT.size], "big")
        found += keys.receive(data[at + EVENT.size : at + EVENTS_BYTES], timestamp, number * 1_000_000)
    return found + keys.finish()


def _use_presses(presses: list[Press]) -> None:
    for press in presses:
        assert press.symbol in SYMBOLS
        assert press.at_us >= 0
        assert 0 <= press.duration_ms <= DURATION_MS_MAX


def _events() -> list[bytes]:
    told = ((10, 160), (10, 320), (138, 480))
    one = [EVENT.pack(8000) + bytes([5, flags, ticks >> 8, ticks & 255]) for flags, ticks in told]
    two = [EVENT.pack(9000) + bytes([11, 10, 0, 160]), EVENT.pack(9800) + bytes([16, 128, 1, 0])]
    return [b"".join(one), b"".join(one + two), b"".join(two)]


def _use_chunk(chunk: framelog.Chunk) -> None:
    assert len(chunk.frames.payload) == int(chunk.frames.lengths.sum())
    assert chunk.start <= chunk.end
    written = framelog.encode(
        chunk.frames,
        head=chunk.start,
        written_us=chunk.written_us,
        pending=chunk.pending,
        noise=chunk.noise,
        tally=chunk.tally,
        told=chunk.readings,
    )
    again = framelog.decode(written)
    columns = ["timestamps", "lengths", "codecs", "flags"]
    if chunk.frames.arrivals_us.size and int(np.ptp(chunk.frames.arrivals_us)) < 1 << 31:
        columns.append("arrivals_us")  # else further from one another than a writer can say
    for name in columns:
        assert np.array_equal(getattr(again.frames, name), getattr(chunk.frames, name)), name
    assert again.frames.payload == chunk.frames.payload
    assert (again.pending, again.tally, again.start, again.end) == (chunk.pending, chunk.tally, chunk.start, chunk.end)
    assert again.readings == chunk.readings
    assert len(chunk.readings) <= READINGS_MAX


def _chunks() -> list[bytes]:
    found = []
    for lengths in ([], [160], [160] * 12, [80, 1, 240]):
        starts = np.cumsum([0, *lengths], dtype=np.int64)[:-1] + 1_000_000
        count = len(lengths)
        frames = framelog.Frames(
            starts,
            np.arange(count, dtype=np.int64) * 20_000,
            np.array(lengths, np.int64),
            np.full(count, 8, np.uint8),
            np.zeros(count, np.uint8),
            bytes(sum(lengths)),
        )
        found.append(framelog.encode(frames, head=5, written_us=7, pending=framelog.Reason.DTX, noise=3))
    return [*found, framelog.with_readings(found[1], [Reading(7, 1_000_100, 1 << 40, 9)] * 2)]


def _use_control(message: messages.Message) -> None:
    written = messages.encode(message)
    assert messages.encode(messages.decode(written)) == written


def _controls() -> list[bytes]:
    return [
        messages.encode(message)
        for message in (
            messages.Open(1, {0: "PCMU"}, 101, ("192.0.2.9", 6000), networks=("192.0.2.0/24",), former=(1, 2)),
            messages.Update(1, {8: "PCMA"}),
            messages.Start(1, 2),
            messages.Drain(),
            messages.Pressed(1, Press("5", 1, 2)),
            messages.Ended(1, {"end_us": 1}),
            messages.SpoolFull((1, 2)),
            messages.Stats(1.0, 2.0, 3, 4, 5.0, 6.0, 7, False),
        )
    ]


def _use_blocks(blocks: tuple[redundancy.Block, ...]) -> None:
    assert 0 < len(blocks) <= redundancy.BLOCKS_MAX + 1
    assert [block.packets_before for block in blocks] == list(range(len(blocks)))[::-1]


def _redundant() -> list[bytes]:
    two = b"".join((0x80000000 | 8 << 24 | ticks << 10 | 2).to_bytes(4, "big") for ticks in (320, 160))
    return [b"\x08", two + b"\x08" + b"aabbcc", two[:4] + b"\x6f" + b"aa"]


def _payloads(data: bytes) -> list[bytes]:
    """Payloads, each behind an octet of its length."""
    found, at = list[bytes](), 0
    while at < len(data) and len(found) < PAYLOADS_MAX:
        found.append(data[at + 1 : at + 1 + data[at]])
        at += 1 + data[at]
    return found


def _use_payloads(payloads: list[bytes]) -> None:
    """As a track is rendered: what is an Opus packet by its first octets is decoded, whatever the rest is."""
    decoder = OPUS.decoder()
    for payload in payloads:
        ticks = OPUS.ticks(payload)
        assert 0 <= ticks <= opus.PACKET_TICKS_MAX
        if ticks:
            decoder.decode(payload)


def _opus() -> list[bytes]:
    tone = (np.sin(np.arange(4800) / 20) * 9000).astype(np.int16)
    payloads = [payload for ptime_ms in (20, 40) for payload in opus.packets(tone, ptime_ms)]
    told = b"".join(bytes([len(payload)]) + payload for payload in payloads)
    return [told, b"\2\x7b\x02", b"\1\x08\3\x0b\x81\x00", b"\0"]


STREAMS: tuple[Target[Any], ...] = (
    Target("sdp", sdp.parse, _use_description, (Malformed,), _descriptions),
    Target("rtp", Packet.parse, _use_packet, (Malformed,), _packets),
    Target("rtcp", rtcp.parse, _use_reports, (Malformed,), _compounds),
    Target("dtmf", _presses, _use_presses, (), _events),
    Target("redundancy", redundancy.parse, _use_blocks, (Malformed,), _redundant),
    Target("opus", _payloads, _use_payloads, (), _opus),
    Target("chunk", framelog.decode, _use_chunk, (Malformed,), _chunks),
    Target("control", messages.decode, _use_control, (Malformed,), _controls),
)
