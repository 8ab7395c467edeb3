"""`callscribe demo`: everything once, for real, on one machine and without the outside world."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from flows.console import pairs_table, result_table
from flows.export import readable
from flows.s3_server import LocalS3Server
from tasks.errors import UsageError
from tasks.setting_groups import StorageSettings
from tasks.settings import load_settings
from tasks.storage import Storage, open_storage

SETS = Path(__file__).resolve().parent.parent / "evaluation" / "sets" / "demo"
MONTH = "2026-10"
ARCHIVE = "s3://demo-archive"
TRANSCRIPTS = "s3://demo-transcripts"
SHOWN_CALL = "demo-0002"
SAMPLE_ID = "pyannote-sample"
SAMPLE_KEY = f"2026/10/21/{SAMPLE_ID}.wav"

QUERY = """\
SELECT c.call_id, c.codec, c.channel_layout AS layout, c.outcome, round(c.duration_s) AS seconds,
       c.words, round(c.confidence, 2) AS confidence, c.interruptions, c.error_code
FROM calls AS c ORDER BY c.call_id"""


def run_demo(folder: Path, console: Console) -> None:
    """Put the demo archive on a real S3 server, transcribe its month, and show what came out.

    Args:
        folder: keeps the server's data and the references from one demo to the next.
        console: where to show it.

    Raises:
        UsageError: the demo archive is not there (it ships with the source), or a part of the machinery is.
    """
    if not (SETS / "archive").is_dir():
        message = "the demo archive comes with the source: clone the repository and run `make demo` in it"
        raise UsageError(message)
    folder.mkdir(parents=True, exist_ok=True)
    buckets = [_bucket(ARCHIVE), _bucket(TRANSCRIPTS)]
    with LocalS3Server(folder / "s3", buckets=buckets) as server, _environment(server.environment(), folder):
        _show(folder, server.endpoint_url, console)


def _show(folder: Path, endpoint_url: str, console: Console) -> None:
    # Imported here: everything that reads the environment must see the demo's.
    from evaluation.report import missed_line, report_table
    from evaluation.scoring import score_dataset
    from flows.cli_runs import run_month
    from tasks.bundle_sources import builder
    from tasks.bundles import pull_bundle
    from tasks.query import read_transcript, run_query

    settings = load_settings()
    console.rule("models")
    with console.status("pulling the starter bundle"):
        bundle, built = pull_bundle(
            settings.models.folder, "starter", builder("starter"), lambda text: console.print(escape(text))
        )
    console.print(f"starter bundle {'pulled' if built else 'there, every file checked'}: digest {bundle.digest[:16]}")

    console.rule("archive")
    options = StorageSettings(endpoint_url=endpoint_url).options()
    put = _fill_archive(open_storage(ARCHIVE, options))
    console.print(f"SeaweedFS on {endpoint_url}; {put} recordings put into {ARCHIVE}, month {MONTH}")

    console.rule("run")
    overrides = {"archive": {"uri": ARCHIVE}, "transcripts": {"uri": TRANSCRIPTS}}
    run_month(MONTH, None, overrides)

    transcripts = open_storage(TRANSCRIPTS, options)
    console.rule(f"transcript of {SHOWN_CALL}")
    call, utterances = read_transcript(transcripts, SHOWN_CALL)
    talk = ", ".join(f"{speaker} {seconds:.0f} s" for speaker, seconds in call["talk_s"])
    console.print(readable(utterances), markup=False, highlight=False, end="")
    console.print(f"[dim]talk: {escape(talk)}; {call['interruptions']} interruptions[/]")

    console.rule("SQL over the data set")
    console.print(QUERY, markup=False, highlight=False)
    console.print(result_table(*run_query(transcripts, QUERY)))

    console.rule("scores")
    report = score_dataset(_references(folder), transcripts)
    console.print(report_table(report))
    console.print(missed_line(report), markup=False, highlight=False)
    target = folder / "report.json"
    target.write_text(report.to_json(), encoding="utf-8")
    tables = sum(1 for info in transcripts.list() if info.key.endswith(".parquet") and not info.key.startswith("_"))
    console.print(
        pairs_table(
            [
                ("tables", f"{TRANSCRIPTS}: {tables} Parquet files, kept in {folder / 's3'}"),
                ("scores", str(target)),
                ("again", "`make demo` finds everything done; remove the folder above to start over"),
            ],
        )
    )


def _fill_archive(storage: Storage) -> int:
    """Put every recording that is not there yet, and pyannote's packaged sample; returns how many were put."""
    there = {info.key: info.size_bytes for info in storage.list()}
    put = 0
    recordings = {path.relative_to(SETS / "archive").as_posix(): path for path in _files(SETS / "archive")}
    for key, path in {**recordings, SAMPLE_KEY: sample_folder() / "sample.wav"}.items():
        if there.get(key) != path.stat().st_size:
            storage.put(key, path.read_bytes())
            put += 1
    return put


def _references(folder: Path) -> Path:
    """A folder with the references of the demo calls and of pyannote's sample, under the sample's call_id."""
    target = folder / "references"
    target.mkdir(exist_ok=True)
    for path in _files(SETS / "references"):
        (target / path.name).write_bytes(path.read_bytes())
    for ending in ("stm", "rttm"):
        text = (sample_folder() / f"sample.{ending}").read_text(encoding="utf-8")
        renamed = "\n".join(line.replace("sample", SAMPLE_ID, 1) for line in text.splitlines())
        (target / f"{SAMPLE_ID}.{ending}").write_text(f"{renamed}\n", encoding="utf-8")
    return target


def sample_folder() -> Path:
    """Where pyannote.audio keeps its sample: a real telephone call with its references."""
    spec = importlib.util.find_spec("pyannote.audio")
    if spec is None or spec.origin is None:
        message = "pyannote.audio is not installed"
        raise UsageError(message)
    return Path(spec.origin).parent / "sample"


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _bucket(uri: str) -> str:
    return uri.removeprefix("s3://")


@contextmanager
def _environment(server: dict[str, str], folder: Path) -> Iterator[None]:
    """The demo's own world: its S3 server and keys, its Prefect home, and no settings of the user's."""
    before = dict(os.environ)
    for name in before:
        if name.startswith(("CALLSCRIBE_", "AWS_", "PREFECT_API")) and name != "CALLSCRIBE_MODELS__FOLDER":
            del os.environ[name]
    os.environ.update(server)
    no_settings = folder / "callscribe.toml"
    no_settings.touch()
    os.environ["CALLSCRIBE_CONFIG"] = str(no_settings.absolute())
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), "127.0.0.1", "localhost"]))
    os.environ["PREFECT_HOME"] = str((folder / "prefect").absolute())
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
