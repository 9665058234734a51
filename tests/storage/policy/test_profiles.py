"""The five profiles say what five real providers published, and no profile can say what none may."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from storage.model import Kind
from storage.policy.library import (
    COUNT_MIN,
    PROFILES,
    Unusable,
    find,
    parse_policy,
    parse_profile,
    profile,
    read_profile,
)
from storage.policy.model import CONTENT, STATUTORY, Answers, Policy, Support
from storage.policy.reading import as_json
from storage.policy.table import MATTERS
from storage.records import DOSSIERS
from storage.statistics import STEP_MIN

VECTORS = Path(__file__).parents[2] / "vectors"
FIVE = ("upcall", "speakup", "circleloop", "cloudtalk", "ipcallme")
SOURCE = Path(__file__).parents[3] / "storage" / "policy" / "profiles"


def collisions() -> list[tuple[str, str, str]]:
    rows = [line for line in (VECTORS / "policies.md").read_text().splitlines() if line.startswith("|")]
    cells = [[cell.strip().replace("*", "") for cell in row.strip("|").split("|")] for row in rows]
    return [(row[0], name, cell) for row in cells[2:] for name, cell in zip(FIVE, row[1:], strict=True)]


@pytest.mark.parametrize(("matter", "name", "cell"), collisions())
def test_where_the_five_collide_follows_from_their_data(matter: str, name: str, cell: str) -> None:
    assert MATTERS[matter](profile(name)) == cell


def test_every_matter_of_the_comparison_is_told() -> None:
    assert list(MATTERS) == list(dict.fromkeys(matter for matter, _, _ in collisions()))


@pytest.mark.parametrize("name", PROFILES)
def test_a_policy_reads_back_from_its_json(name: str) -> None:
    found = profile(name)
    assert parse_policy(json.dumps(as_json(found))) == found
    assert found.name == name
    assert read_profile(SOURCE / f"{name}.toml") == found == find(name)


@pytest.mark.parametrize("name", PROFILES)
def test_every_kind_has_a_term_and_its_source(name: str) -> None:
    found = profile(name)
    for kind in Kind:
        for purpose in found.purposes.allowed:
            assert found.rule(kind, purpose).source


def test_nothing_of_the_default_profile_is_anybodys_promise() -> None:
    assert set(re.findall(r'source = "([^"]*)"', (SOURCE / "default.toml").read_text())) == {"default"}


def test_the_smallest_count_of_a_policy_is_that_of_statistics() -> None:
    assert COUNT_MIN == STEP_MIN


def edited(name: str, *changes: tuple[str, str]) -> bytes:
    text = (SOURCE / f"{name}.toml").read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return text.encode()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (('term = "12 months"', 'term = "a while"'), "is no term"),
        (('term = "12 months"', 'term = "13 months"'), "longer than 12 months, without a reason"),
        (('term = "12 months"', 'term = "1 day"'), "shorter than 2 days"),
        (('term = "12 months"\nmost = "12 months"', 'term = "for ever"\nmost = "for ever"'), '"for ever" without'),
        (('kinds = ["*"]', 'kinds = ["voices"]'), "there is no kind 'voices'"),
        (('kinds = ["*"]', 'kinds = ["audio"]'), "nothing says how long transcript is kept"),
        (('source = "UP-02"', 'source = "somewhere"'), "is no source"),
        (('source = "UP-02"', 'source = "UP-02"\ncolour = "red"'), "unknown"),
        (("hours = 72", "hours = -1"), "breach.hours"),
        (("hours = 72", 'hours = "72"'), "breach.hours"),
        (("always = true", 'always = "yes"'), "announcement.always"),
        (("[50, 80]", "[80, 50]"), "warn_percent"),
        (('support = "deny"', 'support = "sometimes"'), "none of deny, consent, standing"),
        (("minimum = 10", "minimum = 3"), "at least 10"),
        (('grace = "30 days"', 'grace = "account-life"'), "has no end"),
        (('allowed = ["service", "quality", "training"]', "allowed = []"), "none is allowed"),
        (('["NL", "EEA"]', '["the moon"]'), "is no region"),
        (('law = "Art. 52(4) AWR"\n', ""), "the law that obliges has to be named"),
    ],
)
def test_a_profile_that_cannot_be_one_is_refused_in_words(change: tuple[str, str], problem: str) -> None:
    with pytest.raises(Unusable, match=re.escape(problem)):
        parse_profile(edited("upcall", change), "x")


def test_all_problems_of_a_profile_are_told_together() -> None:
    with pytest.raises(Unusable) as refused:
        parse_profile(
            edited("upcall", ("hours = 72", "hours = -1"), ('"90 days"', '"ninety"'), ("[law]", "[lore]")), "x"
        )
    assert len(refused.value.problems) == 4  # [law] is missing, and [lore] unknown


@pytest.mark.parametrize("text", [b"", b"\xff", b"name = ", b"[[retention]]", b"a" * 70_000])
def test_what_is_no_profile_is_unusable(text: bytes) -> None:
    with pytest.raises(Unusable):
        parse_profile(text, "x")


def test_an_unknown_profile_or_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(Unusable, match="say default, upcall"):
        find("upcal")
    with pytest.raises(Unusable, match="No such file"):
        find(str(tmp_path / "none.toml"))


def test_up_05_invoice_data_have_a_law_of_their_own_for_seven_years() -> None:
    rule = profile("upcall").rule(Kind.RATING, "service")
    assert (str(rule.term), rule.law) == ("7 years", "Art. 52(4) AWR")
    assert set(STATUTORY) == {Kind.RATING, Kind.CONSENT} | DOSSIERS  # the others tell what was asked and answered


def test_sp_06_the_period_of_invoices_is_data() -> None:
    assert str(profile("speakup").rule(Kind.RATING, "service").term) == "10 years"
    changed = parse_profile(
        edited("speakup", ('term = "10 years"\nmost = "10 years"', 'term = "7 years"\nmost = "7 years"')), "x"
    )
    assert str(changed.rule(Kind.RATING, "service").term) == "7 years"


def test_ip_02_what_a_law_keeps_cannot_hold_content() -> None:
    with pytest.raises(Unusable, match="no law keeps content"):
        parse_profile(edited("ipcallme", ('kinds = ["*"]', 'kinds = ["*"]\nlaw = "tax law"')), "x")
    with pytest.raises(Unusable, match="cannot have one rule"):
        parse_profile(edited("ipcallme", ('kinds = ["rating"]', 'kinds = ["rating", "audio"]')), "x")
    assert not set(CONTENT) & set(STATUTORY)


def test_cl_03_account_life_is_flagged_as_without_time_limit() -> None:
    for kind in CONTENT:
        term = profile("circleloop").rule(kind, "service").term
        assert str(term) == "account-life" and term.open


def test_ct_05_content_lasts_as_long_as_the_service_is_used_and_no_day_longer() -> None:
    found = profile("cloudtalk")
    assert str(found.rule(Kind.AUDIO, "service").term) == "while-in-use"
    assert str(found.closing.grace) == "0 days"


def test_cl_12_sub_processors_have_periods_of_their_own() -> None:
    rows = {row.what: str(row.term) for row in profile("circleloop").processors}
    assert rows == {"notices by mail": "45 days", "bounced mail": "12 months", "customer relations (CRM)": "90 days"}


def test_ct_10_the_customer_is_controller_and_defaults_are_safe() -> None:
    found = profile("cloudtalk")
    assert found.law.controller is Answers.CUSTOMER and found.announcement.always and found.egress.opt_in
    assert found.storage.chosen and found.announcement_needed
    assert not (
        found.storage.stated or found.announcement.stated
    )  # they publish neither: they are safe because we say so
    assert [name for name in FIVE if profile(name).storage.chosen] == ["cloudtalk"]
    assert [name for name in FIVE if profile(name).announcement_needed] == ["speakup", "cloudtalk"]


def test_ct_07_and_cl_01_are_opposites_as_data() -> None:
    support = {name: profile(name).access.support for name in FIVE}
    assert support["cloudtalk"] is Support.STANDING and support["circleloop"] is Support.CONSENT
    assert {support[name] for name in ("upcall", "speakup", "ipcallme")} == {Support.DENY}


def test_sp_03_ip_11_every_recording_has_a_declared_purpose() -> None:
    found: Policy = profile("speakup")
    assert found.purposes.mandatory and found.purposes.allowed == ("training", "service", "quality")
