"""A whole run whose process is killed, and started again: the month is that of a run that nobody disturbed."""

import random
import secrets
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import BUCKET
from month_worker import Order, end, start
from small_month import CALLS, Content, SmallMonth, assert_certified, bundles, content, fill, recognizer
from stand_ins import StandInRecognizer, tone, wav

from flows.s3_server import LocalS3Server
from tasks.storage import open_storage

pytestmark = pytest.mark.long

__all__ = ["bundles", "recognizer"]

# Soon taken for dead, so that the next run need not wait.
LEASE = {"run": {"lease_s": 0.8}}
TWO_JOBS = {"run": {"lease_s": 0.8, "job_hours": 0.0014}}
REPLACED = "mono-0"
STEPS = {
    "before anything": ("before", 1, "^utterances/"),
    "between utterances and calls": ("after", 1, "^utterances/"),
    "between calls and the tidying": ("after", 1, "^calls/"),
    "after the tidying": ("after", 2, "^utterances/"),
}


@pytest.fixture(scope="module", params=["file", pytest.param("s3", marks=pytest.mark.long)])
def root(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where archives and data sets may lie."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "file":
            yield tmp_path_factory.mktemp("months").as_uri()
            return
        server: LocalS3Server = request.getfixturevalue("s3_server")
        for name, value in server.environment().items():
            patch.setenv(name, value)
        yield f"s3://{BUCKET}/{secrets.token_hex(8)}"


def _place(root: str) -> str:
    place = f"{root}/{secrets.token_hex(4)}"
    if place.startswith("file:"):
        Path(place.removeprefix("file://")).mkdir()
    return place


@pytest.fixture(scope="module")
def undisturbed(root: str, recognizer: StandInRecognizer, bundles: Path) -> tuple[SmallMonth, Content, Content]:
    """A month that was run, and again when a recording was replaced: what it held before, and after."""
    assert isinstance(recognizer, StandInRecognizer)
    month = SmallMonth(_place(root), _place(root), bundles)
    fill(open_storage(month.archive))
    month.run()
    before = content(month.storage)
    changed = SmallMonth(_place(root), _place(root), bundles)
    archive = open_storage(changed.archive)
    fill(archive)
    changed.run()
    _replace_recording(changed)
    assert_certified(changed, changed.run())
    return month, before, content(changed.storage)


def _replace_recording(month: SmallMonth) -> None:
    open_storage(month.archive).put(f"2026/10/05/{REPLACED}.wav", wav(tone(777)))


def _of_no_place(held: Content) -> Content:
    """Without where the recordings lie, and what a folder tells its versions apart by."""
    return {
        call_id: ({name: value for name, value in row.items() if name not in {"audio_uri", "audio_etag"}}, said)
        for call_id, (row, said) in held.items()
    }


def _order(month: SmallMonth, **more: object) -> Order:
    return replace(Order(month.archive, month.transcripts, str(month.bundles), settings=LEASE), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "step", [pytest.param(name, marks=[] if name.startswith("between") else pytest.mark.long) for name in STEPS]
)
def test_a_run_killed_between_two_steps_of_a_commit(
    root: str, undisturbed: tuple[SmallMonth, Content, Content], bundles: Path, step: str
) -> None:
    """A strict reader sees the old transcript until `calls` is written, and then the new one; the next run tidies."""
    _, before, after = undisturbed
    month = SmallMonth(_place(root), _place(root), bundles)
    fill(open_storage(month.archive))
    month.run()
    _replace_recording(month)
    assert ["ready"] == end(start(_order(month, dies_at=STEPS[step])))
    is_new = step in {"between calls and the tidying", "after the tidying"}
    assert _of_no_place(after if is_new else before) == _of_no_place(content(month.storage))
    assert_certified(month, month.run(**LEASE))
    assert _of_no_place(after) == _of_no_place(content(month.storage))


def _kill_after(month: SmallMonth, wait_s: float) -> int:
    """Start a run in two jobs, and kill it so long after it was ready."""
    process = start(_order(month, pause_s=0.2, settings=TWO_JOBS, waits=True))
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdout.readline()
    process.stdin.write("go\n")
    process.stdin.flush()
    time.sleep(wait_s)
    process.kill()
    end(process)
    return int(process.returncode)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2))
def test_a_run_killed_at_any_time(
    undisturbed: tuple[SmallMonth, Content, Content], root: str, recognizer: StandInRecognizer, seed: int
) -> None:
    """Once or twice, anywhere; then it is started again, and comes to the end of a run that nobody disturbed."""
    rng = random.Random(seed)  # noqa: S311  # no secret depends on it
    month = replace(undisturbed[0], transcripts=_place(root))
    recognizer.heard = 0
    for _ in range(1 + seed % 2):
        assert _kill_after(month, rng.uniform(0.2, 4.0)) in {0, -signal.SIGKILL}
    assert_certified(month, month.run(**TWO_JOBS))
    assert undisturbed[1] == content(month.storage)
    assert recognizer.heard <= len(CALLS)


def test_a_killed_run_goes_on(
    undisturbed: tuple[SmallMonth, Content, Content], root: str, recognizer: StandInRecognizer
) -> None:
    """The parent is killed by SIGKILL when its first job is done: the same run goes on, and does only the rest."""
    month = replace(undisturbed[0], transcripts=_place(root))
    assert ["ready"] == end(start(_order(month, settings=TWO_JOBS, dies_at=("after", 1, "/done/"))))
    (left,) = {info.key.split("/")[1] for info in month.storage.list("_runs/")}
    recognizer.heard = 0
    summary = month.run(**TWO_JOBS)
    assert (left, True) == (summary.run_id, 0 < recognizer.heard < 6)
    assert_certified(month, summary)
    assert undisturbed[1] == content(month.storage)
