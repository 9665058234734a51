"""Word lists as running text: how the recognizers' tables are written down."""

from __future__ import annotations


def words(text: str) -> frozenset[str]:
    """The words of a text, in lower case."""
    return frozenset(text.casefold().split())
