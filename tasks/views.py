"""DuckDB over the data set where it lies: the views `calls`, `utterances`, `words` and `runs`, and the macro `says`.

Files are read in one of two ways. DuckDB itself reads folders, and S3 where its extension httpfs is there: installed
for DuckDB, or as the package `duckdb-extension-httpfs`. Nothing is ever downloaded for that; where it is not there,
S3 is read through pyarrow, to which DuckDB hands columns and filters. Both find columns by name, so that files of older
code show nulls, and open only the files of the months that a query names.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from tasks.certified_runs import read_runs
from tasks.errors import QueryError
from tasks.schemas import RUNS, SCHEMAS
from tasks.shards import Table, may_hold
from tasks.storage import DirectAccess, FolderAccess, S3Access, Storage
from tasks.tables import open_table, table_of

if TYPE_CHECKING:
    import duckdb

Reader = Literal["duckdb", "pyarrow"]
INNER = frozenset({"certificates", *(f"{name}_{kind}" for name in SCHEMAS for kind in ("files", "read"))})
"""What the views are made of; nothing to ask."""

# So long a list of files is good for: shards are rewritten under their names, and new ones are seldom.
LISTED_FOR_S = 60.0

_ENDS_TRANSACTION = re.compile(r"\s*(rollback|abort|commit|end)\b", re.IGNORECASE)

# A bare read of `utterances` may for moments see superseded rows; the join on transcript_id never does.
_VIEWS = """
CREATE VIEW calls AS SELECT * FROM calls_files;
CREATE VIEW utterances AS
    SELECT u.* FROM utterances_files AS u SEMI JOIN calls_files AS c USING (transcript_id);
CREATE VIEW changes AS SELECT * FROM changes_files;
CREATE VIEW words AS
    SELECT call_id, transcript_id, "index" AS utterance, speaker, channel,
           w.text AS text, w.start AS start, w."end" AS "end", w.probability AS probability, w.overlap AS overlap, month
    FROM (SELECT *, unnest(words) AS w FROM utterances);
CREATE VIEW runs AS SELECT * FROM certificates;
"""

# A phrase as a regular expression: its words in order, with anything but letters and digits between them, around which
# no word goes on. `*` at the end of a word is any ending. Without any word it is null, which matches nothing: an error
# would keep DuckDB from making the expression once, and it would make it anew for every row. The words alone are looked
# for first, because an expression that begins with a letter is found in half the time.
_SAYS = r"""
CREATE MACRO phrase_words(phrase) AS
    CASE WHEN regexp_matches(phrase, '[\p{L}\p{N}]') THEN
        '(?i)' || replace(
            replace(trim(regexp_replace(phrase, '[^\p{L}\p{M}\p{N}*]+', ' ', 'g')), ' ', '[^\p{L}\p{M}\p{N}]+'),
            '*', '[\p{L}\p{M}\p{N}]*')
    END;
CREATE MACRO phrase_pattern(phrase) AS
    '(?i)(?:^|[^\p{L}\p{M}\p{N}])' || substr(phrase_words(phrase), 5) || '(?:$|[^\p{L}\p{M}\p{N}])';
CREATE MACRO says(text, phrase) AS
    regexp_matches(text, phrase_words(phrase)) AND regexp_matches(text, phrase_pattern(phrase));
"""


class Database:
    """An in-memory DuckDB whose views read a data set where it lies; each statement sees it as it is then.

    Args:
        storage: the data set.
        call_id: look only into files that may hold this call.
        reader: who reads the files; found out when left out.

    Raises:
        StorageRefused: the data set cannot be reached.
        QueryError: DuckDB is to read S3, and has no httpfs.
    """

    def __init__(self, storage: Storage, call_id: str | None = None, reader: Reader | None = None) -> None:
        import duckdb

        storage.check()
        self.uri = storage.uri
        self._storage = storage
        self._call_id = call_id
        self._keys: dict[Table, list[str]] = {}
        self._listed_at = -LISTED_FOR_S
        self._shows_runs = False
        # Nothing is downloaded behind anybody's back.
        self.connection = duckdb.connect(
            config={"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
        )
        self.connection.execute("SET TimeZone = 'UTC'")
        self.reader: Reader = reader or choose_reader(storage.direct_access(), self.connection)
        if self.reader == "duckdb" and isinstance(storage.direct_access(), S3Access):
            load_httpfs(self.connection)
        self._types = self._column_types()
        self.connection.register("certificates", table_of([], RUNS))
        self._show_files()
        self.connection.execute(_VIEWS + _SAYS)

    def __enter__(self) -> Self:
        """Give the database itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.connection.close()

    def execute(self, sql: str, parameters: object = None) -> duckdb.DuckDBPyConnection:
        """Begin a statement, which sees the files and certificates that are there now.

        Raises:
            duckdb.Error: DuckDB refuses it.
            QueryError: a certificate is damaged.
        """
        if _ENDS_TRANSACTION.match(sql):  # one that failed takes nothing but its end
            return self.connection.execute(sql, parameters)
        self._show_files()
        # Certificates are many small objects: they are read for who asks for them, and for what was made of them.
        self._shows_runs = self._shows_runs or bool(re.search(r"\bruns\b", sql, re.IGNORECASE))
        if self._shows_runs:
            self.connection.register("certificates", table_of(read_runs(self._storage), RUNS))
        return self.connection.execute(sql, parameters)

    def _show_files(self) -> None:
        """Put the files, and the credentials of the moment, behind the views.

        That is done for each statement, because pyarrow keeps what it once read of a file's end.
        """
        if not self._keys or time.monotonic() - self._listed_at > LISTED_FOR_S:
            self._keys = {name: self._list(name) for name in SCHEMAS}
            self._listed_at = time.monotonic()
        access = self._storage.direct_access()
        if self.reader == "duckdb" and isinstance(access, S3Access):
            use_credentials(self.connection, access)
        for name in SCHEMAS:
            if self.reader == "duckdb" and self._keys[name]:
                paths = [f"{_root(access)}/{key}" for key in self._keys[name]]
                self.connection.execute(_files_view(name, paths, self._types[name]))
            else:
                self.connection.register(f"{name}_read", open_table(access, name, self._keys[name]))
                self.connection.execute(f"CREATE OR REPLACE VIEW {name}_files AS FROM {name}_read")

    def _list(self, name: Table) -> list[str]:
        keys = (info.key for info in self._storage.list(f"{name}/") if info.key.endswith(".parquet"))
        return sorted(key for key in keys if self._call_id is None or may_hold(key, self._call_id))

    def _column_types(self) -> dict[Table, list[tuple[str, str]]]:
        """Of each table, its columns and DuckDB's types for them."""
        found: dict[Table, list[tuple[str, str]]] = {}
        for name in SCHEMAS:
            self.connection.register("nothing", table_of([], SCHEMAS[name]))
            found[name] = [row[:2] for row in self.connection.execute("DESCRIBE nothing").fetchall()]
            self.connection.unregister("nothing")
        return found


def choose_reader(access: DirectAccess, connection: duckdb.DuckDBPyConnection) -> Reader:
    """Who reads the files: DuckDB where it can, which is quicker and reads less; else pyarrow."""
    if re.search(r"[*?\[\]]", _root(access)):  # DuckDB would take it for a pattern
        return "pyarrow"
    if isinstance(access, FolderAccess):
        return "duckdb"
    try:
        load_httpfs(connection)
    except QueryError:
        return "pyarrow"
    return "duckdb"


def load_httpfs(connection: duckdb.DuckDBPyConnection) -> None:
    """Load DuckDB's extension for S3, where it is on this machine.

    Raises:
        QueryError: it is not.
    """
    import duckdb

    for sql in ("LOAD httpfs", *(f"LOAD {_quoted(str(file))}" for file in _packaged_httpfs(connection))):
        try:
            connection.execute(sql)
        except duckdb.Error:
            continue
        return
    message = f"DuckDB {duckdb.__version__} has no extension httpfs here; the package duckdb-extension-httpfs brings it"
    raise QueryError(message)


def use_credentials(connection: duckdb.DuckDBPyConnection, access: S3Access) -> None:
    """Tell httpfs how to reach a bucket.

    Raises:
        QueryError: it does not take that.
    """
    import duckdb

    options = {
        "KEY_ID": access.access_key,
        "SECRET": access.secret_key,
        "SESSION_TOKEN": access.session_token,
        "REGION": access.region,
        "ENDPOINT": access.endpoint,
        "URL_STYLE": "path" if access.path_style else "vhost",
        "SCOPE": f"s3://{access.bucket}",
    }
    given = "".join(f", {name} {_quoted(value)}" for name, value in options.items() if value is not None)
    use_ssl = "true" if access.scheme == "https" else "false"
    try:
        connection.execute(f"CREATE OR REPLACE SECRET callscribe (TYPE s3, USE_SSL {use_ssl}{given})")
        if access.ca_bundle:
            connection.execute(f"SET ca_cert_file = {_quoted(access.ca_bundle)}")
            connection.execute("SET enable_server_cert_verification = true")
    except duckdb.Error:
        # Without DuckDB's own message, which may hold the statement and so the key.
        message = f"DuckDB's extension httpfs does not take the credentials or the endpoint of s3://{access.bucket}"
        raise QueryError(message) from None


def _packaged_httpfs(connection: duckdb.DuckDBPyConnection) -> Iterable[Path]:
    """The file of the extension in the package `duckdb-extension-httpfs`, where that is installed."""
    package = find_spec("duckdb_extension_httpfs")
    versions = connection.execute("SELECT library_version FROM pragma_version()").fetchall()
    for folder in (package.submodule_search_locations or ()) if package else ():
        yield Path(folder) / "extensions" / versions[0][0] / "httpfs.duckdb_extension"


def _root(access: DirectAccess) -> str:
    if isinstance(access, FolderAccess):
        return str(access.folder)
    return f"s3://{access.bucket}/{access.prefix}".rstrip("/")


def _files_view(name: Table, paths: Sequence[str], types: Sequence[tuple[str, str]]) -> str:
    """SQL: the files of a table by DuckDB's own reader, which takes columns that a file lacks for null."""
    columns = ", ".join(
        f"{_quoted(column)}: {{name: {_quoted(column)}, type: {_quoted(kind)}, default_value: NULL}}"
        for column, kind in types
    )
    files = ", ".join(map(_quoted, paths))
    selected = "* EXCLUDE (filename), regexp_extract(filename, '/month=([^/]+)/[^/]+$', 1) AS month"
    read = f"read_parquet([{files}], schema = MAP {{{columns}}}, filename = true, hive_partitioning = false)"
    return f"CREATE OR REPLACE VIEW {name}_files AS SELECT {selected} FROM {read}"  # noqa: S608  # names are quoted


def _quoted(text: str) -> str:
    """An SQL string."""
    return "'" + text.replace("'", "''") + "'"
