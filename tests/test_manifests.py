"""The manifests of k8s/: they build, are valid, and hold together. Nothing here needs a cluster."""

import copy
import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from kubernetes_validate import utils
from kubernetes_validate.utils import major_minor
from packaging.version import Version

from tasks.settings import ENV_PREFIX, Settings, setting_rows
from tests.manifest_rules import RULES, amount, images_are_pinned
from tests.manifests import (
    K8S,
    OVERLAYS,
    POOLS,
    Object,
    base_template,
    containers,
    job_of,
    kustomized,
    named,
    need_kubectl,
    overlay,
    pods,
)

# The three newest that the validator knows.
VERSIONS = sorted({major_minor(version) for version in utils.all_versions()}, key=Version)[-3:]
KUEUE = "kueue.x-k8s.io/"


@pytest.fixture
def _schemas_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The validator reads a schema of a megabyte for every object."""
    monkeypatch.setattr(utils, "schema_contents", cache(utils.schema_contents))


def valid(objects: list[Object], version: str) -> None:
    """Hold objects against the strict schemas of a Kubernetes version; what several overlays share, once."""
    distinct = {json.dumps(each, sort_keys=True): each for each in objects}
    for each in distinct.values():
        if each["apiVersion"].startswith(KUEUE):
            continue  # a custom resource: Kubernetes has no schema of it
        checked = copy.deepcopy(each)
        if checked["kind"] == "Job":
            # prefect-kubernetes insists on these two where Kubernetes has no such fields, and its API passes over them.
            for field in ("parallelism", "completions"):
                checked["spec"]["template"]["spec"].pop(field, None)
        try:
            kubernetes_validate.validate(checked, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            message = f"{each['kind']} {each['metadata'].get('name')}: {error.message}"
            raise AssertionError(message) from error


@pytest.mark.usefixtures("_schemas_are_read_once")
@pytest.mark.parametrize("version", VERSIONS)
def test_manifests_are_valid(version: str) -> None:
    """Of the base, of every overlay, and of the Jobs that the work pools make."""
    base = [*kustomized("base"), *(job_of(base_template(pool), pool) for pool in POOLS)]
    valid([*base, *(each for name in OVERLAYS for each in overlay(name))], version)


def test_schemas_are_strict() -> None:
    """A field that is none is found; else the test above says little."""
    objects = kustomized("base")
    objects[0]["metadata"]["nome"] = "x"
    with pytest.raises(AssertionError, match="nome"):
        valid(objects[:1], VERSIONS[-1])


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("name", OVERLAYS)
def test_overlay_holds_together(name: str, rule: Callable[[list[Object]], Iterator[str]]) -> None:
    """Every rule of tests/manifest_rules.py finds nothing."""
    assert list(rule(overlay(name))) == []


@pytest.mark.parametrize("component", sorted(path.parent.name for path in K8S.glob("components/*/kustomization.yaml")))
def test_base_and_a_component_hold_together(component: str, tmp_path: Path) -> None:
    """Whatever a component adds is in the namespace, and finds what it names."""
    need_kubectl()
    folders = {"resources": ["base"], "components": [f"components/{component}"]}
    parts = {key: [os.path.relpath(K8S / one, tmp_path.resolve()) for one in said] for key, said in folders.items()}
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(parts), encoding="utf-8")
    done = subprocess.run(["kubectl", "kustomize", tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    objects = list(yaml.safe_load_all(done.stdout))
    assert len(objects) >= len(kustomized("base"))
    jobs = [job_of(base_template(pool), pool) for pool in POOLS]
    reconciler = {"component": "reconciler", "service_account_name": "callscribe-reconciler"}
    jobs.append(job_of(base_template("control"), "control", {**reconciler, "automount_service_account_token": True}))
    rules = [rule for rule in RULES if rule is not images_are_pinned]  # overlays have digests
    assert [problem for rule in rules for problem in rule([*objects, *jobs])] == []


BROKEN: tuple[tuple[str, Callable[[list[Object]], object]], ...] = (
    ("has no digest", lambda objects: _pod(objects)["containers"][0].update(image="callscribe:latest")),
    ("request and limit of nvidia.com/gpu differ",
     lambda objects: _pod(objects)["containers"][0]["resources"]["limits"].update({"nvidia.com/gpu": 2})),
    ("asks for more memory",
     lambda objects: _pod(objects)["containers"][0]["resources"]["limits"].update(memory="1Gi")),
    ("no ServiceAccount nobody", lambda objects: _pod(objects).update(serviceAccountName="nobody")),
    ("no PersistentVolumeClaim other",
     lambda objects: _pod(objects)["volumes"][0]["persistentVolumeClaim"].update(claimName="other")),
    ("podFailurePolicy names container worker",
     lambda objects: _job(objects)["spec"]["podFailurePolicy"]["rules"].append(
         {"action": "FailJob", "onExitCodes": {"containerName": "worker", "operator": "In", "values": [1]}})),
    ("its root file system can be written to",
     lambda objects: _pod(objects)["containers"][0]["securityContext"].update(readOnlyRootFilesystem=False)),
    ("no network policy lets it out",
     lambda objects: _job(objects)["spec"]["template"]["metadata"]["labels"].update(
         {"app.kubernetes.io/component": "other"})),
    ("no LocalQueue elsewhere",
     lambda objects: _job(objects)["metadata"]["labels"].update({"kueue.x-k8s.io/queue-name": "elsewhere"})),
    ("in namespace default", lambda objects: _job(objects)["metadata"].update(namespace="default")),
    ("its selector meets no pod",
     lambda objects: named(objects, "Deployment", "callscribe-observer")["spec"]["selector"]["matchLabels"].update(
         {"app.kubernetes.io/component": "observe"})),
)  # fmt: skip


def _job(objects: list[Object]) -> Object:
    return next(each for each in objects if each["kind"] == "Job" and "generateName" in each["metadata"])


def _pod(objects: list[Object]) -> Object:
    return dict.__getitem__(_job(objects)["spec"]["template"], "spec")


@pytest.mark.parametrize(("problem", "spoil"), BROKEN, ids=[problem for problem, _ in BROKEN])
def test_rules_see_what_is_wrong(problem: str, spoil: Callable[[list[Object]], object]) -> None:
    """A rule that finds nothing is only worth something where it can find something."""
    objects = overlay("cloud-spot-kueue")
    spoil(objects)
    found = [sentence for rule in RULES for sentence in rule(objects)]
    assert any(problem in sentence for sentence in found), found


@pytest.mark.parametrize("name", OVERLAYS)
def test_overlay_says_its_own_addresses(name: str) -> None:
    """Nothing of the base's stand-in is left, and only what fetches models, or talks to a cloud, may go anywhere."""
    policies = [each for each in kustomized(f"overlays/{name}") if each["kind"] == "NetworkPolicy"]
    assert len(policies) >= 6
    assert "192.0.2." not in yaml.safe_dump(policies)
    for policy in policies:
        for rule in policy["spec"].get("egress", ()):
            assert rule["ports"], policy["metadata"]["name"]
            assert rule["to"], policy["metadata"]["name"]


@pytest.mark.parametrize("name", OVERLAYS)
def test_slots_are_the_same_everywhere(name: str) -> None:
    """What a run submits, what the work pool lets through, and how many GPUs the quota has."""
    objects = kustomized(f"overlays/{name}")
    settings = named(objects, "ConfigMap", "callscribe-settings")["data"]
    told = named(objects, "ConfigMap", "callscribe-register")["data"]
    quota = named(objects, "ResourceQuota", "callscribe")["spec"]["hard"]
    assert settings["CALLSCRIBE_RUN__SLOTS"] == told["GPU_SLOTS"] == quota["requests.nvidia.com/gpu"]
    assert settings["CALLSCRIBE_ARCHIVE__TIMEZONE"] == told["SCHEDULE_TIMEZONE"]


@pytest.mark.parametrize("name", OVERLAYS)
def test_quota_has_room_for_all_slots(name: str) -> None:
    """All jobs of the GPU slots, the workers and a run fit into the quota beside each other."""
    objects = overlay(name)
    quota = named(objects, "ResourceQuota", "callscribe")["spec"]["hard"]
    slots = int(named(objects, "ConfigMap", "callscribe-register")["data"]["GPU_SLOTS"])
    for resource in ("cpu", "memory", "ephemeral-storage"):
        needed = sum(
            amount(container["resources"]["requests"][resource]) * (slots if "gpu-0001" in pod else 1)
            for pod, _, spec in pods(objects)
            if "cpu-0001" not in pod
            for container in containers(spec)
        )
        assert needed <= amount(quota[f"requests.{resource}"]), resource


@pytest.mark.parametrize("name", OVERLAYS)
def test_quota_has_room_for_the_jobs_of_a_month(name: str) -> None:
    """Of a month that is done within the time for which finished Jobs are kept, and of the reconciler meanwhile."""
    objects = kustomized(f"overlays/{name}")
    settings = named(objects, "ConfigMap", "callscribe-settings")["data"]
    job_hours = settings.get("CALLSCRIBE_RUN__JOB_HOURS", Settings().run.job_hours)
    jobs = float(settings["CALLSCRIBE_TRANSCRIPTS__MONTHLY_HOURS"]) / float(job_hours)
    kept = job_of(base_template("control"), "control")["spec"]["ttlSecondsAfterFinished"] / 600
    most = int(named(objects, "ResourceQuota", "callscribe")["spec"]["hard"]["count/jobs.batch"])
    assert 2 * jobs + kept <= most


@pytest.mark.parametrize("name", OVERLAYS)
def test_jobs_run_on_the_image_that_registers_them(name: str) -> None:
    """One image: of the workers, and what prefect.yaml gives to the jobs."""
    objects = kustomized(f"overlays/{name}")
    images = {
        container["image"] for pod, _, spec in pods(objects) if pod != "Job callscribe-models"
        for container in containers(spec)
    }  # fmt: skip
    (register,) = containers(named(objects, "Job", "callscribe-register")["spec"]["template"]["spec"])
    assert images == {next(each["value"] for each in register["env"] if each["name"] == "JOB_IMAGE")}


def test_least_rights() -> None:
    """What the accounts may ask the Kubernetes API; nothing is bound in the whole cluster, and nobody reads secrets."""
    objects = kustomized("base")
    assert [each for each in objects if each["kind"].startswith("Cluster")] == []
    rights = {
        each["metadata"]["name"]: {
            resource: rule["verbs"] for rule in each["rules"] for resource in rule["resources"]
        }
        for each in objects if each["kind"] == "Role"
    }  # fmt: skip
    assert rights == {
        "callscribe-worker": {
            "jobs": ["create", "get", "list", "watch", "delete"], "pods": ["get", "list", "watch"], "pods/log": ["get"],
        },
        "callscribe-reconciler": {"jobs": ["list", "delete"]},
    }  # fmt: skip


def test_namespace_is_restricted() -> None:
    """Kubernetes refuses pods that are not."""
    labels = named(kustomized("base"), "Namespace", "callscribe")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_ttl_is_longer_than_an_outage_and_deadline_is_generous() -> None:
    """What a worker that was away reads from a Job is still there two days later; the deadline counts queueing."""
    for pool in POOLS:
        spec = job_of(base_template(pool), pool)["spec"]
        assert spec["ttlSecondsAfterFinished"] >= 2 * 86400
        assert spec["activeDeadlineSeconds"] >= 86400
        assert spec["backoffLimit"] == 0


# Where a process runs, which is no setting (tasks.settings.whereabouts).
WHEREABOUTS = {"node", "pod"}


def test_settings_are_settings() -> None:
    """Every CALLSCRIBE_* variable of a manifest or template is a setting, so that no pod stops at its start."""
    known = {name for name, _, _ in setting_rows()} | WHEREABOUTS
    text = "".join(path.read_text(encoding="utf-8") for path in sorted(K8S.rglob("*.env")))
    text += "".join(yaml.safe_dump(job_of(base_template(pool), pool)) for pool in POOLS)
    text += yaml.safe_dump_all(kustomized("base"))
    found = {name.lower().replace("__", ".", 1) for name in re.findall(rf"\b{ENV_PREFIX}([A-Z][A-Z0-9_]*)\b", text)}
    assert found - known == set()
