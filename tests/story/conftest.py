"""The world on each engine, and what it logs."""

import io
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import redirect_stderr
from pathlib import Path

import pytest
import structlog

from portal.serve import log_to_stderr
from tests.world import World
from tests.world import world as open_world


@pytest.fixture(autouse=True)
def log() -> Iterator[io.StringIO]:
    """What a portal that serves would write to its log."""
    root, kept = logging.getLogger(), io.StringIO()
    handlers, level = root.handlers, root.level
    with redirect_stderr(kept):
        log_to_stderr("debug")
    yield kept
    structlog.reset_defaults()
    root.handlers = handlers
    root.setLevel(level)


@pytest.fixture
async def world(tmp_path: Path, database_url: str) -> AsyncIterator[World]:
    """The house, once on SQLite and once on PostgreSQL."""
    async with open_world(tmp_path, database_url) as made:
        yield made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the house keeps what it keeps: blobs, keys, and on SQLite the database."""
    return tmp_path
