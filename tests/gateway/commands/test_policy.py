"""`callvault policy`: what is promised, what is wrong with it, what a change does, and the page about it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.promises.effective import policy_of
from storage.policy.library import PROFILES, profile
from storage.policy.reading import as_json
from storage.recordings import Recordings
from tests.gateway.promises.settings import tenant

SHIPPED = Path(__file__).parents[3] / "storage" / "policy" / "profiles"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return written(tmp_path, "upcall")


def written(folder: Path, name: str, more: str = "") -> Path:
    file = folder / "callvault.toml"
    file.write_text(
        f'data = "{folder}/data"\n'
        f'[[tenants]]\nname = "acme"\nprofile = "{name}"\npurpose = "service"\nannouncement = "/a.wav"\n{more}'
        '[[tenants]]\nname = "beta"\nprofile = "circleloop"\n'
        '[[trunks]]\nname = "t"\ntenant = "acme"\nsources = ["127.0.0.0/8"]\n'
    )
    return file


def adopted(folder: Path, name: str) -> None:
    with Recordings.open(folder / "data", f"file:{folder}/data-keys", f"file:{folder}/data/objects", node="t") as store:
        store.adopt(store.tenant("acme"), policy_of(tenant(profile=name)))


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    status = main(["policy", *map(str, arguments)])
    told = capsys.readouterr()
    return status, told.out, told.err


def test_show_tells_every_term_and_line(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "show", "acme", "--config", config)
    assert status == 0
    assert "audio/* = 12 months  # UP-02" in out
    assert "rating/* = 7 years, at least, by Art. 52(4) AWR  # UP-05" in out
    assert "logs.term = 90 days" in out and "beta" not in out
    assert "account-life; no time limit  # CL-03" in run(capsys, "show", "--config", config)[1]


def test_show_as_json_is_what_the_ledger_has_a_digest_of(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "show", "acme", "--json", "--config", config)
    assert status == 0
    assert json.loads(out) == {"acme": as_json(profile("upcall"))}


def test_show_puts_the_profiles_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "show", "--profiles")
    assert status == 0
    assert all(name in out.splitlines()[0] for name in PROFILES)
    assert "Amsterdam / NL / EEA" in out
    assert list(json.loads(run(capsys, "show", "--profiles", "--json")[1])) == list(PROFILES)


def test_check_of_tenants_flags_what_has_no_time_limit(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "check", "--config", config)
    assert status == 0
    assert "tenant acme: its policy can be used\n" in out
    assert "tenant beta: its policy can be used; without a time limit: identity, audio" in out


def test_check_tells_every_problem_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = written(tmp_path, "upcall", 'retention = [{ term = "2 years" }, { kind = "x", term = "1 month" }]\n')
    status, _, err = run(capsys, "check", "--config", wrong)
    assert status == 2 and "give a reason" in err and "there is no kind 'x'" in err
    own = tmp_path / "own.toml"
    own.write_text(
        (SHIPPED / "upcall.toml").read_text().replace("hours = 72", "hours = -1").replace('"90 days"', '"x"')
    )
    status, _, err = run(capsys, "check", own)
    assert status == 2 and len(err.splitlines()) == 2
    assert run(capsys, "check", SHIPPED / "upcall.toml") == (0, "profile upcall can be used\n", "")
    assert run(capsys, "check", tmp_path / "none.toml")[0] == 2


def test_diff_of_profiles_tells_what_is_shorter_and_longer(capsys: pytest.CaptureFixture[str], config: Path) -> None:
    status, out, _ = run(capsys, "diff", "upcall", "speakup", "--config", config)
    assert status == 1
    assert "shorter  audio/*: 12 months -> 4 months" in out
    assert "longer   rating/*: 7 years -> 10 years" in out
    assert "what is shorter applies to what is stored as well" in out
    assert run(capsys, "diff", "upcall", SHIPPED / "upcall.toml", "--config", config) == (0, "nothing differs\n", "")


def test_diff_of_a_tenant_is_from_what_is_stored_to_what_is_configured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = written(tmp_path, "speakup")
    adopted(tmp_path, "upcall")
    status, out, _ = run(capsys, "diff", "acme", "--json", "--config", config)
    found = json.loads(out)
    assert status == 1 and "audio/*: 12 months -> 4 months" in found["shorter"]
    assert found["due_at_once"] == 0  # nothing is stored
    adopted(tmp_path, "speakup")
    assert run(capsys, "diff", "acme", "--config", config)[0] == 0


@pytest.mark.parametrize("arguments", [("nobody",), ("upcall",), ("upcall", "nobody"), ("nobody", "acme")])
def test_diff_of_what_is_not_there_is_unusable(
    config: Path, arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, err = run(capsys, "diff", *arguments, "--config", config)
    assert status == 2 and err.startswith("callvault: ")


@pytest.mark.parametrize(
    ("language", "words"), [("nl", "Wat wordt bewaard"), ("de", "Was aufbewahrt wird"), ("en", "What is kept")]
)
def test_page_is_printed_in_three_languages_and_two_formats(
    config: Path, tmp_path: Path, language: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = run(capsys, "page", "acme", "--lang", language, "--config", config)
    assert status == 0 and f"## {words}" in out
    file = tmp_path / "page.html"
    assert (
        run(capsys, "page", "acme", "--lang", language, "--format", "html", "--output", file, "--config", config)[0]
        == 0
    )
    assert f"{words}</h2>" in file.read_text(encoding="utf-8")


def test_page_tells_the_policy_that_runs_and_not_one_that_only_stands_in_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = written(tmp_path, "speakup")
    adopted(tmp_path, "upcall")
    status, out, err = run(capsys, "page", "acme", "--config", config)
    assert status == 0 and "12 months" in out and "4 months" not in out
    assert "takes effect with the next reload" in err


def test_page_of_nobody_is_unusable(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "page", "nobody", "--config", config)[0] == 2
