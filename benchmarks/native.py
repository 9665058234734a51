"""The native RTP generator: compiled when it is needed, driven by a plan, judged by its own report."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

SOURCES = tuple(Path(__file__).with_name(name) for name in ("generator.c", "srtp.c"))  # the second where it encrypts
PACKET_NS = 20_000_000
PACKET_SAMPLES = 160
SCHEDULE_SHARE_MIN = 0.995  # of the packets scheduled, sent within 5 ms of their instant; below it a run is void
BUILD_S = 60.0
LEAD_NS = 1_000_000_000  # between its start and its first packet: it opens four sockets a call, and makes their keys
GRACE_S = 15.0  # after the last packet's instant; the generator itself ends 2 s after it


class GeneratorFailed(Exception):
    """It could not be built, or it ended without a report; the text says why."""


@dataclass(frozen=True, slots=True)
class Leg:
    """One stream: from where, to where, what, and when (CLOCK_MONOTONIC ns) its first packet goes.

    RTCP goes from the port above the source port to `control_port`; where that is the destination's own port, it goes
    as RTP does. `frame` is the one of the speech that it starts with. `ticks` is what a packet lasts in RTP's clock;
    `extension` are octets of a header extension that each frame begins with. With a `suite` of SRTP, `key` is the
    master key and its salt. `inherited` is a bound socket to send from; -1 to open one at `source`.
    """

    source: tuple[str, int]
    destination: tuple[str, int]
    control_port: int
    ssrc: int
    payload_type: int
    first_ns: int
    packets: int
    frame: int
    ticks: int = PACKET_SAMPLES
    extension: int = 0
    suite: str = ""
    key: bytes = field(default=b"", repr=False)
    inherited: int = -1

    def line(self) -> str:
        """The leg as a line of the plan."""
        fields = [self.inherited, *self.source, *self.destination, self.control_port, self.ssrc, self.payload_type]
        fields += [self.first_ns, self.packets, self.frame, self.ticks, self.extension]
        return " ".join(str(value) for value in [*fields, self.suite or "-", self.key.hex() or "-"])


@dataclass(frozen=True, slots=True)
class Sent:
    """The generator's report. CPU is its own, user and system, in seconds."""

    legs: int
    scheduled: int
    sent: int
    on_time: int
    refused: int
    unsent: int
    reports: int
    late_ms_p50: float
    late_ms_p99: float
    late_ms_max: float
    user_s: float
    sys_s: float
    first_sent_ns: int
    last_sent_ns: int
    sent_by_leg: tuple[int, ...]

    @classmethod
    def parse(cls, text: str) -> Sent:
        """Raises GeneratorFailed where it is no report."""
        try:
            fields = json.loads(text)
            return cls(**fields | {"sent_by_leg": tuple(fields["sent_by_leg"])})
        except (ValueError, TypeError, KeyError) as error:
            raise GeneratorFailed("the generator ended without a report") from error

    @property
    def schedule_kept(self) -> float:
        """Share of the scheduled packets that were sent within 5 ms of their instant."""
        return self.on_time / self.scheduled if self.scheduled else 1.0

    @property
    def void(self) -> bool:
        """Whether the schedule was kept too badly for the run to count."""
        return self.schedule_kept < SCHEDULE_SHARE_MIN

    def figures(self) -> dict[str, object]:
        """What a benchmark's JSON says about the generator."""
        names = ("legs", "scheduled", "sent", "refused", "unsent", "reports", "late_ms_p50", "late_ms_p99")
        fields: dict[str, object] = {name: getattr(self, name) for name in (*names, "late_ms_max", "user_s", "sys_s")}
        fields["schedule_kept"] = round(self.schedule_kept, 5)
        fields["cpu_us_per_packet"] = round(1e6 * (self.user_s + self.sys_s) / max(1, self.sent), 3)
        return fields


class Generator:
    """A compiled generator with its speech; starts one process for each plan."""

    def __init__(self, program: Path, speech: Path) -> None:
        self._program = program
        self._speech = speech

    def start(self, legs: Sequence[Leg]) -> Running:
        """Start sending. Call it in a thread that outlives the run: the generator ends with its parent thread."""
        process = subprocess.Popen(
            [self._program, self._speech],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            pass_fds=[leg.inherited for leg in legs if leg.inherited >= 0],
        )
        assert process.stdin is not None
        try:
            process.stdin.writelines(leg.line() + "\n" for leg in legs)
            process.stdin.close()
        except BrokenPipeError:
            pass  # it ended early; wait() tells why
        process.stdin = None  # communicate() would write to it again
        last_ns = max((leg.first_ns + leg.packets * PACKET_NS for leg in legs), default=0)
        return Running(process, last_ns)


@dataclass(frozen=True, slots=True)
class Running:
    """A generator at work; `last_ns` is the instant at which its last packet has lasted."""

    process: subprocess.Popen[str]
    last_ns: int

    def wait(self, now_ns: int) -> Sent:
        """Its report, once it has ended. Raises GeneratorFailed."""
        timeout_s = max(0.0, (self.last_ns - now_ns) / 1e9) + GRACE_S
        try:
            text, complaint = self.process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired as error:
            self.process.kill()
            self.process.communicate()
            raise GeneratorFailed(f"the generator did not end within {timeout_s:.0f} s") from error
        if self.process.returncode != 0:
            raise GeneratorFailed(complaint.strip() or f"the generator ended with {self.process.returncode}")
        return Sent.parse(text)

    def stop(self) -> None:
        """End it early; wait() then reports what it did."""
        self.process.terminate()


@contextmanager
def generator(frames: Sequence[bytes], encrypting: bool = False) -> Iterator[Generator]:
    """Compile the generator, with SRTP if it is `encrypting`, in a folder that goes with the context; it sends these
    frames in a circle. Raises GeneratorFailed."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise GeneratorFailed("the generator needs a C compiler: apt-get install gcc libc6-dev")
    with TemporaryDirectory(prefix="callvault-generator-") as folder:
        program, speech = Path(folder, "generator"), Path(folder, "speech")
        speech.write_bytes(b"".join(len(frame).to_bytes(2, "big") + frame for frame in frames))
        options = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(program)]
        made = [*options, "-DENCRYPTED", *map(str, SOURCES), "-lcrypto"] if encrypting else [*options, str(SOURCES[0])]
        built = subprocess.run([compiler, *made], capture_output=True, text=True, timeout=BUILD_S, check=False)
        if built.returncode != 0:
            hint = "\nSRTP needs OpenSSL's headers: apt-get install libssl-dev" if encrypting else ""
            raise GeneratorFailed(built.stderr + hint)
        yield Generator(program, speech)


def frames_of(octets: bytes) -> list[bytes]:
    """G.711 in packets of 20 ms; whole ones."""
    return [octets[at : at + PACKET_SAMPLES] for at in range(0, len(octets), PACKET_SAMPLES)]
