"""One conditional write, made sure of.

A store may apply a write and lose its answer: the client's second try then meets the object of the first, and is
refused. And some answer 412, or 409, to a write whose condition holds, when they are busy. Whoever writes by a
condition wants to know one thing only: whether the object is now theirs, or another writer was there.
"""

import random
import time
from collections.abc import Callable

from tasks.errors import CallscribeError, ObjectVanished, PreconditionFailed, StorageUnavailable
from tasks.storage import Storage, StoredObject

# A write that is refused though its condition holds is tried so many times.
TRIES = 10


def put_surely(
    storage: Storage, key: str, data: bytes, etag: str | None, is_ours: Callable[[bytes], bool] | None = None
) -> str:
    """Write an object over the version that was read, or where there is none.

    A write of ours that only its answer was lost of is recognised by what it holds; one that is refused though what it
    must meet still stands is tried again.

    Args:
        storage: where.
        key: the object.
        data: all of its bytes; another writer's must be others.
        etag: of the version that was read; None: there was none.
        is_ours: whether bytes that are found are those of this write; when left out, they must be the same.

    Returns:
        the new ETag.

    Raises:
        PreconditionFailed: another writer was there.
        StorageUnavailable: the store does not answer, or refuses again and again without a reason.
    """
    is_ours = is_ours or data.__eq__
    refusal: CallscribeError | None = None
    for attempt in range(1, TRIES + 1):
        try:
            return storage.put(key, data, if_match=etag, if_none_match=etag is None)
        except (PreconditionFailed, StorageUnavailable) as error:
            refusal = error
            found = find(storage, key)
            if found is not None and is_ours(found.data):
                return found.info.etag
            if isinstance(error, StorageUnavailable) or (found.info.etag if found else None) != etag:
                raise
        time.sleep(random.uniform(0, 0.05 * attempt))  # noqa: S311  # no secret depends on it
    message = f"The store refused a write {TRIES} times whose condition held; start again later. {refusal}"
    raise StorageUnavailable(message) from refusal


def find(storage: Storage, key: str) -> StoredObject | None:
    """Read an object; None where there is none."""
    try:
        return storage.get(key)
    except ObjectVanished:
        return None
