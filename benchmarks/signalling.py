"""The callers' side of SIP, as little of it as a benchmark needs: INVITE, ACK, BYE, and their repetition over UDP.

Independent of callvault's own stack, so that a fault of that cannot hide. One socket and one thread for all calls;
everything happens inside `run`. RFC 3261 §17.1 for what is sent again and when.
"""

from __future__ import annotations

import base64
import heapq
import os
import re
import secrets
import ssl
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from benchmarks.native import PACKET_NS, PACKET_SAMPLES, Leg
from benchmarks.wires import Datagrams, Encrypted, Wire
from media.sdp import SUITES

# The callers' own, so that no port of theirs is one of callvault's, and each run's own.
CALLER_ADDRESS = f"127.0.{2 + os.getpid() // 250 % 250}.{1 + os.getpid() % 250}"
SOURCE_PORT_FIRST = 10_000
PAYLOAD_TYPE = 8  # PCMA
TRACKS = {"siprec": 2, "trunk": 1, "srtp": 2}
"""The kinds of calls, and how many tracks each has: a recording client's sendonly m-lines, a plain call's sendrecv, and
a recording client's over TLS with SRTP."""
SECURE = "srtp"
SUITE = "AES_CM_128_HMAC_SHA1_80"
PACKETS_A_SECOND = 50
T1_S = 0.5
T2_S = 4.0
GIVE_UP_S = 32.0
NAP_S = 0.05  # how late `run` may notice that its condition holds

State = Literal["new", "inviting", "up", "leaving", "over", "failed"]

_AUDIO_PORT = re.compile(rb"^m=audio (\d+) ", re.MULTILINE)
_STATUS = re.compile(r"SIP/2\.0 (\d{3})")
_MISSING = ""


@dataclass(slots=True)
class Call:
    """One call of ours; `source_ports` are the RTP ports in its offer. Instants are CLOCK_MONOTONIC ns.

    With a `suite`, `keys` are the master keys and salts of what it sends, one for each port.
    """

    number: int
    to_user: str
    source_ports: tuple[int, ...]
    sends_only: bool = True
    suite: str = ""
    keys: tuple[bytes, ...] = field(default=(), repr=False)
    state: State = "new"
    failure: str = ""
    remote_ports: tuple[int, ...] = ()
    target: str = ""
    remote: str = ""  # the To header with the tag that was given
    invited_ns: int = 0
    answered_ns: int = 0
    left_ns: int = 0
    repeated: int = 0  # requests that had to be sent again
    _pending: bytes = field(default=b"", repr=False)

    @property
    def setup_ms(self) -> float:
        """From INVITE to 200."""
        return (self.answered_ns - self.invited_ns) / 1e6


def make_calls(kind: str, first: int, count: int, suite: str = SUITE) -> list[Call]:
    """Calls numbered from `first`, each with an even source port of its own for each track."""
    tracks = TRACKS[kind]
    made = []
    for number in range(first, first + count):
        port = SOURCE_PORT_FIRST + 2 * tracks * number
        call = Call(number, f"agent{number}", tuple(range(port, port + 2 * tracks, 2)), kind != "trunk")
        if kind == SECURE:
            call.suite, call.keys = suite, tuple(secrets.token_bytes(SUITES[suite]) for _ in range(tracks))
        made.append(call)
    return made


def legs_of(calls: Sequence[Call], host: str, first_ns: int, packets: int, offset: Callable[[int], int]) -> list[Leg]:
    """What calls that are up send: a leg for each track, spread evenly over the 20 ms.

    A leg's SSRC is its number among all tracks; `offset` says for that number where in the speech, in samples and at
    the begin of a packet, it begins.
    """
    pairs = [(call, track) for call in calls for track in range(len(call.source_ports))]
    numbers = [call.number * len(call.source_ports) + track for call, track in pairs]
    return [
        Leg(
            source=(CALLER_ADDRESS, call.source_ports[track]),
            destination=(host, call.remote_ports[track]),
            control_port=call.remote_ports[track] + 1,
            ssrc=number,
            payload_type=PAYLOAD_TYPE,
            first_ns=first_ns + index * PACKET_NS // len(pairs),
            packets=packets,
            frame=offset(number) // PACKET_SAMPLES,
            suite=call.suite,
            key=call.keys[track] if call.keys else b"",
        )
        for index, ((call, track), number) in enumerate(zip(pairs, numbers, strict=True))
    ]


class Callers:
    """All callers behind one SIP socket, calling `target`; their RTP comes from `address` too.

    With a context, over TLS. Raises OSError where that does not connect.
    """

    def __init__(self, address: str, target: tuple[str, int], secure: ssl.SSLContext | None = None) -> None:
        self._target = target
        self._wire: Wire = Datagrams(address, target) if secure is None else Encrypted(address, target, secure)
        self._address, self._port = self._wire.address
        self._calls: dict[str, Call] = {}
        self._due: dict[str, deque[tuple[float, Call]]] = {"call": deque(), "hang up": deque()}
        self._repeats: list[tuple[float, int, float, float, str, bytes]] = []
        self._count = 0

    def close(self) -> None:
        """Close the socket; calls that are still up stay so at the other end."""
        self._wire.close()

    def call(self, calls: Sequence[Call], rate: float) -> None:
        """Set calls up, `rate` a second, from now on; `run` does it."""
        self._schedule("call", calls, rate)

    def hang_up(self, calls: Sequence[Call], rate: float) -> None:
        """Send BYE for calls that are up, `rate` a second."""
        self._schedule("hang up", [call for call in calls if call.state == "up"], rate)

    def run(self, done: Callable[[], bool], timeout_s: float) -> bool:
        """Send and receive until `done` or the time is over; whether it was done."""
        deadline = time.monotonic() + timeout_s
        while not done():
            now = time.monotonic()
            if now >= deadline:
                return False
            for name, act in (("call", self._invite), ("hang up", self._bye)):
                while (due := self._due[name]) and due[0][0] <= now:
                    act(due.popleft()[1])
            self._repeat(now)
            until = min([now + NAP_S, *(due[0][0] for due in self._due.values() if due)])
            if self._wire.wait(max(0.0, until - time.monotonic())):
                self._receive()
        return True

    def _schedule(self, act: str, calls: Sequence[Call], rate: float) -> None:
        due = self._due[act]
        start = max(time.monotonic(), due[-1][0] + 1 / rate if due else 0.0)
        due.extend((start + index / rate, call) for index, call in enumerate(calls))

    def _invite(self, call: Call) -> None:
        call.state = "inviting"
        self._calls[self._id(call)] = call
        data = self._request("INVITE", call, f"<sip:{call.to_user}@{self._target[0]}>", 1, _offer(self._address, call))
        call.invited_ns = time.monotonic_ns()
        self._send(call, data)

    def _bye(self, call: Call) -> None:
        call.state = "leaving"
        data = self._request("BYE", call, call.remote, 2)
        call.left_ns = time.monotonic_ns()
        self._send(call, data)

    def _send(self, call: Call, data: bytes) -> None:
        """Send a request and go on doing so until it is answered."""
        call._pending = data
        self._wire.send(data)
        now = time.monotonic()
        self._count += 1
        interval = GIVE_UP_S if self._wire.reliable else T1_S
        heapq.heappush(self._repeats, (now + interval, self._count, interval, now + GIVE_UP_S, self._id(call), data))

    def _repeat(self, now: float) -> None:
        while self._repeats and self._repeats[0][0] <= now:
            _, number, interval, give_up, call_id, data = heapq.heappop(self._repeats)
            call = self._calls[call_id]
            if call._pending is not data:
                continue
            if now >= give_up:
                self._fail(call, "no answer")
                continue
            call.repeated += 1
            self._wire.send(data)
            interval = min(2 * interval, T2_S)
            heapq.heappush(self._repeats, (now + interval, number, interval, give_up, call_id, data))

    def _receive(self) -> None:
        for data in self._wire.receive():
            now_ns = time.monotonic_ns()
            head, _, body = data.partition(b"\r\n\r\n")
            start, *lines = head.decode("utf-8", "replace").split("\r\n")
            fields = (line.partition(":") for line in lines)
            headers = {name.strip().lower(): value.strip() for name, _, value in fields}
            call = self._calls.get(headers.get("call-id", _MISSING))
            if call is None:
                continue
            status = _STATUS.match(start)
            if status is None:
                self._peer_request(call, start.partition(" ")[0], headers)
            elif headers.get("cseq", _MISSING).endswith("INVITE"):
                self._invite_answered(call, int(status[1]), headers, body, now_ns)
            elif int(status[1]) >= 200 and call.state == "leaving":
                call.state, call._pending = "over", b""

    def _invite_answered(self, call: Call, status: int, headers: dict[str, str], body: bytes, now_ns: int) -> None:
        if status < 200:
            call._pending = b""  # it is there, and answers in its own time
            return
        call.remote = headers.get("to", _MISSING)
        call.target = headers.get("contact", _MISSING).strip("<>")
        if call.state == "inviting":
            call.answered_ns, call._pending = now_ns, b""
            call.remote_ports = tuple(int(port) for port in _AUDIO_PORT.findall(body))
            if status < 300 and len(call.remote_ports) == len(call.source_ports) and 0 not in call.remote_ports:
                call.state = "up"
            else:
                self._fail(call, f"answered {status}")
        # A final answer that comes again has lost its ACK. That of a refusal is part of the INVITE's transaction.
        self._wire.send(self._request("ACK", call, call.remote, 1, refused=status >= 300))

    def _peer_request(self, call: Call, method: str, headers: dict[str, str]) -> None:
        """The other end hangs up: that is a failure of the run. Anything else is agreed to."""
        if method == "ACK":
            return
        names = ("via", "from", "to", "call-id", "cseq")
        lines = ["SIP/2.0 200 OK", *(f"{name}: {headers.get(name, _MISSING)}" for name in names), "Content-Length: 0"]
        self._wire.send("\r\n".join([*lines, "", ""]).encode())
        if method == "BYE" and call.state != "over":
            self._fail(call, "ended by callvault")

    def _fail(self, call: Call, why: str) -> None:
        call.state, call.failure, call._pending = "failed", why, b""

    def _id(self, call: Call) -> str:
        return f"{call.number}-{self._port}@benchmark"

    def _request(
        self, method: str, call: Call, to: str, sequence: int, body: bytes = b"", refused: bool = False
    ) -> bytes:
        # The ACK of a 200 is a transaction of its own (RFC 3261 §13.2.2.4), that of a refusal has the INVITE's branch.
        own = method != "ACK" or refused
        branch = f"z9hG4bK{call.number}-{sequence}{'' if own else '-ack'}"
        way = ";transport=tls" if self._wire.reliable else ""
        uri = call.target or f"sip:{call.to_user}@{self._target[0]}:{self._target[1]}{way}"
        lines = [
            f"{method} {uri} SIP/2.0",
            f"Via: SIP/2.0/{self._wire.transport} {self._address}:{self._port};branch={branch};rport",
            "Max-Forwards: 70",
            f"From: <sip:recorder@{self._address}>;tag={call.number}",
            f"To: {to}",
            f"Call-ID: {self._id(call)}",
            f"CSeq: {sequence} {method}",
            f"Contact: <sip:recorder@{self._address}:{self._port}{way}>",
            *(["Content-Type: application/sdp"] if body else []),
            f"Content-Length: {len(body)}",
        ]
        return "\r\n".join([*lines, "", ""]).encode() + body


def _offer(address: str, call: Call) -> bytes:
    """The SDP of a recording client (RFC 7866 §7.1.1), a sendonly m-line with a label for each track, or of a plain
    call; with a key for each m-line where there are keys (RFC 4568)."""
    lines = ["v=0", f"o=- {call.number + 1} 1 IN IP4 {address}", "s=-", f"c=IN IP4 {address}", "t=0 0"]
    for track, port in enumerate(call.source_ports):
        lines += [f"m=audio {port} RTP/{'SAVP' if call.keys else 'AVP'} 8", "a=rtpmap:8 PCMA/8000", "a=ptime:20"]
        lines += ["a=sendonly", f"a=label:{track + 1}"] if call.sends_only else ["a=sendrecv"]
        if call.keys:
            lines.append(f"a=crypto:1 {call.suite} inline:{base64.b64encode(call.keys[track]).decode()}")
    return "\r\n".join([*lines, ""]).encode()
