"""The `callscribe` command as people run it: a process with exit codes, and one sentence when something is wrong."""

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from builders import failure, outcome, provenance, transcript, utterance
from conftest import BUCKET
from forked import ForkedCommand

from flows.cli import main
from flows.s3_server import LocalS3Server
from tasks.dataset import DataSet
from tasks.rows import rows_of
from tasks.storage import open_storage

COMMAND = Path(sys.executable).with_name("callscribe")
COMMANDS = [
    *(["transcribe"], ["run"], ["query"], ["show"], ["evaluate"], ["models"], ["models", "pull"], ["models", "list"]),
    *(["compare"], ["gate"], ["check"], ["demo"], ["shell"], ["sample"], ["sample", "status"]),
]  # fmt: skip
MONTH = "2026-10"
Runner = Callable[..., "Said"]


@dataclass(frozen=True)
class Said:
    """What a finished command left: exit code, and what it wrote."""

    code: int
    out: str
    err: str


def environment(**more: str) -> dict[str, str]:
    """The environment of a command: nobody's settings, no patience with a store that does not answer."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("CALLSCRIBE_", "PREFECT_"))}
    return plain | {"CALLSCRIBE_STORAGE__MAX_ATTEMPTS": "1", "COLUMNS": "140"} | more


def installed(*arguments: str | Path, cwd: Path | None = None, **more: str) -> Said:
    """Run the installed command to its end."""
    command = [str(COMMAND), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment(**more), timeout=120,
                          check=False)  # fmt: skip
    return Said(done.returncode, done.stdout, done.stderr)


def callscribe(*arguments: str | Path, cwd: Path | None = None, **more: str) -> Said:
    """The same in a process that has imported the command already."""
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        command = ForkedCommand([*map(str, arguments)], environment(**more), cwd or Path.cwd(), out, err)
        try:
            code = command.wait(120)
        finally:
            command.kill()  # where it has not come to its end
        return Said(code, out.read_text(encoding="utf-8"), err.read_text(encoding="utf-8"))


def assert_one_sentence(said: Said, code: int, *parts: str) -> None:
    """Hold that the command ended with this code, and with one line on stderr that names what matters."""
    assert "Traceback" not in said.err + said.out
    lines = said.err.strip().splitlines()
    assert (code, 1) == (said.code, len(lines)), said.err
    assert lines[0].startswith("error: ")
    assert [] == [part for part in parts if part not in lines[0]], lines[0]


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Runner:
    """The same in this process, in an empty folder: for what ends before anything is loaded."""
    for name in os.environ:
        if name.startswith(("CALLSCRIBE_", "PREFECT_")):
            monkeypatch.delenv(name)
    # Set here, so that what the command would set is undone after the test.
    monkeypatch.setenv("PREFECT_LOGGING_LEVEL", "CRITICAL")
    monkeypatch.setenv("COLUMNS", "140")
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["callscribe", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capfd.readouterr()
        return Said(int(ended.value.code or 0), out, err)

    return run


@pytest.fixture(scope="module")
def data_set(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A data set with a transcribed call and a failed one."""
    folder = tmp_path_factory.mktemp("transcripts")
    data = DataSet(open_storage(folder.as_uri()))
    data.fix_shards(MONTH, 1)
    good = outcome("good", transcript=transcript([utterance("hello [there] & you", 1.0, speaker="agent")]))
    bad = outcome("bad", failure=failure("too_long", "it is too long"))
    data.commit(MONTH, 0, 1, [rows_of(found, provenance()) for found in (good, bad)])
    return folder.as_uri()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--devices", "cuda:0,cuda:0"], "run.devices: cuda:0 is there twice"),
        (["--devices", "cpu:2", "--device", "cpu"], "give one of them"),
    ],
)
@pytest.mark.parametrize(
    "command", [["run", "--month", MONTH], ["backfill", "--months", MONTH]], ids=lambda one: one[0]
)
def test_devices_that_are_none(in_process: Runner, command: list[str], options: list[str], said: str) -> None:
    """Are refused before anything is begun."""
    assert_one_sentence(in_process(*command, *options), 2, said)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help(in_process: Runner, command: list[str]) -> None:
    """Every command explains itself, with an example to copy; groups list their commands."""
    said = in_process(*command, "--help")
    assert (0, "") == (said.code, said.err)
    assert ("Commands" if command == ["models"] else f"Example: callscribe {' '.join(command)}") in said.out


def test_help_is_quick() -> None:
    """The list of commands comes without loading Prefect, models, tables or boto3.

    What counts is the processor's time, which the load of the machine hardly changes.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    code = (
        "import sys, contextlib\n"
        "from flows.cli import main\n"
        "sys.argv = ['callscribe', '--help']\n"
        "with contextlib.suppress(SystemExit):\n    main()\n"
        "heavy = {'torch', 'prefect', 'faster_whisper', 'pyannote', 'pyarrow', 'boto3', 'duckdb', 'librosa', 'scipy'}\n"
        "print('HEAVY', sorted(heavy & sys.modules.keys()))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=True)
    assert "HEAVY []" == done.stdout.strip().splitlines()[-1]
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert 3.0 > after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    for command in (
        "transcribe",
        "run",
        "query",
        "shell",
        "show",
        "evaluate",
        "compare",
        "gate",
        "sample",
        "check",
        "demo",
        "models",
    ):
        assert f"│ {command} " in done.stdout


def test_no_arguments() -> None:
    """Without a command, the help is shown, and the exit code says that nothing was done."""
    said = installed()
    assert (2, "") == (said.code, said.err)
    assert "Usage: callscribe" in said.out


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["nonsense"], "nonsense"),
        (["query"], "sql"),
        (["query", "SELECT 1", "--no-such-option"], "--no-such-option"),
        (["transcribe", "a.wav", "--format", "pdf"], "pdf"),
        (["transcribe", "a.wav", "--speakers", "0"], "speakers"),
        (["run", "--month", "2026-13"], "must be YYYY-MM"),
        (["run", "--month", "october"], "must be YYYY-MM"),
        (["query", "SELECT 1"], "transcripts.uri is not set"),
        (["show", "x", "--transcripts", "gs://bucket/x"], "neither s3://bucket/prefix nor file:///folder"),
        (["show", "x", "--transcripts", "file://folder"], "file:///folder"),
        (["query", "SELECT 1", "--config", "no-such.toml"], "no-such.toml does not exist"),
        (["check", "--device", "tpu"], "models.device"),
        (["evaluate", "--references", "no-such-folder", "--transcripts", "file:///tmp"], "no-such-folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage(in_process: Runner, arguments: list[str], part: str) -> None:
    """What is wrong with the command line is one sentence and exit code 2."""
    assert_one_sentence(in_process(*arguments), 2, part)


def test_wrong_usage_of_the_installed_command(tmp_path: Path) -> None:
    """The same from the console script."""
    assert_one_sentence(installed("nonsense", cwd=tmp_path), 2, "'nonsense'")
    assert_one_sentence(installed("run", "--month", "2026-13", cwd=tmp_path), 2, "must be YYYY-MM")


@pytest.mark.parametrize(
    ("name", "value", "parts"),
    [
        ("CALLSCRIBE_RUN__MAX_ATEMPTS", "3", ("max_atempts", "no such setting")),
        ("CALLSCRIBE_RUM__MAX_ATTEMPTS", "3", ("no such setting",)),
        ("CALLSCRIBE_RUN__MAX_ATTEMPTS", "none", ("run.max_attempts", "'none'")),
        ("CALLSCRIBE_ARCHIVE__TIMEZONE", "Europe/Nowhere", ("archive.timezone", "Europe/Nowhere")),
    ],
)
def test_wrong_settings(
    in_process: Runner, monkeypatch: pytest.MonkeyPatch, name: str, value: str, parts: tuple[str, ...]
) -> None:
    """A mistyped name or a wrong value in the environment is named, with the value that was given."""
    monkeypatch.setenv(name, value)
    assert_one_sentence(in_process("query", "SELECT 1", "--transcripts", "file:///"), 2, *parts)


def test_wrong_settings_file(tmp_path: Path) -> None:
    """The settings file of the working folder is read, and named where it is wrong."""
    (tmp_path / "callscribe.toml").write_text("[run]\njob_hours = -1\n")
    assert_one_sentence(installed("models", "list", cwd=tmp_path), 2, "run.job_hours", "callscribe.toml")


def test_missing_bucket(s3_server: LocalS3Server) -> None:
    """A bucket that does not exist is named with its endpoint."""
    said = callscribe("query", "SELECT 1", "--transcripts", "s3://no-such-bucket/x", **s3_server.environment())
    assert_one_sentence(said, 4, "s3://no-such-bucket", s3_server.endpoint_url, "does not exist")


@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_wrong_keys(s3_server: LocalS3Server, name: str) -> None:
    """Wrong keys are told as such, and not shown."""
    wrong = s3_server.environment() | {name: "wrongwrongwrong"}
    said = callscribe("show", "c", "--transcripts", f"s3://{BUCKET}/x", **wrong)
    assert_one_sentence(said, 4, f"s3://{BUCKET}")
    assert not any(value in said.err for key, value in wrong.items() if "KEY" in key)


def test_unreachable_endpoint() -> None:
    """An endpoint where nobody listens is named."""
    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9"}
    said = callscribe("query", "SELECT 1", "--transcripts", "s3://bucket/x", **keys)
    assert_one_sentence(said, 4, "http://127.0.0.1:9", "cannot be reached")


def test_missing_folder(tmp_path: Path) -> None:
    """A folder that is not there is no empty data set."""
    said = callscribe("query", "SELECT 1", "--transcripts", (tmp_path / "nowhere").as_uri())
    assert_one_sentence(said, 4, "nowhere", "does not exist")


def test_damaged_data_set(tmp_path: Path) -> None:
    """A file that is no Parquet is told as such."""
    place = tmp_path / "calls" / f"month={MONTH}"
    place.mkdir(parents=True)
    (place / "shard-0000-of-0001.parquet").write_bytes(b"no Parquet at all")
    assert_one_sentence(callscribe("query", "SELECT * FROM calls", "--transcripts", tmp_path.as_uri()), 2, "arquet")
    assert_one_sentence(callscribe("show", "c", "--transcripts", tmp_path.as_uri()), 2, "arquet")


def test_missing_bundle(tmp_path: Path) -> None:
    """Models that were never pulled are told with the command that pulls them, and unknown ones with those known."""
    (tmp_path / "call.wav").write_bytes(b"RIFF")
    said = callscribe("transcribe", tmp_path / "call.wav", CALLSCRIBE_MODELS__FOLDER=str(tmp_path / "none"))
    assert_one_sentence(said, 5, "'starter' is not in", "callscribe models pull starter")
    said = callscribe("models", "pull", "no-such-bundle", CALLSCRIBE_MODELS__FOLDER=str(tmp_path / "none"))
    assert_one_sentence(said, 5, "'no-such-bundle'; known: starter, production")


def test_check_tells_the_first_wrong_thing_by_its_code(tmp_path: Path) -> None:
    """A check goes on after what is wrong, and exits with its code."""
    said = callscribe("check", "--archive", tmp_path.as_uri(), "--transcripts", (tmp_path / "nowhere").as_uri(),
                      CALLSCRIBE_MODELS__FOLDER=str(tmp_path / "none"))  # fmt: skip
    assert (5, "") == (said.code, said.err)
    assert "Traceback" not in said.out
    found = {line.split()[1]: line.split()[0] for line in said.out.splitlines()}
    assert {"device": "ok", "models": "wrong", "archive": "ok", "transcripts": "wrong"}.items() <= found.items()


def test_query(data_set: str) -> None:
    """A query is answered as a table."""
    said = installed("query", "SELECT call_id, error_code FROM calls ORDER BY 1", "--transcripts", data_set)
    assert (0, "") == (said.code, said.err)
    assert ["│ bad     │ too_long   │", "│ good    │            │"] == [
        line for line in said.out.splitlines() if line.startswith("│")
    ]


def test_query_that_is_refused(data_set: str) -> None:
    """DuckDB's own message says what is wrong with the statement, and where."""
    for sql, parts in (("SELEKT 1", ["syntax error", "SELEKT"]), ("SELECT nope FROM calls", ["nope", "not found"])):
        said = callscribe("query", sql, "--transcripts", data_set)
        assert 2 == said.code
        assert said.err.startswith("error: DuckDB refuses the query: ")
        assert [] == [part for part in ["LINE 1:", *parts] if part not in said.err]
        assert "Traceback" not in said.err


def test_show(data_set: str) -> None:
    """A call is shown with its row and its words, whatever characters are in them."""
    said = callscribe("show", "good", "--transcripts", data_set)
    assert (0, "") == (said.code, said.err)
    assert "[0:01] agent: hello [there] & you" in said.out
    assert "transcribed" in said.out


def test_show_of_an_unknown_call(data_set: str) -> None:
    """A call that is not there is named, with a way to find those that are."""
    assert_one_sentence(callscribe("show", "nobody", "--transcripts", data_set), 2, "'nobody'", "callscribe query")


def test_transcribe_what_is_not_there(tmp_path: Path) -> None:
    """All files that are missing are named before models are loaded."""
    (tmp_path / "there.wav").write_bytes(b"x")
    said = callscribe("transcribe", "there.wav", "gone.wav", "lost.wav", cwd=tmp_path)
    assert_one_sentence(said, 2, "no such file: gone.wav, lost.wav")
    assert ["there.wav"] == [path.name for path in tmp_path.iterdir()]


def test_transcribe_two_of_one_name(tmp_path: Path) -> None:
    """Outputs are named after inputs: two of one name would overwrite each other."""
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "call.wav").write_bytes(b"x")
    said = callscribe("transcribe", "a/call.wav", "b/call.wav", cwd=tmp_path)
    assert_one_sentence(said, 2, "several inputs are called call.wav")


def test_transcribe_many_under_one_id(tmp_path: Path) -> None:
    """One call_id is not given to many files."""
    for name in ("a.wav", "b.wav"):
        (tmp_path / name).write_bytes(b"x")
    said = callscribe("transcribe", "a.wav", "b.wav", "--call-id", "c", cwd=tmp_path)
    assert_one_sentence(said, 2, "--call-id names one call, and 2 files were given")


def test_interrupted(tmp_path: Path) -> None:
    """Ctrl-C ends with code 130 and a sentence, here while a store does not answer."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_ENDPOINT_URL_S3": url}
        command = [str(COMMAND), "query", "SELECT 1", "--transcripts", "s3://bucket/x"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=environment(**keys)) as run:
            connection, _ = silent.accept()
            with connection:
                run.send_signal(signal.SIGINT)
                _, err = run.communicate(timeout=30)
    assert (130, 1) == (run.returncode, len(err.strip().splitlines())), err
    assert "interrupted" in err


def test_json_is_json(data_set: str, tmp_path: Path) -> None:
    """What is written for machines can be read by them: here the report of an evaluation."""
    references = tmp_path / "references"
    references.mkdir()
    (references / "good.stm").write_text("good 1 agent 1.0 2.6 hello there and you\n")
    target = tmp_path / "report.json"
    for place in (str(references), references.as_uri()):
        said = callscribe("evaluate", "--references", place, "--transcripts", data_set, "--json", target)
        assert 0 == said.code, said.err
        assert 1 == json.loads(target.read_text())["total"]["calls"]


@pytest.mark.parametrize("words", [pytest.param(True, marks=pytest.mark.long), False])
def test_a_report_is_a_page_and_tables(data_set: str, tmp_path: Path, words: bool) -> None:
    """For people and for tools; without words where they must not lie."""
    (tmp_path / "good.stm").write_text("good 1 agent 1.0 2.6 hello zarquon and you\n")
    page, folder = tmp_path / "report.html", tmp_path / "new" / "figures"
    options = ["--html", page, "--parquet", folder, *([] if words else ["--no-words"])]
    said = callscribe("evaluate", "--references", tmp_path, "--transcripts", data_set, *options)
    assert 0 == said.code, said.err
    assert {"calls.parquet", "figures.parquet"} == {path.name for path in folder.iterdir()}
    assert words == ("zarquon" in page.read_text())
    assert "Of 100 words that were said" in page.read_text()
