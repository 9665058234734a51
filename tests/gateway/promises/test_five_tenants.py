"""Five tenants side by side, each under the policy of a real provider, with the same calls, over thirteen months.

A walk goes from end to end of what they promise and sweeps each night; what opens is looked at a second before each
end, at that second, and after the night's sweep. The ends below are worked out by hand from the published policies.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gateway.operations.sweeper import sweep
from storage.errors import Erased
from storage.ledger import verify_certificate
from storage.model import NO_PARTICIPANT, CallId, CallState, Kind, ParticipantId, TenantId, new_id
from storage.policy.explaining import Because
from storage.policy.library import profile
from storage.policy.overrides import overridden
from storage.rating import BILLING, Direction, Rating
from storage.recordings import Recordings
from storage.records import Derived, Identifier, NewCall, Wanted
from tests.storage.ages import Clock, aged, at
from tests.storage.stores import copy_data, open_at, spool, upload

ZONES = {
    "upcall": "Europe/Amsterdam",
    "speakup": "Europe/Amsterdam",
    "circleloop": "Europe/London",
    "cloudtalk": "UTC",
    "ipcallme": "Europe/Amsterdam",
}
DAYS = ("2026-01-31", "2026-02-28", "2026-10-25")
"""A day that few months have, the last of February, and one on which the clocks go back."""
CONTENT = (Kind.AUDIO, Kind.TRANSCRIPT, Kind.CALL_DETAIL, Kind.IDENTITY)
DETAIL = (Kind.CALL_DETAIL, Kind.IDENTITY)
NUMBER = "+31201234567"

MONTHS_3 = {"2026-01-31": "2026-04-29T23:00", "2026-02-28": "2026-05-27T23:00", "2026-10-25": "2027-01-25T01:00"}
MONTHS_4 = {"2026-01-31": "2026-05-30T23:00", "2026-02-28": "2026-06-27T23:00", "2026-10-25": "2027-02-25T01:00"}
MONTHS_12 = {"2026-01-31": "2027-01-31T00:00", "2026-02-28": "2027-02-28T00:00", "2026-10-25": "2027-10-25T00:00"}
"""Ends in UTC, counted in Amsterdam from the first instant of the UTC day."""

NIGHTS = {"2026-04-29T23:00": "2026-04-30T01:00", "2026-05-27T23:00": "2026-05-28T01:00"}
NIGHTS |= {"2026-05-30T23:00": "2026-05-31T01:00", "2026-06-27T23:00": "2026-06-28T01:00"}
NIGHTS |= {"2027-01-25T01:00": "2027-01-25T02:00", "2027-01-31T00:00": "2027-01-31T02:00"}
NIGHTS |= {"2027-02-25T01:00": "2027-02-25T02:00", "2027-02-28T00:00": "2027-02-28T02:00"}
"""The night that follows each end within the thirteen months: 03:00 in Amsterdam."""

Thing = tuple[str, str, Kind]
"""A tenant's name, the day of a call, and a kind."""


def ends(name: str, day: str, kind: Kind) -> str | None:
    """When it ends, by the provider's words; None: not by itself, or not in these months."""
    if kind is Kind.RATING or name in ("circleloop", "cloudtalk"):
        return None
    if name == "upcall":
        return MONTHS_12[day]
    return MONTHS_3[day] if name == "ipcallme" or kind in DETAIL else MONTHS_4[day]


@dataclass
class History:
    """What the walk has seen. `looks`: (end, moment) → what opened then."""

    store: Recordings
    clock: Clock
    root: Path
    tenants: dict[str, TenantId]
    calls: dict[tuple[str, str], NewCall] = field(default_factory=dict)
    texts: dict[tuple[str, str], Any] = field(default_factory=dict)
    looks: dict[tuple[str, str], set[Thing]] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    keys: dict[str, set[str]] = field(default_factory=dict)

    def record(self, day: str) -> None:
        """The same call of a day for each tenant."""
        self.clock.now_s = at(f"{day}T12:00")
        streams = []
        for name, tenant in self.tenants.items():
            person = ParticipantId(new_id())
            wanted = [Wanted(NO_PARTICIPANT, kind, "quality") for kind in DETAIL]
            wanted += [Wanted(person, Kind.AUDIO, "quality"), Wanted(NO_PARTICIPANT, Kind.RATING, BILLING)]
            new = self.store.begin(tenant, CallId(new_id()), wanted)
            new = NewCall(tenant, new.call, new.day, new.artefacts, (Identifier("number", NUMBER),))
            self.store.save([new])
            self.calls[name, day] = new
            streams.append((new.find(Kind.AUDIO, person), [b"audio"]))
        spool(self.store, streams)
        for (_, of), new in self.calls.items():
            if of == day:
                rating = Rating(new.day, 60, Direction.IN, "").to_json()
                documents = {new.find(kind).ref.artefact: NUMBER.encode() for kind in DETAIL}
                documents |= {new.find(Kind.RATING).ref.artefact: rating}
                self.store.put_documents(new, documents, CallState.ENDED)
        upload(self.store)
        for (name, of), new in self.calls.items():
            if of == day:
                audio = new.artefacts[2].ref
                text = Derived(audio.participant, Kind.TRANSCRIPT, "quality", b"words")
                (self.texts[name, day],) = self.store.add_derived(new.tenant, new.call, [audio.artefact], [text])

    def opens(self, name: str, day: str, kind: Kind) -> bool:
        new = self.calls[name, day]
        try:
            if kind is Kind.TRANSCRIPT:
                return self.store.document(new.tenant, self.texts[name, day]) == b"words"
            if kind is Kind.AUDIO:
                with self.store.stream(new.tenant, new.artefacts[2].ref.artefact) as stream:
                    return list(stream.read()) == [b"audio"]
            return bool(self.store.document(new.tenant, new.find(kind).ref.artefact))
        except Erased:
            return False

    def open_now(self) -> set[Thing]:
        things = [(*call, kind) for call in self.calls for kind in (*CONTENT, Kind.RATING)]
        return {thing for thing in things if self.opens(*thing)}

    def look(self, end: str, moment: str, *, sweeps: bool) -> None:
        if sweeps:
            self.dropped[f"{end} {moment}"] = sweep(self.store, frozenset).dropped
        self.looks[end, moment] = self.open_now()
        self.keys[f"{end} {moment}"] = {path.stem for path in (self.root / "keys").glob("*.key")}

    def expected(self, now_s: float) -> set[Thing]:
        things = [(*call, kind) for call in self.calls for kind in (*CONTENT, Kind.RATING)]
        return {thing for thing in things if (end := ends(*thing)) is None or now_s < at(end)}

    def certificate(self, name: str, day: str) -> dict[str, Any]:
        new = self.calls[name, day]
        return self.store.certificate(new.tenant, new.call)


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Iterator[History]:
    root, clock = tmp_path_factory.mktemp("five"), Clock(at("2026-01-31T00:00"))
    with aged(root, clock) as store:
        walk = History(store, clock, root, {name: store.tenant(name) for name in ZONES})
        for name, tenant in walk.tenants.items():
            store.adopt(tenant, overridden(profile(name), [], ZONES[name]))
        waiting = list(DAYS)
        for end, night in NIGHTS.items():
            while waiting and waiting[0] < end:
                walk.record(waiting.pop(0))
            if end == "2027-01-31T00:00":
                copy_data(root, "backup")
            clock.now_s = at(end) - 1
            walk.look(end, "before", sweeps=False)
            clock.now_s = at(end)
            walk.look(end, "at", sweeps=True)
            clock.now_s = at(night)
            walk.look(end, "night", sweeps=True)
        yield walk


def test_at_each_step_opens_what_must_and_nothing_else_of_each_tenant(history: History) -> None:
    before = {"2026-01-31", "2026-02-28"}
    for (end, moment), opened in history.looks.items():
        now_s = at(end) - 1 if moment == "before" else at(end)
        there = before if end < "2026-10-25" else set(DAYS)
        assert opened == {thing for thing in history.expected(now_s) if thing[1] in there}, (end, moment)


def test_what_is_over_is_refused_at_the_second_and_destroyed_in_the_night_once_for_a_tenant(history: History) -> None:
    for end in NIGHTS:
        assert history.dropped[f"{end} at"] == 0, "before the night nothing is dropped"
        assert history.dropped[f"{end} night"] > 0
        gone = history.keys[f"{end} at"] - history.keys[f"{end} night"]
        over = {name for name in ZONES for day in DAYS for kind in CONTENT if ends(name, day, kind) == end}
        assert {key.split("-")[0] for key in gone} == {history.tenants[name] for name in over}
        assert len(gone) == len(over), "one key of each tenant, whatever ended of it"


def test_one_tenants_rules_never_touch_anothers_keys(history: History) -> None:
    for name in ("circleloop", "cloudtalk"):
        assert (history.root / "keys" / f"{history.tenants[name]}-content-0.key").exists()
    for name in ZONES:
        assert (history.root / "keys" / f"{history.tenants[name]}-statutory-0.key").exists()


def test_sp_04_recordings_end_after_four_months(history: History) -> None:
    for day in DAYS[:2]:
        new = history.calls["speakup", day]
        assert ("speakup", day, Kind.AUDIO) in history.looks[MONTHS_4[day], "before"]
        assert ("speakup", day, Kind.AUDIO) not in history.looks[MONTHS_4[day], "at"]
        assert list(history.store.objects.list(f"{new.tenant}/{new.call}/")) == []
        certificate = history.certificate("speakup", day)
        assert verify_certificate(certificate, history.store.fingerprint())
        intent, done = (entry["body"] for entry in certificate["entries"])
        assert ["content", "audio", "quality", day] in intent["target"]["buckets"]
        assert done["keys"][0]["name"].startswith(f"{new.tenant}-content-")


def test_sp_05_call_detail_ends_at_three_months_and_the_manifest_survives_without_numbers(history: History) -> None:
    """Looked at again where only the detail has ended: a call of its own, after the walk."""
    store, clock, day = history.store, history.clock, "2027-03-10"
    history.record(day)
    new = history.calls["speakup", day]
    clock.to("2027-06-10T12:00")
    sweep(store, frozenset)
    opened = {kind for kind in (*CONTENT, Kind.RATING) if history.opens("speakup", day, kind)}
    assert opened == {Kind.AUDIO, Kind.TRANSCRIPT, Kind.RATING}
    manifest = json.dumps(store.manifest(new.tenant, new.call))
    assert NUMBER not in manifest and NUMBER[1:] not in manifest
    assert store.find(new.tenant, [Identifier("number", NUMBER)]) == []
    assert len(store.find(history.tenants["circleloop"], [Identifier("number", NUMBER)])) == len(DAYS) + 1
    found = {one.kind: one for one in store.retained(new.tenant, new.call).artefacts}
    gone = found[Kind.CALL_DETAIL].gone
    assert gone is not None and gone.scope == "expiry" and gone.at
    assert found[Kind.AUDIO].gone is None
    assert found[Kind.AUDIO].until_s == at("2027-07-09T23:00")


def test_up_02_at_twelve_months_and_the_nights_sweep_the_key_is_destroyed(history: History) -> None:
    day, tenant = DAYS[0], history.tenants["upcall"]
    assert {("upcall", day, kind) for kind in CONTENT} <= history.looks[MONTHS_12[day], "before"]
    assert not {("upcall", day, kind) for kind in CONTENT} & history.looks[MONTHS_12[day], "at"]
    assert f"{tenant}-content-0" in history.keys[f"{MONTHS_12[day]} at"]
    assert f"{tenant}-content-0" not in history.keys[f"{MONTHS_12[day]} night"]
    new = history.calls["upcall", day]
    with open_at(history.root, data="backup", clock=lambda: at("2026-06-01T00:00")) as restored:
        for kind in DETAIL:
            with pytest.raises(Erased):
                restored.document(tenant, new.find(kind).ref.artefact)
        other = history.calls["circleloop", day]
        assert restored.document(other.tenant, other.find(Kind.IDENTITY).ref.artefact)


def test_cl_03_otherwise_kept_for_account_life_and_flagged(history: History) -> None:
    for name in ("circleloop", "cloudtalk"):
        for opened in history.looks.values():
            assert {(name, DAYS[0], kind) for kind in CONTENT} <= opened
    new = history.calls["circleloop", DAYS[0]]
    audio = next(one for one in history.store.retained(new.tenant, new.call).artefacts if one.kind is Kind.AUDIO)
    (kept,) = audio.kept
    assert audio.until_s is None and kept.explanation.no_time_limit and kept.explanation.source == "CL-03"


def test_sp_06_up_05_rating_outlives_the_call_it_is_of(history: History) -> None:
    for name, years, source in (("speakup", 10, "SP-06"), ("upcall", 7, "UP-05")):
        new = history.calls[name, DAYS[0]]
        assert history.store.call(new.tenant, new.call).state is CallState.ERASED
        assert [one.seconds for one in history.store.ratings.of_month(new.tenant, "2026-01")] == [60]
        ratings = [one for one in history.store.retained(new.tenant, new.call).artefacts if one.kind is Kind.RATING]
        (kept,) = ratings[0].kept
        assert kept.explanation.because is Because.STATUTORY and kept.explanation.source == source
        assert ratings[0].until_s is not None and ratings[0].until_s >= at(f"{2026 + years}-01-31T23:00")
