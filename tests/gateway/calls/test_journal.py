"""The journal: whoever waits shares a transaction, and a failure reaches everyone it concerns."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from contextlib import suppress

import pytest

from gateway.calls.journal import GROUP_MAX, Journal
from storage.errors import Erased, StoreError, Unavailable
from storage.model import CallId, TenantId, new_id
from storage.records import Day, NewCall


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
