"""Erasure: a call is nowhere any more, does not return, and the certificate says what was removed and what was not."""

import json
import secrets
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import boto3
import pytest
from builders import TRANSCRIBED_AT, call_ref, outcome, planned_call, provenance, transcript, utterance
from conftest import BUCKET
from test_runs import head
from typer.testing import CliRunner

from flows.cli import app
from flows.s3_server import LocalS3Server
from tasks.certificates import certify, read_chain
from tasks.dataset import DataSet, tombstone_key
from tasks.erase import Erasure, erase_calls
from tasks.errors import CallHeld, SettingsError, StorageRefused
from tasks.holds import Hold, add_hold, read_holds, release_hold
from tasks.job_record import InFlight, JobRecord
from tasks.reconcile import reconcile
from tasks.records import PlannedCall
from tasks.rows import CallRows, rows_of
from tasks.runs import RunHead, new_run_id, read_jobs, write_head, write_job, write_unplanned
from tasks.schemas import CALLS, CHECKPOINT, PLANNED, UTTERANCES
from tasks.setting_groups import ArchiveSettings
from tasks.shards import shard_of
from tasks.storage import OlderVersions, Storage, open_storage
from tasks.storage_file import FileStorage
from tasks.tables import from_parquet
from tasks.verify import verify

MONTH, NEXT = "2026-10", "2026-11"
SHARDS = 2
RUNS = [new_run_id(TRANSCRIBED_AT + timedelta(days=day)) for day in range(3)]
CALL_IDS = [f"call-{number}" for number in range(6)]
# A word and a customer that are nowhere else: where they turn up after the erasure, something was left.
SPOKEN = "xylotheque"
CUSTOMER = "customer-4711"
SETTINGS = ArchiveSettings()


@pytest.fixture(params=["file", "s3"])
def root(request: pytest.FixtureRequest) -> str:
    """Where an archive and a data set may lie."""
    if request.param == "file":
        folder: Path = request.getfixturevalue("tmp_path")
        for name in ("archive", "transcripts"):
            (folder / name).mkdir()
        return folder.as_uri()
    request.getfixturevalue("s3_environment")
    return f"s3://{BUCKET}/{secrets.token_hex(8)}"


@pytest.fixture
def storage(root: str) -> Storage:
    """A data set of two months, in which `call-0` was said something special; nothing of it is under way."""
    storage = open_storage(f"{root}/transcripts")
    _run(storage, RUNS[0], MONTH, CALL_IDS)
    _run(storage, RUNS[1], NEXT, ["call-0", "november"])
    return storage


@pytest.fixture
def archive(root: str) -> Storage:
    """Their recordings, one of them twice."""
    archive = open_storage(f"{root}/archive")
    for call_id in CALL_IDS:
        archive.put(f"2026/10/05/{call_id}.wav", call_id.encode())
    archive.put("2026/10/06/call-0.wav", b"the same call_id again")
    archive.put("2026/11/01/call-0.wav", b"in another month")
    return archive


def _rows(call_id: str, run_id: str, month: str = MONTH) -> CallRows:
    text = SPOKEN if call_id == "call-0" else "plain words"
    attributes = {"customer_id": CUSTOMER if call_id == "call-0" else "another"}
    call = call_ref(call_id, month=month, attributes=attributes)
    return rows_of(outcome(call, transcript=transcript([utterance(text)])), provenance(run_id=run_id))


def _plan(storage: Storage, run_id: str, month: str, call_ids: list[str]) -> RunHead:
    DataSet(storage).fix_shards(month, SHARDS)
    work = [
        planned_call(call_ref(one, month=month, attributes={"customer_id": CUSTOMER}), shard=shard_of(one, SHARDS))
        for one in call_ids
    ]
    work.sort(key=lambda planned: planned.shard)
    planned = replace(
        head(), run_id=run_id, month=month, shards=SHARDS, jobs=1, calls=len(work), listed_objects=len(work)
    )
    write_job(storage, run_id, 1, work)
    write_head(storage, planned)
    return planned


def _run(storage: Storage, run_id: str, month: str, call_ids: list[str]) -> None:
    planned = _plan(storage, run_id, month, call_ids)
    data = DataSet(storage)
    for call_id in call_ids:
        data.commit(month, shard_of(call_id, SHARDS), SHARDS, [_rows(call_id, run_id, month)])
    write_unplanned(storage, run_id, [], [], ["long-gone"])
    assert certify(data, planned, 1.0)[0].accounted


def _erase(storage: Storage, *call_ids: str, month: str | None = None, archive: Storage | None = None) -> Erasure:
    return erase_calls(DataSet(storage), call_ids, "request 12", SETTINGS, month, archive)


def _holding(storage: Storage, text: str) -> list[str]:
    """The keys of objects that hold a text, in Parquet too."""
    found = []
    for info in storage.list():
        data = storage.get(info.key).data
        if info.key.endswith(".parquet"):
            kinds = {"calls": CALLS, "utterances": UTTERANCES}
            schema = CHECKPOINT if "/checkpoints/" in info.key else kinds.get(info.key.partition("/")[0], PLANNED)
            data = repr(from_parquet(data, schema).to_pylist()).encode()
        if text.encode() in data:
            found.append(info.key)
    return found


def test_an_erased_call_is_nowhere(storage: Storage) -> None:
    """In no table, plan or list of any month; only tombstones and certificate know its call_id."""
    assert _holding(storage, SPOKEN)
    assert _holding(storage, CUSTOMER)
    result = _erase(storage, "call-0")
    assert [] == _holding(storage, SPOKEN)
    shard = shard_of("call-0", SHARDS)
    tombstones = [tombstone_key(month, shard, SHARDS) for month in (MONTH, NEXT)]
    assert sorted([*tombstones, "_certificates/00000003.json"]) == sorted(_holding(storage, "call-0"))
    assert ({MONTH: ["call-0"], NEXT: ["call-0"]}, 1, 3) == (result.erased, result.calls, result.certificate)
    standing = {row["call_id"] for row in DataSet(storage).read_calls(MONTH)}
    assert set(CALL_IDS) - {"call-0"} == standing
    assert {"november"} == {row["call_id"] for row in DataSet(storage).read_calls(NEXT)}


def test_the_certificate_of_an_erasure(storage: Storage) -> None:
    """It says why, what was rewritten, and is a link of the chain; the data set is as certified."""
    result = _erase(storage, "call-0")
    *_, link = read_chain(storage)
    assert ("erasure", "request 12") == (link.kind, link.content["reason"])
    assert {MONTH: ["call-0"], NEXT: ["call-0"]} == link.content["erased"]
    assert sorted(result.rewritten) == link.content["rewritten"]
    assert {storage.object_uri(f"_runs/{run_id}/jobs/job-0001.parquet") for run_id in RUNS[:2]} < set(result.rewritten)
    checked = verify(DataSet(storage))
    assert ([], 6) == (checked.findings, checked.calls)


def test_an_erasure_that_dies_is_told_to_its_end(
    storage: Storage, archive: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The certificate of the next try lists also the recordings that the first had removed."""
    delete, removed = archive.delete, []

    def die_at_the_second(key: str) -> None:
        if removed:
            message = "the process dies here"
            raise ConnectionAbortedError(message)
        delete(key)
        removed.append(key)

    monkeypatch.setattr(archive, "delete", die_at_the_second)
    with pytest.raises(ConnectionAbortedError):
        _erase(storage, "call-0", archive=archive)
    assert ["erased"] == [finding.kind for finding in verify(DataSet(storage), MONTH).findings]
    monkeypatch.setattr(archive, "delete", delete)
    done = _erase(storage, "call-0", archive=archive)
    keys = ["2026/10/05/call-0.wav", "2026/10/06/call-0.wav", "2026/11/01/call-0.wav"]
    assert [archive.object_uri(key) for key in keys] == sorted(done.audio)
    assert {} == done.kept
    assert [] == list(storage.list("_control/erasing/")) == verify(DataSet(storage)).findings


def test_an_erasure_may_be_done_again(storage: Storage) -> None:
    """The second finds less to rewrite, and the data set is the same."""
    first, second = _erase(storage, "call-0"), _erase(storage, "call-0")
    assert len(second.rewritten) < len(first.rewritten)
    assert first.erased == second.erased
    assert [] == verify(DataSet(storage)).findings


def test_only_one_month(storage: Storage) -> None:
    """A call_id that is in two months is erased in the one that is named."""
    _erase(storage, "call-0", month=NEXT)
    assert "call-0" in {row["call_id"] for row in DataSet(storage).read_calls(MONTH)}
    assert ["november"] == [row["call_id"] for row in DataSet(storage).read_calls(NEXT)]


def test_an_erased_call_does_not_return(storage: Storage) -> None:
    """No later commit brings it back."""
    _erase(storage, "call-0")
    DataSet(storage).commit(MONTH, shard_of("call-0", SHARDS), SHARDS, [_rows("call-0", RUNS[2])])
    assert [] == _holding(storage, SPOKEN)


def test_calls_without_a_row(storage: Storage) -> None:
    """A call that is in no month is a mistake; with a month, it is kept from being transcribed in it."""
    with pytest.raises(SettingsError, match="holds no call nobody, so nothing was erased; give --month"):
        _erase(storage, "call-0", "nobody")
    assert _holding(storage, SPOKEN)
    _erase(storage, "nobody", month=MONTH)
    assert "nobody" in DataSet(storage).erased(MONTH, shard_of("nobody", SHARDS), SHARDS)
    with pytest.raises(SettingsError, match="nothing of 2025-01 was ever planned"):
        _erase(storage, "nobody", month="2025-01")


def test_recordings_are_removed_where_that_is_asked_for(storage: Storage, archive: Storage) -> None:
    """Every object that claims the call_id, in every month it is in; the archive is else only read."""
    _erase(storage, "call-1")
    assert 8 == len(list(archive.list()))
    result = _erase(storage, "call-0", archive=archive)
    assert [f"2026/10/05/{call_id}.wav" for call_id in CALL_IDS[1:]] == [info.key for info in archive.list()]
    assert 3 == len(result.audio)
    assert {} == result.kept


def test_recordings_that_are_not_there(storage: Storage, root: str) -> None:
    """It is said that none was removed."""
    empty = open_storage(f"{root}/archive")
    result = _erase(storage, "call-1", archive=empty)
    assert ([], ["no recording of these calls lies there"]) == (result.audio, list(result.kept.values()))


def test_recordings_that_a_manifest_names(storage: Storage, archive: Storage) -> None:
    """Only those that are there are removed and certified; a hold on what a row says counts all the same."""
    row = {"call_id": "call-1", "month": MONTH, "etag": "e1", "size_bytes": 7, "customer_id": "4712"}
    rows = [row | {"uri": uri} for uri in ("2026/10/05/call-1.wav", "nowhere/call-1.wav")]
    archive.put("calls.jsonl", "".join(json.dumps(one) + "\n" for one in rows).encode())
    settings = ArchiveSettings(manifest=f"{archive.uri}/calls.jsonl")
    data = DataSet(storage)
    hold = add_hold(storage, "customer_id", "4712", "case 12")
    with pytest.raises(CallHeld):
        erase_calls(data, ["call-1"], "request", settings, MONTH, archive)
    release_hold(storage, hold.hold_id)
    result = erase_calls(data, ["call-1"], "request", settings, MONTH, archive)
    assert ([archive.object_uri("2026/10/05/call-1.wav")], {}) == (result.audio, result.kept)
    again = erase_calls(data, ["call-1"], "request", settings, MONTH, archive)
    assert ([], ["no recording of these calls lies there"]) == (again.audio, list(again.kept.values()))


def test_a_manifest_and_an_erasure_that_dies(
    storage: Storage, archive: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the first try had removed is in the certificate of the second, though the manifest names it still."""
    row = {"call_id": "call-1", "month": MONTH, "uri": "2026/10/05/call-1.wav"}
    archive.put("calls.jsonl", json.dumps(row).encode())
    settings = ArchiveSettings(manifest=f"{archive.uri}/calls.jsonl")

    def die(*_: object) -> None:
        message = "the process dies here"
        raise ConnectionAbortedError(message)

    with monkeypatch.context() as patch:
        patch.setattr("tasks.erase._note_versions", die)
        with pytest.raises(ConnectionAbortedError):
            erase_calls(DataSet(storage), ["call-1"], "request", settings, MONTH, archive)
    assert None is archive.head("2026/10/05/call-1.wav")
    done = erase_calls(DataSet(storage), ["call-1"], "request", settings, MONTH, archive)
    assert [archive.object_uri("2026/10/05/call-1.wav")] == done.audio


def test_lists_for_backfills(storage: Storage) -> None:
    """A command that was killed leaves its list: the call is taken out of it, and whatever else it says stays."""
    storage.put("_control/backfills/1.txt", b"\xef\xbb\xbfcall-0\r\ncall-1\ncaf\xe9\n call-0 \n")
    storage.put("_control/backfills/2.txt", b"call-1\n")
    result = _erase(storage, "call-0")
    assert b"call-1\ncaf\xe9\n" == storage.get("_control/backfills/1.txt").data
    keys = [uri.rpartition("/")[2] for uri in result.rewritten if "/backfills/" in uri]
    assert ["1.txt"] == keys


def test_a_run_that_is_under_way(storage: Storage) -> None:
    """Its plan, checkpoints and marks are rewritten, its job's commit drops the call, and it is accounted for."""
    planned = _plan(storage, RUNS[2], MONTH, CALL_IDS[:3])
    record = JobRecord(storage, RUNS[2], 1)
    record.begin(5)
    record.mark(InFlight(("call-0", "call-1"), {"call-0": 1}))
    record.save([_rows("call-0", RUNS[2]), _rows("call-1", RUNS[2])])
    record.save([_rows("call-0", RUNS[2])])
    _erase(storage, "call-0")
    assert [] == _holding(storage, SPOKEN)
    assert ["call-1"] == [item.call["call_id"] for item in record.saved()]
    assert InFlight((), {"call-1": 1}, ("call-1",)) == record.begin(5)
    for call_id in CALL_IDS[:3]:  # a job that had read its part before
        DataSet(storage).commit(MONTH, shard_of(call_id, SHARDS), SHARDS, [_rows(call_id, RUNS[2])])
    assert [] == _holding(storage, SPOKEN)
    for jobs in (read_jobs(storage, planned), [_work(CALL_IDS[:3])]):  # as they are now, and as they were before
        summary = reconcile(DataSet(storage), planned, jobs, 1.0)
        assert ({"transcribed": 2}, 1, True) == (summary.outcomes, summary.erased, summary.accounted)


def _work(call_ids: list[str]) -> list[PlannedCall]:
    return sorted((planned_call(one, shard=shard_of(one, SHARDS)) for one in call_ids), key=lambda one: one.shard)


def test_lists_of_what_is_no_call(storage: Storage) -> None:
    """Lines of the call are taken out, whether they name its key or its call_id."""
    _plan(storage, RUNS[2], MONTH, [])
    group = [call_ref("call-0", key=f"2026/10/{day}/call-0.wav") for day in ("05", "06")]
    write_unplanned(storage, RUNS[2], [group], ["README"], ["call-0", "long-gone"])
    _erase(storage, "call-0")
    lines = storage.get(f"_runs/{RUNS[2]}/unplanned.jsonl").data.decode().splitlines()
    assert ["README", "long-gone"] == [json.loads(line).get("key") or json.loads(line)["call_id"] for line in lines]


def test_a_tombstone_that_is_gone(storage: Storage) -> None:
    """Nothing would keep the call from returning: `verify` says so."""
    _erase(storage, "call-0", month=MONTH)
    storage.delete(tombstone_key(MONTH, shard_of("call-0", SHARDS), SHARDS))
    assert {"erased", "missing"} == {finding.kind for finding in verify(DataSet(storage), MONTH).findings}


# ----------------------------------------------------------------------------------------------------------- holds


@pytest.mark.parametrize(("name", "value"), [("call_id", "call-0"), ("customer_id", CUSTOMER)])
def test_a_call_under_legal_hold(storage: Storage, name: str, value: str) -> None:
    """It is not erased, and neither is any other one of the request; when the hold is released, it is."""
    hold = add_hold(storage, name, value, "case 12 of the court")
    with pytest.raises(CallHeld, match=rf"call call-0 is under legal hold \({hold.hold_id}, since .*: case 12 of the"):
        _erase(storage, "call-1", "call-0")
    assert set(CALL_IDS) == {row["call_id"] for row in DataSet(storage).read_calls(MONTH)}
    _erase(storage, "call-1")
    release_hold(storage, hold.hold_id)
    _erase(storage, "call-0")
    assert [] == _holding(storage, SPOKEN)


def test_a_hold_on_what_only_a_recording_says(storage: Storage, root: str) -> None:
    """A call that has no row yet, or shares its call_id, is held by the attribute in the key of any recording."""
    archive = open_storage(f"{root}/archive")
    for key in ("2026/10/05/another/call-9.wav", f"2026/10/06/{CUSTOMER}/call-9.wav"):
        archive.put(key, b"sound")
    add_hold(storage, "customer_id", CUSTOMER, "case 12")
    settings = ArchiveSettings(key_template="{year}/{month}/{day}/{customer_id}/{call_id}.{ext}")
    with pytest.raises(CallHeld):
        erase_calls(DataSet(storage), ["call-9"], "request", settings, MONTH, archive)
    assert 2 == len(list(archive.list()))


def test_a_plan_that_was_never_finished(storage: Storage) -> None:
    """A run that died while it was planned has parts and no head: they are visited too."""
    write_job(storage, RUNS[2], 1, [planned_call(call_ref("call-0", attributes={"customer_id": CUSTOMER}))])
    _erase(storage, "call-0")
    assert f"_runs/{RUNS[2]}/jobs/job-0001.parquet" not in _holding(storage, "call-0")


def test_holds_are_listed(tmp_path: Path) -> None:
    """The oldest first; a hold that is not there cannot be released."""
    storage = open_storage(tmp_path.as_uri())
    assert [] == read_holds(storage)
    first, second = add_hold(storage, "call_id", "c1", "one"), add_hold(storage, "case", "7", "two")
    assert [first, second] == read_holds(storage)
    assert first == release_hold(storage, first.hold_id)
    with pytest.raises(SettingsError, match=f"there is no hold {first.hold_id}"):
        release_hold(storage, first.hold_id)
    assert [second] == read_holds(storage)


def test_what_a_hold_covers() -> None:
    """A call by its id, or by an attribute; an attribute that a call has not is no match."""
    assert Hold("h", "call_id", "c1", "", "").covers("c1", {})
    assert not Hold("h", "call_id", "c1", "", "").covers("c2", {"call_id": "c1"})
    assert Hold("h", "customer", "7", "", "").covers("c2", {"customer": "7"})
    assert not Hold("h", "customer", "7", "", "").covers("7", {})


# ---------------------------------------------------------------------------------------------- versions and locks


@pytest.fixture
def versioned(s3_environment: LocalS3Server) -> str:
    """A bucket that keeps older versions."""
    client = boto3.session.Session().client("s3", endpoint_url=s3_environment.environment()["AWS_ENDPOINT_URL_S3"])
    name = f"versioned-{secrets.token_hex(4)}"
    client.create_bucket(Bucket=name)
    client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    return f"s3://{name}"


def test_older_versions_are_named(versioned: str) -> None:
    """Where the bucket keeps them, the certificate says of which objects, and how many."""
    storage, archive = open_storage(f"{versioned}/transcripts"), open_storage(f"{versioned}/archive")
    archive.put("2026/10/05/call-0.wav", b"sound")
    _run(storage, RUNS[0], MONTH, CALL_IDS)
    result = _erase(storage, "call-0", archive=archive)
    assert [] == _holding(storage, SPOKEN)
    assert {} != result.older_versions
    assert all(found and found.count for found in result.older_versions.values())
    assert OlderVersions(1, 0) == result.older_versions[archive.object_uri("2026/10/05/call-0.wav")]


class _Locked(FileStorage):
    """An archive whose objects cannot be removed."""

    def delete(self, key: str) -> None:
        """Refuse."""
        message = f"{key} is locked until 2030"
        raise StorageRefused(message)


def test_a_recording_that_cannot_be_removed(tmp_path: Path) -> None:
    """The rest is erased, and the certificate says what was not, and why."""
    for name in ("archive", "transcripts"):
        (tmp_path / name).mkdir()
    storage = open_storage((tmp_path / "transcripts").as_uri())
    archive = _Locked((tmp_path / "archive").as_uri())
    archive.put("2026/10/05/call-0.wav", b"sound")
    _run(storage, RUNS[0], MONTH, CALL_IDS)
    result = _erase(storage, "call-0", archive=archive)
    assert [] == _holding(storage, SPOKEN)
    assert {archive.object_uri("2026/10/05/call-0.wav"): "2026/10/05/call-0.wav is locked until 2030"} == result.kept


# ------------------------------------------------------------------------------------------------ the command line


def _command(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, " ".join(result.output.split())


def test_on_the_command_line(tmp_path: Path) -> None:
    """It asks before it erases, and says what it did."""
    for name in ("archive", "transcripts"):
        (tmp_path / name).mkdir()
    storage = open_storage((tmp_path / "transcripts").as_uri())
    _run(storage, RUNS[0], MONTH, CALL_IDS)
    given = ("--reason", "request 12", "--transcripts", storage.uri)
    refused = CliRunner().invoke(app, ["erase", "call-0", *given], input="n\n")
    assert "Erase 1 calls from" in refused.output
    assert _holding(storage, SPOKEN)
    (tmp_path / "list.txt").write_text("call-0\ncall-1\n", encoding="utf-8-sig")  # as editors on Windows write it
    code, said = _command("erase", "--calls", str(tmp_path / "list.txt"), "--yes", *given)
    assert 0 == code
    assert "calls erased │ 2" in said
    assert [] == _holding(storage, SPOKEN)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("erase",), "no call was named"),
        (("erase", "--calls", "nowhere.txt"), "nowhere.txt cannot be read"),
        (("erase", "c", "--audio"), "archive.uri is not set, which --audio needs"),
        (("erase", "c", "--month", "October"), "month must be YYYY-MM"),
        (("hold", "add"), "a hold is on one call"),
        (("hold", "add", "--call", "c", "--attribute", "a=b"), "a hold is on one call"),
        (("hold", "add", "--attribute", "a"), "a hold is on one call"),
    ],
)
def test_mistakes_on_the_command_line(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    """Each has a sentence."""
    with pytest.raises(Exception, match=message):
        _command(*arguments, "--reason", "r", "--transcripts", tmp_path.as_uri())


def test_holds_on_the_command_line(tmp_path: Path) -> None:
    """Added, listed, released."""
    place = ("--transcripts", tmp_path.as_uri())
    _command("hold", "add", "--attribute", "customer_id=47=11", "--reason", "case 12", *place)
    (hold,) = read_holds(open_storage(tmp_path.as_uri()))
    assert ("customer_id", "47=11") == (hold.name, hold.value)
    assert "case 12" in _command("hold", "list", *place)[1]
    assert "released" in _command("hold", "release", hold.hold_id, *place)[1]
