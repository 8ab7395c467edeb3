"""What is wrong between Prefect, a cluster and a data set, and how it is mended: decisions over plain records only.

Prefect may hold that a flow run is pending or running whose Kubernetes Job is gone (a worker died while it made one,
or was away when the Job was removed), and such a run keeps a slot for ever; a Job may outlive its flow run; and a run
over a month may have lost its parent, so that nobody submits its jobs any more.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

State = Literal["scheduled", "pending", "running", "cancelling", "over"]
Repair = Literal["crash", "reschedule", "cancel", "delete", "restart"]
"""What is done.

- `crash`: the flow run is given the state Crashed; the parent of a job then submits the next try.
- `reschedule`: the flow run, which never began, is given the state Scheduled, and a worker takes it up.
- `cancel`: the flow run, which somebody is cancelling, is given the state Cancelled.
- `delete`: the Kubernetes Job is deleted.
- `restart`: the parent is submitted again, and goes on with its run.
"""


@dataclass(frozen=True, slots=True)
class FlowRunSeen:
    """A flow run in one of our Kubernetes work pools.

    Attributes:
        id: as Prefect has it.
        name: for people.
        state: the type of its state.
        for_s: how long it has been in that state.
        is_job: whether it is a try at a job, which its parent submits again.
    """

    id: str
    name: str
    state: State
    for_s: float
    is_job: bool


@dataclass(frozen=True, slots=True)
class ClusterJob:
    """A Kubernetes Job that a worker has made.

    Attributes:
        name: of the Job.
        flow_run_id: of its flow run, by its label.
        age_s: since it was made.
        live: whether it has neither completed nor failed, and is not being deleted.
    """

    name: str
    flow_run_id: str
    age_s: float
    live: bool


@dataclass(frozen=True, slots=True)
class Orphan:
    """A run or backfill over a month that has not ended, and whose process does not renew its lease any more.

    Attributes:
        kind: `run` or `backfill`.
        month: `YYYY-MM`.
        run_id: as the lease says.
    """

    kind: str
    month: str
    run_id: str


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong.

    Attributes:
        repair: what mends it.
        subject: id of the flow run, name of the Job, or run_id.
        name: for people.
        why: what was seen, as a sentence.
    """

    repair: Repair
    subject: str
    name: str
    why: str


def findings(runs: Iterable[FlowRunSeen], jobs: Iterable[ClusterJob], grace_s: float) -> list[Finding]:
    """What does not fit between flow runs and Kubernetes Jobs; nothing that is younger than the grace.

    Args:
        runs: flow runs that are not over, and those of any Job. A Job whose flow run is not among them belongs to one
            that was deleted.
        jobs: all Jobs that carry the label of a flow run. They must have been listed after the flow runs: a Job that
            is made between the two looks is then seen, and one of a flow run that has just begun not taken for lost.
        grace_s: how long a flow run may be without its Job, or a Job outlive its flow run.
    """
    seen = list(runs)
    of_run: defaultdict[str, list[ClusterJob]] = defaultdict(list)
    for job in jobs:
        of_run[job.flow_run_id].append(job)
    found = [finding for run in seen if (finding := _of_flow_run(run, of_run[run.id], grace_s)) is not None]
    states = {run.id: run for run in seen}
    for flow_run_id, its_jobs in of_run.items():
        found += [
            finding for job in its_jobs if (finding := _of_job(job, states.get(flow_run_id), grace_s)) is not None
        ]
    return found


def _of_flow_run(run: FlowRunSeen, jobs: Sequence[ClusterJob], grace_s: float) -> Finding | None:
    if run.state in {"scheduled", "over"} or run.for_s < grace_s or any(job.live for job in jobs):
        return None
    what = f"has been {run.state} for {run.for_s:,.0f} s, and "
    what += f"its Kubernetes Job {jobs[-1].name} has ended" if jobs else "has no Kubernetes Job"
    if run.state == "cancelling":
        return Finding("cancel", run.id, run.name, what)
    if run.state == "pending" and not run.is_job:
        return Finding("reschedule", run.id, run.name, what)
    return Finding("crash", run.id, run.name, what)


def _of_job(job: ClusterJob, run: FlowRunSeen | None, grace_s: float) -> Finding | None:
    if not job.live or job.age_s < grace_s:
        return None
    if run is None:
        return Finding("delete", job.name, job.name, "its flow run was deleted")
    if run.state == "over" and run.for_s >= grace_s:
        return Finding("delete", job.name, job.name, f"its flow run {run.name} was over {run.for_s:,.0f} s ago")
    return None


def restarts(orphans: Iterable[Orphan], parents: Mapping[tuple[str, str], bool]) -> list[Finding]:
    """Which runs over months are begun again: those that nobody works on, and that nobody is about to.

    Args:
        orphans: runs and backfills without a living process.
        parents: for kind and month, whether a flow run for it waits or is under way.
    """
    return [
        Finding(
            "restart",
            orphan.run_id,
            f"{orphan.kind} over {orphan.month}",
            f"{orphan.run_id} has not ended, and nobody works on it",
        )
        for orphan in orphans
        if not parents.get((orphan.kind, orphan.month), False)
    ]
