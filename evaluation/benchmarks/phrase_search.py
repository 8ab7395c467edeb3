"""How long a phrase search over a month takes, and how much room its transcripts take, for several sizes of a shard.

The text is made up (`made_up_calls`: no two calls alike, words by Zipf's law), with the real schema and through the
product's own writer; it is read through the product's own views, each query in a process of its own. The first time of
a query is with files that the operating system has been told to forget, where they are in a folder; the second one
after it. Shards are those of the smallest size put together, so that all sizes hold the same calls.

    python -m evaluation.benchmarks.phrase_search --calls 111000 --shards 240 --shards 48 --shards 12
"""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial, reduce
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from evaluation.benchmarks.made_up_calls import CALL_S, MONTH, call_id_of, made_up_call, template_rows
from evaluation.benchmarks.publish import publish
from tasks.host import usable_cores
from tasks.query import answer, read_transcript
from tasks.schemas import CALLS, UTTERANCES
from tasks.shards import TABLES, Table, object_key, shard_of
from tasks.storage import Storage, open_storage
from tasks.tables import calls_of, from_parquet, joined, to_parquet
from tasks.views import Database, Reader

DEFAULT_HOURS = 250
# The title of a query, and its SQL; what is not SQL is `callscribe show`.
ONE_CALL = "one call"
QUERIES = {
    "phrase": """
        SELECT speaker, count(*) FROM utterances
        WHERE month = '2026-10' AND says(text, 'cancel my contract') GROUP BY speaker""",
    "rare phrase, with text": """
        SELECT call_id, start, text FROM utterances
        WHERE month = '2026-10' AND says(text, 'to the ombudsman') ORDER BY call_id""",
    "calls without it": """
        SELECT count(*) FROM calls WHERE month = '2026-10' AND transcript_id NOT IN (
            SELECT transcript_id FROM utterances
            WHERE month = '2026-10' AND start < 60 AND says(text, 'being recorded'))""",
    "over utterances": """
        SELECT count(*) FROM (
            SELECT text, lead(text, 1, '') OVER (PARTITION BY transcript_id, speaker ORDER BY "index") AS next_text
            FROM utterances WHERE month = '2026-10')
        WHERE says(text || ' ' || next_text, 'cancel my contract')""",
    "talk share": """
        SELECT sum(talk_s['agent']) / sum(list_sum(map_values(talk_s))) FROM calls WHERE month = '2026-10'""",
    ONE_CALL: "",
}
SIZES = """
    SELECT sum(total_compressed_size), sum(total_uncompressed_size),
           sum(total_compressed_size) FILTER (path_in_schema = 'text')
    FROM parquet_metadata(getvariable('files'))"""


@dataclass(frozen=True, slots=True)
class Took:
    """What a query took: the first time and again, seconds; CPU seconds of both; peak memory of its process, MB."""

    first_s: float
    again_s: float
    cpu_s: float
    peak_mb: float
    rows: int


@dataclass(frozen=True, slots=True)
class Size:
    """Room that a data set takes: bytes, and those before compression; `largest` file of utterances, bytes."""

    words: int
    calls_bytes: int
    utterances_bytes: int
    encoded_bytes: int
    text_bytes: int
    largest: int


def build_shard(shard: int, shards: int, calls: int, uri: str) -> None:
    """Write both objects of a shard of a month of made-up calls."""
    template = template_rows()
    found = [made_up_call(number, template) for number in range(calls) if shard_of(call_id_of(number), shards) == shard]
    table = calls_of([one.call for one in found])
    storage = open_storage(uri)
    storage.put(object_key("calls", MONTH, shard, shards), to_parquet(table))
    utterances = joined([one.spoken for one in found], table)
    storage.put(object_key("utterances", MONTH, shard, shards), to_parquet(utterances))


def merge_shards(shard: int, shards: int, parts: int, source: str, uri: str) -> None:
    """Write both objects of a shard out of those of a month that is split into a multiple of as many shards."""
    old, new = open_storage(source), open_storage(uri)
    held = range(shard, parts, shards)

    def read(name: Table, part: int) -> bytes:
        return old.get(object_key(name, MONTH, part, parts)).data

    table = calls_of([row for part in held for row in from_parquet(read("calls", part), CALLS).to_pylist()])
    new.put(object_key("calls", MONTH, shard, shards), to_parquet(table))
    spoken = (from_parquet(read("utterances", part), UTTERANCES) for part in held)
    utterances = reduce(lambda one, other: joined([one, other], table), spoken)
    new.put(object_key("utterances", MONTH, shard, shards), to_parquet(utterances))


def build(uri: str, shards: int, calls: int, source: tuple[str, int] | None) -> None:
    """Write a month: out of nothing, or out of one that is split into so many shards."""
    Path(uri.removeprefix("file://")).mkdir(parents=True)
    work = (
        partial(build_shard, shards=shards, calls=calls, uri=uri)
        if source is None
        else partial(merge_shards, shards=shards, parts=source[1], source=source[0], uri=uri)
    )
    with get_context("spawn").Pool(usable_cores(), maxtasksperchild=8) as pool:
        for number, _ in enumerate(pool.imap_unordered(work, range(shards)), start=1):
            if number % 20 == 0:
                typer.echo(f"  {number} of {shards} shards", err=True)


def size_of(storage: Storage) -> Size:
    """Room that a data set in a folder takes."""
    with Database(storage) as database:
        root = storage.uri.removeprefix("file://")
        measured = {}
        for name in TABLES:
            database.execute("SET VARIABLE files = $files", {"files": f"{root}/{name}/*/*.parquet"})
            measured[name] = answer(database, SIZES)[1][0]
        words = answer(database, "SELECT sum(words) FROM calls")[1][0][0]
    sizes = {name: [info.size_bytes for info in storage.list(f"{name}/")] for name in TABLES}
    return Size(
        words=int(words),
        calls_bytes=sum(sizes["calls"]),
        utterances_bytes=sum(sizes["utterances"]),
        encoded_bytes=int(sum(row[1] for row in measured.values())),
        text_bytes=int(measured["utterances"][2]),
        largest=max(sizes["utterances"]),
    )


def forget(folder: Path) -> None:
    """Ask the operating system to forget the files of a folder."""
    os.sync()
    for path in folder.rglob("*.parquet"):
        file = os.open(path, os.O_RDONLY)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(file)


def ask(storage: Storage, title: str, reader: Reader, call_id: str) -> int:
    """Put a query; returns how many rows it has."""
    if title == ONE_CALL:
        return len(read_transcript(storage, call_id, reader)[1])
    with Database(storage, reader=reader) as database:
        return len(answer(database, QUERIES[title])[1])


def measure(uri: str, title: str, reader: Reader) -> Took:
    """Put a query twice, in this process."""
    storage = open_storage(uri)
    if uri.startswith("file:"):
        forget(Path(uri.removeprefix("file://")))
    call_id = call_id_of(1)
    marks = [time.monotonic()]
    cpu = time.process_time()
    rows = 0
    for _ in range(2):
        rows = ask(storage, title, reader, call_id)
        marks.append(time.monotonic())
    return Took(
        first_s=marks[1] - marks[0],
        again_s=marks[2] - marks[1],
        cpu_s=time.process_time() - cpu,
        peak_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        rows=rows,
    )


def measure_alone(uri: str, reader: Reader) -> Iterator[Took]:
    """Every query in a process of its own."""
    for title in QUERIES:
        command = [sys.executable, "-m", "evaluation.benchmarks.phrase_search", "--alone", uri, title, reader]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
        yield Took(**json.loads(done.stdout))


def copy(source: Storage, target: Storage) -> None:
    """Copy a data set."""
    for info in source.list():
        target.put(info.key, source.get(info.key).data)


def rows_of_table(shards: int, size: Size, place: str, reader: Reader, took: Sequence[Took], hours: float) -> list[str]:
    """Lines of the table: one for each query."""
    return [
        f"| {hours / shards:.0f} | {shards} | {size.largest / 1e6:.0f} | {place} | {reader} | {title} "
        f"| {one.first_s:.2f} | {one.again_s:.2f} | {one.cpu_s / 2:.2f} | {one.peak_mb:.0f} |"
        for title, one in zip(QUERIES, took, strict=True)
    ]


COLUMNS = (
    "h a shard",
    "files a table",
    "largest MB",
    "lies",
    "read by",
    "query",
    "first s",
    "again s",
    "CPU s",
    "peak MB",
)


def _is_number(column: str) -> bool:
    return column not in {"lies", "read by", "query"}


def main(
    calls: Annotated[int, typer.Option(help="How many calls the month has.")] = 111_000,
    shards: Annotated[
        list[int] | None, typer.Option(help="Into how many shards; the first a multiple of all others.")
    ] = None,
    *,
    given: Annotated[
        str | None, typer.Option(help="URI of the month in the first number of shards, where it was written before.")
    ] = None,
    also: Annotated[
        str | None,
        typer.Option(
            help="URI of a store to copy the month to whose shards are nearest the default, and to read it from."
        ),
    ] = None,
    httpfs: Annotated[bool, typer.Option("--httpfs", help="Read that store with DuckDB's extension too.")] = False,
    write: Annotated[Path | None, typer.Option(help="Write the table here too.")] = None,
    alone: Annotated[tuple[str, str, str] | None, typer.Option(hidden=True)] = None,
) -> None:
    """Measure phrase searches over made-up calls."""
    if alone:  # the process of one query
        uri, title, reader = alone
        typer.echo(json.dumps(asdict(measure(uri, title, "duckdb" if reader == "duckdb" else "pyarrow"))))
        return
    hours = calls * CALL_S / 3600
    counts = shards or [240, 48, 12]
    nearest = min(counts, key=lambda count: abs(hours / count - DEFAULT_HOURS))
    lines = [f"| {' | '.join(COLUMNS)} |", f"| {' | '.join('---:' if _is_number(one) else '---' for one in COLUMNS)} |"]
    size: Size | None = None
    with TemporaryDirectory() as scratch:
        source: tuple[str, int] | None = None
        for count in counts:
            uri = (Path(scratch) / str(count)).as_uri()
            typer.echo(f"writing {count} shards", err=True)
            if given and source is None:
                uri = given
            else:
                build(uri, count, calls, source)
            source = source or (uri, count)
            storage = open_storage(uri)
            size = size_of(storage)
            typer.echo(_note(size, hours), err=True)
            places: list[tuple[str, str, Reader]] = [("folder", uri, "duckdb")]
            target = open_storage(f"{also}/{count}") if also and count == nearest else None
            if target is not None:
                copy(storage, target)
                places.append(("S3", target.uri, "pyarrow"))
                if httpfs:
                    places.append(("S3", target.uri, "duckdb"))
            for place, where, reader in places:
                lines += rows_of_table(count, size, place, reader, list(measure_alone(where, reader)), hours)
                typer.echo("\n".join(lines[-len(QUERIES) :]), err=True)
            if target is not None:
                for info in list(target.list()):
                    target.delete(info.key)
    publish(lines, _note(size, hours), write)


def _note(size: Size | None, hours: float) -> str:
    if size is None:
        return ""
    held = size.calls_bytes + size.utterances_bytes
    an_hour = {name: count / hours / 1000 for name, count in asdict(size).items()}
    return (
        f"{datetime.now(UTC):%Y-%m-%d}; {size.words / 1e6:.0f} million made-up words in {hours:,.0f} audio hours. An "
        f"hour takes {an_hour['utterances_bytes']:.0f} kB in utterances (`text` {an_hour['text_bytes']:.0f} kB) and "
        f"{an_hour['calls_bytes']:.1f} kB in calls; zstd makes 1 of {size.encoded_bytes / held:.1f} bytes. First: "
        "files in a folder were not in memory. CPU: of one of the two times. "
        f"{usable_cores()} cores, Python {platform.python_version()}."
    )


if __name__ == "__main__":
    typer.run(main)
