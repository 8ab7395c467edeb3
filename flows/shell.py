"""`callscribe shell`: SQL over the data set, statement after statement, at a prompt or from a pipe.

The history of a session is kept in memory alone: statements may hold what was said, and who said it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from flows.cli_common import ConfigOption, TranscriptsOption, console, errors, transcripts_of
from tasks.errors import CallscribeError, QueryError

if TYPE_CHECKING:
    import duckdb

    from tasks.views import Database

PROMPT, MORE = "callscribe> ", "        ... "
HELP = """\
An SQL statement ends with a semicolon and may go over several lines; DuckDB answers it.
.tables         the views, and what you have made beside them
.schema NAME    the columns of one, and what they mean
.help           this
.quit           leave, as Ctrl-D does; Ctrl-C leaves the statement
says(text, 'cancel my contract') finds a phrase whatever stands between its words; 'cancel*' any ending.
COPY (SELECT ...) TO 'file.csv' writes an answer into a file."""


class Left(Exception):
    """The person wants to leave."""


class Shell:
    """Executes what is typed, line by line.

    Args:
        database: the views.
        out: where answers go.
    """

    def __init__(self, database: Database, out: Console) -> None:
        self._database = database
        self._out = out
        self._typed = ""

    @property
    def is_within(self) -> bool:
        """Whether a statement was begun and not ended."""
        return bool(self._typed.strip())

    def forget(self) -> None:
        """Leave the statement that was begun."""
        self._typed = ""

    def type(self, line: str) -> None:
        """Take one line, and execute what it ends.

        Raises:
            QueryError: DuckDB refuses a statement, or there is no such command.
            Left: the line says so.
        """
        if not self.is_within and line.lstrip().startswith("."):
            self._command(*line.strip().removesuffix(";").split())
            return
        self._typed += f"{line}\n"
        if is_complete(self._typed):
            self.end()

    def end(self) -> None:
        """Execute what was typed, whether it ends with a semicolon or not.

        Raises:
            QueryError: DuckDB refuses a statement.
        """
        typed, self._typed = self._typed, ""
        for statement in statements(typed):
            self._execute(statement)

    def _execute(self, statement: duckdb.Statement) -> None:
        import duckdb

        from flows.console import MAX_ROWS, result_table
        from tasks.query import answer

        names, rows = answer(self._database, statement.query, MAX_ROWS + 1)
        if rows or statement.expected_result_type == [duckdb.ExpectedResultType.QUERY_RESULT]:
            self._out.print(result_table(names, rows, self._out.width))
        else:
            self._out.print("done")

    def _command(self, name: str, *arguments: str) -> None:
        if name in {".quit", ".exit"}:
            raise Left
        if name == ".help":
            self._out.print(HELP, markup=False, highlight=False)
        elif name == ".tables":
            self._tables()
        elif name == ".schema" and len(arguments) == 1:
            self._schema(arguments[0])
        else:
            message = f"there is no command {' '.join((name, *arguments))}; .help says which there are"
            raise QueryError(message)

    def _tables(self) -> None:
        from flows.console import result_table
        from tasks.query import answer
        from tasks.schemas import VIEWS
        from tasks.views import INNER

        meanings = {str(name): text for name, text in VIEWS.items()}
        _, rows = answer(self._database, "SHOW TABLES")
        made = sorted(name for (name,) in rows if name not in {*INNER, *meanings})
        self._out.print(result_table(["name", "meaning"], [*meanings.items(), *((name, "") for name in made)]))

    def _schema(self, name: str) -> None:
        from flows.console import result_table
        from tasks.query import answer
        from tasks.schemas import VIEWS, comments

        quoted = '"' + name.replace('"', '""') + '"'
        _, rows = answer(self._database, f"DESCRIBE {quoted}")
        meaning = next((comments(view) for view in VIEWS if view == name.lower()), {})
        shown = [(column, kind, meaning.get(column, "")) for column, kind, *_ in rows]
        self._out.print(result_table(["column", "type", "meaning"], shown))


def is_complete(text: str) -> bool:
    """Whether a text ends with a semicolon that ends a statement: one in a string or a comment does not.

    >>> [is_complete(text) for text in ("SELECT 1", "SELECT 1;", "SELECT ';", "SELECT 1; -- one", "SELECT 1 -- ;")]
    [False, True, False, True, False]
    """
    import duckdb

    try:
        duckdb.extract_statements(text)
    except duckdb.ParserException as error:
        if "unterminated" in str(error):
            return False
    tokens = duckdb.tokenize(text)
    return bool(tokens) and text[tokens[-1][0]] == ";"


def statements(text: str) -> list[duckdb.Statement]:
    """The statements of a text.

    Raises:
        QueryError: it is no SQL.
    """
    import duckdb

    from tasks.query import explained

    with explained():
        return duckdb.extract_statements(text)


def talk(shell: Shell, ask: Callable[[str], str], out: Console, complaints: Console) -> None:
    """Ask for lines until the person leaves; an error is told, and does not end the session.

    Args:
        shell: what executes them.
        ask: shows a prompt and gives a line; raises EOFError on Ctrl-D.
        out: where answers go.
        complaints: where errors go.
    """
    while True:
        try:
            shell.type(ask(MORE if shell.is_within else PROMPT))
        except (EOFError, Left):
            return
        except KeyboardInterrupt:
            shell.forget()
            out.print("\nleft; Ctrl-D leaves the shell", highlight=False)
        except CallscribeError as error:
            complaints.print(f"[red]error:[/] {escape(error.message)}", highlight=False, soft_wrap=True)


def execute_lines(shell: Shell, lines: Iterable[str]) -> None:
    """Execute the statements of a file or a pipe; the last one may be without a semicolon.

    Raises:
        QueryError: DuckDB refuses one; those after it are not executed.
    """
    try:
        for line in lines:
            shell.type(line.rstrip("\n"))
        shell.end()
    except Left:
        return


def shell(transcripts: TranscriptsOption = None, config: ConfigOption = None) -> None:
    """Answer SQL statements over the data set, one after the other: a prompt, or statements from a pipe.

    The views are calls, utterances, words and runs; `.help` says what else there is. Statements from a pipe end with
    exit code 2 at the first that DuckDB refuses. What is typed is kept in no file.

    Example: `callscribe shell --transcripts s3://transcripts`
    """
    from tasks.views import Database

    with Database(transcripts_of(config, transcripts)) as database:
        session = Shell(database, console)
        if not sys.stdin.isatty():
            execute_lines(session, sys.stdin)
            return
        console.print(f"callscribe shell over {database.uri}; .help for help", markup=False, highlight=False)
        talk(session, _line_editor(), console, errors)
        console.print()


def _line_editor() -> Callable[[str], str]:
    """Python's `input`, with line editing, the history of this session and names on Tab."""
    import readline

    names = sorted(set(_names()))

    def complete(begun: str, state: int) -> str | None:
        found = [name for name in names if name.startswith(begun)]
        return found[state] if state < len(found) else None

    readline.set_completer(complete)
    readline.set_completer_delims(" \t\n,;()='\"")
    readline.parse_and_bind("tab: complete")
    return input


def _names() -> Iterator[str]:
    from tasks.schemas import VIEWS, comments

    yield from (".tables", ".schema", ".help", ".quit", "says(", *VIEWS)
    for view in VIEWS:
        yield from comments(view)
