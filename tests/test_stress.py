"""Several processes at one month at once: two runs, an erasure beside them, and then a run that does all of it again.

Nothing is lost, nothing is there twice, the attempt that was planned later stands, and what was erased does not return.
"""

import secrets
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import BUCKET
from month_worker import Order, end, start
from small_month import MONTH, SHARDS, SmallMonth, bundles, content, fill, recognizer
from stand_ins import StandInRecognizer, tone, wav

from flows.s3_server import LocalS3Server
from tasks.certificates import certify
from tasks.plan_run import plan_run
from tasks.run_models import fingerprints_of
from tasks.runs import RunHead
from tasks.schemas import Row
from tasks.settings import load_settings
from tasks.storage import open_storage
from tasks.verify import verify

__all__ = ["bundles", "recognizer"]

CALLS = {f"call-{number}": wav(tone(300 + 10 * number, 0.5)) for number in range(18)}
ERASED = ("call-3", "call-8", "call-12")
SETTINGS = {"run": {"lease_s": 1.0, "job_hours": 0.003}}
ONE_JOB = {"run": {"job_hours": 100.0}}


@pytest.fixture(params=["file", "s3"])
def month(
    request: pytest.FixtureRequest, tmp_path: Path, bundles: Path, recognizer: StandInRecognizer
) -> Iterator[SmallMonth]:
    """An archive of calls, and an empty data set."""
    recognizer.heard = 0
    with pytest.MonkeyPatch.context() as patch:
        root = tmp_path.as_uri()
        if request.param == "s3":
            server: LocalS3Server = request.getfixturevalue("s3_server")
            for name, value in server.environment().items():
                patch.setenv(name, value)
            root = f"s3://{BUCKET}/{secrets.token_hex(8)}"
        else:
            for name in ("archive", "transcripts"):
                (tmp_path / name).mkdir()
        month = SmallMonth(f"{root}/archive", f"{root}/transcripts", bundles)
        fill(open_storage(month.archive), CALLS)
        yield month


def _order(month: SmallMonth, **more: object) -> Order:
    plain = Order(month.archive, month.transcripts, str(month.bundles), waits=True, settings=SETTINGS)
    return replace(plain, **more)  # type: ignore[arg-type]


def _at_once(*orders: Order) -> list[list[str]]:
    """Let a process for each order begin at the same moment; what each said."""
    processes = [start(order) for order in orders]
    for process in processes:
        assert process.stdout is not None
        assert "ready\n" == process.stdout.readline()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    return [end(process) for process in processes]


def _rows(month: SmallMonth) -> Mapping[str, Row]:
    rows = month.data.read_calls(MONTH)
    by_id = {row["call_id"]: row for row in rows}
    assert len(rows) == len(by_id)
    return by_id


def _assert_whole(month: SmallMonth, erased: tuple[str, ...]) -> None:
    """Hold that every call that was not erased is there once, with its words, and stands as it was certified."""
    there = set(CALLS) - set(erased)
    held = content(month.storage)
    assert (there, {1}) == (set(held), {len(said) for _, said in held.values()})
    assert there == set(_rows(month))
    checked = verify(month.data)
    assert ([], len(there), 0) == (checked.findings, checked.calls, checked.not_certified)


def _plan_all(month: SmallMonth) -> RunHead:
    """A plan of one job with every call, as of a backfill: it is made where nothing was done, and carried over."""
    settings = load_settings(overrides=month.overrides(**ONE_JOB))
    empty = replace(month, transcripts=f"{month.transcripts}-empty")
    if empty.transcripts.startswith("file:"):
        Path(empty.transcripts.removeprefix("file://")).mkdir(exist_ok=True)
    head = plan_run(empty.data, open_storage(month.archive), MONTH, settings, fingerprints_of(settings))
    source = empty.storage
    for info in source.list(f"_runs/{head.run_id}/"):
        month.storage.put(info.key, source.get(info.key).data)
    return head


@pytest.mark.long
def test_two_runs_and_an_erasure_at_once(month: SmallMonth) -> None:
    """Of two runs one waits for the other; the erasure takes its calls out wherever they are by then."""
    month.data.fix_shards(MONTH, SHARDS)
    run = _order(month, insists=True, pause_s=0.05)
    assert [["done"]] * 3 == _at_once(run, run, _order(month, erase=ERASED))
    _assert_whole(month, ERASED)
    assert {"transcribed"} == {row["outcome"] for row in _rows(month).values()}


@pytest.mark.long
def test_jobs_of_two_plans_and_an_erasure_at_once(month: SmallMonth) -> None:
    """Whoever commits last: of each call the attempt that was planned later stands, and in the end the backfill's."""
    earlier, later = _plan_all(month), _plan_all(month)
    month.data.fix_shards(MONTH, SHARDS)
    plain = _order(month, settings=ONE_JOB)
    erasure = _order(month, erase=ERASED)
    jobs = [replace(plain, job=head.run_id, pause_s=0.03) for head in (earlier, later)]
    assert [["done"]] * 3 == _at_once(*jobs, erasure)
    assert {later.run_id} == {row["run_id"] for row in _rows(month).values()}
    done = [certify(month.data, head, 1.0)[0] for head in (earlier, later)]
    left = len(CALLS) - len(ERASED)
    assert [({}, left), ({"transcribed": left}, 0)] == [(one.outcomes, one.superseded) for one in done]
    assert [(len(ERASED), True)] * 2 == [(one.erased, one.accounted) for one in done]
    _assert_whole(month, ERASED)

    backfill = _plan_all(month)
    assert [["done"]] * 2 == _at_once(replace(plain, job=backfill.run_id), _order(month, erase=("call-5",)))
    assert certify(month.data, backfill, 1.0)[0].accounted
    assert {backfill.run_id} == {row["run_id"] for row in _rows(month).values()}
    _assert_whole(month, (*ERASED, "call-5"))
