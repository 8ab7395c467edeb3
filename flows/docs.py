"""`make docs`: write the tables of the documentation from the code they describe."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics import MetricWrapperBase

from evaluation.audio_formats import format_rows
from tasks import certificate_metrics, gpu_metrics
from tasks.metrics import JOB_METRICS, RUN_METRICS, WORKER_SECONDS
from tasks.schemas import View, column_rows
from tasks.settings import setting_rows

ROOT = Path(__file__).resolve().parent.parent
ALERTS = ROOT / "k8s" / "observability"
# The head of alerts.yaml: what is below it in alerts.rules.yaml, as the Prometheus operator wants it.
OPERATOR_HEAD = """\
# Written by `python -m flows.docs` from alerts.rules.yaml: change that one.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: callscribe
  labels:
    app.kubernetes.io/name: callscribe
    app.kubernetes.io/component: observability
spec:
"""
BENCHMARKS = ROOT / "evaluation" / "benchmarks"
# The benchmarks whose whole result stands in docs/sound.md.
OF_SOUND = ("snr", "crosstalk", "denoise", "long_calls", "codecs", "loading")
# … and those in docs/recognition.md.
OF_RECOGNITION = (
    "recognition",
    "windows",
    "chunking",
    "nonspeech",
    "word_times",
    "calibration",
    "hot_words",
    "languages",
    "many_calls",
    "gpu",
    "peers",
    "peers_large",
)
# … and those in docs/speakers.md.
OF_SPEAKERS = ("diarization", "voice_bounds", "hand_over", "attribution", "stages")

# … and those in docs/runs.md.
OF_RUNS = ("month", "month_flow", "dispatching")
# … and those in docs/one-machine.md.
OF_ONE_MACHINE = ("devices",)
# … and those in docs/data-set.md, beside the columns of the tables and of the view that is no table.
OF_DATA_SET = ("phrase_search",)
EXPLAINED: tuple[View, ...] = ("calls", "utterances", "changes", "runs")


def tables() -> dict[Path, dict[str, str]]:
    """For each document, the generated table under each marker."""
    header = ("column", "type", "meaning")
    columns: dict[str, str] = {
        str(name): _markdown(header, [(f"`{column}`", kind, text) for column, kind, text in column_rows(name)])
        for name in EXPLAINED
    }
    settings = _markdown(
        ("setting", "default", "meaning"),
        [(f"`{name}`", f"`{default}`" if default else "", text) for name, default, text in setting_rows()],
    )
    measured = (BENCHMARKS / "dev_calls.md").read_text(encoding="utf-8")
    scores = "".join(line for line in measured.splitlines(keepends=True) if line.startswith("|"))
    formats = _markdown(("format", "codec", "container", "a lost end is", "checked by"), format_rows())
    return {
        ROOT / "README.md": {"scores": scores, "settings": settings},
        ROOT / "docs" / "data-set.md": columns | _results(OF_DATA_SET),
        ROOT / "docs" / "formats.md": {"formats": formats},
        ROOT / "docs" / "sound.md": _results(OF_SOUND),
        ROOT / "docs" / "recognition.md": _results(OF_RECOGNITION),
        ROOT / "docs" / "speakers.md": _results(OF_SPEAKERS),
        ROOT / "docs" / "runs.md": _results(OF_RUNS),
        ROOT / "docs" / "one-machine.md": _results(OF_ONE_MACHINE),
        ROOT / "docs" / "operations.md": {"metrics": _markdown(("metric", "type", "labels", "meaning"), metric_rows())},
    }


def metric_rows() -> list[tuple[str, str, str, str]]:
    """Every metric of our own as (name, type, labels, meaning)."""
    rows = []
    for metric in all_metrics():
        (family,) = metric.describe() if isinstance(metric, MetricWrapperBase) else (metric,)
        labels = ", ".join(f"`{label}`" for label in metric._labelnames)  # noqa: SLF001  # there is no other way to ask
        total = "_total" if family.type == "counter" else ""
        rows.append((f"`{family.name}{total}`", family.type, labels, family.documentation))
    return rows


def all_metrics() -> list[MetricWrapperBase | CounterMetricFamily | GaugeMetricFamily]:
    """Every metric of our own, whatever gives it out."""
    return [
        *JOB_METRICS,
        *WORKER_SECONDS.describe(),
        *gpu_metrics.families(),
        *RUN_METRICS,
        *certificate_metrics.families(),
    ]


def operator_rules(rules: str) -> str:
    """Rules for Prometheus as the Prometheus operator wants them, in a PrometheusRule."""
    body = rules[rules.index("groups:") :]
    return OPERATOR_HEAD + "".join(f"  {line}" if line.strip() else line for line in body.splitlines(keepends=True))


def _results(names: Iterable[str]) -> dict[str, str]:
    return {name: (BENCHMARKS / f"{name}.md").read_text(encoding="utf-8") for name in names}


def filled(text: str, generated: dict[str, str]) -> str:
    """A document with what stands between `<!-- NAME begin -->` and `<!-- NAME end -->` replaced."""
    for name, table in generated.items():
        pattern = re.compile(rf"(<!-- {name} begin -->\n).*?(<!-- {name} end -->)", re.DOTALL)
        text, count = pattern.subn(lambda match, table=table: f"{match[1]}\n{table}\n{match[2]}", text)  # type: ignore[misc]  # mypy cannot type a default of a lambda
        if count != 1:
            message = f"the markers of the table {name!r} must stand in the document once, not {count} times"
            raise ValueError(message)
    return text


def main() -> None:
    """Rewrite every generated table."""
    for path, generated in tables().items():
        path.write_text(filled(path.read_text(encoding="utf-8"), generated), encoding="utf-8")
    rules = (ALERTS / "alerts.rules.yaml").read_text(encoding="utf-8")
    (ALERTS / "alerts.yaml").write_text(operator_rules(rules), encoding="utf-8")


def _markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    main()
