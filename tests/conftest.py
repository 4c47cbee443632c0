"""What all tests share: the event loop, and databases of both engines at the newest revision."""

import asyncio
import gc
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from portal.db.migrate import migrate
from tests.identity.real import install
from tests.servers import Postgres, postgres

settings.register_profile("short", deadline=None)  # the machine may be busy: what must be fast has a limit of its own
settings.load_profile("short")
settings.register_profile("fuzz", max_examples=5000, deadline=None)
_TESTS = Path(__file__).resolve().parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks each test with its shelf, the folder it lies in: `pytest -m "not browser"`."""
    for item in items:
        item.add_marker(item.path.relative_to(_TESTS).parts[0])


def pytest_collection_finish() -> None:
    """What is there for the whole run is not gone through again by the garbage collector: that would count as time of some test."""
    gc.freeze()


@pytest.fixture
def anyio_backend() -> str:
    """Async tests run on asyncio."""
    return "asyncio"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """One PostgreSQL for all tests of the run."""
    with postgres() as server:
        yield server


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The identity provider's packages, once a run."""
    return install(tmp_path_factory.mktemp("oidc"))


@pytest.fixture(scope="session")
def postgres_template(postgres_server: Postgres) -> str:
    """A migrated, empty database that others are copied from."""
    postgres_server.sql("CREATE DATABASE migrated TEMPLATE template0")
    asyncio.run(migrate(postgres_server.url("migrated")))
    return "migrated"


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated, empty file that others are copied from."""
    path = tmp_path_factory.mktemp("sqlite") / "migrated.db"
    asyncio.run(migrate(f"sqlite:///{path}", create=True))
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a migrated, empty database of the test's own; the test runs once on each engine."""
    if request.param == "sqlite":
        path = tmp_path / "portal.db"
        shutil.copy(request.getfixturevalue("sqlite_template"), path)
        path.chmod(0o600)
        yield f"sqlite:///{path}"
        return
    server: Postgres = request.getfixturevalue("postgres_server")
    name = server.fresh(request.getfixturevalue("postgres_template"))
    yield server.url(name)
    server.drop(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database without any table, on each engine."""
    if request.param == "sqlite":
        path = tmp_path / "empty.db"
        path.touch(0o600)
        yield f"sqlite:///{path}"
        return
    server: Postgres = request.getfixturevalue("postgres_server")
    name = server.fresh()
    yield server.url(name)
    server.drop(name)
