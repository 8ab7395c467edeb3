"""The commit protocol of the data set, on a folder and on a real S3 server: crashes, races, lost answers, late writers.

The faults are told to `SteppedStorage`, which hands everything to the real store and only speaks up around the PUTs.
"""

import json
import secrets
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from itertools import permutations
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from builders import SHA256, TRANSCRIBED_AT, call_ref, failure, outcome, provenance, transcript, utterance
from conftest import BUCKET
from hypothesis import given, settings
from hypothesis import strategies as st

import tasks.dataset
from flows.s3_server import LocalS3Server
from tasks.dataset import Change, DataSet, merge_changes, tombstone_key
from tasks.errors import CallscribeError, PreconditionFailed, StorageRefused, StorageUnavailable
from tasks.query import connect
from tasks.records import CopiedAudio
from tasks.rows import CallRows, rows_of
from tasks.schemas import CALLS, UTTERANCES, Row
from tasks.shards import object_key, shard_of
from tasks.storage import DirectAccess, ObjectInfo, OlderVersions, Storage, StoredObject, open_storage
from tasks.tables import from_parquet, table_of, to_parquet

MONTH = "2026-10"
CALLS_KEY = object_key("calls", MONTH, 0, 1)
UTTERANCES_KEY = object_key("utterances", MONTH, 0, 1)

# What a strict reader sees of a call: its outcome, the run that its row is from, and the texts of its utterances.
Seen = Mapping[str, tuple[str, str, list[str]]]
Hook = Callable[[int, str], None]


def _nothing(_number: int, _key: str) -> None:
    """Let the PUT pass."""


class Killed(Exception):
    """The process ends here."""


class SteppedStorage(Storage):
    """A real store, with somebody who is told the number and key of each PUT, before and after, and may raise.

    Args:
        inner: the real store.
        before: called before a PUT; what it raises keeps the PUT from being sent.
        after: called when the PUT is done; what it raises loses the answer.
        read: called when an object was looked for, with the number of the GET.
    """

    def __init__(self, inner: Storage, before: Hook = _nothing, after: Hook = _nothing, read: Hook = _nothing) -> None:
        self.uri = inner.uri
        self.puts = 0
        self.gets = 0
        self._read = read
        self._inner = inner
        self._before = before
        self._after = after

    def beside(self, uri: str) -> Storage:
        """Open another place."""
        return self._inner.beside(uri)

    def put(self, key: str, data: bytes, *, if_match: str | None = None, if_none_match: bool = False) -> str:
        """Write through, with a word before and one after."""
        self.puts += 1
        number = self.puts
        self._before(number, key)
        etag = self._inner.put(key, data, if_match=if_match, if_none_match=if_none_match)
        self._after(number, key)
        return etag

    def older_versions(self, prefix: str) -> dict[str, OlderVersions] | None:
        """As the store says."""
        return self._inner.older_versions(prefix)

    def object_uri(self, key: str) -> str:
        """Ask the real store."""
        return self._inner.object_uri(key)

    def direct_access(self) -> DirectAccess:
        """Ask the real store."""
        return self._inner.direct_access()

    def check(self) -> None:
        """Ask the real store."""
        self._inner.check()

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Ask the real store."""
        return self._inner.list(prefix)

    def head(self, key: str) -> ObjectInfo | None:
        """Ask the real store."""
        return self._inner.head(key)

    def get(self, key: str, *, if_match: str | None = None, byte_range: tuple[int, int] | None = None) -> StoredObject:
        """Ask the real store, and tell that it was asked."""
        self.gets += 1
        number = self.gets
        try:
            return self._inner.get(key, if_match=if_match, byte_range=byte_range)
        finally:
            self._read(number, key)

    def download(
        self, key: str, path: Path, *, if_match: str | None = None, max_bytes: int | None = None
    ) -> ObjectInfo:
        """Ask the real store."""
        return self._inner.download(key, path, if_match=if_match, max_bytes=max_bytes)

    def delete(self, key: str) -> None:
        """Ask the real store."""
        self._inner.delete(key)


def _at(number: int, act: Callable[[], None]) -> Hook:
    """A hook that acts at one PUT."""
    return lambda at, _key: act() if at == number else None


def _raising(error: Exception) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act


@pytest.fixture(scope="module")
def _bucket(s3_server: LocalS3Server) -> Iterator[Storage]:
    """One place in the bucket for this module: boto3 takes its time to make a client."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3_server.environment().items():
            patch.setenv(name, value)
        yield open_storage(f"s3://{BUCKET}/{secrets.token_hex(8)}")


@pytest.fixture(params=["file", "s3"])
def storage(request: pytest.FixtureRequest) -> Storage:
    """An empty place for a data set, of each kind."""
    if request.param == "file":
        return open_storage(request.getfixturevalue("tmp_path").as_uri())
    bucket: Storage = request.getfixturevalue("_bucket")
    for info in list(bucket.list()):
        bucket.delete(info.key)
    return bucket


def _run_id(run: int) -> str:
    return f"run-{run:03d}"


def _rows(call_id: str, run: int, changes: Mapping[str, Any], of_run: Mapping[str, Any]) -> CallRows:
    call = call_ref(call_id, etag=f"etag-{run}")
    tried_at = TRANSCRIBED_AT + timedelta(seconds=run)
    return rows_of(
        replace(outcome(call), **changes), provenance(run_id=_run_id(run), transcribed_at=tried_at, **of_run)
    )


def said(call_id: str, *texts: str, run: int = 1, sha256: str = SHA256, **of_run: Any) -> CallRows:  # noqa: ANN401
    """A run found these utterances in a call; none is a silent call."""
    spoken = transcript([utterance(text, float(number)) for number, text in enumerate(texts)])
    return _rows(call_id, run, {"transcript": spoken, "audio_sha256": sha256}, of_run)


def failed(call_id: str, *, run: int = 1, code: str = "processing_error", **of_run: Any) -> CallRows:  # noqa: ANN401
    """A run failed on a call."""
    return _rows(call_id, run, {"transcript": None, "failure": failure(code)}, of_run)


def seen(call_id: str, *texts: str, run: int = 1) -> Seen:
    """What a strict reader sees of a call after `said`."""
    return {call_id: ("transcribed" if texts else "no_speech", _run_id(run), list(texts))}


def seen_failed(call_id: str, run: int = 1) -> Seen:
    """What a strict reader sees of a call after `failed`."""
    return {call_id: ("failed", _run_id(run), [])}


def commit(storage: Storage, *changes: Change) -> None:
    """Commit to the one shard of the month."""
    DataSet(storage).commit(MONTH, 0, 1, changes)


def strict_read(storage: Storage) -> Seen:
    """What a reader that joins on transcript_id sees, through our own views."""
    with connect(storage) as connection:
        rows = connection.execute(
            'SELECT c.call_id, outcome, run_id, list(text ORDER BY "index") FILTER (text IS NOT NULL)'
            " FROM calls AS c LEFT JOIN utterances USING (transcript_id) GROUP BY ALL"
        ).fetchall()
    assert len({row[0] for row in rows}) == len(rows), "a call has two rows"
    return {call_id: (kind, run, texts or []) for call_id, kind, run, texts in rows}


def rows(storage: Storage, key: str = CALLS_KEY) -> list[Row]:
    """The rows of an object as they are stored."""
    return from_parquet(storage.get(key).data, CALLS if key == CALLS_KEY else UTTERANCES).to_pylist()


def row_of(storage: Storage, call_id: str) -> Row:
    """The one row of a call."""
    (row,) = [row for row in rows(storage) if row["call_id"] == call_id]
    return row


def assert_tidy(storage: Storage) -> None:
    """Hold that `utterances` has no row that `calls` does not name, and none twice."""
    stored = [(row["transcript_id"], row["index"]) for row in rows(storage, UTTERANCES_KEY)]
    assert len(stored) == len(set(stored))
    assert {transcript_id for transcript_id, _ in stored} <= {row["transcript_id"] for row in rows(storage)}


# What stands before a commit, and what the commit brings.
STANDING = (said("c0", "zero"), said("c1", "old one", "old two"))
BEFORE = seen("c0", "zero") | seen("c1", "old one", "old two")
NEW = (said("c1", "new", run=2, sha256="other bytes"), said("c2", "second", run=2))
AFTER = seen("c0", "zero") | seen("c1", "new", run=2) | seen("c2", "second", run=2)

# The PUTs of a commit that replaces something: b, c and d, each before it is sent and after it is done.
POINTS = [(number, when) for number in (1, 2, 3) for when in ("before", "after")]
COMMITTED = (2, "after")


def _stepped(storage: Storage, point: tuple[int, str], act: Callable[[], None]) -> SteppedStorage:
    number, when = point
    return SteppedStorage(storage, **{when: _at(number, act)})


def _expected(point: tuple[int, str]) -> Seen:
    """What stands when the commit went as far as this point; "before" sorts after "after", so by position."""
    return AFTER if POINTS.index(point) >= POINTS.index(COMMITTED) else BEFORE


def test_first_commit(storage: Storage) -> None:
    """The first commit makes the shard's two objects, and nothing else."""
    commit(storage, *STANDING, failed("c3"), said("c4"))
    assert BEFORE | seen_failed("c3") | seen("c4") == strict_read(storage)
    assert {CALLS_KEY, UTTERANCES_KEY} == {info.key for info in storage.list()}
    assert_tidy(storage)


def test_taking_out_beside_a_commit(storage: Storage) -> None:
    """What a writer has put into one table, and not yet into the other, is not taken from under it."""
    commit(storage, *STANDING)

    def take_out() -> None:
        DataSet(storage).take_out(MONTH, 0, 1, [])

    commit(_stepped(storage, (1, "after"), take_out), said("c9", "one", "two"))
    assert BEFORE | seen("c9", "one", "two") == strict_read(storage)
    assert_tidy(storage)


def test_commit_of_nothing(storage: Storage) -> None:
    """No changes, no objects."""
    commit(storage)
    assert [] == list(storage.list())


def test_replace(storage: Storage) -> None:
    """A new transcript takes the place of the old one; other calls stay as they are."""
    commit(storage, *STANDING)
    untouched = row_of(storage, "c0")
    commit(storage, *NEW)
    assert AFTER == strict_read(storage)
    assert untouched == row_of(storage, "c0")
    assert_tidy(storage)


def test_rows_are_stored_as_they_are(storage: Storage) -> None:
    """What is read is what was committed, column by column."""
    new = said("c1", "some words", "and more")
    commit(storage, new)
    assert from_parquet(to_parquet(table_of([new.call], CALLS)), CALLS).to_pylist() == rows(storage)
    assert list(new.utterances) == rows(storage, UTTERANCES_KEY)


def test_a_file_of_older_code_takes_new_rows(storage: Storage) -> None:
    """A shard that lacks a column is read, kept, and written in today's schema."""
    old = pa.schema([field for field in CALLS if field.name not in {"review", "last_attempt_run_id"}])
    storage.put(CALLS_KEY, to_parquet(table_of([STANDING[0].call], CALLS).select(old.names)))
    storage.put(UTTERANCES_KEY, to_parquet(table_of(STANDING[0].utterances, UTTERANCES)))
    commit(storage, said("c2", "second", run=2))
    assert seen("c0", "zero") | seen("c2", "second", run=2) == strict_read(storage)
    assert None is row_of(storage, "c0")["review"]
    assert CALLS.names == list(row_of(storage, "c0"))


@pytest.mark.parametrize("code", ["processing_error", "undecodable_audio"])
@pytest.mark.parametrize("texts", [("words",), ()])
def test_a_failure_never_replaces_a_transcript(storage: Storage, texts: tuple[str, ...], code: str) -> None:
    """A failed attempt leaves the row of a transcribed or silent call, and fills `last_attempt_*`."""
    commit(storage, said("c1", *texts))
    before = row_of(storage, "c1")
    commit(storage, failed("c1", run=2, code=code, attempt=3))
    tried_at = TRANSCRIBED_AT + timedelta(seconds=2)
    expected = {
        "last_attempt_at": tried_at,
        "last_attempt_run_id": _run_id(2),
        "last_attempt_etag": "etag-2",
        "last_attempt_error_code": code,
        "last_attempt_error": failure(code).message,
        "last_attempt": 3,
    }
    assert before | expected == row_of(storage, "c1")
    assert seen("c1", *texts) == strict_read(storage)


def test_a_failure_replaces_a_failure_and_a_transcript_both(storage: Storage) -> None:
    """The newest failure stands until there is a transcript, which forgets the failures before it."""
    commit(storage, failed("c1", run=1))
    commit(storage, failed("c1", run=2, code="object_vanished"))
    assert ("object_vanished", _run_id(2)) == tuple(row_of(storage, "c1")[name] for name in ("error_code", "run_id"))
    commit(storage, said("c1", "words", run=3))
    commit(storage, failed("c1", run=4))
    commit(storage, said("c1", "other words", run=5))
    row = row_of(storage, "c1")
    assert seen("c1", "other words", run=5) == strict_read(storage)
    assert {None} == {row[name] for name in CALLS.names if name.startswith(("last_attempt", "error"))}


@pytest.mark.parametrize("late", [said("c1", "late", run=1, sha256="x"), said("c1"), failed("c1", run=1)])
def test_the_later_planned_run_wins(storage: Storage, late: CallRows) -> None:
    """An attempt that was planned earlier and comes late changes nothing."""
    commit(storage, said("c1", "planned later", run=2))
    before = row_of(storage, "c1")
    commit(storage, late)
    assert seen("c1", "planned later", run=2) == strict_read(storage)
    assert before == row_of(storage, "c1")
    assert_tidy(storage)


def test_a_late_transcript_is_not_lost_to_a_later_failure(storage: Storage) -> None:
    """A transcript that was planned before a failure, and comes after it, is the call's transcript all the same."""
    commit(storage, failed("c1", run=2))
    commit(storage, said("c1", "late", run=1))
    assert seen("c1", "late", run=1) == strict_read(storage)
    assert _run_id(2) == row_of(storage, "c1")["last_attempt_run_id"]


def test_copied_audio_updates_the_etag_only(storage: Storage) -> None:
    """An object with the same bytes under a new ETag keeps its transcript; the row says where it lies now."""
    commit(storage, *STANDING)
    before = row_of(storage, "c1")
    copy = call_ref("c1", etag="after the copy", uri="s3://elsewhere/c1.wav")
    commit(storage, CopiedAudio(copy, SHA256))
    assert before | {"audio_etag": "after the copy", "audio_uri": "s3://elsewhere/c1.wav"} == row_of(storage, "c1")
    assert BEFORE == strict_read(storage)


def test_copied_audio_forgets_the_failures_at_other_bytes(storage: Storage) -> None:
    """When the good bytes are back, what failed in between is over."""
    commit(storage, said("c1", "words"))
    commit(storage, failed("c1", run=2))
    commit(storage, CopiedAudio(call_ref("c1", etag="back"), SHA256))
    row = row_of(storage, "c1")
    assert {None} == {row[name] for name in CALLS.names if name.startswith("last_attempt")}


@pytest.mark.parametrize("standing", [None, said("c1", "words", sha256="other bytes")])
def test_copied_audio_without_its_transcript(storage: Storage, standing: CallRows | None) -> None:
    """Bytes that are not those of the standing row change nothing."""
    commit(storage, said("c0", "zero"), *([standing] if standing else []))
    before = rows(storage)
    commit(storage, CopiedAudio(call_ref("c1", etag="new"), SHA256))
    assert before == rows(storage)


def _erase(storage: Storage, *call_ids: str) -> None:
    """Write the tombstone of calls, and make every other writer meet changed objects."""
    storage.put(tombstone_key(MONTH, 0, 1), json.dumps({"call_ids": call_ids}).encode())
    commit(storage, said("bystander", "here", run=9))


def test_an_erased_call_is_dropped_and_does_not_return(storage: Storage) -> None:
    """The next commit drops an erased call, and no later one brings it back."""
    commit(storage, *STANDING)
    _erase(storage, "c1")
    expected = seen("c0", "zero") | seen("bystander", "here", run=9)
    assert expected == strict_read(storage)
    copied = CopiedAudio(call_ref("c1", etag="copy"), SHA256)
    commit(storage, said("c1", "again", run=10), failed("c1", run=11), copied)
    assert expected == strict_read(storage)
    assert {"c0", "bystander"} == {row["call_id"] for row in rows(storage, UTTERANCES_KEY)}


@pytest.mark.parametrize("step", ["read 1", "read 2", "read 3", "before 1", "after 1", "before 2"])
def test_an_erasure_during_a_commit(storage: Storage, step: str) -> None:
    """A writer that read the tombstones before the erasure meets a changed object, and reads again."""
    commit(storage, *STANDING)
    kind, number = step.split()
    commit(SteppedStorage(storage, **{kind: _at(int(number), lambda: _erase(storage, "c1"))}), *NEW)
    expected = seen("c0", "zero") | seen("c2", "second", run=2) | seen("bystander", "here", run=9)
    assert expected == strict_read(storage)
    assert_tidy(storage)


@pytest.mark.parametrize("point", POINTS, ids=str)
def test_a_crash_leaves_the_old_or_the_new(storage: Storage, point: tuple[int, str]) -> None:
    """Whenever the writer dies, a strict reader sees all of the old transcript or all of the new one."""
    commit(storage, *STANDING)
    with pytest.raises(Killed):
        commit(_stepped(storage, point, _raising(Killed())), *NEW)
    assert _expected(point) == strict_read(storage)
    commit(storage, said("c0", "zero again", run=3))
    assert _expected(point) | seen("c0", "zero again", run=3) == strict_read(storage)
    assert_tidy(storage)


@pytest.mark.parametrize("point", POINTS[:4], ids=str)
def test_a_crash_in_the_first_commit(storage: Storage, point: tuple[int, str]) -> None:
    """Before there is anything, a reader sees nothing or all of it."""
    with pytest.raises(Killed):
        commit(_stepped(storage, point, _raising(Killed())), *STANDING)
    assert (BEFORE if point == COMMITTED else {}) == strict_read(storage)
    commit(storage, *NEW)
    assert (AFTER if point == COMMITTED else {**AFTER, "c0": None}) == {"c0": None, **strict_read(storage)}


@pytest.mark.parametrize(
    ("retry", "expected"),
    [
        (said("c1", "found", "otherwise", "now", run=3), seen("c1", "found", "otherwise", "now", run=3)),
        (said("c1", run=3), seen("c1", run=3)),
        (failed("c1", run=3), seen_failed("c1", run=3)),
    ],
)
@pytest.mark.parametrize("point", POINTS[1:3], ids=str)
def test_what_a_crash_left_behind_never_shows(
    storage: Storage, point: tuple[int, str], retry: CallRows, expected: Seen
) -> None:
    """The next try counts as the same attempt at the same bytes, may find something else, and is read alone."""
    first = said("c1", "lost", "in the crash", run=2)
    assert {first.call["attempt"]} == {retry.call["attempt"]}
    with pytest.raises(Killed):
        commit(_stepped(storage, point, _raising(Killed())), first)
    commit(storage, retry)
    assert expected == strict_read(storage)
    assert_tidy(storage)


def test_readers_between_the_steps(storage: Storage) -> None:
    """At every step of a commit, a strict reader sees the old or the new, and the change comes at one moment."""
    commit(storage, *STANDING)
    reads: list[Seen] = []

    def read(_number: int, _key: str) -> None:
        reads.append(strict_read(storage))

    stepped = SteppedStorage(storage, read, read)
    commit(stepped, *NEW)
    assert 3 == stepped.puts
    assert [_expected(point) for point in POINTS] == reads


@pytest.mark.parametrize("point", [point for point in POINTS if point[1] == "after"], ids=str)
@pytest.mark.parametrize("error", [StorageUnavailable("time-out"), PreconditionFailed("412")], ids=["outage", "412"])
def test_a_lost_answer(storage: Storage, point: tuple[int, str], error: CallscribeError) -> None:
    """A PUT that was done and whose answer was lost is recognised by its write_id, and not done twice."""
    commit(storage, *STANDING)
    stepped = _stepped(storage, point, _raising(error))
    commit(stepped, *NEW)
    assert 3 == stepped.puts
    assert AFTER == strict_read(storage)
    assert_tidy(storage)


@pytest.mark.parametrize("error", [StorageUnavailable("time-out"), PreconditionFailed("412")], ids=["outage", "412"])
@pytest.mark.parametrize("number", [1, 2])
def test_a_lost_answer_in_the_first_commit(storage: Storage, number: int, error: CallscribeError) -> None:
    """The same where If-None-Match meets the object that we wrote ourselves."""
    commit(SteppedStorage(storage, after=_at(number, _raising(error))), *STANDING)
    assert BEFORE == strict_read(storage)
    assert_tidy(storage)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_an_answer_lost_and_another_writer_since(storage: Storage, number: int) -> None:
    """When another writer built on our lost write, starting again changes nothing and loses nothing."""
    commit(storage, *STANDING)

    def meanwhile() -> None:
        commit(storage, said("c3", "third", run=2))
        message = "412"
        raise PreconditionFailed(message)

    commit(SteppedStorage(storage, after=_at(number, meanwhile)), *NEW)
    assert AFTER | seen("c3", "third", run=2) == strict_read(storage)
    assert_tidy(storage)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_an_outage(storage: Storage, number: int) -> None:
    """A store that stops answering is told to the caller; what stands is the old or the new, and the next try mends."""
    commit(storage, *STANDING)
    with pytest.raises(StorageUnavailable, match="503"):
        commit(SteppedStorage(storage, before=_at(number, _raising(StorageUnavailable("503")))), *NEW)
    assert _expected((number, "before")) == strict_read(storage)
    commit(storage, *NEW)
    assert AFTER == strict_read(storage)
    assert_tidy(storage)


@pytest.mark.parametrize("standing", [(), STANDING], ids=["first", "replace"])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_another_writer_is_faster(storage: Storage, number: int, standing: Sequence[CallRows]) -> None:
    """A 412 in b or c starts again and keeps what the other wrote; one in d leaves the tidying to the other."""
    commit(storage, *standing)
    other = (said("c3", "third", run=2), said("c0", "zero anew", run=2))
    stepped = SteppedStorage(storage, before=_at(number, lambda: commit(storage, *other)))
    commit(stepped, *NEW)
    if stepped.puts < number:  # the first commit leaves nothing to tidy, so that there is no d
        commit(storage, *other)
    assert AFTER | seen("c3", "third", run=2) | seen("c0", "zero anew", run=2) == strict_read(storage)
    assert_tidy(storage)


def test_a_412_in_d_is_left_alone(storage: Storage) -> None:
    """After the commit nothing is tried again: the other writer tidies."""
    commit(storage, *STANDING)
    stepped = SteppedStorage(storage, before=_at(3, lambda: commit(storage, said("c3", "third", run=2))))
    commit(stepped, *NEW)
    assert 3 == stepped.puts


@pytest.mark.parametrize("number", [1, 2, 3])
def test_another_writer_between_our_reads(storage: Storage, number: int) -> None:
    """What was read before another commit and what was read after it are never mixed."""
    commit(storage, *STANDING)
    other = (said("c3", "third", run=2), said("c0", "zero anew", run=2))
    commit(SteppedStorage(storage, read=_at(number, lambda: commit(storage, *other))), *NEW)
    assert AFTER | seen("c3", "third", run=2) | seen("c0", "zero anew", run=2) == strict_read(storage)
    assert_tidy(storage)


def test_the_same_job_once_more(storage: Storage) -> None:
    """A job that is run again after its commit leaves each call once, with what it found last."""
    commit(storage, *STANDING)
    commit(storage, *NEW)
    commit(storage, *NEW)
    assert AFTER == strict_read(storage)
    commit(storage, said("c1", "found again", run=2))
    assert AFTER | seen("c1", "found again", run=2) == strict_read(storage)
    assert_tidy(storage)


def test_another_writer_wins_the_same_call(storage: Storage) -> None:
    """Two attempts at one call in one moment: the one that was planned later stands, here the other."""
    commit(storage, *STANDING)
    other = said("c1", "planned later", run=3, sha256="x")
    commit(SteppedStorage(storage, before=_at(2, lambda: commit(storage, other))), *NEW)
    assert {**AFTER, **seen("c1", "planned later", run=3)} == strict_read(storage)
    assert_tidy(storage)


def test_other_writers_win_every_round(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit that never comes through says so in the end; what stands is right."""
    monkeypatch.setattr(tasks.dataset, "MAX_COMMIT_ROUNDS", 3)
    others: list[CallRows] = []

    def meanwhile(number: int, _key: str) -> None:
        others.append(said("c3", f"round {number}", run=number))
        commit(storage, others[-1])

    with pytest.raises(StorageRefused, match="other writers won 3 rounds on shard-0000-of-0001"):
        commit(SteppedStorage(storage, before=meanwhile), *NEW)
    assert 3 == len(others)
    assert seen("c3", "round 3", run=3) == strict_read(storage)


def test_writers_at_once(storage: Storage) -> None:
    """Four writers of different calls of one shard lose nothing and write nothing twice."""

    def work(writer: int) -> None:
        own = open_storage(storage.uri)
        for number in range(3):
            commit(own, said(f"c{writer}", f"first {writer}", f"version {number}", run=number))
            commit(own, said(f"c{writer}-{number}", f"words of {writer}", run=number))

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, range(4)))
    expected: dict[str, Any] = {}
    for writer in range(4):
        expected |= seen(f"c{writer}", f"first {writer}", "version 2", run=2)
        for number in range(3):
            expected |= seen(f"c{writer}-{number}", f"words of {writer}", run=number)
    assert expected == strict_read(storage)
    assert_tidy(storage)


def test_layout_is_decided_once(storage: Storage) -> None:
    """Of many that plan a month at once, all get the shard count of the first, and so does whoever comes later."""
    assert None is DataSet(storage).shards(MONTH)
    with ThreadPoolExecutor(8) as threads:
        decided = list(threads.map(lambda shards: DataSet(storage).fix_shards(MONTH, shards), range(1, 9)))
    assert 1 == len(set(decided))
    assert decided[0] == DataSet(storage).fix_shards(MONTH, 120)
    assert decided[0] == DataSet(storage).shards(MONTH)
    assert 7 == DataSet(storage).fix_shards("2026-11", 7)


def test_read_calls_of_all_shards(storage: Storage) -> None:
    """A month is read over all its shards, with those that have no object yet."""
    data = DataSet(storage)
    assert [] == data.read_calls(MONTH)
    data.fix_shards(MONTH, 4)
    assert [] == data.read_calls(MONTH)
    call_ids = [f"c{number}" for number in range(6)]
    for call_id in call_ids:
        data.commit(MONTH, shard_of(call_id, 4), 4, [said(call_id, "words")])
    assert call_ids == sorted(row["call_id"] for row in data.read_calls(MONTH))
    assert {("call_id", "outcome")} == {tuple(row) for row in data.read_calls(MONTH, ("call_id", "outcome"))}
    assert [] == data.read_calls("2026-11")


def test_prove_safe_leaves_nothing(storage: Storage) -> None:
    """The proof that conditions hold cleans up after itself."""
    DataSet(storage).prove_safe()
    assert [] == list(storage.list())


@pytest.mark.parametrize("key", [CALLS_KEY, UTTERANCES_KEY])
@pytest.mark.parametrize("damage", ["garbage", "empty", "cut", "flipped"])
def test_a_damaged_object(storage: Storage, key: str, damage: str) -> None:
    """A damaged object is named in a sentence, and never written over."""
    commit(storage, *STANDING)
    whole = storage.get(key).data
    flipped = bytes([*whole[:60], whole[60] ^ 1, *whole[61:]])
    damaged = {"garbage": b"no Parquet", "empty": b"", "cut": whole[:-100], "flipped": flipped}[damage]
    storage.put(key, damaged)
    with pytest.raises(StorageRefused, match="is not the Parquet file that was written") as caught:
        commit(storage, *NEW)
    assert storage.object_uri(key) in caught.value.message
    assert damaged == storage.get(key).data


def test_a_stranger_writes_something_else(storage: Storage) -> None:
    """An object that somebody else put there during the commit is met as damage, not mistaken for our write."""
    with pytest.raises(StorageRefused, match="is not the Parquet file that was written"):
        commit(SteppedStorage(storage, before=_at(1, lambda: storage.put(UTTERANCES_KEY, b"stranger"))), *NEW)
    assert b"stranger" == storage.get(UTTERANCES_KEY).data


_ATTEMPTS = (
    said("c", "zero", run=0),
    failed("c", run=1),
    said("c", "two", run=2, sha256="x"),
    failed("c", run=3, code="object_vanished"),
    said("c", run=4, sha256="y"),
    failed("c", run=5),
)


@given(st.lists(st.sampled_from(_ATTEMPTS), min_size=1, max_size=4, unique_by=id))
def test_the_end_does_not_depend_on_who_writes_first(attempts: list[CallRows]) -> None:
    """In whatever order attempts at a call are committed, at once or one by one, the same row stands."""
    ends = []
    for order in permutations(attempts):
        standing: dict[str, Row] = {}
        for attempt in order:
            standing, _ = merge_changes(standing, [attempt], frozenset())
        at_once, _ = merge_changes({}, order, frozenset())
        ends += [standing, at_once]
    assert [ends[0]] * len(ends) == ends
    good = [attempt.call["run_id"] for attempt in attempts if attempt.call["outcome"] != "failed"]
    newest = max(attempt.call["run_id"] for attempt in attempts)
    row = ends[0]["c"]
    assert (max(good) if good else newest) == row["run_id"]
    assert newest == max(row["run_id"], row["last_attempt_run_id"] or "")


_steps = st.lists(
    st.tuples(
        st.sampled_from(["c1", "c2", "c3"]),
        st.sampled_from(["said", "silent", "failed"]),
        st.none() | st.sampled_from(POINTS),
    ),
    min_size=1,
    max_size=7,
)


@pytest.mark.long
@settings(max_examples=15, deadline=None)
@given(_steps)
def test_any_history(steps: list[tuple[str, str, tuple[int, str] | None]]) -> None:
    """After any commits and crashes, a strict reader sees what was committed last, and the next commit tidies."""
    expected: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        storage = open_storage(Path(folder).as_uri())
        for run, (call_id, kind, point) in enumerate(steps):
            texts = {"said": (f"run {run}", "and more"), "silent": ()}.get(kind)
            change = failed(call_id, run=run) if texts is None else said(call_id, *texts, run=run, sha256=str(run % 2))
            stepped = _stepped(storage, point, _raising(Killed())) if point else SteppedStorage(storage)
            try:
                commit(stepped, change)
                committed = True
            except Killed:
                committed = stepped.puts > COMMITTED[0] or point == COMMITTED
            if committed and texts is not None:
                expected |= seen(call_id, *texts, run=run)
            elif committed and expected.get(call_id, ("failed",))[0] == "failed":
                expected |= seen_failed(call_id, run)
            assert expected == strict_read(storage)
        commit(storage, said("last", "words", run=99))
        assert expected | seen("last", "words", run=99) == strict_read(storage)
        assert_tidy(storage)
