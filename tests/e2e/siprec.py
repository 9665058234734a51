"""A recording client for end-to-end tests: sipp signals what it is given, a thread beside it sends the audio.

sipp can send one audio stream of a call, a recording session has several: so the streams come from sockets of ours,
whose ports stand in the offers, and go where sipp's log says that the answer wants them.
"""

from __future__ import annotations

import ctypes
import os
import re
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from media.codecs import PCMA, PCMU
from media.rtp import Packet
from tests.e2e.fleet import noise
from tests.e2e.judge import HOST, Verdict, sipp

PACKET_S = 0.02
MTU = 1500
_CLONE_NEWNET = 0x40000000
_HEAD = """{method} {target} SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: <sip:{user}@[local_ip]:[local_port]{parameters}>;tag=[pid]tag[call_number]
To: <sip:recorder@[remote_ip]:[remote_port]>{tag}
Call-ID: [call_id]
CSeq: {number} {method}
Contact: <sip:{user}@[local_ip]:[local_port];transport=[transport]>{feature}
Max-Forwards: 70
{more}Content-Length: [len]

{body}"""
PLAIN = {codec.name: codec for codec in (PCMA, PCMU)}


@dataclass(frozen=True, slots=True)
class Step:
    """A request with its body, answered 200, and how long the call then stands."""

    method: str
    content_type: str = ""
    body: str = ""
    pause_ms: int = 600


SIPREC = "Require: siprec\n"


def scenario(user: str, steps: Sequence[Step], more: str, parameters: str = "") -> str:
    """The steps as sipp's XML, with a BYE behind them; `more` headers stand in the first one.

    `parameters` are those of From's URI.
    """
    parts = ['<?xml version="1.0"?>', '<scenario name="recording client">']
    for number, step in enumerate((*steps, Step("BYE", pause_ms=0)), 1):
        first = number == 1
        where = {
            "target": "sip:recorder@[remote_ip]:[remote_port]" if first else "[next_url]",
            "tag": "" if first else "[peer_tag_param]",
            "user": user,
            "parameters": parameters,
            "number": number,
            "feature": ";+sip.src" if more == SIPREC else "",
        }
        extra = (more if first else "") + (f"Content-Type: {step.content_type}\n" if step.body else "")
        parts.append(_send(_HEAD.format(method=step.method, more=extra, body=step.body, **where)))
        parts.append('<recv response="100" optional="true"/>' if step.method == "INVITE" else "")
        parts.append('<recv response="200" rrs="true"/>')
        if step.method == "INVITE":
            where["target"], where["tag"] = "[next_url]", "[peer_tag_param]"
            parts.append(_send(_HEAD.format(method="ACK", more="", body="", **where)))
        parts.append(f'<pause milliseconds="{step.pause_ms}"/>')
    return "\n".join((*parts, "</scenario>"))


def _send(message: str) -> str:
    retrans = "" if message.startswith("ACK") else ' retrans="500"'
    return f"<send{retrans}><![CDATA[\n{message}\n]]></send>"


@dataclass
class Line:
    """One stream: its socket, its audio, and how much of that has been sent."""

    codec: str
    samples: NDArray[np.int16]
    sock: socket.socket = field(default_factory=lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    sent: int = 0

    def __post_init__(self) -> None:
        self.sock.bind((HOST, 0))

    @property
    def port(self) -> int:
        port: int = self.sock.getsockname()[1]
        return port

    def coded(self) -> bytes:
        """All that has been sent, decoded as the recording will be."""
        return PLAIN[self.codec].encode(self.samples[: self.sent * 160])


class Client:
    """Runs one recording session: signalling by sipp, a line for each m-line."""

    def __init__(self, folder: Path, user: str, codecs: Sequence[str], parameters: str = "") -> None:
        self.folder = folder
        self.user = user
        self.parameters = parameters
        self.lines = [Line(codec, noise(20, seed=number)) for number, codec in enumerate(codecs)]
        self.answers: list[str] = []
        folder.mkdir(parents=True, exist_ok=True)

    def run(self, port: int, steps: Sequence[Step], *more: str, headers: str = SIPREC) -> Verdict:
        """Until sipp's call is over; raises if the media could not be sent."""
        path = self.folder / "scenario.xml"
        path.write_text(scenario(self.user, steps, headers, self.parameters))
        over = threading.Event()
        sender = threading.Thread(target=self._send, args=(over,))
        sender.start()
        try:
            log = ("-trace_msg", "-message_file", str(self._log))
            return sipp(port, self.folder, ["-sf", str(path)], 1, *log, *more)
        finally:
            over.set()
            sender.join()
            self.answers = _answers(self._log)
            for line in self.lines:
                line.sock.close()

    @property
    def _log(self) -> Path:
        return self.folder / "messages.log"

    def _send(self, over: threading.Event) -> None:
        ports: list[int] = []
        while not ports and not over.wait(PACKET_S):
            found = _answers(self._log)
            ports = [int(port) for port in re.findall(r"^m=audio (\d+)", found[0], re.M)] if found else []
        coded = [PLAIN[line.codec].encode(line.samples) for line in self.lines]
        at = time.monotonic()
        while not over.is_set():
            for number, (line, port) in enumerate(zip(self.lines, ports, strict=False)):
                payload = coded[number][160 * line.sent : 160 * line.sent + 160]
                if port and payload:
                    kind = PLAIN[line.codec].payload_type or 0
                    packet = Packet(kind, line.sent, 160 * line.sent, 0xC0 + number, payload, marker=not line.sent)
                    line.sock.sendto(packet.to_bytes(), (HOST, port))
                    line.sent += 1
            at += PACKET_S
            over.wait(max(0.0, at - time.monotonic()))


def _answers(log: Path) -> list[str]:
    """The bodies of the 200s that sipp received, by its log; those with a description."""
    text = log.read_text(errors="replace").replace("\r", "") if log.exists() else ""
    received = re.findall(r"message received .*?\n\n(SIP/2\.0 200 .*?)(?=\n-{10}|\Z)", text, re.S)
    return [body for message in received if "m=audio" in (body := message.partition("\n\n")[2])]


@contextmanager
def small_network() -> Iterator[bool]:
    """This thread, and what it starts, in a network of its own whose loopback has an Ethernet's MTU.

    False, and the machine's own loopback, where that is not allowed.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        apart = libc.unshare(_CLONE_NEWNET) == 0
        if apart:
            subprocess.run(["ip", "link", "set", "lo", "mtu", str(MTU), "up"], check=True)
        try:
            yield apart
        finally:
            if apart:
                assert libc.setns(home, _CLONE_NEWNET) == 0
    finally:
        os.close(home)


def network() -> str:
    """The file that stands for this thread's network."""
    return f"/proc/{os.getpid()}/task/{threading.get_native_id()}/ns/net"


def enter(path: str) -> None:
    """Put this thread into a network."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        assert ctypes.CDLL(None).setns(descriptor, _CLONE_NEWNET) == 0
    finally:
        os.close(descriptor)


def reassembled() -> int:
    """Datagrams that the kernel has put together from fragments, in this thread's network."""
    names, values = [
        line.split() for line in Path("/proc/thread-self/net/snmp").read_text().splitlines() if line.startswith("Ip:")
    ]
    return int(values[names.index("ReasmOKs")])
