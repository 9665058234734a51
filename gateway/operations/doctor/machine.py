"""What the machine gives: ports, limits, clock, disk, memory. Thresholds are here, with their reasons."""

from __future__ import annotations

import os
import resource
import shutil
import socket
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from gateway.addresses import parse_address
from gateway.config import Settings
from gateway.ingest.udp import RECEIVE_BUFFER_BYTES
from gateway.operations.clock import UNKNOWN, ClockState, clock_state
from gateway.operations.doctor.row import Row, State, graded
from media.native import CORE
from storage.spoollock import has_writer

DESCRIPTORS_A_CALL = (
    4  # RTP and RTCP of two tracks; worker and gateway hold a duplicate each, in processes of their own
)
DESCRIPTORS_BESIDE = 1000  # connections, files, pipes
PORTS_TRIED = 16  # pairs at the start of the range; trying all would take as long as a start
CLOCK_ERROR_MS_MAX = 1000.0  # key drops bear 60 s between clocks; a second is what call detail should be worth
DISK_LEFT_BYTES = 1 << 30  # beside the spool's limit: catalogue, queue, logs
DISK_LEAST_BYTES = 256 << 20  # with less not even one spool file and the catalogue's log fit
FSYNC_TRIES = 5
FSYNC_MS_WARN = 100.0  # a commit every 250 ms has no room for slower
FSYNC_MS_FAIL = 1000.0  # then more than the promised second may be lost
RUNNING = "in use by the callvault that runs here"


def ports(settings: Settings) -> Iterator[Row]:
    """Every address that is listened on, and the beginning of the RTP range."""
    running = has_writer(settings.data_folder / "spool")
    for name, transport, address in settings.sip.places():
        kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
        yield _port(f"{name} ({transport})", address, kind, running)
    yield _port("http.listen", parse_address(settings.http.listen), socket.SOCK_STREAM, running)
    yield _rtp_ports(settings)


def _port(name: str, address: tuple[str, int], kind: socket.SocketKind, running: bool) -> Row:
    trouble = _trouble(address, kind)
    if trouble and running and trouble == os.strerror(98):  # EADDRINUSE
        return Row(name, State.OK, RUNNING)
    mend = f"stop what uses it (ss -lunpt 'sport = :{address[1]}'), or give callvault an address of this machine"
    return graded(name, trouble or "free", mend, fail=bool(trouble))


def _trouble(address: tuple[str, int], kind: socket.SocketKind) -> str:
    with socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET, kind) as sock:
        try:
            if kind is socket.SOCK_STREAM:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
        except OSError as error:
            return error.strerror or type(error).__name__
    return ""


def _rtp_ports(settings: Settings) -> Row:
    media = settings.media
    addresses = [address for address in (media.address, media.address6) if address]
    pairs = range(media.port_first + media.port_first % 2, media.port_last, 2)
    tried = pairs[:PORTS_TRIED]
    taken = sum(any(_trouble((address, port), socket.SOCK_DGRAM) for address in addresses) for port in tried)
    found = f"room for {len(pairs)} tracks; {taken} of the first {len(tried)} ports are taken"
    few = len(pairs) < 2 * settings.sip.calls_max
    mend = "media.address and address6 must be of this machine; a two-track call takes four ports: widen their range"
    return graded("media ports", found, mend, fail=taken == len(tried), warn=few or taken > 0)


def limits(settings: Settings) -> Iterator[Row]:
    """Descriptors, receive buffers, locked memory and swap, cores."""
    need = DESCRIPTORS_A_CALL * settings.sip.calls_max + DESCRIPTORS_BESIDE
    have = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    text = "unlimited" if have == resource.RLIM_INFINITY else str(have)
    short = have != resource.RLIM_INFINITY and have < need
    calls = f"{settings.sip.calls_max} calls need {need}"
    yield graded("open files", f"{text}; {calls}", f"LimitNOFILE={need} in the unit, or ulimit -Hn {need}", warn=short)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        got = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2  # the kernel tells twice what it took
    yield graded(
        "receive buffer",
        f"{got >> 10} KiB of {RECEIVE_BUFFER_BYTES >> 10}",
        f"sysctl -w net.core.rmem_max={RECEIVE_BUFFER_BYTES} (deploy/sysctl.d keeps it)",
        warn=got < RECEIVE_BUFFER_BYTES,
    )
    yield _swap(Path("/proc/swaps"))
    workers, cores = settings.media.workers, os.cpu_count() or 1
    yield graded(
        "media workers",
        f"{workers} and one that stands by, on {cores} cores",
        "lower media.workers: those that share a core share its calls too, and each costs memory",
        warn=workers > cores,
    )


def _swap(swaps: Path) -> Row:
    """Keys are in memory; what is swapped out is on a disk."""
    try:
        used = len(swaps.read_text().splitlines()) > 1
    except OSError:
        return Row("swap", State.WARN, "cannot be told", "see that swap is off or encrypted: keys are in memory")
    locked = resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]
    limit = "unlimited" if locked == resource.RLIM_INFINITY else f"{locked >> 10} KiB"
    found = f"{'on' if used else 'none'}; locked memory up to {limit}"
    mend = "swap may write keys to disk: swapoff -a, encrypted swap, or MemorySwapMax=0 in the unit"
    return graded("swap", found, mend, warn=used)


def clock(settings: Settings) -> Iterator[Row]:
    """Whether something keeps the clock right."""
    yield judge_clock(clock_state())


def judge_clock(state: ClockState) -> Row:
    """What a clock's state means for recordings."""
    mend = "run chrony or systemd-timesyncd on the host: times of calls and expiry of keys rest on this clock"
    if state == UNKNOWN:
        return Row("clock", State.WARN, "the kernel tells nothing of its clock", mend)
    error = "unknown error" if state.error_ms is None else f"error about {state.error_ms:g} ms"
    wrong = state.error_ms is not None and state.error_ms > CLOCK_ERROR_MS_MAX
    found = f"{'synchronised' if state.synchronised else 'not synchronised'}, {error}"
    return graded("clock", found, mend, warn=not state.synchronised or wrong)


def disk(settings: Settings) -> Iterator[Row]:
    """Room for the spool, and how long a commit takes; the owner and mode of the data folder."""
    folder = settings.data_folder
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free, need = shutil.disk_usage(there).free, (settings.store.spool_limit_mib << 20) + DISK_LEFT_BYTES
    yield graded(
        "disk space",
        f"{free >> 20} MiB free at {there}",
        f"{need >> 20} MiB are wanted: free some, or lower store.spool_limit_mib",
        fail=free < DISK_LEAST_BYTES,
        warn=free < need,
    )
    if not os.access(there, os.W_OK | os.X_OK):
        yield Row("data folder", State.FAIL, f"{there} cannot be written", "chown it to the user that runs callvault")
        return
    took_ms = _fsync_ms(there)
    yield graded(
        "fsync",
        f"{took_ms:.1f} ms",
        "up to a second of audio waits for it: a faster or less busy disk for the data folder",
        fail=took_ms > FSYNC_MS_FAIL,
        warn=took_ms > FSYNC_MS_WARN,
    )
    if there == folder:
        mode = stat.S_IMODE(folder.stat().st_mode)
        yield graded("data folder", f"mode {mode:o}", f"chmod 700 {folder}", warn=bool(mode & 0o077))


def _fsync_ms(folder: Path) -> float:
    """The median of a few commits of 4 KiB, in a file that is gone afterwards."""
    took = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(FSYNC_TRIES):
            started = time.perf_counter()
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
            took.append(1000 * (time.perf_counter() - started))
    return sorted(took)[FSYNC_TRIES // 2]


def native(settings: Settings) -> Iterator[Row]:
    """Whether media workers have the native core."""
    if not settings.media.native:
        yield Row("native core", State.OK, "switched off by media.native")
        return
    mend = "fewer calls a core without it: install a C compiler (gcc, libc6-dev) and install callvault again"
    yield graded("native core", "not built" if CORE is None else "in use", mend, warn=CORE is None)


def user(settings: Settings) -> Iterator[Row]:
    """Who runs this: a root that creates folders keeps the service from them."""
    root = os.geteuid() == 0
    yield graded(
        "user", "root" if root else f"uid {os.geteuid()}", "run this as the user that runs callvault", warn=root
    )
