"""Base job templates: one source, every knob described, and Jobs that a Kubernetes API server takes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from prefect.server.schemas.actions import WorkPoolCreate
from prefect.utilities.schema_tools import validate

from tests.manifests import K8S, POOLS, ROOT, base_template, containers, job_of

GOLDEN = ROOT / "tests" / "golden"


def test_templates_are_up_to_date() -> None:
    """What lies in k8s/ is what `make work-pools` writes."""
    script = "import work_pools\nfor path, text in work_pools.files():\n    assert path.read_text() == text, path"
    done = subprocess.run([sys.executable, "-c", script], cwd=K8S, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"run `make work-pools`: {done.stderr}"


def test_unknown_variable_is_refused() -> None:
    """A mistyped name in a pools.yaml does not go unseen."""
    script = "import work_pools; work_pools.template('cpu', {'gpus': 2})"
    done = subprocess.run([sys.executable, "-c", script], cwd=K8S, capture_output=True, text=True, check=False)
    assert "pool cpu has no variable gpus" in done.stderr


@pytest.mark.parametrize("pool", POOLS)
def test_prefect_takes_the_template(pool: str) -> None:
    """Prefect's server accepts it, every variable is described, and every default fulfils its own schema."""
    template = base_template(pool)
    WorkPoolCreate(name=f"callscribe-{pool}", type="kubernetes", base_job_template=template)
    properties = template["variables"]["properties"]
    assert [] == [name for name, schema in properties.items() if not schema.get("description") or "type" not in schema]
    defaults = {name: schema["default"] for name, schema in properties.items() if "default" in schema}
    validate({"image": "callscribe", **defaults}, template["variables"], raise_on_error=True)


@pytest.mark.parametrize("pool", POOLS)
def test_rendered_job_is_the_golden_one(pool: str) -> None:
    """What the worker makes of the template; to take a change over, write the file that the message names anew."""
    golden = GOLDEN / f"job-{pool}.yaml"
    made = yaml.safe_dump(job_of(base_template(pool), pool), sort_keys=True, width=120)
    assert yaml.safe_load(golden.read_text(encoding="utf-8")) == yaml.safe_load(made), f"{golden}:\n{made}"


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("nodes", [[], ["gpu-7"], [f"gpu-{number}" for number in range(8)]])
def test_excluded_nodes_are_avoided(pool: str, nodes: list[str]) -> None:
    """Also of an empty list comes a valid anti-affinity: `NotIn` always has a value."""
    template = base_template(pool)
    pod = job_of(template, pool, {"excluded_nodes": nodes})["spec"]["template"]["spec"]
    affinity = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    (expression,) = affinity["nodeSelectorTerms"][0]["matchExpressions"]
    assert expression == {
        "key": "kubernetes.io/hostname", "operator": "NotIn", "values": ["no-node-is-excluded", *nodes]
    }  # fmt: skip
    validate({"image": "callscribe", "excluded_nodes": nodes}, template["variables"], raise_on_error=True)


def test_knobs_reach_the_job() -> None:
    """What is set for a run stands in its Job: environment, queue, memory, grace, sigterm behaviour, Pushgateway."""
    values = {
        "env": {"CALLSCRIBE_RUN__CHECKPOINT_EVERY_S": "60"}, "queue_name": "callscribe", "memory_limit": "24Gi",
        "memory_request": "24Gi", "grace_period_s": 25, "sigterm_behavior": "relinquish", "labels": {"team": "voice"},
        "metrics_push_url": "http://push:9091", "runtime_class_name": "nvidia", "hung_after_min": 15,
        "models_volume": {"name": "models", "persistentVolumeClaim": {"claimName": "other", "readOnly": True}},
    }  # fmt: skip
    job = job_of(base_template("gpu"), "gpu", values)
    pod = job["spec"]["template"]["spec"]
    (container,) = containers(pod)
    environment = {each["name"]: each.get("value") for each in container["env"]}
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "callscribe"
    assert job["spec"]["template"]["metadata"]["labels"]["team"] == "voice"
    assert "suspend" not in job["spec"]
    assert environment["CALLSCRIBE_RUN__CHECKPOINT_EVERY_S"] == "60"
    assert environment["CALLSCRIBE_METRICS__PUSH_URL"] == "http://push:9091"
    assert environment["PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR"] == "relinquish"
    assert container["resources"]["limits"]["memory"] == "24Gi"
    assert pod["terminationGracePeriodSeconds"] == 25
    assert pod["runtimeClassName"] == "nvidia"
    assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == "other"
    assert "-mmin -15)" in container["livenessProbe"]["exec"]["command"][-1]


@pytest.mark.parametrize("pool", POOLS)
def test_metrics_are_served_or_pushed_by_every_pool(pool: str) -> None:
    """A run's own metrics (`callscribe_run_*`) come from the pods of `control`, and alerts are made of them."""
    job = job_of(base_template(pool), pool, {"metrics_push_url": "http://push:9091"})
    (container,) = containers(job["spec"]["template"]["spec"])
    environment = {each["name"]: each.get("value") for each in container["env"]}
    assert environment["CALLSCRIBE_METRICS__PUSH_URL"] == "http://push:9091"
    (port,) = container["ports"]
    assert (port["name"], str(port["containerPort"])) == ("metrics", environment["CALLSCRIBE_METRICS__PORT"])
    unprobed = {"livenessProbe", "startupProbe"} if pool == "control" else set()
    assert unprobed & container.keys() == set()


def test_liveness_is_told_by_the_age_of_the_heartbeat(tmp_path: Path) -> None:
    """The probe's own command: fresh, too old, and not there."""
    (container,) = containers(job_of(base_template("gpu"), "gpu")["spec"]["template"]["spec"])
    heartbeat = tmp_path / "heartbeat"
    command = json.loads(
        json.dumps(container["livenessProbe"]["exec"]["command"]).replace("/scratch/heartbeat", str(heartbeat))
    )

    def lives() -> bool:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    assert not lives()
    heartbeat.touch()
    assert lives()
    subprocess.run(["touch", "-d", "25 minutes ago", str(heartbeat)], check=True)
    assert not lives()
