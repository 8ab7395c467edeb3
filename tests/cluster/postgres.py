"""A PostgreSQL server of our own, where tests write concurrently: SQLite answers such writers "database is locked"."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from .ports import LOOPBACK, end_process, free_port, start_bound

_USER = "postgres"
_PATIENCE_S = 120.0
_DEBIAN = Path("/usr/lib/postgresql")


def find_postgres() -> Path | None:
    """The folder of PostgreSQL's programs: on the PATH, or the newest of Debian's."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    versions = sorted(_DEBIAN.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return versions[-1].parent if versions else None


@contextlib.contextmanager
def postgres_server() -> Iterator[str]:
    """A server with an empty database for the length of the block; yields SQLAlchemy's URL for Prefect.

    It keeps nothing safe from a crash of the machine (no fsync). PostgreSQL does not run as root, so under root it runs
    as the user `postgres` of Debian's package.
    """
    programs = find_postgres()
    if programs is None:
        raise FileNotFoundError("PostgreSQL is not installed: apt-get install postgresql")
    # Not in pytest's temporary folder, which other users may not enter.
    folder = Path(tempfile.mkdtemp(prefix="callscribe-postgres-"))
    try:
        as_user = _as_user(folder)
        data, log = folder / "data", folder / "server.log"
        environment = {"PATH": f"{programs}:{os.defpath}", "HOME": str(folder), "LC_ALL": "C.UTF-8"}
        initialise = [*as_user, str(programs / "initdb"), "-D", str(data), "-U", _USER, "--auth=trust", "--no-sync"]
        subprocess.run(initialise, check=True, cwd=folder, env=environment, capture_output=True)
        port = free_port()
        options = {"listen_addresses": LOOPBACK, "port": str(port), "unix_socket_directories": "", "fsync": "off"}
        options |= {"synchronous_commit": "off", "full_page_writes": "off", "max_connections": "200"}
        settings = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        command = [*as_user, str(programs / "postgres"), "-D", str(data), *settings]
        process = start_bound(command, environment, folder, log)
        try:
            _await_answer(process, port, log)
            yield f"postgresql+asyncpg://{_USER}@{LOOPBACK}:{port}/{_USER}"
        finally:
            end_process(process, kill=False)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _as_user(folder: Path) -> list[str]:
    """The words before a command that let another user than root run it, and the folder made theirs."""
    if os.geteuid() != 0:
        return []
    shutil.chown(folder, _USER, _USER)
    # --pdeathsig: the kernel forgets the signal that `start_bound` has asked for when the user changes.
    return ["setpriv", "--reuid", _USER, "--regid", _USER, "--init-groups", "--pdeathsig", "KILL", "--"]


def _await_answer(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    ends_at = time.monotonic() + _PATIENCE_S
    while time.monotonic() < ends_at and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=1):
            return
        time.sleep(0.05)
    raise RuntimeError(f"PostgreSQL did not come up:\n{log.read_text(errors='replace')[-2000:]}")
