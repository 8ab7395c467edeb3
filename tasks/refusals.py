"""Jobs that were not begun because their device was not what was asked for: `_runs/<run_id>/refusals/`."""

from __future__ import annotations

import json
import secrets
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from tasks.storage import Storage

NODE_REFUSALS = 2
RUN_REFUSALS = 5


@dataclass(frozen=True, slots=True)
class Refusal:
    """One."""

    job: int
    node: str
    device: str
    seen: str
    at: str


def note_refusal(storage: Storage, run_id: str, job: int, node: str, device: str, seen: str) -> None:
    """Write one down."""
    refusal = Refusal(job, node, device, seen, datetime.now(UTC).isoformat(timespec="seconds"))
    key = f"_runs/{run_id}/refusals/job-{job:04d}-{secrets.token_hex(4)}.json"
    storage.put(key, json.dumps(asdict(refusal)).encode())


def refusals(storage: Storage, run_id: str) -> list[Refusal]:
    """All of a run."""
    found = [json.loads(storage.get(info.key).data) for info in storage.list(f"_runs/{run_id}/refusals/")]
    return sorted((Refusal(**one) for one in found), key=lambda one: one.at)


def excluded_nodes(known: Sequence[Refusal]) -> tuple[str, ...]:
    """Nodes that have refused twice."""
    counts = Counter(one.node for one in known)
    return tuple(sorted(node for node, count in counts.items() if count >= NODE_REFUSALS))


def must_stop(known: Sequence[Refusal]) -> bool:
    """Whether there are too many."""
    return len(known) >= RUN_REFUSALS
