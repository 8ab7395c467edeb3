"""What several test modules share: one Prefect server on SQLite for the session, and one on PostgreSQL."""

import os
from collections.abc import Iterator

import pytest

from .postgres import find_postgres, postgres_server
from .prefect_server import PrefectServer


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """A Prefect server on SQLite. Start-up takes some 20 s of a processor, so that all modules share it."""
    with PrefectServer(tmp_path_factory.mktemp("prefect-server")) as server:
        yield server


@pytest.fixture(scope="module")
def prefect_here(prefect_server: PrefectServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """The same, to which flows of this process talk, too."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker
    from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

    own = {PREFECT_HOME: tmp_path_factory.mktemp("prefect"), PREFECT_API_URL: prefect_server.api_url}
    with temporary_settings(own):
        yield prefect_server
        # What it has still to say is said now: later, when no server is there, it would try for a minute.
        APILogWorker.instance().drain()
        EventsWorker.drain_all()


@pytest.fixture(scope="session")
def prefect_server_on_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """A Prefect server on PostgreSQL, for tests that write concurrently; in CI PostgreSQL must be there."""
    if find_postgres() is None and os.environ.get("CI") != "true":
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    with postgres_server() as url, PrefectServer(tmp_path_factory.mktemp("prefect-server"), url) as server:
        yield server
