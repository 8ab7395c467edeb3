"""The command that holds settings and models against each other: `compare`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from flows.cli_common import ConfigOption, console, errors, read_text, writing
from flows.cli_set import LoadedModels, opened_set, transcribed
from tasks.errors import SettingsError

if TYPE_CHECKING:
    from evaluation.set_transcripts import CaseTranscript


def compare(
    set_place: Annotated[str, typer.Argument(metavar="SET", help="Evaluation set: a folder, or URI of one.")],
    variants: Annotated[Path, typer.Option(help="Variants (TOML): a table [variants.NAME] of settings for each.")],
    by: Annotated[str, typer.Option(help="Measure that the front and the choice go by, as in the JSON.")] = "wer",
    margin: Annotated[
        float, typer.Option(min=0, help="Points that a cheaper variant may be worse at most, to be taken.")
    ] = 0.5,
    cost_per_hour: Annotated[
        float | None,
        typer.Option(min=0, help="Price of an hour of work; run.worker_hour_price when left out.", show_default=False),
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the comparison here too.")] = None,
    config: ConfigOption = None,
) -> None:
    """Transcribe an evaluation set under several settings, and say which to take.

    What was transcribed before under the same settings is read. Each measure is shown with its difference to the
    first variant (or `baseline` of the file), the bounds of that, and whether it may be chance; then how right each
    variant is against what it takes, and the slices in which one is significantly worse. A file to begin with:

    `[variants.default]`, `[variants.beam-1]` with `recognizer.beam_size = 1`, `[variants.denoised]` with
    `audio.denoise = "auto"`, `[variants.large]` with `models.bundle = "production"`

    Example: `callscribe compare s3://sets/bank --variants variants.toml --cost-per-hour 2.50`
    """
    from evaluation.comparison import compare as compared
    from evaluation.comparison_report import choice_line, front_table, measures_table, to_json, worse_lines
    from evaluation.measures import measures_of
    from evaluation.scoring import score_evaluation_set
    from evaluation.variants import parse_variants
    from tasks.settings import load_settings

    settings = load_settings(config)
    asked = parse_variants(read_text(variants), str(variants), lambda overrides: load_settings(config, overrides))
    known = opened_set(set_place, settings)
    loaded = LoadedModels()
    scores, made_by = {}, {}
    for number, variant in enumerate(asked.each, start=1):
        errors.print(f"{number} of {len(asked.each)}: {escape(variant.name)} ({escape(variant.told)})", highlight=False)
        transcripts = transcribed(known, variant.settings, loaded)
        scores[variant.name] = score_evaluation_set(known, transcripts).score.calls
        made_by[variant.name] = {"settings": variant.overrides, **_made_by(transcripts)}
    measures = {measure.key: measure for measure in measures_of(scores[asked.baseline])}
    if by not in measures:
        message = f"there is no measure {by!r} for --by; there are {', '.join(sorted(measures))}"
        raise SettingsError(message)
    price = settings.run.worker_hour_price if cost_per_hour is None else cost_per_hour
    share = margin / 100 if measures[by].unit == "%" else margin
    found = compared(scores, asked.baseline, by, price=price, margin=share)
    console.print(measures_table(found, {variant.name: variant.told for variant in asked.each}))
    console.print(front_table(found, settings.run.currency))
    for line in [*_hardware(made_by), *worse_lines(found), choice_line(found)]:
        console.print(line, markup=False, highlight=False, soft_wrap=not console.is_terminal)
    if json_file is not None:
        about = {"set": known.name, "set_digest": known.digest, "calls": len(known.cases), "margin": margin}
        about |= {"worker_hour_price": price, "currency": settings.run.currency}
        with writing(json_file):
            json_file.write_text(to_json(found, about, made_by), encoding="utf-8")
        errors.print(f"comparison written to {escape(str(json_file))}")


def _made_by(transcripts: Mapping[str, CaseTranscript]) -> dict[str, Any]:
    """On what, and with what, the transcripts of a variant were made; most calls first."""
    rows = [made.call for made in transcripts.values() if not made.failed]

    def each(column: str) -> list[str]:
        return [name for name, _ in Counter(str(row[column]) for row in rows if row.get(column)).most_common()]

    columns = {"devices": "device", "compute_types": "compute_type", "fingerprints": "fingerprint"}
    bundles = dict(sorted({(str(row["bundle"]), str(row["bundle_digest"])) for row in rows}))
    return {"failed": len(transcripts) - len(rows), "bundles": bundles} | {
        name: each(column) for name, column in columns.items()
    }


def _hardware(made_by: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What the speeds were measured on, and a warning where that differs."""
    lines = []
    for name, made in made_by.items():
        bundles = ", ".join(f"{bundle} {digest[:12]}" for bundle, digest in made["bundles"].items())
        failed = f"; {made['failed']} calls failed" if made["failed"] else ""
        on = ", ".join([*made["devices"], *made["compute_types"]])
        lines.append(f"{name}: {bundles or 'no transcript'} on {on or 'no device'}{failed}")
    if len({tuple(made["devices"]) for made in made_by.values()}) > 1:
        lines.append("These were made on different devices: what they take cannot be compared.")
    return lines
