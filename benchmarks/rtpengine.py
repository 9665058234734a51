"""Debian's rtpengine on the same load: `python -m benchmarks.calls --compare rtpengine`.

Two runs, userspace forwarding (no kernel module), driven by its control protocol: as it records, which is a relay that
writes pcap files, and the least it can do, which is receiving while it neither forwards nor records. A call is two
parties who both speak, so what it receives is the same: two streams, a port for each leg, sender reports beside them.
Its CPU is measured as callvault's is: of all its processes, from the first offer until the last call is deleted and
its file closed.

How far that compares: it does not encrypt what it keeps and detects no speech, and callvault forwards nothing. On
loopback the kernel receives a datagram while it is being sent, and charges that to the sender: receiving is charged to
the generator for either of them, but what the relay sends on costs it the receiving at the other end as well. The other
end takes nothing into its sockets.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from benchmarks import machine, native, ng, pcap, processes, report
from benchmarks.cost import Stages, cost
from benchmarks.installation import ADDRESS, free_port
from benchmarks.signalling import CALLER_ADDRESS, PACKETS_A_SECOND, PAYLOAD_TYPE, TRACKS, Call, legs_of, make_calls

KIND = "siprec"  # what it is compared on: two G.711 streams a call
PORTS = (40_000, 60_000)
READY_S = 20.0
STOP_S = 10.0
SETTLE_S = 1.0  # for its files after the last call
LIMITS = (
    "rtpengine neither encrypts what it keeps nor detects speech; callvault forwards nothing. Loopback charges the\n"
    "kernel's receiving to the sender: to the generator in all rows, and to rtpengine for what it sends on."
)
RELAY, FLOOR = "relay and pcap", "receiving only"
_PORT = re.compile(rb"^m=audio (\d+) ", re.MULTILINE)


class NotThere(Exception):
    """It is not installed or did not start; the text says what to do."""


class Load(Protocol):
    """So many calls for so long, set up and hung up at a rate; where in the speech a leg begins, in samples."""

    @property
    def calls(self) -> int: ...
    @property
    def seconds(self) -> float: ...
    @property
    def rate(self) -> float: ...
    def offset(self, number: int) -> int: ...


@dataclass(frozen=True, slots=True)
class Daemon:
    """A running rtpengine."""

    process: subprocess.Popen[bytes]
    client: ng.Client
    recordings: Path
    version: str

    def cpu(self) -> processes.Use:
        """CPU used so far, all of it in the role `rtpengine`."""
        found = processes.cpu(self.process.pid)
        return processes.Use(found.at_s, {"rtpengine": found.total_s}, found.pids)


def installed() -> str:
    """The program. Raises NotThere."""
    program = shutil.which("rtpengine")
    if program is None:
        raise NotThere("the comparison needs rtpengine: apt-get install --no-install-recommends rtpengine-daemon")
    return program


def compare(load: Load, generator: native.Generator, ours: Mapping[str, object]) -> dict[str, dict[str, object]]:
    """Both runs, and callvault's `cpu_us_per_packet` beside theirs: how many times as many calls it carries."""
    us_ours = float(str(ours["cpu_us_per_packet"]))
    found = {}
    for name in (RELAY, FLOOR):
        figures = run(load, generator, records=name == RELAY)
        us_theirs = float(str(figures["cpu_us_per_packet"]))
        found[name] = figures | {"callvault_carries_times": round(us_theirs / us_ours, 2) if us_ours else None}
    return found


def table(ours: Mapping[str, object], theirs: Mapping[str, Mapping[str, object]]) -> str:
    """All three beside each other, and how far that compares."""
    names = ("cpu_us_per_packet", "cpu_us_per_packet_while_talking", "calls_per_core")
    rows: list[list[object]] = [["callvault", *(ours[name] for name in names), 1.0, ours["packets_lost_by_us"]]]
    for name, figures in theirs.items():
        lost = int(str(figures["packets_sent"])) - int(str(figures["packets_received"]))
        rows.append([f"rtpengine, {name}", *(figures[of] for of in names), figures["callvault_carries_times"], lost])
    head = ("", "µs a packet", "talking", "calls a core", "callvault carries times", "lost")
    lines = [report.table(head, rows), *(f"{name}: {figures['void'] or 'counts'}" for name, figures in theirs.items())]
    return "\n".join([*lines, LIMITS])


def run(load: Load, generator: native.Generator, records: bool) -> dict[str, object]:
    """One run on a fresh daemon: its figures."""
    with _running() as daemon:
        paces_ms = [machine.pace_ms()]
        load_before, start, own_before_s = machine.load(), daemon.cpu(), time.process_time()
        calls = make_calls(KIND, 0, load.calls)
        _set_up(daemon, calls, load.rate, records)
        packets = round(load.seconds * PACKETS_A_SECOND)
        legs = legs_of(calls, ADDRESS, time.monotonic_ns() + native.LEAD_NS, packets, load.offset)
        media = daemon.cpu()
        sending = generator.start(legs)
        time.sleep(max(0.0, (sending.last_ns - time.monotonic_ns()) / 1e9))
        hang_up = daemon.cpu()
        sent = sending.wait(time.monotonic_ns())
        received = sum(_deleted(daemon, call, load.rate) for call in calls)
        time.sleep(SETTLE_S)
        stages = Stages(start, media, hang_up, daemon.cpu())
        load_after = machine.load()
        paces_ms.append(machine.pace_ms())
        own_s = stages.stored.total_s - start.total_s + sent.user_s + sent.sys_s + time.process_time() - own_before_s
        written = sum(pcap.packets(file, PAYLOAD_TYPE) for file in daemon.recordings.rglob("*.pcap"))
    shares = machine.disturbance(load_before, load_after, own_s)
    figures = cost(stages, sent.sent, load.calls, TRACKS[KIND])
    return {
        "version": daemon.version,
        "packets_sent": sent.sent,
        "packets_received": received,
        "packets_written": written,
        **{name: figures[name] for name in ("cpu_us_per_packet", "cpu_us_per_packet_while_talking", "calls_per_core")},
        "generator": sent.figures(),
        "machine_load": shares,
        "remarks": machine.objections(shares, paces_ms),
        "void": [f"the generator kept only {sent.schedule_kept:.2%} of its schedule"] if sent.void else [],
    }


def _set_up(daemon: Daemon, calls: Sequence[Call], rate: float, records: bool) -> None:
    """Offer and answer of every call, which then knows the ports that its two parties send to."""
    began_s = time.monotonic()
    for number, call in enumerate(calls):
        time.sleep(max(0.0, began_s + number / rate - time.monotonic()))
        common = {"call-id": call.to_user, "from-tag": "caller", "ICE": "remove"}
        common |= {"record call": "yes"} if records else {}
        caller, called = call.source_ports
        offer = daemon.client.ask("offer", {**common, "sdp": _sdp(caller)})
        answer = daemon.client.ask("answer", {**common, "to-tag": "called", "sdp": _sdp(called)})
        if not records:
            daemon.client.ask("block media", {"call-id": call.to_user, "flags": ["all"]})
        # The caller is shown the answer, and sends to the port in it; the other party is shown the offer.
        call.remote_ports = (_port(answer["sdp"]), _port(offer["sdp"]))


def _port(described: ng.Value) -> int:
    found = _PORT.search(described) if isinstance(described, bytes) else None
    if found is None:
        raise ng.Refused("an SDP without a port")
    return int(found[1])


def _deleted(daemon: Daemon, call: Call, rate: float) -> int:
    """Hang a call up; how many packets of RTP it has received."""
    time.sleep(1 / rate)
    reply = daemon.client.ask("delete", {"call-id": call.to_user, "from-tag": "caller", "delete delay": 0})
    match reply.get("totals"):
        case {"RTP": {"packets": int(packets)}}:
            return packets
    return 0


def _sdp(port: int) -> str:
    lines = ["v=0", f"o=- 1 1 IN IP4 {CALLER_ADDRESS}", "s=-", f"c=IN IP4 {CALLER_ADDRESS}", "t=0 0"]
    lines += [f"m=audio {port} RTP/AVP {PAYLOAD_TYPE}", "a=rtpmap:8 PCMA/8000", "a=ptime:20", "a=sendrecv", ""]
    return "\r\n".join(lines)


@contextlib.contextmanager
def _running() -> Iterator[Daemon]:
    """Start it in a folder that goes with the context, and end it. Raises NotThere."""
    program = installed()
    version = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=READY_S, check=False)
    with TemporaryDirectory(prefix="callvault-rtpengine-") as folder:
        port = free_port()
        options = ["--config-file=none", "--foreground", "--log-stderr", "--log-level=3", "--table=-1"]
        options += [f"--interface={ADDRESS}", f"--listen-ng={ADDRESS}:{port}", "--delete-delay=0"]
        options += [f"--port-min={PORTS[0]}", f"--port-max={PORTS[1]}"]
        options += [f"--recording-dir={folder}", "--recording-method=pcap", "--recording-format=raw"]
        log = Path(folder, "log")
        with log.open("wb") as said:
            process = subprocess.Popen([program, *options], stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        try:
            with contextlib.closing(ng.Client((ADDRESS, port))) as client:
                _wait_until_ready(process, client, log)
                words = (version.stdout + version.stderr).split()
                yield Daemon(process, client, Path(folder), words[-1] if words else "unknown")
        finally:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], client: ng.Client, log: Path) -> None:
    deadline = time.monotonic() + READY_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            client.ask("ping")
        except ng.Refused:
            time.sleep(0.1)
        else:
            return
    raise NotThere(f"rtpengine did not start: {log.read_text(errors='replace')[-1000:]}")
