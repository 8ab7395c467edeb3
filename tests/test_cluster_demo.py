"""The demo archive in a cluster, with the real models and the base job templates that are shipped.

Nothing is left out but what a process cannot have (`cluster`): the parent is a flow run in a pod of its own, the jobs
are flow runs in pods of another work pool, settings and keys come from a config map and secrets, recordings and rows
are in S3. What a node's GPU brings is a CPU, and so `models.compute_type` is one that both have.
"""

import base64
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest
from cluster.cluster import NAMESPACE, Cluster
from cluster.nodes import Node
from cluster.prefect_server import PrefectServer
from cluster.stack import PrefectStack
from cluster.templates import with_defaults
from conftest import BUCKET

from evaluation.scoring import score_dataset
from flows.demo import SETS
from flows.docs import ROOT
from flows.s3_server import LocalS3Server
from tasks.certificates import read_chain
from tasks.dataset import DataSet
from tasks.settings import load_settings
from tasks.storage import open_storage
from tasks.verify import verify

pytestmark = [pytest.mark.long, pytest.mark.timeout(1500)]

TESTS = Path(__file__).parent
TEMPLATES = ROOT / "k8s" / "base" / "work-pools"
MONTH = "2026-10"
ARCHIVE, TRANSCRIPTS = f"s3://{BUCKET}/demo-archive", f"s3://{BUCKET}/demo-transcripts"
# As in the pods of `k8s/base/settings.env`, for a small archive.
SETTINGS = {
    "CALLSCRIBE_ARCHIVE__URI": ARCHIVE,
    "CALLSCRIBE_TRANSCRIPTS__URI": TRANSCRIPTS,
    "CALLSCRIBE_TRANSCRIPTS__MONTHLY_HOURS": "1",
    "CALLSCRIBE_MODELS__BUNDLE": "starter",
    "CALLSCRIBE_MODELS__DEVICE": "cuda",
    "CALLSCRIBE_MODELS__COMPUTE_TYPE": "int8",
    "CALLSCRIBE_RUN__DEPLOYMENT": "transcribe-job/gpu",
    "CALLSCRIBE_RUN__SLOTS": "1",
    "CALLSCRIBE_RUN__POLL_S": "2",
    "CALLSCRIBE_RUN__JOB_HOURS": "0.03",
}


def _secret(name: str, values: Mapping[str, str]) -> dict[str, object]:
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    return {"metadata": {"name": name}, "data": data}


@pytest.mark.usefixtures("models")  # they are there, or the test is skipped
def test_the_demo_archive(
    prefect_server_on_postgres: PrefectServer,
    s3_server: LocalS3Server,
    s3_environment: LocalS3Server,  # noqa: ARG001  # leads this process to it, too
    tmp_path: Path,
) -> None:
    """From the deployment `archive-run/monthly` to rows that score as the demo does, and a certificate."""
    prefect_server = prefect_server_on_postgres
    recordings = [path for path in (SETS / "archive").rglob("*") if path.is_file()]
    archive = open_storage(ARCHIVE)
    for path in recordings:
        archive.put(path.relative_to(SETS / "archive").as_posix(), path.read_bytes())
    image = {"PYTHONPATH": f"{ROOT}{os.pathsep}{TESTS}"}
    folders = {"callscribe-models": load_settings().models.folder.absolute()}
    nodes = [Node("gpu-a", gpus=1, gpu_environment={"CALLSCRIBE_MODELS__DEVICE": "cpu"}), Node("plain")]
    with (
        Cluster(tmp_path / "cluster", nodes, volumes=folders, image_environment=image) as cluster,
        PrefectStack(prefect_server, cluster, tmp_path / "stack") as stack,
    ):
        cluster.create("configmaps", {"metadata": {"name": "callscribe-settings"}, "data": SETTINGS}, NAMESPACE)
        cluster.create("secrets", _secret("callscribe-s3", s3_server.environment()), NAMESPACE)
        cluster.create("secrets", _secret("callscribe-prefect", {"PREFECT_API_URL": stack.api_url}), NAMESPACE)
        for pool in ("gpu", "control"):
            prefect_server.create_pool(f"callscribe-{pool}", with_defaults(TEMPLATES / f"{pool}.json", image="any"))
            # As k8s/base has it: one observer for all workers.
            observer = {"PREFECT_INTEGRATIONS_KUBERNETES_OBSERVER_ENABLED": "true" if pool == "gpu" else "false"}
            stack.start_worker(f"callscribe-{pool}", observer)
        entrypoint = "cluster_flows.py:{}"
        prefect_server.deploy(
            "transcribe-job",
            "gpu",
            entrypoint.format("transcribe_job"),
            TESTS,
            "callscribe-gpu",
            tags=["transcribe-job"],
        )
        monthly = prefect_server.deploy(
            "archive-run",
            "monthly",
            entrypoint.format("archive_run"),
            TESTS,
            "callscribe-control",
            tags=["archive-run"],
        )
        run = prefect_server.start_run(monthly, parameters={"month": MONTH})
        stack.await_state(run, "Completed", patience_s=1200)
        jobs = prefect_server.runs(pool="callscribe-gpu")
        jobs = [job for job in jobs if job["parameters"].get("transcripts") == TRANSCRIPTS]
        assert {"Completed"} == {job["state_name"] for job in jobs}
        assert 2 <= len(jobs)
        (pod,) = cluster.pods(stack.of_run(jobs[0]["id"]))
        assert ("callscribe-job", False) == (
            pod["spec"]["serviceAccountName"], pod["spec"]["automountServiceAccountToken"]
        )  # fmt: skip
    data = DataSet(open_storage(TRANSCRIPTS))
    rows = data.read_calls(MONTH)
    assert Counter(transcribed=6, no_speech=1, failed=1) == Counter(row["outcome"] for row in rows)
    assert [] == verify(data).findings
    (link,) = read_chain(data.storage)
    assert (len(recordings), 0) == (link.content["result"]["listed_objects"], link.content["result"]["missing"])
    words = score_dataset(SETS / "references", data.storage).score.words
    assert words.rate is not None
    assert words.rate < 0.08
