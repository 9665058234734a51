"""What the drills share: a store that is backed up, lost, and restored, at places that stay the same."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from storage.backup.restore import Place, Restored, restore
from storage.chain import Entry
from storage.errors import Erased
from storage.model import Kind
from storage.recordings import Recordings
from storage.records import NewCall
from tests.storage.stores import ACTOR, GROUND, audio_of


def back_up(store: Recordings, root: Path) -> Path:
    """A new version of the backup; its folder."""
    return store.safekeeping.back_up(root / "backup").version.folder


def lose(root: Path) -> None:
    """The disaster: the data folder is gone. Keyring, witness and backup lie elsewhere."""
    shutil.rmtree(root / "data")


def restore_at(
    root: Path,
    source: Path | None = None,
    *,
    witness: str = "data-witness",
    keys: str = "keys",
    catalogue: str = "",
    heads: Sequence[Entry] = (),
    on_step: Callable[[str], None] = lambda _step: None,
) -> Restored:
    """Restores the newest version of the backup, or the one that is given, to where the store was."""
    folder = root / "data"
    place = Place(
        folder,
        f"file:{root / keys}",
        f"file:{folder}/objects",
        f"file:{root / witness}",
        catalogue,
        {},
        time.time,
        on_step=on_step,
    )
    return restore(source or root / "backup", place, heads)


def erase(store: Recordings, *calls: NewCall) -> None:
    """Each call by itself, so each with a change of epoch."""
    for new in calls:
        store.erase_call(new.tenant, new.call, ground=GROUND, actor=ACTOR)


def is_whole(store: Recordings, new: NewCall, audio: bytes = b"audio") -> bool:
    """Whether documents and audio of a stored call come bit for bit; any fault but "erased" is raised."""
    try:
        assert store.document(new.tenant, new.find(Kind.IDENTITY).ref.artefact) == b"identity"
        assert store.document(new.tenant, new.find(Kind.CALL_DETAIL).ref.artefact) == b"detail"
        for artefact in audio_of(new):
            with store.stream(new.tenant, artefact.ref.artefact) as stream:
                assert list(stream.read()) == [audio] * 3
    except Erased:
        return False
    return True


def is_gone(store: Recordings, new: NewCall) -> bool:
    """Whether nothing of the call opens."""
    for artefact in new.artefacts:
        for use in (store.document, store.stream):
            try:
                use(new.tenant, artefact.ref.artefact)
            except Erased:
                continue
            return False
    return True
