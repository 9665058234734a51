"""Tenants' settings make policies; whatever they may not promise is told, all of it, before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.config import Settings, load
from gateway.errors import ConfigError
from gateway.promises.effective import policy_of, promise_problems
from storage.model import Kind
from storage.policy.library import profile
from tests.gateway.promises.settings import tenant

PROFILES = Path(__file__).parents[3] / "storage" / "policy" / "profiles"


def loaded(folder: Path, text: str) -> Settings:
    file = folder / "callvault.toml"
    file.write_text(text + '[[trunks]]\nname = "t"\ntenant = "acme"\nsources = ["127.0.0.0/8"]\n')
    return load(file, {}).settings


def test_without_a_profile_a_tenant_has_the_neutral_default() -> None:
    assert policy_of(tenant()) == profile("default")
    assert promise_problems([tenant()]) == []


def test_up_02_a_new_tenant_with_no_setting_has_twelve_months() -> None:
    found = policy_of(tenant(profile="upcall"))
    for kind in (Kind.AUDIO, Kind.TRANSCRIPT, Kind.CALL_DETAIL):
        assert str(found.rule(kind, "service").term) == "12 months"


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"profile": "upcal"}, "there is no profile 'upcal'"),
        ({"profile": "/no/such.toml"}, "No such file"),
        ({"purpose": "fun"}, "purpose 'fun' is none that profile default allows"),
        ({"profile": "speakup"}, "promises an announcement before every recording"),
        ({"retention": [{"kind": "audio", "term": "soon"}]}, "'soon' is no term"),
        ({"profile": "upcall", "retention": [{"kind": "audio", "term": "13 months"}]}, "give a reason"),
        ({"retention": [{"kind": "audio", "term": "for ever"}]}, '"for ever" needs a reason'),
        ({"retention": [{"kind": "voices", "term": "1 month"}]}, "there is no kind 'voices'"),
        ({"retention": [{"purpose": "fun", "term": "1 month"}]}, "purpose 'fun' is none of"),
    ],
)
def test_up_02_what_cannot_be_promised_is_told(settings: dict[str, Any], problem: str) -> None:
    (found,) = promise_problems([tenant(**settings)])
    assert problem in found and "'acme'" in found


def test_all_problems_of_all_tenants_are_told_together(tmp_path: Path) -> None:
    text = """
[[tenants]]
name = "acme"
profile = "speakup"
purpose = "fun"
retention = [{ kind = "audio", term = "6 months" }, { kind = "voices", term = "soon" }]
[[tenants]]
name = "beta"
profile = "upcal"
"""
    with pytest.raises(ConfigError) as refused:
        loaded(tmp_path, text)
    told = " ".join(refused.value.problems)
    for problem in ("purpose 'fun'", "6 months is longer", "'soon' is no term", "an announcement", "profile 'upcal'"):
        assert problem in told


def test_a_tenant_that_keeps_nothing_needs_no_announcement() -> None:
    assert promise_problems([tenant(profile="speakup", record="events", purpose="service")]) == []


def test_five_tenants_run_under_five_profiles_side_by_side(tmp_path: Path) -> None:
    rows = "".join(
        f'[[tenants]]\nname = "{name}"\nprofile = "{name}"\npurpose = "service"\nrecord = "all"\n'
        'announcement = "/a.wav"\n'
        for name in ("upcall", "speakup", "circleloop", "cloudtalk", "ipcallme")
    )
    settings = loaded(tmp_path, rows + '[[tenants]]\nname = "acme"\n')
    terms = [str(policy_of(one).rule(Kind.AUDIO, "service").term) for one in settings.tenants]
    assert terms == ["12 months", "4 months", "account-life", "while-in-use", "3 months", "3 months"]


def test_a_profile_of_ones_own_is_read_from_its_file_each_time(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text((PROFILES / "upcall.toml").read_text().replace('name = "upcall"', 'name = "own"'))
    mine = tenant(profile=str(own), zone="Europe/Amsterdam")
    assert promise_problems([mine]) == [] and policy_of(mine).name == "own"
    assert policy_of(mine).zone == "Europe/Amsterdam"
    own.write_text(own.read_text().replace('term = "12 months"', 'term = "6 months"'))
    assert str(policy_of(mine).rule(Kind.AUDIO, "service").term) == "6 months"
    own.write_text(own.read_text().replace("hours = 72", "hours = -1"))
    assert len(promise_problems([mine])) == 1


def test_ct_10_nothing_is_recorded_that_nobody_switched_on_and_nothing_unannounced() -> None:
    (off,) = promise_problems([tenant(profile="cloudtalk", announcement="/a.wav")])
    assert "records only what somebody switched on" in off
    (silent,) = promise_problems([tenant(profile="cloudtalk", record="all")])
    assert "promises an announcement before every recording" in silent
    assert promise_problems([tenant(profile="cloudtalk", record="events")]) == []
    assert promise_problems([tenant(profile="cloudtalk", record="all", announcement="/a.wav")]) == []
