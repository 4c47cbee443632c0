"""A column in a condition that shall not choose the index."""

from typing import Any

from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement


class Apart(FunctionElement[Any]):
    """SQLite does not know how many rows a value leaves, and takes the index with the most columns; a `+` before the column keeps
    it from that. PostgreSQL knows, and gets the plain column.
    """

    inherit_cache = True


@compiles(Apart)
def _plain(element: Apart, compiler: Any, **more: Any) -> str:
    return str(compiler.process(element.clauses, **more))


@compiles(Apart, "sqlite")
def _unindexed(element: Apart, compiler: Any, **more: Any) -> str:
    return f"+{compiler.process(element.clauses, **more)}"
