"""What is kept of an accepted run: its verdict, and the counts of each call, without a call_id and without a word.

The counts lie beside the verdict (`tasks.gates`), each call under the digest of its call_id: the next run on the same
set is held against the same calls, one by one, and whoever reads the object learns of no call.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from evaluation.evaluation_set import EvaluationSet
from evaluation.gate import Accepted, Ruling
from evaluation.gate_rules import Gate
from evaluation.intervals import Counts
from evaluation.measures import measures_of
from evaluation.report import Report
from evaluation.score import CallScore
from tasks.certificates import package_versions
from tasks.errors import SettingsError
from tasks.gates import Verdict, counts_key, history
from tasks.run_models import Fingerprints
from tasks.storage import Storage


def verdict_of(
    known: EvaluationSet,
    report: Report,
    gate: Gate,
    rulings: Sequence[Ruling],
    models: Fingerprints,
    rows: Iterable[Mapping[str, Any]],
    *,
    gate_text: str,
    accepted_by: str = "",
    notes: str = "",
) -> Verdict:
    """The verdict on a set, as it is kept.

    Args:
        known: the set.
        report: its scores and figures.
        gate: the rules.
        rulings: what came of each.
        models: with what it was transcribed.
        rows: rows of `calls` of the transcripts.
        gate_text: the gate file.
        accepted_by: who accepts it.
        notes: and why.
    """
    return Verdict(
        set=gate.name or known.name,
        set_digest=known.digest,
        passed=all(one.passed for one in rulings),
        bundle=models.bundle,
        bundle_digest=models.bundle_digest,
        fingerprint=models.plain,
        fingerprint_any_type=models.any_type,
        compute_type=models.compute_type,
        accepted_at=datetime.now(UTC).isoformat(timespec="seconds"),
        accepted_by=accepted_by,
        notes=notes,
        calls=len(report.score.calls),
        devices=dict(Counter(str(row["device"]) for row in rows if row.get("device"))),
        versions=package_versions(),
        gate=_told(gate),
        gate_sha256=hashlib.sha256(gate_text.encode()).hexdigest(),
        rules=tuple({"rule": one.rule, "passed": one.passed, "reason": one.reason} for one in rulings),
        figures={
            one.measure.key: {
                "value": one.value,
                "low": one.interval.low if one.interval else None,
                "high": one.interval.high if one.interval else None,
                "calls": one.calls,
            }
            for one in report.figures
        },
    )


def counts_of(calls: Sequence[CallScore]) -> bytes:
    """The counts of each call by measure, as JSON; `read_counts` reads them."""
    content = {
        "calls": [_digest(call.call_id) for call in calls],
        "counts": {
            measure.key: [[_short(count) for count in measure.counts(call)] for call in calls]
            for measure in measures_of(calls)
        },
    }
    return json.dumps(content, separators=(",", ":"), sort_keys=True).encode()


def read_counts(data: bytes, calls: Sequence[CallScore]) -> dict[str, Counts]:
    """The counts of an accepted run for the calls of another one, in their order.

    Raises:
        SettingsError: they are of other calls.
    """
    content = json.loads(data)
    at = {name: place for place, name in enumerate(content["calls"])}
    wanted = [_digest(call.call_id) for call in calls]
    if at.keys() != set(wanted):
        message = f"it was accepted of {len(at)} calls, of which {len(at.keys() & set(wanted))} are in this set"
        raise SettingsError(message)
    order = [at[name] for name in wanted]
    return {key: np.array(rows, dtype=np.float64)[order] for key, rows in content["counts"].items()}


def accepted_before(storage: Storage, gate: Gate, known: EvaluationSet, calls: Sequence[CallScore]) -> Accepted | None:
    """The run that was accepted last on a set; None where there is none.

    Raises:
        SettingsError: it was accepted on other cases or references, so that nothing can be held against it, or what is
            kept of it was altered.
    """
    name = gate.name or known.name
    last = next(history(storage, name), None)
    if last is None:
        return None
    told = f"run {last.number} on {name}, accepted on {last.accepted_at[:10]}"
    remedy = (
        "accept the set as it is with --anew, which compares nothing; or name another history in the gate file (name)"
    )
    if last.set_digest != known.digest:
        message = f"{told}, had other cases or references ({last.set_digest[:12]}, now {known.digest[:12]}): {remedy}"
        raise SettingsError(message)
    data = storage.get(counts_key(last)).data
    if hashlib.sha256(data).hexdigest() != last.counts_sha256:
        message = f"the counts of {told}, were altered: {storage.object_uri(counts_key(last))}; {remedy}"
        raise SettingsError(message)
    try:
        return Accepted(told, read_counts(data, calls))
    except SettingsError as error:
        message = f"{told}: {error.message}; {remedy}"
        raise SettingsError(message) from error


def _digest(call_id: str) -> str:
    return hashlib.sha256(call_id.encode()).hexdigest()


def _short(count: float) -> float:
    """Whole numbers as such: most are."""
    return int(count) if float(count).is_integer() else round(float(count), 9)


def _told(gate: Gate) -> dict[str, Any]:
    """The rules in JSON's types."""
    from pydantic import TypeAdapter

    return dict(TypeAdapter(Gate).dump_python(gate, mode="json", exclude_none=True))
