"""What the probability of a word is worth: as the recogniser gives it, and calibrated.

Recordings with references are transcribed with the recogniser's raw probabilities, in the language that is detected.
A reference is what the STM files of any of the folders say of a call, or `NAME.txt` beside the recording, which is the
text of the whole. All recordings of one name up to the first dot (`NAME.mono.wav`, `NAME.phone.wav`, `NAME.noise.wav`)
are one call; `NAME.stereo.wav` is passed over, as it holds the words of `NAME.mono.wav` again.

Each call's words are calibrated by what was fitted to all other calls (leave one call out): a calibration that is
measured on its own words flatters itself. `--store` packages the way with the lowest Brier score on left-out calls,
fitted to all; where no way is better than the raw probabilities, one that changes nothing.

Transcribing is slow and fitting is not: with `--pairs FILE` what is found is kept there, recording by recording,
without a word that was spoken, and a recording that the file holds is not transcribed again. All that the file holds is
fitted to, so that no folder need be named.

    python -m evaluation.benchmarks.calibrate FOLDER… --pairs FILE --write evaluation/benchmarks/calibration.md --store
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from evaluation.benchmarks.one_speaker import load
from evaluation.confidence import (
    Pair,
    brier_score,
    expected_calibration_error,
    fit_isotonic,
    fit_temperature,
    reliability,
    scored_words,
)
from evaluation.hypotheses import HypothesisUtterance, in_order
from evaluation.normalise import NORMALISER, normalised_words
from evaluation.references import collect_references
from evaluation.report import percent
from tasks.calibration import CALIBRATIONS, Calibration, recognizer_digest
from tasks.host import usable_cores
from tasks.local import local_calls, transcribe_files
from tasks.models import Models
from tasks.settings import Settings, load_settings

AUDIO: Final = frozenset({".wav", ".ogg", ".opus", ".flac", ".mp3"})
RAW: Final = "raw"
FITS: Final[Mapping[str, Callable[[Sequence[Pair]], Calibration]]] = {
    "isotonic": fit_isotonic,
    "temperature": fit_temperature,
}
"""The ways to calibrate, by name."""


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording with the texts that were said in it, in order; `folder` is the set that it belongs to."""

    path: Path
    folder: str
    call: str
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Heard:
    """The words of one recording: the raw probability of each, and whether it is right."""

    name: str
    folder: str
    call: str
    pairs: tuple[Pair, ...]


@dataclass(frozen=True, slots=True)
class Collected:
    """All that was heard, and by what: the bundle, SHA-256 of its recogniser, and a line on device and software."""

    bundle: str
    recognizer: str
    made_by: str
    heard: tuple[Heard, ...] = ()

    def to_json(self) -> str:
        """Serialise."""
        return json.dumps(asdict(self)) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Collected:
        """Parse what `to_json` wrote.

        Raises:
            ValueError, KeyError, TypeError: the text holds no pairs.
        """
        data = json.loads(text)
        heard = tuple(
            Heard(one["name"], one["folder"], one["call"], tuple((float(p), bool(right)) for p, right in one["pairs"]))
            for one in data["heard"]
        )
        return cls(data["bundle"], data["recognizer"], data["made_by"], heard)


def find_recordings(folders: Sequence[Path]) -> list[Recording]:
    """The recordings of folders and of folders in them that have a reference.

    Raises:
        ReferenceFileError: an STM file is malformed, or two speak of the same call.
    """
    stm = [path for folder in folders for path in sorted(folder.rglob("*.stm"))]
    references = collect_references((path.name, path.read_text(encoding="utf-8-sig")) for path in stm)
    found = []
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            call = path.name.partition(".")[0]
            beside = path.with_name(f"{call}.txt")
            if path.suffix.lower() not in AUDIO or ".stereo." in path.name:
                continue
            if call in references and (lines := references[call].lines) is not None:
                found.append(Recording(path, folder.name, call, tuple(line.text for line in in_order(lines))))
            elif beside.is_file():
                found.append(Recording(path, folder.name, call, (beside.read_text(encoding="utf-8-sig"),)))
    return found


def hear(recordings: Sequence[Recording], models: Models, settings: Settings) -> Iterator[Heard]:
    """Transcribe recordings and judge their words, one after the other; one that fails is named and left out."""
    calls = local_calls([one.path for one in recordings], None, settings)
    for recording, found in zip(recordings, transcribe_files(calls, models, settings), strict=True):
        if found.call["outcome"] == "failed":
            typer.echo(f"{recording.path.name}: {found.call['error']}", err=True)
            continue
        language = found.call["language"] or "en"
        said = in_order(HypothesisUtterance.from_row(row) for row in found.utterances)
        pairs = scored_words(normalised_words(recording.texts, language), [one.words for one in said], language)
        yield Heard(recording.path.stem, recording.folder, recording.call, tuple(pairs))


def uncalibrated(models: Models) -> Models:
    """The same models, with a recogniser that gives raw probabilities."""
    without = getattr(models.recognizer, "uncalibrated", None)
    return models if without is None else replace(models, recognizer=without())


def leave_one_out(heard: Sequence[Heard], fit: Callable[[Sequence[Pair]], Calibration]) -> tuple[Heard, ...]:
    """The same words with probabilities calibrated by what was fitted to all other calls."""
    fitted = {
        call: fit([pair for one in heard if one.call != call for pair in one.pairs])
        for call in {one.call for one in heard}
    }
    return tuple(
        replace(one, pairs=tuple((fitted[one.call].apply(probability), right) for probability, right in one.pairs))
        for one in heard
    )


def best(ways: Mapping[str, Sequence[Heard]]) -> str:
    """The way with the lowest Brier score; of equals the first."""
    return min(ways, key=lambda name: brier_score(pool(ways[name])) or 0.0)


def pool(heard: Sequence[Heard]) -> list[Pair]:
    """All words."""
    return [pair for one in heard for pair in one.pairs]


def markdown(collected: Collected, ways: Mapping[str, Sequence[Heard]]) -> str:
    """The result as small tables with date and machine."""
    columns = [f"{score}, {name}" for score in ("ECE", "Brier") for name in ways]
    lines = [
        f"| recordings | number | words | right % | mean probability % | {' | '.join(columns)} |",
        f"| --- |{' ---: |' * (4 + len(columns))}",
    ]
    folders = sorted({one.folder for one in collected.heard})
    for title, own in [*((folder, {folder}) for folder in folders), ("all", set(folders))]:
        parts = {name: [one for one in heard if one.folder in own] for name, heard in ways.items()}
        pairs = {name: pool(part) for name, part in parts.items()}
        raw = pairs[RAW]
        scores = [score(pairs[name]) for score in (expected_calibration_error, brier_score) for name in ways]
        cells = [
            str(len(parts[RAW])),
            str(len(raw)),
            percent(sum(right for _, right in raw) / len(raw) if raw else None),
            percent(sum(probability for probability, _ in raw) / len(raw) if raw else None),
            *("-" if score is None else f"{score:.3f}" for score in scores),
        ]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    chosen = best(ways)
    for name in dict.fromkeys((RAW, chosen)):
        lines += ["", f"| words by {name} probability | mean probability % | right % |", "| ---: | ---: | ---: |"]
        lines += [
            f"| {one.words} | {percent(one.mean_probability)} | {percent(one.accuracy)} |"
            for one in reliability(pool(ways[name]))
        ]
    calls = len({one.call for one in collected.heard})
    note = (
        f"{datetime.now(UTC):%Y-%m-%d}; {collected.made_by}. {NORMALISER}. ECE: expected calibration error over ten "
        f"bins of equal mass; Brier: mean squared error. Calibrated probabilities are those of {calls} calls, each "
        f"left out of the fit in its turn. Lowest Brier score: {chosen}."
    )
    return "\n".join([*lines, "", note]) + "\n"


def entry(collected: Collected, ways: Mapping[str, Sequence[Heard]]) -> dict[str, Any]:
    """What is packaged of the best way, fitted to all calls; `ece_after` is that of left-out calls."""
    chosen, pairs = best(ways), pool(collected.heard)
    calibration = FITS[chosen](pairs) if chosen in FITS else Calibration()
    return {
        "recognizer": collected.recognizer,
        "method": chosen,
        "knots": [list(knot) for knot in calibration.knots],
        "words": len(pairs),
        "ece_before": round(expected_calibration_error(pairs) or 0.0, 4),
        "ece_after": round(expected_calibration_error(pool(ways[chosen])) or 0.0, 4),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
    }


def main(
    folders: Annotated[
        list[Path] | None, typer.Argument(help="Recordings and references.", exists=True, file_okay=False)
    ] = None,
    pairs: Annotated[Path | None, typer.Option(help="Keep probabilities and outcomes here, and begin there.")] = None,
    write: Annotated[Path | None, typer.Option(help="Write the tables here too.")] = None,
    *,
    store: Annotated[bool, typer.Option("--store", help="Package the best calibration.")] = False,
) -> None:
    """Measure and fit the calibration of word probabilities."""
    collected = None
    if pairs is not None and pairs.is_file():
        collected = Collected.from_json(pairs.read_text(encoding="utf-8"))
    held = {one.name for one in collected.heard} if collected else set()
    new = [one for one in find_recordings(folders or []) if one.path.stem not in held]
    if new:
        settings = load_settings()
        models = uncalibrated(load(settings))
        collected = _begun(collected, models)
        for one in hear(new, models, settings):
            collected = replace(collected, heard=(*collected.heard, one))
            if pairs is not None:
                pairs.write_text(collected.to_json(), encoding="utf-8")
    if collected is None or not pool(collected.heard):
        raise typer.BadParameter("no recording with a reference, and no pairs")
    ways = {RAW: collected.heard, **{name: leave_one_out(collected.heard, fit) for name, fit in FITS.items()}}
    text = markdown(collected, ways)
    typer.echo(text)
    if write is not None:
        write.write_text(text, encoding="utf-8")
    if store:
        known = json.loads(CALIBRATIONS.read_text(encoding="utf-8"))
        known[collected.bundle] = entry(collected, ways)
        CALIBRATIONS.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _begun(collected: Collected | None, models: Models) -> Collected:
    """What was collected so far, to go on with the same recogniser; nothing yet where there is none."""
    digest = recognizer_digest(models.bundle.manifest)
    if collected is None:
        made_by = (
            f"bundle {models.bundle.name} {models.bundle.digest[:16]}, {models.device.compute_type}; "
            f"{models.device.name}, {usable_cores()} cores, Python {platform.python_version()}"
        )
        return Collected(models.bundle.name, digest, made_by)
    if (collected.bundle, collected.recognizer) != (models.bundle.name, digest):
        raise typer.BadParameter("the pairs are those of another recogniser; name another file")
    return collected


if __name__ == "__main__":
    typer.run(main)
