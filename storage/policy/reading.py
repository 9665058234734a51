"""Frozen dataclasses from TOML or JSON tables, and back: an unknown key is an error, and all problems are told."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeVar

from storage.errors import Malformed
from storage.policy.term import Term

TEXT_CHARS_MAX = 400
"""A line of a profile is a line."""
LIST_MAX = 64
"""Rows of one list: there are some ten kinds and as many purposes."""

Made = TypeVar("Made")


def read(kind: type[Made], table: object, where: str, problems: list[str]) -> Made | None:
    """A value of the dataclass `kind`; None after noting what is wrong with the table."""
    if not isinstance(table, Mapping):
        problems.append(f"{where}: a table is needed")
        return None
    noted, found = len(problems), {}
    hints, fields = typing.get_type_hints(kind), dataclasses.fields(kind)  # type: ignore[arg-type]  # checked by use
    problems += [f"{where}.{key}: unknown" for key in table if key not in hints]
    for field in fields:
        if field.name in table:
            found[field.name] = _value(hints[field.name], table[field.name], f"{where}.{field.name}", problems)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            problems.append(f"{where}.{field.name}: missing")
    return kind(**found) if len(problems) == noted else None


def as_json(value: object) -> Any:
    """What `read` reads; terms and enumerations as their text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, (type, Term)):
        return {field.name: as_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, (Term, StrEnum)):
        return str(value)
    return [as_json(inner) for inner in value] if isinstance(value, tuple) else value


def _value(hint: Any, value: object, where: str, problems: list[str]) -> Any:
    if typing.get_origin(hint) is tuple:
        return _row(typing.get_args(hint)[0], value, where, problems)
    if dataclasses.is_dataclass(hint) and hint is not Term:
        return read(typing.cast(type, hint), value, where, problems)
    if hint in (int, bool):
        if isinstance(value, int) and type(value) is hint and 0 <= value <= 1_000_000:
            return value
        problems.append(f"{where}: {'true or false' if hint is bool else 'a whole number, 0 or more,'} is needed")
        return None
    return _from_text(hint, value, where, problems)


def _from_text(hint: Any, value: object, where: str, problems: list[str]) -> Any:
    if not isinstance(value, str) or len(value) > TEXT_CHARS_MAX:
        problems.append(f"{where}: a text of up to {TEXT_CHARS_MAX} characters is needed")
        return None
    try:
        return Term.parse(value) if hint is Term else hint(value)
    except Malformed as error:
        problems.append(f"{where}: {error}")
    except ValueError:
        problems.append(f"{where}: {value[:40]!r} is none of {', '.join(hint)}")
    return None


def _row(hint: Any, value: object, where: str, problems: list[str]) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)) or len(value) > LIST_MAX:
        problems.append(f"{where}: a list of up to {LIST_MAX} is needed")
        return ()
    return tuple(_value(hint, inner, f"{where}[{number}]", problems) for number, inner in enumerate(value))
