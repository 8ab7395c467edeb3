"""Objects under a URI: `s3://bucket/prefix` and `file:///folder` behind one small interface.

A store holds bytes under keys that are relative to its URI and use `/`. What matters here is that writes can be
conditional: a data set is only safe where two writers cannot both win, see `prove_conditional_writes`.

ETags are opaque, without quotes. On S3 an object's ETag changes when its bytes do; in a folder, on every replacement.
"""

import secrets
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal

from tasks.errors import (
    ObjectVanished,
    PreconditionFailed,
    ScratchFull,
    SettingsError,
    StorageRefused,
    TooLarge,
    is_full,
)

_PROBE_TRIES = 5


@dataclass(frozen=True, slots=True)
class StorageOptions:
    """How to reach S3. A `file://` store needs none of it. Credentials are not here: boto3's own chain finds them.

    `endpoint_url` is for other stores than Amazon's; `path_style` None means path style exactly where an endpoint is
    set. `ca_bundle` is the path of a PEM file. `max_attempts` counts the first try too. `encryption` is what the server
    is asked to do with every object that is written; None leaves it to the bucket, as `kms_key_id` None does the key.
    """

    endpoint_url: str | None = None
    region: str | None = None
    path_style: bool | None = None
    ca_bundle: str | None = None
    connect_timeout_s: float = 5.0
    read_timeout_s: float = 60.0
    max_attempts: int = 5
    max_connections: int = 32
    encryption: Literal["AES256", "aws:kms"] | None = None
    kms_key_id: str | None = None


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What a store says of an object: `key` relative to the store's URI, `modified_at` in UTC."""

    key: str
    size_bytes: int
    etag: str
    modified_at: datetime


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object, or the asked-for part of it in `data`; `info.size_bytes` is the size of the whole."""

    info: ObjectInfo
    data: bytes


@dataclass(frozen=True, slots=True)
class OlderVersions:
    """What a store keeps of an object beside what it is now.

    Attributes:
        count: of older versions.
        locked: of those, how many nobody can remove yet (retention, legal hold of the bucket); None: it is not told.
        locked_until: when the last retention ends, in UTC; None where there is none.
    """

    count: int
    locked: int | None
    locked_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class FolderAccess:
    """What another library needs to open a `file://` store on its own."""

    folder: Path


@dataclass(frozen=True, slots=True)
class S3Access:
    """What another library (pyarrow, DuckDB) needs to open an `s3://` store on its own.

    `prefix` has no slash at its ends and may be empty. `endpoint` is `host:port`, or None for Amazon's own. The
    credentials are those of the moment, which may expire: ask again rather than keep them. All of them are None where
    boto3 finds no credentials.
    """

    bucket: str
    prefix: str
    endpoint: str | None
    scheme: Literal["http", "https"]
    region: str
    path_style: bool
    ca_bundle: str | None
    access_key: str | None
    secret_key: str | None = field(repr=False)
    session_token: str | None = field(repr=False)


DirectAccess = FolderAccess | S3Access


class Storage(ABC):
    """Objects under one URI. Instances may be shared by threads.

    Every method may raise `StorageRefused` (the store says no, or the key is not one it can hold: stop) and
    `StorageUnavailable` (no good answer after all retries: another try may work). What else a method raises stands
    with it.
    """

    uri: str
    """Normalised, without a slash at its end."""

    @abstractmethod
    def object_uri(self, key: str) -> str:
        """Return the full URI of an object."""

    @abstractmethod
    def direct_access(self) -> DirectAccess:
        """Return what another library needs to open the same place without us."""

    @abstractmethod
    def beside(self, uri: str) -> "Storage":
        """Open another place, reached as this one is where it is of the same kind."""

    @abstractmethod
    def check(self) -> None:
        """Make sure that the bucket or folder exists and may be listed.

        Raises:
            StorageRefused: it does not; one sentence says what is wrong and what to do.
        """

    @abstractmethod
    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Stream the objects whose keys start with `prefix` (any string, not only a folder).

        They come in the order of their keys' UTF-8 bytes, as S3 defines it. Some servers that speak S3 order folder by
        folder instead (SeaweedFS: `a/b` before `a-b`), so a caller for whom order decides sorts for itself. The empty
        objects with a `/` at their end that S3 consoles make for folders are left out, and so is our own lock file.
        """

    @abstractmethod
    def head(self, key: str) -> ObjectInfo | None:
        """Describe an object; None when it is absent."""

    @abstractmethod
    def get(self, key: str, *, if_match: str | None = None, byte_range: tuple[int, int] | None = None) -> StoredObject:
        """Read an object.

        Args:
            key: the object.
            if_match: the ETag that it must have.
            byte_range: the first byte and the one after the last; cut off at the object's end.

        Raises:
            ObjectVanished: it is absent.
            ObjectChanged: it has another ETag.
        """

    @abstractmethod
    def download(
        self, key: str, path: Path, *, if_match: str | None = None, max_bytes: int | None = None
    ) -> ObjectInfo:
        """Stream an object into a file, which afterwards holds all of it, or does not exist.

        Raises:
            ObjectVanished: it is absent.
            ObjectChanged: it has another ETag than `if_match`.
            TooLarge: it has more bytes than `max_bytes`; nothing was read.
        """

    @abstractmethod
    def put(self, key: str, data: bytes, *, if_match: str | None = None, if_none_match: bool = False) -> str:
        """Write an object whole: a reader sees the old bytes or the new ones.

        A write whose answer was lost is tried again, and the second try then meets the object of the first: after
        `PreconditionFailed` a caller reads again and recognises its own write by what it holds.

        Args:
            key: the object.
            data: all of its bytes.
            if_match: write only over the object with this ETag.
            if_none_match: write only where there is none.

        Returns:
            The new ETag.

        Raises:
            PreconditionFailed: the condition does not hold, or another writer was there in the same moment.
        """

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove an object; it is fine when it is absent."""

    @abstractmethod
    def older_versions(self, prefix: str) -> dict[str, OlderVersions] | None:
        """The older versions that the store keeps of objects whose keys start with `prefix`, by key.

        Those of an object that was removed are older versions too. Keys without any are left out; None: the store, or
        what these credentials may do, does not let one ask.
        """


def open_storage(uri: str, options: StorageOptions | None = None) -> Storage:
    """Open the store at a URI; does not yet talk to it (`Storage.check` does).

    Raises:
        SettingsError: the URI is not one of a bucket or a folder, or boto3 cannot use the options.
    """
    # The two import this module, and boto3 takes its time to import.
    if uri.startswith("file:"):
        from tasks.storage_file import FileStorage

        return FileStorage(uri)
    if uri.startswith("s3:"):
        from tasks.storage_s3 import S3Storage

        return S3Storage(uri, options or StorageOptions())
    hint = f" For a folder write {Path(uri).absolute().as_uri()}." if uri and "://" not in uri else ""
    message = f"Storage URI {uri!r} is neither s3://bucket/prefix nor file:///folder.{hint}"
    raise SettingsError(message)


def prove_conditional_writes(storage: Storage, key: str) -> None:
    """Prove that a store refuses a write whose condition does not hold; it writes and removes a small probe.

    Args:
        storage: where a data set shall live.
        key: where the probe may lie; a random ending is added, so that several runs may prove at once.

    Raises:
        StorageRefused: the store ignores or refuses conditions.
    """
    probe = f"{key}-{secrets.token_hex(8)}"
    try:
        etag = _put_probe(storage, probe, b"first", None)
        etag = _put_probe(storage, probe, b"second", etag)
        wrong = f"{etag[:-1]}{'0' if etag[-1:] != '0' else '1'}"
        _expect_refusal(storage, probe, if_match=wrong)
        _expect_refusal(storage, probe, if_none_match=True)
    finally:
        storage.delete(probe)


def require_range(byte_range: tuple[int, int]) -> tuple[int, int]:
    """Return a range of bytes that is one: S3 would answer a wrong one with the whole object.

    Raises:
        ValueError: it is negative or empty.
    """
    start, stop = byte_range
    if not 0 <= start < stop:
        message = f"byte_range {byte_range} must hold 0 <= start < stop"
        raise ValueError(message)
    return start, stop


def require_size(uri: str, size_bytes: int, max_bytes: int | None) -> None:
    """Refuse an object with more bytes than the limit.

    Raises:
        TooLarge: it has.
    """
    if max_bytes is not None and size_bytes > max_bytes:
        message = f"{uri} has {size_bytes:,} bytes, more than the limit of {max_bytes:,}."
        raise TooLarge(message)


def write_whole(path: Path, chunks: Iterable[bytes]) -> None:
    """Write a file, or nothing: when `chunks` raises, the half-written file is removed.

    Raises:
        ScratchFull: the disk has no room for it.
        StorageRefused: the file cannot be written.
    """
    try:
        with path.open("wb") as file:
            for chunk in chunks:
                file.write(chunk)
    except BaseException as error:
        path.unlink(missing_ok=True)
        if is_full(error):
            raise ScratchFull from error
        if isinstance(error, OSError):
            message = f"{path} cannot be written: {error.strerror}. Make room, or choose another folder."
            raise StorageRefused(message) from error
        raise


def _put_probe(storage: Storage, probe: str, data: bytes, etag: str | None) -> str:
    """Write a probe, which nobody else writes: a store may lose an answer or err, but not every time."""
    refused: PreconditionFailed | None = None
    for _ in range(_PROBE_TRIES):
        try:
            return storage.put(probe, data, if_match=etag, if_none_match=etag is None)
        except PreconditionFailed as error:
            refused = error
        try:
            found = storage.get(probe)
        except ObjectVanished:
            etag = None
            continue
        if found.data == data:
            return found.info.etag
        etag = found.info.etag
    raise _without_conditions(storage, "refused a write whose condition held") from refused


def _expect_refusal(storage: Storage, probe: str, *, if_match: str | None = None, if_none_match: bool = False) -> None:
    try:
        storage.put(probe, b"must not be written", if_match=if_match, if_none_match=if_none_match)
    except PreconditionFailed:
        return
    name = "If-None-Match: *" if if_none_match else "a wrong If-Match"
    raise _without_conditions(storage, f"accepted a write with {name} over an existing object")


def _without_conditions(storage: Storage, what: str) -> StorageRefused:
    return StorageRefused(
        f"{storage.uri} cannot hold a callscribe data set: the store {what}, so two writers could overwrite each"
        " other's transcripts. Use a store with conditional writes (Amazon S3 has them)."
    )
