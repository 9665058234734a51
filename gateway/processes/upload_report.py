"""What the uploader's process tells the gateway, as JSON lines on standard output.

    {"stored": [[tenant, call], …]}          manifests were written
    {"store": "away", "since_s": 12.0}       the object store takes nothing: at once, and again while it lasts
    {"store": "back", "after_s": 3600.0}     it takes objects again
    {"uploads": {"count", "failed", "size", "seconds", "waiting_bytes", "oldest_s"}}     totals since the process began

Ids, counts and times only.
"""

from __future__ import annotations

from dataclasses import asdict

from storage.puts import Uploads
from storage.uploader import Progress

AGAIN_S = 30.0
"""While the store is away it is said again: whoever looks at the log of an hour later finds it there."""
FIGURES_S = 2.0
"""Between two lines of figures: finer than anybody scrapes, and no load."""
CALLS_PER_LINE = 500
"""70 bytes each: far below what the gateway reads as one line."""


class Report:
    """Turns what steps did into lines. Time is an argument, in monotonic seconds."""

    def __init__(self) -> None:
        self._away_s: float | None = None
        self._since_s = 0.0
        self._said_away_s = 0.0
        self._figures_s = float("-inf")
        self._figures: dict[str, float] = {}

    def lines(self, progress: Progress, uploads: Uploads, now_s: float) -> list[dict[str, object]]:
        """What is to be said after a step."""
        stored = progress.stored
        said = self._store(progress.away_s, now_s)
        said += [{"stored": stored[at : at + CALLS_PER_LINE]} for at in range(0, len(stored), CALLS_PER_LINE)]
        return said + self._uploads(progress, uploads, now_s)

    def _store(self, away_s: float | None, now_s: float) -> list[dict[str, object]]:
        before, self._away_s = self._away_s, away_s
        if away_s is None:
            return [] if before is None else [{"store": "back", "after_s": round(now_s - self._since_s, 3)}]
        if before is None:
            self._since_s = now_s - away_s
        elif now_s - self._said_away_s < AGAIN_S:
            return []
        self._said_away_s = now_s
        return [{"store": "away", "since_s": round(away_s, 3)}]

    def _uploads(self, progress: Progress, uploads: Uploads, now_s: float) -> list[dict[str, object]]:
        figures: dict[str, float] = asdict(uploads) | {
            "waiting_bytes": progress.waiting_bytes,
            "oldest_s": round(progress.oldest_s, 3),
        }
        if figures == self._figures or now_s - self._figures_s < FIGURES_S:
            return []
        self._figures, self._figures_s = figures, now_s
        return [{"uploads": figures}]
