"""The report of a breach: for the authority (Art. 33(3)) over all tenants, or for one tenant, who is told as our
controller (Art. 33(2)), with that tenant's share alone.

It is made of the case, of what is counted in the store at that moment, and of the measures that the configuration has
in effect. Whether the people have to be told (Art. 34(1)) is a judgement that it leaves to the officer; what it says is
whether the data was unintelligible to who had it (Art. 34(3)(a)), and why.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from gateway.promises.page import Block, Page, Table
from gateway.promises.render import markdown
from gateway.rights.breach import Breach
from storage.exposure import ALL, ROWS, Reach, Touched
from storage.inventory import CLASSES
from storage.model import CallId, TenantId
from storage.signing import canonical
from storage.times import utc

FORMAT = "callvault breach report v1"

REACHED: Mapping[Reach, str] = {
    Reach.OBJECTS: "the object store: sealed slices of sound, named by random ids; no keys",
    Reach.CATALOGUE: "the database: sealed documents and wrapped keys, and in clear random ids, kinds, days and sizes",
    Reach.SPOOL: "the spool of a machine: sealed records of sound; no keys",
    Reach.BACKUP: "a backup: what database, objects and spool hold, as of its day",
    Reach.WITNESS: "the witness: the signed ledger, and key rows, wrapped",
    Reach.QUEUE: "the queue: random ids of calls that wait for transcription",
    Reach.KEYS: "the installation's key provider: keys that open what database and backups hold wrapped",
    Reach.TENANT_KEYS: "key providers of tenants that have their own",
    Reach.MACHINE: "a machine that handles calls: its memory holds keys, and calls as they are spoken",
    Reach.TRANSCRIPTION: "a machine that transcribes: its memory holds keys, and sound and text in clear",
}
"""What each place holds, in words."""


def report(
    id: CallId,
    case: Breach,
    touched: Sequence[Touched],
    names: Mapping[TenantId, str],
    measures: Mapping[str, Sequence[str]],
    now_s: float,
) -> dict[str, Any]:
    """The report as JSON; `touched` are the tenants that it is to name, `measures` are lines by tenant's name."""
    shares = [_share(one, names.get(one.tenant, one.tenant), case) for one in touched]
    opened = [share for share in shares if share["readable"]]
    body: dict[str, Any] = {
        "format": FORMAT,
        "breach": id,
        "made": utc(now_s),
        "known_since": utc(case.aware_s),
        "authority_due": utc(case.due_s),
        "authority_told": None if case.notified_s is None else utc(case.notified_s),
        "late": case.notified_s is not None and case.notified_s >= case.due_s,
        "overdue": case.overdue(now_s),
        "nature": {
            "what": case.texts.get("what", ""),
            "causes": case.texts.get("causes", ""),
            "within_reach": {reach.value: REACHED[reach] for reach in case.scope.reached},
            "since": utc(case.scope.since_s) if case.scope.since_s else None,
            "region": case.scope.region or None,
            "days": [case.scope.first or None, case.scope.last or None],
            "in_clear": _in_clear(case),
        },
        "tenants": shares,
        "totals": {
            "tenants": len(shares),
            "calls": sum(share["calls"] for share in shares),
            "people_at_least": max((share["people_at_least"] for share in shares), default=0),
            "people_at_most": sum(share["people_at_most"] for share in shares),
            "objects": sum(share["objects"] for share in shares),
            "bytes": sum(share["bytes"] for share in shares),
        },
        "keys_exposed": bool(opened),
        "unintelligible": not opened,
        "article_34": _article_34(shares),
        "consequences": case.texts.get("effects", ""),
        "measures": {
            "taken": case.texts.get("taken", ""),
            "standing": {name: list(measures[name]) for name in measures},
        },
        "contact": case.texts.get("contact", ""),
        "missing": [name for name in ("what", "causes", "effects", "taken", "contact") if not case.texts.get(name)],
    }
    return body


def digest(body: Mapping[str, Any]) -> str:
    """What the ledger has of a report."""
    return hashlib.sha256(canonical(dict(body))).hexdigest()


def as_markdown(body: Mapping[str, Any]) -> str:
    """The same for people."""
    nature, totals = body["nature"], body["totals"]
    intro = [
        f"Case {body['breach']}, report of {body['made']}.",
        f"Known since {body['known_since']}; the authority has to be told until {body['authority_due']} (Art. 33(1)).",
        f"Told: {body['authority_told'] or 'not yet'}{', late' if body['late'] else ''}.",
    ]
    intro += [f"Not written yet: {', '.join(body['missing'])} (they may follow, Art. 33(4))."] * bool(body["missing"])
    about = [nature["what"] or "-", f"Causes: {nature['causes'] or 'not known yet'}"]
    about += [f"Within reach: {words}." for words in nature["within_reach"].values()]
    about += [f"Since: {nature['since'] or 'not known'}."]
    about += [f"In clear: {nature['in_clear']}."] * bool(nature["in_clear"])
    blocks = [Block("Nature of the breach (Art. 33(3)(a))", tuple(about))]
    whole = (
        f"{totals['calls']} calls of {totals['tenants']} tenants; between {totals['people_at_least']} and "
        f"{totals['people_at_most']} people; {totals['objects']} objects, {totals['bytes']} bytes.",
        "People stand in sealed data, so they are counted by bounds: at least those of the largest call; at most the"
        " parties of all calls, two where fewer were recorded, as if nobody called twice.",
    )
    blocks += [Block("Data subjects and records concerned", whole, _tenants(body))]
    blocks += [Block(f"Records of {share['tenant']}", tuple(_notes(share)), _kinds(share)) for share in body["tenants"]]
    blocks += [Block("Whether it can be read (Art. 34(3)(a))", (body["article_34"],))]
    blocks += [Block("Likely consequences (Art. 33(3)(c))", (body["consequences"] or "Not assessed yet.",))]
    taken = (body["measures"]["taken"] or "Not written yet.",)
    blocks += [Block("Measures taken (Art. 33(3)(d))", taken)]
    blocks += [
        Block(f"Measures in effect for {name}", tuple(lines)) for name, lines in body["measures"]["standing"].items()
    ]
    blocks += [Block("Contact (Art. 33(3)(b))", (body["contact"] or "Not written yet.",))]
    return markdown(Page("en", "Report of a personal data breach", tuple(intro), tuple(blocks)))


def _share(one: Touched, name: str, case: Breach) -> dict[str, Any]:
    return {
        "tenant": name,
        "id": one.tenant,
        "calls": one.calls,
        "calls_live": one.live,
        "calls_erased_since": one.erased_since,
        "people_at_least": one.people_min,
        "people_at_most": one.people_max,
        "first_day": one.first or None,
        "last_day": one.last or None,
        "objects": sum(kept.objects for kept in one.kinds),
        "bytes": sum(kept.object_bytes + kept.row_bytes for kept in one.kinds),
        "own_key_provider": one.own_keys,
        "readable": one.opens or (bool(ALL & set(case.scope.reached)) and one.live > 0),
        "kinds": [
            {
                **{"kind": kept.kind, "class": CLASSES[kept.kind], "artefacts": kept.artefacts},
                **{"objects": kept.objects, "object_bytes": kept.object_bytes},
                **{"rows": kept.rows, "row_bytes": kept.row_bytes, "readable": kept.opens},
            }
            for kept in one.kinds
        ],
    }


def _in_clear(case: Breach) -> str:
    found = set(case.scope.reached)
    if found & ALL:
        return "everything that the machine worked with"
    if found & ROWS:
        return "random ids of calls and participants, kinds, days, sizes, grounds of holds; no names or numbers"
    return "random ids of calls" if found & {Reach.QUEUE, Reach.WITNESS, Reach.OBJECTS} else ""


def _article_34(shares: Sequence[Mapping[str, Any]]) -> str:
    opened = [share["tenant"] for share in shares if share["readable"]]
    if not opened:
        return (
            "Keys were not exposed together with what they open: everything within reach is sealed by AES-256-GCM under"
            " keys that are wrapped by keys elsewhere. The data is unintelligible to who had it, so Art. 34(3)(a)"
            " applies, as long as the key provider stays safe. What stood in clear is named above."
        )
    return (
        f"Keys and sealed data were within reach together, of: {', '.join(opened)}. The data has to be taken as read,"
        " and Art. 34(3)(a) does not apply to them; whether the risk is high is for the officer to judge."
    )


def _tenants(body: Mapping[str, Any]) -> Table:
    heads = ("Tenant", "Calls", "People", "From", "To", "Objects", "Bytes", "Readable")
    rows = [
        (
            str(one["tenant"]),
            str(one["calls"]),
            f"{one['people_at_least']} to {one['people_at_most']}",
            *(one["first_day"] or "-", one["last_day"] or "-"),
            *(str(one["objects"]), str(one["bytes"])),
            "yes" if one["readable"] else "no",
        )
        for one in body["tenants"]
    ]
    return Table(heads, tuple(rows))


def _kinds(share: Mapping[str, Any]) -> Table:
    heads = ("Kind", "Class", "Artefacts", "Objects", "Bytes", "Readable")
    rows = [
        (
            *(kept["kind"], kept["class"], str(kept["artefacts"]), str(kept["objects"])),
            str(kept["object_bytes"] + kept["row_bytes"]),
            "yes" if kept["readable"] else "no",
        )
        for kept in share["kinds"]
    ]
    return Table(heads, tuple(rows))


def _notes(share: Mapping[str, Any]) -> list[str]:
    lines = ["Its keys are at a provider of its own."] * share["own_key_provider"]
    lines += [f"{share['calls_live']} calls are being spoken now."] * bool(share["calls_live"])
    erased = share["calls_erased_since"]
    gone = (
        f"{erased} calls were erased after the breach began: what was copied of them before needs the destroyed keys."
    )
    return lines + [gone] * bool(erased)
