"""Jobs that were not done because their device could not: `_runs/<run_id>/refusals/job-0001-<random>.json`, one each.

A job whose device does not pass the gate takes no work: no call is failed, and no attempt is counted. What is to be
learnt from it is about the node: whoever submits jobs passes by nodes on which it happened twice, and stops where it
has happened too often, as nothing but the GPUs can be wrong then.
"""

from __future__ import annotations

import json
import secrets
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from tasks.errors import ObjectVanished
from tasks.storage import Storage

# Refusals on a node, after which it is passed by; and in a run, after which no more jobs are submitted.
MOST_ON_NODE = 2
MOST_IN_RUN = 5


@dataclass(frozen=True, slots=True)
class Refusal:
    """A job that was not done because of its device.

    Attributes:
        job: its number.
        node: the machine.
        device: that was asked for, as `cuda:0`.
        seen: the sentence that says what is wrong, and what to do.
        at: when, UTC, ISO 8601.
        at_work: whether the device had passed the gate, and failed later: what was finished by then stands.
        instead: `cpu` or `fallback`, where the job was to be done so instead of as planned.
    """

    job: int
    node: str
    device: str
    seen: str
    at: str
    at_work: bool = False
    instead: str | None = None


def note_refusal(
    storage: Storage,
    run_id: str,
    job: int,
    node: str,
    device: str,
    seen: str,
    *,
    at_work: bool = False,
    instead: str | None = None,
) -> None:
    """Write down that a job was not done because of its device."""
    at = datetime.now(UTC).isoformat(timespec="seconds")
    content = json.dumps(asdict(Refusal(job, node, device, seen, at, at_work, instead)))
    storage.put(f"{_folder(run_id)}job-{job:04d}-{secrets.token_hex(4)}.json", content.encode())


def refusals(storage: Storage, run_id: str) -> list[Refusal]:
    """All of a run, in order of time."""
    found = []
    for info in list(storage.list(_folder(run_id))):
        try:
            found.append(Refusal(**json.loads(storage.get(info.key).data)))
        except ObjectVanished:
            continue
    return sorted(found, key=lambda one: one.at)


def forget_refusals(storage: Storage, run_id: str) -> None:
    """Remove them: somebody has mended the nodes, and starts the run again."""
    for info in list(storage.list(_folder(run_id))):
        storage.delete(info.key)


def excluded_nodes(found: Iterable[Refusal]) -> tuple[str, ...]:
    """The nodes on which no more jobs of the run are to start, sorted.

    >>> one, other = (Refusal(1, node, "cuda", "no driver", "2026-10-01T00:00:00+00:00") for node in ("a", "b"))
    >>> excluded_nodes([one, other, one])
    ('a',)
    """
    counted = Counter(one.node for one in found)
    return tuple(sorted(node for node, count in counted.items() if count >= MOST_ON_NODE))


def must_stop(found: Iterable[Refusal]) -> bool:
    """Whether no more jobs are to be submitted. A device that fails at work says nothing of the others: not counted."""
    return sum(not one.at_work for one in found) >= MOST_IN_RUN


def _folder(run_id: str) -> str:
    return f"_runs/{run_id}/refusals/"
