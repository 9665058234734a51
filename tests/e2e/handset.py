"""A telephone in a test's hand: one call over UDP, every packet of it sent when the test says so."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from gateway.sip.message import Response, parse
from media.codecs import PCMA, Codec
from media.codecs.g711 import Samples
from media.resample import upsampled
from media.rtp import Packet
from media.sdp import parse as parse_sdp

HOST = "127.0.0.1"
EVENT_PT = 101
PATIENCE_S = 10.0


class Handset:
    """Calls on entering, hangs up on leaving."""

    def __init__(
        self,
        target: tuple[str, int],
        user: str,
        to: str = "100",
        *,
        host: str = HOST,
        codec: Codec = PCMA,
        headers: Sequence[str] = (),
        contact: str = "",
    ) -> None:
        """`headers` are the INVITE's own, `contact` are parameters of its Contact."""
        self._target, self._codec = target, codec
        self._ticks = codec.clock_hz // 8000  # of 1/8 ms
        self._sip = _socket(host)
        self._rtp = _socket(host)
        self._host, self._user, self._to, self._call_id = host, user, to, f"{user}-{time.monotonic_ns()}"
        self._tag = ""
        self._headers, self._contact = headers, contact
        self._seq = 0
        self._media: tuple[str, int] = (HOST, 0)
        self._number, self._timestamp = 1000, 160_000
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        port = self._rtp.getsockname()[1]
        codec, channels = self._codec, f"/{self._codec.channels}" if self._codec.channels > 1 else ""
        body = (
            f"v=0\r\no=- 1 1 IN IP4 {self._host}\r\ns=-\r\nc=IN IP4 {self._host}\r\nt=0 0\r\n"
            f"m=audio {port} RTP/AVP {codec.offered_as} {EVENT_PT}\r\n"
            f"a=rtpmap:{codec.offered_as} {codec.name}/{codec.clock_hz}{channels}\r\n"
            f"a=rtpmap:{EVENT_PT} telephone-event/{codec.clock_hz}\r\n"
        ).encode()
        answer = self.ask("INVITE", body=body, extra="\n".join([*self._headers, "Content-Type: application/sdp"]))
        assert answer.status == 200, answer.status
        self._tag = answer.to.tag
        description = parse_sdp(answer.body)
        self._media = (description.address(description.media[0]) or HOST, description.media[0].port)
        self._sip.sendto(self._request("ACK", self._seq), self._target)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.ask("BYE")
        self._sip.close()
        self._rtp.close()

    def ask(self, method: str, *, body: bytes = b"", extra: str = "", sip: socket.socket | None = None) -> Response:
        """The final answer to a request, from another socket of ours where one is given."""
        self._seq += 1
        sender = sip or self._sip
        sender.sendto(self._request(method, self._seq, body, extra), self._target)
        while True:
            answer = parse(sender.recv(65_535))
            if isinstance(answer, Response) and answer.cseq.number == self._seq and answer.status >= 200:
                return answer

    def say(self, samples: Samples) -> bytes:
        """Speak in real time; gives what was sent."""
        wide = upsampled(samples, self._codec.sample_hz // 8000)
        payloads, due = self._codec.packets(wide, 20), time.monotonic()
        clock = 160_000 + round((due - self._began) * self._codec.clock_hz)  # it runs on while nothing is said
        self._timestamp = max(self._timestamp, clock)
        for payload in payloads:
            self._send(self._codec.offered_as, payload)
            self._timestamp += 160 * self._ticks
            due += 0.02
            time.sleep(max(0.0, due - time.monotonic()))
        return b"".join(payloads)

    def press(self, number: int) -> None:
        """A key as RFC 4733 has it: 100 ms, its end three times."""
        for packet in range(5):
            self._send(EVENT_PT, struct.pack("!BBH", number, 10, 160 * self._ticks * (packet + 1)))
            time.sleep(0.02)
        for _ in range(3):
            self._send(EVENT_PT, struct.pack("!BBH", number, 0x8A, 960 * self._ticks))
        self._timestamp += 960 * self._ticks
        time.sleep(0.02)

    def _send(self, payload_type: int, payload: bytes) -> None:
        packet = Packet(payload_type, self._number & 0xFFFF, self._timestamp, 0xCA11, payload)
        self._rtp.sendto(packet.to_bytes(), self._media)
        self._number += 1

    def _request(self, method: str, seq: int, body: bytes = b"", extra: str = "") -> bytes:
        host, port = self._sip.getsockname()
        to = f"<sip:{self._to}@{self._target[0]}>" + (f";tag={self._tag}" if self._tag else "")
        lines = [
            f"{method} sip:{self._to}@{self._target[0]} SIP/2.0",
            f"Via: SIP/2.0/UDP {host}:{port};rport;branch=z9hG4bK{self._call_id}{seq}{method}",
            f"From: <sip:{self._user}@{host}>;tag=handset",
            f"To: {to}",
            f"Call-ID: {self._call_id}",
            f"CSeq: {seq} {method}",
            f"Contact: <sip:{self._user}@{host}:{port}>{self._contact}",
            "Max-Forwards: 70",
            *extra.splitlines(),
            f"Content-Length: {len(body)}",
        ]
        return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def _socket(host: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((host, 0))
    sock.settimeout(PATIENCE_S)
    return sock
