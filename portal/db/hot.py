"""Statements of the hot path: written once in SQLAlchemy, compiled once for each engine, run on the driver's own connection.

Through async SQLAlchemy, three of them cost more than all the rest of opening a message (shared figures in docs/DESIGN.md).
Parameters and results are plain values: text, integers, bytes. Times are microseconds.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ClauseElement, Dialect, Table

Insert = Callable[[Table], Any]
Parameters = Mapping[str, Any]


class Hot:
    """A statement with named parameters. `build` gets the engine's own `insert`, for ON CONFLICT."""

    def __init__(self, build: Callable[[Insert], ClauseElement], *, returns_rows: bool = True) -> None:
        self._build = build
        self._compiled: dict[str, tuple[str, tuple[str, ...], Parameters]] = {}
        self.returns_rows = returns_rows

    def compiled(self, dialect: Dialect, values: Parameters) -> tuple[str, tuple[Any, ...]]:
        """The SQL in the driver's own placeholders, and the values in their order. Raises KeyError when one is missing."""
        known = self._compiled.get(dialect.name)
        if known is None:
            compiled = self._build(own_insert(dialect)).compile(dialect=dialect)
            names = tuple(getattr(compiled, "positiontup", None) or ())
            constants: Parameters = {name: value for name, value in compiled.params.items() if value is not None}
            known = (str(compiled), names, constants)
            self._compiled[dialect.name] = known
        sql, names, constants = known
        return sql, tuple([values[name] if name in values else constants[name] for name in names])


def own_insert(dialect: Dialect) -> Insert:
    """The engine's own. The other engine's is not loaded: it would take 5 MB of memory and a tenth of a second to start."""
    if dialect.name == "sqlite":
        from sqlalchemy.dialects.sqlite import insert

        return insert
    from sqlalchemy.dialects.postgresql import insert as postgresql_insert

    return postgresql_insert


@dataclass(frozen=True)
class Statement:
    """A hot statement with its values. With `must_hit`, finding or changing no row undoes the whole change."""

    hot: Hot
    values: Parameters
    must_hit: bool = False
