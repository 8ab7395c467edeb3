"""The dashboard and the alert rules: they are well-formed, and name no metric, label or runbook that there is not."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prefect.events.schemas.automations import AutomationCore, EventTrigger
from prometheus_client.metrics import MetricWrapperBase
from promql_parser import AggregateExpr, BinaryExpr, Expr, VectorSelector

from flows.docs import ROOT, all_metrics, metric_rows, operator_rules
from flows.foreman import WAITING_EVENT
from tasks.metrics import REGISTRY

FOLDER = ROOT / "k8s" / "observability"
RULES = FOLDER / "alerts.rules.yaml"
# Labels that Prometheus gives every series.
SCRAPED = {"instance", "job", "namespace", "pod"}


def _known() -> dict[str, set[str]]:
    """The labels of every metric, by name."""
    own = {row[0].strip("`"): set(metric._labelnames) for row, metric in zip(metric_rows(), all_metrics(), strict=True)}
    process = {family.name: set() for family in REGISTRY.collect() if family.name.startswith("process_")}
    return {name: labels | SCRAPED for name, labels in (own | process).items()}


def _alerts() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return list(group["rules"])


def _panels() -> list[dict[str, Any]]:
    dashboard = json.loads((FOLDER / "dashboard.json").read_text(encoding="utf-8"))
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def _expressions() -> Iterator[Any]:
    for alert in _alerts():
        yield pytest.param(alert["expr"], id=alert["alert"])
    for panel in _panels():
        for target in panel["targets"]:
            yield pytest.param(target["expr"], id=f"{panel['title']} {target['refId']}")


def _parts(expression: str) -> list[Expr]:
    """Every part of a PromQL expression, in which the dashboard's variables stand for a time."""
    parts: list[Expr] = []
    parsed = promql_parser.parse(re.sub(r"\$__(rate_interval|range)", "10m", expression))
    promql_parser.walk(parsed, lambda part: parts.append(part), lambda _: None)  # noqa: PLW0108  # it must give None
    return parts


@pytest.mark.parametrize("expression", _expressions())
def test_expressions_name_what_there_is(expression: str) -> None:
    """They are PromQL, of metrics that there are, selected and grouped by labels that these have."""
    known = _known()
    parts = _parts(expression)
    selectors = [part for part in parts if isinstance(part, VectorSelector)]
    assert [] == [one.name for one in selectors if one.name not in known]
    for one in selectors:
        assert set() == {matcher.name for matcher in one.matchers.matchers} - known[one.name], one.name
    labels = set().union(*(known[one.name] for one in selectors)) if selectors else set()
    grouped = [part.modifier.labels for part in parts if isinstance(part, AggregateExpr) and part.modifier]
    matched = [
        part.modifier.matching.labels
        for part in parts
        if isinstance(part, BinaryExpr) and part.modifier and part.modifier.matching
    ]
    assert set() == {label for found in (*grouped, *matched) for label in found} - labels


def test_the_check_finds_what_is_wrong() -> None:
    """Neither a metric nor a label that there is not passes."""
    for wrong in (
        "callscribe_cals_total",
        'callscribe_calls_total{call_id="1"}',
        "sum by (call) (callscribe_certificates)",
    ):
        with pytest.raises(AssertionError):
            test_expressions_name_what_there_is(wrong)


@pytest.mark.parametrize("alert", _alerts(), ids=lambda alert: str(alert["alert"]))
def test_every_alert_is_explained(alert: dict[str, Any]) -> None:
    """It has a summary, a description, a severity, and a runbook with steps in docs/operations.md."""
    notes = alert["annotations"]
    assert {"summary", "description", "runbook_url"} == notes.keys()
    assert alert["labels"]["severity"] in {"warning", "critical"}
    assert f"docs/operations.md#{alert['alert'].lower()}" == notes["runbook_url"]
    document = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    (section,) = re.findall(rf"^### {alert['alert']}\n(.*?)(?=^##|\Z)", document, re.DOTALL | re.MULTILINE)
    assert "\n1. " in section or "\n- " in section
    used = set(re.findall(r"\$labels\.(\w+)", notes["summary"]))
    known = _known()
    metrics = [part.name for part in _parts(alert["expr"]) if isinstance(part, VectorSelector)]
    assert used <= set().union(*(known[name] for name in metrics)) - SCRAPED


def test_both_forms_of_the_alerts_are_one() -> None:
    """The operator's resource is generated, and holds the very rules."""
    rules = RULES.read_text(encoding="utf-8")
    written = (FOLDER / "alerts.yaml").read_text(encoding="utf-8")
    assert operator_rules(rules) == written
    assert yaml.safe_load(rules) == yaml.safe_load(written)["spec"]


def test_the_dashboard_is_whole() -> None:
    """Grafana 11 can import it: ids differ, no panels overlap, every panel asks the chosen data source."""
    dashboard = json.loads((FOLDER / "dashboard.json").read_text(encoding="utf-8"))
    assert {"datasource": "datasource", "run": "query"} == {
        one["name"]: one["type"] for one in dashboard["templating"]["list"]
    }
    assert dashboard["schemaVersion"] == 39
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert sorted(set(ids)) == ids
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert set() == cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
    for panel in _panels():
        assert {"type": "prometheus", "uid": "${datasource}"} == panel["datasource"]
        assert all(panel["datasource"] == target["datasource"] for target in panel["targets"])


def test_every_metric_is_looked_at() -> None:
    """The dashboard or an alert shows each metric; what nobody looks at need not be counted."""
    shown = " ".join(parameters.values[0] for parameters in _expressions())
    unseen = {name for name in _known() if name not in shown and not name.startswith("process_")}
    assert set() == unseen


def test_automations_are_automations() -> None:
    """Prefect reads them; they name the event that runs emit, and tags that deployments have."""
    said = yaml.safe_load((FOLDER / "automations.yaml").read_text(encoding="utf-8"))["automations"]
    waits, ended = (AutomationCore.model_validate(one) for one in said)
    assert isinstance(waits.trigger, EventTrigger)
    assert {WAITING_EVENT} == waits.trigger.expect
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    tags = {f"prefect.tag.{tag}" for one in deployments for tag in one["tags"]}
    assert isinstance(ended.trigger, EventTrigger)
    assert set(said[1]["trigger"]["match_related"]["prefect.resource.id"]) <= tags


def test_metrics_are_named_as_prometheus_wants() -> None:
    """By their unit, and counters by `_total`; all of them ours."""
    for name, kind, _, text in metric_rows():
        assert name.startswith("`callscribe_")
        assert ("counter" == kind) == name.endswith("_total`"), name
        assert text.endswith((".", "1.")), name
    assert all(isinstance(metric, MetricWrapperBase) or metric.name for metric in all_metrics())


@pytest.fixture
def promtool() -> str:
    """Prometheus's own tool."""
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not installed: apt-get install prometheus")
    return found


@pytest.mark.long
def test_alerts_fire_when_they_should(promtool: str, tmp_path: Path) -> None:
    """Prometheus itself reads the rules, and fires each at the time at which it should, and at no other."""
    shutil.copy(RULES, tmp_path)
    shutil.copy(Path(__file__).with_name("alerts.test.yaml"), tmp_path)
    done = subprocess.run(
        [promtool, "test", "rules", "alerts.test.yaml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert 0 == done.returncode, done.stdout + done.stderr


@pytest.fixture
def kubectl() -> str:
    """Kubernetes's own tool, for kustomize."""
    found = shutil.which("kubectl")
    if found is None:
        pytest.skip("kubectl is not installed")
    return found


def test_the_component_is_built(kubectl: str, tmp_path: Path) -> None:
    """An overlay that uses the component gets what is scraped, the alerts, the dashboard and the service."""
    shutil.copytree(FOLDER, tmp_path / "observability")
    shutil.copytree(ROOT / "k8s/components/observability", tmp_path / "components/observability")
    overlay = tmp_path / "overlay"
    overlay.mkdir()
    (overlay / "kustomization.yaml").write_text(
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nnamespace: callscribe\n"
        "components: [../components/observability]\n"
    )
    done = subprocess.run([kubectl, "kustomize", str(overlay)], capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stderr
    found = {one["kind"]: one for one in yaml.safe_load_all(done.stdout)}
    assert {"ConfigMap", "Deployment", "NetworkPolicy", "PodMonitor", "PrometheusRule"} == found.keys()
    assert {"callscribe"} == {one["metadata"]["namespace"] for one in found.values()}
    (container,) = found["Deployment"]["spec"]["template"]["spec"]["containers"]
    (port,) = container["ports"]
    (endpoint,) = found["PodMonitor"]["spec"]["podMetricsEndpoints"]
    (allowed,) = found["NetworkPolicy"]["spec"]["ingress"][0]["ports"]
    assert [port["name"]] * 2 == [endpoint["port"], allowed["port"]]
    variables = {one["name"]: one["value"] for one in container["env"]}
    assert str(port["containerPort"]) == variables["CALLSCRIBE_METRICS__PORT"]
    labels = found["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert found["PodMonitor"]["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert json.loads(found["ConfigMap"]["data"]["callscribe.json"])["uid"] == "callscribe"
