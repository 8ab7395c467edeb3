"""The command that says whether transcripts are right enough: `gate`."""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from flows.cli_common import (
    BundleOption,
    ConfigOption,
    DeviceOption,
    TranscriptsOption,
    console,
    errors,
    read_text,
    writing,
)
from flows.cli_set import opened_set, transcribed
from tasks.errors import GateFailed, SettingsError

if TYPE_CHECKING:
    from evaluation.gate import Ruling
    from tasks.gates import Verdict
    from tasks.settings import Settings
    from tasks.storage import Storage


def gate(  # noqa: PLR0913  # its options
    set_place: Annotated[str, typer.Argument(metavar="SET", help="Evaluation set: a folder, or URI of one.")],
    *,
    gate_file: Annotated[Path, typer.Option("--gate", help="Thresholds and rules (TOML); docs/evaluation.md.")],
    accept: Annotated[
        bool,
        typer.Option(
            "--accept", help="When passed, keep it in the data set: what runs show, and the next is held against."
        ),
    ] = False,
    anew: Annotated[
        bool, typer.Option("--anew", help="Hold nothing against the run that was accepted last: the set has changed.")
    ] = False,
    by: Annotated[str | None, typer.Option(help="Who accepts it; the user of this machine when left out.")] = None,
    notes: Annotated[str, typer.Option(help="Why, for whoever reads it later.")] = "",
    transcripts: TranscriptsOption = None,
    bundle: BundleOption = None,
    device: DeviceOption = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the verdict here too.")] = None,
    config: ConfigOption = None,
) -> None:
    """Say whether the transcripts of an evaluation set are right enough; exit code 13 where they are not.

    The set is transcribed with the settings and models of a run (what was transcribed before is read), and held
    against the rules of the gate file:

    `[[threshold]]` with `measure = "entity_recall.money"`, `min = 0.95`, `confident = true`, `calls = 20`

    `[[no_slice_worse]]` with `measure = "wer"`, `points = 2`, `significant = true`

    What is accepted is kept in the data set (--transcripts) and never written over. With `gate.required = true`, runs
    and backfills only begin with a bundle and settings that were accepted.

    Example: `callscribe gate sets/bank --gate gate.toml`

    Example: `callscribe gate s3://sets/bank --gate gate.toml --accept --notes "large-v3" --transcripts s3://transcripts`
    """
    from evaluation.accepted import accepted_before, counts_of, verdict_of
    from evaluation.gate import judge
    from evaluation.gate_rules import parse_gate
    from evaluation.scoring import score_evaluation_set
    from tasks.gates import keep_verdict
    from tasks.run_models import fingerprints_of
    from tasks.settings import load_settings

    settings = load_settings(
        config, {"transcripts": {"uri": transcripts}, "models": {"bundle": bundle, "device": device}}
    )
    text = read_text(gate_file)
    rules = parse_gate(text, str(gate_file))
    place = _data_set(settings)
    if accept and place is None:
        message = "--accept keeps the verdict in the data set: give --transcripts, or set transcripts.uri"
        raise SettingsError(message)
    if rules.no_slice_worse and place is None and not anew:
        message = (
            f"{gate_file} compares with the run that was accepted last, which lies in the data set: give "
            "--transcripts, or set transcripts.uri; or compare nothing with --anew"
        )
        raise SettingsError(message)
    known = opened_set(set_place, settings)
    made = transcribed(known, settings)
    report = score_evaluation_set(known, made)
    calls = report.score.calls
    before = accepted_before(place, rules, known, calls) if place and rules.no_slice_worse and not anew else None
    rulings = judge(rules, calls, before)
    verdict = verdict_of(
        known,
        report,
        rules,
        rulings,
        fingerprints_of(settings),
        [one.call for one in made.values()],
        gate_text=text,
        accepted_by=by or _user(),
        notes=notes,
    )
    if accept and verdict.passed and place is not None:
        verdict = keep_verdict(place, verdict, counts_of(calls))
    _say(rulings, verdict, place)
    if json_file is not None:
        with writing(json_file):
            json_file.write_text(verdict.to_json(), encoding="utf-8")
        errors.print(f"verdict written to {escape(str(json_file))}")
    if not verdict.passed:
        failed = [one for one in rulings if not one.passed]
        message = (
            f"{len(failed)} of {len(rulings)} rules of {gate_file} do not hold: {failed[0].rule}: {failed[0].reason}"
        )
        raise GateFailed(f"{message}{'; nothing is accepted' if accept else ''}")


def _say(rulings: Sequence[Ruling], verdict: Verdict, place: Storage | None) -> None:
    """What came of each rule, with which models, and where it is kept."""
    from tasks.gates import verdict_key

    for one in rulings:
        mark = "[green]holds[/]" if one.passed else "[red]fails[/]"
        console.print(f"{mark}  {escape(one.rule)}: {escape(one.reason)}", highlight=False, soft_wrap=True)
    speed = verdict.figures.get("rtfx", {}).get("value")
    on = ", ".join([*verdict.devices, verdict.compute_type]).strip(", ")
    told = f", RTFx {speed:.1f}" if speed else ""
    console.print(
        f"{verdict.set}: {verdict.calls} calls with {verdict.bundle} {verdict.bundle_digest[:12]}, settings "
        f"{verdict.fingerprint}, on {on}{told}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    if verdict.number and place is not None:
        where = place.object_uri(verdict_key(verdict.set, verdict.number))
        console.print(f"passed, and accepted as number {verdict.number}: {where}", markup=False, soft_wrap=True)
    elif verdict.passed:
        console.print("passed; nothing is kept without --accept")


def _data_set(settings: Settings) -> Storage | None:
    """Where the data set lies; None where no setting says it."""
    from tasks.storage import open_storage

    uri = settings.transcripts.uri
    return open_storage(uri, settings.storage.options()) if uri else None


def _user() -> str:
    """Who works on this machine; empty where nobody knows, as in some containers."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""
