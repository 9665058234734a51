"""From the sources into the remains: what was carved out of raw bytes, and the rows above and of what is wanted."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from storage.backup.layout import SPOOL
from storage.errors import DataError
from storage.manifest import parse_manifest
from storage.probe.carving import carve_artefacts, carve_pairs, carve_tops
from storage.probe.rawfiles import WINDOW_BYTES, streams_of
from storage.probe.remains import Remains
from storage.probe.sources import Sources, State
from storage.records import Identifier

_WANTED = "(SELECT id FROM main.wanted)"
_OF_WANTED = "(SELECT leaf FROM main.artefact_keys)"
_SAME_TAG = f"tag IN (SELECT tag FROM main.tags WHERE artefact IN {_WANTED})"  # noqa: S608  # ours
DIGITS_MIN = 9
"""Of a number without its plus: fewer come by chance in ids, which are hexadecimal."""
CHARACTERS_MIN = 6
_MIB = 1 << 20


def look_at_bytes(
    remains: Remains, sources: Sources, identifiers: Sequence[Identifier], tell: Callable[[str], None]
) -> set[str]:
    """Carves every raw file; gives where an identifier stands in clear."""
    spelled = {raw: one for one in identifiers for raw in _spellings(one)}
    clear: set[str] = set()
    files = [path for path in sources.raw if path.is_file()]
    for path, windows in streams_of(files):
        sealed = SPOOL in path.parts[-2:]
        for number, raw in enumerate(windows):
            tell(f"bytes of {path.name}: {number * WINDOW_BYTES // _MIB} MiB")
            clear |= {f"{one.type}: in clear in {path.name}" for text, one in spelled.items() if text in raw}
            remains.found["MiB of raw bytes"] += len(raw)
            if sealed:
                continue
            remains.add_pairs(carve_pairs(raw), raw=True)
            remains.add_tops(carve_tops(raw), raw=True)
            remains.add_artefacts(carve_artefacts(raw))
    remains.found["MiB of raw bytes"] = -(-remains.found["MiB of raw bytes"] // _MIB)
    return clear


def load(remains: Remains, states: Sequence[State], tenants: Sequence[str], tell: Callable[[str], None]) -> None:
    """Takes the rows of what is wanted, and of all keys of these tenants, from every state of every catalogue."""
    of_tenants = f"tenant IN ({', '.join('?' * len(tenants))})"
    for state in states:
        tell(f"rows of {state.source}")
        with remains.attached(state.uri) as sql:
            sql.execute("BEGIN")
            for table, where, parameters in (
                ("installation", "1", ()),
                ("epochs", "1", ()),
                ("buckets", of_tenants, tenants),
                ("artefacts", f"id IN {_WANTED}", ()),
                ("artefact_keys", f"artefact IN {_WANTED}", ()),
                ("documents", f"artefact IN {_WANTED}", ()),
                ("slices", f"artefact IN {_WANTED}", ()),
                ("identifiers", f"artefact IN {_WANTED}", ()),
                ("tags", f"leaf IN {_OF_WANTED}", ()),
            ):
                if remains.has(table):
                    remains.take(table, where, parameters)
                else:
                    remains.found["tables of another release"] += 1
            _take_manifests(remains)
            sql.execute("COMMIT")
    columns = 'id, tenant, "call", participant, kind, purpose, commitment, segment_bytes'
    remains.sql.execute(
        f"INSERT OR IGNORE INTO artefacts SELECT {columns} FROM raw_artefacts WHERE id IN (SELECT id FROM wanted)"  # noqa: S608  # ours
    )
    for where in (
        "parent IN (SELECT id FROM main.buckets)",
        "parent IN (SELECT id FROM main.nodes)",
        f"id IN {_OF_WANTED}",
        "id IN (SELECT parent FROM main.nodes)",
    ):
        for state in states:
            tell(f"nodes of {state.source}")
            with remains.attached(state.uri) as sql:
                if remains.has("nodes"):
                    sql.execute("BEGIN")
                    remains.take("nodes", where)
                    sql.execute("COMMIT")
    for state in states:
        with remains.attached(state.uri):
            if remains.has("tags"):
                remains.take("tags", _SAME_TAG)


def _take_manifests(remains: Remains) -> None:
    """Manifests hold the sealed facts of streams once more: these may be older than the document's row."""
    calls = "SELECT call FROM main.artefacts"
    statement = "INSERT OR IGNORE INTO main.documents VALUES (?, ?, ?)"
    for row in remains.sql.execute(f"SELECT body FROM src.manifests WHERE call IN ({calls})"):  # noqa: S608  # ours
        with suppress(DataError, KeyError, TypeError, ValueError):
            remains.sql.executemany(statement, list(_sealed(row["body"])))


def _sealed(body: str) -> Iterator[tuple[str, str, bytes]]:
    for entry in parse_manifest(body.encode())["artefacts"]:
        document = entry.get("document", {})
        if "sealed" in document:
            yield entry["artefact"], document["stream_id"], base64.b64decode(document["sealed"])


def _spellings(identifier: Identifier) -> list[bytes]:
    """How an identifier may stand in bytes."""
    value = identifier.value
    found = [value.encode(), value.encode("utf-16-le")] if len(value) >= CHARACTERS_MIN else []
    digits = value.removeprefix("+")
    if digits != value and digits.isdecimal() and len(digits) >= DIGITS_MIN:
        found.append(digits.encode())
    return found
