"""Damaged objects: they are named, taken out, and what they held is transcribed again."""

import json
import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import BUCKET
from small_month import CALLS, MONTH, SHARDS, SmallMonth, assert_certified, bundles, content, fill, recognizer
from stand_ins import StandInRecognizer
from typer.testing import CliRunner

from flows.cli import app
from flows.s3_server import LocalS3Server
from tasks.certificates import read_chain
from tasks.dataset import tombstone_key
from tasks.erase import erase_calls
from tasks.errors import NotAsCertified, RunIncomplete, StorageRefused
from tasks.mend import Mending, mend
from tasks.schemas import CALLS as CALLS_SCHEMA
from tasks.schemas import Row
from tasks.setting_groups import ArchiveSettings
from tasks.shards import Table, object_key, shard_of
from tasks.storage import Storage, open_storage
from tasks.tables import from_parquet, table_of, to_parquet
from tasks.verify import verify

__all__ = ["bundles", "recognizer"]

SHARD = shard_of("mono-0", SHARDS)
HERE = [call_id for call_id in CALLS if shard_of(call_id, SHARDS) == SHARD]
ARCHIVE = ArchiveSettings()
LATE = "2026/10/06/late.wav"


@pytest.fixture(scope="module")
def run_once(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    recognizer: StandInRecognizer,
    bundles: Path,
) -> Iterator[SmallMonth]:
    """A month that was run; in a folder, where a test does not ask for a bucket."""
    assert isinstance(recognizer, StandInRecognizer)
    with pytest.MonkeyPatch.context() as patch:
        if getattr(request, "param", "file") == "s3":
            server: LocalS3Server = request.getfixturevalue("s3_server")
            for name, value in server.environment().items():
                patch.setenv(name, value)
            root = f"s3://{BUCKET}/{secrets.token_hex(8)}"
        else:
            folder = tmp_path_factory.mktemp("month")
            for name in ("archive", "transcripts"):
                (folder / name).mkdir()
            root = folder.as_uri()
        month = SmallMonth(f"{root}/archive", f"{root}/transcripts", bundles)
        fill(open_storage(month.archive))
        month.run()
        yield month


@pytest.fixture
def month(run_once: SmallMonth, recognizer: StandInRecognizer) -> Iterator[SmallMonth]:
    """The same for one test: a copy of the data set; what the test puts into the archive is taken away again."""
    copy = replace(run_once, transcripts=f"{run_once.transcripts}-{secrets.token_hex(4)}")
    if copy.transcripts.startswith("file:"):
        Path(copy.transcripts.removeprefix("file://")).mkdir()
    source, target = run_once.storage, copy.storage
    for info in source.list():
        target.put(info.key, source.get(info.key).data)
    recognizer.heard = 0
    yield copy
    open_storage(run_once.archive).delete(LATE)


def _key(table: Table) -> str:
    return object_key(table, MONTH, SHARD, SHARDS)


def _cut(data: bytes) -> bytes:
    return data[:-60]


def _flip(data: bytes) -> bytes:
    return bytes([*data[:70], data[70] ^ 1, *data[71:]])


def _empty(data: bytes) -> bytes:
    return data[:0]


def _silenced(rows: list[Row]) -> list[Row]:
    return [row | ({"outcome": "no_speech"} if row["call_id"] == "mono-0" else {}) for row in rows]


def _mend(month: SmallMonth) -> Mending:
    return mend(month.data, MONTH, open_storage(month.archive), ARCHIVE)


def _kinds(month: SmallMonth) -> set[str]:
    return {finding.kind for finding in verify(month.data, MONTH).findings}


def _edit(storage: Storage, change: Callable[[list[Row]], list[Row]]) -> None:
    rows = change(from_parquet(storage.get(_key("calls")).data, CALLS_SCHEMA).to_pylist())
    storage.put(_key("calls"), to_parquet(table_of(rows, CALLS_SCHEMA)))


@pytest.mark.parametrize(
    "damage",
    [_cut, pytest.param(_flip, marks=pytest.mark.long), pytest.param(_empty, marks=pytest.mark.long)],
)
@pytest.mark.parametrize("table", ["calls", "utterances"])
@pytest.mark.parametrize("run_once", ["file", pytest.param("s3", marks=pytest.mark.long)], indirect=True)
def test_a_damaged_object(
    month: SmallMonth, recognizer: StandInRecognizer, table: Table, damage: Callable[[bytes], bytes]
) -> None:
    """Verify names it, a run refuses it with what to do, and after it is mended a run makes the same rows again."""
    before, storage = content(month.storage), month.storage
    storage.put(_key(table), damage(storage.get(_key(table)).data))
    (finding,) = verify(month.data, MONTH).findings
    assert ("unreadable", SHARD) == (finding.kind, finding.shard)
    assert storage.object_uri(_key(table)) in finding.text
    if table == "calls":
        with pytest.raises(StorageRefused, match=rf"restore it, or let `callscribe mend --month {MONTH}` empty it"):
            month.run()
    mended = _mend(month)
    assert ([storage.object_uri(_key(table))], []) == (mended.unreadable, mended.left)
    assert {"missing"} == _kinds(month)
    assert set(CALLS) > set(content(storage))
    assert_certified(month, month.run())
    assert before == content(storage)
    spoken = [call_id for call_id in HERE if before[call_id][1]]
    assert len(spoken) == recognizer.heard - ("silent" in HERE and table == "calls")


def test_rows_that_are_not_as_certified(month: SmallMonth, recognizer: StandInRecognizer) -> None:
    """Only they are done again; a certificate says how many were taken out."""
    before, storage = content(month.storage), month.storage
    _edit(
        storage, lambda rows: [row | ({"outcome": "no_speech"} if row["call_id"] == "mono-0" else {}) for row in rows]
    )
    assert {"altered"} == _kinds(month)
    assert 1 == _mend(month).rows
    *_, link = read_chain(storage)
    assert ("mending", 1, []) == (link.kind, link.content["rows"], link.content["unreadable"])
    assert_certified(month, month.run())
    assert (before, 1) == (content(storage), recognizer.heard)


def test_a_row_whose_recording_is_gone(month: SmallMonth, tmp_path: Path) -> None:
    """It could not be made again, and is kept."""
    _edit(month.storage, _silenced)
    archive = open_storage(tmp_path.as_uri())
    fill(archive, {call_id: data for call_id, data in CALLS.items() if call_id != "mono-0"})
    mended = mend(month.data, MONTH, archive, ARCHIVE)
    assert (0, 1) == (mended.rows, mended.kept)
    assert {"altered"} == _kinds(month)


@pytest.mark.parametrize("etag", [None, "of what is no longer there"])
def test_a_row_whose_recording_only_a_manifest_names(month: SmallMonth, tmp_path: Path, etag: str | None) -> None:
    """It could not be made again either, whatever the manifest says of the object; one that is there is."""
    _edit(month.storage, lambda rows: [row | {"outcome": "no_speech"} for row in rows])
    archive = open_storage(tmp_path.as_uri())
    fill(archive, {call_id: data for call_id, data in CALLS.items() if call_id != "mono-0"})
    there = {info.key.rpartition("/")[2].partition(".")[0]: info for info in archive.list()}
    rows = [{"call_id": one, "uri": info.key, "month": MONTH} for one, info in there.items()]
    rows.append({"call_id": "mono-0", "uri": "2026/10/05/mono-0.wav", "month": MONTH, "etag": etag, "size_bytes": 7})
    archive.put("calls.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())
    altered = {one.call_id for one in verify(month.data, MONTH).findings}
    mended = mend(month.data, MONTH, archive, ArchiveSettings(manifest=f"{archive.uri}/calls.jsonl"))
    assert (len(altered) - 1, 1) == (mended.rows, mended.kept)
    assert ["mono-0"] == [one.call_id for one in verify(month.data, MONTH).findings if one.kind == "altered"]


def test_nothing_is_wrong(month: SmallMonth) -> None:
    """Nothing is taken out, and no certificate written."""
    assert Mending(MONTH) == _mend(month)
    assert 1 == len(list(read_chain(month.storage)))


@pytest.mark.long
def test_an_erased_call_in_a_damaged_month(month: SmallMonth) -> None:
    """What brought it back is undone, and it stays erased through the mending."""
    storage = month.storage
    rows = storage.get(_key("calls")).data
    erase_calls(month.data, ["mono-0"], "request 12", ARCHIVE)
    storage.put(_key("calls"), rows)
    storage.delete(tombstone_key(MONTH, SHARD, SHARDS))
    assert "erased" in _kinds(month)
    _mend(month)
    month.run()
    assert (set(), set(CALLS) - {"mono-0"}) == (_kinds(month), set(content(storage)))
    storage.put(_key("calls"), b"damaged")
    _mend(month)
    month.run()
    assert (set(), set(CALLS) - {"mono-0"}) == (_kinds(month), set(content(storage)))


def _interrupted(month: SmallMonth, recognizer: StandInRecognizer, patch: pytest.MonkeyPatch) -> str:
    """Plan the month anew and stop before the first job; the key of the plan's one part."""
    open_storage(month.archive).put(LATE, CALLS["mono-0"])

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with patch.context() as patched:
        patched.setattr("flows.crew.transcribe_job", interrupt)
        with pytest.raises(KeyboardInterrupt):
            month.run()
    recognizer.heard = 0
    *_, key = (info.key for info in month.storage.list("_runs/") if "/jobs/" in info.key)
    return key


def test_a_damaged_part_of_a_plan(
    month: SmallMonth, recognizer: StandInRecognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run cannot account for its calls, and says so; the next one plans them anew."""
    key = _interrupted(month, recognizer, monkeypatch)
    month.storage.put(key, _cut(month.storage.get(key).data))
    with pytest.raises(RunIncomplete, match="1 planned calls have no row"):
        month.run()
    *_, link = read_chain(month.storage)
    assert (1, 0, False) == tuple(link.content["result"][name] for name in ("missing", "erased", "accounted"))
    assert_certified(month, month.run(), {**CALLS, "late": b""})
    assert 1 == recognizer.heard


@pytest.mark.long
def test_an_erasure_meets_a_damaged_part_of_a_plan(
    month: SmallMonth, recognizer: StandInRecognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may hold the call, and so it is emptied; the erasure is certified, and the run goes the same way as before."""
    key = _interrupted(month, recognizer, monkeypatch)
    month.storage.put(key, _cut(month.storage.get(key).data))
    result = erase_calls(month.data, ["mono-0"], "request 12", ARCHIVE)
    assert (b"", True) == (month.storage.get(key).data, month.storage.object_uri(key) in result.rewritten)
    with pytest.raises(RunIncomplete):
        month.run()
    assert month.run().accounted


def test_on_the_command_line(month: SmallMonth) -> None:
    """It asks first, says what it did and what to do now; what it cannot mend is an error."""
    given = ["mend", "--month", MONTH, "--archive", month.archive, "--transcripts", month.transcripts]
    month.storage.put(_key("utterances"), b"damaged")
    runner = CliRunner(env=dict(os.environ))
    assert "Aborted" in runner.invoke(app, given, input="n\n").output
    assert {"unreadable"} == _kinds(month)
    done = runner.invoke(app, [*given, "--yes"])
    assert 0 == done.exit_code, done.output
    assert f"now run the month again: callscribe run --month {MONTH}" in done.output
    (outputs, *_) = (info.key for info in month.storage.list("_runs/") if "/outputs/" in info.key)
    month.storage.put(outputs, b"")
    refused = runner.invoke(app, [*given, "--yes"])
    assert isinstance(refused.exception, NotAsCertified)
