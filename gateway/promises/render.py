"""A page as Markdown, and as one HTML file that needs nothing else: no script, no font, no address."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from html import escape

from gateway.promises.page import Block, Page, Table

_MARKED = re.compile(r"([\\`*_\[\]<>|#])")

_STYLE = """\
:root { color-scheme: light dark; --ink: #1c1c1c; --paper: #fff; --line: #767676; --shade: #f2f2f2; }
@media (prefers-color-scheme: dark) { :root { --ink: #ececec; --paper: #161616; --line: #8c8c8c; --shade: #242424; } }
body { margin: 0; background: var(--paper); color: var(--ink); font: 1rem/1.55 system-ui, sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.8rem; line-height: 1.25; } h2 { font-size: 1.25rem; margin-top: 2.2rem; }
p { max-width: 42rem; }
.wide { overflow-x: auto; } .wide:focus-visible { outline: 3px solid; outline-offset: 2px; }
table { border-collapse: collapse; width: 100%; }
th, td { border: 1px solid var(--line); padding: .45rem .6rem; text-align: left; vertical-align: top; }
thead th { background: var(--shade); } tbody th { font-weight: 600; }
@media print { :root { --ink: #000; --paper: #fff; --shade: #fff; } main { max-width: none; } }
"""


def markdown(page: Page) -> str:
    """The page as Markdown (CommonMark, tables as on GitHub)."""
    parts = [f"# {_mark(page.title)}", *map(_mark, page.paragraphs)]
    for block in page.blocks:
        parts.append(f"## {_mark(block.heading)}")
        if block.table is not None:
            rows = [block.table.headings, ("---",) * len(block.table.headings), *block.table.rows]
            parts.append("\n".join(_line(row, plain=number == 1) for number, row in enumerate(rows)))
        parts += map(_mark, block.paragraphs)
    return "\n\n".join(parts) + "\n"


def html(page: Page) -> str:
    """The page as HTML."""
    body = [f"<h1>{escape(page.title)}</h1>", *(f"<p>{escape(text)}</p>" for text in page.paragraphs)]
    for number, block in enumerate(page.blocks, 1):
        body += _section(number, block)
    return "\n".join(
        [
            "<!DOCTYPE html>",
            f'<html lang="{page.language}">',
            "<head>",
            '<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
            f"<title>{escape(page.title)}</title>",
            f"<style>\n{_STYLE}</style>",
            "</head>",
            "<body>",
            "<main>",
            *body,
            "</main>",
            "</body>",
            "</html>",
            "",
        ]
    )


FORMATS: Mapping[str, Callable[[Page], str]] = {"md": markdown, "html": html}


def _section(number: int, block: Block) -> list[str]:
    lines = [f'<section aria-labelledby="h{number}">', f'<h2 id="h{number}">{escape(block.heading)}</h2>']
    if block.table is not None:
        lines += _table(f"h{number}", block.table)
    lines += [f"<p>{escape(text)}</p>" for text in block.paragraphs]
    return [*lines, "</section>"]


def _table(label: str, table: Table) -> list[str]:
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in table.headings)
    lines = [f'<div class="wide" role="region" aria-labelledby="{label}" tabindex="0">', "<table>"]
    lines += [f"<thead><tr>{head}</tr></thead>", "<tbody>"]
    for row in table.rows:
        cells = "".join(f"<td>{escape(text)}</td>" for text in row[1:])
        lines.append(f'<tr><th scope="row">{escape(row[0])}</th>{cells}</tr>')
    return [*lines, "</tbody>", "</table>", "</div>"]


def _line(row: tuple[str, ...], *, plain: bool) -> str:
    return f"| {' | '.join(row if plain else map(_mark, row))} |"


def _mark(text: str) -> str:
    return _MARKED.sub(r"\\\1", text)
