"""Reads the labelled sentences and scores the recognizers against them.

A fragment is a paragraph, a turn is a line "speaker> text", and {KIND:text} marks what must not survive. Fragments
without a mark are clean: nothing in them may be taken.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from transcription.redaction import find
from transcription.redaction.rampart import NamesModel

FOLDER = Path(__file__).parent / "sentences"
COVERED_SHARE = 0.95
"""A marked span counts as found when this share of its characters is replaced."""

_MARK = re.compile(r"\{([A-Z]+):([^{}]*)\}")


@dataclass(frozen=True, slots=True)
class Mark:
    kind: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Fragment:
    language: str
    said: tuple[tuple[str, str], ...]
    marks: tuple[tuple[Mark, ...], ...]

    @property
    def clean(self) -> bool:
        return not any(self.marks)


@dataclass(slots=True)
class Score:
    spans: int = 0
    found: int = 0
    characters: int = 0
    leaked: int = 0
    taken: int = 0
    right: int = 0
    clean: int = 0
    alarmed: int = 0
    misses: list[str] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)

    @property
    def recall(self) -> float:
        return self.found / self.spans

    @property
    def precision(self) -> float:
        return self.right / self.taken

    @property
    def leak(self) -> float:
        return self.leaked / self.characters


def fragments(path: Path) -> list[Fragment]:
    """The fragments of a file; its name is the language."""
    paragraphs = "\n".join(line for line in path.read_text().splitlines() if not line.startswith("#")).split("\n\n")
    return [_fragment(path.stem, paragraph.strip().splitlines()) for paragraph in paragraphs if paragraph.strip()]


def score(tried: list[Fragment], names_model: NamesModel | None = None) -> Score:
    """How the recognizers do on these fragments, with or without the second layer."""
    total = Score()
    for fragment in tried:
        lines = find(fragment.language, fragment.said, names_model)
        total.clean += fragment.clean
        total.alarmed += fragment.clean and any(lines)
        for (_speaker, text), marks, spans in zip(fragment.said, fragment.marks, lines, strict=True):
            hidden = {place for span in spans for place in range(span.start, span.end)}
            for mark in marks:
                places = [place for place in range(mark.start, mark.end) if text[place].isalnum()]
                covered = sum(place in hidden for place in places)
                total.spans += 1
                total.characters += len(places)
                total.leaked += len(places) - covered
                total.found += covered >= COVERED_SHARE * len(places)
                if covered < COVERED_SHARE * len(places):
                    total.misses.append(f"{fragment.language} {mark.kind}: {text[mark.start : mark.end]}")
            for span in spans:
                right = any(span.start < mark.end and mark.start < span.end for mark in marks)
                total.taken += 1
                total.right += right
                if not right:
                    total.alarms.append(f"{fragment.language} {span.category}: {text[span.start : span.end]} | {text}")
    return total


def _fragment(language: str, lines: list[str]) -> Fragment:
    said: list[tuple[str, str]] = []
    marks: list[tuple[Mark, ...]] = []
    for line in lines:
        speaker, _, marked = line.partition("> ")
        text, here, place = "", [], 0
        for found in _MARK.finditer(marked):
            text += marked[place : found.start()]
            here.append(Mark(found[1], len(text), len(text) + len(found[2])))
            text += found[2]
            place = found.end()
        said.append((speaker, text + marked[place:]))
        marks.append(tuple(here))
    return Fragment(language, tuple(said), tuple(marks))
