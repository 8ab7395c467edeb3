"""Older versions of a bucket's objects, and what object lock says of them: until when nobody can remove them."""

from collections import defaultdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tasks.storage import OlderVersions

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# The last but one is SeaweedFS's; Amazon has one code for retention and hold.
_NO_LOCK = frozenset(
    {
        "ObjectLockConfigurationNotFoundError",
        "NoSuchObjectLockConfiguration",
        "NoSuchObjectLegalHold",
        "NotImplemented",
    }
)


def older_versions_under(client: "S3Client", bucket: str, prefix: str) -> dict[str, OlderVersions]:
    """The older versions that a bucket keeps of objects whose keys start with a prefix, by key.

    Where object lock is on, each version is asked for its retention and its legal hold: two requests a version.

    Args:
        client: of S3.
        bucket: the bucket.
        prefix: of full keys.

    Raises:
        ClientError: the versions cannot be listed.
    """
    versions: defaultdict[str, list[str]] = defaultdict(list)
    for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix):
        for one in page.get("Versions", ()):
            if not one["IsLatest"]:
                versions[one["Key"]].append(one["VersionId"])
    if not versions:
        return {}
    may_lock = _may_lock(client, bucket)
    return {
        key: _described(client, bucket, key, ids) if may_lock else OlderVersions(len(ids), 0)
        for key, ids in versions.items()
    }


def _may_lock(client: "S3Client", bucket: str) -> bool:
    """Whether object lock is on, as far as these credentials let one ask; else each version is asked."""
    try:
        answer = client.get_object_lock_configuration(Bucket=bucket)
    except client.exceptions.ClientError as error:
        return error.response["Error"].get("Code", "") not in _NO_LOCK
    return answer["ObjectLockConfiguration"].get("ObjectLockEnabled") == "Enabled"


def _described(client: "S3Client", bucket: str, key: str, versions: list[str]) -> OlderVersions:
    now = datetime.now(UTC)
    locked, until = 0, None
    for version in versions:
        try:
            retained, held = _retained_until(client, bucket, key, version), _is_held(client, bucket, key, version)
        except client.exceptions.ClientError:
            return OlderVersions(len(versions), None)
        retained = retained if retained and retained > now else None
        locked += held or retained is not None
        until = max(filter(None, (until, retained)), default=None)
    return OlderVersions(len(versions), locked, until)


def _retained_until(client: "S3Client", bucket: str, key: str, version: str) -> datetime | None:
    try:
        answer = client.get_object_retention(Bucket=bucket, Key=key, VersionId=version)
    except client.exceptions.ClientError as error:
        if error.response["Error"].get("Code", "") in _NO_LOCK:
            return None
        raise
    until = answer["Retention"].get("RetainUntilDate")
    return until.astimezone(UTC) if until else None


def _is_held(client: "S3Client", bucket: str, key: str, version: str) -> bool:
    """Whether a legal hold of the bucket (not one of `callscribe hold`) is on a version."""
    try:
        answer = client.get_object_legal_hold(Bucket=bucket, Key=key, VersionId=version)
    except client.exceptions.ClientError as error:
        if error.response["Error"].get("Code", "") in _NO_LOCK:
            return False
        raise
    return answer["LegalHold"].get("Status") == "ON"
