"""Mend what does not fit between Prefect, Kubernetes and a data set: the flow `reconcile`, and `callscribe reconcile`.

What is wrong is decided in `tasks.stale`; here it is looked up and mended. Nothing is taken for granted between the
look and the repair: a flow run whose state has changed meanwhile is left alone until the next look. All of it may be
done again at any time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID
from zoneinfo import ZoneInfo

from prefect import flow, get_run_logger
from prefect.artifacts import create_table_artifact
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterTags,
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
    WorkPoolFilterType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Crashed, Scheduled

from flows.flow_runs import PAGE
from flows.job import Overrides, open_transcripts
from tasks.active import orphans
from tasks.errors import ClusterUnreachable, SettingsError
from tasks.inventory import months_between, previous_month
from tasks.settings import Settings, load_settings
from tasks.stale import ClusterJob, Finding, FlowRunSeen, findings, restarts
from tasks.stale import State as SeenState

if TYPE_CHECKING:
    from kubernetes_asyncio.client import BatchV1Api, V1Job

JOBS_PAGE = 500
LABEL = "prefect.io/flow-run-id"
JOB_TAG = "transcribe-job"
PARENT_TAGS = ["archive-run", "backfill"]
# Crashed parents that are looked at, from the last one back.
PARENTS = 100
# A parent that has crashed so often within a day is left to people.
MOST_RESTARTS = 5
UNDER_WAY = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
_SEEN: dict[StateType, SeenState] = {
    StateType.SCHEDULED: "scheduled",
    StateType.PENDING: "pending",
    StateType.RUNNING: "running",
    StateType.CANCELLING: "cancelling",
    StateType.PAUSED: "scheduled",
}
_KUBERNETES = WorkPoolFilterType(any_=["kubernetes"])
ENDED = [StateType.COMPLETED, StateType.FAILED, StateType.CRASHED, StateType.CANCELLED, StateType.CANCELLING]
# Flow runs that are running while no Job at all is to be seen: more than these, and it is the wrong place to look.
MOST_LOST = 2


@flow(
    name="reconcile",
    description="Mend what does not fit between Prefect, Kubernetes and the data set: flow runs without a Job, Jobs "
    "without a flow run, runs that nobody works on.",
    validate_parameters=True,
    log_prints=False,
)
def reconcile(
    dry_run: bool = False,  # noqa: FBT001, FBT002  # Prefect calls flows by name
    all_lost: bool = False,  # noqa: FBT001, FBT002
    transcripts: str | None = None,
    overrides: Overrides | None = None,
) -> list[dict[str, str]]:
    """Mend what does not fit between Prefect, Kubernetes and the data set.

    Args:
        dry_run: say what is wrong, and mend nothing.
        all_lost: the cluster has lost all of its Jobs; without this, that is taken for a wrong cluster or namespace.
        transcripts: URI of the data set; the setting `transcripts.uri` when left out; without either, runs that nobody
            works on are not looked for.
        overrides: settings by group and name that win over the environment and the settings file.

    Returns:
        what was wrong: `repair`, `name`, `why` and `done`.
    """
    settings = load_settings(overrides=overrides)
    logger = get_run_logger()
    rows: list[dict[str, str]] = []
    for row in mended(settings, transcripts or settings.transcripts.uri, dry_run=dry_run, all_lost=all_lost):
        rows.append(row)
        logger.warning("%(repair)s %(name)s: %(why)s; %(done)s", row)  # at once: the next may not come
    if rows:
        create_table_artifact(table=rows, key="reconcile", description="What did not fit, and what was done about it.")
    return rows


def mended(
    settings: Settings, transcripts: str | None, *, dry_run: bool, all_lost: bool = False
) -> Iterator[dict[str, str]]:
    """What is wrong, one after another, each mended before it is told of.

    Args:
        settings: where the cluster and the store are.
        transcripts: URI of the data set; None: runs that nobody works on are not looked for.
        dry_run: mend nothing.
        all_lost: believe that there is no Job at all.

    Raises:
        ClusterUnreachable: Kubernetes does not answer, or refuses, or has no Job at all while flow runs are running.
        StorageRefused: the data set is not to be had.
    """
    with get_client(sync_client=True) as client:
        runs = {run.id: run for run in _flow_runs(client, _in_states(UNDER_WAY), pools=settings.cluster.work_pools)}
        jobs = asyncio.run(_cluster_jobs(settings.cluster.namespace))
        if not (jobs or all_lost):
            require_some_jobs(runs.values(), settings)
        runs |= {run.id: run for run in _by_id(client, {UUID(job.flow_run_id) for job in jobs} - runs.keys())}
        seen = [_seen(run) for run in runs.values()]
        for finding in findings(seen, jobs, settings.cluster.grace_s):
            done = "not mended: dry run" if dry_run else _mend(client, finding, runs, settings)
            yield _row(finding, done)
        if transcripts:
            left = orphans(open_transcripts(transcripts, settings))
            parents = Parents(client, settings)
            for finding in restarts(left, parents.busy()):
                done = "not mended: dry run" if dry_run else parents.restart(finding)
                yield _row(finding, done)


def _row(finding: Finding, done: str) -> dict[str, str]:
    return {"repair": finding.repair, "name": finding.name, "why": finding.why, "done": done}


def require_some_jobs(runs: Iterable[FlowRun], settings: Settings) -> None:
    """Take a cluster without any Job for the wrong one, where flow runs say that there must be some.

    Raises:
        ClusterUnreachable: more than `MOST_LOST` of these flow runs have been under way for longer than the grace.
    """
    lost = [run for run in runs if _seen(run).for_s >= settings.cluster.grace_s]
    if len(lost) > MOST_LOST:
        message = (
            f"namespace {settings.cluster.namespace!r} of this cluster holds no Job of Prefect's, while {len(lost)} "
            "flow runs are under way: look at cluster.namespace and at the cluster that kubectl uses. If it has really "
            "lost them all, say --all-lost"
        )
        raise ClusterUnreachable(message)


def _mend(client: SyncPrefectClient, finding: Finding, runs: dict[UUID, FlowRun], settings: Settings) -> str:
    if finding.repair == "delete":
        return asyncio.run(_delete_job(settings.cluster.namespace, finding.subject))
    seen = runs[UUID(finding.subject)]
    try:
        now = client.read_flow_run(seen.id)
    except ObjectNotFound:
        return "left alone: it was deleted meanwhile"
    if now.state is None or seen.state is None or now.state.id != seen.state.id:
        return "left alone: it has changed meanwhile"
    message = f"callscribe reconcile: {finding.why}"
    new: State[Any] = {"crash": Crashed, "reschedule": Scheduled, "cancel": Cancelled}[finding.repair](message=message)
    client.set_flow_run_state(seen.id, new, force=True)
    return f"is {new.name} now"


class Parents:
    """The flow runs that submit the jobs of runs and backfills."""

    def __init__(self, client: SyncPrefectClient, settings: Settings) -> None:
        self._client = client
        self._timezone = ZoneInfo(settings.archive.timezone)
        self._deployments = DeploymentFilter(tags=DeploymentFilterTags(any_=PARENT_TAGS))

    def busy(self) -> dict[tuple[str, str], bool]:
        """Kinds and months for which one waits for its time, or is under way."""
        states = [StateType.SCHEDULED, *UNDER_WAY, StateType.PAUSED]
        runs = _flow_runs(self._client, _in_states(states), self._deployments)
        # What a schedule has planned for next month is nobody who works on this one.
        return {
            (kind, month): True
            for run in runs
            if run.state is None or run.state.type != StateType.SCHEDULED or not run.auto_scheduled
            for kind, month in self._covers(run)
        }

    def restart(self, finding: Finding) -> str:
        """Submit the parent of a run again, with the parameters that it had; a backfill from the orphaned month on."""
        kind, _, month = finding.name.partition(" over ")
        ended = self._client.read_flow_runs(
            flow_run_filter=_in_states(ENDED),
            deployment_filter=self._deployments,
            sort=FlowRunSort.START_TIME_DESC,
            limit=PARENTS,
        )
        its = [run for run in ended if (kind, month) in set(self._covers(run))]
        last = next(iter(its), None)
        if last is None or last.deployment_id is None:
            return "not mended: Prefect knows no flow run that began it; start it again as it was started"
        if last.state is None or last.state.type not in {StateType.CRASHED, StateType.FAILED}:
            return f"not mended: the last flow run for it, {last.name}, is {last.state_name}; start it if you want it"
        yesterday = datetime.now(UTC) - timedelta(days=1)
        crashed = [run for run in its if run.state is not None and run.state.type == StateType.CRASHED]
        if sum(run.start_time is not None and run.start_time > yesterday for run in crashed) >= MOST_RESTARTS:
            return f"not mended: it has crashed {MOST_RESTARTS} times within a day; see why, and start it again"
        named = {"month": month} if kind == "run" else {"months": _from(month, last.parameters["months"])}
        new = self._client.create_flow_run_from_deployment(
            last.deployment_id, parameters={**last.parameters, **named}, idempotency_key=f"after-{last.id}"
        )
        return f"submitted again as {new.name}"

    def _covers(self, run: FlowRun) -> Iterator[tuple[str, str]]:
        """The kinds and months that a flow run is for; none of one that was started with nonsense."""
        if "months" in run.parameters:
            with suppress(SettingsError):
                for month in months_between(str(run.parameters["months"])):
                    yield "backfill", month
            return
        began = run.start_time or run.expected_start_time or datetime.now(UTC)
        yield "run", run.parameters.get("month") or previous_month(began.astimezone(self._timezone))


def _from(month: str, months: str) -> str:
    """The months of a backfill from one of them on."""
    last = months_between(months)[-1]
    return month if month == last else f"{month}..{last}"


def _seen(run: FlowRun) -> FlowRunSeen:
    state = run.state
    if state is None:
        return FlowRunSeen(str(run.id), run.name, "scheduled", 0.0, is_job=False)
    for_s = (datetime.now(UTC) - state.timestamp).total_seconds()
    return FlowRunSeen(str(run.id), run.name, _SEEN.get(state.type, "over"), for_s, is_job=JOB_TAG in run.tags)


def _in_states(states: Sequence[StateType]) -> FlowRunFilter:
    return FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(states))))


def _flow_runs(
    client: SyncPrefectClient,
    wanted: FlowRunFilter,
    deployments: DeploymentFilter | None = None,
    pools: Sequence[str] | None = None,
) -> Iterator[FlowRun]:
    """Flow runs of some deployments, or in some work pools of Kubernetes; no page is asked for twice."""
    in_pools = WorkPoolFilter(name=WorkPoolFilterName(any_=list(pools)), type=_KUBERNETES) if pools else None
    offset = 0
    while page := client.read_flow_runs(
        flow_run_filter=wanted,
        deployment_filter=deployments,
        work_pool_filter=in_pools,
        sort=FlowRunSort.ID_DESC,
        limit=PAGE,
        offset=offset,
    ):
        yield from page
        offset += len(page)


def _by_id(client: SyncPrefectClient, ids: Iterable[UUID]) -> Iterator[FlowRun]:
    wanted = sorted(ids)
    for start in range(0, len(wanted), PAGE):
        some = FlowRunFilter(id=FlowRunFilterId(any_=wanted[start : start + PAGE]))
        yield from client.read_flow_runs(flow_run_filter=some, limit=PAGE)


# ------------------------------------------------------------------------------------------------- Kubernetes


async def _cluster_jobs(namespace: str) -> list[ClusterJob]:
    """All Jobs of a namespace that Prefect's workers have made."""
    found: list[ClusterJob] = []
    async with _batch_api() as batch:
        after = ""
        while True:
            page = await batch.list_namespaced_job(namespace, label_selector=LABEL, limit=JOBS_PAGE, _continue=after)
            found += [_cluster_job(job) for job in page.items if _is_id(job.metadata.labels[LABEL])]
            after = page.metadata._continue or ""  # noqa: SLF001  # that is what the client calls the field `continue`
            if not after:
                return found


def _is_id(text: str) -> bool:
    """Whether a label is a flow run's id; others have been put there by somebody else."""
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def _cluster_job(job: V1Job) -> ClusterJob:
    metadata, conditions = job.metadata, job.status.conditions or ()
    ended = any(one.type in {"Complete", "Failed"} and one.status == "True" for one in conditions)
    return ClusterJob(
        metadata.name,
        metadata.labels[LABEL],
        (datetime.now(UTC) - metadata.creation_timestamp).total_seconds(),
        live=not ended and metadata.deletion_timestamp is None,
    )


async def _delete_job(namespace: str, name: str) -> str:
    from kubernetes_asyncio.client import ApiException

    async with _batch_api() as batch:
        try:
            await batch.delete_namespaced_job(name, namespace, propagation_policy="Background")
        except ApiException as error:
            if error.status == 404:
                return "is gone already"
            raise
    return "is deleted"


@asynccontextmanager
async def _batch_api() -> AsyncIterator[BatchV1Api]:
    """The part of the Kubernetes API that has Jobs: as this pod's service account, or else as kubectl would.

    Raises:
        ClusterUnreachable: there is no configuration, or the cluster does not answer, or it refuses.
    """
    try:
        from kubernetes_asyncio import config
        from kubernetes_asyncio.client import ApiClient, ApiException, BatchV1Api
    except ImportError as error:
        message = "looking at Kubernetes needs its client: pip install 'callscribe[kubernetes]' brings it"
        raise ClusterUnreachable(message) from error
    try:
        try:
            config.load_incluster_config()  # type: ignore[no-untyped-call]
        except config.ConfigException:
            await config.load_kube_config()
        async with ApiClient() as client:
            yield BatchV1Api(client)
    except config.ConfigException as error:
        message = f"no Kubernetes configuration, neither of a pod nor of kubectl (KUBECONFIG): {error}"
        raise ClusterUnreachable(message) from error
    except ApiException as error:
        message = f"Kubernetes refuses ({error.status} {error.reason}): its Role needs jobs list and delete (k8s/)"
        raise ClusterUnreachable(message) from error
    except (OSError, TimeoutError) as error:  # aiohttp's connection errors are OSErrors
        message = f"Kubernetes does not answer: {error}"
        raise ClusterUnreachable(message) from error
