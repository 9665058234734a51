"""A whole call as the recognizers see it: lines, their runs and parts, and what was being asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from transcription.redaction.context import Topics
from transcription.redaction.runs import parts_of, runs_of
from transcription.redaction.tokens import line_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from transcription.redaction.runs import Part, Run
    from transcription.redaction.tokens import Line


@dataclass(frozen=True, slots=True)
class Dialogue:
    """All lines of a call in order of time, analysed once."""

    language: str
    lines: tuple[Line, ...]
    parts: tuple[tuple[Part, ...], ...]
    runs: tuple[tuple[Run, ...], ...]
    topics: Topics

    @classmethod
    def of(cls, language: str, said: Iterable[tuple[str, str]]) -> Dialogue:
        """From (speaker, text) pairs in order of time."""
        lines = tuple(line_of(speaker, text) for speaker, text in said)
        parts = tuple(tuple(parts_of(line, language)) for line in lines)
        runs = tuple(tuple(runs_of(line, found)) for line, found in zip(lines, parts, strict=True))
        return cls(language, lines, parts, runs, Topics(lines))

    def all_runs(self) -> Iterator[tuple[int, Run]]:
        """Every run with the index of its line."""
        for index, runs in enumerate(self.runs):
            for run in runs:
                yield index, run
