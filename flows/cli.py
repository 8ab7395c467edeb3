"""The `callscribe` command: parse, call, print. The one place where an error becomes a sentence and an exit code.

Exit codes: 0 done; 1 unexpected error; 2 wrong usage, setting or query; 3 done, and some calls failed; 4 storage;
5 model bundle; 6 device; 7 a run that cannot account for every object; 8 another run over the month is under way;
9 a data set that is not as it was certified; 10 a call under legal hold; 11 a run at the end of its budget;
12 a fallback recogniser that refuses us; 13 a gate that is not passed; 14 a run that must show a passed gate, and
cannot; 130 interrupted.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings
from collections.abc import Iterator
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from flows.cli_cluster import reconcile
from flows.cli_common import (
    EXIT_SOME_CALLS_FAILED,
    BundleOption,
    ConfigOption,
    DeviceOption,
    LanguageOption,
    TranscriptsOption,
    console,
    errors,
    transcripts_of,
    writing,
)
from flows.cli_compare import compare
from flows.cli_evaluation import evaluate
from flows.cli_gate import gate
from flows.cli_metrics import metrics
from flows.cli_records import erase, hold_app, mend, retain, verify
from flows.cli_runs import backfill, plan, run
from flows.cli_sample import sample_app
from flows.shell import shell
from tasks.errors import CallscribeError, StorageUnavailable, UsageError
from tasks.logs import configure_logs
from tasks.setting_groups import LogSettings
from tasks.settings import hub_access, load_settings, quieten_terminal, restart_with_huge_pages

EXIT_STORAGE = 4
EXIT_INTERRUPTED = 130
COMMANDS_WITH_MODELS = frozenset({"transcribe", "run", "backfill", "demo"})

app = typer.Typer(
    help="Turn an archive of recorded telephone calls into Parquet transcripts, and measure how good they are.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
models_app = typer.Typer(help="Pull and list model bundles.", no_args_is_help=True, rich_markup_mode="markdown")
app.add_typer(models_app, name="models")
app.add_typer(hold_app, name="hold")
app.add_typer(sample_app, name="sample")


class Format(StrEnum):
    """What `callscribe transcribe` can write."""

    txt = "txt"
    json = "json"
    srt = "srt"
    vtt = "vtt"
    stm = "stm"
    rttm = "rttm"
    parquet = "parquet"


@app.command()
def transcribe(
    files: Annotated[list[Path], typer.Argument(help="Recordings in any format.", metavar="FILE...")],
    out: Annotated[Path, typer.Option(help="Folder for the outputs.")] = Path(),
    format_: Annotated[Format, typer.Option("--format", help="What to write.")] = Format.txt,
    call_id: Annotated[str | None, typer.Option(help="Call id of a single FILE; else its stem.")] = None,
    language: LanguageOption = None,
    speakers: Annotated[int | None, typer.Option(help="How many people speak, when known.", min=1)] = None,
    bundle: BundleOption = None,
    device: DeviceOption = None,
    config: ConfigOption = None,
) -> None:
    """Transcribe local recordings; one output per input, named after the whole input (`call.wav` → `call.wav.txt`).

    Example: `callscribe transcribe call-1.wav call-2.mp3 --out transcripts --format json`
    """
    from flows.export import render
    from tasks.local import local_calls, transcribe_files
    from tasks.models import load_models

    overrides: dict[str, dict[str, Any]] = {
        "archive": {"language": language, "speakers": speakers},
        "models": {"bundle": bundle, "device": device},
    }
    settings = load_settings(config, overrides)
    calls = local_calls(files, call_id, settings)
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    failed = 0
    with errors.status("loading models"):
        models = load_models(settings.models, settings.recognizer, settings.diarization, settings.fallback)
    with errors.status("transcribing") as status:
        results = transcribe_files(calls, models, settings)
        for number, (call, rows) in enumerate(zip(calls, results, strict=True), start=1):
            status.update(f"transcribing ({number} of {len(calls)} done)")
            target = out / f"{Path(call.key).name}.{format_}"
            row = rows.call
            if row["outcome"] == "failed":
                failed += 1
                errors.print(f"[red]failed[/] {escape(call.key)}: {row['error_code']}: {escape(row['error'])}")
                continue
            content = render(rows, format_)
            with writing(target):
                target.write_bytes(content)
            note = "no speech" if row["outcome"] == "no_speech" else f"{len(rows.utterances)} utterances"
            errors.print(f"[green]{escape(str(target))}[/]  {row['duration_s']:.0f} s of audio, {note}")
            if format_ is Format.txt:
                console.print(content.decode(), markup=False, highlight=False, end="")
    if failed:
        raise typer.Exit(EXIT_SOME_CALLS_FAILED)


app.command()(run)
app.command()(plan)
app.command()(backfill)


@app.command()
def query(
    sql: Annotated[str, typer.Argument(help="One SQL statement over the views calls, utterances, words and runs.")],
    transcripts: TranscriptsOption = None,
    config: ConfigOption = None,
) -> None:
    """Answer an SQL query over the data set with DuckDB.

    Example: `callscribe query "SELECT outcome, count(*) FROM calls GROUP BY outcome" --transcripts s3://transcripts`
    """
    from flows.console import MAX_ROWS, result_table
    from tasks.query import run_query

    names, rows = run_query(transcripts_of(config, transcripts), sql, MAX_ROWS + 1)
    console.print(result_table(names, rows, console.width))


app.command()(shell)
app.command()(verify)
app.command()(mend)
app.command()(erase)
app.command()(retain)
app.command()(reconcile)
app.command()(metrics)


@app.command()
def show(
    call_id: Annotated[str, typer.Argument(help="The call.")],
    transcripts: TranscriptsOption = None,
    config: ConfigOption = None,
) -> None:
    """Print one call: its row, and its transcript.

    Example: `callscribe show demo-0002 --transcripts s3://transcripts`
    """
    from flows.console import call_table
    from flows.export import readable
    from tasks.query import read_transcript

    row, utterances = read_transcript(transcripts_of(config, transcripts), call_id)
    console.print(call_table(row))
    console.print(readable(utterances), markup=False, highlight=False, end="")


app.command()(evaluate)
app.command()(compare)
app.command()(gate)


@models_app.command("pull")
def models_pull(
    name: Annotated[str, typer.Argument(help="`starter` or `production`.")],
    *,
    force: Annotated[bool, typer.Option("--force", help="Build it anew even where it is there.")] = False,
    config: ConfigOption = None,
) -> None:
    """Fetch a model bundle, check every file against its pinned digest, and keep it.

    `production` comes from the Hugging Face hub and needs HF_TOKEN, of an account that accepted the conditions of
    pyannote/speaker-diarization-community-1.

    Example: `callscribe models pull starter`
    """
    from tasks.bundle_sources import builder
    from tasks.bundles import pull_bundle

    settings = load_settings(config)
    build = builder(name, hub_access())
    with errors.status(f"pulling {name}"):
        bundle, built = pull_bundle(
            settings.models.folder, name, build, lambda text: errors.print(escape(text)), anew=force
        )
    what = "pulled" if built else "already there, every file checked"
    console.print(f"{name}: {what}; {bundle.manifest.bytes / 1e6:,.0f} MB, digest {bundle.digest[:16]}")


@models_app.command("list")
def models_list(config: ConfigOption = None) -> None:
    """List the known model bundles and whether each is here and whole.

    Example: `callscribe models list`
    """
    from flows.console import result_table
    from tasks.bundle_sources import KNOWN
    from tasks.bundles import bundle_state

    settings = load_settings(config)
    rows = [(name, bundle_state(settings.models.folder, name), text) for name, text in KNOWN.items()]
    console.print(result_table(["bundle", "state", "what"], rows))


@app.command()
def check(
    archive: Annotated[str | None, typer.Option(help="URI of the archive to check.", show_default=False)] = None,
    transcripts: TranscriptsOption = None,
    bundle: BundleOption = None,
    device: DeviceOption = None,
    config: ConfigOption = None,
) -> None:
    """Check settings, versions, device, models and storage; say what is wrong and how to mend it.

    Example: `callscribe check --archive s3://calls --transcripts s3://transcripts --device cuda`
    """
    from flows.check import run_checks

    overrides = {
        "archive": {"uri": archive},
        "transcripts": {"uri": transcripts},
        "models": {"bundle": bundle, "device": device},
        "run": {"devices": None if device is None else ""},
    }
    settings = load_settings(config, overrides)
    worst: UsageError | StorageUnavailable | None = None
    for result in run_checks(settings):
        mark = "[green]ok[/]   " if result.error is None else "[red]wrong[/]"
        console.print(f"{mark} {result.name:<12} {escape(result.text)}", soft_wrap=not console.is_terminal)
        worst = worst or result.error
    if worst is not None:
        raise typer.Exit(_exit_code(worst))


@app.command()
def demo(
    folder: Annotated[Path, typer.Option(help="Where the demo keeps its buckets.")] = Path(".callscribe/demo"),
) -> None:
    """Run everything once for real: an S3 server, nine calls, models, Prefect, Parquet, SQL and scores.

    Example: `callscribe demo`
    """
    from flows.demo import run_demo

    run_demo(folder, console)


def main() -> None:
    """Entry point of the `callscribe` command."""
    if sys.argv[1:2] and sys.argv[1] in COMMANDS_WITH_MODELS:
        restart_with_huge_pages()
    _begin_logs(sys.argv[1:])
    code = 0
    with _explained() as failure:
        result = app(standalone_mode=False)
        code = result if isinstance(result, int) else 0
        if code == EXIT_INTERRUPTED:  # typer has made this of Ctrl-C, and says nothing
            raise KeyboardInterrupt
    sys.exit(failure[0] if failure else code)


def _begin_logs(arguments: list[str]) -> None:
    """Write logs as the settings say that these arguments name; what is wrong with them, the command itself says."""
    config = next((value for name, value in pairwise(arguments) if name == "--config"), None)
    config = next((item.partition("=")[2] for item in arguments if item.startswith("--config=")), config)
    logs = LogSettings()
    with contextlib.suppress(CallscribeError):
        logs = load_settings(Path(config) if config else None).logs
    if logs.format == "text":
        # The terminal is for progress and results.
        warnings.filterwarnings("ignore")
        logging.getLogger("faster_whisper").setLevel(logging.ERROR)
    quieten_terminal(log=logs.format == "json")
    configure_logs(logs)


@contextlib.contextmanager
def _explained() -> Iterator[list[int]]:
    """Turn whatever is raised on purpose into one sentence on stderr and an exit code."""
    exit_code: list[int] = []
    try:
        yield exit_code
    except typer.TyperException as error:
        if message := error.format_message().rstrip("."):  # without any argument, the help was printed instead
            errors.print(f"[red]error:[/] {escape(message)}; see `callscribe --help`", highlight=False, soft_wrap=True)
        exit_code.append(error.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        errors.print("interrupted; what was committed stands, and the next run goes on from there", soft_wrap=True)
        exit_code.append(EXIT_INTERRUPTED)
    except CallscribeError as error:
        errors.print(f"[red]error:[/] {escape(error.message)}", highlight=False, soft_wrap=True)
        exit_code.append(_exit_code(error))


def _exit_code(error: CallscribeError) -> int:
    if isinstance(error, UsageError):
        return error.exit_code
    return EXIT_STORAGE if isinstance(error, StorageUnavailable) else 1
