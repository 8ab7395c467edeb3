"""How metrics leave a process: scraped from a port, or pushed to a Pushgateway. Neither ever stops the work.

What is pushed goes into groups of the Pushgateway (`job="callscribe"`), which it keeps until they are deleted:

- `run`, `run_job`: one for each job of a run that runs in a process of its own; another attempt takes the same. They
  stay when the job ends, so that its last numbers are scraped, and the run deletes them when it ends itself.
- `part="run"` or `part="backfill"`: the run that is under way, or was last: the next one takes its place.
- `part="certificates"`: which months are certified (`tasks.certificate_metrics`).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from http.client import HTTPException
from threading import Event, Thread
from urllib.request import urlopen

from prometheus_client import CollectorRegistry, delete_from_gateway, push_to_gateway, start_http_server

from tasks.metrics import REGISTRY, forget_all
from tasks.setting_groups import MetricSettings

GATEWAY_JOB = "callscribe"
TIMEOUT_S = 5.0

_LOG = logging.getLogger(__name__)
_given_out = False


@contextmanager
def giving_out(settings: MetricSettings, group: Mapping[str, str]) -> Iterator[None]:
    """Give out the metrics of this process while the block runs, as settings say; they begin anew.

    Inside another such block nothing is done: jobs that a run does in its own process are given out with it.

    Args:
        settings: where to.
        group: labels of the group of the Pushgateway.
    """
    global _given_out  # noqa: PLW0603  # a process has one registry and one port
    if _given_out:
        yield
        return
    forget_all()
    _given_out = True
    try:
        with ExitStack() as stack:
            if settings.port is not None:
                stack.enter_context(_serving(settings.port, settings.address))
            if settings.push_url is not None:
                stack.enter_context(_pushing(settings.push_url, settings.push_every_s, group))
            yield
    finally:
        _given_out = False


@contextmanager
def _serving(port: int, address: str) -> Iterator[None]:
    try:
        server, thread = start_http_server(port, address, REGISTRY)
    except OSError as error:
        _LOG.warning("metrics are not served on port %d (metrics.port): %s", port, error.strerror)
        yield
        return
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def _pushing(url: str, every_s: float, group: Mapping[str, str]) -> Iterator[None]:
    """Push now and then, from a thread, and once more at the end."""
    ended = Event()
    push = _only_once_complaining(lambda: push_registry(url, REGISTRY, group))

    def work() -> None:
        push()
        while not ended.wait(every_s):
            push()

    thread = Thread(target=work, name="metrics", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        push()


def push_registry(url: str, registry: CollectorRegistry, group: Mapping[str, str]) -> None:
    """Push what a registry holds, in place of what the group held.

    Raises:
        OSError: the Pushgateway does not answer, or refuses.
        HTTPException: it answers what is no HTTP.
    """
    push_to_gateway(url, GATEWAY_JOB, registry, dict(group), TIMEOUT_S)


def delete_jobs(settings: MetricSettings, run_id: str) -> None:
    """Delete the groups of the jobs of a run that has ended, where metrics are pushed."""
    url = settings.push_url
    if url is None:
        return

    def delete() -> None:
        with urlopen(f"{url.rstrip('/')}/api/v1/metrics", timeout=TIMEOUT_S) as answer:  # noqa: S310  # of settings
            groups = [dict(group["labels"]) for group in json.load(answer)["data"]]
        for labels in groups:
            if labels.pop("job", "") == GATEWAY_JOB and labels.get("run") == run_id:
                delete_from_gateway(url, GATEWAY_JOB, labels, TIMEOUT_S)

    _only_once_complaining(delete)()


def push_certificates(settings: MetricSettings, registry: CollectorRegistry) -> None:
    """Push which months are certified, where metrics are pushed."""
    url = settings.push_url
    if url is not None:
        _only_once_complaining(lambda: push_registry(url, registry, {"part": "certificates"}))()


def _only_once_complaining(ask: Callable[[], None]) -> Callable[[], None]:
    """Something that asks a Pushgateway, so that it never raises, and warns where it begins to fail."""
    failing = False

    def asked() -> None:
        nonlocal failing
        try:
            ask()
        except (OSError, HTTPException, ValueError, KeyError) as error:
            if not failing:
                _LOG.warning("the Pushgateway (metrics.push_url) cannot be reached: %s", type(error).__name__)
            failing = True
        else:
            failing = False

    return asked
