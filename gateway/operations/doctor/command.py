"""The command: every check in turn, none of them stopping the others, as a table or as JSON."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict

from gateway.config import Settings, from_environment
from gateway.errors import ConfigError
from gateway.operations.doctor import certificate, held, machine, parts, trunks
from gateway.operations.doctor.row import Row, State

CHECKS: Sequence[Callable[[Settings], Iterator[Row]]] = (
    *(machine.user, machine.ports, certificate.certificate, trunks.advertised),
    *(trunks.names, trunks.registrations),
    *(machine.limits, machine.clock, machine.disk, machine.native),
    *(parts.store, parts.keys, held.held, parts.spool, parts.queue, parts.models),
)
"""A new check is one function and one place here."""


def command(arguments: argparse.Namespace) -> int:
    """Check everything. Exit 1 if anything fails, 2 if the configuration cannot be used."""
    try:
        settings = from_environment(arguments.config, {"data": arguments.data}).settings
    except ConfigError as error:
        sys.stderr.writelines(f"callvault: {problem}\n" for problem in error.problems)
        return 2
    rows = examine(settings)
    sys.stdout.write((_as_json(rows) if arguments.json else as_text(rows)) + "\n")
    return 1 if any(row.state is State.FAIL for row in rows) else 0


def examine(settings: Settings, checks: Sequence[Callable[[Settings], Iterator[Row]]] = CHECKS) -> list[Row]:
    """What every check found; one that breaks is itself a finding."""
    rows = [Row("configuration", State.OK, "can be used")]
    for check in checks:
        try:
            rows += check(settings)
        except Exception as error:
            told = f"the check itself failed: {type(error).__name__}"
            rows.append(Row(check.__name__, State.FAIL, told, "a fault of callvault, or of this machine: report it"))
    return rows


def as_text(rows: Sequence[Row]) -> str:
    """A line for each row, and below it how to mend what needs mending."""
    width = max(len(row.name) for row in rows)
    lines = []
    for row in rows:
        lines.append(f"{row.state.value:<4}  {row.name:<{width}}  {row.found}")
        if row.mend:
            lines.append(f"{'':<4}  {'':<{width}}  -> {row.mend}")
    counts = ", ".join(f"{sum(row.state is state for row in rows)} {state.value}" for state in State)
    return "\n".join([*lines, counts])


def _as_json(rows: Sequence[Row]) -> str:
    return json.dumps({"ok": all(row.state is not State.FAIL for row in rows), "rows": [asdict(row) for row in rows]})
