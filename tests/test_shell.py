"""`callscribe shell`: at a prompt, on a real terminal, and from a pipe."""

import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from queried_months import fill
from rich.console import Console
from test_cli import COMMAND, environment

from flows.shell import Shell, is_complete, talk
from tasks.storage import open_storage
from tasks.views import Database

# Makes its terminal that of the new session, so that Ctrl-C reaches it, and becomes the command.
OWN_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.fixture(scope="module")
def data_set(tmp_path_factory: pytest.TempPathFactory) -> str:
    """URI of the small data set."""
    found = open_storage(tmp_path_factory.mktemp("transcripts").as_uri())
    fill(found)
    return found.uri


def piped(data_set: str, text: str) -> subprocess.CompletedProcess[str]:
    """Give the installed command statements from a pipe."""
    return subprocess.run([str(COMMAND), "shell", "--transcripts", data_set], input=text, capture_output=True,
                          text=True, env=environment(), timeout=120, check=False)  # fmt: skip


class Session:
    """The session of a person who types these lines; `^C` and `^D` are those keys."""

    def __init__(self, data_set: str, *lines: str) -> None:
        self._lines = iter([*lines, "^D"])
        self.prompts: list[str] = []
        out, complaints = Console(width=140, record=True, quiet=False), Console(width=140, record=True)
        with Database(open_storage(data_set)) as database:
            talk(Shell(database, out), self._ask, out, complaints)
        self.out, self.err = out.export_text(), complaints.export_text()

    def _ask(self, prompt: str) -> str:
        self.prompts.append(prompt.strip())
        line = next(self._lines)
        if line == "^C":
            raise KeyboardInterrupt
        if line == "^D":
            raise EOFError
        return line


def test_statements_from_a_pipe(data_set: str) -> None:
    """Statements are executed in their order, over lines and several in one; the last needs no semicolon."""
    said = piped(data_set, "CREATE VIEW few AS SELECT call_id\nFROM calls LIMIT 3; SELECT count(*) AS few FROM few;\n"
                           "SELECT ';' AS semicolon -- and no end;\n")  # fmt: skip
    assert (0, "") == (said.returncode, said.stderr)
    assert ["done", "│ 3   │", "│ ;         │"] == [
        line for line in said.stdout.splitlines() if line.startswith(("done", "│"))
    ]


@pytest.mark.long
def test_the_first_error_ends_a_pipe(data_set: str) -> None:
    """With its sentence and exit code 2; what comes after it is not executed."""
    said = piped(data_set, "SELECT 1 AS one;\nSELECT nope FROM calls;\nSELECT 2 AS two;\n")
    assert 2 == said.returncode
    assert said.stderr.startswith("error: DuckDB refuses the query: ")
    assert ("one" in said.stdout, "two" in said.stdout) == (True, False)
    for text in ("SELEKT 1;", "SELECT 'open", ".nothing"):
        assert 2 == piped(data_set, text).returncode


def test_quitting_a_pipe(data_set: str) -> None:
    """`.quit` ends it well."""
    said = piped(data_set, "SELECT 1;\n.quit\nSELECT nope;\n")
    assert (0, "") == (said.returncode, said.stderr)


def test_an_error_does_not_end_a_session(data_set: str) -> None:
    """It is told, and the next statement is answered."""
    session = Session(data_set, "SELEKT 1;", "SELECT 'after' AS word;")
    assert "syntax error" in session.err
    assert "after" in session.out


def test_a_transaction_that_failed(data_set: str) -> None:
    """It can be ended, and what comes after it is answered."""
    session = Session(data_set, "CREATE TABLE one (x INTEGER PRIMARY KEY);", "BEGIN;", "INSERT INTO one VALUES (1);",
                      "INSERT INTO one VALUES (1);", "SELECT 2;", "ROLLBACK;",
                      "SELECT count(*) + 40 FROM calls;")  # fmt: skip
    assert "│ 50 " in session.out


def test_statements_over_lines(data_set: str) -> None:
    """The prompt says whether a statement was begun; Ctrl-C leaves it, and Ctrl-D the shell."""
    session = Session(data_set, "SELECT 'half", "^C", "SELECT", "'whole' AS word", ";", "^D", "SELECT 'never';")
    assert ["callscribe>", "...", "callscribe>", "...", "...", "callscribe>"] == session.prompts
    assert ("whole" in session.out, "never" in session.out, "") == (True, False, session.err.strip())


def test_commands(data_set: str) -> None:
    """What there is, and what columns mean."""
    session = Session(data_set, "CREATE TABLE mine AS SELECT 1 AS one;", ".tables", ".schema runs", ".schema mine",
                      ".help", ".schema", ".quit", ".tables")  # fmt: skip
    listed = [line.split("│")[1].strip() for line in session.out.splitlines() if line.startswith("│")]
    assert ["1", "calls", "utterances", "words", "changes", "runs", "mine", "number", "kind"] == listed[:9]
    assert "number of the certificate, from 1" in session.out
    assert "COPY (SELECT" in session.out
    assert "no command .schema" in session.err
    assert "calls_files" not in session.out
    assert 7 == len(session.prompts)


def test_a_wide_answer_is_a_list(data_set: str) -> None:
    """More columns than a terminal has room for stand under one another."""
    session = Session(data_set, "SELECT * FROM calls WHERE call_id = 'cancels';")
    lines = [line for line in session.out.splitlines() if "call_id" in line or "pcm_mulaw" in line]
    assert ["│ call_id ", "│ codec "] == [f"{line[: line.index(' ', 2)]} " for line in lines]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT 1", False),
        ("SELECT 1;", True),
        ("SELECT 1;  \n-- said", True),
        ("SELECT 1 -- ;", False),
        ("SELECT /* ; */", False),
        ("SELECT /* ;", False),
        ("SELECT ';", False),
        ("SELECT 1; SELECT '", False),
        ('SELECT ";', False),
        ("SELECT $$ ;", False),
        ("SELECT $$ ; $$;", True),
        ("SELEKT;", True),
        ("", False),
        (";", True),
    ],
)
def test_where_a_statement_ends(text: str, *, expected: bool) -> None:
    """At a semicolon that is in no string and no comment."""
    assert expected == is_complete(text)


class Terminal:
    """The installed command on a terminal of its own."""

    def __init__(self, data_set: str, home: Path) -> None:
        self._main, child = pty.openpty()
        given = environment(HOME=str(home), TERM="dumb", PYTHONUNBUFFERED="1")
        command = [sys.executable, "-c", OWN_TERMINAL, str(COMMAND), "shell", "--transcripts", data_set]
        self.process = subprocess.Popen(
            command, stdin=child, stdout=child, stderr=child, env=given, cwd=home, start_new_session=True
        )
        os.close(child)
        self.read = ""

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._main, text.encode())

    def wait_for(self, text: str) -> None:
        """Read what is shown until this is."""
        while text not in self.read:
            assert select.select([self._main], [], [], 60)[0], self.read
            try:
                self.read += os.read(self._main, 65536).decode(errors="replace")
            except OSError:  # the other side is closed
                pytest.fail(f"{text!r} is not in {self.read!r}")
        self.read = self.read.split(text, 1)[1]

    def close(self) -> None:
        """End what is left of it."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        os.close(self._main)


@pytest.fixture
def terminal(data_set: str, tmp_path: Path) -> Iterator[Terminal]:
    """A terminal with the shell on it, in an empty home."""
    found = Terminal(data_set, tmp_path)
    yield found
    found.close()


@pytest.mark.skipif(sys.platform != "linux", reason="a terminal of Linux")
def test_on_a_terminal(terminal: Terminal, tmp_path: Path) -> None:
    """A prompt, a history to go back in, Ctrl-C for a statement under way, Ctrl-D to leave; and no file is left."""
    terminal.wait_for("callscribe> ")
    terminal.type("SELECT upper('zarquonflute') AS word;\n")
    terminal.wait_for("ZARQUONFLUTE")
    terminal.wait_for("callscribe> ")
    terminal.type("\x10")  # the line before
    terminal.wait_for("zarquonflute")
    terminal.type("\n")
    terminal.wait_for("ZARQUONFLUTE")
    terminal.wait_for("callscribe> ")
    terminal.type("SELECT count(*) FROM range(1000000000) AS a, range(1000) AS b WHERE hash(a.range, b.range) = 3;\n")
    time.sleep(1.5)
    terminal.type("\x03")
    terminal.wait_for("left; Ctrl-D leaves the shell")
    terminal.wait_for("callscribe> ")
    terminal.type("SELECT 40 + 2 AS still;\n")
    terminal.wait_for("42")
    terminal.wait_for("callscribe> ")
    terminal.type("\x04")
    assert 0 == terminal.process.wait(timeout=30)
    assert [] == [path for path in tmp_path.rglob("*") if path.is_file() and b"zarquon" in path.read_bytes().lower()]
