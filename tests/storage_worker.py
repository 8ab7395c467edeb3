"""A process that uses a store, started by the tests: `python -m tests.storage_worker create|count|fill URI [NUMBER]`.

It says `ready`, waits for a line, works, and says what came of it.
"""

import sys

from tasks.errors import PreconditionFailed
from tasks.storage import Storage, open_storage


def create(storage: Storage, number: int) -> str:
    """Create an object that others want to create too; say who won."""
    try:
        storage.put("month=2026-10/shard", f"{number}".encode(), if_none_match=True)
    except PreconditionFailed:
        return "lost"
    return "won"


def count(storage: Storage, turns: int) -> str:
    """Add one to the number in `count`, `turns` times."""
    for _ in range(turns):
        add_one(storage)
    return "counted"


def add_one(storage: Storage) -> None:
    """Add one to the number in `count`, however many tries it takes."""
    while True:
        found = storage.get("count")
        try:
            storage.put("count", f"{int(found.data) + 1}".encode(), if_match=found.info.etag)
        except PreconditionFailed:
            continue
        return


def fill(storage: Storage, size_mb: int) -> str:
    """Write a large object over and over, until killed."""
    data = bytes(size_mb * 1024 * 1024)
    while True:
        storage.put("month=2026-10/big", data)


if __name__ == "__main__":
    work = {"create": create, "count": count, "fill": fill}[sys.argv[1]]
    opened = open_storage(sys.argv[2])
    print("ready", flush=True)
    sys.stdin.readline()
    print(work(opened, int(sys.argv[3])), flush=True)
