"""How many calls a core carries: `python -m benchmarks.calls --kind siprec --calls N --seconds S [--json FILE]`.

A whole callvault, transcription off, takes N calls, with a port for each leg: RTP and RTCP from a native generator,
speech detection, sealing, uploads, BYE. Then every recording is opened by another process and its frames are counted.
`siprec` is one INVITE with two sendonly m-lines of G.711, `trunk` one sendrecv stream, `srtp` as siprec over TLS with
SRTP (SDES, `--suite`); `webrtc` is described in `benchmarks.webrtc`.

`cpu_us_per_packet` is the user and system time of all callvault's processes from the first INVITE until the last call
is stored, by the packets sent; nothing is subtracted, and what the idle installation would have used in that time is
told apart. `calls_per_core` is extrapolated from it, for a core that is 70 % busy; `calls_held` was run. The kernel's
work on received datagrams before a socket has them (softirq) is charged to no process, on loopback as on a network
card: it is told apart. So is the generator, and a run in which it sent less than 99.5 % of the packets within 5 ms of
their instants is void.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import installation, machine, native, processes, recorded, report, rtpengine, speech, tls, webrtc
from benchmarks.cost import Stages, cost, us
from benchmarks.installation import Installation
from benchmarks.processes import Use
from benchmarks.signalling import (
    CALLER_ADDRESS,
    PACKETS_A_SECOND,
    SECURE,
    SUITE,
    TRACKS,
    Call,
    Callers,
    legs_of,
    make_calls,
)
from benchmarks.stores import StoreServer, juicefs
from media.native import CORE
from media.sdp import SUITES

STRIDE = 47 * native.PACKET_SAMPLES  # legs begin at different places of the speech, so that few change at once
RATE = 50.0  # calls set up, and hung up, in a second
IDLE_S = 5.0
SETUP_S = 60.0  # beyond what the rate takes
STORED_S = 180.0
LADDER = 1.25  # each rung carries so many times more calls than the one below
RUNGS_MAX = 10
SHOWN = (
    *("objects", "media_workers", "store_cpu_us_per_packet"),
    *("calls", "seconds", "held", "packets_sent", "packets_lost_by_us", "cpu_us_per_packet"),
    *("cpu_us_per_packet_by_role", "cpu_us_per_packet_while_talking"),
    *("cpu_us_per_packet_idle_part", "idle_core_share_by_role", "kernel_receive_us_per_packet"),
    *("calls_per_core", "rss_mb_per_call", "setup_ms", "cpu_ms_per_call_setup", "cpu_ms_per_call_hang_up"),
    *("call_states", "call_failures", "sip_repeated", "frames", "generator", "datagrams_dropped_by_kernel"),
    *("machine_load", "machine_pace_ms", "log", "remarks", "void"),
)


@dataclass(frozen=True, slots=True)
class Load:
    """What is carried: so many calls for so long, set up and hung up at a rate."""

    kind: str
    calls: int
    seconds: float
    rate: float
    objects: str
    media_workers: int
    native: bool
    suite: str = SUITE

    @property
    def secure(self) -> bool:
        """Whether it comes over TLS, encrypted by `suite`."""
        return self.kind == SECURE

    def offset(self, number: int) -> int:
        """Where in the speech, in samples, the leg of this number begins."""
        return STRIDE * number


def main(argv: Sequence[str] | None = None) -> int:
    """Exit 0 when the run (with --ladder: the first one) counts and lost nothing."""
    arguments = parse(argv)
    if arguments.kind == webrtc.KIND:
        return webrtc.run_and_tell(arguments.calls, arguments.seconds, arguments.json, arguments.profile)
    if arguments.compare:
        rtpengine.installed()
    circle = speech.make()
    where = machine.describe()
    print(report.heading("Calls: SIP, RTP, speech detection, sealing, uploads", where))
    runs: list[dict[str, object]] = []
    calls = arguments.calls
    with native.generator(native.frames_of(circle.octets), arguments.kind == SECURE) as generator:
        while True:
            load = Load(
                *(arguments.kind, calls, arguments.seconds, arguments.rate, arguments.objects),
                *(arguments.media_workers, arguments.native, arguments.suite),
            )
            runs.append(run(load, generator, circle.octets))
            print(_table(runs[-1]) + "\n")
            if arguments.compare:
                runs[-1]["rtpengine"] = compared = rtpengine.compare(load, generator, runs[-1])
                print(rtpengine.table(runs[-1], compared) + "\n")
            if not arguments.ladder or not runs[-1]["held"] or len(runs) == RUNGS_MAX:
                break
            calls = round(calls * LADDER)
    figures = {"machine": where, **runs[0], "calls_held": max((_held(entry) for entry in runs), default=0)}
    if arguments.ladder:
        figures["ladder"] = runs
        print(f"calls held: {figures['calls_held']}")
    report.write(arguments.json, figures)
    return 0 if runs[0]["held"] else 1


def run(load: Load, generator: native.Generator, circle: bytes) -> dict[str, object]:
    """One run on a fresh installation: its figures."""
    with _started(load) as (running, callers, store):
        idle = running.cpu()
        time.sleep(IDLE_S)
        before = running.cpu()
        idle_shares = {role: spent / (before.at_s - idle.at_s) for role, spent in before.since(idle).items()}
        memory_idle = running.pss_mb()
        paces_ms = [machine.pace_ms()]
        machine_before, own_before_s, store_before_s = machine.load(), time.process_time(), _cpu_s(store)
        calls = make_calls(load.kind, 0, load.calls, load.suite)
        sent, memory, stages = _carry(load, running, callers, calls, generator, before, paces_ms)
        with running.recordings() as recordings:
            tenant = recordings.tenant(installation.TENANT)
            answered = sum(call.answered_ns > 0 and call.failure != "no answer" for call in calls)
            states = recorded.wait_until_stored(recordings, tenant, answered, STORED_S)
            stages = Stages(stages.start, stages.media, stages.hang_up, running.cpu())
            machine_after = machine.load()
            paces_ms.append(machine.pace_ms())
            own_s = stages.stored.total_s - before.total_s + sent.user_s + sent.sys_s
            own_s += time.process_time() - own_before_s
            store_s = _cpu_s(store) - store_before_s
            own_s += store_s
            found = recorded.open_all(recordings, tenant, circle)
        complaints = running.complaints()
    shares = machine.disturbance(machine_before, machine_after, own_s)
    figures: dict[str, object] = {"kind": load.kind, "calls": load.calls, "seconds": load.seconds, "rate": load.rate}
    if load.secure:
        figures |= {"signalling": "tls", "suite": load.suite}
    figures |= {"media_workers": load.media_workers, "native_core": load.native and CORE is not None}
    figures |= {"objects": load.objects, "store_cpu_us_per_packet": us(store_s, sent.sent)}
    figures |= _outcome(load, calls, sent, found, states)
    figures |= cost(stages, sent.sent, load.calls, TRACKS[load.kind])
    idle_s = sum(idle_shares.values()) * (stages.stored.at_s - stages.start.at_s)
    figures["cpu_us_per_packet_idle_part"] = us(idle_s, sent.sent)
    figures["idle_core_share_by_role"] = {role: round(share, 4) for role, share in idle_shares.items()}
    figures |= _memory(load, memory_idle, memory)
    figures["generator"] = sent.figures()
    figures["kernel_receive_us_per_packet"] = us(machine_after.softirq_s - machine_before.softirq_s, sent.sent)
    figures["datagrams_dropped_by_kernel"] = machine_after.datagrams_dropped - machine_before.datagrams_dropped
    return figures | {
        "machine_load": shares,
        "machine_pace_ms": paces_ms,
        "remarks": machine.objections(shares, paces_ms),
        "log": complaints,
    }


@contextlib.contextmanager
def _started(load: Load) -> Iterator[tuple[Installation, Callers, StoreServer | None]]:
    """A fresh installation for it, those who call it, and its object store where that is a server."""
    overrides: dict[str, object] = {"TRANSCRIPTION__WORKERS": 0, "MEDIA__WORKERS": load.media_workers}
    overrides["MEDIA__NATIVE"] = str(load.native).lower()
    with contextlib.ExitStack() as stack:
        store = secure = None
        if load.objects == "juicefs":
            store = stack.enter_context(juicefs(Path(stack.enter_context(TemporaryDirectory()))))
            overrides["STORE__OBJECTS"] = store.bucket("recordings")
        if load.secure:
            secure = tls.secure(Path(stack.enter_context(TemporaryDirectory())))
            overrides |= secure.overrides
        running = stack.enter_context(installation.running(overrides))
        target = (secure.address, secure.context) if secure else (running.sip, None)
        yield running, stack.enter_context(contextlib.closing(Callers(CALLER_ADDRESS, *target))), store


def _carry(
    load: Load,
    running: Installation,
    callers: Callers,
    calls: list[Call],
    generator: native.Generator,
    before: Use,
    paces_ms: list[float],
) -> tuple[native.Sent, Mapping[str, float], Stages]:
    """Set up, talk, hang up."""
    callers.call(calls, load.rate)
    callers.run(lambda: all(call.state in ("up", "failed") for call in calls), load.calls / load.rate + SETUP_S)
    up = [call for call in calls if call.state == "up"]
    packets = round(load.seconds * PACKETS_A_SECOND)
    legs = legs_of(up, running.sip[0], time.monotonic_ns() + native.LEAD_NS, packets, load.offset)
    media = running.cpu()
    sending = generator.start(legs)
    callers.run(lambda: time.monotonic_ns() > sending.last_ns - load.seconds * 5e8, load.seconds + SETUP_S)
    memory = running.pss_mb()
    paces_ms.append(machine.pace_ms())
    callers.run(lambda: time.monotonic_ns() > sending.last_ns, load.seconds + SETUP_S)
    sent = sending.wait(time.monotonic_ns())
    hang_up = running.cpu()
    callers.hang_up(calls, load.rate)
    callers.run(lambda: all(call.state in ("over", "failed") for call in calls), load.calls / load.rate + SETUP_S)
    return sent, memory, Stages(before, media, hang_up, hang_up)


def _outcome(
    load: Load, calls: list[Call], sent: native.Sent, found: recorded.Found, states: Mapping[str, int]
) -> dict[str, object]:
    setup = report.percentiles(call.setup_ms for call in calls if call.answered_ns)
    lost = sent.sent - found.frames
    failures = sorted({call.failure for call in calls if call.failure})
    stored = states.get("stored", 0)
    exact = found.intact == found.tracks == load.calls * TRACKS[load.kind]
    void = [f"the generator kept only {sent.schedule_kept:.2%} of its schedule"] if sent.void else []
    return {
        "void": void,
        "held": not void
        and not failures
        and lost == 0
        and exact
        and stored == load.calls
        and sent.sent == sent.scheduled,
        "packets_sent": sent.sent,
        "packets_lost_by_us": lost,
        "frames": asdict(found),
        "call_states": dict(states),
        "call_failures": failures,
        "sip_repeated": sum(call.repeated for call in calls),
        "setup_ms": setup,
    }


def _memory(load: Load, idle: Mapping[str, float], busy: Mapping[str, float]) -> dict[str, object]:
    if not idle or not busy:
        return {"rss_mb_per_call": None}  # only root may read it
    grown = sum(busy.values()) - sum(idle.values())
    return {
        "rss_mb_per_call": round(grown / load.calls, 3),
        "pss_mb": {role: round(size, 1) for role, size in busy.items()},
        "pss_mb_idle": {role: round(size, 1) for role, size in idle.items()},
    }


def _held(figures: Mapping[str, object]) -> int:
    return int(str(figures["calls"])) if figures["held"] else 0


def _table(figures: Mapping[str, object]) -> str:
    return "\n".join(f"{name:<34} {_shown(figures[name])}" for name in SHOWN)


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {item}" for name, item in value.items())
    if isinstance(value, list):
        return "\n    ".join(str(item) for item in value) or "none"
    return str(value)


def _cpu_s(store: StoreServer | None) -> float:
    """CPU of the object store's own process: apart from callvault's, as the generator's is."""
    return 0.0 if store is None else processes.cpu(store.pid).total_s


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.calls", description="How many calls a core carries.")
    parser.add_argument("--kind", choices=[*sorted(TRACKS), webrtc.KIND], default="siprec")
    parser.add_argument("--suite", choices=SUITES, default=SUITE, help="of SRTP, with --kind srtp")
    parser.add_argument("--calls", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long each call talks")
    parser.add_argument("--rate", type=float, default=RATE, help="calls set up, and hung up, in a second")
    parser.add_argument(
        "--objects", choices=("folder", "juicefs"), default="folder", help="where uploads go: an S3 server beside it"
    )
    parser.add_argument("--media-workers", type=int, default=1, metavar="N", help="that take calls; one more stands by")
    parser.add_argument(
        "--no-native", dest="native", action="store_false", help="media workers in pure Python, without the native core"
    )
    parser.add_argument(
        "--compare", choices=["rtpengine"], help="with --kind siprec: the same load on Debian's rtpengine, afterwards"
    )
    parser.add_argument(
        "--profile", type=float, default=0.0, metavar="SECONDS", help="with --kind webrtc: what the time goes to"
    )
    parser.add_argument("--ladder", action="store_true", help=f"go on with {LADDER} times more calls while all is held")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args(argv)
    if arguments.compare and arguments.kind != rtpengine.KIND:
        parser.error(f"--compare is for --kind {rtpengine.KIND}")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
