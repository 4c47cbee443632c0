"""The world on each engine."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.world import World
from tests.world import world as open_world


@pytest.fixture
async def world(tmp_path: Path, database_url: str) -> AsyncIterator[World]:
    """The house, once on SQLite and once on PostgreSQL."""
    async with open_world(tmp_path, database_url) as made:
        yield made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the house keeps what it keeps: blobs, keys, and on SQLite the database."""
    return tmp_path
