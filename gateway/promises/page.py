"""The page "what we keep": everything that a policy in effect says, as headings, paragraphs and tables.

It is made of the policy alone, and of what the tenant has switched on; nothing is written by hand, so it cannot drift.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.policy import Tenant
from gateway.promises.words import Words, words
from storage.model import Kind
from storage.policy.model import ANY, CONTENT, STATUTORY, NoStorage, Policy, Rule
from storage.policy.overrides import TENANT
from storage.policy.reading import as_json
from storage.policy.term import Term
from storage.processor import Processor
from storage.signing import canonical

VERSION_DIGITS = 12
"""Of the digest that the ledger has of this policy: enough to compare by eye."""

_TRANSCRIBED = (Kind.TRANSCRIPT, Kind.REDACTED_TRANSCRIPT, Kind.REDACTED_AUDIO, Kind.SPANS)


@dataclass(frozen=True, slots=True)
class Facts:
    """What of a tenant's settings the page tells beside its policy."""

    tenant: str
    stores: bool = True
    transcribes: bool = True
    keeps_keys: bool = False
    announces: bool = False
    records_emergency: str = ""
    processors: tuple[Processor, ...] = ()

    @classmethod
    def of(cls, tenant: Tenant, processors: Sequence[Processor] = ()) -> Facts:
        """Those of a tenant's settings, and its register of sub-processors."""
        return cls(
            tenant.name,
            tenant.record == "all",
            tenant.transcribe,
            tenant.dtmf == "keep",
            tenant.announcement is not None,
            tenant.record_emergency,
            tuple(processors),
        )

    def makes(self, kind: Kind) -> bool:
        """Whether things of that kind are made at present."""
        if not self.stores or (kind is Kind.DTMF and not self.keeps_keys):
            return False
        return self.transcribes or kind not in _TRANSCRIBED


@dataclass(frozen=True, slots=True)
class Table:
    """Column headings and rows of as many cells."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Block:
    """A heading, a table if it has one, and paragraphs."""

    heading: str
    paragraphs: tuple[str, ...]
    table: Table | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """A whole page in one language."""

    language: str
    title: str
    paragraphs: tuple[str, ...]
    blocks: tuple[Block, ...]


def version_of(policy: Policy) -> str:
    """The policy's digest, as the ledger has it."""
    return hashlib.sha256(canonical(as_json(policy))).hexdigest()


def page(policy: Policy, facts: Facts, language: str) -> Page:
    """The page of a tenant's policy, in one of `words.LANGUAGES`."""
    say = words(language)
    version = version_of(policy)[:VERSION_DIGITS]
    intro = [say("page.made", tenant=facts.tenant, title=say.phrase(policy.title), version=version)]
    intro += [say("page.nothing")] * (not facts.stores) + [say("page.zone", zone=policy.zone)]
    blocks = [
        kept_block(policy, facts, say),
        *_open(policy, say),
        _destroyed(policy, say),
        *statutory_block(policy, say),
    ]
    blocks += [_place(policy, say), _access(policy, say), _recording(policy, facts, say), _rights(policy, say)]
    blocks += [closing_block(policy, say), _others(policy, say), processors_block(facts.processors, say)]
    blocks += [_responsible(policy, say)]
    return Page(language, say("page.title"), tuple(intro), tuple(blocks))


def kept_block(policy: Policy, facts: Facts, say: Words) -> Block:
    """What is kept for how long, a row for each kind and term."""
    rows = [row for kind in CONTENT for row in _rows(policy, kind, facts, say)]
    columns = tuple(say(f"kept.{name}") for name in ("what", "why", "how_long", "ends", "because"))
    rules = [policy.rule(kind, purpose) for kind in CONTENT for purpose in policy.purposes.allowed]
    longest = dict.fromkeys(say.within(rule.most) for rule in rules if not rule.most.open)
    notes = (say("kept.most", terms=say.listed(list(longest))),) if longest else ()
    notes = (*notes, say("kept.changes"))
    return Block(say("kept.heading"), notes, Table(columns, tuple(rows)))


def _rows(policy: Policy, kind: Kind, facts: Facts, say: Words) -> list[tuple[str, ...]]:
    """A row for each term that things of a kind have, with the purposes that have it."""
    purposes: dict[Rule, list[str]] = {}
    for purpose in policy.purposes.allowed:
        purposes.setdefault(policy.rule(kind, purpose), []).append(purpose)
    what = say(f"kinds.{kind.value}") + ("" if facts.makes(kind) else f" ({say('kept.not_made')})")
    rows: list[tuple[str, ...]] = []
    for rule, named in purposes.items():
        whole = len(named) == len(policy.purposes.allowed)
        why = say("purposes.all") if whole else say.listed([say.purpose(purpose) for purpose in named])
        ends = say("kept.open") if rule.term.open else say("kept.at_most", **say.periods(rule.term))
        rows.append((what, why, say.term(rule.term), ends, _because(rule, say)))
    return rows


def _because(rule: Rule, say: Words) -> str:
    if rule.source == TENANT:
        return say("kept.tenant_reason", reason=rule.reason) if rule.reason else say("kept.tenant")
    return say("kept.profile", source=rule.source) if rule.stated else say("kept.unstated")


def _open(policy: Policy, say: Words) -> list[Block]:
    """What has no time limit is flagged by itself."""
    flagged = []
    for kind in CONTENT:
        found = [purpose for purpose in policy.purposes.allowed if policy.rule(kind, purpose).term.open]
        if found:
            some = (
                "" if len(found) == len(policy.purposes.allowed) else f" ({say.listed(list(map(say.purpose, found)))})"
            )
            flagged.append(say(f"kinds.{kind.value}") + some)
    return [Block(say("open.heading"), (say("open.text", kinds="; ".join(flagged)),))] if flagged else []


def _destroyed(policy: Policy, say: Words) -> Block:
    sooner = "any_time" if policy.access.erased_any_time else "on_request"
    names = ("text", "soon", sooner, "beyond", "hold")
    return Block(say("destroyed.heading"), tuple(say(f"destroyed.{name}") for name in names))


def statutory_block(policy: Policy, say: Words) -> list[Block]:
    """What a law obliges to keep; none, or one block."""
    lines: dict[str, None] = {}
    for kind in STATUTORY:
        for purpose in policy.purposes.allowed:
            rule = policy.rule(kind, purpose)
            what, law = say(f"kinds.{kind.value}"), say.phrase(rule.law)
            line = [say("statutory.text", what=what, law=law, **say.periods(rule.term))]
            line += [say("statutory.source", source=rule.source)] * (rule.stated and rule.source != TENANT)
            line += [say("kept.tenant_reason", reason=rule.reason) + "."] * bool(rule.reason)
            line += [say("statutory.elsewhere", who=say.phrase(rule.elsewhere))] * bool(rule.elsewhere)
            only = "" if rule.purpose == ANY else f"{say.purpose(rule.purpose)}: "
            lines[only + " ".join(line)] = None
    return [Block(say("statutory.heading"), tuple(lines))] if lines else []


def _place(policy: Policy, say: Words) -> Block:
    regions = say.listed([say.phrase(name) for name in policy.place.regions])
    lines = [say(f"place.{policy.place.choice.value}", regions=regions)]
    sites = [say.phrase(name) for name in policy.place.sites]
    return Block(say("place.heading"), (*lines, *[say("place.sites", sites=say.listed(sites))] * bool(sites)))


def _access(policy: Policy, say: Words) -> Block:
    lines = [say("access.roles"), *[say("access.second_factor")] * policy.access.second_factor]
    return Block(say("access.heading"), (*lines, say(f"access.{policy.access.support.value}")))


def _recording(policy: Policy, facts: Facts, say: Words) -> Block:
    purposes = [say.purpose(purpose) for purpose in policy.purposes.allowed]
    lines = [say("recording.purposes", purposes=say.listed(purposes))]
    lines += [say("recording.mandatory" if policy.purposes.mandatory else "recording.optional")]
    lines += [say("recording.always" if policy.announcement.always else "recording.not_always")]
    if facts.stores:
        lines += [say("recording.announced" if facts.announces else "recording.unannounced")]
        lines += [say("recording.keys" if facts.keeps_keys else "recording.no_keys")]
    reason = facts.records_emergency
    lines += [say("recording.emergency_recorded", reason=reason) if reason else say("recording.emergency")]
    lines += [say("recording.withheld" if policy.numbers.presentation else "recording.shown")]
    lines += [say("recording.chosen")] * policy.storage.chosen
    offered = policy.storage.without
    lines += [say("recording.no_option" if offered is NoStorage.NONE else f"recording.{offered.value}")]
    return Block(say("recording.heading"), tuple(lines))


def _rights(policy: Policy, say: Words) -> Block:
    asked = policy.requests
    lines = [say("rights.text"), say(f"rights.{asked.answered_by.value}", **say.periods(asked.term))]
    longer = say("rights.extension", **say.periods(asked.extension)) if asked.extension.count else ""
    lines += [longer or say("rights.no_extension")]
    if asked.warn_percent:
        percents = [f"{percent} %" for percent in asked.warn_percent]
        lines += [say("rights.warnings", percents=say.listed(percents))]
    lines += [say("rights.breach", term=say.hours(policy.breach.hours))]
    lines += [say("rights.authority", authority=say.phrase(policy.law.authority))]
    laws = [say.phrase(text) for text in policy.law.texts]
    return Block(say("rights.heading"), (*lines, say("rights.law", laws=say.listed(laws))))


def closing_block(policy: Policy, say: Words) -> Block:
    """What is destroyed when the tenant leaves."""
    closing = policy.closing
    if closing.terms_go_on:
        lines = [say("closing.go_on", **say.periods(closing.grace))]
    else:
        lines = [say("closing.root", **say.periods(closing.grace)) if closing.grace.count else say("closing.root_now")]
    known = say.tree["closing"]["holds"]
    what = say.listed([known.get(name, name) for name in closing.account_holds])
    periods = say.periods(closing.account)
    lines += [
        say("closing.account", what=what, **periods) if closing.account.count else say("closing.account_now", what=what)
    ]
    return Block(say("closing.heading"), tuple(lines))


def _others(policy: Policy, say: Words) -> Block:
    lines = [say(f"others.{policy.statistics.form.value}", count=policy.statistics.minimum)]
    lines += [say("others.logs", **say.periods(policy.logs.term))]
    lines += [say("others.opt_in" if policy.egress.opt_in else "others.no_opt_in")]
    lines += [say("others.processor", what=say.phrase(row.what), **say.periods(row.term)) for row in policy.processors]
    return Block(say("others.heading"), tuple(lines))


def processors_block(register: Sequence[Processor], say: Words) -> Block:
    """The register of sub-processors, as the configuration makes it."""
    if not register:
        return Block(say("processors.heading"), (say("processors.nobody"),))
    columns = ("who", "region", "gets", "how_long", "encryption", "dpa")
    rows = [_row(entry, say) for entry in register]
    table = Table(tuple(say(f"processors.{name}") for name in columns), tuple(rows))
    return Block(say("processors.heading"), (say("processors.text"),), table)


def _row(entry: Processor, say: Words) -> tuple[str, ...]:
    unsaid = say("processors.unsaid")
    region = say("processors.inside" if entry.in_eea else "processors.outside", region=entry.region)
    known = say.tree["processors"]["copies" if entry.is_destination else "what"]
    gets = say.listed([known[name] for name in entry.gets])
    term = say.term(Term.parse(entry.retention)) if entry.retention else unsaid
    return (entry.company or unsaid, region, gets, term, entry.encryption or unsaid, entry.dpa or unsaid)


def _responsible(policy: Policy, say: Words) -> Block:
    return Block(say("responsible.heading"), (say(f"responsible.{policy.law.controller.value}"),))
