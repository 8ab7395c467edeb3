"""What is wrong between Prefect, a cluster and a data set: decisions over plain records."""

import pytest

from tasks.stale import ClusterJob, Finding, FlowRunSeen, Orphan, Repair, State, findings, restarts

GRACE_S = 300.0


def _run(state: State, for_s: float = 1000.0, *, is_job: bool = True) -> FlowRunSeen:
    return FlowRunSeen("r1", "a-run", state, for_s, is_job)


def _job(*, live: bool = True, age_s: float = 1000.0, flow_run_id: str = "r1") -> ClusterJob:
    return ClusterJob("a-job", flow_run_id, age_s, live)


@pytest.mark.parametrize(
    ("run", "jobs", "repair"),
    [
        (_run("pending"), [], "crash"),
        (_run("pending"), [_job(live=False)], "crash"),
        (_run("pending"), [_job()], None),
        (_run("pending", 10), [], None),
        (_run("pending", is_job=False), [], "reschedule"),
        (_run("running"), [], "crash"),
        (_run("running", is_job=False), [], "crash"),
        (_run("running"), [_job(live=False)], "crash"),
        (_run("running"), [_job(live=False), _job()], None),
        (_run("running", 10), [], None),
        (_run("cancelling"), [], "cancel"),
        (_run("cancelling"), [_job()], None),
        (_run("scheduled"), [], None),
        (_run("over"), [], None),
        (_run("over"), [_job(live=False)], None),
        (_run("over"), [_job()], "delete"),
        (_run("over", 10), [_job()], None),
        (None, [_job()], "delete"),
        (None, [_job(age_s=10)], None),
        (None, [_job(live=False)], None),
    ],
)
def test_flow_runs_and_jobs(run: FlowRunSeen | None, jobs: list[ClusterJob], repair: Repair | None) -> None:
    """Each with nothing else wrong."""
    found = findings([run] if run else [], jobs, GRACE_S)
    expected = [] if repair is None else [repair]
    assert expected == [finding.repair for finding in found]


def test_why_is_said() -> None:
    """With names and times."""
    assert [
        Finding("crash", "r1", "a-run", "has been running for 1,000 s, and its Kubernetes Job a-job has ended")
    ] == findings([_run("running")], [_job(live=False)], GRACE_S)


def test_every_flow_run_is_looked_at_for_itself() -> None:
    """A Job of another one keeps none alive."""
    runs = [FlowRunSeen(f"r{number}", f"run-{number}", "running", 1000.0, is_job=True) for number in range(3)]
    assert ["r0", "r2"] == [one.subject for one in findings(runs, [_job()], GRACE_S)]


def test_a_month_is_begun_again_where_nobody_is_about_to() -> None:
    """By kind and month."""
    orphans = [Orphan("run", "2026-10", "a"), Orphan("backfill", "2026-10", "b"), Orphan("run", "2026-09", "c")]
    found = restarts(orphans, {("run", "2026-10"): True, ("run", "2026-09"): False})
    assert ["b", "c"] == [one.subject for one in found]
