"""What the processes of an installation spend their time on: py-spy looks at each of them, and its stacks are sorted.

Being looked at costs time itself, so a run that is profiled is for the shares alone.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import processes

RATE_HZ = 200
GRACE_S = 60.0
ROLES = ("webrtc", "media")
WORK: tuple[tuple[str, str], ...] = (
    ("ICE", r"aioice/|media/webrtc/ice\.py"),
    ("DTLS", r"aiortc/|OpenSSL/"),
    ("SRTP", r"pylibsrtp/|media/srtp\.py"),
    ("decoding for speech detection", r"media/codecs/libav|_narrowed"),
    ("speech detection", r"media/(ears|vad|listen)\.py"),
    ("frame log, sealing, spool", r"storage/|_flush_rows"),
    ("receiving", r"media/(receive|tap)\.py"),
    ("handing on to the engine", r"_take_media"),
    ("RTP", r"media/(intake|inorder|sequence|rtp)\.py"),
    ("the tick's rest", r"media/(engine|worker|webrtc/worker|webrtc/peer)\.py"),
    ("event loop", r"asyncio/|selectors\.py"),
)
"""Kinds of work, and what the frames of a stack say of it; the first row that any frame fits."""
_OTHER = "other"
_WAITING = re.compile(r"(?:\b|_)(?:poll|epoll_wait|PyThread_acquire_lock_timed) \([^;]*(?:;0x[^;]*)*$")


class NoProfiler(Exception):
    """py-spy is not installed, or may not look; the text says how."""


def split(root: int, seconds: float) -> dict[str, dict[str, float]]:
    """For the processes of an installation that receive media, by role: the share of each kind of work in the samples
    in which they worked, the largest first. Blocks for so long. Raises NoProfiler."""
    program = Path(sys.executable).with_name("py-spy")
    if not program.exists():
        raise NoProfiler("a profile needs py-spy beside this Python: pip install py-spy")
    found: dict[str, Counter[str]] = {role: Counter() for role in ROLES}
    with TemporaryDirectory() as folder:
        looking = []
        for number, (pid, role) in enumerate(processes.pids(root, ROLES)):
            stacks = Path(folder, str(number))
            options = ["--pid", str(pid), "--duration", str(round(seconds)), "--rate", str(RATE_HZ), "--native"]
            command = [str(program), "record", *options, "--format", "raw", "--output", str(stacks)]
            looking.append((role, stacks, subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)))
        for role, stacks, process in looking:
            _, complaint = process.communicate(timeout=seconds + GRACE_S)
            if not stacks.exists():
                raise NoProfiler(complaint.decode("utf-8", "replace").strip() or "py-spy saw nothing")
            found[role] += sort(stacks.read_text().splitlines())
    return {role: shares(counts) for role, counts in found.items() if counts}


def apportioned(
    found: Mapping[str, Mapping[str, float]], us_by_role: Mapping[str, float]
) -> list[tuple[str, str, float]]:
    """Process, work and its microseconds: each role's own, parted by its shares where it was looked at."""
    rows = []
    for role, whole_us in us_by_role.items():
        for work, share in found.get(role, {"everything": 1.0}).items():
            rows.append((role, work, round(share * whole_us, 2)))
    return rows if found else []


def sort(lines: Iterable[str]) -> Counter[str]:
    """Samples by kind of work; a line is a stack, outermost frame first, and how often it was seen. Those that wait
    do not count."""
    counts: Counter[str] = Counter()
    for line in lines:
        stack, _, times = line.rpartition(" ")
        if not _WAITING.search(stack):
            counts[next((work for work, mark in WORK if re.search(mark, stack)), _OTHER)] += int(times)
    return counts


def shares(counts: Counter[str]) -> dict[str, float]:
    """Of the whole, the largest first."""
    whole = sum(counts.values())
    return {work: round(count / whole, 3) for work, count in counts.most_common()}
