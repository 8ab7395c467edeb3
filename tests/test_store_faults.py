"""A month over a store that errs: whatever S3 answers or does not, the month adds up in the end.

Between callscribe and a real SeaweedFS stands a proxy that does faults to requests (`fault_proxy`). A run either ends
with what an undisturbed one finds, or stops with an error that names the endpoint and is finished by the next.
"""

import secrets
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import BUCKET
from fault_proxy import KINDS, FaultProxy, Kind, Script, at_keys, at_rate, fault_proxy, nothing
from small_month import (
    OUTCOMES,
    Content,
    SmallMonth,
    assert_certified,
    bundles,
    content,
    fill,
    hasty_retries,
    recognizer,
)
from stand_ins import StandInRecognizer

from flows.s3_server import LocalS3Server
from tasks.errors import CallscribeError, StorageUnavailable
from tasks.reconcile import RunSummary
from tasks.storage import StorageOptions, open_storage

__all__ = ["bundles", "recognizer"]

# The most runs that a month may need while a store errs.
MOST_RUNS = 6
# Everything that a run writes, by what its key holds.
WRITTEN = (
    "/layouts/",
    "/active/",
    r"/jobs/",
    r"/plan\.json",
    r"/attempts/job-0001-1\.",
    "/in_flight/",
    r"/checkpoints/.*-0002\.",
    "/utterances/",
    "/calls/",
    "/done/",
    "/outputs/",
    r"/certificate\.json",
    "/_certificates/",
    r"/certificates\.json",
)


@pytest.fixture(scope="module")
def server(s3_server: LocalS3Server) -> Iterator[LocalS3Server]:
    """The S3 server, to which boto3's chain leads in the whole module; boto3 waits no seconds between its tries."""
    with pytest.MonkeyPatch.context() as patch, hasty_retries():
        for name, value in s3_server.environment().items():
            patch.setenv(name, value)
        yield s3_server


@pytest.fixture(scope="module")
def proxy(server: LocalS3Server) -> Iterator[FaultProxy]:
    """A proxy in front of it."""
    with fault_proxy(server.endpoint_url) as running:
        yield running


@pytest.fixture(scope="module")
def undisturbed(server: LocalS3Server, recognizer: StandInRecognizer, bundles: Path) -> tuple[SmallMonth, Content]:
    """A month that was run without faults, and what it came to."""
    assert (0, True) == (recognizer.heard, server.pid is not None)
    root = f"s3://{BUCKET}/{secrets.token_hex(8)}"
    month = SmallMonth(f"{root}/archive", f"{root}/undisturbed", bundles)
    fill(open_storage(month.archive))
    assert_certified(month, month.run())
    return month, content(month.storage)


@pytest.fixture
def month(undisturbed: tuple[SmallMonth, Content], proxy: FaultProxy) -> Iterator[SmallMonth]:
    """A month over the same archive with a data set of its own, both behind the proxy."""
    proxy.behave(nothing)
    month = replace(undisturbed[0], transcripts=f"{undisturbed[0].transcripts}-{secrets.token_hex(4)}")
    yield replace(month, endpoint_url=proxy.url)
    proxy.behave(nothing)


def _finish(
    month: SmallMonth, proxy: FaultProxy, script: Script, read_timeout_s: float = 1.0, most_runs: int = MOST_RUNS
) -> list[str]:
    """Run the month while faults are done, until a run comes to its end; then hold that it is as it must be.

    Returns:
        why runs stopped.
    """
    proxy.behave(script)
    stopped: list[str] = []
    summary: RunSummary | None = None
    while summary is None:
        try:
            summary = month.run(storage={"read_timeout_s": read_timeout_s})
        except CallscribeError as error:
            stopped.append(error.message)
            if len(stopped) == most_runs:
                proxy.script = nothing
    assert proxy.done
    assert [] == [message for message in stopped if proxy.url not in message]
    return stopped


def _hold(month: SmallMonth, proxy: FaultProxy, expected: Content) -> None:
    """Hold that after a run without faults the month is what it is without any."""
    proxy.behave(nothing)
    direct = replace(month, endpoint_url=None)
    assert_certified(direct, direct.run())
    assert expected == content(direct.storage)


def test_a_month_over_a_store_that_errs(
    month: SmallMonth, proxy: FaultProxy, undisturbed: tuple[SmallMonth, Content]
) -> None:
    """One request in eight meets some fault, and nobody notices."""
    assert [] == _finish(month, proxy, at_rate(1, 0.12, *KINDS), read_timeout_s=0.3)
    assert len({kind for kind, _ in proxy.done}) >= 4
    _hold(month, proxy, undisturbed[1])


@pytest.mark.long
@pytest.mark.parametrize(("rate", "seed"), [(0.1, 1), (0.4, 2)])
@pytest.mark.parametrize("kind", KINDS)
def test_every_fault(
    month: SmallMonth, proxy: FaultProxy, undisturbed: tuple[SmallMonth, Content], kind: Kind, rate: float, seed: int
) -> None:
    """Each by itself, now and then or nearly every second time."""
    stopped = _finish(month, proxy, at_rate(seed, rate, kind), read_timeout_s=0.15)
    assert len(stopped) < MOST_RUNS, stopped
    _hold(month, proxy, undisturbed[1])


@pytest.mark.long
@pytest.mark.parametrize(("kind", "fewest_stops"), [("503", 10), ("put_then_500", 0), ("put_then_cut", 5)])
def test_an_outage_at_every_object(
    month: SmallMonth, proxy: FaultProxy, undisturbed: tuple[SmallMonth, Content], kind: Kind, fewest_stops: int
) -> None:
    """All tries of the first write of everything that a run writes fail: each run stops there, and the next goes on.

    Where the write was applied, a conditional one is recognised and stops nothing.
    """
    outages = [at_keys(key, kind, range(1, 6)) for key in WRITTEN]
    stopped = _finish(month, proxy, lambda asked: next((kind for one in outages if one(asked)), None), most_runs=20)
    assert fewest_stops <= len(stopped) < 20, stopped
    assert kind != "503" or all("5 tries: the store asks to slow down. (SlowDown" in message for message in stopped)
    _hold(month, proxy, undisturbed[1])


@pytest.mark.long
def test_a_recording_that_is_not_answered_for(
    month: SmallMonth, proxy: FaultProxy, undisturbed: tuple[SmallMonth, Content]
) -> None:
    """The call fails for a passing reason, the others are done, and the next run does it."""
    proxy.behave(at_keys("/mono-1.wav", "500", range(1, 6), "GET"))
    summary = month.run()
    assert (OUTCOMES | {"failed": 3, "transcribed": 4}, 1) == (summary.outcomes, summary.errors["storage_unavailable"])
    (row,) = (row for row in month.data.read_calls("2026-10") if row["call_id"] == "mono-1")
    assert f"mono-1.wav: no good answer from s3://{BUCKET} at {proxy.url} in 5 tries. (InternalError" in row["error"]
    _hold(month, proxy, undisturbed[1])


def test_tries_and_time_outs_are_settings(proxy: FaultProxy, server: LocalS3Server) -> None:
    """`storage.max_attempts` counts the first try too; `storage.read_timeout_s` ends the wait for an answer."""
    assert server.pid is not None
    for kind, tries, timeout_s in (("503", 3, 5.0), ("silent", 2, 0.25), ("put_then_cut", 4, 5.0)):
        options = StorageOptions(endpoint_url=proxy.url, max_attempts=tries, read_timeout_s=timeout_s)
        storage = open_storage(f"s3://{BUCKET}/{secrets.token_hex(4)}", options)
        proxy.behave(at_rate(1, 1.0, kind))  # type: ignore[arg-type]
        started = time.monotonic()
        with pytest.raises(StorageUnavailable, match=proxy.url):
            storage.put("key", b"bytes")
        assert tries == len(proxy.seen)
        assert kind != "silent" or tries * timeout_s <= time.monotonic() - started < 3.0
    proxy.behave(nothing)


@pytest.mark.long
def test_a_seed_does_the_same_faults_again(month: SmallMonth, proxy: FaultProxy) -> None:
    """What is done to a request depends on nothing but the seed and the request, so that a failure is seen again."""
    for number in range(20):
        month.storage.put(f"key-{number}", b"")
    first, again, other = ([at_rate(seed, 0.3, *KINDS)(asked) for asked in proxy.seen] for seed in (1, 1, 2))
    assert first == again != other
