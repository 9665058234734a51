"""The journal: whoever waits shares a transaction, and a failure reaches everyone it concerns."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from gateway.calls.journal import GROUP_MAX, Journal
from storage.content import DOCUMENT_BYTES_MAX
from storage.errors import Erased, Refused, StoreError, Unavailable
from storage.model import NO_PARTICIPANT, CallId, CallState, Kind, TenantId, new_id
from storage.recordings import Recordings
from storage.records import Change, Day, NewCall, Wanted
from tests.gateway.store import opened


def new_call() -> NewCall:
    return NewCall(TenantId(new_id()), CallId(new_id()), Day("2026-01-01"), ())


class Book:
    """Keeps what it is given; the first transaction takes until it is let go."""

    def __init__(self, fail: bool = False) -> None:
        self.groups: list[list[CallId]] = []
        self.go = threading.Event()
        self.fail = fail
        self.erased: set[CallId] = set()

    def save(self, calls: Sequence[NewCall]) -> list[StoreError | None]:
        self.go.wait(5)
        self.groups.append([call.call for call in calls])
        if self.fail:
            raise Unavailable("disk full")
        return [Erased("erased") if call.call in self.erased else None for call in calls]


class Faulty(Book):
    """Has a fault that some entries bring out."""

    def save(self, calls: Sequence[NewCall]) -> list[StoreError | None]:
        if any(call.call in self.erased for call in calls):
            raise ZeroDivisionError
        return super().save(calls)


async def saved(book: Book, count: int) -> list[BaseException | None]:
    journal = Journal(book.save)
    runner = asyncio.create_task(journal.run())
    tasks = [asyncio.create_task(journal.write(new_call())) for _ in range(count)]
    await asyncio.sleep(0.05)
    book.go.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    runner.cancel()
    with suppress(asyncio.CancelledError):
        await runner
    return results


def test_calls_that_wait_share_the_next_transaction() -> None:
    book = Book()
    assert asyncio.run(saved(book, 50)) == [None] * 50
    assert len(book.groups) <= 2


def test_a_group_is_bounded_and_nothing_is_saved_twice() -> None:
    book = Book()
    asyncio.run(saved(book, GROUP_MAX + 50))
    assert max(len(group) for group in book.groups) <= GROUP_MAX
    everything = [call for group in book.groups for call in group]
    assert len(everything) == len(set(everything)) == GROUP_MAX + 50


def test_a_failure_reaches_every_call_of_the_group() -> None:
    results = asyncio.run(saved(Book(fail=True), 5))
    assert all(isinstance(result, Unavailable) for result in results)
    with pytest.raises(Unavailable):
        raise results[0] or AssertionError


def test_one_refused_entry_does_not_fail_the_others_of_its_group() -> None:
    async def work() -> None:
        book = Book()
        book.go.set()
        journal = Journal(book.save)
        runner = asyncio.create_task(journal.run())
        calls = [new_call() for _ in range(5)]
        book.erased.add(calls[2].call)
        results = await asyncio.gather(*(journal.write(call) for call in calls), return_exceptions=True)
        assert [type(result) for result in results] == [type(None), type(None), Erased, type(None), type(None)]
        runner.cancel()
        with suppress(asyncio.CancelledError):
            await runner

    asyncio.run(work())


def test_a_fault_that_is_no_stores_ends_its_own_entry_and_not_the_journal() -> None:
    async def work() -> None:
        book = Faulty()
        book.go.set()
        journal = Journal(book.save)
        runner = asyncio.create_task(journal.run())
        calls = [new_call() for _ in range(21)]
        book.erased.add(calls[13].call)
        results = await asyncio.gather(*(journal.write(call) for call in calls), return_exceptions=True)
        assert [i for i, result in enumerate(results) if result is not None] == [13]
        assert type(results[13]) is StoreError
        assert sorted(call for group in book.groups for call in group) == sorted(
            call.call for i, call in enumerate(calls) if i != 13
        )
        await journal.write(new_call())
        runner.cancel()
        with suppress(asyncio.CancelledError):
            await runner

    asyncio.run(work())


@pytest.mark.parametrize("way", ["beginnings", "changes"])
def test_a_document_that_is_too_large_is_refused_alone(tmp_path: Path, way: str) -> None:
    async def work(recordings: Recordings) -> None:
        tenant = recordings.tenant("acme")
        recordings.prepare(tenant, ["quality"])
        wanted = [Wanted(NO_PARTICIPANT, Kind.IDENTITY, "quality")]
        calls = [recordings.begin(tenant, CallId(new_id()), wanted) for _ in range(5)]
        documents = {call.call: {call.artefacts[0].ref.artefact: b"{}"} for call in calls}
        documents[calls[3].call] = {calls[3].artefacts[0].ref.artefact: bytes(DOCUMENT_BYTES_MAX + 1)}

        def begin(group: Sequence[NewCall]) -> list[None]:
            recordings.save(group, {key: data for call in group for key, data in documents[call.call].items()})
            return [None] * len(group)

        async def write(call: NewCall) -> None:
            if way == "beginnings":
                await beginnings.write(call)
            else:
                await changes.write(Change(call, documents[call.call], CallState.NO_MEDIA))

        beginnings, changes = Journal(begin, 0.02), Journal(recordings.settle, 0.02)
        if way == "changes":
            recordings.save(calls)
        runners = [asyncio.create_task(journal.run()) for journal in (beginnings, changes)]
        results = await asyncio.gather(*(write(call) for call in calls), return_exceptions=True)
        assert [type(result) for result in results] == [type(None)] * 3 + [Refused, type(None)]
        for call in (*calls[:3], calls[4]):
            assert recordings.document(tenant, call.artefacts[0].ref.artefact) == b"{}"
        for runner in runners:
            runner.cancel()
            with suppress(asyncio.CancelledError):
                await runner

    with opened(tmp_path) as recordings:
        asyncio.run(work(recordings))
