"""A month of calls in several files, by a manifest, from beginning to end, and all that meets their recordings."""

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from small_month import MONTH, SmallMonth, bundles, recognizer
from stand_ins import SPOKEN, StandInRecognizer, tone, wav

from flows.backfill import backfill
from tasks.certificates import read_chain
from tasks.dataset import DataSet
from tasks.erase import Erasure, erase_calls
from tasks.errors import CallHeld
from tasks.holds import add_hold, release_hold
from tasks.legs import sha256_of_legs
from tasks.mend import mend
from tasks.quote import quote_run
from tasks.reconcile import RunSummary
from tasks.run_models import fingerprints_of
from tasks.runs import read_head, read_job, unplanned_key
from tasks.schemas import CALLS as CALLS_SCHEMA
from tasks.schemas import Row
from tasks.setting_groups import ArchiveSettings
from tasks.settings import load_settings
from tasks.storage import Storage, open_storage
from tasks.tables import from_parquet, table_of, to_parquet
from tasks.verify import verify

__all__ = ["bundles", "recognizer"]

IN, OUT, THIRD = wav(tone(300)), wav(tone(410)), wav(tone(520))
FILES = {
    "two-in": IN,
    "two-out": OUT,
    "three-0": wav(tone(300, 1.5)),
    "three-1": OUT,
    "three-2": THIRD,
    "late-in": IN,
    "quiet-in": wav(0 * tone()),
    "quiet-out": wav(0 * tone()),
    "stereo": wav(tone(300, channels=2)),
    "empty": b"",
    "plain": wav(tone(330)),
    "shared": OUT,
    **{
        f"{call}-{side}": IN
        for call in ("stereo", "empty", "other", "more", "twice", "again")
        for side in ("in", "out")
    },
}
ROWS: list[dict[str, Any]] = [
    {"call_id": "two", "uri": ["two-in", "two-out"], "customer_id": "4711"},
    {"call_id": "three", "uri": ["three-0", "three-1", "three-2"], "channel_roles": ["a", "b", "c"]},
    {"call_id": "late", "uri": ["late-in", "late-out"]},
    {"call_id": "quiet", "uri": ["quiet-in", "quiet-out"]},
    {"call_id": "stereo", "uri": ["stereo-in", "stereo"]},
    {"call_id": "empty", "uri": ["empty-in", "empty"]},
    {"call_id": "plain", "uri": ["plain"]},
    {"call_id": "twice", "uri": ["twice-in", "twice-out"]},
    {"call_id": "twice", "uri": ["again-in", "again-out"]},
    {"call_id": "other", "uri": ["other-in", "shared"]},
    {"call_id": "more", "uri": ["more-in", "shared"]},
    {"call_id": "nothing", "uri": []},
    {"call_id": "same", "uri": ["two-in", "two-in"]},
]
ODD = [f"calls.jsonl, row {number}" for number in (10, 11, 12, 13)]


class LegMonth:
    """A small month in folders whose manifest names the calls."""

    def __init__(self, folder: Path, bundle_folder: Path) -> None:
        for name in ("archive", "transcripts"):
            (folder / name).mkdir()
        self.month = SmallMonth((folder / "archive").as_uri(), (folder / "transcripts").as_uri(), bundle_folder)
        self.archive: Storage = open_storage(self.month.archive)
        self.data: DataSet = self.month.data
        self.manifest = {"archive": {"manifest": f"{self.archive.uri}/calls.jsonl"}}
        self.settings = ArchiveSettings(**self.manifest["archive"])

    def list(self, rows: list[dict[str, Any]]) -> None:
        """Write the manifest."""
        self.archive.put("calls.jsonl", "".join(json.dumps({"month": MONTH} | row) + "\n" for row in rows).encode())

    def run(self) -> RunSummary:
        """Run the month; every object is accounted for, and it stands as certified."""
        summary = self.month.run(**self.manifest)
        assert (True, 0) == (summary.accounted, summary.missing)
        assert [] == verify(self.data).findings
        return summary

    def rows(self) -> dict[str, Row]:
        """What stands."""
        return {row["call_id"]: row for row in self.data.read_calls(MONTH)}

    def erase(self, *call_ids: str) -> Erasure:
        """Erase calls and their recordings."""
        return erase_calls(self.data, call_ids, "request 12", self.settings, MONTH, self.archive)

    def keys(self) -> set[str]:
        """What lies in the archive."""
        return {info.key for info in self.archive.list()} - {"calls.jsonl"}


@pytest.fixture
def legs(tmp_path: Path, recognizer: StandInRecognizer, bundles: Path) -> LegMonth:
    """Nothing was run yet."""
    recognizer.heard = 0
    world = LegMonth(tmp_path, bundles)
    for key, data in FILES.items():
        world.archive.put(key, data)
    world.list(ROWS)
    return world


def test_from_beginning_to_end(legs: LegMonth, recognizer: StandInRecognizer) -> None:
    """Every call is transcribed once, and again where one of its files is new; bad ones are named."""
    first = legs.run()
    failed = {"ambiguous_call_id": 1, "empty_object": 1, "not_mono": 1, "object_vanished": 1}
    assert ({"failed": 4, "no_speech": 1, "transcribed": 3}, failed) == (first.outcomes, first.errors)
    assert (13, 2, 4) == (first.listed_objects, first.ambiguous, first.unmatched)
    lines = legs.month.storage.get(unplanned_key(first.run_id)).data.decode().splitlines()
    named = [json.loads(line) for line in lines]
    assert ODD == sorted(
        (one["key"] for one in named if one["reason"] == "key_not_understood"), key=lambda key: key[-2:]
    )
    twice = [one["key"] for one in named if one["reason"] == "ambiguous_call_id"]
    assert ["twice-in", "twice-out", "again-in", "again-out"] == twice

    before = legs.rows()
    two, three = before["two"], before["three"]
    assert ("separate", 2, 2, ["agent", "customer"]) == tuple(
        two[name] for name in ("channel_layout", "channels", "streams", "channel_roles")
    )
    assert ([1.5, 1.0, 1.0], ["a", "b", "c"]) == (three["channel_s"], three["channel_roles"])
    digests = [hashlib.sha256(data).hexdigest() for data in (IN, OUT)]
    assert (sha256_of_legs(digests), len(IN) + len(OUT)) == (two["audio_sha256"], two["audio_bytes"])
    assert digests == [leg["sha256"] for leg in two["audio_legs"]]
    uris = [legs.archive.object_uri(key) for key in ("two-in", "two-out")]
    assert (uris[0], uris) == (two["audio_uri"], [leg["uri"] for leg in two["audio_legs"]])
    assert "channel 1, stereo: the file has 2 channels" in before["stereo"]["error"]
    assert "channel 1, empty: the object is empty" in before["empty"]["error"]
    assert "channel 1, late-out: " in before["late"]["error"]
    assert (None, []) == (before["late"]["audio_sha256"], before["plain"]["audio_legs"])

    recognizer.heard = 0
    idle = legs.run()
    # A file that is not there is asked for again, as often as others are.
    assert ({"failed": 1}, {"object_vanished": 1}, 0) == (idle.outcomes, idle.errors, recognizer.heard)

    legs.archive.put("two-out", THIRD)
    legs.archive.put("three-1", OUT)
    legs.archive.put("late-out", OUT)
    changed = legs.run()
    assert ({"transcribed": 2}, 1) == (changed.outcomes, changed.copied)
    after = legs.rows()
    assert before["two"]["transcript_id"] != after["two"]["transcript_id"]
    assert "transcribed" == after["late"]["outcome"]
    copied = {name: after["three"][name] for name in ("audio_etag", "audio_legs")}
    assert copied["audio_etag"] != three["audio_etag"]
    assert three | copied == after["three"]
    assert [leg["sha256"] for leg in three["audio_legs"]] == [leg["sha256"] for leg in copied["audio_legs"]]

    legs.archive.delete("two-in")
    legs.list([row for row in ROWS if row["call_id"] != "three"])
    gone = legs.run()
    assert ({"object_vanished": 1}, 1) == (gone.errors, gone.removed)
    assert ("transcribed", "object_vanished") == tuple(
        legs.rows()["two"][name] for name in ("outcome", "last_attempt_error_code")
    )


def test_quotes_and_backfills(legs: LegMonth, recognizer: StandInRecognizer) -> None:
    """By the bytes of all files; a call in several is done anew as any other, from the plan that names them."""
    settings = load_settings(overrides=legs.month.overrides(**legs.manifest))
    quote = quote_run(legs.data, legs.archive, MONTH, settings, fingerprints_of(settings))
    planned = [row for row in ROWS if row["call_id"] in {"two", "three", "late", "quiet", "stereo", "empty", "plain"}]
    sizes = sum(len(FILES.get(key, b"")) for row in planned for key in row["uri"])
    assert (13, 7) == (quote.objects, quote.calls)
    assert pytest.approx(sizes / settings.run.bytes_per_second / 3600) == quote.hours
    legs.run()
    recognizer.heard = 0
    overrides = legs.month.overrides(**legs.manifest)
    done = backfill.fn(
        MONTH, where="call_id = 'two'", again=True, archive=legs.archive.uri, transcripts=legs.month.transcripts,
        overrides=overrides,
    )  # fmt: skip
    (run,) = done.runs
    assert ({"transcribed": 1}, 1) == (run.outcomes, recognizer.heard)
    (call,) = read_job(legs.month.storage, run.run_id, 1)
    assert ["two-in", "two-out"] == [leg.key for leg in call.call.legs]
    assert [] == verify(legs.data).findings


def test_a_plan_that_is_gone_on_with(legs: LegMonth, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that dies after it was planned is adopted, and reads every file as it was planned."""

    def die(*_: object, **__: object) -> None:
        raise ConnectionAbortedError

    with monkeypatch.context() as patch:
        patch.setattr("flows.job.run_job", die)
        with pytest.raises(ConnectionAbortedError):
            legs.month.run(**legs.manifest)
    summary = legs.run()
    assert 3 == summary.outcomes["transcribed"]
    assert 1 == len({info.key.split("/")[1] for info in legs.month.storage.list("_runs/")})


def test_erasure_removes_every_file(legs: LegMonth) -> None:
    """Of the call alone; the certificate lists each, and the call does not return."""
    legs.run()
    there = legs.keys()
    hold = add_hold(legs.month.storage, "customer_id", "4711", "case 12")
    with pytest.raises(CallHeld):
        legs.erase("two")
    release_hold(legs.month.storage, hold.hold_id)
    assert there == legs.keys()
    result = legs.erase("two", "twice", "late")
    gone = {"two-in", "two-out", "twice-in", "twice-out", "again-in", "again-out", "late-in"}
    assert there - gone == legs.keys()
    assert ({legs.archive.object_uri(key) for key in gone}, {}) == (set(result.audio), result.kept)
    assert len(gone) == len(result.audio)
    *_, link = read_chain(legs.month.storage)
    assert sorted(result.audio) == link.content["audio"]
    assert [] == [info.key for info in legs.month.storage.list() if b"two-in" in _plain(legs.month.storage, info.key)]
    after = legs.run()
    assert ({}, 2, 2) == (after.outcomes, after.erased, after.ambiguous)


def _plain(storage: Storage, key: str) -> bytes:
    """An object as text; certificates of erasures, which name what was removed, count as empty."""
    data = storage.get(key).data
    if key.startswith("_certificates/") and b'"kind": "erasure"' in data:
        return b""
    return repr(pq.read_table(io.BytesIO(data)).to_pylist()).encode() if key.endswith(".parquet") else data


def test_an_erasure_that_dies_between_two_files(legs: LegMonth, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one removes the rest, and its certificate lists all."""
    legs.run()
    delete = legs.archive.delete

    def die_at_the_second(key: str) -> None:
        if key == "three-1":
            raise ConnectionAbortedError
        delete(key)

    with monkeypatch.context() as patch:
        patch.setattr(legs.archive, "delete", die_at_the_second)
        with pytest.raises(ConnectionAbortedError):
            legs.erase("three")
    result = legs.erase("three")
    assert {legs.archive.object_uri(f"three-{number}") for number in range(3)} == set(result.audio)
    assert {} == result.kept


def test_a_file_that_is_another_calls_too_stays(legs: LegMonth) -> None:
    """Whoever else it is given to may be held; it is said, and goes with both of them."""
    legs.run()
    shared = legs.archive.object_uri("shared")
    first = legs.erase("more")
    assert [legs.archive.object_uri(key) for key in ("more-in",)] == first.audio
    assert ([shared], True) == (list(first.kept), "another call" in first.kept[shared])
    *_, link = read_chain(legs.month.storage)
    assert first.kept == link.content["kept"]
    both = legs.erase("more", "other")
    assert ({legs.archive.object_uri(key) for key in ("other-in", "shared")}, {}) == (set(both.audio), both.kept)


def test_mending_keeps_what_could_not_be_made_again(legs: LegMonth) -> None:
    """A row stays where one file of its call is gone or another one; else it is taken out, and done again."""
    legs.run()
    for info in list(legs.month.storage.list("calls/")):
        rows = from_parquet(legs.month.storage.get(info.key).data, CALLS_SCHEMA).to_pylist()
        rows = [row | ({"outcome": "no_speech"} if row["outcome"] == "transcribed" else {}) for row in rows]
        legs.month.storage.put(info.key, to_parquet(table_of(rows, CALLS_SCHEMA)))
    legs.archive.delete("two-out")
    mended = mend(legs.data, MONTH, legs.archive, legs.settings)
    assert (2, 1) == (mended.rows, mended.kept)
    assert ["two"] == [one.call_id for one in verify(legs.data, MONTH).findings if one.kind == "altered"]


def test_what_an_earlier_version_wrote(legs: LegMonth, recognizer: StandInRecognizer) -> None:
    """Tables and plans without these columns are read; calls in several files come beside the old ones."""
    legs.list([{"call_id": one, "uri": one} for one in ("plain", "two-in")])
    old = legs.run()
    storage = legs.month.storage
    for info in [*storage.list("calls/"), *storage.list("_runs/")]:
        if info.key.endswith(".parquet"):
            table = pq.read_table(io.BytesIO(storage.get(info.key).data))
            left = [name for name in table.column_names if name not in {"audio_legs", "legs"}]
            assert len(left) < len(table.column_names)
            storage.put(info.key, to_parquet(table.select(left)))
    assert {None} == {row["audio_legs"] for row in legs.rows().values()}
    head = read_head(storage, old.run_id)
    jobs = [one for number in range(1, head.jobs + 1) for one in read_job(storage, old.run_id, number)]
    assert [(), ()] == [one.call.legs for one in jobs]
    assert [] == verify(legs.data).findings
    recognizer.heard = 0
    legs.list(
        [{"call_id": one, "uri": one} for one in ("plain", "two-in")]
        + [{"call_id": "new", "uri": ["three-0", "three-1"]}]
    )
    legs.archive.put("plain", FILES["plain"])
    new = legs.run()
    assert ({"transcribed": 1}, 1, 1, 1) == (new.outcomes, new.copied, new.standing, recognizer.heard)
    assert {"plain": 0, "two-in": 0, "new": 2} == {
        one: len(row["audio_legs"] or ()) for one, row in legs.rows().items()
    }


def test_no_key_of_a_file_is_said_aloud(legs: LegMonth, caplog: pytest.LogCaptureFixture) -> None:
    """What fails is logged by its code alone, as for other calls; and no word."""
    with caplog.at_level("DEBUG"):
        legs.run()
    assert [] == [one for one in ("two-in", "stereo-in", SPOKEN) if one in caplog.text]
