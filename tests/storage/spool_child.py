"""A process that writes to a spool, to be killed or to run out of disk: `spool_child.py MODE FOLDER ARTEFACT`."""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from storage.model import ArtefactId, ArtefactRef, CallId, Kind, ParticipantId, TenantId
from storage.spool import SpoolWriter
from tests.storage.spooling import durable, make_key, until


def ref_of(artefact: str) -> ArtefactRef:
    """The same reference in parent and child."""
    return ArtefactRef(
        TenantId("1" * 32), CallId("2" * 32), ParticipantId("3" * 32), ArtefactId(artefact), Kind.AUDIO, "service"
    )


def pace(folder: Path, artefact: str) -> None:
    """A record every 20 ms, its number told as soon as it is appended, for ever."""
    ref = ref_of(artefact)
    with SpoolWriter(folder, node="n1", file_bytes=1 << 20) as writer:
        writer.open(1, ref, make_key(ref))
        writer.release(1)
        begun = time.monotonic()
        number = 0
        while True:
            writer.append(1, number, number + 1, b"frame %d" % number)
            print(number, flush=True)
            number += 1
            time.sleep(max(0.0, begun + number * 0.02 - time.monotonic()))


def full(folder: Path, artefact: str) -> None:
    """The system lets no file grow beyond 64 KiB, and then it does."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65_536, hard))
    ref = ref_of(artefact)
    with SpoolWriter(folder, node="n1", file_bytes=1 << 20, commit_s=0.01) as writer:
        until(lambda: writer.health().full)
        writer.open(1, ref, make_key(ref))
        writer.release(1)
        writer.append(1, 0, 1, b"held in memory")
        writer.close(1)
        time.sleep(0.1)
        assert writer.poll() == []
        print("full", flush=True)
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        durable(writer, [1])
        print("recovered", flush=True)


if __name__ == "__main__":
    {"pace": pace, "full": full}[sys.argv[1]](Path(sys.argv[2]), sys.argv[3])
