"""The monthly run as it is: Prefect's own server, real storage and audio; only the two models are stand-ins.

One story for each kind of store, told by `story`: a month with everything that can be wrong in it, and what the archive
does between one run and the next. The tests look at what each run left behind.
"""

import json
import os
import secrets
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from cluster.prefect_server import PrefectServer
from conftest import BUCKET
from stand_ins import CURSED_S, SPOKEN, StandInRecognizer, build_bundle, stand_in_models, tone, wav

from flows.archive import archive_run
from flows.backfill import backfill
from flows.erasure import erase
from flows.job import transcribe_job
from flows.progress import CallDone, Nobody, watched_by
from flows.s3_server import LocalS3Server
from tasks.active import ActiveMonth, active_key
from tasks.bundles import Manifest, describe_file, open_bundle, pull_bundle
from tasks.certificates import read_chain
from tasks.dataset import DataSet
from tasks.errors import BudgetReached, GateRequired, LeaseLost, RunUnderWay, SettingsError, StorageRefused
from tasks.gates import Verdict, keep_verdict
from tasks.models import Models
from tasks.query import connect, read_transcript
from tasks.reconcile import RunSummary, summary_rows
from tasks.run_models import fingerprints_of
from tasks.runs import new_run_id, read_head, read_job
from tasks.schemas import Row
from tasks.settings import load_settings
from tasks.storage import FolderAccess, Storage, open_storage
from tasks.verify import verify

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MONTH = "2026-10"
TEMPLATE = "{year}/{month}/{day}/{agent_id}/{call_id}.{ext}"
# An attribute value that is nowhere else: where it turns up, it leaked.
AGENT = "agent-7291-quillfeather"
MAX_BYTES = 60_000
MAX_DURATION_S = 2.5


def _key(call_id: str, day: str = "05", ending: str = "wav") -> str:
    return f"2026/10/{day}/{AGENT}/{call_id}.{ending}"


OBJECTS = {
    _key("mono"): wav(tone(300)),
    _key("stereo"): wav(tone(350, channels=2)),
    _key("replaced"): wav(tone(400)),
    _key("copied"): wav(tone(450)),
    _key("ruined"): wav(tone(500)),
    _key("renewed"): wav(tone(550)),
    _key("silent"): wav(0 * tone()),
    _key("damaged"): b"RIFF\x24\x00\x00\x00WAVE" + bytes(range(256)) * 20,
    _key("empty"): b"",
    _key("no-samples"): wav(tone(duration_s=0)),
    _key("too-large"): wav(tone(duration_s=5)),
    _key("too-long"): wav(tone(duration_s=3)),
    _key("cursed"): wav(tone(duration_s=CURSED_S)),
    _key("vanishing"): wav(tone(600)),
    _key("changing"): wav(tone(650)),
    _key("twice", "06"): wav(tone(700)),
    _key("twice", "07"): wav(tone(750)),
    "2026/10/README": b"how to read this archive",
    "2026/11/01/agent/next-month.wav": wav(tone(800)),
}


@dataclass
class Meanwhile(Nobody):
    """A watcher that does something between planning and reading, and counts what is done."""

    act: Callable[[], None] = lambda: None
    calls: int | None = None
    done_calls: int = 0
    dies_after: int | None = None
    at_call: int | None = None
    then: Callable[[], None] = lambda: None
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Keep it."""
        self.notes.append(text)

    def planned(self, calls: int, size_bytes: int) -> None:
        """Act."""
        assert size_bytes >= 0
        self.calls = calls
        self.act()

    def done(self, call: CallDone) -> None:
        """Count, and die when told to."""
        assert call.month == MONTH
        self.done_calls += 1
        if self.done_calls == self.at_call:
            self.then()
        if self.done_calls == self.dies_after:
            message = "the process dies here"
            raise ConnectionAbortedError(message)


@dataclass(frozen=True)
class Run:
    """What one run left behind."""

    summary: RunSummary
    rows: dict[str, Row]
    heard: int
    certificate: dict[str, Any]
    planned: int | None


@dataclass
class World:
    """An archive, a data set, and stand-in models."""

    archive: Storage
    transcripts: Storage
    models: Models
    runs: dict[str, Run] = field(default_factory=dict)

    def overrides(self, **more: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Settings under which everything of the story is small."""
        plain: dict[str, dict[str, Any]] = {
            "archive": {"key_template": TEMPLATE, "max_bytes": MAX_BYTES, "max_duration_s": MAX_DURATION_S},
            "transcripts": {"monthly_hours": 3.0, "hours_per_shard": 1.0},
            "models": {"bundle": "stand-in", "folder": str(self.models.bundle.folder.parent)},
            "run": {"job_hours": 0.006, "checkpoint_every_s": 1e-9, "max_attempts": 2},
        }
        return {group: plain.get(group, {}) | more.get(group, {}) for group in plain | more}

    def run(self, watcher: Meanwhile | None = None, **more: dict[str, Any]) -> Run:
        """Run the month once, as the flow does."""
        watcher = watcher or Meanwhile()
        recognizer = cast("StandInRecognizer", self.models.recognizer)
        heard = recognizer.heard
        with watched_by(watcher):
            summary = archive_run(MONTH, self.archive.uri, self.transcripts.uri, self.overrides(**more))
        certificate = json.loads(self.transcripts.get(f"_runs/{summary.run_id}/certificate.json").data)
        rows = {row["call_id"]: row for row in DataSet(self.transcripts).read_calls(MONTH)}
        return Run(summary, rows, recognizer.heard - heard, certificate, watcher.calls)


def _vanish_and_change(archive: Storage) -> None:
    archive.delete(_key("vanishing"))
    archive.put(_key("changing"), wav(tone(655)))


def _copy_in_place(archive: Storage, key: str) -> None:
    """Write the same bytes again under a new ETag: in a bucket as a copy tool does that works in parts."""
    access = archive.direct_access()
    data = archive.get(key).data
    if isinstance(access, FolderAccess):
        archive.put(key, data)
        return
    client: S3Client = archive._client  # type: ignore[attr-defined]
    place = {"Bucket": access.bucket, "Key": f"{access.prefix}/{key}"}
    upload = client.create_multipart_upload(**place)["UploadId"]
    etag = client.upload_part(**place, UploadId=upload, PartNumber=1, Body=data)["ETag"]
    parts = {"Parts": [{"ETag": etag, "PartNumber": 1}]}
    client.complete_multipart_upload(**place, UploadId=upload, MultipartUpload=parts)  # type: ignore[arg-type]


def _tell(world: World) -> None:
    """Run the month again and again, while the archive changes."""
    archive, runs = world.archive, world.runs
    for key, data in OBJECTS.items():
        archive.put(key, data)
    runs["first"] = world.run(Meanwhile(lambda: _vanish_and_change(archive)))
    runs["second"] = world.run()
    runs["idle"] = world.run(recognizer={"beam_size": 1})

    archive.put(_key("replaced"), wav(tone(405)))
    _copy_in_place(archive, _key("copied"))
    archive.put(_key("ruined"), OBJECTS[_key("damaged")])
    archive.delete(_key("twice", "07"))
    archive.put(_key("mono", "08"), OBJECTS[_key("mono")])
    runs["changed"] = world.run()


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Models]:
    """Stand-in models in a real bundle, in the place of those that a job would load."""
    folder = tmp_path_factory.mktemp("models")
    build_bundle(folder)
    models = stand_in_models(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flows.job.loaded_models", lambda _settings: models)
        yield models


@pytest.fixture(scope="module", params=["file", pytest.param("s3", marks=pytest.mark.long)])
def story(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    stand_ins: Models,
    prefect_here: PrefectServer,  # noqa: ARG001  # before the flows begin
) -> Iterator[World]:
    """The story, told once for each kind of store."""
    with pytest.MonkeyPatch.context() as patch:
        root = tmp_path_factory.mktemp("story").as_uri()
        if request.param == "s3":
            server: LocalS3Server = request.getfixturevalue("s3_server")
            for name, value in server.environment().items():
                patch.setenv(name, value)
            root = f"s3://{BUCKET}/{secrets.token_hex(8)}"
        else:
            for name in ("archive", "transcripts"):
                Path(root.removeprefix("file://"), name).mkdir()
        world = World(open_storage(f"{root}/archive"), open_storage(f"{root}/transcripts"), stand_ins)
        _tell(world)
        yield world


@pytest.fixture
def world(tmp_path: Path, stand_ins: Models, prefect_here: PrefectServer) -> World:  # noqa: ARG001  # as above
    """An empty world in a folder."""
    for name in ("archive", "transcripts"):
        (tmp_path / name).mkdir()
    archive, transcripts = (open_storage((tmp_path / name).as_uri()) for name in ("archive", "transcripts"))
    return World(archive, transcripts, stand_ins)


def test_every_object_of_every_run_is_accounted_for(story: World) -> None:
    """Whatever happens to the archive, each run says where each listed object went."""
    assert dict.fromkeys(story.runs, True) == {name: run.summary.accounted for name, run in story.runs.items()}
    assert [18, 17, 17, 17] == [run.summary.listed_objects for run in story.runs.values()]


def test_certificates_are_in_storage(story: World) -> None:
    """Each run leaves its certificate beside its plan: what was planned, what came of it, with which versions."""
    for run in story.runs.values():
        assert run.summary.to_json() == run.certificate["result"]
        assert run.summary.run_id == run.certificate["run"]["run_id"]
        assert {"callscribe", "prefect", "torch"} <= run.certificate["versions"].keys()


def test_run_ids_follow_each_other(story: World) -> None:
    """Runs sort by their ids in the order in which they were planned."""
    run_ids = [run.summary.run_id for run in story.runs.values()]
    assert sorted(set(run_ids)) == run_ids


def test_first_run(story: World) -> None:
    """What can be transcribed is; what cannot is a row that says why."""
    expected = {
        **dict.fromkeys(("mono", "stereo", "replaced", "copied", "ruined", "renewed"), ("transcribed", None)),
        "silent": ("no_speech", None),
        "damaged": ("failed", "undecodable_audio"),
        "empty": ("failed", "empty_object"),
        "no-samples": ("failed", "zero_length_audio"),
        "too-large": ("failed", "too_large"),
        "too-long": ("failed", "too_long"),
        "cursed": ("failed", "processing_error"),
        "vanishing": ("failed", "object_vanished"),
        "changing": ("failed", "object_changed"),
        "twice": ("failed", "ambiguous_call_id"),
    }
    first = story.runs["first"]
    assert expected == {call_id: (row["outcome"], row["error_code"]) for call_id, row in first.rows.items()}
    assert Counter(outcome for outcome, _ in expected.values()) == first.summary.outcomes
    assert Counter(code for _, code in expected.values() if code) == first.summary.errors
    summary = first.summary
    assert (0, 0, 2, 1, 0) == (
        summary.standing, summary.copied, summary.ambiguous, summary.unmatched, summary.missing
    )  # fmt: skip
    assert 15 == first.planned
    assert summary.jobs > 1


def test_rows_say_where_they_come_from(story: World) -> None:
    """Every row names its audio, its bytes, its run and its models."""
    first = story.runs["first"]
    run_id = first.summary.run_id
    for call_id, row in first.rows.items():
        assert (run_id, "stand-in", story.models.bundle.digest) == (row["run_id"], row["bundle"], row["bundle_digest"])
        assert (1, [("agent_id", AGENT)]) == (row["attempt"], row["attributes"])
        assert call_id == "twice" or story.archive.object_uri(_key(call_id)) == row["audio_uri"]
    assert 1.0 == first.rows["mono"]["duration_s"]
    assert ["agent", "customer"] == first.rows["stereo"]["channel_roles"]
    assert ["agent", "customer"] == first.rows["stereo"]["speakers"]
    assert ["SPEAKER_00"] == first.rows["mono"]["speakers"]


def test_jobs_hold_the_shards(story: World) -> None:
    """Each call of the plan is in the file of its shard, and every file is one of the layout."""
    head = read_head(story.transcripts, story.runs["first"].summary.run_id)
    planned = [item for number in range(head.jobs) for item in read_job(story.transcripts, head.run_id, number + 1)]
    assert 3 == head.shards == DataSet(story.transcripts).shards(MONTH)
    assert head.calls == len(planned) == len({item.call.call_id for item in planned})
    names = {info.key.rpartition("/")[2] for info in story.transcripts.list("calls/")}
    assert {f"shard-{item.shard:04d}-of-0003.parquet" for item in planned} <= names


def test_the_row_of_duplicates_names_them_all(story: World) -> None:
    """Of two objects with one call_id neither is transcribed, and the row says which they are."""
    error = story.runs["first"].rows["twice"]["error"]
    assert _key("twice", "06") in error
    assert _key("twice", "07") in error


def test_second_run_tries_again_what_may_work_now(story: World) -> None:
    """The changed object is transcribed, the cursed one tried again, and the vanished one is not listed any more."""
    second = story.runs["second"]
    assert {"transcribed": 1, "failed": 1} == second.summary.outcomes
    assert {"processing_error": 1} == second.summary.errors
    assert ("transcribed", 1) == tuple(second.rows["changing"][name] for name in ("outcome", "attempt"))
    assert ("failed", 2) == tuple(second.rows["cursed"][name] for name in ("outcome", "attempt"))
    assert ("failed", 1) == tuple(second.rows["vanishing"][name] for name in ("outcome", "attempt"))
    assert 12 == second.summary.standing
    assert 1 == second.heard


def test_a_row_outlives_its_object(story: World) -> None:
    """What is no longer in the archive is counted and named, and its row is kept."""
    second = story.runs["second"]
    assert [0, 1] == [story.runs[name].summary.removed for name in ("first", "second")]
    assert "vanishing" in second.rows
    unplanned = story.transcripts.get(f"_runs/{second.summary.run_id}/unplanned.jsonl").data.decode()
    named = [line for line in map(json.loads, unplanned.splitlines()) if line["reason"] == "removed_from_archive"]
    assert [{"call_id": "vanishing", "reason": "removed_from_archive"}] == named


def test_transient_failures_end_at_the_limit(story: World) -> None:
    """Of two tries that are allowed, the second is the last one."""
    assert [1, 2, 2, 2] == [run.rows["cursed"]["attempt"] for run in story.runs.values()]


def test_a_run_without_work_does_nothing(story: World) -> None:
    """Nothing is heard, nothing is written but plan and certificate, and every object is accounted for."""
    idle, before = story.runs["idle"], story.runs["second"]
    assert (0, 0, {}, 0) == (idle.planned, idle.summary.jobs, idle.summary.outcomes, idle.heard)
    assert before.rows == idle.rows
    assert (14, 2, 1) == (idle.summary.standing, idle.summary.ambiguous, idle.summary.unmatched)
    written = {info.key for info in story.transcripts.list(f"_runs/{idle.summary.run_id}/")}
    assert {
        f"_runs/{idle.summary.run_id}/{name}" for name in ("plan.json", "unplanned.jsonl", "certificate.json")
    } == written


def test_a_replaced_object_is_done_again(story: World) -> None:
    """New bytes are a new transcript, at their first attempt."""
    before, after = (story.runs[name].rows["replaced"] for name in ("idle", "changed"))
    assert before["transcript_id"] != after["transcript_id"]
    assert before["audio_sha256"] != after["audio_sha256"]
    assert ("transcribed", 1) == (after["outcome"], after["attempt"])


def test_a_copied_object_is_not_heard_again(story: World) -> None:
    """The same bytes under a new ETag keep their transcript."""
    changed = story.runs["changed"]
    before, after = (story.runs[name].rows["copied"] for name in ("idle", "changed"))
    assert 1 == changed.summary.copied
    assert before["audio_etag"] != after["audio_etag"]
    assert before | {"audio_etag": after["audio_etag"]} == after


def test_a_ruined_object_keeps_its_transcript(story: World) -> None:
    """A recording that was replaced by garbage still has the transcript of its good days, and says what happened."""
    before, after = (story.runs[name].rows["ruined"] for name in ("idle", "changed"))
    assert "undecodable_audio" == after["last_attempt_error_code"]
    assert story.runs["changed"].summary.run_id == after["last_attempt_run_id"]
    last = {name: value for name, value in after.items() if name.startswith("last_attempt")}
    assert before | last == after
    assert f"{SPOKEN} indeed" == read_transcript(story.transcripts, "ruined")[1][0]["text"]


def test_a_call_id_that_became_ambiguous_and_one_that_is_not_any_more(story: World) -> None:
    """A second object takes nothing from a transcript; when the second object is gone, the first is transcribed."""
    rows = story.runs["changed"].rows
    assert ("transcribed", "ambiguous_call_id") == (rows["mono"]["outcome"], rows["mono"]["last_attempt_error_code"])
    assert ("transcribed", None) == (rows["twice"]["outcome"], rows["twice"]["error_code"])


def test_only_what_changed_was_heard(story: World) -> None:
    """Of the changes between the runs, two need the models: the replaced call and the one of two that stayed."""
    changed = story.runs["changed"]
    assert 2 == changed.heard
    assert {"transcribed": 2, "failed": 2} == changed.summary.outcomes
    assert {"ambiguous_call_id": 1, "undecodable_audio": 1} == changed.summary.errors


def test_other_settings_are_no_work(story: World) -> None:
    """Under other settings everything stands, and the run says how many calls a backfill would do."""
    run = story.runs["idle"]
    good = [row for row in run.rows.values() if row["outcome"] != "failed"]
    assert (0, len(good)) == (run.planned, run.summary.other_fingerprints)
    assert 0 == story.runs["changed"].summary.other_fingerprints
    assert ("under other settings", str(len(good))) in summary_rows(run.summary)


def test_strict_reading_after_all_of_it(story: World) -> None:
    """The views show every transcript once, with words, and none of a failed call."""
    with connect(story.transcripts) as connection:
        spoken = connection.execute("SELECT call_id, count(*) FROM utterances GROUP BY 1").fetchall()
        heard = connection.execute("SELECT DISTINCT text FROM words").fetchall()
        calls = connection.execute("SELECT call_id, outcome FROM calls").fetchall()
    assert {call_id for call_id, kind in calls if kind == "transcribed"} == {call_id for call_id, _ in spoken}
    assert {"stereo": 2} == {call_id: count for call_id, count in spoken if count != 1}
    assert {(SPOKEN,), ("indeed",)} == set(heard)


def test_all_of_it_stands_as_it_was_certified(story: World) -> None:
    """After every run, whatever they replaced and left standing, the certificates tell what is there."""
    result = verify(DataSet(story.transcripts))
    assert ([], 0, [MONTH]) == (result.findings, result.not_certified, result.months)
    assert (len(story.runs), len(story.runs["changed"].rows)) == (result.certificates, result.calls)


def test_nothing_spoken_reaches_prefect(story: World, prefect_here: PrefectServer) -> None:
    """No word and no attribute value is in Prefect's database: not in parameters, logs, artifacts or results."""
    told = [f"run {run.summary.run_id}: {run.planned} calls in {run.summary.jobs} jobs" for run in story.runs.values()]
    deadline = time.monotonic() + 20
    stored = b""
    # Prefect sends its log now and then: once the last line is there, everything before it is.
    while not all(line.encode() in stored for line in told) and time.monotonic() < deadline:
        time.sleep(0.2)
        stored = b"".join(path.read_bytes() for path in prefect_here.home.iterdir() if path.is_file())
    assert [] == [line for line in told if line.encode() not in stored]
    assert story.transcripts.uri.encode() in stored
    assert SPOKEN.encode() not in stored
    assert AGENT.encode() not in stored


def test_artifacts_of_a_run(story: World) -> None:
    """Prefect shows how far each run got, what it did, how calls failed, and where its certificate lies."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        found = client.read_artifacts(limit=200)
    first = story.runs["first"].summary
    about = {one.key: one for one in found if first.run_id in (one.description or "")}
    assert {"archive-run", "archive-run-progress", "archive-run-failures", "archive-run-certificate"} == about.keys()
    assert 100.0 == about["archive-run-progress"].data
    assert f"{first.jobs} of {first.jobs} jobs done" in str(about["archive-run-progress"].description)
    table = json.loads(str(about["archive-run-failures"].data))
    assert first.errors == {row["code"]: row["calls"] for row in table}
    assert {"object_vanished"} <= {row["code"] for row in table if row["tried again"] == "yes"}
    assert {"empty_object", "too_long"} <= {row["code"] for row in table if row["tried again"] == "no"}
    link = story.transcripts.object_uri(f"_runs/{first.run_id}/certificate.json")
    assert link in str(about["archive-run-certificate"].data)


def test_summary_for_people(story: World) -> None:
    """The table of a run says what happened, and whether every object is accounted for."""
    rows = dict(summary_rows(story.runs["first"].summary))
    assert ("18", "6", "yes") == tuple(
        rows[name] for name in ("objects listed", "transcribed", "every object accounted for")
    )
    assert {"1"} == {rows[f"  {code}"] for code in ("empty_object", "too_long", "object_vanished")}


def test_a_run_that_dies_half_way(world: World) -> None:
    """Its run is gone on with: what was finished is not done again, and nothing is lost."""
    for number in range(5):
        world.archive.put(_key(f"c{number}"), wav(tone(300 + 10 * number)))
    with suppress(ConnectionAbortedError):
        world.run(Meanwhile(dies_after=3))
    (left,) = [info.key.split("/")[1] for info in world.transcripts.list("_runs/") if info.key.endswith("plan.json")]
    world.archive.put(_key("late"), wav(tone(900)))
    run = world.run()
    assert (left, 3, 0) == (run.summary.run_id, run.heard, run.summary.standing)
    assert {"transcribed": 5} == run.summary.outcomes
    assert run.summary.accounted
    assert [] == [info.key for info in world.transcripts.list(f"_runs/{left}/checkpoints/")]
    late = world.run()
    assert (1, 5, {"transcribed": 1}) == (late.heard, late.summary.standing, late.summary.outcomes)
    assert left < late.summary.run_id


def test_a_run_that_dies_after_its_certificate(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is over, though it could not say so: the next run plans anew, and takes what has come since."""
    world.archive.put(_key("c1"), wav(tone()))

    def die(_: ActiveMonth) -> None:
        raise ConnectionAbortedError

    with monkeypatch.context() as patch, suppress(ConnectionAbortedError):
        patch.setattr(ActiveMonth, "end", die)
        world.run()
    (left,) = [link.subject for link in read_chain(world.transcripts)]
    world.archive.put(_key("late"), wav(tone(900)))
    late = world.run()
    assert (1, 1, {"transcribed": 1}) == (late.heard, late.summary.standing, late.summary.outcomes)
    assert [left, late.summary.run_id] == [link.subject for link in read_chain(world.transcripts)]


def test_a_run_that_was_left_under_other_settings(world: World) -> None:
    """It is certified as it is, and the month is planned anew: no transcript is of two minds."""
    for number in range(4):
        world.archive.put(_key(f"c{number}"), wav(tone(300 + 10 * number)))
    with suppress(ConnectionAbortedError):
        world.run(Meanwhile(dies_after=2))
    (left,) = [info.key.split("/")[1] for info in world.transcripts.list("_runs/") if info.key.endswith("plan.json")]
    run = world.run(recognizer={"beam_size": 2})
    assert left < run.summary.run_id
    assert (4, {"transcribed": 4}, True) == (run.heard, run.summary.outcomes, run.summary.accounted)
    certificate = json.loads(world.transcripts.get(f"_runs/{left}/certificate.json").data)
    assert (4, False) == tuple(certificate["result"][name] for name in ("missing", "accounted"))


def test_two_runs_over_one_month(world: World) -> None:
    """While one is under way, another one is refused by a sentence that names it."""
    world.archive.put(_key("c1"), wav(tone()))
    refused: list[str] = []

    def second() -> None:
        with pytest.raises(RunUnderWay) as caught:
            ActiveMonth.take(world.transcripts, MONTH, "another", 1.0)
        refused.append(caught.value.message)

    run = world.run(Meanwhile(second), run={"lease_s": 1.0})
    assert run.summary.accounted
    assert f"run {run.summary.run_id} over {MONTH} is under way" in refused[0]


def test_a_run_that_must_show_a_gate(world: World) -> None:
    """It only begins with a bundle and settings that were accepted, and its certificate says so."""
    world.archive.put(_key("c1"), wav(tone()))
    required = {"required": True, "set": "bank"}
    with pytest.raises(GateRequired, match=r"callscribe gate bank --gate gate\.toml --accept"):
        world.run(gate=required)
    arguments = (MONTH, world.archive.uri, world.transcripts.uri, world.overrides(gate=required))
    state = archive_run(*arguments, return_state=True)
    assert ("GateRequired", True) == (state.name, state.is_failed())
    assert [] == list(world.transcripts.list())
    models = fingerprints_of(load_settings(overrides=world.overrides()))
    accepted = Verdict(
        set="bank",
        set_digest="5e" * 32,
        passed=True,
        bundle=models.bundle,
        bundle_digest=models.bundle_digest,
        fingerprint=models.plain,
        fingerprint_any_type=models.any_type,
        compute_type=models.compute_type,
        accepted_at="2026-11-20T12:00:00+00:00",
    )
    keep_verdict(world.transcripts, accepted, b"")
    with pytest.raises(GateRequired, match="only accepted under other settings"):
        world.run(gate=required, recognizer={"beam_size": 1})
    run = world.run(gate=required)
    assert {"transcribed": 1} == run.summary.outcomes
    shown = run.certificate["run"]["gates"]["planned"]
    assert ("_control/gates/bank/00000001.json", models.plain) == (shown["key"], shown["fingerprint"])
    with pytest.raises(GateRequired):
        backfill(
            MONTH,
            archive=world.archive.uri,
            transcripts=world.transcripts.uri,
            overrides=world.overrides(gate=required, recognizer={"beam_size": 1}),
        )


def test_a_month_that_is_taken_over_in_the_middle_of_a_job(world: World) -> None:
    """The job stops after the call that it is at, and what it has finished is committed."""
    for number in range(5):
        world.archive.put(_key(f"c{number}"), wav(tone(300 + 10 * number)))

    def take_over() -> None:
        taken = {"run_id": "another", "holder": "somebody else", "lease_s": 0.1, "beat": 0, "state": "held"}
        world.transcripts.put(active_key(MONTH), json.dumps(taken).encode())
        time.sleep(0.5)  # the next renewal meets it

    watcher = Meanwhile(at_call=2, then=take_over)
    with pytest.raises(LeaseLost, match="another process has taken over"):
        world.run(watcher, run={"lease_s": 0.3, "job_hours": 100.0})
    assert (2, 1) == (watcher.done_calls, len(DataSet(world.transcripts).read_calls(MONTH)))


@pytest.mark.long
def test_a_call_is_erased_by_a_flow(world: World) -> None:
    """Prefect gets the key of the list and no call_id; the call is not transcribed again."""
    for call_id in ("gone", "kept"):
        world.archive.put(_key(call_id), wav(tone()))
    world.run()
    request = "_control/erasures/today.txt"
    world.transcripts.put(request, b"gone\n")
    assert 2 == erase(request, "request 12", transcripts=world.transcripts.uri, overrides=world.overrides())
    assert None is world.transcripts.head(request)
    run = world.run()
    assert (["kept"], 0, 1, 1) == (list(run.rows), run.heard, run.summary.erased, run.summary.standing)
    assert run.summary.accounted
    with pytest.raises(SettingsError, match="write the call_ids there"):
        erase(request, "request 12", transcripts=world.transcripts.uri, overrides=world.overrides())


@pytest.mark.long
def test_calls_are_done_anew_by_a_flow(world: World) -> None:
    """By condition, or by a list in the data set; beside a run that holds the month; a dry run does nothing."""
    for number in range(4):
        world.archive.put(_key(f"c{number}"), wav(tone(300 + 10 * number, 1.0 + 0.25 * number)))
    world.run()
    held = ActiveMonth.take(world.transcripts, MONTH, new_run_id(), 600.0)
    given = {"archive": world.archive.uri, "transcripts": world.transcripts.uri}
    options = given | {"overrides": world.overrides(recognizer={"beam_size": 2})}
    assert ((), 0) == ((dry := backfill(MONTH, dry_run=True, **options)).runs, dry.changes.calls)
    some = backfill("2026-09..2026-10", where="duration_s < 1.4", **options)
    assert [{"transcribed": 2}] == [one.outcomes for one in some.runs]
    assert (2, 2, 2) == (some.changes.calls, some.runs[0].other_fingerprints, some.runs[0].standing)
    world.transcripts.put("_control/backfills/today.txt", b"c0\nc3\n")
    (listed,) = backfill(MONTH, calls="_control/backfills/today.txt", **options).runs
    assert ({"transcribed": 1}, True) == (listed.outcomes, listed.accounted)
    certificate = json.loads(world.transcripts.get(f"_runs/{listed.run_id}/certificate.json").data)
    assert ("backfill", 1) == (certificate["run"]["kind"], certificate["changes"]["calls"])
    held.end()
    assert [] == verify(DataSet(world.transcripts)).findings
    with pytest.raises(SettingsError, match="write the call_ids there"):
        backfill.fn(MONTH, calls="_control/no-such-list.txt", **options)


@pytest.mark.long
def test_a_backfill_that_dies_half_way(world: World) -> None:
    """It is gone on with by the same request, and by no other."""
    for number in range(4):
        world.archive.put(_key(f"c{number}"), wav(tone(300 + 10 * number)))
    world.run()
    given = {"archive": world.archive.uri, "transcripts": world.transcripts.uri}
    options = given | {"overrides": world.overrides(recognizer={"beam_size": 2})}
    with suppress(ConnectionAbortedError), watched_by(Meanwhile(dies_after=2)):
        backfill(MONTH, **options)
    dead = max(info.key.split("/")[1] for info in world.transcripts.list("_runs/"))
    (other,) = backfill(MONTH, where="call_id = 'c3'", **options).runs
    assert dead < other.run_id
    assert ({"transcribed": 1}, True) == (other.outcomes, other.accounted)
    with suppress(ConnectionAbortedError), watched_by(Meanwhile(dies_after=1)):
        backfill(MONTH, again=True, **options)
    dead = max(info.key.split("/")[1] for info in world.transcripts.list("_runs/"))
    done = backfill(MONTH, again=True, **options)
    assert ([dead], 4) == ([one.run_id for one in done.runs], done.changes.calls)
    assert [] == [info.key for info in world.transcripts.list("_runs/") if "/previous/" in info.key]
    assert [] == verify(DataSet(world.transcripts)).findings


def test_a_run_at_the_end_of_its_budget(world: World) -> None:
    """It stops, is certified as it is, and goes on when it is given more."""
    for number in range(3):
        world.archive.put(_key(f"c{number}"), wav(tone(300 + 10 * number)))
    with pytest.raises(BudgetReached, match="goes on"):
        world.run(run={"budget_worker_hours": 1e-9})
    (left,) = {info.key.split("/")[1] for info in world.transcripts.list("_runs/")}
    run = world.run(run={"budget_worker_hours": 1.0})
    assert (left, {"transcribed": 3}, True) == (run.summary.run_id, run.summary.outcomes, run.summary.accounted)


@pytest.mark.long
def test_a_month_that_is_larger_than_it_was_cut_for(world: World) -> None:
    """It is said how large, and what to set; one that fits is not spoken of."""
    world.archive.put(_key("c1"), wav(tone()))
    for hours, expected in ((1e-6, 1), (3.0, 0)):
        watcher = Meanwhile()
        world.run(watcher, transcripts={"hours_per_shard": hours, "monthly_hours": hours})
        assert expected == sum("set transcripts.monthly_hours" in note for note in watcher.notes)


def test_an_empty_month(world: World) -> None:
    """A month without calls is a run all the same, with a certificate."""
    run = world.run()
    assert (0, {}, True) == (run.summary.listed_objects, run.summary.outcomes, run.summary.accounted)


def test_a_job_with_other_models(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with another bundle than the one that the run was planned with takes no work."""
    world.archive.put(_key("c1"), wav(tone()))
    run = world.run()
    folder = world.models.bundle.folder.parent

    def build(target: Path, _say: Callable[[str], None]) -> Manifest:
        (target / "model.bin").write_bytes(b"other weights")
        described = describe_file(target, "model.bin", source="here", version="2", licence="none")
        return Manifest("other", "starter", (described,))

    pull_bundle(folder, "other", build, lambda _: None)
    others = Models(open_bundle(folder, "other"), world.models.device, world.models.recognizer, world.models.diarizer)
    monkeypatch.setattr("flows.job.loaded_models", lambda _settings: others)
    with pytest.raises(SettingsError, match=r"was planned with bundle 'stand-in'.* this machine has 'other'"):
        transcribe_job(world.transcripts.uri, run.summary.run_id, 1, world.overrides())


def test_a_run_that_cannot_begin_on_the_command_line(
    tmp_path: Path, s3_server: LocalS3Server, prefect_server: PrefectServer
) -> None:
    """Whatever Prefect logs, people read one sentence; and the run follows the settings file that it was given."""
    config = tmp_path / "mine.toml"
    config.write_text(f'[models]\nfolder = "{tmp_path / "none"}"\nbundle = "from-the-file"\n')
    place = f"s3://{BUCKET}/{secrets.token_hex(8)}"
    arguments = ("--month", MONTH, "--archive", place, "--transcripts", place, "--config", str(config))
    environment = os.environ | s3_server.environment()
    environment |= {"PREFECT_API_URL": prefect_server.api_url, "PREFECT_HOME": str(tmp_path)}
    command = [str(Path(sys.executable).with_name("callscribe")), "run", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)
    assert 5 == done.returncode, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert "'from-the-file' is not in" in line


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"month": "2026-13"}, SettingsError),
        ({"archive": None}, SettingsError),
        ({"archive": "file:///nowhere/at/all"}, StorageRefused),
        ({"transcripts": "file:///nowhere/at/all"}, StorageRefused),
    ],
)
def test_a_run_that_cannot_begin(world: World, arguments: dict[str, Any], error: type[Exception]) -> None:
    """What is wrong around the calls stops the run before it plans anything."""
    given = {"month": MONTH, "archive": world.archive.uri, "transcripts": world.transcripts.uri} | arguments
    with pytest.raises(error):
        archive_run.fn(**given, overrides=world.overrides())
    assert [] == list(world.transcripts.list())
