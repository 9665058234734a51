"""The record of processing (Art. 30(1) and (2) GDPR) with the annex of measures (Art. 32), made of what is in effect.

Nothing is written by hand: names are those of the configuration, terms those of the policy, recipients and places those
that data goes to, measures those that are switched on. What the article asks for and the configuration does not say
stands under its own heading, and in `gaps`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from gateway.config import Settings
from gateway.policy import Organisation, Tenant
from gateway.processors import register
from gateway.promises.measures import HEADINGS, Live
from gateway.promises.page import (
    VERSION_DIGITS,
    Block,
    Facts,
    Page,
    Table,
    closing_block,
    kept_block,
    processors_block,
    statutory_block,
    version_of,
)
from gateway.promises.recipients import outside, places
from gateway.promises.render import html, markdown
from gateway.promises.words import Words, words
from storage.policy.model import Answers
from storage.recordings import Recordings

FORMAT = "callvault record of processing v1"


@dataclass(frozen=True, slots=True)
class Record:
    """The record in one language: its page, its measures by heading and name, and what is missing."""

    page: Page
    tenant: str
    version: str
    measures: Mapping[str, Mapping[str, tuple[str, ...]]]
    gaps: tuple[str, ...]

    def to_json(self) -> str:
        """For programs: the same texts, and each measure by its name."""
        body: dict[str, Any] = {"format": FORMAT, "tenant": self.tenant, "policy": self.version}
        body |= {"language": self.page.language, "gaps": list(self.gaps), "measures": self.measures}
        body["blocks"] = [asdict(block) for block in self.page.blocks]
        return json.dumps(body, ensure_ascii=False, indent=2) + "\n"


def record(live: Live, language: str) -> Record:
    """The record of a tenant, in one of `words.LANGUAGES`."""
    say = words(language, "record")
    facts, version = Facts.of(live.tenant), version_of(live.policy)[:VERSION_DIGITS]
    gaps = _gaps(live, say)
    intro = (say("record.made", tenant=live.tenant.name, version=version),)
    blocks = [_who(live, say), _why(live, say), _people(live, say), kept_block(live.policy, facts, say)]
    blocks += [*statutory_block(live.policy, say), closing_block(live.policy, say)]
    others = processors_block(register(live.settings, live.tenant), say)
    blocks += [_recipients(live, say), others, _transfers(live, say)]
    measures: dict[str, dict[str, tuple[str, ...]]] = {}
    for heading, told in HEADINGS.items():
        lines: dict[str, tuple[str, ...]] = {}
        for name, filled in told(live):
            lines[name] = (*lines.get(name, ()), say(f"measures.{name}", **filled))
        measures[heading] = lines
        texts = tuple(text for group in lines.values() for text in group)
        blocks.append(Block(say("record.annex", heading=say(f"headings.{heading}")), texts))
    blocks += [Block(say("record.gaps"), gaps)] if gaps else []
    page = Page(language, say("record.title"), intro, tuple(blocks))
    return Record(page, live.tenant.name, version, measures, gaps)


def live_of(recordings: Recordings, settings: Settings, tenant: Tenant) -> Live:
    """What is in effect for a tenant, by its settings and by the store."""
    kept = recordings.safekeeping
    policy = recordings.policy(recordings.tenant(tenant.name))
    return Live(settings, tenant, policy, kept.last_entry("backup"), kept.last_entry("restored"))


def measures_of(live: Live, language: str = "en") -> list[str]:
    """All lines of the annex, as the report of a breach names them."""
    found = record(live, language).measures
    return [text for lines in found.values() for group in lines.values() for text in group]


FORMATS: Mapping[str, Callable[[Record], str]] = {
    "md": lambda found: markdown(found.page),
    "html": lambda found: html(found.page),
    "json": Record.to_json,
}


def _roles(live: Live) -> list[tuple[str, Organisation]]:
    """Who is controller and who processor: whoever the policy says decides what calls are recorded for."""
    theirs = live.policy.law.controller is Answers.CUSTOMER
    mine, tenant = live.settings.operator, live.tenant.organisation
    return [("controller", tenant if theirs else mine), ("processor", mine if theirs else tenant)]


def _who(live: Live, say: Words) -> Block:
    unsaid = say("record.unsaid")
    rows = tuple(
        (say(f"record.{role}"), *(text or unsaid for text in (who.name, who.contact, who.representative, who.officer)))
        for role, who in _roles(live)
    )
    columns = tuple(say(f"record.{name}") for name in ("role", "name", "contact", "representative", "officer"))
    return Block(say("record.who"), (say(f"responsible.{live.policy.law.controller.value}"),), Table(columns, rows))


def _why(live: Live, say: Words) -> Block:
    tenant, policy = live.tenant, live.policy
    lines = [say("record.handled")]
    if tenant.stores:
        lines += [say("record.recorded", purpose=say.purpose(tenant.purpose))]
        lines += [say("record.announced" if tenant.announcement else "record.unannounced")]
        lines += [say("record.transcribed")] * tenant.transcribe + [say("record.rated")] * tenant.rating
        lines += [say("recording.emergency_recorded", reason=tenant.record_emergency)] * bool(tenant.record_emergency)
    else:
        lines += [say("record.nothing")]
    allowed = say.listed([say.purpose(purpose) for purpose in policy.purposes.allowed])
    return Block(say("record.why"), (*lines, say("record.allowed", purposes=allowed)))


def _people(live: Live, say: Words) -> Block:
    lines = [say("record.parties"), say("record.users")]
    if live.tenant.stores:
        lines += [say("record.keys" if live.tenant.dtmf == "keep" else "record.no_keys")]
        days = live.tenant.telemetry_days
        lines += [
            say("record.telemetry", plain=say.counted("units", days, "day")) if days else say("record.no_telemetry")
        ]
    return Block(say("record.people"), tuple(lines))


def _recipients(live: Live, say: Words) -> Block:
    lines = []
    for one in live.tenant.destinations:
        parts = say.listed([say(f"shares.{part.value}") for part in one.parts])
        until = say("record.until", day=one.until.isoformat()) if one.until else ""
        lines.append(say("record.destination", to=one.to, parts=parts, by=one.authorised_by, until=until))
    lines += [
        say("others.processor", what=say.phrase(row.what), **say.periods(row.term)) for row in live.policy.processors
    ]
    days = live.tenant.notice_days
    lines += [say("record.notice", plain=say.counted("units", days, "day")) if days else say("record.notice_none")]
    lines += [say("record.authorities")]
    return Block(say("record.recipients"), tuple(lines))


def _transfers(live: Live, say: Words) -> Block:
    rows = tuple(
        (say(f"parts.{place.part.value}"), place.name, place.region or say("record.region_unknown"))
        for place in places(live.settings, live.tenant)
    )
    table = Table(tuple(say(f"record.{name}") for name in ("part", "place", "region")), rows)
    away = outside(live.settings, live.tenant)
    known = [f"{say(f'parts.{place.part.value}')} ({place.region})" for place in away if place.region]
    others = [entry for entry in register(live.settings, live.tenant) if entry.region and not entry.in_eea]
    known += [f"{entry.company} ({entry.region})" for entry in others]
    lines = [say("record.transfer", places=say.listed(known))] if known else []
    lines += [say("record.transfer_unknown")] * any(not place.region for place in away)
    lines += [say("record.transfer_none")] * (not away and not others)
    rule = say.listed(list(live.tenant.regions))
    lines += [say("record.regions", regions=rule) if live.tenant.regions else say("record.anywhere")]
    lines += [say("record.destinations_where")] * bool(live.tenant.destinations)
    return Block(say("record.transfers"), tuple(lines), table)


def _gaps(live: Live, say: Words) -> tuple[str, ...]:
    """What Art. 30(1)(a), (e), (2)(a), (c) ask for; a representative and an officer are not everybody's."""
    found = []
    for role, who in _roles(live):
        missing = [name for name in ("name", "contact") if not getattr(who, name)]
        found += [say("record.gap_who", role=say(f"record.{role}"), what=say(f"record.{name}")) for name in missing]
    if any(not place.region for place in outside(live.settings, live.tenant)):
        found.append(say("record.gap_region"))
    return tuple(found)
