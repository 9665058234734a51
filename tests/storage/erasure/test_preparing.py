"""An erasure of much is prepared in short transactions; calls are saved between them, and nothing of either is lost."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from sqlalchemy import Connection, func, select

from storage.catalogue import Catalogue
from storage.erasure import Eraser, Step, Target
from storage.keycache import KeyCache
from storage.ledger import verify_certificate
from storage.model import TenantId
from storage.providers import open_provider
from storage.recordings import Recordings
from storage.records import Identifier, NewCall
from storage.rewrapping import LEAVES_AT_ONCE
from storage.slices import StreamKey
from storage.tables import artefact_keys, change_steps, nodes, preparations, tags
from tests.storage.erasure.test_scopes import ids, living
from tests.storage.killing import killed_at
from tests.storage.recovering import recover_each
from tests.storage.stores import ACTOR, GROUND, catalogue_url, copy_data, open_at, save_call, stored_call

DAY_S = 86_400
BEGAN_S = 1_800_000_000.0
DAYS = LEAVES_AT_ONCE // 3 + 2
"""A call has leaves of three kinds: so many days are more leaves than one transaction takes."""
NUMBER = Identifier("number", "+31201234567")


class Watched(Catalogue):
    """A catalogue of which somebody is told after each write transaction, with its number."""

    def __init__(self, root: Path, told: Callable[[int], None]) -> None:
        super().__init__(root / "data", catalogue_url(root))
        self._told = told
        self._written = 0

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        with super().writing() as connection:
            yield connection
        self._written += 1
        self._told(self._written)


@dataclass
class Year:
    """Some days of a tenant, each with a call of somebody and a call of somebody else."""

    root: Path
    now_s: float = BEGAN_S
    theirs: list[NewCall] = field(default_factory=list)
    others: list[NewCall] = field(default_factory=list)

    def open(self) -> Recordings:
        return open_at(self.root, clock=lambda: self.now_s)

    def fill(self, store: Recordings, tenant: TenantId) -> None:
        for day in range(DAYS):
            self.now_s = BEGAN_S + day * DAY_S
            self.theirs.append(stored_call(store, tenant))
            self.others.append(stored_call(store, tenant))

    def target(self) -> Target:
        return Target.of_person([call.call for call in self.theirs])

    def eraser(self, store: Recordings, told: Callable[[int], None]) -> Eraser:
        return Eraser(replace(store.erasures._with, catalogue=Watched(self.root, told), pause=lambda _wait_s: None))


def facts_of_rewrap(store: Recordings) -> dict[str, int]:
    with store._catalogue.reading() as connection:
        query = select(change_steps.c.facts).where(change_steps.c.step == Step.REWRAP.value)
        found = json.loads(connection.scalars(query).one())
    return {"leaves_in_it": found["leaves_in_it"], **found["counts"]["content"]}


def rows_below_nothing(store: Recordings) -> int:
    """Keys and tags of leaves that no node is above, and what was noted as prepared."""
    with store._catalogue.reading() as connection:
        there = select(nodes.c.id)
        loose = [
            select(func.count()).select_from(table).where(table.c.leaf.not_in(there)) for table in (artefact_keys, tags)
        ]
        return sum(connection.execute(query).scalar_one() for query in [*loose, select(func.count(preparations.c.id))])


def test_calls_are_saved_while_a_persons_erasure_is_prepared_and_the_last_transaction_stays_short(
    tmp_path: Path,
) -> None:
    year = Year(tmp_path)
    with year.open() as store:
        tenant = store.tenant("acme")
        year.fill(store, tenant)
        copy_data(tmp_path, "backup")
        saved: list[NewCall] = []

        def save(_number: int) -> None:
            saved.append(save_call(store, tenant))

        certificate = year.eraser(store, save).erase(tenant, year.target(), GROUND, ACTOR)
        assert verify_certificate(certificate, store.fingerprint())
        found = facts_of_rewrap(store)
        assert found["leaves_replaced"] == 3 * DAYS > LEAVES_AT_ONCE
        assert 0 < found["leaves_in_it"] <= LEAVES_AT_ONCE
        assert living(store, *year.theirs, *year.others) == ids(
            [item for call in year.others for item in call.artefacts]
        )
        assert len(saved) > DAYS
        for call in saved:
            for artefact in call.artefacts:
                (found_key,) = store.slices.artefact_keys([artefact.ref.artefact]).values()
                assert isinstance(found_key, StreamKey)
                assert found_key.key.reveal() == artefact.key.reveal()
        assert rows_below_nothing(store) == 0
        provider = open_provider(f"file:{tmp_path}/keys", tmp_path / "data")
        recovered = recover_each(tmp_path, ["backup", "data"], provider, [tenant])
        assert recovered == ids([item for call in [*year.others, *saved] for item in call.artefacts])


def test_a_leaf_that_changed_between_preparation_and_commit_is_done_again(tmp_path: Path) -> None:
    year = Year(tmp_path)
    with year.open() as store:
        tenant = store.tenant("acme")
        year.fill(store, tenant)
        done: list[int] = []

        def identify(_number: int) -> None:
            with store._catalogue.reading() as connection:
                begun = connection.scalar(select(func.count(preparations.c.id)))
            if begun and not done:
                done.append(1)
                for call in year.others:  # each is in a leaf that is replaced, prepared or not
                    store.identify(call, [NUMBER])

        year.eraser(store, identify).erase(tenant, year.target(), GROUND, ACTOR)
        assert done
        found = facts_of_rewrap(store)
        assert found["tags_moved"] >= DAYS
        assert {record.id for record in store.find(tenant, [NUMBER])} == {call.call for call in year.others}
        assert living(store, *year.others) == ids([item for call in year.others for item in call.artefacts])
        assert rows_below_nothing(store) == 0


def test_killed_while_it_is_prepared_the_next_start_clears_that_and_finishes(tmp_path: Path) -> None:
    year = Year(tmp_path)
    with year.open() as store:
        tenant = store.tenant("acme")
        year.fill(store, tenant)

    def kill_in_preparation(store: Recordings) -> None:
        def kill(_number: int) -> None:
            with store._catalogue.reading() as connection:
                if connection.scalar(select(func.count(preparations.c.id))):
                    os.kill(os.getpid(), signal.SIGKILL)

        year.eraser(store, kill).erase(tenant, year.target(), GROUND, ACTOR)

    killed_at(Step.SWEEP, tmp_path, kill_in_preparation)
    with year.open() as store:
        left = ids([item for call in year.others for item in call.artefacts])
        assert rows_below_nothing(store) > 0
        assert living(store, *year.theirs, *year.others) == left
        assert store.resume_erasures() == 1
        assert living(store, *year.theirs, *year.others) == left
        assert rows_below_nothing(store) == 0
        assert verify_certificate(store.certificate(tenant, year.theirs[0].call), store.fingerprint())


def test_opened_keys_outlast_a_fence_as_far_as_they_are_still_in_the_tree() -> None:
    held = KeyCache(8)
    held.put("acme", 1, {"a": b"1", "b": b"2"})
    asked: list[int] = []

    def living() -> list[str]:
        asked.append(1)
        return ["b", "c"]

    held.pass_fence("acme", 1, living)
    assert not asked
    assert held.get_each("acme", 1, ["a", "b"]) == {"a": b"1", "b": b"2"}
    held.pass_fence("acme", 2, living)
    assert held.get_each("acme", 2, ["a", "b", "c"]) == {"b": b"2"}
    assert held.get("acme", 1, "a") is None
    held.pass_fence("acme", 1, living)  # by a snapshot of before
    assert held.get("acme", 2, "b") == b"2"
    assert len(asked) == 1
