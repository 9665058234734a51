"""Which fields of a document leave: those that are declared, and no other, at whatever depth they stand.

A field is named by its path, `recording_session.participants.id`; lists have no names. Declared is a value, or a list
of values; an object by itself never is. So a field that is added to a document tomorrow leaves for nobody.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from importlib import resources
from typing import Any

from gateway.rights.parts import Part

DOCUMENTS = frozenset(Part) - {Part.AUDIO, Part.MANIFEST}
"""Parts that are documents with fields. Audio has none; a manifest is signed: nothing can be taken out of it."""


def narrowed(body: Mapping[str, Any], allowed: Collection[str]) -> dict[str, Any]:
    """What of a document has these paths; empty if nothing has."""
    found = _kept(body, "", frozenset(allowed))
    return found if isinstance(found, dict) else {}


def paths_of(value: object, where: str = "") -> Iterator[str]:
    """The paths of all values of a document."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from paths_of(inner, f"{where}.{name}" if where else name)
    elif isinstance(value, list):
        for inner in value:
            yield from paths_of(inner, where)
    elif where:
        yield where


@cache
def known_fields(part: Part) -> frozenset[str]:
    """The fields that a document can have."""
    return frozenset(paths_of(synthetic()[part])) if part in DOCUMENTS else frozenset()


@cache
def synthetic() -> Mapping[Part, Mapping[str, Any]]:
    """A call that never was, of nobody, with every field that there is: what samples are made of."""
    text = (resources.files("gateway.rights") / "synthetic.json").read_text(encoding="utf-8")
    return {Part(name): body for name, body in json.loads(text).items()}


_NOTHING = object()


def _kept(value: object, where: str, allowed: frozenset[str]) -> object:
    if isinstance(value, Mapping):
        inner = {name: _kept(one, f"{where}.{name}" if where else str(name), allowed) for name, one in value.items()}
        left = {name: one for name, one in inner.items() if one is not _NOTHING}
        return left or _NOTHING
    if isinstance(value, list):
        items = [kept for one in value if (kept := _kept(one, where, allowed)) is not _NOTHING]
        return items or _NOTHING
    return value if where in allowed else _NOTHING
