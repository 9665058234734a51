"""The page "what we keep" says what the policy in effect says, all of it, in three languages."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from enum import StrEnum
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from gateway.promises.page import Facts, page
from gateway.promises.render import html, markdown
from gateway.promises.words import LANGUAGES, words
from storage.model import Kind
from storage.policy.library import PROFILES, profile
from storage.policy.model import Answers, Policy
from storage.policy.overrides import Override, overridden
from storage.policy.term import Term

VECTORS = Path(__file__).parents[2] / "vectors"
FACTS = Facts("acme", keeps_keys=True, announces=True)
OWN = (
    Override("*", "training", Term.parse("1 month"), ""),
    Override("audio", "quality", Term.parse("2 years"), "quality is compared year by year"),
)


def policy(name: str = "speakup") -> Policy:
    return overridden(profile(name), OWN, "Europe/Amsterdam")


def body(of: Policy, facts: Facts = FACTS, language: str = "en") -> str:
    """The page without the digest of its policy, which changes with everything."""
    return re.sub(r"[0-9a-f]{12}", "", markdown(page(of, facts, language)))


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(("kind", "render"), [("md", markdown), ("html", html)])
def test_the_page_is_the_golden_one(language: str, kind: str, render: Any) -> None:
    """After a change that is meant: `python -m tests.gateway.promises.golden` writes them anew."""
    golden = VECTORS / f"what-we-keep.{language}.{kind}"
    assert render(page(policy(), FACTS, language)) == golden.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_profile_has_a_page_in_every_language(name: str, language: str) -> None:
    for facts in (FACTS, Facts("b", stores=False), Facts("c", records_emergency="the law of the land asks for it")):
        text = markdown(page(profile(name), facts, language))
        assert not re.search(r"[{}]", text)


def changes(value: Any) -> Iterator[Any]:
    """Other values than this one, of its type."""
    if isinstance(value, Term):
        yield Term.parse("17 days" if str(value) != "17 days" else "18 days")
    elif isinstance(value, StrEnum):
        yield from (other for other in type(value) if other is not value)
    elif isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield value + 11
    elif isinstance(value, str):
        yield value + "x"
    elif isinstance(value, tuple) and value:
        yield from ((*value[:-1], other) for other in changes(value[-1]))
        yield value[:-1]
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            if field.name not in UNSEEN:
                yield from (replace(value, **{field.name: other}) for other in changes(getattr(value, field.name)))


UNSEEN = {"source", "account_source", "by_law", "terms_go_on"}
"""Where a line is from; and what changes no page by itself, which is looked at below."""


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", ["upcall", "circleloop"])
def test_the_page_changes_with_every_line_of_the_policy(name: str, language: str) -> None:
    """Also: P3P, whose tokens said "kept indefinitely" where the text said otherwise, cannot happen here."""
    before, seen = profile(name), 0
    text = body(before, language=language)
    for line in fields(before):
        value = getattr(before, line.name)
        if line.name in ("name", "retention"):
            continue
        for other in changes(value):
            seen += 1
            assert body(replace(before, **{line.name: other}), language=language) != text, (line.name, other)
    assert seen > 30


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_changes_with_every_term_maximum_law_reason_and_source_of_retention(language: str) -> None:
    before = policy()
    text = body(before, language=language)
    for number, rule in enumerate(before.retention):
        altered = [replace(rule, term=Term.parse("17 days"))]
        altered += [replace(rule, reason="another reason in words")] * bool(rule.reason)
        altered += [replace(rule, law="another law")] * bool(rule.law)
        altered += [replace(rule, source="SP-99")] * (rule.source != "tenant")
        if not rule.law:
            altered.append(replace(rule, most=Term.parse("17 months")))
        for other in altered:
            rules = (*before.retention[:number], other, *before.retention[number + 1 :])
            assert body(replace(before, retention=rules), language=language) != text, other


def test_whether_terms_go_on_after_closing_is_told() -> None:
    upcall = profile("upcall")
    other = replace(upcall, closing=replace(upcall.closing, terms_go_on=False))
    assert body(upcall) != body(other)


@pytest.mark.parametrize(
    "facts",
    [
        replace(FACTS, tenant="other"),
        replace(FACTS, stores=False),
        replace(FACTS, transcribes=False),
        replace(FACTS, keeps_keys=False),
        replace(FACTS, announces=False),
        replace(FACTS, records_emergency="the law of the land asks for it"),
    ],
)
def test_the_page_changes_with_what_the_tenant_has_switched_on(facts: Facts) -> None:
    for language in LANGUAGES:
        assert body(policy(), facts, language) != body(policy(), language=language)


def test_cl_03_what_has_no_time_limit_is_flagged_by_itself() -> None:
    assert "## Kept without a time limit" in body(profile("circleloop"))
    assert "## Kept without a time limit" not in body(profile("speakup"))
    some = overridden(profile("speakup"), [Override("audio", "training", Term.parse("for ever"), "in words")], "UTC")
    assert "Recordings (training). They end" in body(some)


def test_ct_10_who_is_responsible_is_printed() -> None:
    mine = profile("cloudtalk")
    assert "the provider processes on the customer's behalf" in body(mine)
    other = replace(mine, law=replace(mine.law, controller=Answers.PROVIDER))
    assert "The provider is the controller." in body(other)


def test_cloudtalks_page_never_says_indefinitely() -> None:
    """Its P3P policy did, against its own FAQ: the page and the policy are one thing here."""
    text = body(profile("cloudtalk"))
    assert "as long as the service is used" in text and "destroyed at once" in text
    assert not re.search(r"indefinite|without end|for ever", text)
    assert str(profile("cloudtalk").rule(Kind.AUDIO, "service").term) == "while-in-use"


def test_cl_12_sub_processors_and_their_periods_are_told() -> None:
    text = body(profile("circleloop"))
    for line in ("notices by mail: kept for 45 days", "bounced mail: kept for 12 months", "(CRM): kept for 90 days"):
        assert line in text


def test_languages_have_the_same_words_with_the_same_blanks() -> None:
    def blanks(tree: Any, where: str = "") -> dict[str, set[str]]:
        if isinstance(tree, dict):
            return {
                key: found for name, inner in tree.items() for key, found in blanks(inner, f"{where}.{name}").items()
            }
        texts = tree if isinstance(tree, list) else [tree]
        names = {name for text in texts for _, name, _, _ in string.Formatter().parse(text) if name}
        return {where: {"term" if name == "plain" else name for name in names}}

    trees = [{name: inner for name, inner in words(lang).tree.items() if name != "phrases"} for lang in LANGUAGES]
    assert blanks(trees[0]) == blanks(trees[1]) == blanks(trees[2])


def test_every_kind_and_purpose_has_its_words() -> None:
    for language in LANGUAGES:
        tree = words(language).tree
        assert set(tree["kinds"]) == {kind.value for kind in Kind}
        assert {purpose for name in PROFILES for purpose in profile(name).purposes.allowed} < set(tree["purposes"])


class Reader(HTMLParser):
    """What a page holds: its elements with their attributes, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta",):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_html_page_is_self_contained_and_accessible(language: str) -> None:
    reader = Reader()
    text = html(page(policy(), FACTS, language))
    reader.feed(text)
    assert reader.open == []
    tags = [tag for tag, _ in reader.found]
    assert not set(tags) & {"script", "link", "img", "iframe", "a"} and "http://" not in text and "https://" not in text
    assert ("html", {"lang": language}) in reader.found
    assert tags.count("h1") == tags.count("main") == tags.count("title") == 1
    assert all(attributes.get("scope") in ("col", "row") for tag, attributes in reader.found if tag == "th")
    ids = [attributes["id"] for _, attributes in reader.found if "id" in attributes]
    labels = {attributes["aria-labelledby"] for _, attributes in reader.found if "aria-labelledby" in attributes}
    assert len(ids) == len(set(ids)) and labels <= set(ids)
    assert "prefers-color-scheme: dark" in text and "color-scheme: light dark" in text


def test_words_of_others_cannot_become_markup() -> None:
    nasty = overridden(
        profile("upcall"), [Override("audio", "*", Term.parse("2 years"), "<b>|*x*|</b> & so on")], "UTC"
    )
    facts = Facts("a", records_emergency="<script>alert(1)</script>")
    assert "<script" not in html(page(nasty, facts, "en")) and "<b>" not in html(page(nasty, facts, "en"))
    assert r"\<b\>\|\*x\*\|\</b\>" in markdown(page(nasty, facts, "en"))


def luminance(colour: str) -> float:
    digits = colour.lstrip("#")
    digits = "".join(digit * 2 for digit in digits) if len(digits) == 3 else digits
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_text_and_lines_have_contrast_in_light_and_dark() -> None:
    colours = r":root \{[^}]*--ink: (#\w+); --paper: (#\w+); --line: (#\w+); --shade: (#\w+)"
    styles = re.findall(colours, html(page(policy(), FACTS, "en")))
    assert len(styles) == 2
    for ink, paper, line, shade in styles:
        for one, other, least in ((ink, paper, 7), (ink, shade, 7), (line, paper, 3)):
            lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
            assert (lighter + 0.05) / (darker + 0.05) >= least
