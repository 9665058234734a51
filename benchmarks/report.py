"""Figures as people and programs read them: a short table, and a JSON file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Rows in columns below a head: text to the left, numbers to the right."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(len(text) for text in column) for column in zip(head, *cells, strict=True)]
    lines = ["  ".join(name.ljust(width) for name, width in zip(head, widths, strict=True)).rstrip()]
    lines.append("  ".join("-" * width for width in widths))
    for row, values in zip(cells, rows, strict=True):
        fitted = [
            text.rjust(width) if isinstance(value, int | float) else text.ljust(width)
            for text, value, width in zip(row, values, widths, strict=True)
        ]
        lines.append("  ".join(fitted).rstrip())
    return "\n".join(lines)


def heading(title: str, machine: Mapping[str, object]) -> str:
    """A title, and the machine it was measured on."""
    where = f"{machine['cores']} cores of {machine['cpu']}, Linux {machine['kernel']}, Python {machine['python']}"
    return f"{title}\n{where}{', virtual' if machine['virtual'] else ''}\n"


def percentiles(values: Iterable[float]) -> dict[str, float]:
    """p50, p95 and p99 (nearest rank), and how many values there were."""
    ordered = sorted(values)
    if not ordered:
        return {"count": 0}
    found = {f"p{rank}": round(ordered[max(0, -(-rank * len(ordered) // 100) - 1)], 2) for rank in (50, 95, 99)}
    return found | {"count": len(ordered)}


def write(path: Path | None, figures: object) -> None:
    """Write the JSON file, if one is wanted."""
    if path is not None:
        path.write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n")


def _cell(value: object) -> str:
    return f"{value:,.2f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
