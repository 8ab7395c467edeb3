"""The contract of every store, over a folder and over a real S3 server."""

import secrets
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from conftest import BUCKET
from storage_worker import add_one

from tasks.errors import (
    ObjectChanged,
    ObjectVanished,
    PreconditionFailed,
    ScratchFull,
    SettingsError,
    StorageRefused,
    TooLarge,
)
from tasks.storage import Storage, open_storage, prove_conditional_writes, write_whole

_ODD_KEYS = (
    "2026/10/01/call 1.wav",
    "a+b%20c%/d&e=f.wav",
    "q?x#y;z,(1)'~!@$*.wav",
    "Ünïcode/é-e\u0301/通話/📞.wav",
    ".hidden/_under.wav",
    'quote".wav',
    "month=2026-10/shard-0007-of-0120.parquet",
)


@pytest.fixture(params=["file", "s3"])
def storage(request: pytest.FixtureRequest) -> Storage:
    """An empty store of each kind, with a URI that is not the plainest."""
    if request.param == "file":
        folder: Path = request.getfixturevalue("tmp_path") / "odd föld+er %41"
        folder.mkdir()
        return open_storage(folder.as_uri())
    request.getfixturevalue("s3_environment")
    return open_storage(f"s3://{BUCKET}/odd préfix+ %41/{secrets.token_hex(8)}/")


def _keys(storage: Storage, prefix: str = "") -> tuple[str, ...]:
    return tuple(info.key for info in storage.list(prefix))


def test_what_is_put_is_got(storage: Storage) -> None:
    """Bytes, size, ETag and time come back as they were put."""
    before = datetime.now(UTC) - timedelta(seconds=2)
    etag = storage.put("2026/call.wav", b"some bytes")
    got = storage.get("2026/call.wav")
    assert b"some bytes" == got.data
    assert ("2026/call.wav", 10, etag) == (got.info.key, got.info.size_bytes, got.info.etag)
    assert before <= got.info.modified_at <= datetime.now(UTC) + timedelta(seconds=2)
    assert timedelta(0) == got.info.modified_at.utcoffset()


def test_get_head_and_list_agree(storage: Storage) -> None:
    """The three ways to learn of an object say the same, up to the fraction of a second."""
    storage.put("folder/call.wav", b"bytes")
    infos = [storage.get("folder/call.wav").info, storage.head("folder/call.wav"), *storage.list()]
    assert 3 == len(infos)
    assert 1 == len({(info.key, info.size_bytes, info.etag) for info in infos if info})
    assert 1 == len({info.modified_at.replace(microsecond=0) for info in infos if info})


def test_etags_have_no_quotes(storage: Storage) -> None:
    """Quotes around an ETag are HTTP's, not ours."""
    assert '"' not in storage.put("k", b"bytes")
    assert [] == [info.etag for info in storage.list() if '"' in info.etag]


def test_empty_object(storage: Storage) -> None:
    """An object may have no bytes."""
    storage.put("empty", b"")
    assert b"" == storage.get("empty").data
    assert b"" == storage.get("empty", byte_range=(0, 10)).data


@pytest.mark.parametrize("key", _ODD_KEYS)
def test_odd_keys(storage: Storage, key: str) -> None:
    """Keys with spaces, Unicode, plus, percent and the like are kept as they are."""
    etag = storage.put(key, key.encode(), if_none_match=True)
    assert key.encode() == storage.get(key, if_match=etag).data
    assert (key,) == _keys(storage)
    assert (key,) == _keys(storage, key[:3])
    storage.delete(key)
    assert storage.head(key) is None


def test_absent_object(storage: Storage, tmp_path: Path) -> None:
    """An absent object is None to head, nothing to delete, and an error to read, which leaves no file."""
    storage.delete("none")
    assert storage.head("none") is None
    with pytest.raises(ObjectVanished, match="none"):
        storage.get("none")
    with pytest.raises(ObjectVanished, match="none"):
        storage.get("none", byte_range=(0, 1))
    with pytest.raises(ObjectVanished, match="none"):
        storage.download("none", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_delete_removes(storage: Storage) -> None:
    """A deleted object is gone from every view, its neighbours stay, and its key may be used again."""
    storage.put("a/1", b"one")
    storage.put("a/2", b"two")
    storage.delete("a/1")
    assert storage.head("a/1") is None
    assert ("a/2",) == _keys(storage)
    storage.put("a/1", b"again", if_none_match=True)
    assert b"again" == storage.get("a/1").data


@pytest.mark.parametrize(
    ("byte_range", "expected"),
    [((0, 1), b"0"), ((2, 5), b"234"), ((0, 10), b"0123456789"), ((8, 99), b"89"), ((10, 11), b""), ((50, 60), b"")],
)
def test_ranges(storage: Storage, byte_range: tuple[int, int], expected: bytes) -> None:
    """A range is half open and cut off at the end; the size is that of the whole object."""
    etag = storage.put("digits", b"0123456789")
    got = storage.get("digits", byte_range=byte_range, if_match=etag)
    assert expected == got.data
    assert (10, etag) == (got.info.size_bytes, got.info.etag)


@pytest.mark.parametrize("byte_range", [(3, 3), (5, 2), (-1, 4)])
def test_wrong_ranges(storage: Storage, byte_range: tuple[int, int]) -> None:
    """An empty or negative range is a mistake of the caller."""
    storage.put("digits", b"0123456789")
    with pytest.raises(ValueError, match="byte_range"):
        storage.get("digits", byte_range=byte_range)


def test_read_with_if_match(storage: Storage, tmp_path: Path) -> None:
    """A read that names an ETag gets that version or an error, never another version."""
    old = storage.put("call", b"old bytes")
    assert b"old bytes" == storage.get("call", if_match=old).data
    new = storage.put("call", b"new")
    with pytest.raises(ObjectChanged):
        storage.get("call", if_match=old)
    with pytest.raises(ObjectChanged):
        storage.get("call", if_match=old, byte_range=(100, 200))
    with pytest.raises(ObjectChanged):
        storage.download("call", tmp_path / "copy", if_match=old)
    assert not (tmp_path / "copy").exists()
    assert b"new" == storage.get("call", if_match=new).data


def test_download(storage: Storage, tmp_path: Path) -> None:
    """A download of several chunks holds every byte, in place of what the file held."""
    data = secrets.token_bytes(3_000_000)
    storage.put("call.wav", data)
    path = tmp_path / "copy.wav"
    path.write_bytes(b"left over")
    info = storage.download("call.wav", path, max_bytes=len(data))
    assert data == path.read_bytes()
    assert storage.head("call.wav") == info


def test_download_of_too_much(storage: Storage, tmp_path: Path) -> None:
    """An object over the limit is refused before anything is written."""
    storage.put("call.wav", bytes(1001))
    with pytest.raises(TooLarge, match=r"1,001 bytes.*1,000"):
        storage.download("call.wav", tmp_path / "copy", max_bytes=1000)
    assert not (tmp_path / "copy").exists()


def test_download_to_nowhere(storage: Storage, tmp_path: Path) -> None:
    """When the file cannot be written, the error names the file, not the store."""
    storage.put("call.wav", b"bytes")
    with pytest.raises(StorageRefused, match="no-folder/copy"):
        storage.download("call.wav", tmp_path / "no-folder" / "copy")


def test_put_if_none_match(storage: Storage) -> None:
    """Only the first writer of a key wins."""
    storage.put("k", b"first", if_none_match=True)
    with pytest.raises(PreconditionFailed):
        storage.put("k", b"second", if_none_match=True)
    assert b"first" == storage.get("k").data


def test_put_if_match(storage: Storage) -> None:
    """A write over a known version wins once; over any other version, or none, it fails and changes nothing."""
    first = storage.put("k", b"first")
    second = storage.put("k", b"second", if_match=first)
    assert first != second
    for key, etag in (("k", first), ("k", "0" * 32), ("absent", first)):
        with pytest.raises(PreconditionFailed):
            storage.put(key, b"third", if_match=etag)
    assert b"second" == storage.get("k", if_match=second).data
    assert storage.head("absent") is None


def test_sixteen_threads_one_winner(storage: Storage) -> None:
    """Of sixteen threads that create the same object at once exactly one wins, and its bytes stand."""

    def race(number: int) -> bool:
        try:
            storage.put("lock", f"{number}".encode(), if_none_match=True)
        except PreconditionFailed:
            return False
        return True

    with ThreadPoolExecutor(16) as threads:
        won = list(threads.map(race, range(16)))
    assert 1 == sum(won)
    assert f"{won.index(True)}".encode() == storage.get("lock").data


def test_counting_threads_lose_nothing(storage: Storage) -> None:
    """Four threads that read, add one and write with If-Match, over and over, count to their sum."""
    storage.put("count", b"0")

    def count(_: int) -> None:
        for _turn in range(5):
            add_one(storage)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(count, range(4)))
    assert b"20" == storage.get("count").data


def test_list_by_prefix(storage: Storage) -> None:
    """A prefix is any string, not only a folder; keys are relative to the URI."""
    for key in ("2026/10/01/a.wav", "2026/10/02/b.wav", "2026/11/01/c.wav", "2027/d.wav", "20/e.wav"):
        storage.put(key, b"")
    assert ("2026/10/01/a.wav", "2026/10/02/b.wav") == _keys(storage, "2026/10/")
    assert ("2026/10/01/a.wav", "2026/10/02/b.wav", "2026/11/01/c.wav") == _keys(storage, "2026/1")
    assert ("2026/11/01/c.wav",) == _keys(storage, "2026/11/01/c.wav")
    assert () == _keys(storage, "2026/10/01/a.wav/")
    assert 5 == len(_keys(storage))


def test_neighbour_of_the_prefix_is_outside(storage: Storage) -> None:
    """A store ends at its URI: what begins with the same letters beside it is not listed."""
    storage.put("calls/a", b"")
    storage.put("calls-old/b", b"")
    assert ("a",) == _keys(open_storage(f"{storage.uri}/calls"))


def test_empty_store(storage: Storage) -> None:
    """A store without objects passes its check and lists nothing."""
    storage.check()
    assert () == _keys(storage)


def test_object_uri_opens_again(storage: Storage) -> None:
    """The URI of an object is the URI of its store plus its key, so that a row can be traced to its audio."""
    storage.put("2026/call 1.wav", b"bytes")
    folder, _, name = storage.object_uri("2026/call 1.wav").rpartition("/")
    assert name in {"call 1.wav", "call%201.wav"}
    assert b"bytes" == open_storage(folder).get("call 1.wav").data


def test_conditional_writes_are_proven(storage: Storage) -> None:
    """Both kinds of store pass the proof, which leaves nothing behind; many may prove at once."""
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: prove_conditional_writes(storage, "_control/probe"), range(4)))
    assert () == _keys(storage)


def test_empty_key(storage: Storage) -> None:
    """A key without a letter names no object and is refused everywhere."""
    for use in (storage.head, storage.get, storage.delete, lambda key: storage.put(key, b"bytes")):
        with pytest.raises(StorageRefused, match="key"):
            use("")


@pytest.mark.parametrize(
    ("uri", "hint"),
    [
        ("", "neither"),
        ("gs://bucket/x", "neither"),
        ("/data/calls", "file:///data/calls"),
        ("s3:/bucket", "s3://bucket/prefix"),
        ("s3://", "s3://bucket/prefix"),
        ("s3:///prefix", "s3://bucket/prefix"),
        ("s3://a b/prefix", "s3://bucket/prefix"),
        ("file://data/calls", "three slashes"),
        ("file:data/calls", "three slashes"),
        ("file:///data?x", "%3F"),
        ("file:///data#x", "%23"),
    ],
)
def test_uris_that_are_none(uri: str, hint: str) -> None:
    """A URI that names no bucket and no folder is refused, with the URI and with what to write."""
    with pytest.raises(SettingsError) as caught:
        open_storage(uri)
    assert repr(uri) in caught.value.message
    assert hint in caught.value.message


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket"),
        ("s3://bucket/a/b//", "s3://bucket/a/b"),
        ("s3://bucket/a b%20?#", "s3://bucket/a b%20?#"),
        ("file:///", "file:///"),
        ("file:///data/calls/", "file:///data/calls"),
        ("file://localhost/data//calls", "file:///data/calls"),
        ("file:///a%20b", "file:///a%20b"),
        ("file:///a b", "file:///a%20b"),
    ],
)
def test_uris_are_normalised(uri: str, expected: str) -> None:
    """A store's URI ends without a slash; a folder's is percent-encoded, a bucket's never is."""
    assert expected == open_storage(uri).uri


def test_a_full_disk_is_not_the_archives_fault(tmp_path: Path) -> None:
    """What cannot be written for want of room is the scratch disk's failure, and another try may work."""
    (tmp_path / "recording").symlink_to("/dev/full")
    with pytest.raises(ScratchFull, match="TMPDIR"):
        write_whole(tmp_path / "recording", [b"sound"])
    assert not (tmp_path / "recording").is_symlink()
