"""What must be: the calls of some tenants, what keeps each thing of them, and what has been destroyed. Plain Python.

It knows nothing of trees, epochs or rows. A thing is kept by *ways*, one for each purpose and hold; a way ends with its
term, with the drop of all that is kept for the same thing on the same day, or with an erasure that names it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from storage.erasure import Step
from storage.model import NO_PARTICIPANT, ArtefactId, CallId, Kind, ParticipantId, Root, TenantId
from storage.records import Day, NewCall

DAY_S = 86_400
Slot = tuple[Root, Kind, str, Day]


@dataclass(eq=False, slots=True)
class Way:
    """Something that keeps a thing: a purpose or a hold, on the day of the thing."""

    root: Root
    purpose: str
    dropped: bool = False
    buried: bool = False
    destroyed: bool = False


@dataclass(eq=False, slots=True)
class Thing:
    """An artefact."""

    id: ArtefactId
    kind: Kind
    participant: ParticipantId
    day: Day
    content: tuple[bytes, ...]
    ways: list[Way]
    buried: bool = False

    def slot(self, way: Way) -> Slot:
        return way.root, self.kind, way.purpose, self.day

    @property
    def is_content(self) -> bool:
        return self.kind is not Kind.RATING

    @property
    def over(self) -> bool:
        """Whether it is erased for good, whatever the time."""
        return self.buried or all(way.dropped or way.buried for way in self.ways)

    @property
    def destroyed(self) -> bool:
        """Whether no copy of anything may open it any more."""
        return all(way.destroyed for way in self.ways)


@dataclass(eq=False, slots=True)
class Given:
    """A consent."""

    id: str
    participant: ParticipantId
    purpose: str
    stands: bool = True

    def is_by(self, participant: ParticipantId) -> bool:
        """By them, or by the call as a whole."""
        return self.participant in (participant, NO_PARTICIPANT)


@dataclass(eq=False, slots=True)
class Talk:
    """A call."""

    new: NewCall
    numbers: set[str]
    things: list[Thing]
    consents: list[Given] = field(default_factory=list)
    restricted: bool = False

    def withdrawn(self, participant: ParticipantId, purpose: str) -> bool:
        """Whether the last word about a purpose is that it was withdrawn."""
        said = [given for given in self.consents if given.is_by(participant) and given.purpose == purpose]
        return bool(said) and not said[-1].stands

    def overlapped(self, participant: ParticipantId, purpose: str) -> bool:
        """Whether a consent stands that covers one by them, or that one by them would cover."""
        standing = [given.participant for given in self.consents if given.stands and given.purpose == purpose]
        return (
            participant in standing or NO_PARTICIPANT in standing or (participant == NO_PARTICIPANT and bool(standing))
        )

    @property
    def id(self) -> CallId:
        return self.new.call

    def content(self) -> list[Thing]:
        return [thing for thing in self.things if thing.is_content]


@dataclass(eq=False, slots=True)
class Books:
    """What one tenant has; `terms` in days by purpose."""

    id: TenantId
    terms: dict[str, int]
    talks: list[Talk] = field(default_factory=list)
    holds: dict[str, Talk] = field(default_factory=dict)
    closed_s: int | None = None
    """The tenant has left, since then."""
    pending: bool = False
    """A change of epoch was asked for, and is not finished."""
    falling: set[Slot] = field(default_factory=set)
    """Dropped while the epoch still goes on: what comes into them now dies with them."""

    def things(self) -> Iterator[Thing]:
        return (thing for talk in self.talks for thing in talk.things)


class Expected:
    """What of all that lives, at the time that `now` gives."""

    def __init__(self, now: Callable[[], int]) -> None:
        self.now = now

    def ends(self, books: Books, thing: Thing, way: Way) -> int | None:
        """The second from which a way does not count any more; None: no end that this could see."""
        if way.root is not Root.CONTENT:
            return None
        begun = datetime.fromisoformat(thing.day).replace(tzinfo=UTC).timestamp()
        return int(begun) + books.terms[way.purpose] * DAY_S

    def is_due(self, books: Books, thing: Thing, way: Way) -> bool:
        ends = self.ends(books, thing, way)
        return way.dropped or (ends is not None and ends <= self.now())

    def open_ways(self, books: Books, thing: Thing) -> list[Way]:
        if thing.buried:
            return []
        return [way for way in thing.ways if not way.buried and not self.is_due(books, thing, way)]

    def lives(self, books: Books, thing: Thing) -> bool:
        return bool(self.open_ways(books, thing))

    def lives_by_itself(self, books: Books, thing: Thing) -> bool:
        """Not by a hold alone: of what lives so nothing is derived."""
        return any(way.root is not Root.HOLD for way in self.open_ways(books, thing))

    def held(self, books: Books, thing: Thing) -> bool:
        return any(way.root is Root.HOLD for way in self.open_ways(books, thing))

    def found(self, books: Books, number: str) -> list[CallId]:
        """The calls that a search gives, the newest first."""
        return [
            talk.id
            for talk in reversed(books.talks)
            for thing in talk.things
            if thing.kind is Kind.IDENTITY and number in talk.numbers and self.lives(books, thing)
        ]

    # What happens.

    def keep(self, books: Books, thing: Thing, root: Root, purpose: str) -> None:
        """A further way; none if there is one already."""
        if any(way.root is root and way.purpose == purpose and not way.destroyed for way in thing.ways):
            return
        way = Way(root, purpose)
        way.dropped = thing.slot(way) in books.falling
        thing.ways.append(way)

    def consent(self, books: Books, talk: Talk, given: Given) -> None:
        """What somebody has said is kept for one purpose more, unless it was erased for that before."""
        for thing in talk.content():
            if not (given.participant in (NO_PARTICIPANT, thing.participant) and self.lives_by_itself(books, thing)):
                continue
            if thing.ways[0].purpose != given.purpose and not any(
                way.buried and way.purpose == given.purpose for way in thing.ways
            ):
                self.keep(books, thing, Root.CONTENT, given.purpose)
        talk.consents.append(given)

    def bury(self, books: Books, things: Iterable[Thing]) -> None:
        """An erasure names them; what a hold keeps stays."""
        for thing in things:
            if thing.is_content and not self.held(books, thing):
                thing.buried = True

    def bury_participant(self, books: Books, talk: Talk, participant: ParticipantId) -> None:
        self.bury(books, [thing for thing in talk.things if thing.participant in (participant, NO_PARTICIPANT)])

    def bury_purpose(
        self, books: Books, purpose: str, talks: list[Talk] | None, participant: ParticipantId | None = None
    ) -> None:
        """A purpose falls away, for some calls, or one participant of them, or all; days that are over fall whole."""
        today = _day(self.now())
        if talks is None:
            self.drop(
                books, lambda thing, way: way.root is Root.CONTENT and way.purpose == purpose and thing.day < today
            )
        whole, single = [], []
        for talk in books.talks if talks is None else talks:
            for thing in talk.things:
                if participant not in (None, thing.participant):
                    continue
                named = [way for way in thing.ways if way.root is Root.CONTENT and way.purpose == purpose]
                if talks is None and thing.day < today:
                    continue
                if thing.over or not any(not way.buried and not way.destroyed for way in named):
                    continue
                otherwise = [way for way in self.open_ways(books, thing) if way.purpose != purpose]
                if otherwise:
                    single += named
                else:
                    whole.append(thing)
        for thing in whole:
            thing.buried = True
        for way in single:
            way.buried = True

    def drop(self, books: Books, which: Callable[[Thing, Way], bool]) -> None:
        """All that is kept in the same slots dies, and with it what comes there until the epoch has changed."""
        slots = {thing.slot(way) for thing in books.things() for way in thing.ways if which(thing, way)}
        books.falling |= slots
        for thing in books.things():
            for way in thing.ways:
                way.dropped |= thing.slot(way) in slots

    def drop_due(self, books: Books) -> None:
        self.drop(books, lambda thing, way: not way.dropped and self.is_due(books, thing, way))

    def passed(self, books: Books, steps: Iterable[Step], *, finished: bool) -> None:
        """Steps of a change of epoch were made; whether all of them."""
        gone = set(Step) if finished else set(steps)
        if Step.REWRAP in gone:
            books.falling.clear()
        if Step.DESTROY in gone:
            for thing in books.things():
                for way in thing.ways:
                    way.destroyed |= way.dropped or way.buried or thing.buried
        books.pending = Step.SWEEP not in gone


def _day(now_s: float) -> Day:
    return Day(datetime.fromtimestamp(now_s, UTC).date().isoformat())
