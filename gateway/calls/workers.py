"""The media workers that take calls: to which of them a new call goes, and how all of them fare together.

A call stays with its worker until one of the two ends. It goes to the worker that has the least to do by its own
statistics; these come once a second, so among workers that are about equally busy the streams they were given count.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence

from gateway.calls.admission import Admission, Busy
from gateway.calls.media_link import MediaLink
from gateway.policy import Tenant
from media.messages import Stats

ALIKE = 0.1  # of a worker's time: smaller differences are one second's chance

COUNTS = frozenset(
    {
        "packets",
        "shed",
        "lost",
        "late",
        "foreign",
        "overflowed",
        "dropped",
        "unauthentic",
        "replayed",
        "reports_sent",
        "held_refused",
    }
)
"""Of `Stats`, what is counted since a worker's start: summed over all workers, the dead ones too."""

AT_PRESENT = frozenset({"legs", "playing", "held_streams", "held_bytes"})
"""What is summed over those that live."""

WORST = frozenset({"tick_p50_ms", "tick_p99_ms", "spool_lag_ms", "fsync_ms", "full", "busy", "exposure_ms"})
"""What is told as of the one that fares worst."""

WORST_EVER = frozenset({"exposure_ms_max"})
"""The same, the dead ones too."""

_NOTHING = Stats(0.0, 0.0, 0, 0, 0.0, 0.0, 0, full=False)


class Workers:
    """Those that take calls, with what each has told; the one that stands by is none of them."""

    def __init__(self) -> None:
        self._taking: dict[MediaLink, Admission] = {}
        self._past = _NOTHING  # what dead workers had counted: totals never fall

    def __len__(self) -> int:
        return len(self._taking)

    def __iter__(self) -> Iterator[MediaLink]:
        return iter(list(self._taking))

    @property
    def alive(self) -> bool:
        """Whether there is one."""
        return any(worker.alive for worker in self._taking)

    @property
    def stats(self) -> Stats | None:
        """Everybody's newest statistics: counts summed, figures of the worst; None before the first ones."""
        told = [admission.stats for admission in self._taking.values() if admission.stats is not None]
        return _together([self._past, *told]) if told else None

    def join(self, worker: MediaLink) -> None:
        """From now on it takes calls."""
        self._taking[worker] = Admission()

    def leave(self, worker: MediaLink) -> None:
        """It is dead; the next one begins without a past."""
        admission = self._taking.pop(worker, None)
        if admission is not None and admission.stats is not None:
            kept = {name: getattr(admission.stats, name) for name in COUNTS | WORST_EVER}
            self._past = _together([self._past, dataclasses.replace(_NOTHING, **kept)])

    def hear(self, worker: MediaLink, stats: Stats, now: float) -> None:
        """A worker's statistics, at monotonic time `now`."""
        if worker in self._taking:
            self._taking[worker].hear(stats, now)

    @property
    def least_busy(self) -> MediaLink | None:
        """The one that has the least to do, whatever it thinks of more; None if there is none."""
        return next(iter(self._by_load()), None)

    def stats_of(self, worker: MediaLink) -> Stats | None:
        """A worker's newest statistics."""
        admission = self._taking.get(worker)
        return None if admission is None else admission.stats

    def choose(
        self, policy: Tenant, now: float, check: Callable[[Tenant, MediaLink], None] = lambda _policy, _worker: None
    ) -> tuple[MediaLink, str]:
        """Who takes a new call, and why it would go unrecorded ("" if it would be recorded).

        Raises Busy if nobody may take it, by its statistics or as `check` has it, which raises Busy of a worker.
        """
        alive = self._by_load()
        if not alive:
            raise Busy("no media worker")
        refusals: list[Busy] = []
        unrecorded: list[tuple[MediaLink, str]] = []
        for worker in alive:
            try:
                why = self._taking[worker].check(policy, now)
                check(policy, worker)
            except Busy as busy:
                refusals.append(busy)
            else:
                if not why:
                    return worker, ""
                unrecorded.append((worker, why))
        if unrecorded:
            return unrecorded[0]
        raise refusals[0]

    def _by_load(self) -> list[MediaLink]:
        return sorted((worker for worker in self._taking if worker.alive), key=self._load)

    def _load(self, worker: MediaLink) -> tuple[int, int]:
        return int(self._taking[worker].busy / ALIKE), len(worker.legs)


def _together(all_stats: Sequence[Stats]) -> Stats:
    figures = {}
    for entry in dataclasses.fields(Stats):
        values = [getattr(stats, entry.name) for stats in all_stats]
        figures[entry.name] = sum(values) if entry.name in COUNTS | AT_PRESENT else max(values)
    return Stats(**figures)
