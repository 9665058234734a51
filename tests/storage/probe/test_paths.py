"""Further paths that somebody could take: each is open by yesterday's keys, to the probe's own code, and shut now."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path
from typing import Any

from storage.egress import Leaving
from storage.model import Kind, TenantId
from storage.probe import Proof
from storage.probe.contents import Contents
from storage.probe.remains import CLAIMED, Remains
from storage.recordings import Recordings
from storage.records import Identifier, NewCall
from storage.statistics import Counted
from tests.storage.backup.drill import back_up
from tests.storage.probe.probing import ids_of, keep_keys, named, probe
from tests.storage.stores import (
    ACTOR,
    GROUND,
    audio_of,
    copy_data,
    files_below,
    save_call,
    saved_with,
    spool,
    stored_call,
    upload,
)

NUMBER, OTHER = Identifier("number", "+31201234567"), Identifier("number", "+31207654321")


def erase(store: Recordings, call: NewCall) -> None:
    store.erase_call(call.tenant, call.call, ground=GROUND, actor=ACTOR)


def dead(root: Path, call: NewCall, *folders: str, **more: Any) -> Proof:
    proof = probe(root, call.call, *folders, identifiers=[NUMBER], **more)
    assert proof.opened == []
    assert proof.holds and proof.control is not None
    return proof


def test_the_spool_from_before(store: Recordings, tenant: TenantId, tmp_path: Path) -> None:
    """Files of the spool were copied while the call was live; then it was uploaded, and they were deleted here."""
    call, _living = save_call(store, tenant), stored_call(store, tenant)
    spool(store, [(artefact, [b"live"] * 3) for artefact in audio_of(call)])
    copy_data(tmp_path, "copy")
    upload(store)
    assert not list((tmp_path / "data" / "spool").glob("*.spool"))
    before = probe(tmp_path, call.call, "copy")
    assert sum(line.endswith(": spool") for line in before.opened) == 2
    keep_keys(tmp_path)
    erase(store, call)
    assert dead(tmp_path, call, "copy").tried["spool records"] > 0
    again = probe(tmp_path, call.call, "copy", keys="old")
    assert sum(line.endswith(": spool") for line in again.opened) == 2


def test_an_object_that_no_row_names(store: Recordings, tenant: TenantId, tmp_path: Path) -> None:
    """Of an upload that a crash cut off before its row, in the store still."""
    call, _living = stored_call(store, tenant), stored_call(store, tenant)
    back_up(store, tmp_path)
    keep_keys(tmp_path)
    copy = copy_data(tmp_path, "copy")
    erase(store, call)
    connection = sqlite3.connect(copy / "catalogue.sqlite3")
    connection.execute("DELETE FROM slices")
    connection.commit()
    connection.close()
    assert dead(tmp_path, call, "copy").rows["objects that no row names"] > 0
    opened = probe(tmp_path, call.call, "copy", keys="old").opened
    assert sum(line.endswith("recording that no row names") for line in opened) == 2


def test_manifests_and_time_indexes_of_before(store: Recordings, tenant: TenantId, tmp_path: Path) -> None:
    """A manifest has the sealed facts of a stream once more, and a slice's row says sealed when somebody spoke."""
    call, _living = stored_call(store, tenant), stored_call(store, tenant)
    copy = copy_data(tmp_path, "copy")
    connection = sqlite3.connect(copy / "catalogue.sqlite3")
    connection.execute("DELETE FROM documents")
    connection.commit()
    connection.close()
    shutil.rmtree(copy / "objects")
    keep_keys(tmp_path)
    erase(store, call)
    proof = dead(tmp_path, call, "copy")
    assert proof.tried["documents"] > 0 and proof.tried["time indexes"] > 0
    opened = probe(tmp_path, call.call, "copy", keys="old").opened
    assert sum(line.startswith("audio") and line.endswith(": document") for line in opened) == 2
    assert sum(line.endswith(": time index") for line in opened) == 2


def test_tags_of_before_tell_no_number_and_none_equals_a_survivors(
    store: Recordings, tenant: TenantId, tmp_path: Path
) -> None:
    """Two calls of one number, in one leaf: the survivor's leaf key is replaced, and its tag with it."""
    call, survivor = stored_call(store, tenant), stored_call(store, tenant)
    for one in (call, survivor):
        store.identify(one, [NUMBER])
    copy_data(tmp_path, "copy")
    keep_keys(tmp_path)
    erase(store, call)
    assert [found.id for found in store.find(tenant, [NUMBER])] == [survivor.call]
    assert dead(tmp_path, call, "copy").tried["tags"] > 0
    assert "number: a tag tells the number" in probe(
        tmp_path, call.call, "copy", keys="old", identifiers=[NUMBER]
    ).opened  # fmt: skip
    other = probe(tmp_path, call.call, "copy", keys="old", identifiers=[OTHER])
    assert not any("tag tells" in line for line in other.opened)


def test_tags_that_were_equal_would_be_told(tmp_path: Path) -> None:
    from contextlib import ExitStack

    with ExitStack() as stack:
        remains = Remains(stack)
        remains.sql.execute("INSERT INTO wanted VALUES ('dead', ?, NULL)", (CLAIMED,))
        remains.sql.execute("INSERT INTO tags VALUES ('l1', 'dead', x'01'), ('l2', 'living', x'01')")
        (told,) = Contents(remains).told([], [])
        assert "equal" in told


def test_the_installations_secrets_open_nothing_of_it(store: Recordings, tenant: TenantId, tmp_path: Path) -> None:
    """They sign, tag tenants, seal labels and statistics, and are never destroyed: published counts stay, and open."""
    call, _living = stored_call(store, tenant), stored_call(store, tenant)
    store.statistics.publish(tenant, "2026-11-26", Counted(10, 10, {}))
    back_up(store, tmp_path)
    erase(store, call)
    proof = dead(tmp_path, call, "backup")
    assert proof.unlocked["installation secrets"] == 5
    read = store.statistics.read(tenant, ["2026-11-26"])
    assert call.call not in repr(read) and NUMBER.value not in repr(read)


def test_another_tenants_keys_open_nothing_of_it(store: Recordings, tenant: TenantId, tmp_path: Path) -> None:
    call, _living = stored_call(store, tenant), stored_call(store, tenant)
    stored_call(store, store.tenant("another"))
    back_up(store, tmp_path)
    alone = probe(tmp_path, call.call, "backup").tried["provider keys"]
    erase(store, call)
    assert dead(tmp_path, call, "backup").tried["provider keys"] == alone + 3  # an epoch more, of three roots


def test_copies_that_left_and_records_by_law_are_told_and_open_nothing_else(
    store: Recordings, tenant: TenantId, tmp_path: Path
) -> None:
    """The record of a copy names the call, by its id; it is the law's, lives on, and leads to no key."""
    call, _living = stored_call(store, tenant), stored_call(store, tenant)
    leaving = [Leaving(call.call, sorted(ids_of(call)))]
    store.egress.record(tenant, leaving, {"to": "an insurer", "ground": "Art. 15"})
    source = audio_of(call)[0].ref
    back_up(store, tmp_path)
    keep_keys(tmp_path)
    erase(store, call)
    proof = dead(tmp_path, call, "backup")
    assert proof.excepted == {"copies on record as having left": 1}
    assert named(probe(tmp_path, call.call, "backup", keys="old")) == ids_of(call)
    assert source.artefact in ids_of(call)


def test_jobs_queues_and_logs_hold_nothing_in_clear_and_what_does_is_told(
    store: Recordings, tenant: TenantId, tmp_path: Path
) -> None:
    """The outbox and the list of dead jobs are rows of ids; a log that somebody wrote a number into is found."""
    call, _living = saved_with(store, tenant, NUMBER), stored_call(store, tenant)
    spool(store, [(artefact, [b"audio"] * 3) for artefact in audio_of(call)])
    from storage.model import CallState

    store.put_documents(
        call, {call.find(Kind.IDENTITY).ref.artefact: NUMBER.value.encode()}, CallState.ENDED, ["jobs.x"]
    )
    upload(store)
    copy_data(tmp_path, "copy")
    back_up(store, tmp_path)
    keep_keys(tmp_path)
    erase(store, call)
    logs = tmp_path / "logs"
    (logs / "queue" / "streams").mkdir(parents=True)
    (logs / "queue" / "streams" / "1.blk").write_bytes(b'{"call":"' + call.call.encode() + b'"}')
    dead(tmp_path, call, "copy", "backup", files=[logs])
    (logs / "trace.log").write_text(f"INVITE sip:{NUMBER.value}@example.net")
    told = probe(tmp_path, call.call, "copy", files=[logs], identifiers=[NUMBER])
    assert told.opened == ["number: in clear in trace.log"]
    assert not told.holds
    (logs / "trace.log").write_bytes(NUMBER.value.encode("utf-16-le"))
    assert not probe(tmp_path, call.call, "copy", files=[logs], identifiers=[NUMBER]).holds


def test_no_file_of_before_or_of_today_has_a_key_of_it_in_any_spelling(
    store: Recordings, tenant: TenantId, tmp_path: Path
) -> None:
    """Raw, in hexadecimal, in base64: of the call's keys, and of its leaf's index key, in data, witness and backup."""
    import base64

    call = stored_call(store, tenant)
    store.identify(call, [NUMBER])
    store.prepare(tenant, ["recording"])
    copy_data(tmp_path, "copy")
    back_up(store, tmp_path)
    keys = [artefact.key for artefact in call.artefacts]
    erase(store, call)
    folders = [tmp_path / name for name in ("data", "data-witness", "copy", "backup", "keys")]
    everything = files_below(*folders)
    for key in keys:
        raw = key.reveal()
        for spelled in (raw, raw.hex().encode(), base64.b64encode(raw)[:42], raw[::-1]):
            assert spelled not in everything


def test_a_row_of_a_dump_is_carved(store: Recordings, tenant: TenantId, tmp_path: Path) -> None:
    """What `pg_dump` or a CSV of an operator has kept of the key rows, and no database any more."""
    call, _living = stored_call(store, tenant), stored_call(store, tenant)
    copy = copy_data(tmp_path, "copy")
    dumps = tmp_path / "dumps"
    dumps.mkdir()
    connection = sqlite3.connect(copy / "catalogue.sqlite3")
    lines = []
    for table in ("epochs", "buckets", "nodes", "artefact_keys"):
        for row in connection.execute(f"SELECT * FROM {table}"):  # ours
            cells = [
                f"\\\\x{cell.hex()}" if isinstance(cell, bytes) else "\\N" if cell is None else str(cell)
                for cell in row
            ]
            lines.append("\t".join(cells))
    (dumps / "dump.sql").write_text("\n".join(lines))
    connection.executescript(
        "PRAGMA secure_delete=ON; PRAGMA foreign_keys=OFF; DELETE FROM artefact_keys; DELETE FROM nodes;"
        "DELETE FROM buckets; DELETE FROM epochs; VACUUM; PRAGMA wal_checkpoint(TRUNCATE);"
    )
    connection.close()
    keep_keys(tmp_path)
    erase(store, call)
    assert dead(tmp_path, call, "copy", files=[dumps]).found["carved"] > 0
    assert named(probe(tmp_path, call.call, "copy", keys="old", files=[dumps])) == ids_of(call)
    assert probe(tmp_path, call.call, "copy", keys="old").opened == []  # without the dump: its rows are nowhere
