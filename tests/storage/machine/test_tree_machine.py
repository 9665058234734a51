"""Whatever happens to a store, in whatever order: what must open opens, what must not does not, from any copy.

`make test` runs a few short histories, the same ones each time. By hand, longer and others each time:
`CALLVAULT_HISTORIES=500 CALLVAULT_STEPS=40 python -m pytest tests/storage/machine -k sqlite`, or `-k postgresql`.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from storage.closings import State
from storage.consents import Consent
from storage.erasure import Step, Target
from storage.errors import AlreadyExists, Erased, Expired, NotFound, OnHold, Refused, Restricted, StoreError
from storage.ledger import verify_certificate
from storage.model import NO_PARTICIPANT, CallId, CallState, Kind, ParticipantId, Root, TenantId, new_id
from storage.policy.library import profile
from storage.policy.model import Policy
from storage.policy.overrides import Override, overridden
from storage.policy.term import Term, Unit
from storage.rating import Rating
from storage.records import STREAMS, Day, Derived, Identifier, NewCall, Wanted
from storage.times import day_of
from tests.storage.machine.expected import DAY_S, Books, Expected, Given, Talk, Thing, Way
from tests.storage.machine.world import World
from tests.storage.postgres import Cluster, needs_postgres
from tests.storage.stores import ACTOR, GROUND, spool, upload

PURPOSES = ("training", "quality")
NUMBERS = ("+31201234567", "+31209876543")
TENANTS = ("acme", "other")
HOLD_GROUND = "dispute"
BACKUPS_MAX = 3
LONGEST_DAYS = 60
RATING = Rating(Day("2027-01-15"), 60).to_json()

HISTORIES = int(os.environ.get("CALLVAULT_HISTORIES", "0"))
STEPS = int(os.environ.get("CALLVAULT_STEPS", "12"))

numbers = st.sampled_from(NUMBERS)
purposes = st.sampled_from(PURPOSES)
crashes = st.one_of(st.none(), st.none(), st.sampled_from(list(Step)))
picks = st.integers(0, 1 << 16)  # of whatever there is then


def policy(terms: dict[str, int]) -> Policy:
    overrides = [Override("*", purpose, Term(Unit.DAYS, days)) for purpose, days in terms.items()]
    return overridden(profile("speakup"), overrides, "UTC")


class TreeMachine(RuleBasedStateMachine):
    """Some tenants' calls, and everything that can happen to them."""

    server: ClassVar[Cluster | None] = None
    """Which has the catalogues; none: SQLite."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.world = World(self.root, self.server)
        self.expected = Expected(self.world.now)
        self.books: list[Books] = []
        self.certified: list[dict[str, Any]] = []
        self.attacked = True
        """Nothing was destroyed since the last attack."""
        self.looks = 0

    @initialize(talks=st.lists(st.tuples(picks, purposes, st.integers(0, 1), numbers), min_size=4, max_size=6))
    def begin(self, talks: list[tuple[int, str, int, str]]) -> None:
        for name in TENANTS:
            books = Books(self.world.store.tenant(name), dict.fromkeys(PURPOSES, LONGEST_DAYS))
            self.world.store.adopt(books.id, policy(books.terms))
            self.books.append(books)
        for talk in talks:
            self.record(*talk)

    def teardown(self) -> None:
        self.world.close()
        shutil.rmtree(self.root)

    # What is there to choose from.

    def pick_books(self, pick: int) -> Books:
        return self.books[pick % len(self.books)]

    def pick_talk(self, pick: int) -> tuple[Books, Talk]:
        found = [(books, talk) for books in self.books for talk in books.talks]
        return found[pick % len(found)]

    def has_calls(self) -> bool:
        return any(books.talks for books in self.books)

    # In.

    @rule(pick=picks, purpose=purposes, tracks=st.integers(0, 2), number=numbers)
    def record_call(self, pick: int, purpose: str, tracks: int, number: str) -> None:
        try:
            self.record(pick, purpose, tracks, number)
        except Refused:
            assert self.pick_books(pick).closed_s is not None
        else:
            assert self.pick_books(pick).closed_s is None

    def record(self, pick: int, purpose: str, tracks: int, number: str) -> None:
        books, store = self.pick_books(pick), self.world.store
        wanted = [Wanted(ParticipantId(new_id()), Kind.AUDIO, purpose) for _ in range(tracks)]
        wanted += [Wanted(NO_PARTICIPANT, kind, purpose) for kind in (Kind.IDENTITY, Kind.CALL_DETAIL)]
        begun = store.begin(books.id, CallId(new_id()), wanted)
        new = NewCall(begun.tenant, begun.call, begun.day, begun.artefacts, (Identifier("number", number),))
        store.save([new])
        things, documents = [], {}
        for artefact in new.artefacts:
            ref, words = artefact.ref, f"{artefact.ref.kind} of {new.call}".encode()
            if ref.kind in STREAMS:
                content: tuple[bytes, ...] = (words, b"and more", new_id().encode())
            else:
                content = (words,)
                documents[ref.artefact] = words
            things.append(Thing(ref.artefact, ref.kind, ref.participant, new.day, content, []))
        streams = [artefact for artefact in new.artefacts if artefact.ref.kind in STREAMS]
        spool(store, [(artefact, things[at].content) for at, artefact in enumerate(streams)])
        store.put_documents(new, documents, CallState.ENDED)
        upload(store)
        for thing in things:
            self.expected.keep(books, thing, Root.CONTENT, purpose)
        books.talks.append(Talk(new, {number}, things))

    @precondition(has_calls)
    @rule(
        pick=picks,
        source=picks,
        purpose=purposes,
        kind=st.sampled_from([Kind.TRANSCRIPT, Kind.RATING]),
        large=st.booleans(),
    )
    def derive(self, pick: int, source: int, purpose: str, kind: Kind, large: bool) -> None:
        books, talk = self.pick_talk(pick)
        self.derive_from(books, talk, talk.things[source % len(talk.things)], purpose, kind, large=large)

    def derive_from(self, books: Books, talk: Talk, of: Thing, purpose: str, kind: Kind, *, large: bool) -> None:
        data = RATING if kind is Kind.RATING else (b"words " * (4000 if large else 1)) + new_id().encode()
        item = Derived(of.participant, kind, "billing" if kind is Kind.RATING else purpose, data)
        if any((thing.participant, thing.kind) == (of.participant, kind) for thing in talk.things):
            return
        try:
            (made,) = self.world.store.add_derived(books.id, talk.id, [of.id], [item])
        except Restricted:
            assert talk.restricted
            return
        except Erased:
            assert not self.expected.lives_by_itself(books, of) or talk.withdrawn(of.participant, item.purpose)
            return
        assert self.expected.lives_by_itself(books, of) and not talk.restricted
        assert not talk.withdrawn(of.participant, item.purpose)
        thing = Thing(made, kind, of.participant, day_of(self.world.now_s), (data,), [])
        self.expected.keep(books, thing, Root.STATUTORY if kind is Kind.RATING else Root.CONTENT, item.purpose)
        if thing.is_content:  # what is made of a held call is held
            for hold in [hold for hold, held in books.holds.items() if held is talk]:
                self.expected.keep(books, thing, Root.HOLD, hold)
            for given in talk.consents:
                if given.stands and given.is_by(of.participant) and given.purpose != purpose:
                    self.expected.keep(books, thing, Root.CONTENT, given.purpose)
        talk.things.append(thing)

    @precondition(has_calls)
    @rule(pick=picks, number=numbers)
    def identify(self, pick: int, number: str) -> None:
        books, talk = self.pick_talk(pick)
        identity = next(thing for thing in talk.things if thing.kind is Kind.IDENTITY)
        try:
            self.world.store.identify(talk.new, [Identifier("number", number)])
        except Erased:
            assert not self.expected.lives(books, identity)
        else:
            assert self.expected.lives(books, identity)
            talk.numbers.add(number)

    @precondition(has_calls)
    @rule(pick=picks, who=picks, purpose=purposes)
    def consent(self, pick: int, who: int, purpose: str) -> None:
        books, talk = self.pick_talk(pick)
        participant = talk.things[who % len(talk.things)].participant
        said = Consent(purpose, "version 1", participant=participant)
        try:
            given = self.world.store.consents.record(books.id, talk.id, said, ACTOR)
        except Erased:
            assert all(thing.over for thing in talk.content())
            return
        except AlreadyExists:
            assert talk.overlapped(participant, purpose)
            return
        assert not talk.overlapped(participant, purpose)
        self.expected.consent(books, talk, Given(given, participant, purpose))

    @precondition(lambda self: any(self.standing_consents()))
    @rule(pick=picks, crash=crashes)
    def withdraw(self, pick: int, crash: Step | None) -> None:
        standing = list(self.standing_consents())
        books, talk, given = standing[pick % len(standing)]
        consents = self.world.store.consents
        crash = None if books.pending else crash
        self.attacked = False

        def act() -> None:
            erasure = consents.request(books.id, talk.id, given.id, how="", actor=ACTOR)
            self.certified.append(self.world.eraser.finish(books.id, erasure))

        done = self.world.act(act, crash)
        given.stands = False
        who = None if given.participant == NO_PARTICIPANT else given.participant
        self.expected.bury_purpose(books, given.purpose, [talk], who)
        self.expected.passed(books, self.world.steps, finished=done)
        for thing in [thing for thing in talk.content() if given.is_by(thing.participant)]:
            self.derive_from(books, talk, thing, given.purpose, Kind.SPANS, large=False)

    def standing_consents(self) -> Iterator[tuple[Books, Talk, Given]]:
        for books in self.books:
            for talk in books.talks:
                for given in talk.consents:
                    if given.stands:
                        yield books, talk, given

    @precondition(has_calls)
    @rule(pick=picks)
    def restrict(self, pick: int) -> None:
        books, talk = self.pick_talk(pick)
        try:
            self.world.store.restrictions.place(books.id, talk.id, HOLD_GROUND, ACTOR)
        except Erased:
            assert all(thing.over for thing in talk.content())
        except AlreadyExists:
            assert talk.restricted
        else:
            assert not talk.restricted
            talk.restricted = True

    @precondition(lambda self: any(talk.restricted for books in self.books for talk in books.talks))
    @rule(pick=picks)
    def lift(self, pick: int) -> None:
        restricted = [(books, talk) for books in self.books for talk in books.talks if talk.restricted]
        books, talk = restricted[pick % len(restricted)]
        self.world.store.restrictions.lift(books.id, talk.id, ACTOR)
        talk.restricted = False

    @precondition(has_calls)
    @rule(pick=picks)
    def hold(self, pick: int) -> None:
        books, talk = self.pick_talk(pick)
        living = [thing for thing in talk.content() if self.expected.lives(books, thing)]
        if not living:
            return
        hold = self.world.store.holds.place(books.id, [talk.id], HOLD_GROUND, ACTOR)
        for thing in living:
            self.expected.keep(books, thing, Root.HOLD, hold)
        books.holds[hold] = talk

    # Out.

    def erase(self, books: Books, target: Target, crash: Step | None, effects: Callable[[], object]) -> None:
        """Erases and says what must have come of it; what is refused has no effect."""
        crash = None if books.pending else crash
        self.attacked = False

        def act() -> None:
            self.certified.append(self.world.eraser.erase(books.id, target, GROUND, ACTOR))

        done = self.world.act(act, crash)
        effects()
        self.expected.passed(books, self.world.steps, finished=done)

    def erase_some(
        self, books: Books, target: Target, crash: Step | None, meant: Sequence[Thing], effects: Callable[[], object]
    ) -> None:
        """The same for artefacts: refused if one is held, and perhaps if none is alive."""
        held = [thing for thing in meant if self.expected.held(books, thing)]
        alive = [thing for thing in meant if self.expected.lives(books, thing)]
        try:
            self.erase(books, target, crash, effects)
        except OnHold as refused:
            assert held and HOLD_GROUND in str(refused)
        except (Erased, NotFound):
            assert not alive
        else:
            assert not held

    @precondition(has_calls)
    @rule(pick=picks, which=picks, crash=crashes)
    def erase_artefact(self, pick: int, which: int, crash: Step | None) -> None:
        books, talk = self.pick_talk(pick)
        thing = talk.content()[which % len(talk.content())]
        target = Target.of_artefacts(talk.id, [thing.id])
        self.erase_some(books, target, crash, [thing], lambda: self.expected.bury(books, [thing]))

    @precondition(has_calls)
    @rule(pick=picks, which=picks, crash=crashes)
    def erase_participant(self, pick: int, which: int, crash: Step | None) -> None:
        books, talk = self.pick_talk(pick)
        who = talk.things[which % len(talk.things)].participant
        meant = [thing for thing in talk.content() if thing.participant in (who, NO_PARTICIPANT)]
        if not any(self.expected.lives(books, thing) for thing in meant if thing.participant == who):
            return
        target = Target.of_participant(talk.id, who)
        self.erase_some(books, target, crash, meant, lambda: self.expected.bury_participant(books, talk, who))

    @precondition(has_calls)
    @rule(pick=picks, crash=crashes)
    def erase_call(self, pick: int, crash: Step | None) -> None:
        books, talk = self.pick_talk(pick)
        meant = talk.content()
        self.erase_some(books, Target.of_call(talk.id), crash, meant, lambda: self.expected.bury(books, meant))

    @precondition(has_calls)
    @rule(pick=picks, number=numbers, crash=crashes)
    def erase_person(self, pick: int, number: str, crash: Step | None) -> None:
        books, _ = self.pick_talk(pick)
        found = set(self.expected.found(books, number))
        if not found:
            return
        meant = [thing for talk in books.talks if talk.id in found for thing in talk.things]
        self.erase(books, Target.of_person(sorted(found)), crash, lambda: self.expected.bury(books, meant))

    @precondition(has_calls)
    @rule(pick=picks, purpose=purposes, everywhere=st.booleans(), crash=crashes)
    def erase_purpose(self, pick: int, purpose: str, everywhere: bool, crash: Step | None) -> None:
        books, talk = self.pick_talk(pick)
        talks = None if everywhere else [talk]
        target = Target.of_purpose(purpose, [] if everywhere else [talk.id])
        self.erase(books, target, crash, lambda: self.expected.bury_purpose(books, purpose, talks))

    @precondition(lambda self: any(books.holds for books in self.books))
    @rule(pick=picks, crash=crashes)
    def release(self, pick: int, crash: Step | None) -> None:
        held = [books for books in self.books if books.holds]
        books = held[pick % len(held)]
        hold = list(books.holds)[pick % len(books.holds)]
        del books.holds[hold]

        def of_hold(_thing: Thing, way: Way) -> bool:
            return way.purpose == hold

        self.erase(books, Target.of_release(hold), crash, lambda: self.expected.drop(books, of_hold))

    @precondition(has_calls)
    @rule(pick=picks, crash=crashes, sure=st.integers(0, 3))
    def close_tenant(self, pick: int, crash: Step | None, sure: int) -> None:
        if sure:
            return
        books = self.pick_books(pick)

        def of_content(_thing: Thing, way: Way) -> bool:
            return way.root is Root.CONTENT

        self.erase(books, Target.of_tenant(), crash, lambda: self.expected.drop(books, of_content))

    @rule(pick=picks, crash=crashes)
    def rotate(self, pick: int, crash: Step | None) -> None:
        books = self.pick_books(pick)
        self.attacked = False
        done = self.world.act(lambda: self.world.eraser.rotate(books.id), None if books.pending else crash)
        self.expected.passed(books, self.world.steps, finished=done)

    # Time.

    @rule(days=st.integers(1, 40))
    def let_days_pass(self, days: int) -> None:
        self.world.now_s += days * DAY_S

    @rule(seconds=st.integers(1, DAY_S))
    def let_seconds_pass(self, seconds: int) -> None:
        self.world.now_s += seconds

    @rule(crash=crashes)
    def expire(self, crash: Step | None) -> None:
        due = [next(books for books in self.books if books.id == tenant) for tenant in self.world.expiry.due()]
        crash = None if any(books.pending for books in due) else crash
        self.attacked = self.attacked and not due
        done = self.world.act(self.world.expiry.run, crash)
        for books in due if done else due[:1]:  # killed, it comes to no other tenant
            self.expected.drop_due(books)
            self.expected.passed(books, self.world.steps, finished=done)
        if done:
            assert not self.world.expiry.due()

    @rule(pick=picks, purpose=purposes, days=st.integers(2, LONGEST_DAYS))
    def lower_policy(self, pick: int, purpose: str, days: int) -> None:
        books = self.pick_books(pick)
        books.terms[purpose] = min(days, books.terms[purpose])
        self.world.store.adopt(books.id, policy(books.terms))

    @rule(pick=picks, sure=st.integers(0, 3))
    def leave(self, pick: int, sure: int) -> None:
        """The account is closed: no new calls, and what is stored ends by its own terms."""
        books = self.pick_books(pick)
        if sure or books.closed_s is not None:
            return
        self.world.closings.close(books.id, HOLD_GROUND, ACTOR)
        books.closed_s = self.world.now_s

    @precondition(lambda self: any(books.closed_s is not None for books in self.books))
    @rule()
    def come_back(self) -> None:
        for books in [books for books in self.books if books.closed_s is not None]:
            closing = self.world.closings.of(books.id)
            assert closing is not None
            try:
                self.world.closings.reopen(books.id, HOLD_GROUND, ACTOR)
            except Refused:
                assert closing.state is not State.CLOSED or self.world.now_s >= closing.reopens_until_s
            else:
                assert closing.state is State.CLOSED
                books.closed_s = None

    @precondition(lambda self: not any(books.pending for books in self.books))
    @rule()
    def empty_who_has_left(self) -> None:
        """Of a tenant that has nothing left the keys go, too."""
        for closing in self.world.closings.standing():
            self.world.closings.mark(closing, self.world.now_s)
            assert self.world.closings.empty(closing, self.world.now_s) is None
            self.attacked = False

    # The operator.

    @precondition(lambda self: any(books.pending for books in self.books))
    @rule(crash=crashes)
    def resume(self, crash: Step | None) -> None:
        pending = [books for books in self.books if books.pending]
        crash = crash if len(pending) == 1 else None  # else nobody knows whose step it was
        self.attacked = False
        done = self.world.act(self.world.eraser.resume, crash)
        for books in pending:
            self.expected.passed(books, self.world.steps, finished=done)

    @rule()
    def start_again(self) -> None:
        self.world.restart()

    @precondition(lambda self: len(self.world.backups) < BACKUPS_MAX)
    @rule()
    def back_up(self) -> None:
        self.world.back_up()

    # What must be.

    @invariant()
    def what_lives_opens_and_nothing_else_does(self) -> None:
        for books in self.books:
            for talk in books.talks:
                for thing in talk.things:
                    self._open(books, talk, thing)

    def _open(self, books: Books, talk: Talk, thing: Thing) -> None:
        assert_lives = self.expected.lives(books, thing)
        try:
            opened = self._read(books.id, thing, recording=talk.restricted)
        except Erased as error:
            assert not assert_lives, f"{thing} of {talk.id} must open"
            assert isinstance(error, Expired) or thing.over, "only what was erased, or is dropped, is more than expired"
        else:
            assert assert_lives, f"{thing} of {talk.id} must not open"
            assert opened == thing.content
            assert not talk.restricted or self._refuses(books.id, thing, Restricted), "opens though it is restricted"

    @invariant()
    def nothing_opens_for_another_tenant(self) -> None:
        """Of each call one thing, another one after each step."""
        self.looks += 1
        for books in self.books:
            for talk in books.talks:
                thing = talk.things[self.looks % len(talk.things)]
                assert all(self._refuses(other.id, thing, NotFound) for other in self.books if other is not books)

    def _refuses(self, tenant: TenantId, thing: Thing, why: type[StoreError]) -> bool:
        try:
            self._read(tenant, thing)
        except why:
            return True
        return False

    def _read(self, tenant: TenantId, thing: Thing, *, recording: bool = False) -> tuple[bytes, ...]:
        if thing.kind not in STREAMS:
            return (self.world.store.document(tenant, thing.id, recording=recording),)
        with self.world.store.stream(tenant, thing.id, recording=recording) as stream:
            return tuple(stream.read())

    @invariant()
    def search_finds_exactly_what_lives(self) -> None:
        for books in self.books:
            for number in NUMBERS:
                found = self.world.store.find(books.id, [Identifier("number", number)])
                assert [record.id for record in found] == self.expected.found(books, number)

    @invariant()
    def calls_end_with_their_last_content_and_have_a_certificate(self) -> None:
        for books in self.books:
            for talk in books.talks:
                record = self.world.store.call(books.id, talk.id)
                if any(not thing.over for thing in talk.content()):
                    assert record.state is not CallState.ERASED
                elif not books.pending:
                    assert record.state is CallState.ERASED
                    certificate = self.world.store.certificate(books.id, talk.id)
                    assert verify_certificate(certificate, self.world.store.fingerprint())

    @invariant()
    def what_was_said_is_signed(self) -> None:
        with self.world.catalogue.reading() as connection:
            self.world.store._ledger.verify(connection)
        for certificate in self.certified:
            assert verify_certificate(certificate, self.world.store.fingerprint())
        self.certified.clear()

    @invariant()
    def nothing_is_left_of_epochs_that_are_over(self) -> None:
        if any(books.pending for books in self.books):
            return
        for books in self.books:
            assert not any(self.world.leftover_rows(books.id).values())

    @invariant()
    def no_copy_opens_what_was_destroyed(self) -> None:
        if self.attacked:
            return
        self.attacked = True
        recovered = self.world.recovered([books.id for books in self.books])
        for books in self.books:
            for thing in books.things():
                if self.expected.lives(books, thing):
                    assert thing.id in recovered
                if thing.destroyed:
                    assert thing.id not in recovered, f"{thing} opens from a copy"


def histories(few: int) -> settings:
    return settings(
        max_examples=HISTORIES or few,
        stateful_step_count=STEPS,
        derandomize=not HISTORIES,
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],  # a history is short, and to shorten it further takes longer than to read it
    )


def test_whatever_happens_over_sqlite() -> None:
    run_state_machine_as_test(TreeMachine, settings=histories(8))


@needs_postgres
def test_whatever_happens_over_postgresql(postgres: Cluster) -> None:
    class OverPostgres(TreeMachine):
        server = postgres

    run_state_machine_as_test(OverPostgres, settings=histories(1))
