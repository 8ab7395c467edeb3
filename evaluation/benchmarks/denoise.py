"""Does noise reduction help the recogniser? WER of `denoise = off`, `auto` and `always` over SNR bands and noise kinds.

The mixtures of `evaluation.benchmarks.mixtures` (calls and sentences with noise at known SNRs), as they are, and the
calls that were recorded noisy. Every mixture is loaded as any recording is; its speech is recognised as recorded and
with noise reduced, in its known language, and `auto` is decided by `tasks.denoise.choose` itself. Speech regions are
those of the recorded sound in all three.

Without FOLDER, the demo's calls alone. What was heard is kept in `--log`, one JSON line for each mixture: an
interrupted run goes on from there, and the tables can be made again without hearing anything.

    python -m evaluation.benchmarks.denoise [FOLDER] --log FILE --write evaluation/benchmarks/denoise.md
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from evaluation.benchmarks.denoise_table import Scored, score, tables
from evaluation.benchmarks.mixtures import Mixture, Recipe, Selection, load_clips, load_noisy, mix, plan, write_mixture
from evaluation.normalise import NORMALISER
from tasks.audio import prepare
from tasks.bundles import open_bundle
from tasks.decoding import DecodeOptions, decode_to_file
from tasks.denoise import HeardChannel, choose, is_better, is_candidate, reduce_noise
from tasks.devices import open_device
from tasks.host import usable_cores
from tasks.models import load_recognizer
from tasks.recognize import Recognizer
from tasks.records import ProbeScore, Region, Segment
from tasks.settings import Settings, load_settings
from tasks.signals import measure
from tasks.tracks import Recording, Track
from tasks.vad import speech_regions

BANDS_DB = (0, 5, 10, 20, None)  # None: without added noise
LIMITS = DecodeOptions(max_duration_s=3600, max_output_bytes=10**9)


@dataclass(slots=True)
class Remembering:
    """A recogniser that is asked the same only once."""

    recognizer: Recognizer
    known: dict[tuple[Path, tuple[Region, ...]], list[Segment]] = field(default_factory=dict)

    def transcribe(
        self, track: Track, regions: tuple[Region, ...], channel: int, language: str | None
    ) -> list[Segment]:
        """Transcribe the speech regions of one channel."""
        key = (track.path, regions)
        if key not in self.known:
            self.known[key] = self.recognizer.transcribe(track, regions, channel, language)
        return self.known[key]


@dataclass(frozen=True, slots=True)
class Heard:
    """What was heard in one mixture, both ways, and the evidence between them.

    `snr_db` is the measured one. The scores are of the probe; None where no speech was found.
    """

    name: str
    snr_db: float | None
    recorded: tuple[str, ...] = ()
    denoised: tuple[str, ...] = ()
    recorded_score: ProbeScore | None = None
    denoised_score: ProbeScore | None = None

    def auto(self, settings: Settings) -> tuple[str, ...]:
        """What `denoise = auto` gives: decided anew from the evidence."""
        if self.recorded_score is None or self.denoised_score is None:
            return self.recorded
        tried = is_candidate(self.snr_db, _with_denoise(settings, "auto").audio)
        return self.denoised if tried and is_better(self.denoised_score, self.recorded_score) else self.recorded


def hear(mixture: Mixture, recognizer: Recognizer, settings: Settings) -> Heard:
    """Load a mixture as any recording is loaded, and recognise it as recorded and with noise reduced."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_mixture(mixture, folder / "recording")
        source, samples = decode_to_file(folder / "recording", folder / "samples", LIMITS)
        prepared = prepare(Recording(folder / "samples", source, samples), settings.audio, folder)
        track = prepared.tracks[0]
        regions = speech_regions(track, settings.vad)
        snr_db = measure(prepared, [regions]).snr_db
        if not regions:
            return Heard(mixture.name, snr_db)
        denoised = reduce_noise(track, regions, folder / "denoised", settings.audio)
        remembering = Remembering(recognizer)
        channel = HeardChannel(track, denoised, regions, 0, 0, snr_db)
        language = mixture.clip.language
        _, trial = choose(remembering, channel, language, _with_denoise(settings, "auto").audio)
        recorded_texts, denoised_texts = (
            tuple(segment.text for segment in remembering.transcribe(heard, regions, 0, language))
            for heard in (track, denoised)
        )
        if trial is None:  # pragma: no cover  # there is speech, and a reduced track
            return Heard(mixture.name, snr_db, recorded_texts, denoised_texts)
        return Heard(mixture.name, snr_db, recorded_texts, denoised_texts, trial.recorded, trial.denoised)


def scored(heard: Sequence[Heard], recipes: Sequence[Recipe], settings: Settings) -> Iterator[Scored]:
    """Word errors of every mixture that was heard, in each variant."""
    by_name = {found.name: found for found in heard}
    for recipe in recipes:
        if (found := by_name.get(recipe.name)) is not None:
            yield score(recipe, found.recorded, "off")
            yield score(recipe, found.denoised, "always")
            yield score(recipe, found.auto(settings), "auto")


def main(
    folder: Annotated[Path | None, typer.Argument(help="More recordings with references.")] = None,
    log: Annotated[Path | None, typer.Option(help="Keep what was heard here, and go on from there.")] = None,
    write: Annotated[Path | None, typer.Option(help="Write the tables here too.")] = None,
    words: Annotated[int, typer.Option(help="Reference words in each band; less is for a quick look.")] = 5000,
    workers: Annotated[int, typer.Option(help="Processes, of one thread each.")] = usable_cores(),
) -> None:
    """Measure WER with and without noise reduction, over SNR bands and noise kinds."""
    clips = load_clips(folder)
    recipes = [*load_noisy(folder), *plan(clips, _selection(words))]
    heard = _read(log)
    missing = [recipe for recipe in recipes if recipe.name not in {found.name for found in heard}]
    work = [(recipe.name, folder, words) for recipe in missing]
    typer.echo(f"{len(recipes)} mixtures, of which {len(missing)} are still to be heard", err=True)
    with ProcessPoolExecutor(workers) as pool:
        for found in pool.map(_hear_by_name, work):
            heard.append(found)
            if log is not None:
                with log.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(found), ensure_ascii=False) + "\n")
    settings = load_settings()
    text = tables(scored(heard, recipes, settings)) + "\n" + _note(settings) + "\n"
    typer.echo(text)
    if write is not None:
        write.write_text(text, encoding="utf-8")


def _hear_by_name(asked: tuple[str, Path | None, int]) -> Heard:
    name, folder, words = asked
    mixture = _mixture(name, folder, words)
    return hear(mixture, _recognizer(), load_settings())


@lru_cache(maxsize=1)
def _recognizer() -> Recognizer:
    """One for each process, of one thread: two of them do more than one of two threads."""
    settings = load_settings()
    device = open_device(settings.models.device, settings.models.compute_type)
    one_thread = settings.recognizer.model_copy(update={"cpu_threads": 1})
    return load_recognizer(open_bundle(settings.models.folder, settings.models.bundle), device, one_thread)


def _mixture(name: str, folder: Path | None, words: int) -> Mixture:
    clips, noisy, recipes = _corpus(folder, words)
    return noisy[name] if name in noisy else mix(clips, recipes[name])


@lru_cache(maxsize=1)
def _corpus(folder: Path | None, words: int) -> tuple[list[Any], dict[str, Mixture], dict[str, Recipe]]:
    clips = load_clips(folder)
    recipes = {recipe.name: recipe for recipe in plan(clips, _selection(words))}
    return clips, {mixture.name: mixture for mixture in load_noisy(folder)}, recipes


def _selection(words: int) -> Selection:
    return Selection(snrs_db=BANDS_DB, words_per_band=words)


def _read(log: Path | None) -> list[Heard]:
    if log is None or not log.exists():
        return []
    found = []
    for line in log.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        for way in ("recorded", "denoised"):
            row[way] = tuple(row[way])
            row[f"{way}_score"] = ProbeScore(**row[f"{way}_score"]) if row[f"{way}_score"] else None
        found.append(Heard(**row))
    return found


def _with_denoise(settings: Settings, denoise: str) -> Settings:
    return settings.model_copy(update={"audio": settings.audio.model_copy(update={"denoise": denoise})})


def _note(settings: Settings) -> str:
    audio = settings.audio
    return (
        f"{datetime.now(UTC):%Y-%m-%d}; bundle {settings.models.bundle}, {settings.models.compute_type} compute type; "
        f"{usable_cores()} cores, Python {platform.python_version()}. {NORMALISER}. Language given. `auto`: measured "
        f"SNR under {audio.denoise_below_snr_db:g} dB, probe of {audio.denoise_probe_s:g} s of speech. The intervals "
        "are of a paired bootstrap over clips."
    )


if __name__ == "__main__":
    typer.run(main)
