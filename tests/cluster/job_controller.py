"""Jobs: pods are made for them and counted, until a Job is complete, has failed, or is gone (the job controller)."""

import asyncio
import contextlib
import functools
from collections.abc import Callable, Iterable

from .objects import Key, Object, condition, is_deleting, key_of, now, seconds_since, set_condition, uid_of
from .store import Change, Store

TERMINAL = ("Succeeded", "Failed")
FOREGROUND = "foregroundDeletion"


def end_of(job: Object) -> Object | None:
    """The condition with which a Job has ended, Complete or Failed; None while it has not."""
    return condition(job, "Complete") or condition(job, "Failed")


def failure_action(job: Object, pod: Object) -> str:
    """What the Job's podFailurePolicy says to a failed pod: Count, Ignore or FailJob."""
    for rule in job["spec"].get("podFailurePolicy", {}).get("rules", []):
        codes = rule.get("onExitCodes")
        if _meets_codes(codes, pod) if codes is not None else _meets_conditions(rule["onPodConditions"], pod):
            return str(rule["action"])
    return "Count"


def _meets_codes(codes: Object, pod: Object) -> bool:
    for status in pod["status"].get("containerStatuses", []):
        code = status["state"].get("terminated", {}).get("exitCode", 0)
        named = codes.get("containerName") in {None, status["name"]}
        if named and code != 0 and (code in codes["values"]) == (codes["operator"] == "In"):
            return True
    return False


def _meets_conditions(wanted: Iterable[Object], pod: Object) -> bool:
    found = ((one, condition(pod, one["type"])) for one in wanted)
    return any(shown is not None and shown["status"] == one.get("status", "True") for one, shown in found)


class JobController:
    """Looks at all Jobs whenever a Job or a pod has changed, and when the time of one has come.

    Args:
        store: where Jobs and pods are.
        api_up: set while the API server answers: nothing can be done while it does not.
        backoff_s: how long it waits before the next pod of a Job whose pod has failed, doubled each time (Kubernetes:
            10 s).
    """

    def __init__(self, store: Store, api_up: asyncio.Event, backoff_s: float) -> None:
        self._store, self._api_up, self._backoff_s = store, api_up, backoff_s
        self._counted: set[str] = set()
        self._wake = asyncio.Event()
        self._not_before: dict[str, float] = {}
        store.listeners.append(self._on_change)

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            await self._api_up.wait()
            self._wake.clear()
            waits = [wait for job in self._store.select("jobs") if (wait := self._sync(job)) is not None]
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), min(waits, default=None))

    def _on_change(self, change: Change) -> None:
        if change.plural in {"jobs", "pods"}:
            self._wake.set()

    def _sync(self, job: Object) -> float | None:  # noqa: PLR0911 - one for each stage of a Job
        """Do the next step for a Job; seconds until it has to be looked at again, None where a change will tell."""
        pods = self._store.of_owner("pods", uid_of(job))
        if is_deleting(job):
            self._delete(job, pods)
            return None
        job = self._count(job, pods)
        living = [pod for pod in pods if pod["status"]["phase"] not in TERMINAL]
        if end_of(job) is not None:
            return self._expire(job)
        if job["spec"].get("suspend"):
            self._suspend(job, living)
            return None
        if "startTime" not in job.get("status", {}):
            job = self._update(job, _start)
        left = self._time_left(job)
        if (target := self._target(job, left)) is not None:
            self._end(job, living, target)
            return None
        self._show_living(job, living)
        if living:
            return left
        wait = self._not_before.get(uid_of(job), 0.0) - asyncio.get_running_loop().time()
        if wait > 0:
            return wait if left is None else min(wait, left)
        self._create_pod(job)
        return left

    def _count(self, job: Object, pods: list[Object]) -> Object:
        """Count the pods that have ended, once each; only then may those go whose deletion is asked for."""
        for pod in pods:
            if pod["status"]["phase"] not in TERMINAL:
                continue
            if uid_of(pod) not in self._counted:
                self._counted.add(uid_of(pod))
                job = self._update(job, functools.partial(self._count_one, pod))
            if is_deleting(pod):
                self._store.remove("pods", key_of(pod))
        return job

    def _count_one(self, pod: Object, job: Object) -> None:
        status = job.setdefault("status", {})
        if pod["status"]["phase"] == "Succeeded":
            status["succeeded"] = status.get("succeeded", 0) + 1
            return
        action = failure_action(job, pod)
        if action != "Ignore":
            status["failed"] = status.get("failed", 0) + 1
            delay = self._backoff_s * 2 ** (status["failed"] - 1)
            self._not_before[uid_of(job)] = asyncio.get_running_loop().time() + delay
        if action == "FailJob" and end_of(job) is None:
            set_condition(
                job, "FailureTarget", reason="PodFailurePolicy", message=f"Pod {pod['metadata']['name']} failed"
            )

    def _time_left(self, job: Object) -> float | None:
        deadline = job["spec"].get("activeDeadlineSeconds")
        return None if deadline is None else max(0.0, deadline - seconds_since(job["status"]["startTime"]))

    def _target(self, job: Object, left: float | None) -> tuple[str, str] | None:
        """How a Job has to end: type and reason of the condition; None where it goes on."""
        status = job["status"]
        if failing := condition(job, "FailureTarget"):
            return "Failed", failing["reason"]
        if status.get("succeeded"):
            return "Complete", "CompletionsReached"
        if status.get("failed", 0) > job["spec"].get("backoffLimit", 6):
            return "Failed", "BackoffLimitExceeded"
        if left is not None and left <= 0:
            return "Failed", "DeadlineExceeded"
        return None

    def _end(self, job: Object, living: list[Object], target: tuple[str, str]) -> None:
        """End a Job: its living pods first, then the condition."""
        kind, reason = target
        if kind == "Failed" and condition(job, "FailureTarget") is None:
            # While it fails, a living pod counts as a failed one, also where it never started.
            job = self._update(job, lambda item: set_condition(item, "FailureTarget", reason=reason))
        for pod in living:
            if not is_deleting(pod):
                self._store.ask_deletion("pods", key_of(pod))
        if living:
            return

        def end(item: Object) -> None:
            item["status"] |= {"active": 0, "ready": 0}
            if kind == "Complete":
                set_condition(item, "SuccessCriteriaMet", reason=reason)
                item["status"]["completionTime"] = now()
            set_condition(item, kind, reason=reason)

        self._update(job, end)

    def _suspend(self, job: Object, living: list[Object]) -> None:
        for pod in living:
            if not is_deleting(pod):
                self._store.ask_deletion("pods", key_of(pod))

        def suspend(item: Object) -> None:
            status = item.setdefault("status", {})
            status.pop("startTime", None)
            status["active"] = len(living)
            if (shown := condition(item, "Suspended")) is None or shown["status"] != "True":
                set_condition(item, "Suspended", reason="JobSuspended")

        self._update(job, suspend)

    def _expire(self, job: Object) -> float | None:
        """Delete an ended Job when its time to live is over (the TTL controller's part)."""
        ttl = job["spec"].get("ttlSecondsAfterFinished")
        ended = end_of(job)
        if ttl is None or ended is None:
            return None
        left = float(ttl) - seconds_since(ended["lastTransitionTime"])
        if left > 0:
            return left
        self._store.ask_deletion("jobs", key_of(job), 0, FOREGROUND)
        return None

    def _delete(self, job: Object, pods: list[Object]) -> None:
        """A foreground deletion: the Job goes when its pods are gone."""
        for pod in pods:
            if not is_deleting(pod):
                self._store.ask_deletion("pods", key_of(pod))
            if pod["status"]["phase"] in TERMINAL:
                self._store.remove("pods", key_of(pod))
        if not self._store.of_owner("pods", uid_of(job)):
            self._store.remove("jobs", key_of(job))

    def _show_living(self, job: Object, living: list[Object]) -> None:
        going = sum(map(is_deleting, living))
        ready = sum(condition(pod, "Ready") is not None for pod in living if not is_deleting(pod))
        shown = {"active": len(living) - going, "ready": ready, "terminating": going}
        self._update(job, lambda item: item["status"].update(shown))

    def _create_pod(self, job: Object) -> None:
        meta, template = job["metadata"], job["spec"]["template"]
        named = dict.fromkeys(("job-name", "batch.kubernetes.io/job-name"), meta["name"])
        owned = dict.fromkeys(("controller-uid", "batch.kubernetes.io/controller-uid"), meta["uid"])
        given = template.get("metadata", {})
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": meta["name"], "uid": meta["uid"], "controller": True}
        pod = {
            "metadata": {
                "generateName": f"{meta['name']}-",
                "labels": {**given.get("labels", {}), **named, **owned},
                "annotations": dict(given.get("annotations", {})),
                "ownerReferences": [owner],
            },
            "spec": template["spec"],
            "status": {"phase": "Pending"},
        }
        self._store.create("pods", pod, meta["namespace"])
        self._update(job, lambda item: item["status"].update(active=1, ready=0, terminating=0))

    def _update(self, job: Object, change: Callable[[Object], None]) -> Object:
        return self._store.update("jobs", key_of(job), change)


def _start(job: Object) -> None:
    status = job.setdefault("status", {})
    status["startTime"] = now()
    if condition(job, "Suspended") is not None:
        set_condition(job, "Suspended", "False", "JobResumed")


def delete_job(store: Store, key: Key, propagation: str | None) -> Object:
    """Delete a Job as the API does. Without a word of propagation its pods stay: batch/v1 has it so for old clients."""
    job = store.get("jobs", key)
    if propagation == "Foreground":
        return store.ask_deletion("jobs", key, 0, FOREGROUND)
    if propagation != "Background":
        for pod in store.of_owner("pods", uid_of(job)):
            store.update("pods", key_of(pod), lambda item: item["metadata"].pop("ownerReferences"))
    return store.remove("jobs", key)
