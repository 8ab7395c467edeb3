"""What only a folder as a store can get wrong: processes, crashes, symbolic links, other people's files."""

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.errors import ObjectVanished, PreconditionFailed, StorageRefused
from tasks.storage import FolderAccess, Storage, open_storage


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a store."""
    path = tmp_path / "store"
    path.mkdir()
    return path


@pytest.fixture
def storage(folder: Path) -> Storage:
    """A store over `folder`."""
    return open_storage(folder.as_uri())


def _keys(storage: Storage, prefix: str = "") -> tuple[str, ...]:
    return tuple(info.key for info in storage.list(prefix))


def _tree(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in (folder, *folder.rglob("*"))}


def _start(work: str, storage: Storage, number: int) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tests.storage_worker", work, storage.uri, str(number)]
    root = Path(__file__).parents[1]
    return subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _say_go(process: "subprocess.Popen[str]") -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def _hear(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def _run_together(work: str, storage: Storage, numbers: Iterable[int]) -> tuple[str, ...]:
    """Let a process per number work at the same time; return what each says at its end."""
    with ExitStack() as stack:
        processes = [stack.enter_context(_start(work, storage, number)) for number in numbers]
        assert {"ready"} == {_hear(process) for process in processes}
        for process in processes:
            _say_go(process)
        return tuple(_hear(process) for process in processes)


def test_sixteen_processes_one_winner(storage: Storage) -> None:
    """Of sixteen processes that create the same object at once exactly one wins, and its bytes stand."""
    said = _run_together("create", storage, range(16))
    assert {"won": 1, "lost": 15} == Counter(said)
    assert f"{said.index('won')}".encode() == storage.get("month=2026-10/shard").data


def test_counting_processes_lose_nothing(storage: Storage) -> None:
    """Four processes that read, add one and write with If-Match count to their sum."""
    storage.put("count", b"0")
    _run_together("count", storage, [15] * 4)
    assert b"60" == storage.get("count").data


def test_killed_writer_leaves_nothing_visible(storage: Storage, folder: Path) -> None:
    """A writer killed in the middle leaves no half object, holds no lock, and the next writer tidies up after it."""
    size_mb = 64
    with _start("fill", storage, size_mb) as process:
        _say_go(process)
        while not list(folder.rglob("*.tmp")):
            time.sleep(0.001)
        process.kill()
    assert {info.size_bytes for info in storage.list()} <= {size_mb * 1024 * 1024}
    storage.put("month=2026-10/next", b"bytes")
    assert [] == list(folder.rglob("*.tmp"))


def test_stale_temporary_file_is_invisible_and_removed(storage: Storage, folder: Path) -> None:
    """What a dead writer left is not listed, and goes with the next write into its folder."""
    (folder / ".callscribe.0123456789abcdef.tmp").write_bytes(b"half")
    assert () == _keys(storage)
    storage.put("k", b"bytes")
    assert {".callscribe.lock", "k"} == {path.name for path in folder.iterdir()}


def test_failed_condition_leaves_nothing(storage: Storage, folder: Path) -> None:
    """A refused write leaves no temporary file."""
    storage.put("k", b"bytes")
    with pytest.raises(PreconditionFailed):
        storage.put("k", b"other", if_none_match=True)
    assert {".callscribe.lock", "k"} == {path.name for path in folder.iterdir()}


def test_etag_changes_with_every_replacement(storage: Storage) -> None:
    """The same bytes written again and again have another ETag each time, also after a removal."""
    etags = [storage.put("k", b"same bytes") for _ in range(50)]
    storage.delete("k")
    etags.append(storage.put("k", b"same bytes"))
    assert len(etags) == len(set(etags))


def test_reading_writes_nothing(storage: Storage, folder: Path, tmp_path: Path) -> None:
    """An archive is read, listed and looked at without a file made, changed or locked in it."""
    (folder / "2026").mkdir()
    (folder / "2026" / "call.wav").write_bytes(b"bytes")
    before = _tree(folder)
    storage.check()
    assert ("2026/call.wav",) == _keys(storage)
    etag = storage.get("2026/call.wav").info.etag
    storage.get("2026/call.wav", if_match=etag, byte_range=(0, 2))
    storage.download("2026/call.wav", tmp_path / "copy", if_match=etag)
    storage.delete("2026/absent.wav")
    assert storage.head("2027/absent.wav") is None
    assert before == _tree(folder)


def test_list_order_is_that_of_s3(storage: Storage, folder: Path) -> None:
    """Keys come in the order of their bytes, in which `-` and `.` sort before the `/` of a folder."""
    keys = ("Z", "a-b", "a.c", "a/b-c", "a/b/c", "a/c", "a0", "b", "é", "😀")
    for key in reversed(keys):
        path = folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    assert keys == _keys(storage)


def test_prefix_may_be_anything(storage: Storage) -> None:
    """A prefix that no key starts with lists nothing, and does not lead outside."""
    storage.put("a/b", b"")
    for prefix in ("/", "../", "a/b/", "a//", "./", "\0"):
        assert () == _keys(storage, prefix)


def test_symbolic_links(storage: Storage, folder: Path, tmp_path: Path) -> None:
    """Links to files and folders are followed, broken ones and those that lead round in a circle are not."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "call.wav").write_bytes(b"bytes")
    (folder / "month").symlink_to(tmp_path / "elsewhere")
    (folder / "call.wav").symlink_to(tmp_path / "elsewhere" / "call.wav")
    (folder / "broken").symlink_to(tmp_path / "nothing")
    (folder / "self").symlink_to("self")
    (tmp_path / "elsewhere" / "above").symlink_to(folder)
    assert ("call.wav", "month/call.wav") == _keys(storage)
    assert ("month/call.wav",) == _keys(storage, "month/")
    assert storage.head("self") is None
    assert b"bytes" == storage.get("month/call.wav").data


def test_what_is_no_file_is_no_object(storage: Storage, folder: Path) -> None:
    """Folders and named pipes are neither listed nor read (which would wait for ever)."""
    (folder / "folder").mkdir()
    os.mkfifo(folder / "pipe")
    assert () == _keys(storage)
    for key in ("folder", "pipe", "pipe/below"):
        assert storage.head(key) is None
        with pytest.raises(ObjectVanished):
            storage.get(key)


@pytest.mark.parametrize("key", ["../x", "a/../../x", "/etc/passwd", "a//b", "a/", "./a", ".", "..", "a\0b"])
def test_keys_do_not_lead_outside(storage: Storage, key: str) -> None:
    """A key that is no plain path below the folder is refused, whatever is asked of it."""
    for use in (storage.head, storage.get, storage.delete, lambda key: storage.put(key, b""), storage.object_uri):
        with pytest.raises(StorageRefused, match="cannot be a key"):
            use(key)


@pytest.mark.parametrize("key", [".callscribe.lock", "a/.callscribe.lock", ".callscribe.x.tmp", ".callscribe.d/k"])
def test_our_own_names_are_no_keys(storage: Storage, key: str) -> None:
    """The names of lock and temporary files are ours."""
    with pytest.raises(StorageRefused, match="cannot be a key"):
        storage.put(key, b"")


def test_missing_folder_is_refused(tmp_path: Path) -> None:
    """A misspelt folder or an unmounted disk is an error, not an empty store, and is not made by a write."""
    storage = open_storage((tmp_path / "typo").as_uri())
    for use in (storage.check, storage.list, lambda: storage.put("k", b"")):
        with pytest.raises(StorageRefused, match=r"typo does not exist.*mkdir"):
            use()
    assert [] == list(tmp_path.iterdir())


def test_file_as_a_folder_is_refused(tmp_path: Path) -> None:
    """A URI that names a file is refused with a sentence, and so is a key below a file."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageRefused, match="is not a folder"):
        open_storage((tmp_path / "file").as_uri()).check()
    with pytest.raises(StorageRefused, match="cannot be used"):
        open_storage(tmp_path.as_uri()).put("file/below", b"")


def test_new_files_follow_the_umask(storage: Storage, folder: Path) -> None:
    """Analysts can read what a run wrote, as far as the umask lets them."""
    old = os.umask(0o022)
    try:
        storage.put("k", b"bytes")
    finally:
        os.umask(old)
    assert "0o644" == oct((folder / "k").stat().st_mode & 0o777)


def test_direct_access_is_the_folder(storage: Storage, folder: Path) -> None:
    """Other libraries open the folder itself."""
    assert FolderAccess(folder) == storage.direct_access()


def test_engines_see_only_the_tables(storage: Storage, folder: Path) -> None:
    """pyarrow, pandas and DuckDB pass over lock and temporary files, also those of dead writers."""
    duckdb = pytest.importorskip("duckdb")
    pandas = pytest.importorskip("pandas")
    dataset = pytest.importorskip("pyarrow.dataset")
    pandas.DataFrame({"call_id": ["one", "two"]}).to_parquet(folder.parent / "table.parquet")
    table = (folder.parent / "table.parquet").read_bytes()
    for month in ("2026-10", "2026-11"):
        storage.put(f"calls/month={month}/shard-0000-of-0001.parquet", table)
        (folder / "calls" / f"month={month}" / ".callscribe.0123456789abcdef.tmp").write_bytes(table[:100])
    calls = folder / "calls"
    assert 4 == dataset.dataset(calls, partitioning="hive").count_rows()
    assert ["2026-10", "2026-11"] == sorted(set(pandas.read_parquet(calls)["month"]))
    found = duckdb.sql(f"select count(*), count(distinct month) from read_parquet('{calls}/**/*.parquet')").fetchone()
    assert (4, 2) == found


_PART = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=40).filter(
    lambda part: part not in {".", ".."} and not part.startswith(".callscribe.")
)


@settings(max_examples=60, deadline=None)
@given(parts=st.lists(_PART, min_size=1, max_size=3), data=st.binary(max_size=100))
def test_any_key_round_trips(parts: list[str], data: bytes) -> None:
    """Any key of plain parts is written, found by its whole name, read by its URI, and removed."""
    key = "/".join(parts)
    with tempfile.TemporaryDirectory() as folder:
        storage = open_storage(Path(folder).as_uri())
        etag = storage.put(key, data, if_none_match=True)
        assert data == storage.get(key, if_match=etag).data
        assert [(key, len(data), etag)] == [(info.key, info.size_bytes, info.etag) for info in storage.list(key)]
        parent, _, name = storage.object_uri(key).rpartition("/")
        assert data == open_storage(parent).get(unquote(name)).data
        storage.delete(key)
        assert [] == list(storage.list())
