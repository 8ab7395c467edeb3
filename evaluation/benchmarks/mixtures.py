"""Recordings with references and known noise: what benchmarks on noisy calls transcribe.

The clean clips are the demo's calls and, of a folder like the development set, `calls/*.mono.wav` with their STM (of a
call without a mono file the stereo one, mixed down: both hold the same words) and the recordings of `multilingual/`
with a text, the wide-band ones sent through a telephone's band. Noise of four kinds, which
`evaluation.benchmarks.noises` makes, is mixed into each at known SNRs.

The SNR is the active speech level of the clip (ITU-T P.56, method B) over the mean power of the added noise, over the
whole file. What noise a clip brings along is not in it. A mixture's level is not the clip's: speech is put at -26 dBFS,
or lower where the mixture would clip otherwise, as some of the recordings lie at -68.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Final
from zlib import crc32

import numpy as np
import soundfile
from numpy.typing import NDArray

from evaluation.benchmarks.noises import KINDS, active_level_dbfs, noise
from evaluation.fields import ReferenceFileError
from evaluation.hypotheses import in_order
from evaluation.normalise import normalised_words
from evaluation.references import load_references
from evaluation.sets.telephone import RATE_HZ, Signal, band_limit, db

DEMO: Final = Path(__file__).resolve().parents[1] / "sets" / "demo" / "archive"
CLEAN: Final = ("demo-0001.wav", "demo-0002.wav", "demo-0003.mp3", "demo-0004.opus", "demo-0008.flac")
"""demo-0005 is noisy, demo-0006 holds no speech, demo-0007 does not decode."""
NOISY: Final = "demo-0005.flac"

NO_NOISE, OWN_NOISE = "none", "own"
"""Kinds of a clean original and of a recording that was noisy before we came."""
SNRS_DB: Final = (0, 5, 10, 15, 20)

_SPEECH_DBFS = -26.0
_PEAK = 0.9
_SUFFIXES = (".ogg", ".wav", ".flac", ".mp3", ".opus")

# ------------------------------------------------------------------------------------------------------- records


@dataclass(frozen=True, slots=True, eq=False)  # arrays do not compare
class Clip:
    """A channel of speech at 8 kHz, its active speech level in dBFS, and what is said in it.

    `reference` holds raw utterances in order, which are normalised one by one; `language` is an ISO 639-1 code, and
    `words` counts the normalised words. Noise measurements take clips without a reference.
    """

    name: str
    samples: Signal
    level_dbfs: float
    reference: tuple[str, ...] = ()
    language: str = "en"
    words: int = 0

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return len(self.samples) / RATE_HZ


@dataclass(frozen=True, slots=True, eq=False)
class Recipe:
    """What to mix: `snr_db` is None where nothing is added; `take` counts from 1 how often the clip meets this kind."""

    clip: Clip
    kind: str
    snr_db: int | None
    take: int

    @property
    def name(self) -> str:
        """The same in every run, and fit for a file."""
        if self.snr_db is None:
            return self.clip.name if self.kind == OWN_NOISE else f"{self.clip.name}.clean"
        return f"{self.clip.name}.{self.kind}-{self.take}.{self.snr_db}dB"

    @property
    def band(self) -> str:
        """The row of a table that it counts in."""
        if self.snr_db is None:
            return "noisy calls" if self.kind == OWN_NOISE else "clean"
        return f"{self.snr_db} dB"


@dataclass(frozen=True, slots=True, eq=False)
class Mixture(Recipe):
    """A recipe carried out, at 8 kHz; the clip is in it `gain` (a ratio of amplitudes) times as loud as by itself."""

    samples: NDArray[np.float32]
    gain: float


@dataclass(frozen=True, slots=True)
class Selection:
    """Which mixtures are made: of the whole plan only these bands and kinds (None is the clean band).

    The plan has the fewest mixtures that hold `words_per_band` reference words; less than 5,000 is for a quick look.
    """

    snrs_db: tuple[int | None, ...] = (*SNRS_DB, None)
    kinds: tuple[str, ...] = KINDS
    words_per_band: int = 5_000


# -------------------------------------------------------------------------------------------------------- corpus


def load_clips(folder: Path | None = None) -> list[Clip]:
    """The clean calls of the demo and of a folder like the development set, whole, all that is said in them in order.

    Args:
        folder: holds `calls/` and maybe `multilingual/` with the `manifest.csv` that says its languages; None for the
            demo alone.

    Returns:
        Clips with at least one reference word.

    Raises:
        ReferenceFileError: a reference cannot be read, or the manifest lacks a recording.
        ValueError: a recording holds no speech.
    """
    spoken = _demo_references()
    files = {path.name: path for path in DEMO.rglob("*.*")}
    clips = [_clip(files[name], Path(name).stem, spoken[Path(name).stem]) for name in CLEAN]
    if folder is not None:
        for name, texts in _references(folder / "calls").items():
            found = [path for kind in ("mono", "stereo") if (path := folder / "calls" / f"{name}.{kind}.wav").is_file()]
            clips.extend(_clip(path, name, texts) for path in found[:1])
        clips.extend(_sentences(folder))
    return [clip for clip in clips if clip.words]


def load_noisy(folder: Path | None = None) -> list[Mixture]:
    """The recordings that came noisy, as they are: the demo's one, and `noisy/CALL.*.wav` of a folder."""
    spoken, files = _demo_references(), sorted(DEMO.rglob(NOISY))
    if folder is not None:
        spoken |= _references(folder / "calls")
        files += sorted((folder / "noisy").glob("*.wav"))
    known = [(path, texts) for path in files if (texts := spoken.get(path.name.partition(".")[0]))]
    clips = [_clip(path, path.stem, texts) for path, texts in known]
    return [Mixture(clip, OWN_NOISE, None, 1, clip.samples.astype(np.float32), 1.0) for clip in clips if clip.words]


def _demo_references() -> dict[str, tuple[str, ...]]:
    return _references(DEMO.parent / "references")


def _references(folder: Path) -> dict[str, tuple[str, ...]]:
    """The utterances of all speakers of each call, by start."""
    return {
        name: tuple(line.text for line in in_order(reference.lines))
        for name, reference in load_references(folder).items()
        if reference.lines
    }


def _sentences(folder: Path) -> Iterator[Clip]:
    """The recordings of `multilingual/` that have a text (not their `.phone.wav`, which say the same again)."""
    texts = sorted((folder / "multilingual").glob("*.txt"))
    listed: dict[str, str] = {}
    if texts:
        with (folder / "manifest.csv").open(encoding="utf-8", newline="") as manifest:
            listed = {row["file"]: row["language"].partition("-")[0] for row in csv.DictReader(manifest)}
    for text in texts:
        for path in [path for suffix in _SUFFIXES if (path := text.with_suffix(suffix)).is_file()][:1]:
            name = path.relative_to(folder).as_posix()
            if name not in listed:
                raise ReferenceFileError("manifest.csv", None, f"does not say the language of {name}")
            spoken = (text.read_text(encoding="utf-8-sig").strip(),)
            yield _clip(path, text.stem, spoken, listed[name], wide_band=True)


def _clip(path: Path, name: str, texts: tuple[str, ...], language: str = "en", *, wide_band: bool = False) -> Clip:
    """Read a recording, its channels mixed down."""
    from scipy.signal import resample_poly

    samples, rate_hz = soundfile.read(path, always_2d=True)
    signal: Signal = np.mean(samples, axis=1)
    if rate_hz != RATE_HZ:
        signal = resample_poly(band_limit(signal, rate_hz) if wide_band else signal, RATE_HZ, rate_hz)
    words = len(normalised_words(texts, language))
    return Clip(name, signal, active_level_dbfs(signal, RATE_HZ), texts, language, words)


# ------------------------------------------------------------------------------------------------------ mixtures


def plan(clips: Sequence[Clip], selection: Selection | None = None) -> list[Recipe]:
    """What will be mixed, band by band: names, reference words and seconds are known before anything is.

    In rounds, every clip gets one more kind of noise, the one that has the fewest words so far of those that it has not
    met; the longest clips come first. This ends with the clip that reaches the words per band. If four rounds do not,
    the kinds begin again with another take of the noise. Every band has the same clips with the same noise; the clean
    band has each of these clips once, so that it holds as many words as there are.
    """
    selection = selection or Selection()
    chosen = _choose(clips, selection.words_per_band)
    every = list(dict.fromkeys(clip for clip, _, _ in chosen))
    recipes: list[Recipe] = []
    for snr_db in selection.snrs_db:
        if snr_db is None:
            recipes += [Recipe(clip, NO_NOISE, None, 1) for clip in every]
        else:
            recipes += [Recipe(clip, kind, snr_db, take) for clip, kind, take in chosen if kind in selection.kinds]
    return recipes


def mixtures(clips: Sequence[Clip], seed: int = 1, selection: Selection | None = None) -> Iterator[Mixture]:
    """Mix what is planned, one after the other."""
    return (mix(clips, recipe, seed) for recipe in plan(clips, selection))


def mix(clips: Sequence[Clip], recipe: Recipe, seed: int = 1) -> Mixture:
    """Carry out one recipe: the same samples for the same clips and seed, whatever else is mixed.

    Args:
        clips: those that were planned with; babble is made of them.
        recipe: what to mix.
        seed: of the noise, which is the same at every SNR.
    """
    clip = recipe.clip
    mixed = clip.samples
    if recipe.snr_db is not None:
        rng = np.random.default_rng([seed, crc32(clip.name.encode()), KINDS.index(recipe.kind), recipe.take])
        added = noise(recipe.kind, clips, list(clips).index(clip), rng)
        mixed = mixed + db(clip.level_dbfs - recipe.snr_db) * added
    gain = min(db(_SPEECH_DBFS - clip.level_dbfs), _PEAK / float(np.max(np.abs(mixed))))
    return Mixture(clip, recipe.kind, recipe.snr_db, recipe.take, (gain * mixed).astype(np.float32), gain)


def write_mixture(mixture: Mixture, path: Path) -> None:
    """Write it as WAV, 16-bit PCM, 8 kHz."""
    soundfile.write(path, mixture.samples, RATE_HZ, subtype="PCM_16", format="WAV")


def _choose(clips: Sequence[Clip], words: int) -> list[tuple[Clip, str, int]]:
    """(clip, kind, take) of one band."""
    longest_first = sorted((clip for clip in clips if clip.words), key=lambda clip: (-clip.words, clip.name))
    chosen: list[tuple[Clip, str, int]] = []
    by_kind = Counter(dict.fromkeys(KINDS, 0))
    met: Counter[tuple[str, str]] = Counter()
    for nth in count() if longest_first else ():
        take = nth // len(KINDS) + 1
        for clip in longest_first:
            if by_kind.total() >= words:
                return chosen
            new = [kind for kind in KINDS if met[clip.name, kind] < take]
            kind = min(new, key=lambda one: by_kind[one])
            chosen.append((clip, kind, take))
            by_kind[kind] += clip.words
            met[clip.name, kind] += 1
    return chosen
