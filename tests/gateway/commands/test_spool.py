"""`callvault spool` and `callvault reconcile`, as an operator meets them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import main
from gateway.commands.spool import replay
from storage.model import CallState, TenantId, new_id
from storage.recordings import Recordings
from storage.spoolfile import spool_files
from storage.spoollock import writing
from storage.uploader import Uploader
from tests.gateway.spooling import damage, ended, spooled


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "callvault.toml"
    store = f'[store]\nobjects = "file:{tmp_path / "objects"}"\nkeys = "file:{tmp_path / "keys"}"\n'
    path.write_text(f'data = "{tmp_path / "data"}"\n{store}')
    return path


def asked(capsys: pytest.CaptureFixture[str], config: Path, *words: str) -> tuple[int, str]:
    """Exit status and output of a command."""
    capsys.readouterr()
    status = main([*words, "--config", str(config)])
    said = capsys.readouterr()
    return status, said.out + said.err


def reported(capsys: pytest.CaptureFixture[str], config: Path, *words: str) -> tuple[int, dict[str, Any]]:
    status, text = asked(capsys, config, *words, "--json")
    report: dict[str, Any] = json.loads(text)
    return status, report


def test_spool_shows_files_streams_and_what_they_wait_for(
    store: Recordings, tenant: TenantId, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = spooled(store, tenant, [3, 2])
    status, report = reported(capsys, config, "spool")
    assert status == 0
    (file,) = report["files"]
    assert (file["records"], file["broken"], file["written_to"], file["fault"]) == (7, 0, False, "")
    assert {stream["artefact"] for stream in report["streams"]} == {audio.ref.artefact for audio in made.audio}
    assert {stream["waits_for"] for stream in report["streams"]} == {"an uploader"}
    assert (report["writer"], report["uploader"]) == (False, False)
    _, text = asked(capsys, config, "spool")
    assert "2 streams of" in text
    assert "nobody" in text


def test_replay_uploads_everything_while_no_server_runs_and_ends_calls_that_were_cut_off(
    store: Recordings, tenant: TenantId, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, cut_off = spooled(store, tenant, [3]), spooled(store, tenant, [2], end=False)
    ended(store, whole)
    status, text = asked(capsys, config, "spool", "replay")
    assert (status, spool_files(store.spool_folder)) == (0, []), text
    assert "0 are left" in text
    assert store.call(tenant, whole.new.call).state is CallState.STORED
    assert store.call(tenant, cut_off.new.call).state is CallState.INTERRUPTED
    status, report = reported(capsys, config, "reconcile", "--hashes")
    assert (status, report["calls"], report["unexplained_total"]) == (0, {"interrupted": 1, "stored": 1}, 0)
    assert report["hashes_compared"] == 2


def test_replay_is_refused_while_a_server_writes_or_uploads(
    store: Recordings, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with writing(store.spool_folder):
        status, text = asked(capsys, config, "spool", "replay")
        assert status == 1
        assert "another callvault" in text
    with Uploader(store.spool_folder, store.slices, store.objects) as uploader:
        uploader.step(0.0)
        status, text = asked(capsys, config, "spool", "replay")
        assert status == 1
        assert "already" in text


def test_replay_gives_up_when_the_store_stays_away_and_keeps_everything(
    store: Recordings, tenant: TenantId, tmp_path: Path
) -> None:
    made = spooled(store, tenant, [1])
    ended(store, made)
    (tmp_path / "objects").write_bytes(b"no folder")
    assert replay(store, pause_s=0.01, limit_s=0.05).held is not None
    assert len(spool_files(store.spool_folder)) == 1
    (tmp_path / "objects").unlink()
    assert replay(store).held is None
    assert store.call(tenant, made.new.call).state is CallState.STORED


def test_spool_file_that_cannot_be_read_is_shown_and_left_alone(
    store: Recordings, tenant: TenantId, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spooled(store, tenant, [1])
    stray = store.spool_folder / "stray.spool"
    stray.write_bytes(b"?")
    status, text = asked(capsys, config, "spool")
    assert status == 1
    assert "not a spool file" in text
    status, text = asked(capsys, config, "spool", "replay")
    assert status == 1
    assert stray.exists()
    status, text = asked(capsys, config, "reconcile", "--settle", "0")
    assert status == 1
    assert "NOT EVERYTHING IS EXPLAINED" in text
    assert stray.name in text


def test_reconcile_says_what_is_wrong_and_sweeps_only_what_nobody_needs(
    store: Recordings, tenant: TenantId, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = spooled(store, tenant, [2, 2])
    damage(store, made.audio[1], 0)
    ended(store, made)
    asked(capsys, config, "spool", "replay")
    assert store.call(tenant, made.new.call).state is CallState.INTERRUPTED
    orphan = f"{tenant}/{made.new.call}/{new_id()}"
    store.objects.put(orphan, b"cut off")
    status, report = reported(capsys, config, "reconcile", "--settle", "0")
    assert status == 0
    assert [found["names"] for found in report["leftover"]] == [[orphan]]
    with writing(store.spool_folder):
        status, text = asked(capsys, config, "reconcile", "--settle", "0", "--sweep")
        assert status == 1
        assert "another callvault" in text
    status, report = reported(capsys, config, "reconcile", "--settle", "0", "--sweep")
    assert (status, report["objects_swept"], report["leftover"]) == (0, 1, [])
    status, text = asked(capsys, config, "reconcile")
    assert "nothing unexplained" in text
    assert "1 interrupted" in text


def test_unusable_configuration_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "wrong.toml"
    config.write_text("nonsense = 1\n")
    for words in (("spool",), ("reconcile",)):
        status, text = asked(capsys, config, *words)
        assert status == 2
        assert "nonsense: unknown key" in text
