"""Words that are heard where nobody speaks: ours and faster-whisper on the same model, over sounds of telephone calls.

The sounds are made (`evaluation.sets.nonspeech`): equal seconds of every kind. Recordings without speech may be added,
each folder as a kind of its own. Whatever is recognised in them is invented. Ours is the whole pipeline, but for the
diarizer, in whose place a stand-in says that one person speaks all the time. faster-whisper hears the same in its own
three ways: window after window, the same with its detection of speech, and in batches. All find out the language by
themselves, and search with a beam of 5.

A word is what stands between spaces and holds a letter or a digit, so that a sentence in a language without spaces
is one.

    python -m evaluation.benchmarks.nonspeech --also FOLDER --write evaluation/benchmarks/nonspeech.md

Without detection of speech, faster-whisper is slow where it invents: `--no-vad-s` limits what it hears that way,
equally for each kind.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, Final

import soundfile
import typer

from evaluation.benchmarks.one_speaker import load
from evaluation.sets.nonspeech import pieces
from evaluation.sets.telephone import RATE_HZ
from tasks.host import usable_cores
from tasks.local import local_calls, transcribe_files
from tasks.models import Models
from tasks.settings import Settings, load_settings
from tasks.tracks import MODEL_SAMPLING_RATE

if TYPE_CHECKING:
    from faster_whisper import WhisperModel
    from faster_whisper.transcribe import Segment

BEAM_SIZE = 5
BATCH_SIZE = 8
HOUR_S = 3600.0
OURS: Final = "ours"
PEERS: Final = ("faster-whisper, no VAD", "faster-whisper, VAD", "faster-whisper, batched")
SOUND_FILES: Final = frozenset({".wav", ".flac", ".mp3", ".ogg", ".opus"})


@dataclass(frozen=True, slots=True)
class Sound:
    """A recording without speech: its file, its kind, its length in seconds."""

    path: Path
    kind: str
    duration_s: float


@dataclass(frozen=True, slots=True)
class Heard:
    """What a program found where there is nothing, in so many seconds.

    `speech_s` are those that the detector of speech let through (ours alone says), `failed` recordings that gave no
    transcript.
    """

    seconds: float = 0.0
    words: int = 0
    speech_s: float = 0.0
    failed: int = 0

    def __add__(self, other: Heard) -> Heard:
        """The sum of both."""
        return Heard(
            self.seconds + other.seconds,
            self.words + other.words,
            self.speech_s + other.speech_s,
            self.failed + other.failed,
        )

    @property
    def words_per_hour(self) -> float | None:
        """Words in an hour of sound without speech; None where nothing was heard."""
        return HOUR_S * self.words / self.seconds if self.seconds else None


Results = Mapping[tuple[str, str], Heard]
"""By kind and program."""

Tell = Callable[[str], None]
"""Takes a line about one recording in which words were heard."""


def make_sounds(folder: Path, seconds: float, seed: int) -> Iterator[Sound]:
    """Write the sounds as mu-law WAV files."""
    for piece in pieces(seconds, seed):
        path = folder / f"{piece.name.replace(' ', '-')}.wav"
        soundfile.write(path, piece.samples, RATE_HZ, "ULAW")
        yield Sound(path, piece.kind, piece.duration_s)


def find_sounds(folder: Path) -> list[Sound]:
    """The recordings of a folder, all of one kind: its name."""
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SOUND_FILES)
    if not paths:
        raise typer.BadParameter(f"{folder} holds no recording")
    return [Sound(path, folder.name, soundfile.info(path).duration) for path in paths]


def shared_out(sounds: Sequence[Sound], limit_s: float | None) -> Iterator[tuple[Sound, float]]:
    """What is heard within a limit, and seconds of it: of every kind, the first recordings up to its share."""
    kinds = {sound.kind for sound in sounds}
    left_s = {kind: float("inf") if limit_s is None else limit_s / len(kinds) for kind in kinds}
    for sound in sounds:
        taken_s = min(sound.duration_s, left_s[sound.kind])
        left_s[sound.kind] -= taken_s
        if taken_s > 0:
            yield sound, taken_s


def count_words(texts: Iterable[str]) -> int:
    """Words as they were written; what has neither letter nor digit is none."""
    return sum(any(character.isalnum() for character in word) for text in texts for word in text.split())


def hear_ours(sounds: Sequence[Sound], models: Models, settings: Settings, tell: Tell) -> dict[tuple[str, str], Heard]:
    """Transcribe all sounds with our pipeline."""
    found: dict[tuple[str, str], Heard] = {}
    for kind in dict.fromkeys(sound.kind for sound in sounds):
        own = [sound for sound in sounds if sound.kind == kind]
        calls = local_calls([sound.path for sound in own], None, settings)
        for sound, rows in zip(own, transcribe_files(calls, models, settings), strict=True):
            texts = [row["text"] for row in rows.utterances]
            _tell(tell, OURS, sound, texts)
            failed = int(rows.call["outcome"] == "failed")
            heard = Heard(sound.duration_s, count_words(texts), rows.call["speech_s"] or 0.0, failed)
            found[kind, OURS] = found.get((kind, OURS), Heard()) + heard
    return found


def hear_peers(
    sounds: Sequence[Sound], no_vad_s: float | None, model: WhisperModel, tell: Tell
) -> dict[tuple[str, str], Heard]:
    """Transcribe each sound with each way of faster-whisper, but so many seconds of all without detection of speech."""
    from faster_whisper import BatchedInferencePipeline, decode_audio

    batched = BatchedInferencePipeline(model)
    ways: dict[str, Callable[[Any], tuple[Iterable[Segment], Any]]] = {
        PEERS[0]: lambda samples: model.transcribe(samples, beam_size=BEAM_SIZE, vad_filter=False),
        PEERS[1]: lambda samples: model.transcribe(samples, beam_size=BEAM_SIZE, vad_filter=True),
        PEERS[2]: lambda samples: batched.transcribe(samples, beam_size=BEAM_SIZE, batch_size=BATCH_SIZE),
    }
    found: dict[tuple[str, str], Heard] = {}
    limited = dict(shared_out(sounds, no_vad_s))
    for sound in sounds:
        samples = decode_audio(str(sound.path), MODEL_SAMPLING_RATE)
        for name, transcribe in ways.items():
            seconds = limited.get(sound, 0.0) if name == PEERS[0] else sound.duration_s
            if not seconds:
                continue
            segments, _ = transcribe(samples[: round(seconds * MODEL_SAMPLING_RATE)])
            texts = [segment.text for segment in segments]
            _tell(tell, name, sound, texts)
            heard = Heard(seconds, count_words(texts))
            found[sound.kind, name] = found.get((sound.kind, name), Heard()) + heard
    return found


def load_peer(models: Models, settings: Settings) -> WhisperModel:
    """The recogniser's folder of a bundle in faster-whisper itself, on the same device."""
    from faster_whisper import WhisperModel

    return WhisperModel(
        str(models.bundle.folder / "recognizer"),
        device=models.device.kind,
        device_index=models.device.index,
        compute_type=models.device.compute_type,
        cpu_threads=settings.recognizer.cpu_threads or usable_cores(),
        local_files_only=True,
    )


def table(results: Results) -> str:
    """Words by kind and program, all of them, and words in an hour."""
    kinds = list(dict.fromkeys(kind for kind, _ in results))
    totals = {name: sum((results.get((kind, name), Heard()) for kind in kinds), Heard()) for name in (OURS, *PEERS)}
    lines = [
        f"| kind | seconds | taken for speech, s | words, ours | seconds, no VAD | {' | '.join(PEERS)} |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        *(_row(kind, {name: results.get((kind, name), Heard()) for name in totals}) for kind in kinds),
        _row("**all**", totals),
        f"| **words in an hour** | | | {_rate(totals[OURS])} | | {' | '.join(_rate(totals[name]) for name in PEERS)} |",
    ]
    return "\n".join(lines)


def markdown(results: Results, models: Models) -> str:
    """The table with date, machine and versions."""
    failed = sum(heard.failed for heard in results.values())
    note = (
        f"{datetime.now(UTC):%Y-%m-%d}; bundle {models.bundle.name} {models.bundle.digest[:16]}, "
        f"{models.device.compute_type}; {models.device.name}, {usable_cores()} cores, Python "
        f"{platform.python_version()}; faster-whisper {version('faster-whisper')}. 8 kHz, mu-law; language detected, "
        f"beam {BEAM_SIZE}, batches of {BATCH_SIZE}. Taken for speech: by our detector, with its padding. A word is "
        "what stands between spaces and holds a letter or a digit."
    )
    if failed:
        note += f" Recordings that ours failed on: {failed}."
    return f"{table(results)}\n\n{note}\n"


def main(
    seconds: Annotated[float, typer.Option(help="Seconds of sounds that are made; 0: none.")] = HOUR_S,
    seed: Annotated[int, typer.Option(help="Of the sounds.")] = 1,
    also: Annotated[list[Path] | None, typer.Option(help="A folder of recordings without speech.")] = None,
    no_vad_s: Annotated[
        float | None, typer.Option(help="Seconds that faster-whisper hears without VAD; all if not said, 0: none.")
    ] = None,
    *,
    show: Annotated[bool, typer.Option(help="Tell what was heard.")] = False,
    write: Annotated[Path | None, typer.Option(help="Write the table here too.")] = None,
) -> None:
    """Count the words that are heard where nobody speaks."""
    settings = load_settings(overrides={"recognizer": {"beam_size": BEAM_SIZE}})
    tell: Tell = (lambda line: typer.echo(line, err=True)) if show else (lambda _: None)
    with TemporaryDirectory(prefix="callscribe-") as scratch:
        sounds = list(make_sounds(Path(scratch), seconds, seed)) if seconds else []
        for folder in also or ():
            sounds += find_sounds(folder)
        models = load(settings)
        results = hear_ours(sounds, models, settings, tell)
        results |= hear_peers(sounds, no_vad_s, load_peer(models, settings), tell)
    text = markdown(results, models)
    typer.echo(text)
    if write is not None:
        write.write_text(text, encoding="utf-8")


def _tell(tell: Tell, program: str, sound: Sound, texts: Sequence[str]) -> None:
    if texts:
        tell(f"{program}: {sound.path.name}: {count_words(texts)} words: {' '.join(text.strip() for text in texts)}")


def _row(kind: str, heard: Mapping[str, Heard]) -> str:
    ours, peers = heard[OURS], [heard[name] for name in PEERS]
    words = " | ".join(str(one.words) if one.seconds else "n/a" for one in peers)
    return f"| {kind} | {ours.seconds:.0f} | {ours.speech_s:.1f} | {ours.words} | {peers[0].seconds:.0f} | {words} |"


def _rate(heard: Heard) -> str:
    return "n/a" if heard.words_per_hour is None else f"{heard.words_per_hour:.1f}"


if __name__ == "__main__":
    typer.run(main)
