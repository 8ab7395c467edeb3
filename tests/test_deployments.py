"""prefect.yaml: Prefect reads it, what it names exists, and it goes with the work pools of k8s/."""

from importlib import import_module
from typing import Any

import pytest
import yaml
from prefect.cli.deploy._models import ConcurrencyLimitSpec, PrefectYamlModel
from prefect.utilities.callables import parameter_schema

from tests.manifest_rules import SECRETS
from tests.manifests import ROOT, base_template

TEXT = (ROOT / "prefect.yaml").read_text(encoding="utf-8")
DEPLOYMENTS: list[dict[str, Any]] = yaml.safe_load(TEXT)["deployments"]
POOL_OF = {
    "archive-run/monthly": "control", "transcribe-job/gpu": "gpu", "transcribe-job/cpu": "cpu",
    "backfill/backfill": "control", "retain/retain": "control", "erase/erase": "control",
    "evaluate/evaluate": "control", "evaluate/evaluate-gpu": "gpu", "reconcile/reconcile": "control",
}  # fmt: skip


def flow_of(deployment: dict[str, Any]) -> Any:  # noqa: ANN401  # a Prefect flow of any signature
    """The flow of a deployment's entrypoint."""
    module, _, name = deployment["entrypoint"].rpartition(".")
    return getattr(import_module(module), name)


def test_deployments_are_those_that_others_name() -> None:
    """Flow, deployment and work pool."""
    found = {f"{flow_of(each).name}/{each['name']}": each["work_pool"]["name"] for each in DEPLOYMENTS}
    assert found == {name: f"callscribe-{pool}" for name, pool in POOL_OF.items()}


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda each: each["name"])
def test_deployment_is_whole(deployment: dict[str, Any]) -> None:
    """Described, tagged; its parameters exist, and each is described in the form."""
    schema = parameter_schema(flow_of(deployment))
    assert set(deployment.get("parameters", {})) <= set(schema.properties)
    assert [] == [name for name, each in schema.properties.items() if not each.get("description")]
    assert deployment["description"]
    assert {"callscribe", flow_of(deployment).name} <= set(deployment["tags"])
    for schedule in deployment.get("schedules", ()):
        assert schedule["timezone"] == "{{ $SCHEDULE_TIMEZONE }}"
    if limit := deployment.get("concurrency_limit"):
        assert ConcurrencyLimitSpec.model_validate(limit).limit == 1
        assert limit["grace_period_seconds"] >= 300  # a node for the pod takes minutes


def test_prefect_reads_the_file() -> None:
    """By Prefect's own model of it."""
    model = PrefectYamlModel.model_validate(yaml.safe_load(TEXT))
    assert len(model.deployments) == len(POOL_OF)


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda each: each["name"])
def test_job_variables_are_variables_of_the_pool(deployment: dict[str, Any]) -> None:
    """What a deployment sets, the base job template of its pool has."""
    pool = deployment["work_pool"]["name"].removeprefix("callscribe-")
    known = base_template(pool)["variables"]["properties"]
    assert set(deployment["work_pool"]["job_variables"]) <= set(known)
    assert deployment["work_pool"]["job_variables"]["image"] == "{{ $JOB_IMAGE }}"


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda each: each["name"])
def test_who_removes_calls_has_an_account_and_a_secret_of_its_own(deployment: dict[str, Any]) -> None:
    """Of the manifests; nobody else has them."""
    variables = deployment["work_pool"]["job_variables"]
    accounts = yaml.safe_load_all((ROOT / "k8s/base/accounts.yaml").read_text(encoding="utf-8"))
    names = {each["metadata"]["name"] for each in accounts if each["kind"] == "ServiceAccount"}
    assert variables.get("service_account_name", "callscribe-job") in names
    removes = deployment["name"] in {"retain", "erase"}
    assert removes == (variables.get("storage_secret") == "callscribe-s3-eraser")
    assert removes == (variables.get("service_account_name") == "callscribe-eraser")
    assert variables.get("storage_secret", "callscribe-s3") in SECRETS
