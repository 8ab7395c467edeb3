"""Calls that lie in several files, one for each channel: what stands for all of them, and which are doubtful."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing

from tasks.records import Leg
from tasks.scratch import scratch_folder

# As of the tracks of one file: no recorder is known that writes more.
MAX_LEGS = 16
# Of the file in which claims are gathered; SQLite's own limit.
MOST_PAGES = 4_294_967_294


def etag_of(legs: Sequence[Leg]) -> str:
    """One ETag for all files of a call: another one as soon as one of them has another, comes, goes, or changes place.

    `legs-`, and the SHA-256 of the JSON list of their ETags.
    """
    return f"legs-{hashlib.sha256(json.dumps([leg.etag for leg in legs]).encode()).hexdigest()}"


def sha256_of_legs(digests: Iterable[str]) -> str:
    r"""SHA-256 of the digests of all files of a call, as text with an end of line after each.

    That is what `sha256sum FIRST SECOND | cut -c1-64 | sha256sum` says.

    >>> sha256_of_legs(["aa", "bb"]) == hashlib.sha256(b"aa\nbb\n").hexdigest()
    True
    """
    return hashlib.sha256("".join(f"{digest}\n" for digest in digests).encode()).hexdigest()


def claimed_twice(claims: Iterable[tuple[str, Sequence[str]]]) -> frozenset[str]:
    """The keys that one call has as one of several files, and another call claims too.

    Claims are gathered and sorted on scratch disk: memory grows with the keys that are found alone.

    Args:
        claims: call_id and keys of each call. Several of one call_id are one call here.

    Raises:
        StorageRefused: the scratch disk is full.
    """
    rows = ((key, call_id, len(keys) > 1) for call_id, keys in claims for key in keys)
    with scratch_folder() as folder, closing(sqlite3.connect(folder / "claims", isolation_level=None)) as database:
        try:
            database.execute("PRAGMA journal_mode = OFF")
            database.execute("PRAGMA synchronous = OFF")
            database.execute(f"PRAGMA max_page_count = {MOST_PAGES}")
            database.execute("CREATE TABLE claims (key TEXT, call_id TEXT, is_leg INTEGER)")
            database.execute("BEGIN")
            database.executemany("INSERT INTO claims VALUES (?, ?, ?)", rows)
            database.execute("COMMIT")
            found = database.execute(
                "SELECT key FROM claims GROUP BY key HAVING max(is_leg) AND min(call_id) < max(call_id)"
            )
            return frozenset(key for (key,) in found)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
            raise
