"""A job whose process is killed, anywhere: another one goes on, and the end is that of a job that nobody disturbed."""

import random
import shutil
import signal
from pathlib import Path
from typing import Any

import job_worker
import pytest
from forked import ForkedProcess
from job_worker import KILLER_S, settings_of
from stand_ins import StandInRecognizer, build_bundle, stand_in_models, tone, wav

from tasks.certificates import certify
from tasks.dataset import DataSet
from tasks.errors import CrashedWorker, RunIncomplete
from tasks.job_record import InFlight, JobRecord
from tasks.plan_run import plan_run
from tasks.run_job import run_job
from tasks.run_models import fingerprints_of
from tasks.runs import RunHead, read_head
from tasks.schemas import UTTERANCES, Row
from tasks.storage import Storage, open_storage
from tasks.tables import from_parquet
from tasks.verify import verify

MONTH = "2026-10"
# What says when and how fast a call was done, and not what came of it.
OF_THE_MOMENT = ("transcript_id", "transcript_sha256", "transcribed_at", "load_s", "vad_s", "recognize_s", "diarize_s")
CALLS = 6


def _plan(folder: Path, lengths_s: list[float], shards: int = 3) -> RunHead:
    """An archive of calls of these lengths, and a plan of one job over it."""
    for name in ("archive", "transcripts"):
        (folder / name).mkdir(parents=True)
    build_bundle(folder / "models")
    archive, transcripts = (open_storage((folder / name).as_uri()) for name in ("archive", "transcripts"))
    for number, length_s in enumerate(lengths_s):
        archive.put(f"2026/10/05/call-{number}.wav", wav(tone(300 + 10 * number, length_s)))
    settings = settings_of(folder)
    DataSet(transcripts).fix_shards(MONTH, shards)
    head = plan_run(DataSet(transcripts), archive, MONTH, settings, fingerprints_of(settings))
    assert 1 == head.jobs
    return head


def _work(folder: Path, run_id: str, dies_at: int = 0) -> int:
    """Let a process do the job; what it ended with."""
    process = ForkedProcess(job_worker.main, folder, run_id, 1, dies_at)
    _, errors = process.communicate(timeout=120.0)
    assert process.returncode in {0, -signal.SIGKILL}, errors
    return int(process.returncode)


def _transcripts(folder: Path) -> Storage:
    return open_storage((folder / "transcripts").as_uri())


def _content(folder: Path) -> tuple[list[Row], list[Row], list[str]]:
    """Calls and utterances of the month without what is of the moment, and the keys of the data set."""
    storage = _transcripts(folder)
    keys = [info.key for info in storage.list() if not info.key.startswith("_")]
    utterances = [
        row
        for key in keys
        if key.startswith("utterances/")
        for row in from_parquet(storage.get(key).data, UTTERANCES).to_pylist()
    ]
    calls = sorted(DataSet(storage).read_calls(MONTH), key=lambda row: str(row["call_id"]))
    assert {row["transcript_id"] for row in utterances} <= {row["transcript_id"] for row in calls}
    return [_lasting(row) for row in calls], [_lasting(row) for row in utterances], keys


def _lasting(row: Row) -> Row:
    return {name: value for name, value in row.items() if name not in OF_THE_MOMENT}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A planned run before its job was done, and after."""
    before = tmp_path_factory.mktemp("jobs") / "before"
    head = _plan(before, [1.0] * CALLS)
    after = before.with_name("after")
    _copy(before, after)
    assert 0 == _work(after, head.run_id)
    return before, after


def _copy(planned: Path, folder: Path) -> None:
    """A data set of its own over the same archive."""
    shutil.copytree(planned / "transcripts", folder / "transcripts")
    (folder / "models").symlink_to(planned / "models")


def _kill_and_finish(undisturbed: tuple[Path, Path], folder: Path, points: list[int]) -> int:
    """Kill a job at some points, one after the other, and finish it; how often it was killed."""
    before, after = undisturbed
    _copy(before, folder)
    (run_id,) = [path.parent.name for path in (folder / "transcripts").glob("_runs/*/plan.json")]
    killed = sum(_work(folder, run_id, point) != 0 for point in points)
    assert 0 == _work(folder, run_id)
    assert _content(after) == _content(folder)
    head = read_head(_transcripts(folder), run_id)
    data = DataSet(_transcripts(folder))
    summary, _ = certify(data, head, 1.0)
    assert ({"transcribed": CALLS}, True) == (summary.outcomes, summary.accounted)
    checked = verify(data)
    assert ([], CALLS) == (checked.findings, checked.calls)
    assert [] == [key for key in _record_keys(folder) if "checkpoints" in key or "in_flight" in key]
    return killed


def _record_keys(folder: Path) -> list[str]:
    return [info.key for info in _transcripts(folder).list("_runs/")]


@pytest.mark.parametrize("point", [4, *(pytest.param(point, marks=pytest.mark.long) for point in (9, 22))])
def test_a_killed_job(undisturbed: tuple[Path, Path], tmp_path: Path, point: int) -> None:
    """Killed at its beginning, in the middle and near its end: nothing is lost, and nothing is there twice."""
    assert 1 == _kill_and_finish(undisturbed, tmp_path / "copy", [point])


@pytest.mark.long
@pytest.mark.parametrize("seed", range(20))
def test_jobs_that_are_killed_at_random(undisturbed: tuple[Path, Path], tmp_path: Path, seed: int) -> None:
    """Once, or twice in a row."""
    rng = random.Random(seed)  # noqa: S311  # no secret depends on it
    points = [rng.randint(1, 40) for _ in range(1 + seed % 2)]
    _kill_and_finish(undisturbed, tmp_path / "copy", points)


@pytest.mark.long
def test_a_call_that_kills_its_process(tmp_path: Path) -> None:
    """It is found by being done alone, and set aside; the others are done."""
    head = _plan(tmp_path / "all", [1.0, 1.1, KILLER_S, 1.2, 1.3])
    ends = []
    while not ends or ends[-1] != 0:
        ends.append(_work(tmp_path / "all", head.run_id))
        assert len(ends) <= 5
    assert 4 == len(ends)
    rows = {row["call_id"]: row for row in _content(tmp_path / "all")[0]}
    assert ("failed", CrashedWorker.code) == tuple(rows["call-2"][name] for name in ("outcome", "error_code"))
    assert "it was set aside" in rows["call-2"]["error"]
    others = {row["outcome"] for call_id, row in rows.items() if call_id != "call-2"}
    assert (5, {"transcribed"}) == (len(rows), others)


@pytest.mark.long
def test_two_calls_that_kill_their_process(tmp_path: Path) -> None:
    """Both are set aside, and the job is done."""
    head = _plan(tmp_path / "all", [1.0, KILLER_S, KILLER_S, 1.1], shards=1)
    ends = []
    while not ends or ends[-1] != 0:
        ends.append(_work(tmp_path / "all", head.run_id))
        assert len(ends) <= 8
    rows = {row["call_id"]: row["error_code"] or row["outcome"] for row in _content(tmp_path / "all")[0]}
    killed = CrashedWorker.code
    assert {"call-0": "transcribed", "call-1": killed, "call-2": killed, "call-3": "transcribed"} == rows


def test_a_death_before_a_suspect_is_done_again_is_not_its(tmp_path: Path) -> None:
    """A process that was killed before it came to the call that was alone in the one before says nothing of it."""
    head = _plan(tmp_path / "all", [1.0])
    record = JobRecord(_transcripts(tmp_path / "all"), head.run_id, 1)
    record.begin(5)
    record.mark(InFlight(("call-0",)))
    for _ in range(3):
        assert InFlight((), {"call-0": 1}, ("call-0",)) == record.begin(5)


def test_a_job_that_dies_too_often(tmp_path: Path) -> None:
    """It is tried no more than the setting says; the sentence says what happens to the rest."""
    head = _plan(tmp_path / "all", [1.0])
    storage = _transcripts(tmp_path / "all")
    for number in range(1, 6):
        JobRecord(storage, head.run_id, 1).begin(5)
        assert number == sum("attempts/" in key for key in _record_keys(tmp_path / "all"))
    with pytest.raises(RunIncomplete, match=rf"job 1 of run {head.run_id} has died 5 times.*run\.job_attempts"):
        JobRecord(storage, head.run_id, 1).begin(5)


def test_a_job_that_died_too_often_leaves_what_it_finished(tmp_path: Path) -> None:
    """It is committed, and nothing of it stays in checkpoints."""
    folder = tmp_path / "all"
    head = _plan(folder, [1.0, 1.1, 1.2], shards=1)
    with pytest.raises(KeyboardInterrupt):
        _interrupted(folder, head, after=3)
    record = JobRecord(_transcripts(folder), head.run_id, 1)
    for _ in range(5):
        record.begin(5)
    with pytest.raises(RunIncomplete):
        _run(folder, head)
    assert 2 == len(DataSet(_transcripts(folder)).read_calls(MONTH))
    assert [] == [key for key in _record_keys(folder) if "checkpoints" in key]


def _run(folder: Path, head: RunHead, recognizer: StandInRecognizer | None = None) -> dict[str, int]:
    models = stand_in_models(folder / "models", recognizer)
    return run_job(DataSet(_transcripts(folder)), head, 1, models, settings_of(folder), lambda _: None)


def test_a_job_that_is_done_is_done(tmp_path: Path) -> None:
    """Whoever is asked for it again says what came of it, and hears nothing."""
    head = _plan(tmp_path / "all", [1.0, 1.1, 0.0])
    first = _run(tmp_path / "all", head)
    assert {"transcribed": 2, "failed": 1} == first
    recognizer = StandInRecognizer()
    assert first == _run(tmp_path / "all", head, recognizer)
    assert 0 == recognizer.heard


@pytest.mark.parametrize("spoil", ["cut off", "other settings", "other bytes"])
def test_a_checkpoint_that_does_not_count(tmp_path: Path, spoil: str) -> None:
    """What was cut off, or is of other settings or other bytes, is done again."""
    folder = tmp_path / "all"
    head = _plan(folder, [1.0, 1.1, 1.2], shards=1)
    with pytest.raises(KeyboardInterrupt):
        _interrupted(folder, head, after=3)
    checkpoints = list((folder / "transcripts").glob("_runs/*/checkpoints/*.parquet"))
    record = JobRecord(_transcripts(folder), head.run_id, 1)
    rows: list[Any] = record.saved()
    assert 2 == len(rows)
    if spoil == "cut off":
        for checkpoint in checkpoints:
            checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
        assert [] == record.saved()
    else:
        name = "fingerprint" if spoil == "other settings" else "audio_etag"
        for item in rows:
            item.call[name] = "another"
        record.begin(5)
        for checkpoint in checkpoints:
            checkpoint.unlink()
        record.save(rows)
    recognizer = StandInRecognizer()
    assert {"transcribed": 3} == _run(folder, head, recognizer)
    assert 3 == recognizer.heard


def test_an_interrupted_job_keeps_what_it_has_finished(tmp_path: Path) -> None:
    """Ctrl-C and eviction are no deaths: what is finished is kept, and no call is suspected."""
    folder = tmp_path / "all"
    head = _plan(folder, [1.0] * 4, shards=1)
    with pytest.raises(KeyboardInterrupt):
        _interrupted(folder, head, after=3)
    assert InFlight() == JobRecord(_transcripts(folder), head.run_id, 1).begin(5)
    recognizer = StandInRecognizer()
    assert {"transcribed": 4} == _run(folder, head, recognizer)
    assert 2 == recognizer.heard


def test_orderly_ends_are_not_counted(tmp_path: Path) -> None:
    """A job that was interrupted more often than it may die is done all the same."""
    folder = tmp_path / "all"
    head = _plan(folder, [1.0] * 8, shards=1)
    for _ in range(6):
        with pytest.raises(KeyboardInterrupt):
            _interrupted(folder, head, after=2)
    recognizer = StandInRecognizer()
    assert {"transcribed": 8} == _run(folder, head, recognizer)
    assert 2 == recognizer.heard


def _interrupted(folder: Path, head: RunHead, after: int) -> None:
    """Do the job, and interrupt it when so many calls are finished, of which the last is not taken any more."""
    finished: list[object] = []

    def done(outcome: object) -> None:
        finished.append(outcome)
        if len(finished) == after:
            raise KeyboardInterrupt

    models = stand_in_models(folder / "models")
    run_job(DataSet(_transcripts(folder)), head, 1, models, settings_of(folder), done)
