"""Buckets that keep versions and lock them: everything works, and an erasure says what nobody can remove yet."""

import contextlib
import io
import os
import re
import secrets
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import pytest
from small_month import MONTH, SHARDS, SmallMonth, assert_certified, bundles, content, fill, recognizer
from stand_ins import SPOKEN, StandInRecognizer, tone, wav
from typer.testing import CliRunner

from flows.cli import app
from flows.docs import ROOT
from flows.s3_server import LocalS3Server
from tasks.certificates import read_chain
from tasks.erase import erase_calls
from tasks.setting_groups import ArchiveSettings
from tasks.shards import object_key, shard_of
from tasks.storage import OlderVersions, open_storage
from tasks.verify import verify

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

__all__ = ["bundles", "recognizer"]

CALLS = {"call-0": wav(tone(300)), "call-1": wav(tone(330)), "silent": wav(0 * tone())}
DAYS = 3


@pytest.fixture(scope="module")
def client(s3_server: LocalS3Server) -> Iterator["S3Client"]:
    """A client of the S3 server, to which boto3's chain leads in the whole module."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3_server.environment().items():
            patch.setenv(name, value)
        yield boto3.session.Session().client("s3")


def _locked_bucket(client: "S3Client", mode: str) -> str:
    name = f"locked-{mode.lower()}-{secrets.token_hex(4)}"
    client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    retention = {"DefaultRetention": {"Mode": mode, "Days": DAYS}}
    client.put_object_lock_configuration(
        Bucket=name,
        ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": retention},  # type: ignore[typeddict-item]
    )
    return name


@pytest.fixture(params=["GOVERNANCE", "COMPLIANCE"])
def month(
    request: pytest.FixtureRequest, client: "S3Client", recognizer: StandInRecognizer, bundles: Path
) -> SmallMonth:
    """A month in a bucket with versions and a default retention, archive and data set both; it was run."""
    recognizer.heard = 0
    root = f"s3://{_locked_bucket(client, request.param)}"
    month = SmallMonth(f"{root}/archive", f"{root}/transcripts", bundles)
    fill(open_storage(month.archive), CALLS)
    assert_certified(month, month.run(), CALLS)
    return month


def _erase_on_the_command_line(month: SmallMonth) -> str:
    given = ["--reason", "request 12", "--audio", "--yes", "--archive", month.archive]
    said = CliRunner(env=dict(os.environ)).invoke(app, ["erase", "call-0", *given, "--transcripts", month.transcripts])
    assert 0 == said.exit_code, said.output
    return " ".join(said.output.split())


@pytest.mark.long
def test_runs_and_an_erasure_under_object_lock(month: SmallMonth, client: "S3Client") -> None:
    """A run, one over a changed archive, and an erasure; then it is said what stays locked, and until when."""
    open_storage(month.archive).put("2026/10/05/call-1.wav", wav(tone(777)))
    assert_certified(month, month.run(), CALLS)
    said = _erase_on_the_command_line(month)
    run = month.run()
    assert (1, True, {"call-1", "silent"}) == (run.standing - 1, run.accounted, set(content(month.storage)))
    assert [] == verify(month.data).findings

    link = [one for one in read_chain(month.storage) if one.kind == "erasure"][-1]
    calls = month.storage.object_uri(object_key("calls", MONTH, shard_of("call-0", SHARDS), SHARDS))
    recording = f"{month.archive}/2026/10/05/call-0.wav"
    locked = link.content["locked_versions"]
    assert {calls, recording} <= set(locked)
    assert {uri: found["count"] for uri, found in locked.items()} == link.content["older_versions"]
    until = datetime.fromisoformat(locked[recording]["until"])
    assert abs(until - datetime.now(UTC) - timedelta(days=DAYS)) < timedelta(hours=1)
    assert f"1 older versions, 1 of them locked until {until:%Y-%m-%d %H:%M} UTC" in said
    assert f"the last until │ {until:%Y-%m-%d}" in said
    # The checkpoints of jobs that are done were removed, and their versions hold the call.
    assert any("/checkpoints/" in uri for uri in locked)
    bucket = month.archive.split("/")[2]
    for uri in locked:
        key = uri.removeprefix(f"s3://{bucket}/")
        (oldest, *_) = client.list_object_versions(Bucket=bucket, Prefix=key)["Versions"][::-1]
        with pytest.raises(client.exceptions.ClientError, match="AccessDenied"):
            client.delete_object(Bucket=bucket, Key=key, VersionId=oldest["VersionId"])


def test_versions_that_are_not_locked_and_one_under_a_legal_hold(client: "S3Client") -> None:
    """Object lock without a default retention locks nothing; a legal hold of the bucket does, without an end."""
    name = f"held-{secrets.token_hex(4)}"
    client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    storage = open_storage(f"s3://{name}/prefix")
    for content_ in (b"one", b"two", b"three"):
        storage.put("key", content_)
    storage.put("key-and-more", b"one")
    assert {"key": OlderVersions(2, 0)} == storage.older_versions("key")
    versions = client.list_object_versions(Bucket=name, Prefix="prefix/key")["Versions"]
    older = next(one["VersionId"] for one in versions if not one["IsLatest"])
    client.put_object_legal_hold(Bucket=name, Key="prefix/key", VersionId=older, LegalHold={"Status": "ON"})
    assert {"key": OlderVersions(2, 1)} == storage.older_versions("key")
    storage.delete("key")
    assert {"key": OlderVersions(3, 1)} == storage.older_versions("ke")


@pytest.mark.long
def test_an_old_transcript_is_reached_through_versions(
    month: SmallMonth, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the commands of docs/runs.md: the data set as it was before a call was done again."""
    text = (ROOT / "docs" / "runs.md").read_text(encoding="utf-8")
    match = re.search(r"<!-- versions begin -->\n\n```python\n(.*?)```", text, re.DOTALL)
    assert match is not None
    moment = datetime.now(UTC) + timedelta(seconds=1)
    time.sleep(2.1)  # S3's times are whole seconds
    open_storage(month.archive).put("2026/10/05/call-0.wav", b"no recording")
    open_storage(month.archive).put("2026/10/05/call-1.wav", wav(tone(777)))
    month.run()
    erase_calls(month.data, ["call-0"], "request", ArchiveSettings())
    assert "call-0" not in content(month.storage)
    _, _, bucket, prefix = month.transcripts.split("/")
    script = match[1].replace('"transcripts"', repr(bucket)).replace('PREFIX = ""', f'PREFIX = "{prefix}/"')
    script = script.replace("2026-11-05T12:00:00+00:00", moment.isoformat())
    monkeypatch.chdir(tmp_path)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(script, "docs/runs.md", "exec"), {})  # noqa: S102  # our own documentation
    assert "call-0" in said.getvalue()
    assert f"{SPOKEN} indeed" in said.getvalue()
    assert 2 == len(set(re.findall(r"call-\d", said.getvalue())))
