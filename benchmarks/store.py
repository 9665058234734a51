"""What sealing costs: seal and open beside bare AES-GCM, first byte of a range, a record's way through the spool.

    python -m benchmarks.store --json FILE

CPU time of this process, best and median of rounds that take turns, so that a busy machine slows all rows alike.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from benchmarks import machine, report
from storage.envelope import (
    HEADER_BYTES,
    SEGMENT_BYTES,
    SliceReader,
    associated_data,
    open_slice,
    salt_for,
    seal,
)
from storage.model import ArtefactId, ArtefactRef, CallId, Kind, ParticipantId, Secret, TenantId, new_id
from storage.objects import open_store
from storage.slices import IndexEntry, SliceIndex, object_name, open_index, seal_index
from storage.spool import SpoolWriter
from storage.spoolfile import SpoolFile, spool_files
from storage.spoolformat import RecordSeal

SLICE_BYTES = 1 << 20
ROUNDS = 40
RANGES = 200
STREAMS = 200
RECORD_BYTES = 2_000
"""A quarter second of G.711 with its frame log."""
RECORDS = 60

Figures = dict[str, float]


def main() -> None:
    """Run all parts, print them, and write them as JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="callvault-bench-") as folder:
        figures = sealing() | ranges(Path(folder)) | spooling(Path(folder))
    described = machine.describe()
    print(report.heading("Sealing, CPU time of this process", described))
    print(report.table(("figure", "value"), list(figures.items())))
    report.write(arguments.json, {"machine": described, **figures})


def make_ref() -> ArtefactRef:
    """A new artefact of a new call."""
    ids = [new_id() for _ in range(4)]
    return ArtefactRef(
        TenantId(ids[0]), CallId(ids[1]), ParticipantId(ids[2]), ArtefactId(ids[3]), Kind.AUDIO, "service"
    )


def sealing() -> Figures:
    """Slices of 1 MiB against AES-GCM alone: once over the whole, and over the same segments."""
    key, ref, stream_id = Secret(os.urandom(32)), make_ref(), new_id()
    plain, bare, nonce = os.urandom(SLICE_BYTES), AESGCM(key.reveal()), os.urandom(12)
    step = SEGMENT_BYTES - 16
    pieces = [plain[at : at + step] for at in range(0, len(plain), step)]
    aad = associated_data(ref, 0, stream_id, SEGMENT_BYTES)
    salt, prefix = salt_for(stream_id, os.urandom(16)), os.urandom(7)
    sealed = seal(key, plain, aad, salt=salt, nonce_prefix=prefix)
    header, size, digest = sealed[:HEADER_BYTES], len(sealed), sha256(sealed).digest()
    whole, cut = bare.encrypt(nonce, plain, None), [bare.encrypt(nonce, piece, None) for piece in pieces]

    def fetch(start: int, end: int) -> bytes:
        return sealed[start:end]

    seconds = rounds(
        {
            "bare_encrypt": lambda: bare.encrypt(nonce, plain, None),
            "bare_encrypt_segments": lambda: [bare.encrypt(nonce, piece, None) for piece in pieces],
            "seal": lambda: seal(key, plain, aad, salt=salt, nonce_prefix=prefix),
            "bare_decrypt": lambda: bare.decrypt(nonce, whole, None),
            "bare_decrypt_segments": lambda: [bare.decrypt(nonce, piece, None) for piece in cut],
            "open": lambda: SliceReader(key, header, size, aad, fetch).read(0, SLICE_BYTES),
            "open_checked": lambda: open_slice(key, sealed, aad, header=header, size=size, digest=digest),
        }
    )
    figures: Figures = {f"{name}_mib_s": round(1 / median) for name, median in seconds.items()}
    for ours, theirs in (("seal", "bare_encrypt"), ("open", "bare_decrypt")):
        figures[f"{ours}_cpu_us_per_mib"] = round(seconds[ours] * 1e6)
        figures[f"{ours}_to_bare_ratio"] = round(seconds[theirs] / seconds[ours], 3)
        figures[f"{ours}_to_bare_segments_ratio"] = round(seconds[f"{theirs}_segments"] / seconds[ours], 3)
    return figures


def rounds(tasks: dict[str, Callable[[], object]]) -> dict[str, float]:
    """CPU seconds of each task, the median of rounds in which they take turns."""
    taken: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(ROUNDS):
        for name, task in tasks.items():
            began = time.thread_time()
            task()
            taken[name].append(time.thread_time() - began)
    return {name: statistics.median(values) for name, values in taken.items()}


def ranges(folder: Path) -> Figures:
    """A record out of the middle of a stored slice: key, sealed index and object name are there, nothing is open."""
    store = open_store(f"file:{folder / 'objects'}")
    key, ref = Secret(os.urandom(32)), make_ref()
    entries = tuple(
        IndexEntry(number * 250, number * 250 + 250, number * RECORD_BYTES, RECORD_BYTES)
        for number in range(SLICE_BYTES // RECORD_BYTES)
    )
    taken: list[float] = []
    opened = 0
    for _ in range(RANGES):
        stream_id = new_id()
        aad = associated_data(ref, 0, stream_id, SEGMENT_BYTES)
        salt = salt_for(stream_id, os.urandom(16))
        sealed = seal(key, os.urandom(SLICE_BYTES), aad, salt=salt, nonce_prefix=os.urandom(7))
        index = seal_index(key, stream_id, aad, SliceIndex(sealed[:HEADER_BYTES], entries), os.urandom(12))
        name = object_name(ref, stream_id)
        store.put(name, sealed)
        forget_pages(folder / "objects" / name)
        began = time.perf_counter()
        found = open_index(key, stream_id, aad, index)
        entry = found.entries[len(entries) // 3]

        def fetch(start: int, end: int, name: str = name) -> bytes:
            return store.get(name, start, end - start)

        reader = SliceReader(key, found.header, len(sealed), aad, fetch)
        reader.read(entry.offset, entry.offset + entry.length)
        taken.append(time.perf_counter() - began)
        opened += reader.segments_opened
        store.delete(name)
    found_ms = report.percentiles(seconds * 1000 for seconds in taken)
    return {
        **{f"range_first_byte_ms_{name}": found_ms[name] for name in ("p50", "p95", "p99")},
        "range_segments_opened": round(opened / RANGES, 2),
    }


def forget_pages(path: Path) -> None:
    """Drop the file from the page cache, so that reading it is cold."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def spooling(folder: Path) -> Figures:
    """Records of many streams: the audio path's share (append), the thread's (commit), and reading them back."""
    key, refs, data = Secret(os.urandom(32)), [make_ref() for _ in range(STREAMS)], os.urandom(RECORD_BYTES)
    appends: list[float] = []
    with SpoolWriter(folder / "spool", node="bench") as writer:
        for stream, ref in enumerate(refs):
            writer.open(stream, ref, key)
            writer.release(stream)
        began_all = time.process_time()
        for number in range(RECORDS):
            began = time.thread_time()
            for stream in range(STREAMS):
                writer.append(stream, number, number + 1, data)
            appends.append((time.thread_time() - began) / STREAMS)
            time.sleep(0.02)
        for stream in range(STREAMS):
            writer.close(stream)
        done = 0
        while done < STREAMS:
            done += len(writer.poll())
            time.sleep(0.005)
        both_s = (time.process_time() - began_all) / (RECORDS * STREAMS)
    began = time.process_time()
    count = 0
    for path in spool_files(folder / "spool"):
        file = SpoolFile(path)
        seals = {bytes.fromhex(ref.artefact): RecordSeal(ref, key, file.header.salt) for ref in refs}
        for header in file.scan(resync=True):
            file.read_record(header.offset, header.record_bytes, seals[header.artefact])
            count += 1
        file.close()
    return {
        "append_cpu_us": round(statistics.median(appends) * 1e6, 2),
        "append_and_commit_cpu_us": round(both_s * 1e6, 2),
        "read_back_cpu_us": round((time.process_time() - began) / count * 1e6, 2),
    }


if __name__ == "__main__":
    main()
