"""A folder as a store, with S3's semantics: whole objects, conditional writes, no folders of their own.

Writers of one folder take turns by `flock` on a hidden file in it, so conditions hold between threads and processes,
and on shared file systems whose locks work (NFS 4). Readers take no lock and create nothing: a read-only archive is
fine. The hidden files start with a dot, which pyarrow, pandas, DuckDB and Spark pass over.
"""

import errno
import fcntl
import os
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote_to_bytes, urlsplit

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
    FolderAccess,
    ObjectInfo,
    OlderVersions,
    Storage,
    StoredObject,
    open_storage,
    require_range,
    require_size,
    write_whole,
)

_OURS = ".callscribe."
"""What the names of our own files start with; no key may have a part like that."""

_LOCK_NAME = f"{_OURS}lock"
_TEMPORARY_SUFFIX = ".tmp"
_CHUNK_BYTES = 1024 * 1024

_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)
# Of the other errors another try may get past: a slow disk, a file server that went away.
_TRANSIENT = (errno.EIO, errno.ESTALE, errno.EAGAIN, errno.EBUSY, errno.EINTR, errno.ETIMEDOUT, errno.EMFILE)


class FileStorage(Storage):
    """The objects of a folder.

    Args:
        uri: `file:///folder`, percent-encoded.

    Raises:
        SettingsError: the URI names no absolute path on this machine.
    """

    def __init__(self, uri: str) -> None:
        self._root = _folder_of(uri)
        self.uri = self._root.as_uri()

    def beside(self, uri: str) -> Storage:
        """Open another place."""
        return open_storage(uri)

    def object_uri(self, key: str) -> str:
        """Return the full URI of an object, percent-encoded."""
        return self._path(key).as_uri()

    def direct_access(self) -> FolderAccess:
        """Return the folder."""
        return FolderAccess(self._root)

    def check(self) -> None:
        """Make sure that the folder exists and may be listed."""
        self._require_root()
        with self._translated(""), os.scandir(self._root):
            pass

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Stream the files under the folder. Symbolic links are followed, except back to a folder that is above."""
        self._require_root()
        return self._walk("", prefix, ancestors=())

    def head(self, key: str) -> ObjectInfo | None:
        """Describe a file; None when it is absent or no regular file."""
        path = self._path(key)
        with self._translated(key):
            return self._stat(key, path)

    def get(self, key: str, *, if_match: str | None = None, byte_range: tuple[int, int] | None = None) -> StoredObject:
        """Read a file, or a part of it."""
        start, stop = require_range(byte_range) if byte_range else (0, None)
        with self._translated(key), self._open(key) as file:
            info = self._matching_info(key, file, if_match)
            file.seek(start)
            data = file.read() if stop is None else file.read(stop - start)
            self._require_unchanged(info, file)
            return StoredObject(info, data)

    def download(
        self, key: str, path: Path, *, if_match: str | None = None, max_bytes: int | None = None
    ) -> ObjectInfo:
        """Copy a file."""
        with self._translated(key), self._open(key) as file:
            info = self._matching_info(key, file, if_match)
            require_size(self.object_uri(key), info.size_bytes, max_bytes)
            write_whole(path, self._chunks(info, file))
            return info

    def put(self, key: str, data: bytes, *, if_match: str | None = None, if_none_match: bool = False) -> str:
        """Write a file atomically: a temporary one in the same folder, synced to disk, then renamed."""
        path = self._path(key)
        self._require_root()
        with self._translated(key):
            _make_folders(path.parent)
            with _locked(path.parent):
                standing = self._stat(key, path)
                self._require(key, standing, if_match=if_match, if_none_match=if_none_match)
                return self._replace(key, path, data)

    def delete(self, key: str) -> None:
        """Remove a file. Its folder stays, even if empty: another writer may be about to write into it."""
        path = self._path(key)
        with self._translated(key):
            if self._stat(key, path) is None:
                return
            with _locked(path.parent):
                path.unlink(missing_ok=True)
                _sync_folder(path.parent)

    def older_versions(self, prefix: str) -> dict[str, OlderVersions]:
        """None are kept: a folder has no versions."""
        del prefix
        return {}

    def _path(self, key: str) -> Path:
        """Return the path of a key that can be a file's."""
        parts = key.split("/")
        if "\0" in key or any(part in {"", ".", ".."} or part.startswith(_OURS) for part in parts):
            message = (
                f"{key!r} cannot be a key in {self.uri}: its parts may not be empty, '.' or '..', nor start with"
                f" {_OURS!r}."
            )
            raise StorageRefused(message)
        return self._root / key

    def _require_root(self) -> None:
        """Refuse a missing folder: it is a misspelt URI or a disk that is not mounted, not an empty store."""
        if not self._root.is_dir():
            what = "is not a folder" if self._root.exists() else "does not exist"
            message = f"{self.uri} {what}: correct the URI, mount the disk, or create it (mkdir -p {self._root})."
            raise StorageRefused(message)

    def _stat(self, key: str, path: Path) -> ObjectInfo | None:
        try:
            status = path.stat()
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            raise
        return _info(key, status) if stat.S_ISREG(status.st_mode) else None

    def _open(self, key: str) -> BinaryIO:
        path = self._path(key)
        # Looked at before it is opened: to open a named pipe would wait for a writer.
        if self._stat(key, path) is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return path.open("rb")

    def _matching_info(self, key: str, file: BinaryIO, if_match: str | None) -> ObjectInfo:
        info = _info(key, os.fstat(file.fileno()))
        if if_match not in {None, info.etag}:
            message = f"{self.object_uri(key)} was replaced: it has ETag {info.etag}, expected {if_match}."
            raise ObjectChanged(message)
        return info

    def _chunks(self, info: ObjectInfo, file: BinaryIO) -> Iterator[bytes]:
        with self._translated(info.key):
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk
            self._require_unchanged(info, file)

    def _require_unchanged(self, info: ObjectInfo, file: BinaryIO) -> None:
        """Refuse what was read if the file changed meanwhile: we replace files, but a recorder may write into one."""
        if _info(info.key, os.fstat(file.fileno())) != info:
            message = f"{self.object_uri(info.key)} was written to while it was read."
            raise ObjectChanged(message)

    def _require(self, key: str, standing: ObjectInfo | None, *, if_match: str | None, if_none_match: bool) -> None:
        if if_none_match and standing is not None:
            message = f"{self.object_uri(key)} exists already."
            raise PreconditionFailed(message)
        if if_match is not None and (standing is None or standing.etag != if_match):
            found = "is gone" if standing is None else f"has ETag {standing.etag}"
            message = f"{self.object_uri(key)} {found}, expected ETag {if_match}."
            raise PreconditionFailed(message)

    def _replace(self, key: str, path: Path, data: bytes) -> str:
        """Put `data` in the place of `path`; the caller holds the folder's lock."""
        _remove_temporaries(path.parent)
        temporary = path.parent / f"{_OURS}{secrets.token_hex(8)}{_TEMPORARY_SUFFIX}"
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                # Before Linux 6.13 the kernel's own stamps move in steps of milliseconds, and inode numbers are used
                # again: under the lock this clock makes every replacement's ETag a new one.
                os.utime(file.fileno(), ns=(time.time_ns(), time.time_ns()))
                os.fsync(file.fileno())
                etag = _info(key, os.fstat(file.fileno())).etag
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
        return etag

    def _walk(self, folder: str, prefix: str, ancestors: tuple[tuple[int, int], ...]) -> Iterator[ObjectInfo]:
        """Stream the files under `folder` (empty, or with a slash at its end) in the order of their keys' bytes."""
        path = self._root / folder
        with self._translated(folder):
            try:
                status = path.stat()
                names = sorted(_names(path), key=os.fsencode)
            except (FileNotFoundError, NotADirectoryError):
                return
        identity = (status.st_dev, status.st_ino)
        if identity in ancestors:
            return
        for name in names:
            key = folder + name
            if name.endswith("/"):
                if key.startswith(prefix) or prefix.startswith(key):
                    yield from self._walk(key, prefix, (*ancestors, identity))
            elif key.startswith(prefix):
                info = self.head(key)
                if info is not None:
                    yield info

    @contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        """Turn the operating system's errors into ours, in this one place."""
        try:
            yield
        except OSError as error:
            raise _translate(error, (self._root / key).as_uri()) from error


def _translate(error: OSError, what: str) -> CallscribeError:
    reason = error.strerror or str(error)
    if error.errno == errno.ENOENT:
        return ObjectVanished(f"{what} does not exist.")
    if error.errno in _TRANSIENT:
        return StorageUnavailable(f"{what} could not be read or written: {reason}.")
    return StorageRefused(f"{what} cannot be used: {reason}. Correct the URI, the permissions or the disk.")


def _folder_of(uri: str) -> Path:
    parts = urlsplit(uri)
    path = Path(os.fsdecode(unquote_to_bytes(parts.path)))
    if parts.netloc not in {"", "localhost"} or not path.is_absolute() or "\0" in str(path):
        message = f"Storage URI {uri!r} names no folder of this machine: write file:///folder, with three slashes."
        raise SettingsError(message)
    if parts.query or parts.fragment:
        message = f"Storage URI {uri!r}: write a '?' in a folder's name as %3F and a '#' as %23."
        raise SettingsError(message)
    return path


def _info(key: str, status: os.stat_result) -> ObjectInfo:
    """Describe a file. Its ETag needs no reading: each replacement is another inode, at another nanosecond."""
    etag = f"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"
    return ObjectInfo(key, status.st_size, etag, datetime.fromtimestamp(status.st_mtime, UTC))


def _names(folder: Path) -> Iterator[str]:
    """Stream the names in a folder, those of folders with a slash, as S3 orders the keys: `a-b` before `a/b`."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith(_OURS):
                yield f"{entry.name}/" if os.path.isdir(entry) else entry.name  # noqa: PTH112 - no Path per file


def _make_folders(folder: Path) -> None:
    """Create a folder and those above it, each one synced into the folder that holds it."""
    missing = [path for path in (folder, *folder.parents) if not path.is_dir()]
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        _sync_folder(path.parent)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder's writers. The lock file is never removed: two writers could then lock two files."""
    descriptor = os.open(folder / _LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        # Not left to close: a child forked meanwhile would keep the lock with its copy of the descriptor.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def _remove_temporaries(folder: Path) -> None:
    """Remove what writers left that died: under the lock, nobody alive is writing one."""
    for stale in tuple(folder.glob(f"{_OURS}*{_TEMPORARY_SUFFIX}")):
        stale.unlink()


def _sync_folder(folder: Path) -> None:
    """Make a rename, a new name or a removal last through a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
