"""From what is told of counts nobody works out one below the minimum, whatever else he adds up or takes away."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.statistics.disclosure import COUNT_MIN, Counts, added, disclose


def parts_of(total: int, cells: int) -> Iterator[tuple[int, ...]]:
    """Every way to put `total` calls into so many cells."""
    if cells == 1:
        yield (total,)
        return
    for first in range(total + 1):
        for rest in parts_of(total - first, cells - 1):
            yield (first, *rest)


def told(counts: Counts, count_min: int) -> tuple[object, ...]:
    found = disclose(counts, count_min)
    return (found.total, *(tuple(sorted(table.items())) for table in found.tables.values()))


def numbered(values: tuple[int, ...]) -> dict[str, int]:
    return {str(number): value for number, value in enumerate(values)}


@pytest.mark.parametrize(
    ("count_min", "shape", "total_max"), [(2, (2, 3), 9), (3, (2,), 20), (3, (4,), 14), (3, (2, 3), 11)]
)
def test_whoever_tries_all_counts_that_give_what_is_told_finds_every_small_one_possible(
    count_min: int, shape: tuple[int, ...], total_max: int
) -> None:
    """The strongest reader: he knows the rules, and enumerates. What he cannot tell apart stays together in a group."""
    groups: dict[object, list[tuple[tuple[int, ...], ...]]] = defaultdict(list)
    for total in range(total_max + 1):
        for tables in itertools.product(*(tuple(parts_of(total, cells)) for cells in shape)):
            counts = {str(number): numbered(values) for number, values in enumerate(tables)}
            groups[told(counts, count_min)].append(tables)
    checked = 0
    for shown, members in groups.items():
        assert isinstance(shown, tuple)
        if shown[0] > total_max - 2 * count_min:  # its group goes on beyond what was enumerated
            continue
        for at, table in enumerate(shown[1:]):
            for cell, count in table:
                values = {tables[at][int(cell)] for tables in members}
                assert values >= set(range(count, count + count_min)), (shown, at, cell)
                checked += 1
    assert checked > 20


TABLES = st.lists(st.integers(2, COUNT_MIN + 1), min_size=1, max_size=4)


@st.composite
def counted(draw: st.DrawFn) -> dict[str, dict[str, int]]:
    """Tables of the same calls, with remainders as large as they can be more often than chance would have it."""
    shape = draw(TABLES)
    count = st.one_of(st.integers(0, 4 * COUNT_MIN), st.integers(0, 5).map(lambda n: n * COUNT_MIN + COUNT_MIN - 1))
    tables = [draw(st.lists(count, min_size=cells, max_size=cells)) for cells in shape]
    whole = max(map(sum, tables))
    for values in tables:
        values[draw(st.integers(0, len(values) - 1))] += whole - sum(values)
    return {str(number): numbered(tuple(values)) for number, values in enumerate(tables)}


@given(counted(), st.data())
@settings(max_examples=200, deadline=None)
def test_any_value_below_the_minimum_would_be_told_just_so(
    counts: dict[str, dict[str, int]], data: st.DataObject
) -> None:
    """For a cell that is not told, and any value below the minimum: other counts that have it, and tell the same."""
    shown = disclose(counts)
    hidden = [(name, cell) for name, table in shown.tables.items() for cell, n in table.items() if n == 0]
    if not hidden:
        return
    name, cell = data.draw(st.sampled_from(hidden))
    value = data.draw(st.integers(0, COUNT_MIN - 1))
    for total in range(shown.total, shown.total + COUNT_MIN):
        others = {other: _spread(table, total, {}) for other, table in shown.tables.items() if other != name}
        own = _spread(shown.tables[name], total, {cell: value})
        if own is not None and all(table is not None for table in others.values()):
            witness = {n: own if n == name else others[n] for n in shown.tables}
            assert own[cell] == value
            assert disclose(witness) == shown  # type: ignore[arg-type]  # none of them is None
            return
    pytest.fail("nothing else can have been the case")


def _spread(table: Mapping[str, int], total: int, fixed: Mapping[str, int]) -> dict[str, int] | None:
    """Counts that are rounded to the table's and add up to the total, with these cells as they are; None: there are
    none."""
    counts = dict(table) | dict(fixed)
    rest = total - sum(counts.values())
    if rest < 0:
        return None
    for cell in table:
        if cell not in fixed:
            more = min(rest, COUNT_MIN - 1)
            counts[cell] += more
            rest -= more
    return counts if rest == 0 else None


@given(counted())
def test_what_is_told_was_there_and_is_a_multiple_of_the_minimum(counts: dict[str, dict[str, int]]) -> None:
    shown = disclose(counts)
    for name, table in shown.tables.items():
        assert sum(table.values()) <= shown.total <= sum(counts[name].values())
        for cell, count in table.items():
            assert count <= counts[name][cell]
            assert count % COUNT_MIN == 0
        assert table.keys() == counts[name].keys()


def test_usual_counts_are_told_to_the_ten() -> None:
    shown = disclose({"outcome": {"stored": 503, "interrupted": 3}, "codec": {"PCMA": 420, "PCMU": 86, "OPUS": 0}})
    assert shown.total == 500
    assert shown.tables == {"outcome": {"stored": 500, "interrupted": 0}, "codec": {"PCMA": 420, "PCMU": 80, "OPUS": 0}}


def test_a_total_gives_way_where_it_would_tell_a_cell() -> None:
    """19 and 9 are 28: a total of 20 beside a 10 would say that the 9 is at least 1."""
    shown = disclose({"outcome": {"stored": 19, "interrupted": 9}})
    assert (shown.total, shown.tables["outcome"]) == (10, {"stored": 10, "interrupted": 0})


def test_cells_give_way_with_it() -> None:
    counts = {"one": {"a": 19, "b": 9}, "other": {"a": 20, "b": 8}}
    shown = disclose(counts)
    assert (shown.total, shown.tables) == (10, {"one": {"a": 10, "b": 0}, "other": {"a": 10, "b": 0}})


@pytest.mark.parametrize(
    "counts", [{"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 1}}, {"a": {"x": 5}}, {"a": numbered((0,) * 12)}, {}]
)
def test_tables_that_it_does_not_hold_for_are_refused(counts: Counts) -> None:
    with pytest.raises(ValueError, match="same calls"):
        disclose(counts)


def test_a_month_of_days_tells_what_the_days_do() -> None:
    days = [disclose({"outcome": {"stored": n, "interrupted": 4}}) for n in (12, 25, 3)]
    assert added(days).total == sum(day.total for day in days)
    assert added(days).tables == {"outcome": {"stored": 30, "interrupted": 0}}
