"""A bucket as a store, through boto3 (`storage_s3_client`).

Credentials come from boto3's own chain and from nowhere else. Requests are tried again by botocore (its `standard`
mode); broken bodies, which it does not try again, by `S3Storage._fetch`.
"""

import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

import botocore.exceptions as boto
from urllib3.exceptions import HTTPError

from tasks.errors import (
    CallscribeError,
    ObjectChanged,
    ObjectVanished,
    PreconditionFailed,
    SettingsError,
    StorageRefused,
    StorageUnavailable,
)
from tasks.storage import (
    ObjectInfo,
    OlderVersions,
    S3Access,
    Storage,
    StorageOptions,
    StoredObject,
    open_storage,
    require_range,
    require_size,
    write_whole,
)
from tasks.storage_s3_client import connect, open_session
from tasks.storage_s3_errors import RangeBeyondEnd, Request, translate
from tasks.storage_s3_versions import older_versions_under

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import (
        GetObjectOutputTypeDef,
        GetObjectRequestTypeDef,
        HeadObjectOutputTypeDef,
        ListObjectsV2OutputTypeDef,
        PutObjectRequestTypeDef,
    )

_URI = re.compile(r"s3://(?P<bucket>[A-Za-z0-9][A-Za-z0-9._-]+)(?:/(?P<prefix>.*))?", re.DOTALL)
_CHUNK_BYTES = 1024 * 1024
# So that a browser shows a report, and a console what is in a record, rather than to save it.
_CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".parquet": "application/vnd.apache.parquet",
}
_BODY_ERRORS = (boto.BotoCoreError, HTTPError, OSError)

_T = TypeVar("_T")


class _BrokenBody(Exception):
    """The body of an answer broke off, or its checksum is wrong."""


class S3Storage(Storage):
    """The objects of a bucket whose keys start with a prefix.

    Args:
        uri: `s3://bucket/prefix`, as it is: nothing in it is percent-encoded.
        options: how to reach the store.

    Raises:
        SettingsError: the URI names no bucket, or boto3 cannot use the options.
        StorageRefused: the AWS profile that the environment names does not exist.
    """

    def __init__(self, uri: str, options: StorageOptions) -> None:
        self._bucket, prefix = _parts_of(uri)
        self._prefix = f"{prefix}/" if prefix else ""
        self._options = options
        self.uri = f"s3://{self._bucket}/{self._prefix}".rstrip("/")
        self._place = f"s3://{self._bucket}"
        with self._translated():
            self._session = open_session(options.region)
            self._client = connect(self._session, options)
        self._place = f"s3://{self._bucket} at {self._client.meta.endpoint_url}"

    def beside(self, uri: str) -> Storage:
        """Open another place, by the same options."""
        return open_storage(uri, self._options)

    def object_uri(self, key: str) -> str:
        """Return the full URI of an object, nothing encoded, as the AWS command line and DuckDB read it."""
        return f"s3://{self._bucket}/{self._prefix}{key}"

    def direct_access(self) -> S3Access:
        """Return place and present credentials."""
        with self._translated():
            credentials = self._session.get_credentials()
            keys = credentials.get_frozen_credentials() if credentials else None
        endpoint = urlsplit(self._client.meta.endpoint_url)
        is_amazon = (endpoint.hostname or "").endswith((".amazonaws.com", ".amazonaws.com.cn"))
        return S3Access(
            bucket=self._bucket,
            prefix=self._prefix.rstrip("/"),
            endpoint=None if is_amazon else endpoint.netloc,
            scheme="http" if endpoint.scheme == "http" else "https",
            region=self._client.meta.region_name,
            path_style=not is_amazon if self._options.path_style is None else self._options.path_style,
            ca_bundle=self._options.ca_bundle,
            access_key=keys.access_key if keys else None,
            secret_key=keys.secret_key if keys else None,
            session_token=keys.token if keys else None,
        )

    def check(self) -> None:
        """Make sure that the bucket exists and may be listed."""
        try:
            with self._translated():
                self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix, MaxKeys=1)
        except StorageUnavailable as error:
            raise StorageRefused(error.message) from error

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Stream the objects whose keys start with `prefix`, a thousand to a request."""
        for page in self._pages(prefix):
            for entry in page.get("Contents", ()):
                key = entry["Key"].removeprefix(self._prefix)
                is_folder_marker = not key or (key.endswith("/") and entry["Size"] == 0)
                if not is_folder_marker:
                    etag = _unquoted(entry["ETag"])
                    yield ObjectInfo(key, entry["Size"], etag, entry["LastModified"].astimezone(UTC))

    def head(self, key: str) -> ObjectInfo | None:
        """Describe an object; None when it is absent (or its bucket is: S3 does not tell, `check` does)."""
        try:
            with self._translated(key, gone=ObjectVanished):
                answer = self._client.head_object(Bucket=self._bucket, Key=self._full_key(key))
        except ObjectVanished:
            return None
        return _info(key, answer, answer["ContentLength"])

    def get(self, key: str, *, if_match: str | None = None, byte_range: tuple[int, int] | None = None) -> StoredObject:
        """Read an object, or a part of it."""
        request = self._get_request(key, if_match)
        if byte_range is not None:
            start, stop = require_range(byte_range)
            request["Range"] = f"bytes={start}-{stop - 1}"
        try:
            return self._fetch(
                key, request, lambda answer: StoredObject(_whole_info(key, answer), b"".join(_chunks(answer)))
            )
        except RangeBeyondEnd:
            return StoredObject(self._require(key, if_match), b"")

    def download(
        self, key: str, path: Path, *, if_match: str | None = None, max_bytes: int | None = None
    ) -> ObjectInfo:
        """Stream an object into a file; a body that breaks off is fetched again from its start."""

        def save(answer: "GetObjectOutputTypeDef") -> ObjectInfo:
            info = _whole_info(key, answer)
            require_size(self.object_uri(key), info.size_bytes, max_bytes)
            write_whole(path, _chunks(answer))
            return info

        return self._fetch(key, self._get_request(key, if_match), save)

    def put(self, key: str, data: bytes, *, if_match: str | None = None, if_none_match: bool = False) -> str:
        """Write an object in one request."""
        request: PutObjectRequestTypeDef = {"Bucket": self._bucket, "Key": self._full_key(key), "Body": data}
        if (content_type := _CONTENT_TYPES.get(PurePosixPath(key).suffix)) is not None:
            request["ContentType"] = content_type
        if self._options.encryption is not None:
            request["ServerSideEncryption"] = self._options.encryption
        if self._options.kms_key_id is not None:
            request["SSEKMSKeyId"] = self._options.kms_key_id
        if if_match is not None:
            request["IfMatch"] = _quoted(if_match)
        if if_none_match:
            request["IfNoneMatch"] = "*"
        # S3 answers 404, not 412, to If-Match where there is no object.
        gone = StorageRefused if if_match is None else PreconditionFailed
        with self._translated(key, stale=PreconditionFailed, gone=gone):
            return _unquoted(self._client.put_object(**request)["ETag"])

    def delete(self, key: str) -> None:
        """Remove an object (in a versioned bucket: hide it behind a delete marker)."""
        try:
            with self._translated(key, gone=ObjectVanished):
                self._client.delete_object(Bucket=self._bucket, Key=self._full_key(key))
        except ObjectVanished:
            return

    def older_versions(self, prefix: str) -> dict[str, OlderVersions] | None:
        """What the bucket keeps of older versions; None where these credentials, or the store, do not let one ask."""
        try:
            with self._translated(prefix):
                found = older_versions_under(self._client, self._bucket, self._prefix + prefix)
        except StorageRefused:
            return None
        return {key.removeprefix(self._prefix): versions for key, versions in found.items()}

    def _full_key(self, key: str) -> str:
        if not key:
            message = f"An empty key names no object in {self.uri}."
            raise StorageRefused(message)
        return self._prefix + key

    def _pages(self, prefix: str) -> Iterator["ListObjectsV2OutputTypeDef"]:
        paginator = self._client.get_paginator("list_objects_v2")
        pages = iter(paginator.paginate(Bucket=self._bucket, Prefix=self._prefix + prefix))
        while True:
            with self._translated():
                page = next(pages, None)
            if page is None:
                return
            yield page

    def _get_request(self, key: str, if_match: str | None) -> "GetObjectRequestTypeDef":
        request: GetObjectRequestTypeDef = {"Bucket": self._bucket, "Key": self._full_key(key)}
        if if_match is not None:
            request["IfMatch"] = _quoted(if_match)
        return request

    def _fetch(
        self, key: str, request: "GetObjectRequestTypeDef", consume: Callable[["GetObjectOutputTypeDef"], _T]
    ) -> _T:
        """Get an object and consume its body, from the start again when it breaks off or is refused for no reason."""
        attempt = 1
        while True:
            try:
                with self._translated(key, gone=ObjectVanished):
                    answer = self._client.get_object(**request)
                with closing(answer["Body"]):
                    return consume(answer)
            except ObjectChanged as error:
                # Busy stores refuse what they must not: only another version is a reason to give up.
                expected = request.get("IfMatch")
                self._require(key, None if expected is None else _unquoted(expected))
                if attempt >= self._options.max_attempts:
                    message = f"{self._place} refused {attempt} times what it has. {error}"
                    raise StorageUnavailable(message) from error
            except _BrokenBody as error:
                if attempt >= self._options.max_attempts:
                    cause = error.__cause__
                    message = (
                        f"{self.object_uri(key)} broke off in each of {attempt} tries, from {self._place}. ({cause})"
                    )
                    raise StorageUnavailable(message) from error
            time.sleep(_pause_s(attempt))
            attempt += 1

    def _require(self, key: str, if_match: str | None) -> ObjectInfo:
        info = self.head(key)
        if info is None:
            message = f"{self.object_uri(key)} does not exist."
            raise ObjectVanished(message)
        if if_match not in {None, info.etag}:
            message = f"{self.object_uri(key)} was replaced: it has ETag {info.etag}, expected {if_match}."
            raise ObjectChanged(message)
        return info

    @contextmanager
    def _translated(
        self,
        key: str | None = None,
        *,
        gone: type[CallscribeError] = StorageRefused,
        stale: type[CallscribeError] = ObjectChanged,
    ) -> Iterator[None]:
        """Turn what boto3 raises into our errors."""
        try:
            yield
        except (boto.BotoCoreError, boto.ClientError) as error:
            what = self.uri if key is None else self.object_uri(key)
            raise translate(error, Request(self._place, what, gone, stale)) from error


def _parts_of(uri: str) -> tuple[str, str]:
    match = _URI.fullmatch(uri)
    if match is None:
        message = f"Storage URI {uri!r} names no bucket: write s3://bucket/prefix."
        raise SettingsError(message)
    return match["bucket"], (match["prefix"] or "").strip("/")


def _whole_info(key: str, answer: "GetObjectOutputTypeDef") -> ObjectInfo:
    """Describe the whole object, also where the answer holds a part of it (`bytes 0-9/1234`)."""
    _, _, size = answer.get("ContentRange", "").rpartition("/")
    return _info(key, answer, int(size) if size.isdecimal() else answer["ContentLength"])


def _info(key: str, answer: "GetObjectOutputTypeDef | HeadObjectOutputTypeDef", size_bytes: int) -> ObjectInfo:
    return ObjectInfo(key, size_bytes, _unquoted(answer["ETag"]), answer["LastModified"].astimezone(UTC))


def _chunks(answer: "GetObjectOutputTypeDef") -> Iterator[bytes]:
    """Stream a body. botocore counts its bytes against Content-Length, and checks the checksum if S3 sent one."""
    try:
        yield from answer["Body"].iter_chunks(_CHUNK_BYTES)
    except _BODY_ERRORS as error:
        raise _BrokenBody from error


def _pause_s(attempt: int) -> float:
    """Wait longer after each try, and not in step with other workers."""
    return random.uniform(0.5, 1.0) * min(0.1 * 2.0**attempt, 5.0)  # noqa: S311 - no secret


def _quoted(etag: str) -> str:
    return f'"{etag}"'


def _unquoted(etag: str) -> str:
    return etag.strip('"')
