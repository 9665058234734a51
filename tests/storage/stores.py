"""What the tests of the recording store share: a store, calls in it, and audio through spool and uploader."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from storage.catalogue import Catalogue
from storage.erasure import Step
from storage.heldepochs import DueOf
from storage.model import NO_PARTICIPANT, CallId, CallState, Kind, ParticipantId, TenantId, new_id
from storage.places import Place
from storage.policies import due_of
from storage.recordings import Recordings
from storage.records import Identifier, NewArtefact, NewCall, Wanted
from storage.spool import SpoolWriter
from storage.uploader import Uploader
from tests.storage.postgres import Cluster
from tests.storage.spooling import durable

PURPOSE = "recording"
GROUND = "Art. 17(1)(a)"
ACTOR = "test"


def open_at(
    root: Path,
    *,
    data: str = "data",
    objects: str = "",
    clock: Callable[[], float] = time.time,
    on_step: Callable[[Step], None] = lambda _step: None,
    places: Sequence[Place] = (),
    due_of: DueOf = due_of,
) -> Recordings:
    """The store in `root`: its data folder with the objects in it, if they are nowhere else, and the keyring beside."""
    folder = root / data
    return Recordings.open(
        folder,
        f"file:{root}/keys",
        objects or f"file:{folder}/objects",
        node="n1",
        places=places,
        clock=clock,
        catalogue_url=catalogue_url(root, data),
        due_of=due_of,
        on_erasure_step=on_step,
    )


def catalogue_at(root: Path, data: str = "data") -> Catalogue:
    """The catalogue of a data folder in `root`."""
    (root / data).mkdir(exist_ok=True)
    return Catalogue(root / data, catalogue_url(root, data))


def put_catalogue(root: Path, server: Cluster, template: str = "made") -> None:
    """A fresh database of the server for the data folder's catalogue; other processes that open it find it too."""
    _url_file(root, "data").write_text(server.url(server.fresh(template)))
    _SERVERS[root] = server


def catalogue_url(root: Path, data: str = "data") -> str:
    """The setting for a data folder: empty, or what `put_catalogue` has written."""
    file = _url_file(root, data)
    return file.read_text() if file.exists() else ""


def catalogue_files(root: Path) -> bytes:
    """Every byte that the server of a catalogue keeps, log and write-ahead log too; nothing if it is in the folder."""
    return _SERVERS[root].files() if root in _SERVERS else b""


def _url_file(root: Path, data: str) -> Path:
    return root / f"{data}.catalogue"


_SERVERS: dict[Path, Cluster] = {}
"""Who copies the databases of a test's folder."""


def begin_call(store: Recordings, tenant: TenantId) -> NewCall:
    """A call of two participants with identity and detail, in memory only."""
    wanted = [Wanted(ParticipantId(new_id()), Kind.AUDIO, PURPOSE) for _ in range(2)]
    wanted += [Wanted(NO_PARTICIPANT, kind, PURPOSE) for kind in (Kind.IDENTITY, Kind.CALL_DETAIL)]
    return store.begin(tenant, CallId(new_id()), wanted)


def save_call(store: Recordings, tenant: TenantId) -> NewCall:
    """A saved call."""
    new = begin_call(store, tenant)
    store.save([new])
    return new


def saved_with(store: Recordings, tenant: TenantId, *found: Identifier) -> NewCall:
    """A saved call that is found by these."""
    new = replace(begin_call(store, tenant), identifiers=found)
    store.save([new])
    return new


def audio_of(new: NewCall) -> list[NewArtefact]:
    """The call's streams."""
    return [artefact for artefact in new.artefacts if artefact.ref.kind is Kind.AUDIO]


def spool(store: Recordings, streams: Sequence[tuple[NewArtefact, Sequence[bytes]]], *, end: bool = True) -> None:
    """Writes streams into the spool; entry number n is media time [n * 100, n * 100 + 100)."""
    with SpoolWriter(store.spool_folder, node="n1", file_bytes=1 << 20, commit_s=0.01) as writer:
        for number, (artefact, entries) in enumerate(streams):
            writer.open(number, artefact.ref, artefact.key)
            writer.release(number)
            for at, data in enumerate(entries):
                writer.append(number, at * 100, at * 100 + 100, data)
            if end:
                writer.close(number)
        if end:
            durable(writer, range(len(streams)))


def upload(store: Recordings) -> None:
    """Moves all that is in the spool into slices, and writes the manifests that are due."""
    with Uploader(store.spool_folder, store.slices, store.objects) as uploader:
        for now_s in range(3):
            assert uploader.step(float(now_s * 1000)).held is None


def stored_call(store: Recordings, tenant: TenantId, audio: bytes = b"audio", identity: bytes = b"identity") -> NewCall:
    """A call that is over and stored: two streams in slices with their facts, two documents, a manifest."""
    new = save_call(store, tenant)
    spool(store, [(artefact, [audio] * 3) for artefact in audio_of(new)])
    documents = {new.find(Kind.IDENTITY).ref.artefact: identity, new.find(Kind.CALL_DETAIL).ref.artefact: b"detail"}
    documents |= {artefact.ref.artefact: b"facts" for artefact in audio_of(new)}
    store.put_documents(new, documents, CallState.ENDED)
    upload(store)
    return new


def copy_data(root: Path, name: str) -> Path:
    """A copy of the whole data folder, and of a catalogue elsewhere, as a backup takes it while the store is open."""
    target = root / name
    shutil.copytree(root / "data", target)
    if url := catalogue_url(root):
        _url_file(root, name).write_text(_SERVERS[root].copy(url))
    return target


def files_below(*folders: Path) -> bytes:
    """Every byte of every file, one after the other."""
    return b"\n".join(path.read_bytes() for folder in folders for path in sorted(folder.rglob("*")) if path.is_file())


def sweep_orphans(store: Recordings) -> int:
    """Deletes the objects that no slice names; gives how many."""
    return store.sweep_objects(info.name for info in store.objects.list())
