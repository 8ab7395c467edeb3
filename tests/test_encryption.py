"""Encryption on the server by settings, and buckets without ACLs: what is asked for, on the real client."""

import secrets
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import ANY, Stubber
from conftest import BUCKET
from small_month import SmallMonth, assert_certified, bundles, fill, recognizer
from stand_ins import StandInRecognizer

from flows.s3_server import LocalS3Server
from tasks.erase import erase_calls
from tasks.errors import SettingsError, StorageRefused
from tasks.setting_groups import ArchiveSettings
from tasks.settings import load_settings
from tasks.storage import StorageOptions, open_storage
from tasks.storage_s3 import S3Storage

__all__ = ["bundles", "recognizer"]

KEY = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"


@pytest.fixture
def root(s3_environment: LocalS3Server) -> str:
    """A place in the bucket of the real server."""
    assert s3_environment.pid is not None
    return f"s3://{BUCKET}/{secrets.token_hex(8)}"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, str]]]:
    """Every request that boto3 sends in the test: its operation, and its headers in lower case."""
    requests: list[tuple[str, dict[str, str]]] = []
    client_of = boto3.session.Session.client

    def observed(session: boto3.session.Session, *arguments: Any, **options: Any) -> object:  # noqa: ANN401
        client = client_of(session, *arguments, **options)

        def note(request: Any, event_name: str, **_: object) -> None:  # noqa: ANN401
            headers = {name.lower(): str(value) for name, value in request.headers.items()}
            requests.append((event_name.rpartition(".")[2], headers))

        client.meta.events.register("before-send.s3.*", note)
        return client

    monkeypatch.setattr(boto3.session.Session, "client", observed)
    return requests


@pytest.mark.long
def test_a_month_that_is_encrypted_and_without_acls(
    root: str,
    asked: list[tuple[str, dict[str, str]]],
    recognizer: StandInRecognizer,
    bundles: Path,
) -> None:
    """With SSE-S3, everything that is written is encrypted by the server; no request ever has an ACL."""
    recognizer.heard = 0
    month = SmallMonth(f"{root}/archive", f"{root}/transcripts", bundles)
    fill(open_storage(month.archive))
    asked.clear()
    assert_certified(month, month.run(storage={"encryption": "AES256"}))
    client, prefix = boto3.session.Session().client("s3"), month.transcripts.removeprefix(f"s3://{BUCKET}/")
    run = [info.key for info in month.storage.list("_runs/")] + ["_certificates/00000001.json"]
    heads = [client.head_object(Bucket=BUCKET, Key=f"{prefix}/{key}") for key in run]
    assert {"AES256"} == {head.get("ServerSideEncryption") for head in heads}

    erase_calls(month.data, ["mono-0"], "request", ArchiveSettings(), archive=open_storage(month.archive))
    assert {"PutObject", "GetObject", "ListObjectsV2", "DeleteObject"} <= {operation for operation, _ in asked}
    assert [] == [name for _, headers in asked for name in headers if "acl" in name or "x-amz-grant" in name]


@pytest.mark.usefixtures("_keys")
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {}),
        ({"encryption": "AES256"}, {"ServerSideEncryption": "AES256"}),
        ({"encryption": "aws:kms"}, {"ServerSideEncryption": "aws:kms"}),
        (
            {"encryption": "aws:kms", "kms_key_id": KEY},
            {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": KEY},
        ),
    ],
)
def test_what_is_asked_for(options: dict[str, Any], expected: dict[str, str]) -> None:
    """Of each write, conditional or not; reads ask for nothing."""
    settings = load_settings(overrides={"storage": options})
    storage = open_storage("s3://bucket/prefix", settings.storage.options())
    assert isinstance(storage, S3Storage)
    place = {"Bucket": "bucket", "Key": "prefix/key"}
    with Stubber(storage._client) as stub:
        stub.add_response("put_object", {"ETag": '"e"'}, {**place, "Body": ANY, **expected})
        stub.add_response("put_object", {"ETag": '"e"'}, {**place, "Body": ANY, "IfNoneMatch": "*", **expected})
        stub.add_response("delete_object", {}, place)
        storage.put("key", b"bytes")
        storage.put("key", b"bytes", if_none_match=True)
        storage.delete("key")
        stub.assert_no_pending_responses()


@pytest.mark.usefixtures("_keys")
@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("KMS.NotFoundException", "Correct storage.kms_key_id"),
        ("KMS.DisabledException", "or enable the key"),
        ("InvalidEncryptionAlgorithmError", "Correct storage.encryption"),
        ("AccessDenied", "kms:GenerateDataKey and kms:Decrypt"),
    ],
)
def test_a_key_that_cannot_be_used(code: str, message: str) -> None:
    """It is said what to correct."""
    storage = open_storage("s3://bucket", StorageOptions(encryption="aws:kms", kms_key_id=KEY))
    assert isinstance(storage, S3Storage)
    with Stubber(storage._client) as stub:
        stub.add_client_error("put_object", code, "not so", 403 if code == "AccessDenied" else 400)
        with pytest.raises(StorageRefused, match=message):
            storage.put("key", b"bytes")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"kms_key_id": KEY}, "set storage.encryption too"),
        ({"kms_key_id": KEY, "encryption": "AES256"}, "set storage.encryption too"),
        ({"encryption": "aes"}, "storage.encryption"),
    ],
)
def test_settings_that_do_not_fit(given: dict[str, str], message: str) -> None:
    """A key without its kind of encryption, and a kind that there is not, stop at start."""
    with pytest.raises(SettingsError, match=message):
        load_settings(overrides={"storage": given})


@pytest.fixture
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
