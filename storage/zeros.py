"""Zeros of another column's length, in the words of each database: SQL has none for it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, LargeBinary, func
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


class zeros_like(FunctionElement[bytes]):  # reads as the function that it is
    """As many zero bytes as the column has."""

    type = LargeBinary()
    inherit_cache = True

    def __init__(self, column: Column[Any]) -> None:
        super().__init__(func.length(column))


@compiles(zeros_like, "sqlite")
def _on_sqlite(element: zeros_like, compiler: SQLCompiler, **options: Any) -> str:
    return f"zeroblob({compiler.process(element.clauses, **options)})"


@compiles(zeros_like, "postgresql")
def _on_postgresql(element: zeros_like, compiler: SQLCompiler, **options: Any) -> str:
    return f"decode(repeat('00', {compiler.process(element.clauses, **options)}), 'hex')"
