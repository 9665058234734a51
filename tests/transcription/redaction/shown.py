"""A line or a dialogue with its spans replaced, as the tests compare it."""

from __future__ import annotations

from transcription.redaction import find


def shown(text: str, language: str = "en") -> str:
    """One line with [CATEGORY] in place of what was found."""
    return dialogue([("caller", text)], language)[0]


def dialogue(said: list[tuple[str, str]], language: str = "en") -> list[str]:
    """Each line of a dialogue with [CATEGORY] in place of what was found."""
    lines = []
    for (_speaker, text), spans in zip(said, find(language, said), strict=True):
        for span in reversed(spans):
            text = f"{text[: span.start]}[{span.category}]{text[span.end :]}"  # noqa: PLW2901
        lines.append(text)
    return lines
