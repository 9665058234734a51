"""`callvault spool`: what lies in the spool and waits for what; `replay` uploads it while no server does."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from typing import Any

from gateway.calls.losses import name_losses
from gateway.calls.recovery import recover_all
from gateway.commands.store import administering
from gateway.config import Settings
from gateway.processors import announce
from storage.audit import Weight
from storage.errors import Unavailable
from storage.recordings import Recordings
from storage.spoollock import has_uploader, has_writer, writing
from storage.spoolview import SpoolView, look
from storage.uploader import Progress, Uploader

REPLAY_PAUSE_S = 0.25  # between two attempts while store or catalogue are away
REPLAY_S_MAX = 60.0  # without any progress; then what is away is not coming back while we wait


def command(arguments: argparse.Namespace) -> int:
    """Show the spool, or replay it. Exit 1 if something of it cannot be read, or is left after a replay."""

    def run(settings: Settings, recordings: Recordings) -> int:
        if arguments.action == "replay":
            announce(recordings, settings)  # where it goes is told first, as by a start
            return _replay(recordings)
        report = survey(settings, recordings)
        sys.stdout.write((json.dumps(report, indent=2) if arguments.json else as_text(report)) + "\n")
        return 1 if any(file["fault"] for file in report["files"]) else 0

    return administering(arguments, run, node="spool")


def survey(settings: Settings, recordings: Recordings) -> dict[str, Any]:
    """Files, runs and streams, and what each of them waits for: ids, counts and constant text."""
    spool = look(recordings.spool_folder)
    waits = recordings.spool_waits(spool)
    streams = [
        {
            "artefact": stream.artefact,
            "run": stream.run,
            "records": stream.records,
            "bytes": stream.size,
            "ended": stream.ended,
            "waits_for": _waits_for(spool, stream.run, *waits[stream.artefact, stream.run]),
        }
        for stream in spool.streams.values()
    ]
    return {
        "folder": str(recordings.spool_folder),
        "limit_bytes": settings.store.spool_limit_mib << 20,
        "bytes": sum(file.size for file in spool.files),
        "writer": has_writer(recordings.spool_folder),
        "uploader": has_uploader(recordings.spool_folder),
        "files": [
            {"name": file.name, "run": file.run, "bytes": file.size, "age_s": round(file.age_s, 1)}
            | {"written_to": file.written_to, "records": file.records, "broken": file.broken, "fault": file.fault}
            for file in spool.files
        ],
        "streams": streams,
    }


def as_text(report: dict[str, Any]) -> str:
    """The same for people; streams are counted, `--json` names them."""
    share = 100 * report["bytes"] / report["limit_bytes"]
    at_work = [name for name in ("writer", "uploader") if report[name]]
    lines = [
        f"spool {report['folder']}",
        f"{report['bytes']} bytes in {len(report['files'])} files, {share:.0f} % of its limit",
        f"at work: {', '.join(at_work) or 'nobody'}",
    ]
    for file in report["files"]:
        state = file["fault"] or ("being written" if file["written_to"] else "finished")
        broken = f", {file['broken']} broken places" if file["broken"] else ""
        lines.append(
            f"  {file['name']}  {file['bytes']:>11} bytes  {file['age_s']:>9.1f} s old  {file['records']} records"
            f"{broken}  {state}"
        )
    waiting = Counter(stream["waits_for"] for stream in report["streams"])
    sizes = Counter[str]()
    for stream in report["streams"]:
        sizes[stream["waits_for"]] += stream["bytes"]
    lines += [f"  {count} streams of {sizes[what]} bytes: {what}" for what, count in sorted(waiting.items())]
    return "\n".join(lines)


def replay(recordings: Recordings, pause_s: float = REPLAY_PAUSE_S, limit_s: float = REPLAY_S_MAX) -> Progress:
    """Upload everything in the spool; the last step's progress says what is left. Unavailable while a server runs."""
    with writing(recordings.spool_folder, wait_s=0.0):
        if has_uploader(recordings.spool_folder):
            raise Unavailable("an uploader is at work on this spool already; a running server replays by itself")
        recover_all(recordings, wait_s=None)
        uploader = Uploader(
            recordings.spool_folder,
            recordings.slices,
            recordings.objects,
            on_closing=lambda due: name_losses(recordings, due),
        )
        try:
            uploader.step(time.monotonic())  # that a run is dead is seen only when its files are looked at again
            moved_s = time.monotonic()
            while True:
                progress = uploader.step(time.monotonic())
                if progress.slices or progress.completed or progress.stored or progress.files_deleted:
                    moved_s = time.monotonic()
                elif (progress.held is None and not progress.busy) or time.monotonic() - moved_s > limit_s:
                    return progress
                if progress.held is not None:
                    time.sleep(pause_s)
        finally:
            uploader.close()


def _replay(recordings: Recordings) -> int:
    before = sum(file.size for file in look(recordings.spool_folder).files)
    progress = replay(recordings)
    left = look(recordings.spool_folder)
    after = sum(file.size for file in left.files)
    sys.stdout.write(f"replayed: {before - after} bytes of spool files are gone, {after} are left\n")
    if left.files:
        sys.stdout.write(f"left: {progress.held or 'files that cannot be read; see `callvault spool`'}\n")
    return 1 if left.files else 0


def _waits_for(spool: SpoolView, run: str, weight: Weight, what: str) -> str:
    if weight is not Weight.PENDING:
        return what
    return "its call, or its slice to be full" if run in spool.live_runs else "an uploader"
