"""What the doctor says of each key provider: whether it can be reached, its finality, whether keys come out of it."""

from __future__ import annotations

from pathlib import Path

from gateway.config import Settings
from gateway.operations.doctor import parts
from gateway.operations.doctor.row import State


def test_each_provider_has_a_row_and_one_that_is_away_fails(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.touch(mode=0o600)
    token.write_text("s.secret\n")
    settings = Settings.model_validate(
        {
            "data": tmp_path / "data",
            "store": {"keys": f"file:{tmp_path}/keys?finality=30d&region=NL"},
            "tenants": [
                {"name": "default"},
                {"name": "plain", "keys": f"file:{tmp_path}/plain"},
                {"name": "away", "keys": f"openbao+http://127.0.0.1:1/transit?token-file={token}"},
                {"name": "wrong", "keys": "vault:/x"},
            ],
        }
    )
    rows = {row.name: row for row in parts.keys(settings)}
    assert {name: row.state for name, row in rows.items()} == {
        "keys": State.OK,
        "keys of plain": State.WARN,
        "keys of away": State.FAIL,
        "keys of wrong": State.FAIL,
    }
    assert "finality 30d" in rows["keys"].found
    assert "extractable" in rows["keys"].found
    assert "region NL" in rows["keys"].found
    assert "finality unknown" in rows["keys of plain"].found
    assert not any("s.secret" in row.found + row.mend for row in rows.values())
