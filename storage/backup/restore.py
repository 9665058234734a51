"""A backup and the witness, made a store again in an empty data folder.

    copy      the version's files, checked against its manifest, into a folder of their own within the data folder
    ledger    what the witness has beyond the backup: verified entry by entry, appended, and done again
    heads     no newer head of the ledger is known anywhere
    objects   what lives and is not in the object store is put there from the backup
    keys      the key of everything that lives is opened, once; what holds and consents that are younger than the backup
              should keep and do not, as the witness had not got it, is wrapped anew
    place     a last entry in the ledger; then the folder is a store

Nothing serves before the last step, and nothing is deleted by any: erasures that were under way, and what is to be
swept again, are the next start's. A restore that was cut short is begun again, in an emptied folder.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import select

from storage.backup.layout import BATCHES, CATALOGUE, OBJECTS, SPOOL, Version
from storage.backup.reopen import check_reopened, erased_calls_of, reopen
from storage.backup.replay import Replay, replay
from storage.backup.rows import copy_rows, refuse_used
from storage.backup.snapshot import reading_file
from storage.catalogue import Catalogue
from storage.chain import Entry, Walk
from storage.consents import complete as complete_consent
from storage.databases import mark_elsewhere
from storage.errors import AlreadyExists, NotFound, Refused, RolledBack, Tampered, Unavailable, WrongKey
from storage.holds import complete as complete_hold
from storage.installation import open_installation
from storage.keeping import Keeper
from storage.keytree import KeyTree
from storage.ledger import Ledger, insert_entry
from storage.model import ArtefactState, TenantId
from storage.objects import ObjectStore, open_store
from storage.objects.folder import FolderStore
from storage.providers import KeyProvider, open_provider
from storage.providers.routed import Routed
from storage.signing import Signer, parse_json
from storage.slices import stored_name
from storage.tables import artefacts, epochs, ledger, slices, tenants
from storage.tags import batches as cut
from storage.tenantkeys import note_first_key
from storage.unfinished import RESTORING
from storage.witness import Batches, Witness, witness_url
from storage.witness.pending import Keeping

_ENTRIES_AT_ONCE = 100
"""Entries replayed in one transaction."""
_ROWS_AT_ONCE = 10_000
_HEAD_BYTES_MAX = 4 << 20

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a store is to be again: an empty folder, and the places that its configuration names. `clock` gives Unix
    time; `on_step` is told each step that is over."""

    data_folder: Path
    provider_url: str
    objects_url: str
    witness_url: str
    catalogue_url: str  # of a server, whose database is empty; "": the catalogue is to be in the folder
    tenant_keys: Mapping[str, str]  # by name, the providers of tenants that have their own
    clock: Callable[[], float]
    on_step: Callable[[str], None] = lambda _step: None
    tell: Tell = lambda _line: None


@dataclass(frozen=True, slots=True)
class Restored:
    """What came of it."""

    backup: str
    made_at: str
    head_of_backup: int
    replayed: int
    done_again: Mapping[str, int]  # entries of the ledger, by type
    put_back: Mapping[str, int]  # rows that the witness had, by table
    completed: int  # holds and consents whose wraps were made anew
    calls_whole: int
    artefacts: int
    artefacts_ended: int
    calls_erased: int  # since the backup
    calls_lost: int  # recorded after the backup, as far as the ledger knows of them
    artefacts_lost: int
    objects_put: int
    objects_missing: int


def restore(source: Path, place: Place, heads: Sequence[Entry] = ()) -> Restored:
    """Makes the store. Refused, RolledBack, Tampered, WrongKey, Malformed, Truncated, Unavailable: then there is none.

    `heads` are entries that somebody kept: of receipts, of certificates.
    """
    version = Version.open(source)
    folder = _begin(place.data_folder)
    try:
        return _restore(version, folder, place, heads)
    except OSError as error:
        raise Unavailable(f"the restore cannot go on: {error.strerror}") from error


def heads_of(text: bytes) -> list[Entry]:
    """The entries of a receipt (`callvault ledger head`) or of a certificate; Malformed."""
    found = parse_json(text, _HEAD_BYTES_MAX)
    if isinstance(found, dict) and "entries" in found:
        return [Entry.of(members) for members in found["entries"]]
    return [Entry.of(found)]


def _begin(data_folder: Path) -> Path:
    try:
        data_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(path.name != "lost+found" for path in data_folder.iterdir()):
            raise Refused(f"{data_folder} is not empty: a restore makes a store of an empty folder only")
        folder = data_folder / RESTORING
        folder.mkdir(mode=0o700)
    except OSError as error:
        raise Unavailable(f"{data_folder} cannot be written: {error.strerror}") from error
    return folder


def _restore(version: Version, folder: Path, place: Place, heads: Sequence[Entry]) -> Restored:
    witness = Witness.open(witness_url(place.witness_url, place.data_folder))
    provider, objects = Routed(open_provider(place.provider_url, place.data_folder)), open_store(place.objects_url)
    if place.catalogue_url:
        _refuse_used(place)
    place.tell("files")
    version.check()
    for name in version.manifest.files:
        (folder / name).parent.mkdir(mode=0o700, exist_ok=True)
        shutil.copyfile(version.folder / name, folder / name)
    (folder / SPOOL).mkdir(mode=0o700, exist_ok=True)
    place.on_step("copy")
    catalogue = Catalogue(folder)
    try:
        before = erased_calls_of(catalogue)
        state = _replay(version, catalogue, provider, witness, place)
        _route(catalogue, provider, place)
        place.on_step("ledger")
        _check_heads(catalogue, heads)
        put, missing = _put_objects(version, catalogue, objects)
        place.on_step("objects")
        opened = reopen(catalogue, provider, place.clock, place.tell)
        check_reopened(opened)
        completed = _complete(catalogue, provider, witness, state, place)
        place.on_step("keys")
        restored = Restored(
            backup=version.manifest.backup,
            made_at=version.manifest.made_at,
            head_of_backup=version.manifest.seq,
            replayed=state.entries,
            done_again=dict(sorted(state.kinds.items())),
            put_back=dict(sorted(state.rows_put.items())),
            completed=completed,
            calls_whole=opened.calls,
            artefacts=opened.artefacts,
            artefacts_ended=opened.ended,
            calls_erased=erased_calls_of(catalogue) - before,
            calls_lost=len(state.lost_calls),
            artefacts_lost=len(state.lost_artefacts),
            objects_put=put,
            objects_missing=missing,
        )
        _sign_off(catalogue, provider, witness, restored, place)
    finally:
        catalogue.close()
    place.on_step("signed")
    _put_in_place(folder, place)
    return restored


def _replay(version: Version, catalogue: Catalogue, provider: KeyProvider, witness: Witness, place: Place) -> Replay:
    """Verifies and replays what the witness has beyond the backup."""
    manifest = version.manifest
    ours = Ledger(Signer(open_installation(catalogue, provider).ledger))
    if ours.public_key != manifest.public_key:
        raise WrongKey("the backup is signed by another installation than its catalogue is of")
    with catalogue.reading() as connection:
        ours.verify(connection)
        newest = ours.newest(connection)
    if newest is None or (newest.seq, newest.hash) != (manifest.seq, manifest.hash):
        raise Tampered("the ledger in the backup does not end where its manifest says")
    seen = witness.copies.entry(manifest.seq)
    if seen is None:
        raise RolledBack(
            f"the witness does not know entry {manifest.seq} of the ledger, which the backup has: it is another one, or"
            " is itself an old copy. Without it nobody knows what was erased since; name the right one as store.witness"
        )
    if seen.hash != manifest.hash:
        raise Tampered(f"the witness has another entry {manifest.seq} of the ledger than the backup")
    places = [witness.batches, Batches(FolderStore(version.shared / BATCHES))]
    state = Replay(places, ours, manifest.seq + 1)
    walk = Walk(ours.public_key, manifest.seq, manifest.hash)
    for entries in cut(witness.copies.read(manifest.seq + 1), _ENTRIES_AT_ONCE):
        with catalogue.writing() as connection:
            for entry in entries:
                walk.follow(entry)
                insert_entry(connection, entry)
                replay(connection, entry, state)
        place.tell(f"ledger: entry {walk.seq}")
    return state


def _route(catalogue: Catalogue, provider: Routed, place: Place) -> None:
    """Asks each tenant's own provider for its keys; notes it of those whose first keys are younger than the backup."""
    tags = open_installation(catalogue, provider).tags.reveal()
    own = {hmac.digest(tags, name.encode(), hashlib.sha256): url for name, url in place.tenant_keys.items()}
    openers: dict[TenantId, Callable[[], KeyProvider]] = {}
    with catalogue.writing() as connection:
        for row in connection.execute(select(tenants).where(tenants.c.tag.in_(own))).all():
            openers[TenantId(row.id)] = partial(open_provider, own[row.tag], place.data_folder)
        provider.route(openers, ())
        for tenant in connection.scalars(select(epochs.c.tenant).distinct()).all():
            note_first_key(connection, provider, TenantId(tenant))


def _check_heads(catalogue: Catalogue, heads: Sequence[Entry]) -> None:
    """RolledBack if somebody kept a newer head than was reached, Tampered if another."""
    for head in heads:
        with catalogue.reading() as connection:
            found = connection.scalar(select(ledger.c.hash).where(ledger.c.seq == head.seq))
        if found is None:
            raise RolledBack(
                f"somebody has seen entry {head.seq} of the ledger, and neither backup nor witness have it: the key"
                " table would be older than what was promised since"
            )
        if found != head.hash:
            raise Tampered(f"entry {head.seq} of the ledger is another one than somebody has seen")


def _put_objects(version: Version, catalogue: Catalogue, objects: ObjectStore) -> tuple[int, int]:
    """Puts what lives and is not in the store; gives how many objects that were, and how many are nowhere."""
    there = {info.name: info.size for info in objects.list()}
    kept = FolderStore(version.shared / OBJECTS)
    put = missing = 0
    for name, size in _objects_alive(catalogue):
        if there.get(name) == size:
            continue
        if name in there or kept.size(name) != size:
            missing += 1  # a damaged one is left as it is: `callvault reconcile` tells of both
            continue
        if not (isinstance(objects, FolderStore) and kept.link(name, objects)):
            try:
                objects.put(name, kept.get(name))
            except (AlreadyExists, NotFound):
                missing += 1
                continue
        put += 1
    return put, missing


def _objects_alive(catalogue: Catalogue) -> Iterator[tuple[str, int]]:
    columns = (slices.c.serial, slices.c.stream_id, slices.c.size, artefacts.c.tenant, artefacts.c.call)
    query = select(*columns).join(artefacts, artefacts.c.id == slices.c.artefact)
    over = (ArtefactState.ERASING.value, ArtefactState.ERASED.value)
    query = query.where(artefacts.c.state.not_in(over)).order_by(slices.c.serial).limit(_ROWS_AT_ONCE)
    serial = 0
    while True:
        with catalogue.reading() as connection:
            rows = connection.execute(query.where(slices.c.serial > serial)).all()
        for row in rows:
            yield stored_name(row.tenant, row.call, row.stream_id), row.size
        if len(rows) < _ROWS_AT_ONCE:
            return
        serial = rows[-1].serial


def _complete(catalogue: Catalogue, provider: KeyProvider, witness: Witness, state: Replay, place: Place) -> int:
    """Wraps what younger holds and consents keep, where their own wraps did not come; gives how many had to be.

    Then the witness gets them: until it has, the next restore would have to do it again.
    """
    keeper = Keeper(catalogue, KeyTree(catalogue, provider, place.clock))
    acts = ((complete_hold, state.holds), (complete_consent, state.consents))
    made = sum(act(catalogue, keeper, place.clock, id) > 0 for act, ids in acts for id in ids)
    ours = Ledger(Signer(open_installation(catalogue, provider).ledger))
    Keeping(catalogue, witness, ours, place.clock).publish()
    return made


def _sign_off(catalogue: Catalogue, provider: KeyProvider, witness: Witness, restored: Restored, place: Place) -> None:
    """A last entry, which tells of the restore, and is in the witness before anything serves."""
    ours = Ledger(Signer(open_installation(catalogue, provider).ledger))
    facts = {
        "backup": restored.backup,
        "from": restored.head_of_backup,
        "calls": restored.calls_whole,
        "erased": restored.calls_erased,
        "lost": restored.calls_lost,
    }
    with catalogue.writing() as connection:
        head = ours.append(connection, "restored", place.clock(), facts)
    if witness.copies.publish(catalogue) != head:
        raise Tampered("the witness has entries that were not there before: does the old store still run?")


def _refuse_used(place: Place) -> None:
    """Of a catalogue on a server; it is made here, so that a restore does not find out at its end that it cannot be."""
    with _apart(place) as catalogue, catalogue.reading() as connection:
        refuse_used(connection)


@contextmanager
def _apart(place: Place) -> Iterator[Catalogue]:
    with TemporaryDirectory(prefix="callvault-restore-") as folder:
        catalogue = Catalogue(Path(folder), place.catalogue_url)
        try:
            yield catalogue
        finally:
            catalogue.close()


def _put_in_place(folder: Path, place: Place) -> None:
    """The catalogue last: before it, no start finds a store here."""
    data_folder = place.data_folder
    (folder / SPOOL).rename(data_folder / SPOOL)
    _sync(data_folder)
    if place.catalogue_url:
        with reading_file(folder / CATALOGUE) as source, _apart(place) as catalogue:
            mark_elsewhere(data_folder)
            with catalogue.writing() as target:
                refuse_used(target)
                copy_rows(source, target)
    else:
        for path in sorted(folder.glob(f"{CATALOGUE}*"), reverse=True):  # its log, if there is one, before itself
            path.rename(data_folder / path.name)
    _sync(data_folder)
    shutil.rmtree(folder)
    _sync(data_folder)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
