"""What the URLs of key providers have in common: options behind a question mark, and the form of keys' names.

Every provider knows `finality=` (for how long its own history could bring a destroyed key back, such as `30d`, as the
operator states it) and `region=` (where it is). Secrets never stand in a URL: it is shown in configuration and logs.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from urllib.parse import parse_qsl

from storage.errors import Malformed

URL_CHARACTERS_MAX = 2048
_COMMON = frozenset({"finality", "region"})
_TEXT = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}\Z")
"""Finality and region stand in certificates and reports."""
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,99}\Z")
"""Names are made by us; the limit keeps them well-formed as file names, labels and paths alike."""


def read_options(query: str, form: str, own: Collection[str] = ()) -> Mapping[str, str]:
    """The options of a URL; Malformed, saying the `form` and never the values, for anything else."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        raise Malformed(f"a key provider's options are written name=value; this one is {form}") from None
    options = dict(pairs)
    if len(options) != len(pairs) or options.keys() - _COMMON - set(own):
        known = ", ".join(sorted({*_COMMON, *own}))
        raise Malformed(f"the options of this key provider are, once each: {known}; it is written {form}")
    for name in _COMMON & options.keys():
        if _TEXT.match(options[name]) is None:
            raise Malformed(f"{name}= takes up to 64 letters, digits, spaces and . _ -")
    return options


def read_file_option(options: Mapping[str, str], name: str, form: str) -> Path:
    """An option that names a file by its absolute path."""
    if not options.get(name, "").startswith("/"):
        raise Malformed(f"{name}= must name a file by its absolute path; this key provider is written {form}")
    return Path(options[name])


def check_name(name: str) -> str:
    """The name itself; Malformed if it could not be a key's."""
    if _NAME.match(name) is None:
        raise Malformed("a key's name is lower-case letters, digits and hyphens")
    return name
