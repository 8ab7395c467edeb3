"""Recorded calls are nobody else's business: a run talks to nobody but this machine.

One process runs `callscribe transcribe` and then `callscribe run` for real, in an environment that asks for every kind
of telemetry and download. An audit hook in it, and in every Python process that it starts, writes down whom they
talk to and whom they look up. Where the system permits, they run in a network of their own, whose only way out counts
what is sent: that shows what native code sends too.
"""

import ipaddress
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import soundfile

from tasks.query import connect
from tasks.settings import PRIVACY_ENVIRONMENT, load_settings
from tasks.storage import open_storage

pytestmark = pytest.mark.long

ROOT = Path(__file__).resolve().parents[1]
CALL = ROOT / "evaluation/sets/demo/archive/2026/10/05/demo-0001.wav"
ELSEWHERE = "198.51.100.1"  # TEST-NET-2: nobody's address

# What somebody might have set who wants none of this.
INDISCREET = {
    "DO_NOT_TRACK": "0",
    "HF_HUB_DISABLE_TELEMETRY": "0",
    "HF_HUB_OFFLINE": "0",
    "ORT_DISABLE_TELEMETRY": "0",
    "OTEL_SDK_DISABLED": "false",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "true",
    "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "true",
    "PYANNOTE_METRICS_ENABLED": "true",
}

# sitecustomize.py of every Python process that is started: a line of JSON for its start and for every connection,
# look-up and address that it listens on.
RECORDER = """
import json, os, sys

EVENTS = {
    "socket.connect": 1, "socket.sendto": 1, "socket.sendmsg": 1, "socket.bind": 1,
    "socket.getaddrinfo": 0, "socket.gethostbyname": 0, "socket.gethostbyaddr": 0, "socket.getnameinfo": 0,
}
output = os.open(os.environ["RECORDED_CONNECTIONS"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

def note(event, target):
    line = {"event": event, "target": target, "process": sys.orig_argv, "command": getattr(sys, "argv", [])}
    os.write(output, (json.dumps(line, default=repr) + "\\n").encode())

def record(event, arguments):
    if event in EVENTS:
        note(event, arguments[EVENTS[event]])

note("start", None)
sys.addaudithook(record)
"""

# What the process does. The commands are those of the command line; each ends by SystemExit.
RUN = """
import json, os, sys

def callscribe(*arguments):
    from flows.cli import main
    sys.argv = ["callscribe", *arguments]
    try:
        main()
    except SystemExit as end:
        return end.code

if __name__ == "__main__":
    call, archive, transcripts, out, report = sys.argv[1:]
    codes = [
        callscribe("transcribe", call, "--out", out),
        callscribe("run", "--month", "2026-10", "--archive", archive, "--transcripts", transcripts),
    ]
    import huggingface_hub.constants
    from prefect._internal.analytics.enabled import is_telemetry_enabled
    from prefect.settings import get_current_settings
    from pyannote.audio.telemetry.metrics import is_metrics_enabled

    settings = get_current_settings()
    found = {
        "codes": codes,
        "environment": dict(os.environ),
        "pyannote": is_metrics_enabled(),
        "prefect": [
            settings.server.analytics_enabled, settings.cloud.enable_orchestration_telemetry, is_telemetry_enabled()
        ],
        "hub": [huggingface_hub.constants.HF_HUB_OFFLINE, huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY],
    }
    open(report, "w").write(json.dumps(found))
"""

# A network with one way out, which leads nowhere and counts. Nothing of it asks for addresses or announces itself.
NETWORK = """\
set -e
ip link set lo up
ip link add out0 type veth peer name out1
for end in out0 out1; do ip link set $end addrgenmode none arp off; ip link set $end up; done
ip address add 192.0.2.1/24 dev out0
ip route add default dev out0
set +e
"$@"
status=$?
cat /proc/net/dev /proc/net/snmp > "$NETWORK_COUNTS"
exit $status
"""


@dataclass(frozen=True)
class Sent:
    """What left a network of its own: packets through its way out, and datagrams to anybody (look-ups of names)."""

    packets: int
    datagrams: int


@dataclass(frozen=True)
class Observed:
    """What was seen of the run: its processes, connections and look-ups, what left its network, its own report.

    And what it wrote to stderr, its log in JSON.
    """

    lines: list[dict[str, Any]]
    sent: Sent | None
    report: dict[str, Any]
    folder: Path
    stderr: str


def _own_network() -> list[str] | None:
    """The command that runs another in a network of its own, None where the system does not permit it."""
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        return None
    for options in ([], ["--map-root-user"]):
        command = ["unshare", *options, "--net", "sh", "-c", NETWORK, "sh"]
        tried = subprocess.run([*command, "true"], env=_environment(Path(os.devnull)), check=False, capture_output=True)
        if tried.returncode == 0:
            return command
    return None


def _environment(counts: Path) -> dict[str, str]:
    """An environment without anybody's settings, and without the signs of CI, which silence some libraries."""
    kept = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TMPDIR")
    return {**{name: os.environ[name] for name in kept if name in os.environ}, "NETWORK_COUNTS": str(counts)}


def _sent(counts: Path) -> Sent:
    lines = [line.split() for line in counts.read_text().splitlines()]
    way_out = next(line for line in lines if line and line[0] == "out0:")
    names, numbers = (line for line in lines if line and line[0] == "Udp:")
    return Sent(packets=int(way_out[10]), datagrams=int(numbers[names.index("OutDatagrams")]))


@pytest.fixture(scope="module")
def own_network() -> list[str]:
    """The command that runs another in a network of its own."""
    command = _own_network()
    if command is None:
        pytest.skip("this system permits no network of one's own (unshare --net)")
    return command


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Observed:
    """Both commands, run for real on one demo call with the starter models, and observed."""
    models = load_settings().models.folder
    if not (models / "starter").is_dir() and os.environ.get("CI") != "true":
        pytest.skip("the starter bundle is not pulled: callscribe models pull starter")
    folder = tmp_path_factory.mktemp("privacy")
    for name in ("site", "transcripts"):
        (folder / name).mkdir()
    (folder / "site/sitecustomize.py").write_text(RECORDER)
    (folder / "run.py").write_text(RUN)
    day = folder / "archive/2026/10/05"
    day.mkdir(parents=True)
    sound, rate = soundfile.read(CALL, frames=10 * 8000)
    soundfile.write(day / CALL.name, sound, rate, subtype="ULAW")
    network = _own_network()
    uris = [(folder / name).as_uri() for name in ("archive", "transcripts")]
    done = subprocess.run(
        [*(network or []), sys.executable, str(folder / "run.py"), str(CALL), *uris, "out", "report.json"],
        env={
            **_environment(folder / "counts"),
            **INDISCREET,
            "CALLSCRIBE_MODELS__FOLDER": str(models),
            "CALLSCRIBE_RECOGNIZER__BEAM_SIZE": "1",
            "CALLSCRIBE_LOGS__FORMAT": "json",
            "CALLSCRIBE_LOGS__LEVEL": "DEBUG",
            # Threads that wait by spinning take the time of whatever else this machine does.
            "CALLSCRIBE_RECOGNIZER__CPU_THREADS": "1",
            "OMP_NUM_THREADS": "1",
            "HOME": str(folder),
            "PREFECT_HOME": str(folder / "prefect"),
            "PYTHONPATH": f"{folder / 'site'}{os.pathsep}{ROOT}",
            "RECORDED_CONNECTIONS": str(folder / "connections"),
        },
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
    )
    print(done.stderr)
    assert 0 == done.returncode
    return Observed(
        lines=[json.loads(line) for line in (folder / "connections").read_text().splitlines()],
        sent=_sent(folder / "counts") if network else None,
        report=json.loads((folder / "report.json").read_text()),
        folder=folder,
        stderr=done.stderr,
    )


def _stays_here(event: str, target: object) -> bool:
    """Whether a connection or a look-up, as the recorder wrote it down, has to do with this machine alone."""
    takes_addresses = event in {"socket.connect", "socket.sendto", "socket.sendmsg", "socket.bind"}
    if takes_addresses and (target is None or isinstance(target, str)):  # a connected socket; the path of a Unix socket
        return True
    host = target[0] if isinstance(target, list) else target
    if host in {None, "localhost"}:
        return True
    try:
        return ipaddress.ip_address(str(host)).is_loopback
    except ValueError:
        return False


@pytest.mark.parametrize(
    ("event", "target"),
    [
        ("socket.connect", ["127.0.0.1", 4200]),
        ("socket.connect", ["::1", 4200, 0, 0]),
        ("socket.connect", "/run/postgresql/.s.PGSQL.5432"),
        ("socket.sendmsg", None),
        ("socket.getaddrinfo", "localhost"),
        ("socket.getaddrinfo", None),
        ("socket.getnameinfo", ["127.0.0.1", 80]),
    ],
)
def test_what_stays_here(event: str, target: object) -> None:
    """Loopback, Unix sockets and the names of loopback are this machine."""
    assert _stays_here(event, target)


@pytest.mark.parametrize(
    ("event", "target"),
    [
        ("socket.connect", [ELSEWHERE, 443]),
        ("socket.connect", ["2001:db8::1", 443, 0, 0]),
        ("socket.bind", ["0.0.0.0", 4200]),  # noqa: S104  # an address that must not be listened on
        ("socket.bind", ["", 4200]),
        ("socket.sendto", ["10.255.255.53", 53]),
        ("socket.getaddrinfo", "api.example.com"),
        ("socket.getaddrinfo", "localhost.example.com"),
        ("socket.gethostbyname", "127.0.0.1.example.com"),
        ("socket.getnameinfo", [ELSEWHERE, 80]),
    ],
)
def test_what_does_not(event: str, target: object) -> None:
    """Other addresses, all addresses at once, and any name that must be looked up are not."""
    assert not _stays_here(event, target)


def test_recorder_hears_children(tmp_path: Path) -> None:
    """The recorder hears what a child of a child does, so that its silence means something."""
    child = f"import socket as s; p = s.socket(); p.setblocking(False); p.connect_ex(('{ELSEWHERE}', 443))"
    (tmp_path / "sitecustomize.py").write_text(RECORDER)
    subprocess.run(
        [sys.executable, "-c", f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"],
        env={"PYTHONPATH": str(tmp_path), "RECORDED_CONNECTIONS": str(tmp_path / "connections")},
        check=True,
    )
    lines = [json.loads(line) for line in (tmp_path / "connections").read_text().splitlines()]
    heard = [(line["event"], line["target"]) for line in lines]
    assert [("start", None), ("start", None), ("socket.connect", [ELSEWHERE, 443])] == heard


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("", Sent(packets=0, datagrams=0)),
        ("server = s.create_server(('127.0.0.1', 5999)); s.create_connection(('127.0.0.1', 5999))", Sent(0, 0)),
        (f"p = s.socket(); p.setblocking(False); p.connect_ex(('{ELSEWHERE}', 443))", Sent(packets=1, datagrams=0)),
        (f"s.socket(type=s.SOCK_DGRAM).sendto(b'?', ('{ELSEWHERE}', 53))", Sent(packets=1, datagrams=1)),
        ("s.socket(type=s.SOCK_DGRAM).sendto(b'?', ('127.0.0.53', 53))", Sent(packets=0, datagrams=1)),
    ],
    ids=["nothing", "loopback", "connection", "look-up", "look-up through this machine"],
)
def test_network_counts(own_network: list[str], tmp_path: Path, code: str, expected: Sent) -> None:
    """The network of its own counts what tries to leave it, and look-ups, and nothing else."""
    counts = tmp_path / "counts"
    command = [*own_network, sys.executable, "-I", "-S", "-c", f"import socket as s; {code}"]
    subprocess.run(command, env=_environment(counts), check=True)
    assert expected == _sent(counts)


def test_both_commands_do_their_work(observed: Observed) -> None:
    """Without any way out, both commands succeed: a transcript, and the shard of a data set."""
    assert [0, 0] == observed.report["codes"]
    assert "Larkfield Energy" in (observed.folder / "out/demo-0001.wav.txt").read_text()
    assert 1 == len(list((observed.folder / "transcripts/calls").rglob("*.parquet")))


def test_transcribing_talks_to_nobody(observed: Observed) -> None:
    """`callscribe transcribe` makes no connection and looks up nothing, not even on this machine."""
    talk = [line for line in observed.lines if "transcribe" in line["command"] and line["event"] != "socket.bind"]
    assert [] == talk


def test_a_run_talks_to_this_machine_alone(observed: Observed) -> None:
    """`callscribe run` talks to the Prefect server that it starts on loopback, which talks to nobody."""
    assert [] == [line for line in observed.lines if not _stays_here(line["event"], line["target"])]
    connected = [line for line in observed.lines if line["event"] == "socket.connect"]
    assert connected
    assert {"run"} == {line["command"][1] for line in connected}
    assert any("uvicorn" in line["process"] for line in observed.lines if line["event"] == "start")


def test_nothing_leaves_the_network(observed: Observed, own_network: list[str]) -> None:
    """Neither Python nor native code sends a packet or asks for a name; ONNX Runtime would, unless it is told."""
    assert own_network
    assert Sent(packets=0, datagrams=0) == observed.sent


def test_nobody_is_told_what_was_said(observed: Observed) -> None:
    """Neither the log, in JSON and with Prefect's lines in it, nor what Prefect keeps holds anything of the call."""
    with connect(open_storage((observed.folder / "transcripts").as_uri())) as connection:
        spoken = [text for (text,) in connection.execute("SELECT text FROM utterances").fetchall()]
    assert any(len(text) > 20 for text in spoken)
    lines = [json.loads(line) for line in observed.stderr.splitlines() if line.startswith("{")]
    assert {"call done", "the run ends"} <= {line["message"] for line in lines}
    assert any(line["logger"].startswith("prefect.") for line in lines)
    kept = b"".join(path.read_bytes() for path in (observed.folder / "prefect").rglob("*") if path.is_file())
    assert b"archive-run" in kept
    for words in (text.split() for text in spoken if len(text) > 20):
        passage = " ".join(words[:4])
        assert passage not in observed.stderr
        assert passage.encode() not in kept


def test_nothing_is_kept_to_recognise_this_machine(observed: Observed) -> None:
    """No library leaves an identifier of this machine, or events to send later, in the user's folder."""
    left = {path.name.lower() for path in observed.folder.rglob("*") if path.is_file()}
    assert set() == {name for name in left if "deviceid" in name or "telemetry" in name or "onnxruntime" in name}


def test_the_environment_is_overruled(observed: Observed) -> None:
    """Every switch is set as we want it, although the environment said the opposite of each."""
    assert PRIVACY_ENVIRONMENT.keys() == INDISCREET.keys()
    assert PRIVACY_ENVIRONMENT == {name: observed.report["environment"][name] for name in PRIVACY_ENVIRONMENT}


def test_the_libraries_obey(observed: Observed) -> None:
    """The libraries themselves say that they are silent: pyannote's metrics, Prefect's analytics, the hub's client."""
    assert not observed.report["pyannote"]
    assert [False, False, False] == observed.report["prefect"]
    assert [True, True] == observed.report["hub"]


def test_importing_flows_is_enough() -> None:
    """Whoever imports anything of `flows` has every switch set, before any library that reads them is imported."""
    code = (
        "import sys, json, os, flows\n"
        "read = {'prefect', 'pyannote', 'huggingface_hub', 'onnxruntime', 'opentelemetry'} & set(sys.modules)\n"
        "print(json.dumps([sorted(read), dict(os.environ)]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**_environment(Path(os.devnull)), **INDISCREET, "PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
        text=True,
    )
    imported, environment = json.loads(done.stdout)
    assert [] == imported
    assert PRIVACY_ENVIRONMENT == {name: environment[name] for name in PRIVACY_ENVIRONMENT}
