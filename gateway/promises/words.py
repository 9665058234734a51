"""The words of the page, by language, from data files; and how numbers, periods and lists are said in them."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from storage.policy.term import Term

LANGUAGES = ("nl", "de", "en")


@dataclass(frozen=True, slots=True, eq=False)
class Words:
    """One language's words."""

    language: str
    tree: dict[str, Any]

    def __call__(self, name: str, /, **filled: object) -> str:
        """The words of that name (`kept.heading`), with what is filled in."""
        found: Any = self.tree
        for part in name.split("."):
            found = found[part]
        return str(found).format(**filled) if filled else str(found)

    def term(self, term: Term) -> str:
        """A period by itself: `4 Monate`."""
        if term.open:
            return self(f"units.{term.unit.value.replace(' ', '-')}")
        return self.counted("units", *term.spelled)

    def within(self, term: Term) -> str:
        """A period behind "within": `4 Monaten`."""
        return self.term(term) if term.open else self.counted("within", *term.spelled)

    def periods(self, term: Term) -> dict[str, str]:
        """A period in both forms, for a sentence to choose from."""
        return {"term": self.within(term), "plain": self.term(term)}

    def counted(self, form: str, count: int, unit: str) -> str:
        """A number of units."""
        one, many = self.tree[form][unit]
        return str(one if count == 1 else many).format(count=count)

    def hours(self, count: int) -> str:
        """A number of hours behind "within"."""
        return self.counted("within", count, "hour")

    def listed(self, items: Sequence[str]) -> str:
        """`a, b and c`."""
        if not items:
            return self("none")
        return self("and").join(filter(None, (", ".join(items[:-1]), items[-1])))

    def phrase(self, text: str) -> str:
        """A text of a policy in this language, or as it is."""
        return str(self.tree["phrases"].get(text, text))

    def purpose(self, name: str) -> str:
        """A purpose's name; one of an operator's own as it is."""
        return str(self.tree["purposes"].get(name, name.replace("_", " ")))


@cache
def words(language: str, further: str = "") -> Words:
    """The words of one of `LANGUAGES`, with those of a further document, such as `record`; KeyError for another."""
    if language not in LANGUAGES:
        raise KeyError(language)
    files = [f"{language}.toml", *[f"{further}.{language}.toml"] * bool(further)]
    texts = [(resources.files("gateway.promises") / file).read_text(encoding="utf-8") for file in files]
    return Words(language, {name: value for text in texts for name, value in tomllib.loads(text).items()})
