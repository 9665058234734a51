"""The switchboard: who is admitted, what is told to the media worker, and that every call ends in its record."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from gateway.calls.admission import BUSY_SECONDS, Busy
from gateway.calls.announcement import Prompt
from gateway.calls.call import Call, Parties
from gateway.calls.callbook import Beginning, CallBook
from gateway.calls.media_link import File, MediaLink
from gateway.calls.offer import OFFERED
from gateway.calls.switchboard import Switchboard
from gateway.config import Settings
from gateway.events import Hub
from gateway.policy import Tenant
from gateway.tenants import Directory, Match
from media.framelog import NOTHING
from media.messages import Close, Command, Ended, Message, Open, OpenFailed, Played, Quiet, Stats, Update
from media.ports import PortPool
from media.sdp import SessionDescription, parse
from media.timeline import TrackFacts
from storage.errors import Unavailable
from storage.model import ArtefactId, CallId, CallState, Kind, TenantId
from storage.recordings import Recordings
from storage.streams import StreamReader
from tests.gateway.store import opened

OFFER = """v=0
o=- 1 1 IN IP4 {address}
s=-
c=IN IP4 {address}
t=0 0
m=audio 40000 RTP/AVP 8 101
a=rtpmap:101 telephone-event/8000
a=sendonly
a=label:1
m=audio 40002 RTP/AVP 8
a=sendonly
a=label:2
"""
PARTIES = Parties("100", "", "sip:100@test", "200", "sip:200@test", "sip:200@test", "127.0.0.1", "call-id")
NO_FACTS = TrackFacts((), 8000, NOTHING, None, None, 0, (), ())
PORTS = 12_000 + os.getpid() % 80 * 100
"""Other ports for each process that tests run in at the same time, below those that systems give to anybody."""


@dataclass(eq=False)
class Worker(MediaLink):
    """Takes the place of the media process: keeps the commands, and closes legs at once when told to."""

    on_event: Callable[[Message], None]
    commands: list[Command] = field(default_factory=list)
    dead: bool = False
    answers: bool = True
    legs: set[int] = field(default_factory=set)
    pid: int = 0

    @property
    def alive(self) -> bool:
        return not self.dead

    def send(self, command: Command, files: Sequence[File] = ()) -> None:
        self.commands.append(command)
        if isinstance(command, Close) and self.answers:
            asyncio.get_running_loop().call_soon(self.on_event, Ended(command.leg, NO_FACTS.to_json()))

    def kinds(self) -> list[str]:
        return [type(command).__name__ for command in self.commands]


@dataclass
class Bench:
    board: Switchboard
    book: CallBook
    worker: Worker
    recordings: Recordings
    ended: list[str]
    hub: Hub

    def hear(self, stats: Stats) -> None:
        """The worker's statistics."""
        self.board.workers.hear(self.worker, stats, time.monotonic())

    def answer(self, call: Call, offer: SessionDescription | None) -> None:
        self.board.answering(call)
        self.board.answered(call, offer)

    def match(self, **policy: object) -> Match:
        tenant = Tenant.model_validate({"name": "default"} | policy)
        match = Directory(Settings()).find("127.0.0.1", "200")
        assert match is not None
        return Match(match.trunk, tenant)


@asynccontextmanager
async def bench(
    folder: Path,
    save: Callable[[Sequence[Beginning]], Sequence[None]] | None = None,
    store: type[Recordings] = Recordings,
) -> AsyncIterator[Bench]:
    with opened(folder, store) as recordings:
        recordings.prepare(recordings.tenant("default"), ["quality"])
        async with asyncio.TaskGroup() as tasks:
            book = CallBook(recordings, save)
            writing = asyncio.create_task(book.run())
            hub = Hub()
            board = Switchboard(recordings, book, PortPool("127.0.0.1", PORTS, PORTS + 100), hub, tasks)
            worker = Worker(board.on_media)
            board.workers.join(worker)
            ended: list[str] = []
            board.hang_up = ended.append
            yield Bench(board, book, worker, recordings, ended, hub)
            writing.cancel()
            with suppress(asyncio.CancelledError):
                await writing


def offer(address: str = "127.0.0.1") -> SessionDescription:
    return parse(OFFER.format(address=address).encode())


def stats(tick_ms: float = 1.0, *, full: bool = False, lag_ms: float = 0.0, busy: float = 0.1) -> Stats:
    return Stats(tick_ms, tick_ms, 0, 0, lag_ms, 0.0, 0, full, busy)


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


def test_a_call_goes_from_keys_to_release_to_its_record(tmp_path: Path) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            call = b.board.begin(b.match(), offer(), PARTIES)
            b.answer(call, offer())
            assert b.worker.kinds() == ["Open", "Open"]  # nothing may be committed before the key row is durable
            assert call.saved is not None
            await call.saved
            assert b.worker.kinds() == ["Open", "Open", "Release", "Release"]
            assert b.recordings.call(call.tenant, call.id).state is CallState.LIVE
            b.board.end(call, "bye")
            b.board.end(call, "bye")  # once is enough
            await b.board.settled(5)
            assert b.worker.kinds()[4:] == ["Close", "Close"]
            record = b.recordings.call(call.tenant, call.id)
            assert record.state is CallState.NO_MEDIA
            assert b'"from": "100"' in b.recordings.document(call.tenant, record.find(Kind.CALL_DETAIL)[0].ref.artefact)

    run(work())


@pytest.mark.parametrize("policy", ["refuse", "unrecorded"])
def test_a_full_spool_does_what_the_policy_says_and_the_record_says_which(tmp_path: Path, policy: str) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            b.hear(stats(full=True))
            match = b.match(when_full=policy)
            if policy == "refuse":
                with pytest.raises(Busy, match="spool full"):
                    b.board.begin(match, offer(), PARTIES)
                return
            call = b.board.begin(match, offer(), PARTIES)
            b.answer(call, offer())
            assert all(command.sink == {} for command in b.worker.commands if isinstance(command, Open))
            b.board.end(call, "bye")
            await b.board.settled(5)
            record = b.recordings.call(call.tenant, call.id)
            assert record.state is CallState.NOT_RECORDED
            detail = b.recordings.document(call.tenant, record.find(Kind.CALL_DETAIL)[0].ref.artefact)
            assert b'"why": "spool full"' in detail

    run(work())


def test_a_worker_that_ticks_three_quarters_of_the_time_refuses_calls_until_it_is_better(tmp_path: Path) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            for _ in range(BUSY_SECONDS - 1):
                b.hear(stats(busy=0.8))
            b.board.admit(b.match())
            b.hear(stats(busy=0.8))
            with pytest.raises(Busy, match="limit"):
                b.board.admit(b.match())
            b.hear(stats(busy=0.2))
            b.board.admit(b.match())

    run(work())


def test_slow_ticks_without_load_refuse_nobody(tmp_path: Path) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            for _ in range(2 * BUSY_SECONDS):
                b.hear(stats(tick_ms=40.0, busy=0.3))
            assert b.board.admit(b.match()) == ""

    run(work())


def test_a_spool_that_is_two_seconds_behind_refuses_calls(tmp_path: Path) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            b.hear(stats(lag_ms=2100))
            with pytest.raises(Busy, match="spool behind"):
                b.board.admit(b.match())
            b.hear(stats())
            b.board.admit(b.match())

    run(work())


def test_without_a_worker_or_while_draining_calls_are_refused(tmp_path: Path) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            b.worker.dead = True
            with pytest.raises(Busy, match="no media worker"):
                b.board.begin(b.match(), offer(), PARTIES)
            b.worker.dead = False
            b.board.draining = True
            with pytest.raises(Busy, match="shutting down"):
                b.board.begin(b.match(), offer(), PARTIES)

    run(work())


def test_media_from_outside_the_trunks_networks_is_taken_from_nobody(tmp_path: Path) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            call = b.board.begin(b.match(), offer("192.0.2.7"), PARTIES)
            b.answer(call, offer("192.0.2.7"))
            assert [command.remote for command in b.worker.commands if isinstance(command, Open)] == [None, None]
            b.board.end(call, "bye")
            await b.board.settled(5)

    run(work())


@pytest.mark.parametrize(("host", "place"), [("127.0.0.9", ("127.0.0.9", 6100)), ("192.0.2.7", None), ("::1", None)])
def test_reports_are_sent_only_within_the_trunks_networks(
    tmp_path: Path, host: str, place: tuple[str, int] | None
) -> None:
    family = "IP6" if ":" in host else "IP4"
    described = OFFER.format(address="127.0.0.1").replace("a=sendonly", f"a=sendonly\r\na=rtcp:6100 IN {family} {host}")

    async def work() -> None:
        async with bench(tmp_path) as b:
            made = parse(described.encode())
            call = b.board.begin(b.match(), made, PARTIES)
            b.answer(call, made)
            [*told] = {command.reports for command in b.worker.commands if isinstance(command, Open)}
            assert place in told
            assert "192.0.2.7" not in str(told)
            b.board.end(call, "bye")
            await b.board.settled(5)

    run(work())


def test_a_tenant_of_live_events_only_has_no_keys_and_no_record(tmp_path: Path) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            call = b.board.begin(b.match(record="events"), offer(), PARTIES)
            b.answer(call, offer())
            assert call.new is None
            assert [command.sink for command in b.worker.commands if isinstance(command, Open)] == [{}, {}]
            b.board.end(call, "bye")
            await b.board.settled(5)
            assert b.recordings.calls(call.tenant) == []

    run(work())


def test_a_call_that_cannot_be_made_durable_is_hung_up(tmp_path: Path) -> None:
    def fail(group: Sequence[Beginning]) -> Sequence[None]:
        raise Unavailable("disk full")

    async def work() -> None:
        async with bench(tmp_path, fail) as b:
            call = b.board.begin(b.match(), offer(), PARTIES)
            b.answer(call, offer())
            assert call.saved is not None
            assert await call.saved is False
            assert b.ended == [call.id]
            assert b.book.counters["calls_unsaved"] == 1
            b.board.end(call, "local")
            await b.board.settled(5)

    run(work())


def test_a_leg_that_cannot_be_opened_and_a_lost_worker_end_calls_as_interrupted_or_without_media(
    tmp_path: Path,
) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            for trouble in ("leg", "worker"):
                call = b.board.begin(b.match(), offer(), PARTIES)
                b.answer(call, offer())
                assert call.saved is not None
                await call.saved
                if trouble == "leg":
                    b.board.on_media(OpenFailed(call.legs[0].number, "test"))
                else:
                    b.board.on_media_lost(b.worker, None)
                assert call.id in b.ended
                b.board.end(call, "local")
                await b.board.settled(15)
                assert b.recordings.call(call.tenant, call.id).state is CallState.NO_MEDIA  # nothing had come

    run(work())


class Watched(Recordings):
    """Counts who reads back at once."""

    reading = 0
    most = 0

    def stream(self, tenant: TenantId, artefact: ArtefactId, *, recording: bool = False) -> StreamReader:
        self.reading += 1
        self.most = max(self.most, self.reading)
        time.sleep(0.002)
        try:
            return super().stream(tenant, artefact, recording=recording)
        finally:
            self.reading -= 1


def test_calls_that_lose_their_worker_together_are_read_back_one_by_one(tmp_path: Path) -> None:
    async def work() -> None:
        async with bench(tmp_path, store=Watched) as b:
            calls = [b.board.begin(b.match(), offer(), PARTIES) for _ in range(12)]
            for call in calls:
                b.answer(call, offer())
                assert call.saved is not None
            await asyncio.gather(*(call.saved for call in calls if call.saved is not None))
            b.board.on_media_lost(b.worker, None)
            for call in calls:
                b.board.end(call, "local")
            await b.board.settled(10)
            assert b.recordings.live_calls() == []
            assert isinstance(b.recordings, Watched)
            assert b.recordings.most == 1

    run(work())


def test_ports_rest_before_they_are_used_again_and_a_shortage_is_busy(tmp_path: Path) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            calls = []
            with pytest.raises(Busy, match="no ports free"):
                while True:
                    calls.append(b.board.begin(b.match(), offer(), PARTIES))
            assert 1 <= len(calls) <= 25  # two pairs each, of fifty
            for call in calls:
                b.answer(call, offer())
                b.board.end(call, "bye")
            await b.board.settled(10)
            with pytest.raises(Busy, match="no ports free"):
                b.board.begin(b.match(), offer(), PARTIES)

    run(work())


def prompted(b: Bench) -> None:
    b.board.prompts = {"default": Prompt("fingerprint", "nl", 2000, -1)}


def detail_of(b: Bench, call: Call) -> dict[str, Any]:
    record = b.recordings.call(call.tenant, call.id)
    found: dict[str, Any] = json.loads(
        b.recordings.document(call.tenant, record.find(Kind.CALL_DETAIL)[0].ref.artefact)
    )
    return found


def test_an_announcement_is_played_to_every_leg_and_call_detail_says_when(tmp_path: Path) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            prompted(b)
            call = b.board.begin(b.match(), offer(), PARTIES)
            b.answer(call, offer())
            assert b.worker.kinds() == ["Open", "Open", "Play", "Play"]
            assert all(command.announce for command in b.worker.commands if isinstance(command, Open))
            for leg, (start_us, end_us) in zip(call.legs, [(20_000, 2_020_000), (40_000, 2_040_000)], strict=True):
                b.board.on_media(Played(leg.number, start_us, end_us, complete=True))
            b.board.end(call, "bye")
            await b.board.settled(5)
            announced = {
                "prompt": "fingerprint",
                "language": "nl",
                "complete": True,
                "start_ms": 20.0,
                "end_ms": 2040.0,
            }
            assert detail_of(b, call)["announcement"] == announced

    run(work())


def test_a_call_that_ends_during_its_announcement_is_not_recorded(tmp_path: Path) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            prompted(b)
            call = b.board.begin(b.match(), offer(), PARTIES)
            b.answer(call, offer())
            b.board.end(call, "bye")
            for leg in call.legs:
                b.board.on_media(Played(leg.number, 20_000, 900_000, complete=False))
            await b.board.settled(5)
            assert b.recordings.call(call.tenant, call.id).state is CallState.NOT_RECORDED
            detail = detail_of(b, call)
            assert (detail["why"], detail["announcement"]["end_ms"]) == ("hung up during the announcement", None)

    run(work())


def test_a_worker_that_dies_during_the_announcement_leaves_a_record_that_says_so(tmp_path: Path) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            prompted(b)
            call = b.board.begin(b.match(), offer(), PARTIES)
            b.answer(call, offer())
            assert call.saved is not None
            await call.saved
            b.board.on_media_lost(b.worker, None)
            b.board.end(call, "local")
            await b.board.settled(15)
            assert b.recordings.call(call.tenant, call.id).state is CallState.NOT_RECORDED
            assert detail_of(b, call)["why"] == "interrupted before the announcement had ended"

    run(work())


def test_a_track_whose_party_has_heard_the_announcement_is_not_called_unrecorded(tmp_path: Path) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            prompted(b)
            call = b.board.begin(b.match(), offer(), PARTIES)
            b.answer(call, offer())
            b.board.on_media(Played(call.legs[0].number, 20_000, 2_020_000, complete=True))  # kept from here on
            b.board.end(call, "bye")
            b.board.on_media(Played(call.legs[1].number, 20_000, 900_000, complete=False))
            await b.board.settled(5)
            detail = detail_of(b, call)
            assert detail["recorded"] is True
            assert (detail["announcement"]["complete"], detail["announcement"]["end_ms"]) == (False, 2020.0)

    run(work())


def test_a_call_that_cannot_be_reached_by_its_announcement_is_not_recorded(tmp_path: Path) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            prompted(b)
            call = b.board.begin(b.match(), offer(), PARTIES)
            b.answer(call, offer())
            b.board.on_media(Played(call.legs[0].number, 0, 0, complete=False))
            b.board.end(call, "bye")
            await b.board.settled(5)
            assert detail_of(b, call)["why"] == "the announcement could not be played"

    run(work())


@pytest.mark.parametrize("why", ["emergency", "unrecorded", "recording client"])
def test_who_is_not_recorded_or_cannot_be_reached_hears_no_announcement(tmp_path: Path, why: str) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            prompted(b)
            b.hear(stats(full=why == "unrecorded"))
            match = b.match(when_full="unrecorded")
            if why == "recording client":
                match = Match(match.trunk.model_copy(update={"receive_only": True}), match.tenant)
            parties = replace(PARTIES, request_uri="sip:112@test") if why == "emergency" else PARTIES
            call = b.board.begin(match, offer(), parties)
            b.answer(call, offer())
            assert b.worker.kinds() == ["Open", "Open"]
            assert not any(command.announce for command in b.worker.commands if isinstance(command, Open))
            b.board.end(call, "bye")
            await b.board.settled(5)
            duty = {"by": "recording client"} if why == "recording client" else None
            assert detail_of(b, call)["announcement"] == duty

    run(work())


def test_a_call_is_probed_when_all_its_legs_are_silent_and_again_if_it_stands(tmp_path: Path) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            probed: list[CallId] = []
            b.board.probe = probed.append
            call = b.board.begin(b.match(), offer(), PARTIES)
            b.answer(call, offer())
            first, second = call.legs
            b.board.on_media(Quiet(first.number, 0))
            assert probed == []
            b.board.on_media(Quiet(second.number, 0))
            assert probed == [call.id]
            b.board.alive(call.id)
            assert "Update" not in b.worker.kinds()  # it would let another source latch
            for leg in (first, second):  # the worker tells again what lasts
                b.board.on_media(Quiet(leg.number, 0))
            assert probed == [call.id, call.id]
            b.board.end(call, "bye")
            await b.board.settled(5)

    run(work())


def test_a_call_whose_peer_made_no_offer_takes_nothing_until_its_answer_says_from_where(tmp_path: Path) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            call = b.board.begin(b.match(), None, PARTIES)
            b.answer(call, None)
            (opened,) = (command for command in b.worker.commands if isinstance(command, Open))
            assert (opened.remote, opened.codecs) == (None, OFFERED)
            b.board.update(call, offer())
            (update,) = (command for command in b.worker.commands if isinstance(command, Update))
            assert update.remote == ("127.0.0.1", 40000)
            b.board.end(call, "bye")
            await b.board.settled(5)

    run(work())
