"""An export is the data itself, of one person alone, the same bytes each time, and never held as a whole."""

from __future__ import annotations

import hashlib
import io
import json
import tracemalloc
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import pytest

from gateway.rights.annotations import annotate
from gateway.rights.export import Plan, exported
from gateway.rights.parts import Part, Words
from gateway.rights.share import EVERYONE, Matched, share_of
from storage.errors import Erased, Malformed, NotFound, Tampered, WrongKey
from storage.exports import check_file, parse_index
from storage.model import CallId, TenantId, new_id
from storage.recordings import Recordings
from tests.gateway.rights.corpus import ALICE, BERT, Kept, plain, session
from tests.gateway.store import opened
from tests.storage.stores import files_below

ABOUT = {"request": "0" * 32, "right": "access"}


def plan(tenant: TenantId, *matches: tuple[CallId, str], **more: Any) -> Plan:
    return Plan(tenant, [Matched(call, who) for call, who in matches], ABOUT, **more)


def export(recordings: Recordings, made: Plan) -> bytes:
    return b"".join(exported(recordings, made))


def files(archive: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened_zip:
        assert opened_zip.testzip() is None
        return {name: opened_zip.read(name) for name in opened_zip.namelist()}


def only(found: dict[str, bytes], ending: str) -> Any:
    (name,) = [name for name in found if name.endswith(ending)]
    return json.loads(found[name])


@pytest.fixture
def kept(tmp_path: Path, store: Recordings, tenant: TenantId) -> Kept:
    return session(tmp_path, store, tenant)


def test_ip_08_an_export_is_the_data_itself(store: Recordings, tenant: TenantId, kept: Kept) -> None:
    share = share_of(store, tenant, Matched(kept.call, kept.id_of(ALICE)))
    annotate(store, tenant, share, "it is Annevelt, with a t", {"request": "1" * 32, "at": "2026-03-02"})
    found = files(export(store, plan(tenant, (kept.call, kept.id_of(ALICE)))))
    (wav,) = [data for name, data in found.items() if name.endswith(".wav")]
    assert wav[44:] == kept.pcm_of(ALICE)
    assert only(found, "/transcript.json")["turns"][0]["text"] == f"my name is {ALICE.name} {ALICE.word}"
    assert only(found, "/identity.json")["participants"][0]["name"] == ALICE.name
    assert only(found, "/detail.json")["started"] == "2026-03-01T10:00:00.000Z"
    assert only(found, "/keys.json")["participants"][0]["keys"][0]["key"] == "5"
    assert only(found, "/facts.json")["tracks"][0]["facts"]["map"]
    assert only(found, "/annotations.json")["entries"][0]["statement"] == "it is Annevelt, with a t"
    assert only(found, "/manifest.json") == store.manifest(tenant, kept.call)


def test_up_17_portability_is_json_wav_and_a_signed_index(store: Recordings, tenant: TenantId, kept: Kept) -> None:
    found = files(export(store, plan(tenant, (kept.call, kept.id_of(ALICE)))))
    index = parse_index(found.pop("index.json"), store.fingerprint())
    assert {entry["name"] for entry in index["files"]} == set(found)
    for name, data in found.items():
        check_file(index, name, len(data), hashlib.sha256(data).hexdigest())
    with pytest.raises(Tampered):
        check_file(index, name, len(data), hashlib.sha256(b"other").hexdigest())
    assert {Path(name).suffix for name in found} == {".json", ".wav"}
    assert index["calls"][0]["tracks_left_out"] == {"others": 1}


def test_an_index_that_was_changed_or_is_anothers_is_refused(store: Recordings, tenant: TenantId, kept: Kept) -> None:
    text = files(export(store, plan(tenant, (kept.call, kept.id_of(ALICE)))))["index.json"]
    with pytest.raises(WrongKey):
        parse_index(text, "0" * 64)
    with pytest.raises(Tampered):
        parse_index(text.replace(b'"access"', b'"axcess"'), store.fingerprint())
    with pytest.raises(Malformed):
        parse_index(b"{}", store.fingerprint())


def test_sp_17_the_export_of_one_party_holds_nothing_of_the_other(
    store: Recordings, tenant: TenantId, kept: Kept, tmp_path: Path
) -> None:
    other = session(tmp_path, store, tenant, (BERT, ALICE))
    share = share_of(store, tenant, Matched(kept.call, kept.id_of(BERT)))
    annotate(store, tenant, share, f"{BERT.name} says {BERT.word}", {"request": "1" * 32})
    matches = [(found.call, found.id_of(ALICE)) for found in (kept, other)]
    archive = export(store, plan(tenant, *matches))
    for canary in BERT.canaries():
        assert canary not in archive
    for canary in ALICE.canaries():
        assert canary in archive
    for pcm, there in ((kept.pcm_of(ALICE), True), (kept.pcm_of(BERT), False)):
        spoken = [pcm[at : at + 64] for at in range(0, len(pcm), 1600)]  # 4 ms, from all over the track
        assert all((piece in archive) is there for piece in spoken)


def test_cl_09_the_other_track_is_left_out_and_one_with_both_on_it_too(
    store: Recordings, tenant: TenantId, tmp_path: Path
) -> None:
    kept = session(tmp_path, store, tenant, mixed=True)  # both are heard on the first track
    alice = share_of(store, tenant, Matched(kept.call, kept.id_of(ALICE)))
    assert (alice.tracks, dict(alice.left_out)) == ((), {"others are heard on it as well": 1, "others": 1})
    archive = export(store, plan(tenant, (kept.call, kept.id_of(ALICE))))
    assert not any(name.endswith((".wav", "/transcript.json")) for name in files(archive))
    assert not any(canary in archive for canary in BERT.canaries())
    bert = share_of(store, tenant, Matched(kept.call, kept.id_of(BERT)))
    assert [track.index for track in bert.tracks] == [1]


@pytest.mark.parametrize(("who", "own", "other", "tracks"), [("caller", ALICE, BERT, 1), ("called", BERT, ALICE, 0)])
def test_of_a_plain_call_the_track_is_the_callers(
    store: Recordings, tenant: TenantId, tmp_path: Path, who: str, own: Any, other: Any, tracks: int
) -> None:
    call, person = plain(tmp_path, store, tenant)
    archive = export(store, plan(tenant, (call, who)))
    assert sum(name.endswith(".wav") for name in files(archive)) == tracks
    assert own.number.encode() in archive
    assert not any(canary in archive for canary in other.canaries())
    if who == "caller":
        assert export(store, plan(tenant, (call, person))) == archive


def test_what_was_received_as_opus_goes_out_as_it_came_too(store: Recordings, tenant: TenantId, tmp_path: Path) -> None:
    kept = session(tmp_path, store, tenant, opus=True)
    found = files(export(store, plan(tenant, (kept.call, kept.id_of(ALICE)))))
    (ogg,) = [data for name, data in found.items() if name.endswith(".opus")]
    with av.open(io.BytesIO(ogg), "r", format="ogg") as file:
        assert len([packet for packet in file.demux(audio=0) if packet.size]) == 100
    assert sum(name.endswith(".wav") for name in found) == 1


def test_redacted_words_are_a_choice(store: Recordings, tenant: TenantId, kept: Kept) -> None:
    found = files(export(store, plan(tenant, (kept.call, kept.id_of(ALICE)), words=Words.REDACTED)))
    text = only(found, "/transcript.json")["turns"][0]["text"]
    assert ALICE.name not in text and "[PERSON" in text


def test_only_the_parts_that_are_asked_for_go_out(store: Recordings, tenant: TenantId, kept: Kept) -> None:
    made = plan(tenant, (kept.call, kept.id_of(ALICE)), parts=frozenset({Part.DETAIL}))
    assert {Path(name).name for name in files(export(store, made))} == {"detail.json", "index.json"}


def test_a_whole_call_has_every_track(store: Recordings, tenant: TenantId, kept: Kept) -> None:
    made = Plan(tenant, [Matched(kept.call, EVERYONE)], ABOUT)
    archive = export(store, made)
    assert sum(name.endswith(".wav") for name in files(archive)) == 2
    assert all(canary in archive for canary in (*ALICE.canaries(), *BERT.canaries()))


def test_the_same_data_makes_the_same_bytes(store: Recordings, tenant: TenantId, kept: Kept) -> None:
    made = plan(tenant, (kept.call, kept.id_of(ALICE)))
    assert export(store, made) == export(store, made)


def test_an_erased_call_is_told_and_left_out(store: Recordings, tenant: TenantId, kept: Kept, tmp_path: Path) -> None:
    gone = session(tmp_path, store, tenant, (ALICE, BERT))
    store.erase_call(tenant, gone.call, ground="Art. 17(1)", actor="test")
    made = plan(tenant, (gone.call, gone.id_of(ALICE)), (kept.call, kept.id_of(ALICE)))
    index = json.loads(files(export(store, made))["index.json"])
    assert index["calls"][0] == {"call": gone.call, "who": gone.id_of(ALICE), "left_out": "Erased"}
    assert index["calls"][1]["files"]


def test_an_erasure_meanwhile_breaks_the_file_off(store: Recordings, tenant: TenantId, tmp_path: Path) -> None:
    kept = session(tmp_path, store, tenant, seconds=60.0)
    parts = exported(store, plan(tenant, (kept.call, kept.id_of(ALICE))))
    sent = []
    with pytest.raises(Erased):
        for part in parts:
            sent.append(part)  # what came before the failure is looked at
            if sum(map(len, sent)) > 1 << 18:
                store.erase_call(tenant, kept.call, ground="Art. 17(1)", actor="test")
    with pytest.raises(zipfile.BadZipFile):
        zipfile.ZipFile(io.BytesIO(b"".join(sent)))


def test_another_tenants_call_and_strangers_are_left_out(store: Recordings, tenant: TenantId, kept: Kept) -> None:
    with pytest.raises(NotFound):
        share_of(store, store.tenant("beta"), Matched(kept.call, kept.id_of(ALICE)))
    with pytest.raises(NotFound):
        share_of(store, tenant, Matched(kept.call, new_id()))
    with pytest.raises(NotFound):
        share_of(store, tenant, Matched(kept.call, "caller"))  # a session has participants, and no sides


@pytest.mark.parametrize("value", [None, {}, {"call": "x", "who": "caller"}, {"call": "0" * 32, "who": "everyone"}])
def test_what_is_no_match_is_malformed(value: object) -> None:
    with pytest.raises(Malformed):
        Matched.parse(value)


def test_memory_stays_bounded_however_long_the_call(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        tenant = store.tenant("acme")
        kept = session(tmp_path, store, tenant, (ALICE,), seconds=600.0)
        made = plan(tenant, (kept.call, kept.id_of(ALICE)))
        export(store, replace(made, parts=frozenset({Part.DETAIL})))  # what is loaded once
        tracemalloc.start()
        size = _drained(exported(store, made))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert size > 600 * 16_000
    assert peak < 8 << 20


def test_an_export_writes_nothing_to_the_disk(tmp_path: Path, store: Recordings, tenant: TenantId, kept: Kept) -> None:
    export(store, plan(tenant, (kept.call, kept.id_of(ALICE))))
    disk = files_below(tmp_path)
    assert not any(canary in disk for canary in ALICE.canaries())


def _drained(parts: Iterable[bytes] | Iterator[bytes]) -> int:
    return sum(len(part) for part in parts)
