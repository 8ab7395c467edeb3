"""A Prefect server on PostgreSQL, for tests that write concurrently."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cluster.prefect_server import PrefectServer
from cluster.templates import small_template

pytestmark = [pytest.mark.long, pytest.mark.timeout(1200)]

WRITERS = 8
TESTS = Path(__file__).parent
RUNS = 60


def test_concurrent_writers(prefect_server_on_postgres: PrefectServer) -> None:
    """Many writers at a time are answered at the first try, where SQLite says that it is locked."""
    server = prefect_server_on_postgres
    server.create_pool("writers", small_template())
    deployment = server.deploy("greet", "writers", "pod_flows.py:greet", TESTS, "writers")

    def create(number: int) -> int:
        body = {"tags": [f"number:{number}"]}
        return server.client.post(f"deployments/{deployment}/create_flow_run", json=body).status_code

    with ThreadPoolExecutor(WRITERS) as writers:
        statuses = list(writers.map(create, range(RUNS)))
    assert [201] * RUNS == statuses
    assert len(server.runs(pool="writers")) == RUNS
