"""The steps of the demonstration: each does one thing to a running callvault and verifies it."""

from __future__ import annotations

import asyncio
import queue
import re
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from gateway.caller import CallResult, Track, place_call
from gateway.client import ApiError, Client
from gateway.commands.speech import Line, Pcm
from gateway.errors import Unavailable
from media.codecs import g711
from storage.errors import StoreError
from storage.ledger import verify_certificate
from storage.model import CallId
from storage.probe import Today, prove

WAV_HEADER_BYTES = 44
TRANSCRIPT_S = 300.0
READY_S = 30.0
POLL_S = 0.02

Found = TypeVar("Found")


class Steps(Protocol):
    """Where steps are reported."""

    figures: dict[str, object]

    def step(self, text: str) -> None: ...

    def verify(self, name: str, good: bool, text: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Planned:
    """A call that is going to be placed."""

    name: str
    codec: str
    tracks: tuple[Pcm, ...]


@dataclass(frozen=True, slots=True)
class Placed:
    """A call that was placed and has ended."""

    plan: Planned
    result: CallResult
    call: str
    key: str  # prefix of its figures; empty for the first


Arrived = tuple[float, int, str, dict[str, Any]]  # monotonic s, wall-clock ns, event name, fields


@contextmanager
def follow(client: Client) -> Iterator[queue.SimpleQueue[Arrived]]:
    """The tenant's live events, stamped as they arrive."""
    arrived: queue.SimpleQueue[Arrived] = queue.SimpleQueue()

    stream = client.events(timeout_s=600.0)

    def read() -> None:
        try:
            for name, fields in stream:
                arrived.put((time.monotonic(), time.time_ns(), name, fields))
        except (ApiError, OSError):
            return

    threading.Thread(target=read, name="events", daemon=True).start()
    yield arrived


async def place(
    report: Steps, client: Client, sip: tuple[str, int], plans: Sequence[Planned], events: queue.SimpleQueue[Arrived]
) -> list[Placed]:
    """Place all calls at once, in real time, and show what happens to them."""
    shower = asyncio.create_task(_show_events(report, events))
    placed = await asyncio.gather(*(_place_one(report, client, sip, plan, plan is plans[0]) for plan in plans))
    await asyncio.sleep(0.5)  # the last events
    shower.cancel()
    return list(placed)


async def _place_one(report: Steps, client: Client, sip: tuple[str, int], plan: Planned, first: bool) -> Placed:
    name = f"demo-{secrets.token_hex(4)}"
    key = "" if first else plan.name.replace(" ", "_") + "_"
    result = await place_call(sip, [Track(pcm) for pcm in plan.tracks], codec=plan.codec, from_user=name)
    call = await asyncio.to_thread(_until, lambda: _call_of(client, name), READY_S)
    await asyncio.to_thread(_until, lambda: _first_byte(client, call), READY_S)
    ready_ms = 1000 * (time.monotonic() - result.hung_up_at)
    report.figures |= {f"{key}setup_ms": round(result.setup_ms, 2), f"{key}ready_ms": round(ready_ms, 1)}
    report.step(
        f"{plan.name}: set up in {result.setup_ms:.1f} ms, {result.packets} packets sent,"
        f" downloadable {ready_ms:.0f} ms after hang-up"
    )
    return Placed(plan, result, call, key)


def download(report: Steps, client: Client, placed: Placed) -> None:
    """Compare the downloaded audio with the decoded G.711 that was sent, sample for sample."""
    decode = g711.decode_alaw if placed.plan.codec == "PCMA" else g711.decode_ulaw
    detail = client.json(f"/v1/calls/{placed.call}")
    equal = True
    for number, (payload, track) in enumerate(zip(placed.result.payloads, detail["tracks"], strict=True)):
        wav = client.get(f"/v1/calls/{placed.call}/audio?track={number}")
        heard = np.frombuffer(wav[WAV_HEADER_BYTES:], "<i2")
        sent = decode(payload)
        offset = round(track["track"]["facts"]["map"][0][2] * 8 / 1000)
        equal &= np.array_equal(heard[offset : offset + len(sent)], sent)
        equal &= not heard[:offset].any() and not heard[offset + len(sent) :].any()
    report.verify(f"{placed.key}audio_equal", bool(equal), f"{placed.plan.name}: audio equal, sample for sample")
    whole = client.get(f"/v1/calls/{placed.call}/audio")
    middle = len(whole) // 2
    part = client.get(f"/v1/calls/{placed.call}/audio", {"Range": f"bytes={middle}-{middle + 999}"})
    report.verify(f"{placed.key}range_equal", part == whole[middle : middle + 1000], "a byte range equals the whole's")
    manifest = _until(lambda: _none_on(409, lambda: client.json(f"/v1/calls/{placed.call}/manifest")), READY_S)
    slices = [entry for artefact in manifest["artefacts"] for entry in artefact["slices"]]
    sealed = sum(entry["size"] for entry in slices)
    report.figures[f"{placed.key}sealed_bytes"] = sealed
    report.step(f"{sealed} bytes sealed in {len(slices)} slices, manifest signed")


def transcript(report: Steps, client: Client, placed: Placed, lines: Sequence[Line]) -> None:
    """Wait for the transcript, show it, and look for what must not be in it."""
    path = f"/v1/calls/{placed.call}/transcript"
    found = _until(lambda: _none_on(409, lambda: client.json(path)), TRANSCRIPT_S)
    took_ms = 1000 * (time.monotonic() - placed.result.hung_up_at)
    report.figures[f"{placed.key}transcript_ms"] = round(took_ms)
    report.step(f"{placed.plan.name}: redacted transcript {took_ms / 1000:.1f} s after hang-up")
    people: dict[str, str] = {}
    for turn in found["turns"]:
        who = people.setdefault(turn["participant"], f"track {len(people) + 1}")
        report.step(f"    {turn['start_ms'] / 1000:6.1f} s  {who}: {turn['text']}")
    text = " ".join(turn["text"] for turn in found["turns"])
    left = [item for line in lines for item in line.personal if _contains(text, item)]
    if lines:
        shown = f"none of {sum(len(line.personal) for line in lines)} personal items is left in the text"
        report.verify(f"{placed.key}redacted", bool(text) and "[" in text and not left, shown)


def erase(report: Steps, client: Client, folder: Path, fingerprint: str, placed: Sequence[Placed]) -> None:
    """Erase the first call; prove that it is gone, also for a backup taken before, and that the others still play."""
    call = CallId(placed[0].call)
    backup = folder / "backup"
    shutil.copytree(folder / "data", backup, ignore=shutil.ignore_patterns("queue"))
    data = folder / "data"
    today = Today(data, f"file:{folder / 'data-keys'}", f"file:{data / 'objects'}", f"file:{folder / 'data-witness'}")
    before = prove(call, [backup], today).opened
    report.step(f"a backup is taken: with today's keys, {len(before)} things of the call open")
    began = time.monotonic()
    certificate = client.post(f"/v1/calls/{call}/erasure", {"ground": "Art. 17(1) GDPR"})
    report.figures["erase_ms"] = round(1000 * (time.monotonic() - began), 1)
    report.step(f"keys destroyed in {report.figures['erase_ms']} ms; the certificate says, checked offline:")
    try:
        findings = verify_certificate(certificate, fingerprint)
    except StoreError as error:
        findings = [str(error)]
        report.verify("certificate_verified", False, "certificate")
    else:
        report.figures["certificate_verified"] = True
    for finding in findings:
        report.step(f"    {finding}")
    gone = all(_refused(client, f"/v1/calls/{call}{path}") for path in ("/audio", "/transcript"))
    report.verify("erased_refused", gone, "download and transcript answer 410 Gone")
    proof = prove(call, [backup], today)
    for line in proof.lines():
        report.step(f"    {line}")
    report.verify(
        "erased_unreadable",
        bool(before) and proof.holds,
        f"from the backup and today's store together, {len(proof.opened)} of these {len(before)} things open",
    )
    for other in placed[1:]:
        again = len(client.get(f"/v1/calls/{other.call}/audio")) > WAV_HEADER_BYTES
        report.verify("others_play", again, f"{other.plan.name} still plays")
    shutil.rmtree(backup)


async def _show_events(report: Steps, events: queue.SimpleQueue[Arrived]) -> None:
    """Print live events; keep the time from the deciding packet's kernel stamp to the event's arrival."""
    delays: list[float] = []
    while True:
        await asyncio.sleep(POLL_S)
        while not events.empty():
            _, wall_ns, name, fields = events.get()
            text = f"{name:<15} call {fields['call'][:8]}"
            if "stamp_ns" in fields:
                text += f" {fields['participant'][:8]} at {fields['at_ms'] / 1000:.2f} s"
            if name == "speech_started":  # its end may be decided by silence, which has no packet
                delays.append((wall_ns - fields["stamp_ns"]) / 1e6)
                report.figures["speech_event_ms_max"] = round(max(delays), 1)
                text += f", told {delays[-1]:.1f} ms after the packet that decided it"
            report.step(text)


def _call_of(client: Client, from_user: str) -> str | None:
    for row in client.json("/v1/calls?limit=10")["calls"]:
        if (row.get("detail") or {}).get("from") == from_user:
            return str(row["id"])
    return None


def _first_byte(client: Client, call: str) -> bytes | None:
    return _none_on(409, lambda: client.get(f"/v1/calls/{call}/audio", {"Range": "bytes=0-0"}))


def _none_on(status: int, ask: Callable[[], Found]) -> Found | None:
    try:
        return ask()
    except ApiError as error:
        if error.status == status:
            return None
        raise


def _refused(client: Client, path: str) -> bool:
    try:
        client.get(path)
    except ApiError as error:
        return error.status == 410
    return False


def _until(ask: Callable[[], Found | None], limit_s: float) -> Found:
    limit = time.monotonic() + limit_s
    while time.monotonic() < limit:
        found = ask()
        if found is not None:
            return found
        time.sleep(POLL_S)
    raise Unavailable(f"nothing came within {limit_s:.0f} s")


def _contains(text: str, item: str) -> bool:
    """Whether the item stands in the text: a word as such, a number by its last four digits, however grouped."""
    digits = re.sub(r"\D", "", item)
    if digits:
        return digits[-4:] in re.sub(r"[\s,.\-]", "", text)
    return item.lower() in text.lower()
