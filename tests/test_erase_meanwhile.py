"""Calls that are erased while a run writes what it keeps: whichever of the two is first, nothing of them is left."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from job_worker import settings_of
from stand_ins import build_bundle, stand_in_models, tone, wav

from tasks.certificates import certify
from tasks.dataset import DataSet
from tasks.erase import erase_calls
from tasks.job_record import JobRecord
from tasks.plan_run import plan_run
from tasks.run_job import run_job
from tasks.run_models import fingerprints_of
from tasks.runs import RunHead, read_job
from tasks.schemas import CHECKPOINT
from tasks.setting_groups import ArchiveSettings
from tasks.storage import Storage, open_storage
from tasks.tables import from_parquet

MONTH = "2026-10"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An archive of four calls, a call_id that two objects claim, and a month of which nothing is planned yet."""
    for name in ("archive", "transcripts"):
        (tmp_path / name).mkdir()
    build_bundle(tmp_path / "models")
    archive = open_storage((tmp_path / "archive").as_uri())
    for number in range(4):
        archive.put(f"2026/10/05/call-{number}.wav", wav(tone(300 + 10 * number)))
    for day in ("06", "07"):
        archive.put(f"2026/10/{day}/twice.wav", day.encode())
    DataSet(_transcripts(tmp_path)).fix_shards(MONTH, 2)
    return tmp_path


def _transcripts(folder: Path) -> Storage:
    return open_storage((folder / "transcripts").as_uri())


def _erase(folder: Path, call_id: str) -> None:
    erase_calls(DataSet(_transcripts(folder)), [call_id], "request 12", ArchiveSettings(), MONTH)


def _first(storage: Storage, part: str, act: Callable[[], None], patch: pytest.MonkeyPatch) -> list[tuple[str, bytes]]:
    """Act just before an object with such a key is first written; all that is written, in order."""
    put, written = storage.put, list[tuple[str, bytes]]()

    def interfered(key: str, data: bytes, *, if_match: str | None = None, if_none_match: bool = False) -> str:
        if part in key and not any(part in one for one, _ in written):
            act()
        written.append((key, data))
        return put(key, data, if_match=if_match, if_none_match=if_none_match)

    patch.setattr(storage, "put", interfered)
    return written


def _plan(folder: Path, storage: Storage) -> RunHead:
    settings = settings_of(folder)
    archive = open_storage((folder / "archive").as_uri())
    return plan_run(DataSet(storage), archive, MONTH, settings, fingerprints_of(settings))


def _work(folder: Path, storage: Storage, head: RunHead, done: Callable[[str], None] = lambda _: None) -> None:
    run_job(
        DataSet(storage),
        head,
        1,
        stand_in_models(folder / "models"),
        settings_of(folder),
        lambda outcome: done(outcome.call.call_id),
    )


def test_a_call_that_is_erased_before_its_part_of_the_plan_is_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan, which had read the tombstones before, holds it no more; the run accounts for it as erased."""
    storage = _transcripts(folder)
    _first(storage, "/jobs/", lambda: _erase(folder, "call-1"), monkeypatch)
    head = _plan(folder, storage)
    assert 4 == head.calls
    planned = [one.call.call_id for one in read_job(storage, head.run_id, 1)]
    assert ["call-0", "call-2", "call-3"] == sorted(planned)
    _work(folder, storage, head)
    summary, _ = certify(DataSet(storage), head, 1.0)
    assert ({"failed": 1, "transcribed": 3}, 1, True) == (summary.outcomes, summary.erased, summary.accounted)


@pytest.mark.parametrize("meanwhile", [True, False])
def test_an_erased_call_id_that_several_objects_claim(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, meanwhile: bool
) -> None:
    """The list of what is no call of its own does not name it, whether it was erased before or while it is written."""
    storage = _transcripts(folder)
    (folder / "archive/2026/10/05/README").write_bytes(b"no call")
    if meanwhile:
        _first(storage, "/unplanned.jsonl", lambda: _erase(folder, "twice"), monkeypatch)
    else:
        _erase(folder, "twice")
    written = storage.get(f"_runs/{_plan(folder, storage).run_id}/unplanned.jsonl").data.decode()
    assert ["2026/10/05/README"] == [json.loads(line)["key"] for line in written.splitlines()]


def test_a_call_that_is_erased_before_its_checkpoint_is_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that ends before it commits, and that nobody goes on with, leaves nothing of it."""
    storage = _transcripts(folder)
    head = _plan(folder, storage)
    finished: list[str] = []

    def interrupt(call_id: str) -> None:
        finished.append(call_id)
        if len(finished) == 3:
            raise KeyboardInterrupt

    _first(storage, "/checkpoints/", lambda: _erase(folder, finished[0]), monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        _work(folder, storage, head, interrupt)
    kept = {item.call["call_id"] for item in JobRecord(storage, head.run_id, 1).saved()}
    committed = {row["call_id"] for row in DataSet(storage).read_calls(MONTH)}
    assert finished[0] not in kept | committed
    assert finished[1] in kept | committed


def test_a_call_that_is_erased_while_it_is_transcribed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is in no checkpoint that is written, so that no older version of one holds it."""
    storage = _transcripts(folder)
    head = _plan(folder, storage)
    finished: list[str] = []

    def erase(call_id: str) -> None:
        finished.append(call_id)
        if len(finished) == 1:
            _erase(folder, call_id)
        if len(finished) == 3:
            raise KeyboardInterrupt

    written = _first(storage, "nothing", lambda: None, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        _work(folder, storage, head, erase)
    saved = [from_parquet(data, CHECKPOINT)["call_id"].to_pylist() for key, data in written if "/checkpoints/" in key]
    assert saved
    assert finished[0] not in [call_id for call_ids in saved for call_id in call_ids]
